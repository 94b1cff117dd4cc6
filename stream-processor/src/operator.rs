//! The contract between the runtime and one stateful step of a job.
//!
//! An operator is synchronous and single-threaded: the runtime calls it with batches, watermarks and barriers in
//! order, and it emits through [`Output`]. It reads no clock and does no IO, so every operator is tested without the
//! runtime. Operators of one task are chained; what crosses tasks is decided by [`crate::graph::Partitioning`].

use std::sync::Arc;

use arrow::array::RecordBatch;
use object_store::PutPayload;

use crate::batch::ChangeBatch;
use crate::checkpoint::state;
use crate::error::Error;

/// Event time in milliseconds since the epoch; for `TIMESTAMP` columns the wall clock read as UTC, as in Flink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventTime(pub i64);

impl EventTime {
    /// Before every event: nothing has been promised yet.
    pub const MIN: EventTime = EventTime(i64::MIN);
    /// After every event: the input has ended.
    pub const MAX: EventTime = EventTime(i64::MAX);
}

/// Which checkpoint a barrier belongs to; counts from 1 over the life of a job.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct CheckpointId(pub u64);

/// How many key groups keyed state is cut into; the highest parallelism a job can be rescaled to (Flink's default).
pub const KEY_GROUPS: u16 = 128;

/// Which of a node's parallel instances this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subtask {
    /// From 0.
    pub index: usize,
    /// How many there are.
    pub parallelism: usize,
}

impl Subtask {
    /// The key groups this instance owns, Flink's even split of `0..KEY_GROUPS`.
    pub fn key_groups(self) -> std::ops::Range<u16> {
        let groups = usize::from(KEY_GROUPS);
        let start = (self.index * groups).div_ceil(self.parallelism);
        let end = ((self.index + 1) * groups).div_ceil(self.parallelism);
        start as u16..end as u16
    }
}

/// Where an operator puts its results and says what it saw.
pub trait Output {
    /// Sends `batch` to the next operator. Empty batches are not sent.
    fn emit(&mut self, batch: ChangeBatch) -> Result<(), Error>;
    /// Passes event time on; the runtime drops what does not advance.
    fn watermark(&mut self, watermark: EventTime) -> Result<(), Error>;
    /// Counts rows that came after their window had closed, and hands them to the late table if the job has one.
    fn late(&mut self, rows: RecordBatch) -> Result<(), Error>;
}

/// Keyed or plain state as Arrow tables with logical columns, so that neither hash seeds nor layouts are persisted.
///
/// A table whose first column is `__key_group` (UInt16) is split by it when the job is rescaled; a table without it is
/// given whole to every instance, which keeps what concerns it. Rows that were given in the snapshot before are not
/// written again: state that grows should be kept as a list of batches and give only what is new as further ones,
/// folding them together or leaving old ones out now and then. The new batches of one snapshot are one file, so they
/// are kept or left out together.
#[derive(Debug, Clone)]
pub struct StateTable {
    /// Unique within the operator; chosen by it and stable across versions.
    pub name: String,
    /// The rows.
    pub rows: Vec<StateRows>,
}

impl StateTable {
    /// What a restored operator reads.
    pub fn into_batches(self) -> impl Iterator<Item = RecordBatch> {
        self.rows.into_iter().filter_map(StateRows::into_batch)
    }
}

/// A batch of a state table. It stays the same one when it is cloned, and so does its stub.
#[derive(Debug, Clone)]
pub struct StateRows {
    content: Content,
    n_rows: usize,
    identity: Arc<()>,
}

/// What there is of a batch.
#[derive(Debug, Clone)]
enum Content {
    Rows(RecordBatch),
    /// As it will lie in the file.
    Encoded(PutPayload),
    /// Nothing: a checkpoint has it.
    Stub,
}

