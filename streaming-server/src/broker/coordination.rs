//! Runs the group coordinator: hands it events, writes its records, gives its answers, and lets time pass for it.
//!
//! Everything that must happen once a record is durable happens in [`Groups::run`], so it does not depend on the client
//! that caused it still being there.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use kafka_protocol::ResponseError;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::group::records::{group_record, group_tombstone, offset_record, offset_tombstone};
use crate::group::{
    Answer, Caller, Committed, Coordinator, Effect, Event, OffsetKey, Refused, Ticket,
};
use crate::log::records::{OwnRecord, encode_batch};
use crate::log::{self, Appended, Partition};
use crate::topics::Topic;

/// Records in the log for each live one, beyond which the live ones are written anew and the rest dropped.
const GARBAGE_FACTOR: i64 = 4;
const GARBAGE_MIN: i64 = 10_000;
/// Records written in one batch.
const BATCH_RECORDS: usize = 1000;

/// The coordinator with its log and those who wait for it.
pub(crate) struct Groups {
    topic: Arc<Topic>,
    state: Mutex<State>,
    writes: mpsc::UnboundedSender<Write>,
    /// Taken by [`Groups::run`].
    writes_begun: Mutex<Option<mpsc::UnboundedReceiver<Write>>>,
    /// A deadline may have changed.
    stepped: Notify,
    stopping: CancellationToken,
}

struct State {
    coordinator: Coordinator,
    waiting: HashMap<Ticket, oneshot::Sender<Answer>>,
    last_ticket: u64,
}

/// Records on their way to disk and what follows from them.
struct Write {
    appended: Appended,
    then: Then,
}

enum Then {
    Answers(Vec<(Ticket, Answer)>),
    Commit {
        group: String,
        offsets: Vec<(OffsetKey, Committed)>,
        done: oneshot::Sender<Result<(), log::Error>>,
    },
    /// Everything before the append may be dropped.
    Compacted(Arc<Partition>),
    Done(oneshot::Sender<Result<(), log::Error>>),
}

impl Groups {
    /// Takes over a coordinator that has replayed the log of `topic`.
    pub(crate) fn new(
        topic: Arc<Topic>,
        coordinator: Coordinator,
        stopping: CancellationToken,
    ) -> Self {
        let (writes, begun) = mpsc::unbounded_channel();
        let state = State {
            coordinator,
            waiting: HashMap::new(),
            last_ticket: 0,
        };
        let (state, writes_begun) = (Mutex::new(state), Mutex::new(Some(begun)));
        Self {
            topic,
            state,
            writes,
            writes_begun,
            stepped: Notify::new(),
            stopping,
        }
    }

    /// Lets the coordinator answer an event; `None` when the broker stops first.
    pub(super) async fn ask(
        &self,
        now_ms: i64,
        event: impl FnOnce(Ticket) -> Event,
    ) -> Option<Answer> {
        let receiver = {
            let mut state = self.state.lock();
            state.last_ticket += 1;
            let ticket = Ticket(state.last_ticket);
            let (sender, receiver) = oneshot::channel();
            state.waiting.insert(ticket, sender);
            let effects = state
                .coordinator
                .step(Instant::now(), now_ms, event(ticket));
            self.carry_out(&mut state, effects, now_ms);
            receiver
        };
        self.stepped.notify_one();
        tokio::select! {
            answer = receiver => answer.ok(),
            () = self.stopping.cancelled() => None,
        }
    }

    /// Looks at the coordinator.
    pub(super) fn look<T>(&self, question: impl FnOnce(&Coordinator) -> T) -> T {
        question(&self.state.lock().coordinator)
    }

    /// Commits offsets; they are durable and readable when this returns.
    pub(super) async fn commit(
        &self,
        caller: &Caller,
        offsets: Vec<(OffsetKey, Committed)>,
        now_ms: i64,
    ) -> Result<(), ResponseError> {
        let receiver = {
            let mut state = self.state.lock();
            state.coordinator.begin_commit(Instant::now(), caller)?;
            let records: Vec<_> = offsets
                .iter()
                .map(|(key, committed)| offset_record(&caller.group, key, committed))
                .collect();
            if records.is_empty() {
                state.coordinator.commit_ended(&caller.group);
                return Ok(());
            }
            let (done, receiver) = oneshot::channel();
            match self.append(&caller.group, &records, now_ms) {
                Err(error) => {
                    state.coordinator.commit_ended(&caller.group);
                    return Err(unavailable(&error));
                }
                Ok(appended) => {
                    let base = appended.base_offset;
                    let place = |(i, (key, committed)): (i64, (OffsetKey, Committed))| {
                        (
                            key,
                            Committed {
                                log_offset: base + i,
                                ..committed
                            },
                        )
                    };
                    let offsets = (0..).zip(offsets).map(place).collect();
                    self.follow(
                        appended,
                        Then::Commit {
                            group: caller.group.clone(),
                            offsets,
                            done,
                        },
                    );
                }
            }
            receiver
        };
        match receiver.await {
            Ok(outcome) => outcome.map_err(|error| unavailable(&error)),
            Err(_) => Err(ResponseError::CoordinatorNotAvailable),
        }
    }

