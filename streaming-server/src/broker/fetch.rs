//! Fetch: waits until enough is there, then gathers whole batches within the bounds the client and the broker set.

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::FetchRequest;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::sessions::{SessionError, Wanted};
use super::{Broker, Reply};
use crate::log::{self, Partition, Plan, Position, Slice, Watcher};
use crate::wire::{FetchReply, PartitionReply, TopicReply, code};

/// What a fetch asks for, apart from the partitions.
struct Terms {
    min_bytes: usize,
    max_bytes: usize,
    deadline: Instant,
    by_id: bool,
    is_incremental: bool,
    session_id: i32,
}

/// A partition's part of the answer, perhaps still on disk.
struct Part {
    wanted: Wanted,
    reply: PartitionReply,
    on_disk: Option<Slice>,
}

impl Broker {
    pub(super) async fn fetch(self: Arc<Self>, request: FetchRequest, version: i16) -> Reply {
        let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
        // As long as a connection may be silent: longer polls would keep those whose client has vanished.
        let wait = wait.min(self.config.idle_timeout);
        let (session_id, session_epoch) = if version >= 7 {
            (request.session_id, request.session_epoch)
        } else {
            (0, -1)
        };
        let min_bytes = usize::try_from(request.min_bytes).unwrap_or(0);
        let max_bytes = usize::try_from(request.max_bytes).unwrap_or(0);
        let turn = {
            let (added, forgotten) = self.partitions(request, version);
            self.sessions
                .lock()
                .turn(session_id, session_epoch, added, &forgotten)
        };
        let turn = match turn {
            Ok(turn) => turn,
            Err(error) => {
                let error = match error {
                    SessionError::NotFound => ResponseError::FetchSessionIdNotFound,
                    SessionError::WrongEpoch => ResponseError::InvalidFetchSessionEpoch,
                };
                return Reply::Fetch(FetchReply {
                    error_code: error.code(),
                    ..FetchReply::default()
                });
            }
        };
        let limit = usize::try_from(self.config.max_fetch_size.as_u64()).unwrap_or(usize::MAX);
        let terms = Terms {
            min_bytes,
            max_bytes: max_bytes.min(limit),
            deadline: Instant::now() + wait,
            by_id: version >= 13,
            is_incremental: turn.is_incremental,
            session_id: turn.session_id,
        };
        let parts = self.gather(&turn.wanted, &terms).await;
        if parts.iter().all(|part| part.on_disk.is_none()) {
            return Reply::Fetch(self.assemble(parts, &terms, Vec::new()));
        }
        Reply::InTurn(Box::pin(async move {
            Reply::Fetch(self.load(parts, &terms).await)
        }))
    }

    /// The partitions a request names, with topic names found for ids where clients send only those.
    fn partitions(&self, request: FetchRequest, version: i16) -> (Vec<Wanted>, Vec<Wanted>) {
        let name_of = |topic: &str, id: uuid::Uuid| {
            if version < 13 {
                return Arc::from(topic);
            }
            self.topics
                .get_by_id(id)
                .map_or_else(|| Arc::from(""), |topic| Arc::clone(&topic.name))
        };
        let mut added = Vec::new();
        for topic in request.topics {
            let name = name_of(&topic.topic, topic.topic_id);
            added.extend(topic.partitions.into_iter().map(|partition| Wanted {
                topic: Arc::clone(&name),
                topic_id: topic.topic_id,
                partition: partition.partition,
                leader_epoch: partition.current_leader_epoch,
                offset: partition.fetch_offset,
                max_bytes: partition.partition_max_bytes,
            }));
        }
        let mut forgotten = Vec::new();
        for topic in request.forgotten_topics_data {
            let name = name_of(&topic.topic, topic.topic_id);
            forgotten.extend(topic.partitions.into_iter().map(|partition| Wanted {
                topic: Arc::clone(&name),
                topic_id: topic.topic_id,
                partition,
                leader_epoch: -1,
                offset: 0,
                max_bytes: 0,
            }));
        }
        (added, forgotten)
    }

    /// Plans until there is enough, or no more time.
    async fn gather(&self, wanted: &[Wanted], terms: &Terms) -> Vec<Part> {
        let watcher = Arc::new(Watcher::default());
        loop {
            for partition in wanted
                .iter()
                .filter_map(|wanted| self.find(wanted, terms.by_id).ok())
            {
                partition.watch(&watcher);
            }
            let (parts, n_bytes, must_answer) = self.plan(wanted, terms);
            if must_answer || n_bytes >= terms.min_bytes || self.stopping.is_cancelled() {
                return parts;
            }
            tokio::select! {
                () = watcher.moved() => {}
                () = tokio::time::sleep_until(terms.deadline) => {
                    return self.plan(wanted, terms).0;
                }
                () = self.stopping.cancelled() => return parts,
            }
        }
    }

    /// Plans every partition once. An error is answered at once, so that the client learns of it.
    fn plan(&self, wanted: &[Wanted], terms: &Terms) -> (Vec<Part>, usize, bool) {
        let mut parts = Vec::with_capacity(wanted.len());
        let mut n_bytes = 0;
        let mut must_answer = wanted.is_empty() && !terms.is_incremental;
        for wanted in wanted {
            let room = terms.max_bytes.saturating_sub(n_bytes);
            let part = match self.plan_one(wanted, terms.by_id, room, n_bytes == 0) {
                Ok((position, plan)) => {
                    let (records, on_disk) = match plan {
                        Plan::Ready(records) => (records, None),
                        Plan::File(slice) => (Vec::new(), Some(slice)),
                    };
                    let reply = PartitionReply {
                        index: wanted.partition,
                        error_code: 0,
                        high_watermark: position.high_watermark,
                        log_start: position.log_start,
                        records,
                    };
                    n_bytes += reply.n_bytes() + on_disk.as_ref().map_or(0, Slice::budget);
                    Part {
                        wanted: wanted.clone(),
                        reply,
                        on_disk,
                    }
                }
                Err(error) => {
                    must_answer = true;
                    let reply = PartitionReply::failed(wanted.partition, error.code());
                    Part {
                        wanted: wanted.clone(),
                        reply,
                        on_disk: None,
                    }
                }
            };
            parts.push(part);
        }
        (parts, n_bytes, must_answer)
    }

