//! The task behind a consumer: finds leaders and start offsets, fetches ahead, and sorts answers into the queue.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{BrokerId, FetchRequest, FetchResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use tracing::{debug, warn};

use super::{Assigned, Fetched, Shared, Stage, StartAt};
use crate::batch::{Aborted, next_offset};
use crate::client::is_stale;
use crate::error::{Error, ErrorCode};
use crate::metadata::TopicPartition;
use crate::offsets::OffsetSpec;

/// The last version that names topics; from 13 on they have ids.
const FETCH_CAP: i16 = 12;
/// How long a poll may wait while other partitions of the broker are left out of it.
const SHORT_WAIT: Duration = Duration::from_millis(20);

/// One partition of a fetch: its generation and position when it was asked for.
#[derive(Clone)]
struct Asked {
    partition: TopicPartition,
    generation: u64,
    offset: i64,
}

enum Outcome {
    Resolved(Asked, Result<(i32, i64), Error>),
    Fetched(i32, Vec<Asked>, Result<FetchResponse, Error>),
}

type Pending = FuturesUnordered<BoxFuture<'static, Outcome>>;

/// Runs until the consumer is dropped.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut pending = Pending::new();
    let mut busy = Vec::new();
    loop {
        start_resolving(&shared, &pending);
        start_fetches(&shared, &pending, &mut busy);
        let wake = shared.next_wake();
        let timer = async {
            match wake {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(outcome) = pending.next() => match outcome {
                Outcome::Resolved(asked, found) => shared.resolved(&asked, found),
                Outcome::Fetched(leader, asked, response) => {
                    busy.retain(|node| *node != leader);
                    shared.fetched(&asked, response);
                }
            },
            () = shared.work.notified() => {}
            () = timer => {}
        }
    }
}

fn start_resolving(shared: &Arc<Shared>, pending: &Pending) {
    let now = Instant::now();
    let mut state = shared.state.lock();
    for (partition, assigned) in &mut state.partitions {
        let Stage::Unresolved(start) = assigned.stage else {
            continue;
        };
        if assigned.not_before.is_some_and(|at| at > now) {
            continue;
        }
        assigned.stage = Stage::Resolving(start);
        let asked = Asked {
            partition: partition.clone(),
            generation: assigned.generation,
            offset: -1,
        };
        let shared = Arc::clone(shared);
        pending.push(Box::pin(async move {
            let found = shared.resolve(&asked.partition, start).await;
            Outcome::Resolved(asked, found)
        }));
    }
}

/// Starts one fetch for every leader that has none under way and has partitions that want more.
fn start_fetches(shared: &Arc<Shared>, pending: &Pending, busy: &mut Vec<i32>) {
    let now = Instant::now();
    let config = &shared.config;
    let mut by_leader: BTreeMap<i32, (Vec<Asked>, bool)> = BTreeMap::new();
    let mut state = shared.state.lock();
    let room = config.prefetch_bytes.saturating_sub(state.queued_bytes);
    if room == 0 {
        return;
    }
    let share = (config.prefetch_bytes / state.partitions.len().max(1)).max(1);
    for (partition, assigned) in &mut state.partitions {
        let Stage::Ready { leader, offset } = assigned.stage else {
            continue;
        };
        if busy.contains(&leader) {
            continue;
        }
        let (asked, left_out) = by_leader.entry(leader).or_default();
        let waits = assigned.not_before.is_some_and(|at| at > now);
        if assigned.paused || waits || assigned.queued >= share {
            *left_out = true;
            continue;
        }
        assigned.stage = Stage::Fetching { leader, offset };
        let generation = assigned.generation;
        asked.push(Asked {
            partition: partition.clone(),
            generation,
            offset,
        });
    }
    for (leader, (asked, left_out)) in by_leader {
        if asked.is_empty() {
            continue;
        }
        busy.push(leader);
        let wait = if left_out {
            config.max_wait.min(SHORT_WAIT)
        } else {
            config.max_wait
        };
        let request = request(shared, &asked, wait, room);
        let shared = Arc::clone(shared);
        pending.push(Box::pin(async move {
            let response = shared.fetch(leader, &request, wait).await;
            Outcome::Fetched(leader, asked, response)
        }));
    }
}

