//! Drives a running attempt: triggers checkpoints, collects them, publishes, commits, and notices the end.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, try_join_all};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::checkpoint::manifest::Manifest;
use crate::checkpoint::store::Collected;
use crate::error::Error;
use crate::operator::{CheckpointId, StateTable, Subtask};
use crate::runtime::chain::NodeSnapshot;
use crate::runtime::clock;
use crate::runtime::ends::{Committable, PendingCommit, Positions, Prepared};
use crate::runtime::job::build::Running;
use crate::runtime::job::commit::Committers;
use crate::runtime::job::stats::CheckpointStats;
use crate::runtime::job::{Attempt, Command, Outcome};
use crate::runtime::task::{TaskEvent, TaskId};

/// How often tasks hear that time has passed.
const TICK: Duration = Duration::from_millis(100);

/// The state of a running attempt.
pub(crate) struct Coordinator<'a> {
    attempt: Attempt<'a>,
    running: &'a Running,
    committers: Committers,
    next: CheckpointId,
    due: Option<Instant>,
    collecting: Option<Collecting>,
    ended: usize,
    last: Last,
    stopping: Option<Outcome>,
    savepoints: Vec<Savepoint>,
}

/// Somebody who waits for the path of a savepoint.
type Savepoint = (String, oneshot::Sender<Result<String, Error>>);

/// A checkpoint for which shares come in.
struct Collecting {
    checkpoint: CheckpointId,
    triggered: Instant,
    triggered_at: i64,
    shares: HashMap<TaskId, Vec<NodeSnapshot>>,
}

/// How far the last checkpoint of an attempt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    NotYet,
    UnderWay,
    Published,
}

// === impl Coordinator ===

impl<'a> Coordinator<'a> {
    pub(crate) fn new(attempt: Attempt<'a>, running: &'a Running, committers: Committers) -> Self {
        let interval = attempt.graph.config.checkpoint_interval;
        Coordinator {
            next: attempt.next_checkpoint,
            due: interval.map(|interval| Instant::now() + interval),
            attempt,
            running,
            committers,
            collecting: None,
            ended: 0,
            last: Last::NotYet,
            stopping: None,
            savepoints: Vec::new(),
        }
    }

