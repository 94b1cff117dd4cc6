//! The task behind a producer: finds leaders, asks for producer ids, sends what the queues give, sorts the answers.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    InitProducerIdRequest, ProduceRequest, ProduceResponse, ProducerId, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tracing::{debug, warn};

use super::queue::{Decided, Identity, Queue, Rules, Ticket};
use super::{Acks, Closed, Command, DeliveryReport, Done, Shared};
use crate::client::is_stale;
use crate::connection::Connection;
use crate::error::{Error, ErrorCode};
use crate::metadata::TopicPartition;

/// Versions above need topic ids.
const PRODUCE_CAP: i16 = 11;
const INIT_PRODUCER_ID_CAP: i16 = 4;

/// What the queue gives back with the outcome of a batch.
struct Cargo {
    done: Arc<Done>,
    _memory: Option<OwnedSemaphorePermit>,
}

struct Lane {
    queue: Queue<Cargo>,
    leader: Leader,
    failures: u32,
}

/// What is known of a partition's leader.
#[derive(Clone, Copy, PartialEq)]
enum Leader {
    Unknown { not_before: Option<Instant> },
    Asking,
    Known(i32),
}

enum Link {
    Connecting,
    Ready(Arc<Connection>),
    Down { until: Instant },
}

type Sent = Vec<(TopicPartition, Ticket)>;

enum Event {
    Connected(i32, Result<Arc<Connection>, Error>),
    Answered(Sent, Result<ProduceResponse, Error>),
    Identity(Result<Identity, Error>),
    Leader(TopicPartition, Result<i32, Error>),
}

struct Driver {
    shared: Arc<Shared>,
    lanes: HashMap<TopicPartition, Lane>,
    links: HashMap<i32, Link>,
    link_failures: HashMap<i32, u32>,
    lingering: VecDeque<(TopicPartition, u64, Instant)>,
    events: FuturesUnordered<BoxFuture<'static, Event>>,
    asking_identity: bool,
    identity_not_before: Option<Instant>,
    identity_failures: u32,
}