    /// Deletes a group that has no members.
    pub(super) async fn delete(&self, group: &str, now_ms: i64) -> Result<(), ResponseError> {
        let receiver = {
            let mut state = self.state.lock();
            let known = state.coordinator.check_delete(group)?;
            let mut records: Vec<_> = known
                .offsets
                .keys()
                .map(|key| offset_tombstone(group, key))
                .collect();
            records.push(group_tombstone(group));
            let receiver = self.write(group, &records, now_ms)?;
            state.coordinator.groups.remove(group);
            receiver
        };
        settled(receiver).await
    }

    /// Forgets single offsets of a group.
    pub(super) async fn delete_offsets(
        &self,
        group: &str,
        keys: &[OffsetKey],
        now_ms: i64,
    ) -> Result<(), ResponseError> {
        let receiver = {
            let mut state = self.state.lock();
            let known = state
                .coordinator
                .groups
                .get_mut(group)
                .ok_or(ResponseError::GroupIdNotFound)?;
            let records: Vec<_> = keys
                .iter()
                .filter(|key| known.offsets.contains_key(key))
                .map(|key| offset_tombstone(group, key))
                .collect();
            if records.is_empty() {
                return Ok(());
            }
            let receiver = self.write(group, &records, now_ms)?;
            known.offsets.retain(|key, _| !keys.contains(key));
            receiver
        };
        settled(receiver).await
    }

    /// Forgets the offsets that any group has committed for topics that are gone: later ones of their names have
    /// nothing to do with them.
    pub(crate) async fn forget_topics(&self, is_gone: impl Fn(&str) -> bool, now_ms: i64) {
        let mut receivers = Vec::new();
        {
            let mut state = self.state.lock();
            for (id, group) in &mut state.coordinator.groups {
                let records: Vec<_> = group
                    .offsets
                    .keys()
                    .filter(|key| is_gone(&key.topic))
                    .map(|key| offset_tombstone(id, key))
                    .collect();
                if records.is_empty() {
                    continue;
                }
                match self.write(id, &records, now_ms) {
                    Ok(receiver) => receivers.push(receiver),
                    Err(error) => {
                        tracing::warn!(group = id, %error, "offsets of deleted topics stay until the next start");
                    }
                }
                group.offsets.retain(|key, _| !is_gone(&key.topic));
            }
        }
        for receiver in receivers {
            // Who follows the write reports its failure.
            let _ = settled(receiver).await;
        }
    }

    /// Lets time pass and follows writes to their end; never returns.
    pub(crate) async fn run(&self, clock: impl Fn() -> i64) {
        let Some(mut begun) = self.writes_begun.lock().take() else {
            return;
        };
        let mut writing: FuturesUnordered<Pin<Box<dyn Future<Output = Finished> + Send>>> =
            FuturesUnordered::new();
        loop {
            let deadline = self.state.lock().coordinator.next_deadline();
            let pause = deadline.map_or(Duration::from_mins(1), |at| {
                at.saturating_duration_since(Instant::now())
            });
            tokio::select! {
                Some(write) = begun.recv() => writing.push(Box::pin(finish(write))),
                Some(finished) = writing.next(), if !writing.is_empty() => self.settle(finished),
                () = self.stepped.notified() => {}
                () = tokio::time::sleep(pause) => {
                    let mut state = self.state.lock();
                    let now_ms = clock();
                    let effects = state.coordinator.step(Instant::now(), now_ms, Event::Tick);
                    self.carry_out(&mut state, effects, now_ms);
                }
            }
        }
    }

