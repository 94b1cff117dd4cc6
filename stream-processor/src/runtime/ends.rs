//! What the runtime asks of the outside world: where rows come from and where they go.
//!
//! [`crate::connectors`] implements it for real systems, the runtime's tests with vectors. A source never blocks: its
//! fetching runs elsewhere and wakes the task. A sink may block for as long as it takes to hand a buffer on; that is
//! the back-pressure.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;

use crate::batch::ChangeBatch;
use crate::error::Error;
use crate::graph::{SinkSpec, SourceSpec};
use crate::operator::{CheckpointId, EventTime, Subtask};
use crate::runtime::pool::Waker;

/// How far each split (partition, file) has been read, in the connector's own terms.
pub(crate) type Positions = BTreeMap<String, serde_json::Value>;

/// What a sink wrote but did not publish, in the connector's own terms.
pub(crate) type Committable = String;

/// What a source has now.
pub(crate) enum Polled {
    /// Rows of one split.
    Rows(SplitRows),
    /// Nothing yet; the task will be woken.
    Pending,
    /// The split has ended.
    SplitEnded(usize),
    /// Every split of this instance has ended.
    Ended,
}

/// Rows read from one split.
pub(crate) struct SplitRows {
    /// Which split; splits count from 0 and may become more.
    pub(crate) split: usize,
    /// For each table that shares the source, its `read` columns.
    pub(crate) tables: Vec<ChangeBatch>,
    /// Bytes as they came in.
    pub(crate) bytes: usize,
    /// Records as they came in, good or bad.
    pub(crate) records: usize,
}

/// One instance of a source, possibly read for several tables at once.
pub(crate) trait Source: Send {
    /// How many splits are known.
    fn splits(&self) -> usize;
    /// Takes what has arrived.
    fn poll(&mut self, now: i64) -> Result<Polled, Error>;
    /// Where to go on after what [`Source::poll`] has returned.
    fn positions(&self) -> Positions;
    /// Whether the split's server answers, with rows or without.
    fn answers(&self, split: usize) -> bool {
        let _ = split;
        true
    }
    /// Records that are there to read but not read, if known.
    fn lag(&self) -> Option<u64> {
        None
    }
}

/// One instance of a sink.
pub(crate) trait SinkWriter: Send {
    /// Takes rows.
    fn write(&mut self, batch: ChangeBatch) -> Result<(), Error>;
    /// Whether it can take rows now; if not it will wake the task.
    fn is_ready(&mut self) -> bool {
        true
    }
    /// About every 100 ms.
    fn tick(&mut self, now: i64) -> Result<(), Error> {
        let _ = now;
        Ok(())
    }
    /// Event time of its input, to be published with the rows.
    fn watermark(&mut self, watermark: EventTime) -> Result<(), Error> {
        let _ = watermark;
        Ok(())
    }
    /// Cuts here: what was written so far belongs to `checkpoint`. The future makes it durable, not visible.
    fn prepare(&mut self, checkpoint: CheckpointId) -> Prepared;
    /// Every row of a bounded input has been written.
    fn end(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

/// The work of making one instance's share of a checkpoint durable.
pub(crate) type Prepared = BoxFuture<'static, Result<Vec<Committable>, Error>>;

/// Makes visible what the instances of one sink prepared.
#[async_trait]
pub(crate) trait Committer: Send {
    /// Commits `pending`, oldest first, each exactly once however often it is asked.
    async fn commit(&mut self, pending: &[PendingCommit]) -> Result<(), Error>;
}

/// One sink's share of one checkpoint.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct PendingCommit {
    /// The checkpoint.
    pub(crate) checkpoint: CheckpointId,
    /// Of all instances.
    pub(crate) committables: Vec<Committable>,
    /// Where the sources of the job stood, to be stored with the rows; by source uid.
    pub(crate) positions: BTreeMap<String, Positions>,
}

/// Who a sink writes for.
#[derive(Debug, Clone)]
pub(crate) struct SinkContext {
    /// The job.
    pub(crate) job: String,
    /// The node.
    pub(crate) uid: String,
}

/// Opens sources and sinks.
#[async_trait]
pub(crate) trait Ends: Send + Sync {
    /// Tables with an equal key can be read by one source; `None` if the table cannot share.
    fn share_key(&self, spec: &SourceSpec) -> Option<String>;

    /// Opens an instance that reads `tables`; `positions` are those of all instances at the restored checkpoint.
    async fn source(
        &self,
        tables: &[Arc<SourceSpec>],
        subtask: Subtask,
        positions: Option<&Positions>,
        waker: Waker,
    ) -> Result<Box<dyn Source>, Error>;

    /// Opens an instance of a sink.
    async fn sink(
        &self,
        spec: &Arc<SinkSpec>,
        subtask: Subtask,
        context: &SinkContext,
        waker: Waker,
    ) -> Result<Box<dyn SinkWriter>, Error>;

    /// Opens the one committer of a sink, if the sink publishes at all.
    async fn committer(
        &self,
        spec: &Arc<SinkSpec>,
        context: &SinkContext,
    ) -> Result<Option<Box<dyn Committer>>, Error>;
}