    fn plan_one(
        &self,
        wanted: &Wanted,
        by_id: bool,
        room: usize,
        is_first: bool,
    ) -> Result<(Position, Plan), ResponseError> {
        let partition = self.find(wanted, by_id)?;
        check_epoch(wanted.leader_epoch, partition.leader_epoch())?;
        let max_bytes = usize::try_from(wanted.max_bytes).unwrap_or(0).min(room);
        partition
            .plan_read(wanted.offset, max_bytes, is_first)
            .map_err(|error| code(&error))
    }

    fn find(&self, wanted: &Wanted, by_id: bool) -> Result<Arc<Partition>, ResponseError> {
        let topic = if by_id {
            self.topics
                .get_by_id(wanted.topic_id)
                .ok_or(ResponseError::UnknownTopicId)?
        } else {
            self.topics
                .get(&wanted.topic)
                .ok_or(ResponseError::UnknownTopicOrPartition)?
        };
        let partition = usize::try_from(wanted.partition)
            .ok()
            .and_then(|number| topic.partitions.get(number));
        partition
            .cloned()
            .ok_or(ResponseError::UnknownTopicOrPartition)
    }

    /// Reads what is on disk, one job for the whole fetch, and puts the answer together.
    async fn load(&self, mut parts: Vec<Part>, terms: &Terms) -> FetchReply {
        let slices: Vec<(usize, Slice)> = parts
            .iter_mut()
            .enumerate()
            .filter_map(|(i, part)| Some((i, part.on_disk.take()?)))
            .collect();
        self.env.metrics.disk_reads.inc();
        let n_bytes = slices.iter().map(|(_, slice)| slice.budget()).sum();
        let permit = self.reserve(n_bytes).await;
        let env = Arc::clone(&self.env);
        let read = move || {
            slices
                .into_iter()
                .map(|(i, slice)| (i, slice.read(&env)))
                .collect::<Vec<_>>()
        };
        for (i, outcome) in self.env.readers.run(read).await.unwrap_or_default() {
            let reply = &mut parts[i].reply;
            match outcome {
                Ok(records) => reply.records = vec![records],
                Err(error) => {
                    // That retention was faster is the consumer's business only.
                    if !matches!(error, log::Error::Expired { .. }) {
                        tracing::error!(
                            topic = %parts[i].wanted.topic, partition = parts[i].wanted.partition,
                            error = %telemetry::chain(&error), "log could not be read"
                        );
                    }
                    parts[i].reply =
                        PartitionReply::failed(parts[i].wanted.partition, code(&error).code());
                }
            }
        }
        self.assemble(parts, terms, permit.into_iter().collect())
    }

    fn assemble(
        &self,
        parts: Vec<Part>,
        terms: &Terms,
        permits: Vec<OwnedSemaphorePermit>,
    ) -> FetchReply {
        let mut sessions = (terms.session_id != 0).then(|| self.sessions.lock());
        let mut reply = FetchReply {
            session_id: terms.session_id,
            permits,
            ..FetchReply::default()
        };
        for Part {
            wanted,
            reply: partition,
            ..
        } in parts
        {
            let position = (partition.high_watermark, partition.log_start);
            let has_records = !partition.records.iter().all(bytes::Bytes::is_empty);
            let is_news = sessions.as_mut().is_none_or(|sessions| {
                sessions.tell(terms.session_id, &wanted, position, has_records)
            });
            if terms.is_incremental && !is_news && partition.error_code == 0 {
                continue;
            }
            match reply
                .topics
                .last_mut()
                .filter(|topic| topic.name == wanted.topic && topic.id == wanted.topic_id)
            {
                Some(topic) => topic.partitions.push(partition),
                None => reply.topics.push(TopicReply {
                    name: wanted.topic,
                    id: wanted.topic_id,
                    partitions: vec![partition],
                }),
            }
        }
        drop(sessions);
        self.env
            .metrics
            .fetched_bytes
            .inc_by(reply.n_bytes() as u64);
        reply
    }

    /// Memory for `n_bytes` of records; more than there is at all waits for all of it.
    async fn reserve(&self, n_bytes: usize) -> Option<OwnedSemaphorePermit> {
        let n_kib = n_bytes
            .div_ceil(1024)
            .min(usize::try_from(self.config.fetch_memory.as_u64() / 1024).unwrap_or(0));
        let n_kib = u32::try_from(n_kib).unwrap_or(u32::MAX);
        Arc::clone(&self.fetch_memory)
            .acquire_many_owned(n_kib)
            .await
            .ok()
    }
}

/// Compares the leader epoch a client believes in with ours; -1 believes nothing.
pub(super) fn check_epoch(theirs: i32, ours: i32) -> Result<(), ResponseError> {
    match theirs {
        -1 => Ok(()),
        theirs if theirs < ours => Err(ResponseError::FencedLeaderEpoch),
        theirs if theirs > ours => Err(ResponseError::UnknownLeaderEpoch),
        _ => Ok(()),
    }
}
