//! What others may know of a job: its state, its history of checkpoints and failures, its counters.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::runtime::clock;
use crate::runtime::metrics::NodeMetrics;

/// Checkpoints and failures remembered.
const HISTORY: usize = 32;

/// Flink's job states, those that occur here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum JobState {
    /// Opening sources and sinks.
    Created,
    /// Running.
    Running,
    /// An attempt failed and another will follow.
    Restarting,
    /// Stopped by a drain; goes on when the process does.
    Suspended,
    /// All input read and committed.
    Finished,
    /// Stopped by the user.
    Canceled,
    /// Given up.
    Failed,
}

impl JobState {
    /// Whether nothing will happen any more.
    pub(crate) fn is_final(self) -> bool {
        matches!(
            self,
            JobState::Finished | JobState::Canceled | JobState::Failed
        )
    }

    /// Flink's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            JobState::Created => "CREATED",
            JobState::Running => "RUNNING",
            JobState::Restarting => "RESTARTING",
            JobState::Suspended => "SUSPENDED",
            JobState::Finished => "FINISHED",
            JobState::Canceled => "CANCELED",
            JobState::Failed => "FAILED",
        }
    }
}

/// A job as others see it.
#[derive(Debug)]
pub(crate) struct JobStats {
    inner: Mutex<Inner>,
    state: tokio::sync::watch::Sender<JobState>,
}

#[derive(Debug, Default)]
struct Inner {
    started_at: i64,
    ended_at: Option<i64>,
    restarts: u64,
    nodes: Vec<Vec<Arc<NodeMetrics>>>,
    checkpoints: VecDeque<CheckpointStats>,
    completed: u64,
    failures: VecDeque<(i64, String)>,
    pending_commits: usize,
}

/// One finished checkpoint.
#[derive(Debug, Clone)]
pub(crate) struct CheckpointStats {
    pub(crate) id: u64,
    pub(crate) triggered_at: i64,
    pub(crate) duration_ms: i64,
    /// Until the last task had given its share.
    pub(crate) alignment_ms: i64,
    pub(crate) state_bytes: u64,
    /// Written by this checkpoint.
    pub(crate) new_bytes: u64,
    pub(crate) path: String,
}

/// A copy of everything at one moment.
#[derive(Debug, Clone)]
pub(crate) struct JobView {
    pub(crate) state: JobState,
    pub(crate) started_at: i64,
    pub(crate) ended_at: Option<i64>,
    pub(crate) restarts: u64,
    /// By node, then instance.
    pub(crate) nodes: Vec<Vec<Arc<NodeMetrics>>>,
    /// Newest first.
    pub(crate) checkpoints: Vec<CheckpointStats>,
    pub(crate) completed_checkpoints: u64,
    /// Newest first.
    pub(crate) failures: Vec<(i64, String)>,
    pub(crate) pending_commits: usize,
}

impl JobStats {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(JobStats {
            inner: Mutex::new(Inner {
                started_at: clock(),
                ..Inner::default()
            }),
            state: tokio::sync::watch::Sender::new(JobState::Created),
        })
    }

    pub(crate) fn state(&self) -> JobState {
        *self.state.borrow()
    }

    /// Tells each change of state.
    pub(crate) fn watch(&self) -> tokio::sync::watch::Receiver<JobState> {
        self.state.subscribe()
    }

    pub(crate) fn set(&self, state: JobState) {
        if state.is_final() {
            self.inner.lock().ended_at = Some(clock());
        }
        self.state.send_replace(state);
    }

    pub(crate) fn failed_attempt(&self, message: String) {
        let mut inner = self.inner.lock();
        inner.failures.push_front((clock(), message));
        inner.failures.truncate(HISTORY);
    }

    pub(crate) fn restarted(&self) {
        self.inner.lock().restarts += 1;
    }

    pub(crate) fn set_nodes(&self, nodes: Vec<Vec<Arc<NodeMetrics>>>) {
        self.inner.lock().nodes = nodes;
    }

    pub(crate) fn set_pending_commits(&self, pending: usize) {
        self.inner.lock().pending_commits = pending;
    }

    pub(crate) fn add_checkpoint(&self, checkpoint: CheckpointStats) {
        let mut inner = self.inner.lock();
        inner.completed += 1;
        inner.checkpoints.push_front(checkpoint);
        inner.checkpoints.truncate(HISTORY);
    }

    pub(crate) fn view(&self) -> JobView {
        let inner = self.inner.lock();
        JobView {
            state: self.state(),
            started_at: inner.started_at,
            ended_at: inner.ended_at,
            restarts: inner.restarts,
            nodes: inner.nodes.clone(),
            checkpoints: inner.checkpoints.iter().cloned().collect(),
            completed_checkpoints: inner.completed,
            failures: inner.failures.iter().cloned().collect(),
            pending_commits: inner.pending_commits,
        }
    }
}
