//! Reads partitions that the caller chose, from offsets that the caller keeps; no group is needed.
//!
//! A driver task fetches ahead, one request at a time for each broker and for all its partitions, until the byte bound
//! is reached. What it fetched is handed out undecoded as [`Fetched`], so the caller chooses the thread that pays for
//! decompression and the record walk.

mod driver;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::batch::{Aborted, BatchLimits, RecordColumns, decode_committed};
use crate::client::Client;
use crate::error::Error;
use crate::metadata::TopicPartition;

/// How a [`PartitionConsumer`] fetches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConsumerConfig {
    /// Which records of transactions are seen.
    pub isolation: Isolation,
    /// How long the broker may wait for `min_bytes`.
    pub max_wait: Duration,
    /// Bytes the broker waits for.
    pub min_bytes: usize,
    /// Most bytes of one response; a single larger batch still comes whole.
    pub max_bytes: usize,
    /// Most bytes of one partition in one response.
    pub partition_max_bytes: usize,
    /// Bytes fetched and not yet taken at which fetching pauses.
    pub prefetch_bytes: usize,
    /// What decoding of one [`Fetched`] may cost.
    pub limits: BatchLimits,
}

/// Which records of transactions are seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Isolation {
    /// All of them, also of transactions that are open or were rolled back.
    ReadUncommitted,
    /// Only those of committed transactions.
    #[default]
    ReadCommitted,
}

/// Where reading of a partition begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartAt {
    /// The first record kept.
    Earliest,
    /// Behind the last record.
    Latest,
    /// This offset.
    Offset(i64),
    /// The first record at or after this time, in milliseconds since 1970; behind the last when there is none.
    Time(i64),
}

/// What one fetch brought for one partition, not yet decoded.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The partition.
    pub partition: TopicPartition,
    /// The position this fetch was for.
    pub from: i64,
    /// The position behind it.
    pub next_offset: i64,
    /// The offset the next record of the partition gets.
    pub high_watermark: i64,
    /// The first offset whose transaction is undecided.
    pub last_stable_offset: i64,
    /// The first offset kept, −1 when the broker did not say.
    pub log_start_offset: i64,
    records: Bytes,
    aborted: Vec<Aborted>,
    limits: BatchLimits,
}

/// A consumer of chosen partitions. Dropping it ends its task and connections.
pub struct PartitionConsumer {
    shared: Arc<Shared>,
    _driver: JoinSet<()>,
}

/// Tells how fetching goes, wherever the consumer is.
#[derive(Clone)]
pub struct FetchHealth(Arc<Shared>);

struct Shared {
    client: Client,
    config: ConsumerConfig,
    state: Mutex<State>,
    /// Tells the driver that there is something to do.
    work: Notify,
    /// Tells the reader that there is something to take.
    ready: Notify,
}

#[derive(Default)]
struct State {
    partitions: HashMap<TopicPartition, Assigned>,
    queue: VecDeque<Result<Fetched, (TopicPartition, Error)>>,
    queued_bytes: usize,
    next_generation: u64,
}

struct Assigned {
    stage: Stage,
    /// Changes with every assignment, so an answer to an older question is known as such.
    generation: u64,
    paused: bool,
    /// Bytes of this partition in the queue.
    queued: usize,
    failures: u32,
    failing_since: Option<Instant>,
    not_before: Option<Instant>,
    /// Position behind the last records handed out.
    consumed: Option<i64>,
    high_watermark: Option<i64>,
}

#[derive(Clone, Copy)]
enum Stage {
    /// Leader or offset are not known.
    Unresolved(StartAt),
    /// They are being asked for.
    Resolving(StartAt),
    /// The next fetch may ask for this offset at this leader.
    Ready { leader: i32, offset: i64 },
    /// A fetch of this offset is under way.
    Fetching { leader: i32, offset: i64 },
    /// A lasting error was reported; a new assignment is needed.
    Parked,
}

impl Default for ConsumerConfig {
    fn default() -> ConsumerConfig {
        ConsumerConfig {
            isolation: Isolation::default(),
            max_wait: Duration::from_millis(250),
            min_bytes: 1,
            max_bytes: 16 << 20,
            partition_max_bytes: 2 << 20,
            prefetch_bytes: 32 << 20,
            limits: BatchLimits::default(),
        }
    }
}

impl PartitionConsumer {
    /// A consumer of `client`'s cluster with connections of its own; it reads nothing until partitions are assigned.
    #[must_use]
    pub fn new(client: &Client, config: ConsumerConfig) -> PartitionConsumer {
        let shared = Arc::new(Shared {
            client: client.dedicated(),
            config,
            state: Mutex::default(),
            work: Notify::new(),
            ready: Notify::new(),
        });
        let mut driver = JoinSet::new();
        driver.spawn(driver::run(Arc::clone(&shared)));
        PartitionConsumer {
            shared,
            _driver: driver,
        }
    }

    /// Adds partitions, or moves those already assigned; what was fetched of them before is dropped.
    pub fn assign(&self, partitions: impl IntoIterator<Item = (TopicPartition, StartAt)>) {
        let mut state = self.shared.state.lock();
        for (partition, start) in partitions {
            state.drop_queued(&partition);
            let generation = state.next_generation;
            state.next_generation += 1;
            state
                .partitions
                .insert(partition, Assigned::new(start, generation));
        }
        self.shared.work.notify_one();
    }