fn request(shared: &Shared, asked: &[Asked], wait: Duration, room: usize) -> FetchRequest {
    let config = &shared.config;
    let mut topics: BTreeMap<&str, Vec<FetchPartition>> = BTreeMap::new();
    for one in asked {
        topics.entry(&one.partition.topic).or_default().push(
            FetchPartition::default()
                .with_partition(one.partition.partition)
                .with_current_leader_epoch(-1)
                .with_fetch_offset(one.offset)
                .with_last_fetched_epoch(-1)
                .with_log_start_offset(-1)
                .with_partition_max_bytes(to_i32(config.partition_max_bytes)),
        );
    }
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(to_i32(wait.as_millis()))
        .with_min_bytes(to_i32(config.min_bytes))
        .with_max_bytes(to_i32(config.max_bytes.min(room)))
        .with_isolation_level(config.isolation.wire())
        .with_session_id(0)
        .with_session_epoch(-1)
        .with_topics(
            topics
                .into_iter()
                .map(|(topic, partitions)| {
                    FetchTopic::default()
                        .with_topic(TopicName(StrBytes::from_string(topic.to_owned())))
                        .with_partitions(partitions)
                })
                .collect(),
        )
}

fn to_i32(value: impl TryInto<i32>) -> i32 {
    value.try_into().unwrap_or(i32::MAX)
}

impl Shared {
    /// When a partition that waits after an error may be tried again.
    fn next_wake(&self) -> Option<Instant> {
        let now = Instant::now();
        let state = self.state.lock();
        state
            .partitions
            .values()
            .filter(|assigned| matches!(assigned.stage, Stage::Unresolved(_) | Stage::Ready { .. }))
            .filter_map(|assigned| assigned.not_before)
            .filter(|at| *at > now)
            .min()
    }

    /// The leader of the partition and the offset that `start` means.
    async fn resolve(
        &self,
        partition: &TopicPartition,
        start: StartAt,
    ) -> Result<(i32, i64), Error> {
        let spec = match start {
            StartAt::Offset(offset) => return Ok((self.client.leader(partition).await?, offset)),
            StartAt::Earliest => OffsetSpec::Earliest,
            StartAt::Latest => OffsetSpec::Latest,
            StartAt::Time(timestamp) => OffsetSpec::AtTime(timestamp),
        };
        let mut offset = self.listed(partition, spec).await?;
        if offset.is_none() {
            offset = self.listed(partition, OffsetSpec::Latest).await?;
        }
        let offset = offset.ok_or_else(|| Error::NotFound {
            what: format!("end of {partition}"),
        })?;
        Ok((self.client.leader(partition).await?, offset))
    }

    async fn listed(
        &self,
        partition: &TopicPartition,
        spec: OffsetSpec,
    ) -> Result<Option<i64>, Error> {
        let isolation = self.config.isolation;
        let partitions = [partition.partition];
        let found = self
            .client
            .list_offsets_once(&partition.topic, &partitions, spec, isolation)
            .await?;
        Ok(found.first().and_then(|listed| listed.offset))
    }

    async fn fetch(
        &self,
        leader: i32,
        request: &FetchRequest,
        wait: Duration,
    ) -> Result<FetchResponse, Error> {
        let connection = self.client.broker(leader).await?;
        let version = connection.version::<FetchRequest>(FETCH_CAP)?;
        let response = connection.start(request, version, wait)?.await?;
        Error::check(response.error_code, || "fetch".to_owned(), None)?;
        Ok(response)
    }

    fn resolved(&self, asked: &Asked, found: Result<(i32, i64), Error>) {
        let mut state = self.state.lock();
        let Some(assigned) = state.current(asked) else {
            return;
        };
        match found {
            Ok((leader, offset)) => {
                assigned.stage = Stage::Ready { leader, offset };
                assigned.consumed.get_or_insert(offset);
                assigned.not_before = None;
            }
            Err(error) => {
                let Stage::Resolving(start) = assigned.stage else {
                    return;
                };
                assigned.stage = Stage::Unresolved(start);
                self.client.forget(&asked.partition.topic);
                self.failed(&mut state, asked, error);
            }
        }
    }

