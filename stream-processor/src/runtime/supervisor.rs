//! Keeps a job going: claims it, runs an attempt, and after a failure waits and starts the next one from the last
//! checkpoint.

use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use object_store::path::Path;
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::checkpoint::store::JobStore;
use crate::error::Error;
use crate::graph::StreamGraph;
use crate::runtime::ends::Ends;
use crate::runtime::job::stats::{JobState, JobStats};
use crate::runtime::job::{Attempt, Command, Limits, Outcome};
use crate::runtime::pool::Pool;

/// How failures are answered.
#[derive(Debug, Clone)]
pub(crate) struct RestartPolicy {
    /// The pause before the first restart; doubled for each further one.
    pub(crate) first_delay: Duration,
    /// The longest pause.
    pub(crate) longest_delay: Duration,
    /// How often in a row; a job without periodic checkpoints is not restarted at all, as in Flink.
    pub(crate) attempts: Option<u32>,
    /// After running this long without failure the count starts again.
    pub(crate) stable_after: Duration,
}

/// Where a job keeps its checkpoints.
#[derive(Clone)]
pub(crate) struct CheckpointPlace {
    /// The storage.
    pub(crate) store: Arc<dyn ObjectStore>,
    /// The directory of all jobs.
    pub(crate) base: Path,
    /// How many are kept.
    pub(crate) retain: usize,
}

/// A job that is looked after.
pub(crate) struct Supervised {
    /// Its id, the name of its directory.
    pub(crate) job: String,
    /// What to run.
    pub(crate) graph: StreamGraph,
    /// The outside world.
    pub(crate) ends: Arc<dyn Ends>,
    /// The threads.
    pub(crate) pool: Arc<Pool>,
    /// Its checkpoints.
    pub(crate) place: CheckpointPlace,
    /// Bounds.
    pub(crate) limits: Limits,
    /// Answers to failures.
    pub(crate) policy: RestartPolicy,
    /// What others see.
    pub(crate) stats: Arc<JobStats>,
}

impl Supervised {
    /// Runs the job until it is over; the error is that of the last attempt.
    pub(crate) async fn run(self, mut commands: mpsc::Receiver<Command>) -> Result<Outcome, Error> {
        let mut delay = self.policy.first_delay;
        let mut failures = 0u32;
        loop {
            let begun = tokio::time::Instant::now();
            let error = match self.attempt(&mut commands).await {
                Ok(outcome) => {
                    self.stats.set(match outcome {
                        Outcome::Finished => JobState::Finished,
                        Outcome::Cancelled => JobState::Canceled,
                        Outcome::Drained => JobState::Suspended,
                    });
                    info!(job = self.job, ?outcome, "job ended");
                    return Ok(outcome);
                }
                Err(error) => error,
            };
            self.stats
                .failed_attempt(telemetry::chain(&error).to_string());
            if begun.elapsed() >= self.policy.stable_after {
                failures = 0;
                delay = self.policy.first_delay;
            }
            failures += 1;
            let restarts = self.graph.config.checkpoint_interval.is_some();
            if !restarts || self.policy.attempts.is_some_and(|most| failures > most) {
                self.stats.set(JobState::Failed);
                return Err(error);
            }
            warn!(job = self.job, failures, error = %telemetry::chain(&error), "job failed and restarts");
            self.stats.set(JobState::Restarting);
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                command = commands.recv() => match command {
                    Some(Command::Savepoint { reply, .. }) => {
                        // Whoever asked may have stopped waiting.
                        let _ = reply.send(Err(Error::failed("the job is restarting")));
                    }
                    Some(Command::Drain) => {
                        self.stats.set(JobState::Suspended);
                        return Ok(Outcome::Drained);
                    }
                    Some(Command::Cancel) | None => {
                        self.stats.set(JobState::Canceled);
                        return Ok(Outcome::Cancelled);
                    }
                },
            }
            delay = (delay * 2).min(self.policy.longest_delay);
            self.stats.restarted();
        }
    }

    async fn attempt(&self, commands: &mut mpsc::Receiver<Command>) -> Result<Outcome, Error> {
        let (store, restored, next_checkpoint) = JobStore::claim(
            self.place.store.clone(),
            &self.place.base,
            &self.job,
            self.place.retain,
        )
        .await?;
        info!(
            job = self.job,
            generation = store.generation(),
            restored = restored
                .as_ref()
                .map(|restored| restored.manifest.checkpoint.0),
            "job starts"
        );
        let attempt = Attempt {
            job: &self.job,
            graph: &self.graph,
            ends: &self.ends,
            pool: &self.pool,
            store,
            restored,
            next_checkpoint,
            limits: &self.limits,
            stats: self.stats.clone(),
        };
        attempt.run(commands).await
    }
}