    /// Drops expired offsets, and the log's past where little of it still counts.
    pub(crate) fn keep_house(&self, now_ms: i64, retention_ms: i64) {
        let mut state = self.state.lock();
        for (group, records) in state
            .coordinator
            .expire_offsets(now_ms.saturating_sub(retention_ms))
        {
            self.write_unanswered(&group, &records, now_ms);
        }
        for (number, partition) in self.topic.partitions.iter().enumerate() {
            self.compact(&state.coordinator, number, partition, now_ms);
        }
    }

    pub(crate) fn n_groups(&self) -> usize {
        self.state.lock().coordinator.groups.len()
    }

    fn compact(
        &self,
        coordinator: &Coordinator,
        number: usize,
        partition: &Arc<Partition>,
        now_ms: i64,
    ) {
        let position = partition.position();
        let mine = || {
            coordinator
                .groups
                .values()
                .filter(|group| self.partition_of(&group.id) == number)
        };
        let n_live = mine().map(|group| group.offsets.len() + 1).sum::<usize>();
        let n_records = position.high_watermark - position.log_start;
        let is_worth_it = n_records > GARBAGE_MIN
            && n_records > GARBAGE_FACTOR.saturating_mul(i64::try_from(n_live).unwrap_or(i64::MAX));
        // A commit on its way is in the log but not yet in the table: its offset must not be overwritten by an older.
        if !is_worth_it || mine().any(|group| group.n_committing > 0) {
            return;
        }
        let mut records = Vec::with_capacity(n_live);
        for group in mine() {
            records.push(group_record(group));
            records.extend(
                group
                    .offsets
                    .iter()
                    .map(|(key, committed)| offset_record(&group.id, key, committed)),
            );
        }
        let (mut first, mut last) = (None, None);
        for batch in records.chunks(BATCH_RECORDS) {
            match partition.append(&encode_batch(batch, now_ms), now_ms) {
                Ok(appended) => {
                    first.get_or_insert(appended.base_offset);
                    last = Some(appended);
                }
                Err(error) => {
                    tracing::warn!(error = %telemetry::chain(&error), "group log not compacted");
                    return;
                }
            }
        }
        // Only the last batch lets the past go: once it is durable all before it are.
        if let Some((base_offset, appended)) = first.zip(last) {
            let appended = Appended {
                base_offset,
                ..appended
            };
            self.follow(appended, Then::Compacted(Arc::clone(partition)));
        }
    }

    fn carry_out(&self, state: &mut State, effects: Vec<Effect>, now_ms: i64) {
        for effect in effects {
            match effect {
                Effect::Answer { ticket, answer } => state.answer(ticket, answer),
                Effect::Persist {
                    group,
                    records,
                    answers,
                } => match self.append(&group, &records, now_ms) {
                    Ok(appended) => self.follow(appended, Then::Answers(answers)),
                    Err(error) => {
                        tracing::error!(group, error = %telemetry::chain(&error), "group could not be written");
                        for (ticket, answer) in answers {
                            state.answer(ticket, failed(&answer));
                        }
                    }
                },
            }
        }
    }

    fn settle(&self, finished: Finished) {
        let Finished {
            base_offset,
            outcome,
            then,
        } = finished;
        if let Err(error) = &outcome {
            tracing::error!(error = %telemetry::chain(error), "group records could not be made durable");
        }
        let mut state = self.state.lock();
        match then {
            Then::Answers(answers) => {
                for (ticket, answer) in answers {
                    state.answer(
                        ticket,
                        if outcome.is_ok() {
                            answer
                        } else {
                            failed(&answer)
                        },
                    );
                }
            }
            Then::Commit {
                group,
                offsets,
                done,
            } => {
                if outcome.is_ok() {
                    state.coordinator.committed(&group, offsets);
                }
                state.coordinator.commit_ended(&group);
                // The committer may have gone away.
                let _ = done.send(outcome);
            }
            Then::Compacted(partition) => {
                if outcome.is_ok()
                    && let Err(error) = partition.delete_before(base_offset)
                {
                    tracing::warn!(error = %telemetry::chain(&error), "group log not shortened");
                }
            }
            Then::Done(done) => {
                // The asker may have gone away.
                let _ = done.send(outcome);
            }
        }
    }

    fn write(
        &self,
        group: &str,
        records: &[OwnRecord],
        now_ms: i64,
    ) -> Result<oneshot::Receiver<Result<(), log::Error>>, ResponseError> {
        let appended = self
            .append(group, records, now_ms)
            .map_err(|error| unavailable(&error))?;
        let (done, receiver) = oneshot::channel();
        self.follow(appended, Then::Done(done));
        Ok(receiver)
    }