    /// Runs until the attempt is over.
    pub(crate) async fn run(
        mut self,
        events: &mut mpsc::UnboundedReceiver<TaskEvent>,
        commands: &mut mpsc::Receiver<Command>,
    ) -> Result<Outcome, Error> {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if let Some(outcome) = self.is_over() {
                return Ok(outcome);
            }
            self.trigger_if_due();
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => self.hear(event).await?,
                    None => return Err(Error::failed("all tasks are gone")),
                },
                command = commands.recv() => match command {
                    Some(Command::Cancel) | None => return Ok(Outcome::Cancelled),
                    Some(Command::Drain) => self.stopping = Some(Outcome::Drained),
                    Some(Command::Savepoint { name, reply }) => self.savepoints.push((name, reply)),
                },
                progress = self.committers.progress() => {
                    progress?;
                    self.attempt.stats.set_pending_commits(self.committers.backlog());
                }
                _ = ticks.tick() => self.tick()?,
            }
        }
    }

    fn is_over(&self) -> Option<Outcome> {
        let done = self.last == Last::Published && self.committers.backlog() == 0;
        done.then(|| self.stopping.unwrap_or(Outcome::Finished))
    }

    fn tick(&mut self) -> Result<(), Error> {
        for (_, waker, control) in &self.running.tasks {
            control.tick.store(true, Ordering::Release);
            waker.wake();
        }
        let limit = self.attempt.limits.checkpoint_timeout;
        match &self.collecting {
            Some(collecting) if collecting.triggered.elapsed() > limit => {
                Err(Error::failed(format!(
                    "checkpoint {} took longer than {limit:?}",
                    collecting.checkpoint.0
                )))
            }
            _ => Ok(()),
        }
    }

    fn trigger_if_due(&mut self) {
        if self.collecting.is_some() || self.last != Last::NotYet {
            return;
        }
        let all_ended = self.ended == self.running.tasks.len();
        let is_last = all_ended || self.stopping.is_some();
        let behind = self.committers.backlog() >= self.attempt.limits.pending_commits;
        let due = self.due.is_some_and(|due| due <= Instant::now());
        let wanted = due || !self.savepoints.is_empty();
        if !is_last && (behind || !wanted) {
            return;
        }
        if is_last {
            self.last = Last::UnderWay;
        }
        let checkpoint = self.next;
        self.next = CheckpointId(checkpoint.0 + 1);
        if let Some(interval) = self.attempt.graph.config.checkpoint_interval {
            self.due = Some(Instant::now() + interval);
        }
        self.collecting = Some(Collecting {
            checkpoint,
            triggered: Instant::now(),
            triggered_at: clock(),
            shares: HashMap::new(),
        });
        for (_, waker, control) in &self.running.tasks {
            control.checkpoint.store(checkpoint.0, Ordering::Release);
            waker.wake();
        }
    }

    async fn hear(&mut self, event: TaskEvent) -> Result<(), Error> {
        match event {
            TaskEvent::Failed(error) => Err(error),
            TaskEvent::Ended => {
                self.ended += 1;
                Ok(())
            }
            TaskEvent::Snapshot {
                task,
                checkpoint,
                nodes,
            } => {
                let Some(collecting) = &mut self.collecting else {
                    return Ok(());
                };
                if collecting.checkpoint == checkpoint {
                    collecting.shares.insert(task, nodes);
                }
                if collecting.shares.len() < self.running.tasks.len() {
                    return Ok(());
                }
                match self.collecting.take() {
                    Some(complete) => self.complete(complete).await,
                    None => Ok(()),
                }
            }
        }
    }

    /// All shares are in: make them durable, publish, commit.
    async fn complete(&mut self, complete: Collecting) -> Result<(), Error> {
        let aligned = complete.triggered.elapsed();
        let checkpoint = complete.checkpoint;
        let shares = self.sort(complete.shares);
        let commits = prepare(checkpoint, shares.prepared, &shares.sources).await?;
        let collected = Collected {
            tables: shares.tables,
            sources: shares.sources,
            pending: self.committers.pending_with(&commits),
        };
        let publish = self.attempt.store.publish(checkpoint, collected, clock());
        let limit = self.attempt.limits.checkpoint_timeout;
        let manifest = tokio::time::timeout(limit, publish).await.map_err(|_| {
            Error::failed(format!("writing checkpoint {} timed out", checkpoint.0))
        })??;
        self.committers.commit(commits)?;
        self.attempt.stats.add_checkpoint(CheckpointStats {
            id: checkpoint.0,
            triggered_at: complete.triggered_at,
            duration_ms: complete.triggered.elapsed().as_millis() as i64,
            alignment_ms: aligned.as_millis() as i64,
            state_bytes: manifest.state_bytes(),
            new_bytes: new_bytes(&manifest),
            path: manifest.path(),
        });
        self.attempt
            .stats
            .set_pending_commits(self.committers.backlog());
        for (name, reply) in self.savepoints.drain(..) {
            let path = self.attempt.store.savepoint(&name).await;
            // Whoever asked may have stopped waiting.
            let _ = reply.send(path);
        }
        if self.last == Last::UnderWay {
            self.last = Last::Published;
        }
        Ok(())
    }

    fn sort(&self, shares: HashMap<TaskId, Vec<NodeSnapshot>>) -> Shares {
        let mut sorted = Shares::default();
        let mut shares: Vec<_> = shares.into_iter().collect();
        shares.sort_by_key(|(task, _)| (task.task, task.subtask));
        for (task, nodes) in shares {
            for snapshot in nodes {
                let node = &self.attempt.graph.nodes[snapshot.node.0];
                let subtask = Subtask {
                    index: task.subtask,
                    parallelism: node.parallelism,
                };
                if !snapshot.tables.is_empty() {
                    let tables = (node.uid.clone(), subtask, snapshot.tables);
                    sorted.tables.push(tables);
                }
                if let Some(positions) = snapshot.positions {
                    let all = sorted.sources.entry(node.uid.clone()).or_default();
                    all.extend(positions);
                }
                if let Some(prepared) = snapshot.prepared {
                    let of_sink = sorted.prepared.entry(node.uid.clone()).or_default();
                    of_sink.push(prepared);
                }
            }
        }
        sorted
    }
}

/// What the instances of a sink prepared.
type OfSink = (String, Vec<Committable>);

/// The shares of a checkpoint by what they are.
#[derive(Default)]
struct Shares {
    tables: Vec<(String, Subtask, Vec<StateTable>)>,
    sources: BTreeMap<String, Positions>,
    prepared: BTreeMap<String, Vec<Prepared>>,
}

async fn prepare(
    checkpoint: CheckpointId,
    prepared: BTreeMap<String, Vec<Prepared>>,
    positions: &BTreeMap<String, Positions>,
) -> Result<BTreeMap<String, PendingCommit>, Error> {
    let mut sinks: Vec<BoxFuture<'static, Result<OfSink, Error>>> = Vec::new();
    for (uid, instances) in prepared {
        let all = async move { Ok((uid, try_join_all(instances).await?.concat())) };
        sinks.push(all.boxed());
    }
    let mut commits = BTreeMap::new();
    for (uid, committables) in try_join_all(sinks).await? {
        if !committables.is_empty() {
            let commit = PendingCommit {
                checkpoint,
                committables,
                positions: positions.clone(),
            };
            commits.insert(uid, commit);
        }
    }
    Ok(commits)
}

fn new_bytes(manifest: &Manifest) -> u64 {
    let own = format!("gen-{}/chk-{}/", manifest.generation, manifest.checkpoint.0);
    let files = manifest.files();
    let new = files.filter(|segment| segment.path.starts_with(&own));
    new.map(|segment| segment.bytes).sum()
}