    fn fetched(&self, asked: &[Asked], response: Result<FetchResponse, Error>) {
        let mut state = self.state.lock();
        let response = match response {
            Ok(response) => response,
            Err(error) => {
                for one in asked {
                    if let Some(assigned) = state.current(one) {
                        assigned.stage = Stage::Unresolved(StartAt::Offset(one.offset));
                        self.client.forget(&one.partition.topic);
                        self.failed(&mut state, one, error.clone());
                    }
                }
                return;
            }
        };
        for topic in response.responses {
            for data in topic.partitions {
                let one = asked.iter().find(|one| {
                    one.partition.partition == data.partition_index
                        && *one.partition.topic == *topic.topic.0
                });
                if let Some(one) = one {
                    self.take(&mut state, one, data);
                }
            }
        }
        // A partition the broker left out is asked for again.
        for one in asked {
            if let Some(assigned) = state.current(one)
                && let Stage::Fetching { leader, offset } = assigned.stage
            {
                assigned.stage = Stage::Ready { leader, offset };
            }
        }
    }

    fn take(&self, state: &mut super::State, one: &Asked, data: PartitionData) {
        let Some(assigned) = state.current(one) else {
            return;
        };
        let Stage::Fetching { leader, offset } = assigned.stage else {
            return;
        };
        if let Some(code) = ErrorCode::try_from_code(data.error_code) {
            assigned.stage = Stage::Unresolved(StartAt::Offset(offset));
            if is_stale(code) {
                self.client.forget(&one.partition.topic);
            }
            let error = fetch_error(one, code, data.log_start_offset);
            self.failed(state, one, error);
            return;
        }
        assigned.failures = 0;
        assigned.failing_since = None;
        assigned.not_before = None;
        assigned.high_watermark = Some(data.high_watermark);
        let records = data.records.unwrap_or_default();
        let next = match next_offset(&records, offset) {
            Ok(next) => next,
            Err(error) => {
                self.failed(state, one, error);
                return;
            }
        };
        assigned.stage = Stage::Ready {
            leader,
            offset: next,
        };
        if records.is_empty() {
            return;
        }
        assigned.queued += records.len();
        state.queued_bytes += records.len();
        let aborted = data.aborted_transactions.unwrap_or_default();
        state.queue.push_back(Ok(Fetched {
            partition: one.partition.clone(),
            from: offset,
            next_offset: next,
            high_watermark: data.high_watermark,
            last_stable_offset: data.last_stable_offset,
            log_start_offset: data.log_start_offset,
            records,
            aborted: aborted
                .iter()
                .map(|transaction| Aborted {
                    producer_id: transaction.producer_id.0,
                    first_offset: transaction.first_offset,
                })
                .collect(),
            limits: self.config.limits,
        }));
        self.ready.notify_one();
    }

    /// Notes a failure of a partition whose stage already says where to go on: pauses it, or parks and reports it.
    fn failed(&self, state: &mut super::State, one: &Asked, error: Error) {
        let Some(assigned) = state.current(one) else {
            return;
        };
        let now = Instant::now();
        let config = self.client.config();
        if error.is_retriable() {
            let since = *assigned.failing_since.get_or_insert(now);
            assigned.not_before = Some(now + config.pause(assigned.failures));
            assigned.failures = assigned.failures.saturating_add(1);
            debug!(partition = %one.partition, %error, "fetch will be repeated");
            if now.duration_since(since) < config.retry_timeout {
                return;
            }
            assigned.failing_since = Some(now);
        } else {
            assigned.stage = Stage::Parked;
        }
        warn!(partition = %one.partition, %error, "could not fetch");
        state.queue.push_back(Err((one.partition.clone(), error)));
        self.ready.notify_one();
    }
}

impl super::State {
    /// The partition, if it is still the one that was asked for.
    fn current(&mut self, asked: &Asked) -> Option<&mut Assigned> {
        self.partitions
            .get_mut(&asked.partition)
            .filter(|assigned| assigned.generation == asked.generation)
    }
}

fn fetch_error(one: &Asked, code: ErrorCode, log_start: i64) -> Error {
    let TopicPartition { topic, partition } = one.partition.clone();
    if code == ErrorCode::OffsetOutOfRange {
        return Error::OffsetOutOfRange {
            topic,
            partition,
            offset: one.offset,
            log_start,
        };
    }
    Error::Broker {
        what: format!("fetch of {}", one.partition),
        code,
        message: None,
    }
}
