//! The persisted form of a checkpoint's index, and of the record that publishes it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::operator::CheckpointId;
use crate::runtime::ends::{PendingCommit, Positions};

/// The format this build writes and reads.
pub(crate) const VERSION: u32 = 6;

/// `_manifest.json`: everything a checkpoint consists of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// [`VERSION`].
    pub(crate) version: u32,
    /// The checkpoint.
    pub(crate) checkpoint: CheckpointId,
    /// Who wrote it.
    pub(crate) generation: u64,
    /// Milliseconds since the epoch.
    pub(crate) completed_at: i64,
    /// By uid of the operator.
    pub(crate) operators: BTreeMap<String, OperatorState>,
    /// By uid of the source.
    pub(crate) sources: BTreeMap<String, Positions>,
    /// By uid of the sink: what was prepared and, when this was written, not known to be committed; oldest first.
    pub(crate) pending: BTreeMap<String, Vec<PendingCommit>>,
}

/// The state of one operator over all its instances.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct OperatorState {
    /// How many instances wrote it.
    pub(crate) parallelism: usize,
    /// In the order the instances gave them.
    pub(crate) tables: Vec<TableState>,
}

/// One table of one instance: a base and what was added since, in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TableState {
    /// As the operator calls it.
    pub(crate) name: String,
    /// Which instance.
    pub(crate) subtask: usize,
    /// Read one after the other they are the table. Older ones were written by earlier checkpoints.
    pub(crate) segments: Vec<Segment>,
}

/// One file of record batches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Segment {
    /// Below the job's directory.
    pub(crate) path: String,
    /// Record batches in it.
    pub(crate) batches: usize,
    /// Rows in it.
    pub(crate) rows: usize,
    /// Its size.
    pub(crate) bytes: u64,
}

/// `epochs/N`: publishes a checkpoint, or fences off those who ran the job before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Epoch {
    /// Who published.
    pub(crate) generation: u64,
    /// The manifest below the job's directory; `None` for a fence before the first checkpoint.
    pub(crate) manifest: Option<String>,
}

impl Manifest {
    /// Each state file it needs.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Segment> {
        let tables = self.operators.values().flat_map(|state| &state.tables);
        tables.flat_map(|table| &table.segments)
    }

    /// Where it is itself.
    pub(crate) fn path(&self) -> String {
        format!(
            "gen-{}/chk-{}/_manifest.json",
            self.generation, self.checkpoint.0
        )
    }

    /// Each file it needs, itself included.
    pub(crate) fn paths(&self) -> impl Iterator<Item = String> {
        let files = self.files().map(|segment| segment.path.clone());
        files.chain([self.path()])
    }

    /// Bytes of state.
    pub(crate) fn state_bytes(&self) -> u64 {
        self.files().map(|segment| segment.bytes).sum()
    }
}
