//! Writes records: batches them by partition, keeps several batches of a partition under way, and reports what became
//! of each.
//!
//! Callers fill batches ([`Producer::send`] record by record, [`Producer::send_batch`] in bulk) on their own threads,
//! where compression is paid for as well; one driver task stamps, sends and repeats them. [`queue`] decides order and
//! repetition without any IO.

mod driver;
mod murmur;
mod queue;

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use crate::batch::{BatchBuilder, Compression, Sealed};
use crate::client::Client;
use crate::error::Error;
use crate::metadata::TopicPartition;

pub use murmur::partition_for_key;

/// How a [`Producer`] batches and repeats.
#[derive(Debug, Clone, PartialEq)]
pub struct ProducerConfig {
    /// Who must have stored a batch before it counts as delivered.
    pub acks: Acks,
    /// Whether the broker drops repetitions; needs [`Acks::All`].
    pub idempotent: bool,
    /// Codec of the batches.
    pub compression: Compression,
    /// Bytes, before compression, at which a batch of [`Producer::send`] is closed.
    pub batch_bytes: usize,
    /// How long a batch of [`Producer::send`] waits for more records.
    pub linger: Duration,
    /// Batches of one partition under way at once, 1 to 5.
    pub max_in_flight: usize,
    /// Bytes of all batches not yet delivered; when they are used up, sending waits.
    pub memory: usize,
    /// Most bytes of one request.
    pub request_bytes: usize,
    /// How long a batch may be tried before it fails.
    pub delivery_timeout: Duration,
}

/// Who must have stored a batch before it counts as delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acks {
    /// Nobody: it counts once it is handed to the connection.
    None,
    /// The leader of the partition.
    Leader,
    /// All replicas in sync.
    All,
}

/// One record to send.
#[derive(Debug, Clone, Copy, Default)]
pub struct Record<'a> {
    /// The partition; without it the key decides, and without a key they take turns batch by batch.
    pub partition: Option<i32>,
    /// Key.
    pub key: Option<&'a [u8]>,
    /// Value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Timestamp in milliseconds since 1970.
    pub timestamp: i64,
    /// Headers.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
}

/// Where a record or batch ended up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryReport {
    /// The partition.
    pub partition: TopicPartition,
    /// Offset of the record, or of the first of the batch; −1 when the broker did not say.
    pub offset: i64,
    /// Number of records of the whole batch.
    pub count: i32,
    /// Time from closing the batch to its acknowledgement.
    pub latency: Duration,
}

/// Resolves when the broker acknowledged a record or batch, or when it failed for good.
#[derive(Debug, Clone)]
pub struct Delivery {
    done: Arc<Done>,
    index: i64,
}

/// What a producer did so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProducerStats {
    /// Records acknowledged.
    pub records: u64,
    /// Bytes of the batches acknowledged, as sent.
    pub bytes: u64,
    /// Batches acknowledged.
    pub batches: u64,
    /// Batches that failed for good.
    pub failed: u64,
    /// Attempts repeated.
    pub retries: u64,
    /// Batches closed and not yet decided.
    pub outstanding: u64,
}

/// Writes to the partitions of one cluster. Dropping it abandons what is not yet delivered; see [`Producer::close`].
#[derive(Debug)]
pub struct Producer {
    shared: Arc<Shared>,
    _driver: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    client: Client,
    config: ProducerConfig,
    memory: Arc<Semaphore>,
    commands: mpsc::UnboundedSender<Command>,
    /// Batches of [`Producer::send`] still being filled.
    open: Mutex<HashMap<TopicPartition, Open>>,
    /// Grows with every closed batch; keyless records follow it from partition to partition.
    turn: AtomicU64,
    outstanding: watch::Sender<u64>,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    records: AtomicU64,
    bytes: AtomicU64,
    batches: AtomicU64,
    failed: AtomicU64,
    retries: AtomicU64,
}

#[derive(Debug)]
enum Command {
    Batch(TopicPartition, Closed),
    /// A batch was opened; close it at the time if it is still the same.
    Linger(TopicPartition, u64, Instant),
}

#[derive(Debug)]
struct Open {
    id: u64,
    builder: BatchBuilder,
    memory: OwnedSemaphorePermit,
    done: Arc<Done>,
}

/// A batch that waits for delivery.
#[derive(Debug)]
struct Closed {
    sealed: Sealed,
    /// Given back when the batch is decided.
    _memory: Option<OwnedSemaphorePermit>,
    done: Arc<Done>,
    at: Instant,
}