    /// Stops reading these partitions.
    pub fn unassign<'a>(&self, partitions: impl IntoIterator<Item = &'a TopicPartition>) {
        let mut state = self.shared.state.lock();
        for partition in partitions {
            state.drop_queued(partition);
            state.partitions.remove(partition);
        }
        self.shared.work.notify_one();
    }

    /// Fetches no more of these partitions; what is already fetched is still handed out.
    pub fn pause<'a>(&self, partitions: impl IntoIterator<Item = &'a TopicPartition>) {
        self.shared.state.lock().set_paused(partitions, true);
    }

    /// Goes on fetching these partitions.
    pub fn resume<'a>(&self, partitions: impl IntoIterator<Item = &'a TopicPartition>) {
        self.shared.state.lock().set_paused(partitions, false);
        self.shared.work.notify_one();
    }

    /// A view of how fetching goes that outlives the consumer.
    #[must_use]
    pub fn health(&self) -> FetchHealth {
        FetchHealth(Arc::clone(&self.shared))
    }

    /// The next records of any assigned partition; waits while there are none. Safe to cancel.
    ///
    /// An error names its partition. After one that is not retriable the partition rests until it is assigned again;
    /// after a retriable one, reported once in every `retry_timeout`, reading goes on by itself.
    pub async fn next(&mut self) -> Result<Fetched, (TopicPartition, Error)> {
        let shared = Arc::clone(&self.shared);
        loop {
            let ready = shared.ready.notified();
            if let Some(item) = self.try_next() {
                return item;
            }
            ready.await;
        }
    }

    /// [`PartitionConsumer::next`] without waiting.
    pub fn try_next(&mut self) -> Option<Result<Fetched, (TopicPartition, Error)>> {
        let mut state = self.shared.state.lock();
        let item = state.queue.pop_front()?;
        if let Ok(fetched) = &item {
            state.queued_bytes -= fetched.size();
            if let Some(assigned) = state.partitions.get_mut(&fetched.partition) {
                assigned.queued -= fetched.size();
                assigned.consumed = Some(fetched.next_offset);
            }
            self.shared.work.notify_one();
        }
        Some(item)
    }

    /// The position behind the last records handed out of this partition.
    #[must_use]
    pub fn position(&self, partition: &TopicPartition) -> Option<i64> {
        self.shared.state.lock().partitions.get(partition)?.consumed
    }

    /// The high watermark that the last fetch of this partition saw.
    #[must_use]
    pub fn high_watermark(&self, partition: &TopicPartition) -> Option<i64> {
        self.shared
            .state
            .lock()
            .partitions
            .get(partition)?
            .high_watermark
    }
}

impl FetchHealth {
    /// Whether the last fetch of this partition was answered, be it with nothing.
    #[must_use]
    pub fn answers(&self, partition: &TopicPartition) -> bool {
        let state = self.0.state.lock();
        let assigned = state.partitions.get(partition);
        assigned.is_some_and(|assigned| {
            assigned.high_watermark.is_some() && assigned.failing_since.is_none()
        })
    }
}

impl std::fmt::Debug for FetchHealth {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("FetchHealth")
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for PartitionConsumer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.shared.state.lock();
        formatter
            .debug_struct("PartitionConsumer")
            .field("partitions", &state.partitions.len())
            .field("queued_bytes", &state.queued_bytes)
            .finish()
    }
}

impl Fetched {
    /// Decompresses, checks and decodes the records.
    pub fn decode(&self) -> Result<RecordColumns, Error> {
        let mut columns = decode_committed(&self.records, self.from, &self.aborted, self.limits)?;
        columns.partition = self.partition.partition;
        Ok(columns)
    }

    /// Bytes as they came over the wire.
    #[must_use]
    pub fn size(&self) -> usize {
        self.records.len()
    }
}

impl Isolation {
    pub(crate) fn wire(self) -> i8 {
        match self {
            Isolation::ReadUncommitted => 0,
            Isolation::ReadCommitted => 1,
        }
    }
}

// === impl State ===

impl State {
    fn drop_queued(&mut self, partition: &TopicPartition) {
        let queued_bytes = &mut self.queued_bytes;
        self.queue.retain(|item| match item {
            Ok(fetched) if fetched.partition == *partition => {
                *queued_bytes -= fetched.size();
                false
            }
            Ok(_) => true,
            Err((of, _)) => of != partition,
        });
    }

    fn set_paused<'a>(
        &mut self,
        partitions: impl IntoIterator<Item = &'a TopicPartition>,
        paused: bool,
    ) {
        for partition in partitions {
            if let Some(assigned) = self.partitions.get_mut(partition) {
                assigned.paused = paused;
            }
        }
    }
}

impl Assigned {
    fn new(start: StartAt, generation: u64) -> Assigned {
        Assigned {
            stage: Stage::Unresolved(start),
            generation,
            paused: false,
            queued: 0,
            failures: 0,
            failing_since: None,
            not_before: None,
            consumed: None,
            high_watermark: None,
        }
    }
}