    fn write_unanswered(&self, group: &str, records: &[OwnRecord], now_ms: i64) {
        if records.is_empty() {
            return;
        }
        match self.append(group, records, now_ms) {
            Ok(appended) => self.follow(appended, Then::Answers(Vec::new())),
            Err(error) => {
                tracing::warn!(group, error = %telemetry::chain(&error), "expiry not written")
            }
        }
    }

    fn append(
        &self,
        group: &str,
        records: &[OwnRecord],
        now_ms: i64,
    ) -> Result<Appended, log::Error> {
        self.topic.partitions[self.partition_of(group)]
            .append(&encode_batch(records, now_ms), now_ms)
    }

    fn follow(&self, appended: Appended, then: Then) {
        // The receiver lives as long as the broker serves.
        let _ = self.writes.send(Write { appended, then });
    }

    /// Kafka's choice: Java's string hash of the group id.
    fn partition_of(&self, group: &str) -> usize {
        let hash = group.encode_utf16().fold(0_i32, |hash, unit| {
            hash.wrapping_mul(31).wrapping_add(i32::from(unit))
        });
        let hash = usize::try_from(hash & i32::MAX).unwrap_or(0);
        hash % self.topic.partitions.len().max(1)
    }
}

impl State {
    fn answer(&mut self, ticket: Ticket, answer: Answer) {
        if let Some(sender) = self.waiting.remove(&ticket) {
            // The member may have gone away; its session will end.
            let _ = sender.send(answer);
        }
    }
}

struct Finished {
    base_offset: i64,
    outcome: Result<(), log::Error>,
    then: Then,
}

async fn finish(write: Write) -> Finished {
    let base_offset = write.appended.base_offset;
    Finished {
        base_offset,
        outcome: write.appended.durable.wait().await,
        then: write.then,
    }
}

async fn settled(receiver: oneshot::Receiver<Result<(), log::Error>>) -> Result<(), ResponseError> {
    match receiver.await {
        Ok(outcome) => outcome.map_err(|error| unavailable(&error)),
        Err(_) => Err(ResponseError::CoordinatorNotAvailable),
    }
}

/// What clients are told when the coordinator cannot write: to try again.
fn unavailable(error: &log::Error) -> ResponseError {
    match error {
        log::Error::TooLarge { .. } => ResponseError::InvalidCommitOffsetSize,
        _ => ResponseError::CoordinatorNotAvailable,
    }
}

fn failed(answer: &Answer) -> Answer {
    let error = ResponseError::CoordinatorNotAvailable;
    match answer {
        Answer::Join(_) => Answer::Join(Err(Refused {
            error,
            member: String::new(),
        })),
        Answer::Sync(_) => Answer::Sync(Err(error)),
        Answer::Heartbeat(_) => Answer::Heartbeat(Err(error)),
        Answer::Leave(_) => Answer::Leave(Err(error)),
    }
}

/// Replays the group records that earlier processes left in `topic`; blocks.
pub(crate) fn replay(
    coordinator: &mut Coordinator,
    topic: &Topic,
    env: &log::Env,
) -> Result<(), log::Error> {
    const READ_BYTES: usize = 1 << 20;
    let now = Instant::now();
    for partition in &topic.partitions {
        let mut offset = partition.position().log_start;
        loop {
            let (position, plan) = partition.plan_read(offset, READ_BYTES, true)?;
            if offset >= position.high_watermark {
                break;
            }
            let chunks = match plan {
                log::Plan::Ready(chunks) => chunks,
                log::Plan::File(slice) => vec![slice.read(env)?],
            };
            let before = offset;
            for mut chunk in chunks {
                while let Ok(header) = log::batch::BatchHeader::parse(&chunk) {
                    let records = log::records::Records::open(&chunk, READ_BYTES)?;
                    records.walk(|record| {
                        let replayed = record.key.and_then(|key| {
                            coordinator.replay(now, record.offset, key, record.value)
                        });
                        if replayed.is_none() {
                            tracing::warn!(offset = record.offset, "group record not understood");
                        }
                        true
                    })?;
                    offset = header.last_offset() + 1;
                    let size = header.size().min(chunk.len());
                    drop(chunk.split_to(size));
                }
            }
            if offset == before {
                let error = std::io::Error::new(
                    std::io::ErrorKind::InvalidData,
                    "the log ends before its end",
                );
                return Err(log::Error::Read(Arc::new(error)));
            }
        }
    }
    coordinator.groups.retain(|_, group| !group.is_forgotten());
    Ok(())
}

#[cfg(test)]
mod tests;