#[derive(Debug, Default)]
struct Done {
    outcome: OnceLock<Result<DeliveryReport, Error>>,
    notify: Notify,
}

impl Default for ProducerConfig {
    fn default() -> ProducerConfig {
        ProducerConfig {
            acks: Acks::All,
            idempotent: true,
            compression: Compression::None,
            batch_bytes: 256 << 10,
            linger: Duration::from_millis(5),
            max_in_flight: 5,
            memory: 64 << 20,
            request_bytes: 16 << 20,
            delivery_timeout: Duration::from_secs(120),
        }
    }
}

impl ProducerConfig {
    fn validate(&self) -> Result<(), Error> {
        let refuse = |key, why: &str| {
            Err(Error::Config {
                key,
                why: why.to_owned(),
            })
        };
        if self.idempotent && self.acks != Acks::All {
            return refuse("idempotent", "needs acks=all");
        }
        if !(1..=5).contains(&self.max_in_flight) {
            return refuse("max_in_flight", "needs 1 to 5");
        }
        if self.batch_bytes == 0 || self.memory < self.batch_bytes {
            return refuse("memory", "needs room for at least one batch");
        }
        if self.memory > Semaphore::MAX_PERMITS.min(u32::MAX as usize) {
            return refuse("memory", "must be under 4 GiB");
        }
        Ok(())
    }
}

impl Producer {
    /// A producer for `client`'s cluster with connections of its own.
    pub fn new(client: &Client, config: ProducerConfig) -> Result<Producer, Error> {
        config.validate()?;
        let (commands, receiver) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            client: client.dedicated(),
            memory: Arc::new(Semaphore::new(config.memory)),
            config,
            commands,
            open: Mutex::default(),
            turn: AtomicU64::new(0),
            outstanding: watch::Sender::new(0),
            counters: Counters::default(),
        });
        let mut driver = JoinSet::new();
        driver.spawn(driver::run(Arc::clone(&shared), receiver));
        Ok(Producer {
            shared,
            _driver: driver,
        })
    }

    /// Adds a record to the open batch of its partition; waits while the memory bound is reached.
    pub async fn send(&self, topic: &Arc<str>, record: Record<'_>) -> Result<Delivery, Error> {
        let shared = &self.shared;
        let partition = match record.partition {
            Some(partition) => partition,
            None => {
                let partitions = shared.client.partition_count(topic).await?;
                match record.key {
                    Some(key) => partition_for_key(key, partitions),
                    None => {
                        let turn = shared.turn.load(Ordering::Relaxed);
                        (turn % partitions.max(1) as u64) as i32
                    }
                }
            }
        };
        let len = |part: Option<&[u8]>| part.map_or(0, <[u8]>::len);
        let headers = record
            .headers
            .iter()
            .map(|(name, value)| name.len() + len(*value) + 10)
            .sum();
        let size = BatchBuilder::record_bound(len(record.key), len(record.value), headers);
        let memory = shared.reserve(size).await?;
        Ok(shared.add(
            TopicPartition::new(Arc::clone(topic), partition),
            record,
            size,
            memory,
        ))
    }

    /// Sends a whole batch that the caller filled; waits while the memory bound is reached.
    ///
    /// Batches of one partition keep the order of these calls. They are not merged with those of [`Producer::send`],
    /// and `batch_bytes` does not split them: the caller closes them below the topic's `max.message.bytes`.
    pub async fn send_batch(
        &self,
        partition: TopicPartition,
        batch: BatchBuilder,
    ) -> Result<Delivery, Error> {
        if batch.is_empty() {
            let why = "needs at least one record".to_owned();
            return Err(Error::Config { key: "batch", why });
        }
        let memory = self.shared.reserve(batch.size()).await?;
        let sealed = batch.seal(self.shared.config.compression)?;
        let done = Arc::<Done>::default();
        self.shared
            .enqueue(partition, sealed, Some(memory), Arc::clone(&done));
        Ok(Delivery { done, index: 0 })
    }

    /// Sends all open batches and waits until nothing is outstanding; failures are in the delivery reports.
    pub async fn flush(&self) {
        self.shared.close_open();
        // The sender lives in `shared`, so waiting cannot fail.
        let _ = self
            .shared
            .outstanding
            .subscribe()
            .wait_for(|outstanding| *outstanding == 0)
            .await;
    }

    /// Flushes, then ends the task and the connections.
    pub async fn close(self) {
        self.flush().await;
    }

    /// What it did so far.
    #[must_use]
    pub fn stats(&self) -> ProducerStats {
        let counters = &self.shared.counters;
        ProducerStats {
            records: counters.records.load(Ordering::Relaxed),
            bytes: counters.bytes.load(Ordering::Relaxed),
            batches: counters.batches.load(Ordering::Relaxed),
            failed: counters.failed.load(Ordering::Relaxed),
            retries: counters.retries.load(Ordering::Relaxed),
            outstanding: *self.shared.outstanding.borrow(),
        }
    }
}

