//! The durable log: partitions of record batches, stored as received, served only once synced.
//!
//! Apart from the wire so that durability, recovery and deduplication are tested on plain files. Batches come in
//! through [`Partition::append`] and go out through [`Partition::plan_read`]; time is always a parameter, and disk
//! work happens on the threads of [`pool::Pool`].

mod append;
pub(crate) mod batch;
mod disk;
mod flush;
mod housekeeping;
mod index;
mod lookup;
mod partition;
pub(crate) mod pool;
mod producers;
mod read;
mod recent;
pub(crate) mod records;
mod recovery;
mod segment;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

pub(crate) use append::Appended;
use batch::BatchError;
pub(crate) use disk::{Disk, replace_file, sync_directory};
pub(crate) use lookup::Found;
pub(crate) use partition::{Partition, Position, Watcher};
pub(crate) use producers::SequenceError;
pub(crate) use read::{Plan, Slice};

use crate::metrics::Metrics;

/// The share of a bounded memory that a request takes, held by everyone who keeps something of it.
pub(crate) type Memory = Arc<tokio::sync::OwnedSemaphorePermit>;

/// Why the log refuses or fails, in its own words; `wire::error` turns these into Kafka's codes.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Error {
    #[error("offset {offset} is outside the log, {start} to {end}")]
    OffsetOutOfRange { offset: i64, start: i64, end: i64 },
    #[error("could not accept the batch")]
    Batch(#[from] BatchError),
    #[error("record batch refused: {why}")]
    InvalidRecord { why: &'static str },
    #[error("record batch has {size} bytes; `max.message.bytes` is {max}")]
    TooLarge { size: usize, max: usize },
    #[error("producer state refused the batch")]
    Sequence(#[from] SequenceError),
    #[error("storage of the partition refuses writes: {reason}")]
    Storage { reason: Arc<str> },
    #[error("the partition was deleted")]
    Deleted,
    #[error("retention deleted offset {offset} before it could be read")]
    Expired { offset: i64 },
    #[error("could not read the log")]
    Read(#[source] Arc<io::Error>),
}

/// Why a partition could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("could not recover the log in `{}`", path.display())]
pub(crate) struct OpenError {
    pub(crate) path: PathBuf,
    #[source]
    pub(crate) source: io::Error,
}

/// Per-partition policy; comes from the topic's configuration and may change while open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) segment_bytes: u64,
    pub(crate) segment_ms: i64,
    /// Negative: keep forever.
    pub(crate) retention_ms: i64,
    /// Negative: keep any size.
    pub(crate) retention_bytes: i64,
    pub(crate) max_message_bytes: usize,
    /// Stamp batches with the broker's time instead of keeping the producer's.
    pub(crate) log_append_time: bool,
}

/// What all partitions of one broker share.
pub(crate) struct Env {
    /// Threads that write and sync.
    pub(crate) writers: pool::Pool,
    /// Threads that read what is not in memory.
    pub(crate) readers: pool::Pool,
    pub(crate) disk: Disk,
    pub(crate) metrics: Metrics,
    /// Stamped into batches; grows by one at each start of the broker.
    pub(crate) leader_epoch: i32,
    /// Bound on recent batches kept in memory, of one partition and of all.
    pub(crate) recent_per_partition: usize,
    pub(crate) recent_total: u64,
    pub(crate) recent_used: AtomicU64,
    /// Silence after which a producer is forgotten, and how many are remembered.
    pub(crate) producer_expiry_ms: i64,
    pub(crate) max_producers: usize,
}

#[cfg(test)]
mod tests;