impl StateRows {
    /// A batch that no checkpoint has, encoded at once: it takes less memory until it is uploaded, and is for no one
    /// else to read.
    pub fn encoded(batch: &RecordBatch) -> Result<StateRows, Error> {
        Ok(StateRows {
            content: Content::Encoded(state::encode(batch)?),
            n_rows: batch.num_rows(),
            identity: Arc::new(()),
        })
    }

    /// What stands for the batch in snapshots after the one it was given to, without holding its rows.
    pub fn stub(&self) -> StateRows {
        StateRows {
            content: Content::Stub,
            ..self.clone()
        }
    }

    #[cfg(test)]
    pub(crate) fn is_stub(&self) -> bool {
        matches!(self.content, Content::Stub)
    }

    /// How many rows it has, or the batch it stands for.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// The rows; `None` of a stub and of what is encoded.
    pub fn batch(&self) -> Option<&RecordBatch> {
        match &self.content {
            Content::Rows(batch) => Some(batch),
            Content::Encoded(_) | Content::Stub => None,
        }
    }

    pub(crate) fn into_batch(self) -> Option<RecordBatch> {
        match self.content {
            Content::Rows(batch) => Some(batch),
            Content::Encoded(_) | Content::Stub => None,
        }
    }

    /// Its bytes in a file; `None` of a stub.
    pub(crate) fn into_file(self) -> Result<Option<PutPayload>, Error> {
        match self.content {
            Content::Rows(batch) => state::encode(&batch).map(Some),
            Content::Encoded(bytes) => Ok(Some(bytes)),
            Content::Stub => Ok(None),
        }
    }

    /// Whether both are the same batch, not only equal ones.
    pub fn is(&self, other: &StateRows) -> bool {
        Arc::ptr_eq(&self.identity, &other.identity)
    }
}

impl From<RecordBatch> for StateRows {
    /// A batch that no checkpoint has.
    fn from(batch: RecordBatch) -> Self {
        StateRows {
            n_rows: batch.num_rows(),
            content: Content::Rows(batch),
            identity: Arc::new(()),
        }
    }
}

/// One stateful step of a job. Ports number the inputs in the order of [`crate::graph::Node::inputs`].
pub trait Operator: Send {
    /// Takes a batch that arrived on `port`.
    fn on_batch(
        &mut self,
        port: usize,
        batch: ChangeBatch,
        output: &mut dyn Output,
    ) -> Result<(), Error>;

    /// Event time has reached `watermark` on every input; fires what is due, then passes it on.
    fn on_watermark(&mut self, watermark: EventTime, output: &mut dyn Output) -> Result<(), Error> {
        output.watermark(watermark)
    }

    /// Processing time is `now` (milliseconds since the epoch); called about every 100 ms and before each barrier.
    fn on_processing_time(&mut self, now: i64, output: &mut dyn Output) -> Result<(), Error> {
        let _ = (now, output);
        Ok(())
    }

    /// The input on `port` has ended for ever (a bounded source); called before the final watermark.
    fn on_end_of_input(&mut self, port: usize, output: &mut dyn Output) -> Result<(), Error> {
        let _ = (port, output);
        Ok(())
    }

    /// A barrier is about to pass: flush what is buffered for speed (mini-batches, local aggregates), not state.
    fn before_barrier(&mut self, output: &mut dyn Output) -> Result<(), Error> {
        let _ = output;
        Ok(())
    }

    /// The whole state at the barrier of `checkpoint`. Cheap: arrays are shared, the runtime uploads them later.
    fn snapshot(&mut self, checkpoint: CheckpointId) -> Result<Vec<StateTable>, Error> {
        let _ = checkpoint;
        Ok(Vec::new())
    }

    /// Takes back what `snapshot` gave, already cut to this instance's key groups; called before any batch.
    fn restore(&mut self, tables: Vec<StateTable>) -> Result<(), Error> {
        if tables.is_empty() {
            Ok(())
        } else {
            Err(Error::stateless_restore())
        }
    }

    /// Bytes of state held, for the job page and the memory budget.
    fn state_size(&self) -> usize {
        0
    }
}