impl Delivery {
    /// Waits for the outcome.
    pub async fn wait(&self) -> Result<DeliveryReport, Error> {
        loop {
            let mut notified = pin!(self.done.notify.notified());
            notified.as_mut().enable();
            if let Some(outcome) = self.try_get() {
                return outcome;
            }
            notified.await;
        }
    }

    /// The outcome, if there is one yet.
    #[must_use]
    pub fn try_get(&self) -> Option<Result<DeliveryReport, Error>> {
        let mut outcome = self.done.outcome.get()?.clone();
        if let Ok(report) = &mut outcome
            && report.offset >= 0
        {
            report.offset += self.index;
        }
        Some(outcome)
    }
}

// === impl Shared ===

impl Shared {
    async fn reserve(&self, size: usize) -> Result<OwnedSemaphorePermit, Error> {
        let limit = self.config.memory;
        if size > limit {
            return Err(Error::TooLarge { size, limit });
        }
        let permit = Arc::clone(&self.memory)
            .acquire_many_owned(size as u32)
            .await;
        permit.map_err(|_| Error::Closed)
    }

    fn add(
        &self,
        partition: TopicPartition,
        record: Record<'_>,
        size: usize,
        memory: OwnedSemaphorePermit,
    ) -> Delivery {
        let mut open = self.open.lock();
        let full = open.get(&partition).is_some_and(|batch| {
            batch.builder.size() + size > self.config.batch_bytes && !batch.builder.is_empty()
        });
        if full && let Some(batch) = open.remove(&partition) {
            self.close(partition.clone(), batch);
        }
        let batch = match open.get_mut(&partition) {
            Some(batch) => {
                batch.memory.merge(memory);
                batch
            }
            None => {
                let id = self.turn.load(Ordering::Relaxed);
                let at = Instant::now() + self.config.linger;
                // The driver ends only with the producer, so the channel is open.
                let _ = self
                    .commands
                    .send(Command::Linger(partition.clone(), id, at));
                open.entry(partition).or_insert(Open {
                    id,
                    builder: BatchBuilder::with_capacity(size.max(4 << 10)),
                    memory,
                    done: Arc::default(),
                })
            }
        };
        let index = batch.builder.len() as i64;
        batch
            .builder
            .append(record.timestamp, record.key, record.value, record.headers);
        Delivery {
            done: Arc::clone(&batch.done),
            index,
        }
    }

    /// Closes the open batch `id` of a partition, because its linger time is over.
    fn close_lingering(&self, partition: &TopicPartition, id: u64) {
        let mut open = self.open.lock();
        if open.get(partition).is_some_and(|batch| batch.id == id)
            && let Some(batch) = open.remove(partition)
        {
            self.close(partition.clone(), batch);
        }
    }

    fn close_open(&self) {
        let mut open = self.open.lock();
        for (partition, batch) in open.drain() {
            self.close(partition, batch);
        }
    }

    fn close(&self, partition: TopicPartition, batch: Open) {
        self.turn.fetch_add(1, Ordering::Relaxed);
        match batch.builder.seal(self.config.compression) {
            Ok(sealed) => self.enqueue(partition, sealed, Some(batch.memory), batch.done),
            Err(error) => batch.done.decide(Err(error)),
        }
    }

    fn enqueue(
        &self,
        partition: TopicPartition,
        sealed: Sealed,
        memory: Option<OwnedSemaphorePermit>,
        done: Arc<Done>,
    ) {
        self.outstanding
            .send_modify(|outstanding| *outstanding += 1);
        let closed = Closed {
            sealed,
            _memory: memory,
            done,
            at: Instant::now(),
        };
        if let Err(rejected) = self.commands.send(Command::Batch(partition, closed))
            && let Command::Batch(_, closed) = rejected.0
        {
            closed.done.decide(Err(Error::Closed));
        }
    }
}

impl Done {
    fn decide(&self, outcome: Result<DeliveryReport, Error>) {
        // Only the first outcome counts; there is never a second.
        let _ = self.outcome.set(outcome);
        self.notify.notify_waiters();
    }
}
