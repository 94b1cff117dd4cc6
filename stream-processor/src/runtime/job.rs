//! One attempt to run a job: builds its tasks, lets them run, takes checkpoints, commits sinks, until the input ends,
//! somebody stops it, or it fails.
//!
//! The attempt lives on tokio and does no row work; tasks tell it things through [`TaskEvent`]s and are steered by
//! [`Control`]s. A checkpoint goes: ask the tasks, collect their shares, make them durable, publish, commit. One is
//! under way at a time; commits of the one before may still run.

pub(crate) mod build;
pub(crate) mod commit;
pub(crate) mod coordinate;
pub(crate) mod stats;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::checkpoint::store::{JobStore, Restored};
use crate::error::Error;
use crate::graph::StreamGraph;
use crate::operator::CheckpointId;
use crate::runtime::ends::Ends;
use crate::runtime::pool::Pool;

/// Bounds of a job, from the configuration of the service.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Bytes in flight on one channel.
    pub(crate) channel_bytes: usize,
    /// A checkpoint that takes longer fails the attempt.
    pub(crate) checkpoint_timeout: Duration,
    /// Commits that may wait before no further checkpoint is begun.
    pub(crate) pending_commits: usize,
}

/// What a running job can be told.
pub(crate) enum Command {
    /// Stop now; what is not committed is gone.
    Cancel,
    /// Take a last checkpoint, commit, stop.
    Drain,
    /// Keep a copy of the next checkpoint; answers with its path.
    Savepoint {
        /// What to call it.
        name: String,
        /// Gets the path.
        reply: oneshot::Sender<Result<String, Error>>,
    },
}

/// How an attempt ended without failing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All input has been read and committed.
    Finished,
    /// [`Command::Cancel`].
    Cancelled,
    /// [`Command::Drain`].
    Drained,
}

/// What an attempt needs.
pub(crate) struct Attempt<'a> {
    /// The job's id.
    pub(crate) job: &'a str,
    /// What to run.
    pub(crate) graph: &'a StreamGraph,
    /// The outside world.
    pub(crate) ends: &'a Arc<dyn Ends>,
    /// The threads.
    pub(crate) pool: &'a Pool,
    /// The job's checkpoints, claimed for this attempt.
    pub(crate) store: JobStore,
    /// Where to start from.
    pub(crate) restored: Option<Restored>,
    /// The first free checkpoint.
    pub(crate) next_checkpoint: CheckpointId,
    /// Bounds.
    pub(crate) limits: &'a Limits,
    /// What others see.
    pub(crate) stats: Arc<stats::JobStats>,
}

impl Attempt<'_> {
    /// Runs until the end.
    pub(crate) async fn run(
        mut self,
        commands: &mut mpsc::Receiver<Command>,
    ) -> Result<Outcome, Error> {
        let (events, mut incoming) = mpsc::unbounded_channel();
        let committers = commit::Committers::open(&self).await?;
        let built = build::build(&mut self, events).await?;
        // Dropping it stops the tasks, however this ends.
        let running = built.start();
        self.stats.set(stats::JobState::Running);
        coordinate::Coordinator::new(self, &running, committers)
            .run(&mut incoming, commands)
            .await
    }
}