/// Runs until the producer is dropped.
pub(super) async fn run(shared: Arc<Shared>, mut commands: mpsc::UnboundedReceiver<Command>) {
    let mut driver = Driver {
        shared,
        lanes: HashMap::new(),
        links: HashMap::new(),
        link_failures: HashMap::new(),
        lingering: VecDeque::new(),
        events: FuturesUnordered::new(),
        asking_identity: false,
        identity_not_before: None,
        identity_failures: 0,
    };
    loop {
        driver.advance(Instant::now());
        let wake = driver.next_wake();
        let timer = async {
            match wake {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            command = commands.recv() => match command {
                Some(command) => {
                    driver.obey(command);
                    // What was queued meanwhile can share the next request.
                    while let Ok(command) = commands.try_recv() {
                        driver.obey(command);
                    }
                }
                None => return,
            },
            Some(event) = driver.events.next() => driver.absorb(event, Instant::now()),
            () = timer => {}
        }
    }
}

impl Driver {
    fn obey(&mut self, command: Command) {
        match command {
            Command::Linger(partition, id, at) => self.lingering.push_back((partition, id, at)),
            Command::Batch(partition, closed) => {
                let Closed {
                    sealed,
                    _memory,
                    done,
                    at,
                } = closed;
                let config = &self.shared.config;
                let lane = self
                    .lanes
                    .entry(partition)
                    .or_insert_with_key(|partition| Lane {
                        queue: Queue::new(Rules {
                            partition: partition.clone(),
                            idempotent: config.idempotent,
                            max_in_flight: config.max_in_flight,
                            delivery_timeout: config.delivery_timeout,
                        }),
                        leader: Leader::Unknown { not_before: None },
                        failures: 0,
                    });
                lane.queue.push(sealed, at, Cargo { done, _memory });
            }
        }
    }

    /// Does everything that can be done now.
    fn advance(&mut self, now: Instant) {
        while let Some((partition, id, _)) = self.lingering.pop_front_if(|(_, _, at)| *at <= now) {
            self.shared.close_lingering(&partition, id);
        }
        self.expire(now);
        self.ask_identity(now);
        self.ask_leaders(now);
        self.connect(now);
        self.send(now);
    }

    fn next_wake(&self) -> Option<Instant> {
        let lingering = self.lingering.front().map(|(_, _, at)| *at);
        let lanes = self.lanes.values().filter(|lane| !lane.queue.is_empty());
        let lanes = lanes.flat_map(|lane| {
            let leader = match lane.leader {
                Leader::Unknown { not_before } => not_before,
                Leader::Asking | Leader::Known(_) => None,
            };
            lane.queue.wake_at().into_iter().chain(leader)
        });
        let links = self.links.values().filter_map(|link| match link {
            Link::Down { until } => Some(*until),
            Link::Connecting | Link::Ready(_) => None,
        });
        lingering
            .into_iter()
            .chain(lanes)
            .chain(links)
            .chain(self.identity_not_before)
            .min()
    }

    fn expire(&mut self, now: Instant) {
        let mut decided = Vec::new();
        for (partition, lane) in &mut self.lanes {
            if lane.queue.wake_at().is_some_and(|at| at <= now) {
                let late = lane.queue.expire(now);
                decided.extend(late.into_iter().map(|batch| (partition.clone(), batch)));
            }
        }
        for (partition, batch) in decided {
            self.shared.decide(partition, batch, now);
        }
    }

    fn ask_identity(&mut self, now: Instant) {
        let wanted = self.lanes.values().any(|lane| lane.queue.needs_identity());
        if !wanted || self.asking_identity || self.identity_not_before.is_some_and(|at| at > now) {
            return;
        }
        self.asking_identity = true;
        self.identity_not_before = None;
        let shared = Arc::clone(&self.shared);
        self.events.push(Box::pin(async move {
            Event::Identity(shared.new_identity().await)
        }));
    }

    fn ask_leaders(&mut self, now: Instant) {
        for (partition, lane) in &mut self.lanes {
            let Leader::Unknown { not_before } = lane.leader else {
                continue;
            };
            if lane.queue.is_empty() || not_before.is_some_and(|at| at > now) {
                continue;
            }
            lane.leader = Leader::Asking;
            let client = self.shared.client.clone();
            let partition = partition.clone();
            self.events.push(Box::pin(async move {
                let leader = client.leader(&partition).await;
                Event::Leader(partition, leader)
            }));
        }
    }

    /// Begins connections to the leaders of partitions that could send.
    fn connect(&mut self, now: Instant) {
        for lane in self.lanes.values() {
            let Leader::Known(node) = lane.leader else {
                continue;
            };
            if !lane.queue.is_ready(now) {
                continue;
            }
            match self.links.get(&node) {
                Some(Link::Connecting) => continue,
                Some(Link::Ready(connection)) if connection.is_open() => continue,
                Some(Link::Down { until }) if *until > now => continue,
                _ => {}
            }
            self.links.insert(node, Link::Connecting);
            let client = self.shared.client.clone();
            self.events.push(Box::pin(async move {
                Event::Connected(node, client.broker(node).await)
            }));
        }
    }

    /// Sends rounds of requests, each with at most one batch of a partition, until no queue gives more.
    fn send(&mut self, now: Instant) {
        loop {
            let mut by_node: BTreeMap<i32, Vec<(TopicPartition, Ticket, Bytes)>> = BTreeMap::new();
            let mut sizes: BTreeMap<i32, usize> = BTreeMap::new();
            for (partition, lane) in &mut self.lanes {
                let Leader::Known(node) = lane.leader else {
                    continue;
                };
                let ready = matches!(self.links.get(&node), Some(Link::Ready(connection)) if connection.is_open());
                let size = sizes.entry(node).or_default();
                if !ready || *size >= self.shared.config.request_bytes {
                    continue;
                }
                if let Some((ticket, bytes)) = lane.queue.next(now) {
                    *size += bytes.len();
                    by_node
                        .entry(node)
                        .or_default()
                        .push((partition.clone(), ticket, bytes));
                }
            }
            if by_node.is_empty() {
                return;
            }
            for (node, batches) in by_node {
                self.send_request(node, batches);
            }
        }
    }

    fn send_request(&mut self, node: i32, batches: Vec<(TopicPartition, Ticket, Bytes)>) {
        let Some(Link::Ready(connection)) = self.links.get(&node) else {
            return;
        };
        let mut sent = Vec::with_capacity(batches.len());
        let mut topics: BTreeMap<Arc<str>, Vec<PartitionProduceData>> = BTreeMap::new();
        for (partition, ticket, bytes) in batches {
            topics
                .entry(Arc::clone(&partition.topic))
                .or_default()
                .push(
                    PartitionProduceData::default()
                        .with_index(partition.partition)
                        .with_records(Some(bytes)),
                );
            sent.push((partition, ticket));
        }
        let acks = self.shared.config.acks;
        let request = ProduceRequest::default()
            .with_acks(acks.wire())
            .with_timeout_ms(
                self.shared
                    .client
                    .config()
                    .request_timeout
                    .as_millis()
                    .try_into()
                    .unwrap_or(i32::MAX),
            )
            .with_topic_data(
                topics
                    .into_iter()
                    .map(|(topic, partitions)| {
                        TopicProduceData::default()
                            .with_name(TopicName(StrBytes::from_string(topic.as_ref().to_owned())))
                            .with_partition_data(partitions)
                    })
                    .collect(),
            );
        // The frame is queued here and now, so that requests keep the order of these calls.
        let started = connection
            .version::<ProduceRequest>(PRODUCE_CAP)
            .and_then(|version| {
                if acks == Acks::None {
                    connection.send_unanswered(&request, version)?;
                    return Ok(None);
                }
                Ok(Some(connection.start(&request, version, Duration::ZERO)?))
            });
        self.events.push(match started {
            Ok(Some(answer)) => Box::pin(async move { Event::Answered(sent, answer.await) }),
            Ok(None) => {
                Box::pin(async move { Event::Answered(sent, Ok(ProduceResponse::default())) })
            }
            Err(error) => Box::pin(async move { Event::Answered(sent, Err(error)) }),
        });
    }

    fn absorb(&mut self, event: Event, now: Instant) {
        let shared = Arc::clone(&self.shared);
        let pause = |failures: &mut u32| {
            *failures = failures.saturating_add(1);
            now + shared.client.config().pause(*failures - 1)
        };
        match event {
            Event::Connected(node, Ok(connection)) => {
                self.link_failures.remove(&node);
                self.links.insert(node, Link::Ready(connection));
            }
            Event::Connected(node, Err(error)) => {
                let failures = self.link_failures.entry(node).or_default();
                let until = pause(failures);
                warn!(node, %error, "could not reach leader");
                self.links.insert(node, Link::Down { until });
                // The leader may have moved meanwhile.
                self.forget_leader(node, until);
                self.fail_if_lasting(&error, now);
            }
            Event::Identity(Ok(identity)) => {
                self.asking_identity = false;
                self.identity_failures = 0;
                for lane in self
                    .lanes
                    .values_mut()
                    .filter(|lane| lane.queue.needs_identity())
                {
                    lane.queue.set_identity(identity);
                }
            }
            Event::Identity(Err(error)) => {
                self.asking_identity = false;
                self.identity_not_before = Some(pause(&mut self.identity_failures));
                warn!(%error, "could not get a producer id");
                self.fail_if_lasting(&error, now);
            }
            Event::Leader(partition, found) => {
                let Some(lane) = self.lanes.get_mut(&partition) else {
                    return;
                };
                match found {
                    Ok(node) => lane.leader = Leader::Known(node),
                    Err(error) => {
                        debug!(%partition, %error, "no leader");
                        shared.client.forget(&partition.topic);
                        let not_before = Some(pause(&mut lane.failures));
                        lane.leader = Leader::Unknown { not_before };
                    }
                }
            }
            Event::Answered(sent, Ok(response)) => self.answered(sent, &response, now),
            Event::Answered(sent, Err(error)) => {
                for (partition, ticket) in sent {
                    self.failed(&partition, ticket, error.clone(), now);
                }
            }
        }
    }

    fn answered(&mut self, sent: Sent, response: &ProduceResponse, now: Instant) {
        let unanswered = self.shared.config.acks == Acks::None;
        for (partition, ticket) in sent {
            let answer = response
                .responses
                .iter()
                .filter(|topic| *topic.name.0 == *partition.topic)
                .flat_map(|topic| &topic.partition_responses)
                .find(|answer| answer.index == partition.partition);
            let (code, offset, message) = match answer {
                Some(answer) => (answer.error_code, answer.base_offset, &answer.error_message),
                None if unanswered => (0, -1, &None),
                None => {
                    let error = Error::Malformed {
                        what: "produce response".to_owned(),
                        address: "the leader".to_owned(),
                        reason: format!("{partition} is missing"),
                    };
                    self.failed(&partition, ticket, error, now);
                    continue;
                }
            };
            match ErrorCode::try_from_code(code) {
                None | Some(ErrorCode::DuplicateSequenceNumber) => {
                    if let Some(lane) = self.lanes.get_mut(&partition) {
                        lane.failures = 0;
                        let decided = lane.queue.stored(ticket, offset);
                        if let Some(decided) = decided {
                            self.shared.decide(partition, decided, now);
                        }
                    }
                }
                Some(code) => {
                    let message = message.as_ref().map(|text| text.as_str().to_owned());
                    let what = format!("produce to {partition}");
                    let error = Error::Broker {
                        what,
                        code,
                        message,
                    };
                    self.failed(&partition, ticket, error, now);
                }
            }
        }
    }

    fn failed(&mut self, partition: &TopicPartition, ticket: Ticket, error: Error, now: Instant) {
        let Some(lane) = self.lanes.get_mut(partition) else {
            return;
        };
        debug!(%partition, %error, "batch not stored");
        self.shared.counters.retries.fetch_add(1, Ordering::Relaxed);
        let pause = self.shared.client.config().pause(lane.failures);
        lane.failures = lane.failures.saturating_add(1);
        if error.code().is_none_or(is_stale) {
            self.shared.client.forget(&partition.topic);
            lane.leader = Leader::Unknown {
                not_before: Some(now + pause),
            };
        }
        for decided in lane.queue.failed(ticket, error, now, pause) {
            self.shared.decide(partition.clone(), decided, now);
        }
    }

    fn forget_leader(&mut self, node: i32, until: Instant) {
        for (partition, lane) in &mut self.lanes {
            if lane.leader == Leader::Known(node) {
                self.shared.client.forget(&partition.topic);
                lane.leader = Leader::Unknown {
                    not_before: Some(until),
                };
            }
        }
    }

    /// Refused credentials and the like do not pass with time: everything not under way fails with them.
    fn fail_if_lasting(&mut self, error: &Error, now: Instant) {
        if error.is_retriable() {
            return;
        }
        for (partition, lane) in &mut self.lanes {
            for decided in lane.queue.abandon(error) {
                self.shared.decide(partition.clone(), decided, now);
            }
        }
    }
}

// === impl Shared ===

impl Shared {
    async fn new_identity(&self) -> Result<Identity, Error> {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(i32::MAX)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1);
        let connection = self.client.any().await?;
        let (response, _) = connection.call(&request, INIT_PRODUCER_ID_CAP).await?;
        Error::check(response.error_code, || "producer id".to_owned(), None)?;
        Ok(Identity {
            id: response.producer_id.0,
            epoch: response.producer_epoch,
        })
    }

    fn decide(&self, partition: TopicPartition, decided: Decided<Cargo>, now: Instant) {
        let Decided {
            cargo,
            count,
            size,
            enqueued,
            outcome,
        } = decided;
        let counters = &self.counters;
        if outcome.is_ok() {
            counters
                .records
                .fetch_add(u64::from(count.unsigned_abs()), Ordering::Relaxed);
            counters.bytes.fetch_add(size as u64, Ordering::Relaxed);
            counters.batches.fetch_add(1, Ordering::Relaxed);
        } else {
            counters.failed.fetch_add(1, Ordering::Relaxed);
        }
        let latency = now.saturating_duration_since(enqueued);
        let report = outcome.map(|offset| DeliveryReport {
            partition,
            offset,
            count,
            latency,
        });
        cargo.done.decide(report);
        self.outstanding
            .send_modify(|outstanding| *outstanding = outstanding.saturating_sub(1));
    }
}

impl Acks {
    fn wire(self) -> i16 {
        match self {
            Acks::None => 0,
            Acks::Leader => 1,
            Acks::All => -1,
        }
    }
}
