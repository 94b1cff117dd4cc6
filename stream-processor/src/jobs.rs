//! All jobs of this process: submitted, looked after, and taken up again when the process starts.
//!
//! A job's definition (the statements that led to it) lies beside its checkpoints in object storage, so another process
//! on the same storage continues what this one leaves. Graphs come from [`crate::sql`], running them is
//! [`crate::runtime`]'s; this module only remembers which there are.

mod definition;
mod replay;
mod resume;

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tracing::warn;

pub(crate) use definition::{Definition, JobId};

use crate::config::Config;
use crate::connectors::Connectors;
use crate::connectors::collect::CollectQueue;
use crate::error::Error;
use crate::graph::{NodeKind, Partitioning, StreamGraph};
use crate::runtime::ends::Ends;
use crate::runtime::job::Command;
use crate::runtime::job::stats::{JobState, JobStats, JobView};
use crate::runtime::pool::Pool;
use crate::runtime::supervisor::{CheckpointPlace, Supervised};
use crate::sql::SessionOptions;

/// The jobs; clones are the same.
#[derive(Clone)]
pub(crate) struct Jobs(Arc<Shared>);

struct Shared {
    config: Config,
    connectors: Arc<Connectors>,
    pool: Arc<Pool>,
    place: CheckpointPlace,
    sessions: SessionOptions,
    entries: Mutex<BTreeMap<JobId, Arc<Entry>>>,
    tasks: Mutex<JoinSet<()>>,
}

/// One job.
pub(crate) struct Entry {
    pub(crate) id: JobId,
    pub(crate) name: String,
    pub(crate) created_at: i64,
    stats: Arc<JobStats>,
    commands: mpsc::Sender<Command>,
    vertices: Mutex<Vec<Vertex>>,
    /// By trigger: where it is, or why it failed.
    savepoints: Mutex<BTreeMap<String, Result<String, String>>>,
}

/// A node of a job's graph as others see it; in the order of [`JobView::nodes`].
#[derive(Debug, Clone)]
pub(crate) struct Vertex {
    pub(crate) uid: String,
    pub(crate) name: String,
    pub(crate) kind: &'static str,
    pub(crate) parallelism: usize,
    /// Index of the sender and how rows are shared out.
    pub(crate) inputs: Vec<(usize, &'static str)>,
}

// === impl Jobs ===

impl Jobs {
    pub(crate) fn new(
        config: Config,
        connectors: Arc<Connectors>,
        pool: Arc<Pool>,
        place: CheckpointPlace,
        sessions: SessionOptions,
    ) -> Self {
        Jobs(Arc::new(Shared {
            config,
            connectors,
            pool,
            place,
            sessions,
            entries: Mutex::default(),
            tasks: Mutex::default(),
        }))
    }

    /// Starts a job and remembers it: it goes on when the process does.
    pub(crate) async fn submit(
        &self,
        graph: StreamGraph,
        statements: Vec<String>,
        now: i64,
    ) -> Result<JobId, Error> {
        let definition = Definition::new(graph.name.clone(), statements, now);
        self.room()?;
        definition.save(&self.0.place).await?;
        let id = definition.id.clone();
        self.look_after(definition, graph, true);
        Ok(id)
    }

    /// Starts a job that ends with its client: the query of a session.
    pub(crate) fn submit_query(
        &self,
        graph: StreamGraph,
        now: i64,
    ) -> Result<(JobId, Arc<CollectQueue>), Error> {
        self.room()?;
        let definition = Definition::new(graph.name.clone(), Vec::new(), now);
        let id = definition.id.clone();
        let rows = self.0.connectors.collects().expect(id.as_str());
        self.look_after(definition, graph, false);
        Ok((id, rows))
    }

    /// Nobody reads the rows of a query any more.
    pub(crate) async fn close_query(&self, id: &JobId) {
        if let Some(entry) = self.get(id.as_str()) {
            entry.cancel().await;
        }
        self.0.connectors.collects().forget(id.as_str());
    }

    fn room(&self) -> Result<(), Error> {
        let entries = self.0.entries.lock();
        let running = entries
            .values()
            .filter(|entry| !entry.stats.state().is_final())
            .count();
        if running >= self.0.config.max_jobs {
            let most = self.0.config.max_jobs;
            return Err(Error::invalid(format!(
                "{most} jobs run already, as many as `max_jobs` allows; cancel one first"
            )));
        }
        Ok(())
    }

    fn look_after(&self, definition: Definition, graph: StreamGraph, keep: bool) {
        let (entry, commands) = self.enter(&definition);
        *entry.vertices.lock() = vertices(&graph);
        self.run(entry, definition, graph, commands, keep);
    }

    /// A new entry; what it is told is kept until somebody runs it.
    fn enter(&self, definition: &Definition) -> (Arc<Entry>, mpsc::Receiver<Command>) {
        let (sender, receiver) = mpsc::channel(16);
        let entry = Arc::new(Entry {
            id: definition.id.clone(),
            name: definition.name.clone(),
            created_at: definition.created_at,
            stats: JobStats::new(),
            commands: sender,
            vertices: Mutex::default(),
            savepoints: Mutex::default(),
        });
        let mut entries = self.0.entries.lock();
        entries.insert(entry.id.clone(), Arc::clone(&entry));
        forget_oldest(&mut entries, self.0.config.ended_jobs_kept);
        (entry, receiver)
    }

    fn run(
        &self,
        entry: Arc<Entry>,
        definition: Definition,
        graph: StreamGraph,
        commands: mpsc::Receiver<Command>,
        keep: bool,
    ) {
        let supervised = self.supervised(&entry, graph);
        let jobs = self.clone();
        self.spawn(async move {
            let outcome = supervised.run(commands).await;
            if let Err(error) = &outcome {
                warn!(job = %entry.id, error = %telemetry::chain(error), "job failed for good");
            }
            if keep {
                jobs.note_end(&entry, definition).await;
            }
        });
    }

    /// A job that has ended is not taken up at the next start; one that was only drained is.
    async fn note_end(&self, entry: &Entry, definition: Definition) {
        if !entry.stats.state().is_final() {
            return;
        }
        let ended = definition.ended(entry.stats.state());
        if let Err(error) = ended.save(&self.0.place).await {
            // It will be taken up again at the next start, from its last checkpoint.
            warn!(job = %entry.id, error = %telemetry::chain(&error), "could not note the end of a job");
        }
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.0.tasks.lock();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    fn supervised(&self, entry: &Entry, graph: StreamGraph) -> Supervised {
        let config = &self.0.config;
        Supervised {
            job: entry.id.to_string(),
            graph,
            ends: Arc::<Connectors>::clone(&self.0.connectors) as Arc<dyn Ends>,
            pool: Arc::clone(&self.0.pool),
            place: self.0.place.clone(),
            limits: config.limits(),
            policy: config.restarts(),
            stats: Arc::clone(&entry.stats),
        }
    }

    /// All jobs, newest first.
    pub(crate) fn list(&self) -> Vec<Arc<Entry>> {
        let mut all: Vec<_> = self.0.entries.lock().values().cloned().collect();
        all.sort_by_key(|entry| std::cmp::Reverse(entry.created_at));
        all
    }

    pub(crate) fn get(&self, id: &str) -> Option<Arc<Entry>> {
        self.0.entries.lock().get(id).cloned()
    }

    /// Drains every job and waits until all are still; a job that does not get there is left to the next process.
    pub(crate) async fn drain(&self) {
        for entry in self
            .list()
            .iter()
            .filter(|entry| !entry.stats.state().is_final())
        {
            entry.tell(Command::Drain).await;
        }
        let mut tasks = std::mem::take(&mut *self.0.tasks.lock());
        let still = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(self.0.config.drain_timeout, still)
            .await
            .is_err()
        {
            warn!(
                "a job could not take its last checkpoint in time; the next start goes on from the one before"
            );
        }
    }
}

fn forget_oldest(entries: &mut BTreeMap<JobId, Arc<Entry>>, keep: usize) {
    let mut ended: Vec<_> = entries
        .values()
        .filter(|entry| entry.stats.state().is_final())
        .map(|entry| (entry.created_at, entry.id.clone()))
        .collect();
    ended.sort();
    for (_, id) in ended.iter().rev().skip(keep) {
        entries.remove(id);
    }
}

fn vertices(graph: &StreamGraph) -> Vec<Vertex> {
    graph
        .nodes
        .iter()
        .map(|node| Vertex {
            uid: node.uid.clone(),
            name: node.name.clone(),
            kind: match node.kind {
                NodeKind::Source(_) => "Source",
                NodeKind::Operator(_) => "Operator",
                NodeKind::Sink(_) => "Sink",
            },
            parallelism: node.parallelism,
            inputs: node
                .inputs
                .iter()
                .map(|edge| (edge.from.0, ship_strategy(&edge.partitioning)))
                .collect(),
        })
        .collect()
}

/// Flink's names.
fn ship_strategy(partitioning: &Partitioning) -> &'static str {
    match partitioning {
        Partitioning::Forward | Partitioning::Late => "FORWARD",
        Partitioning::Hash(_) => "HASH",
        Partitioning::Rebalance => "REBALANCE",
        Partitioning::Broadcast => "BROADCAST",
    }
}

// === impl Entry ===

impl Entry {
    pub(crate) fn view(&self) -> JobView {
        self.stats.view()
    }

    pub(crate) fn state(&self) -> JobState {
        self.stats.state()
    }

    pub(crate) fn vertices(&self) -> Vec<Vertex> {
        self.vertices.lock().clone()
    }

    /// Waits for the next change of state.
    pub(crate) fn watch(&self) -> tokio::sync::watch::Receiver<JobState> {
        self.stats.watch()
    }

    /// Stops the job for good; what is not committed is gone.
    pub(crate) async fn cancel(&self) {
        self.tell(Command::Cancel).await;
    }

    /// Keeps a copy of the next checkpoint and returns its path.
    pub(crate) async fn savepoint(&self, name: String) -> Result<String, Error> {
        let (reply, answer) = oneshot::channel();
        self.tell(Command::Savepoint { name, reply }).await;
        answer
            .await
            .unwrap_or_else(|_| Err(Error::failed("the job has ended")))
    }

    pub(crate) fn remember_savepoint(&self, trigger: String, outcome: Result<String, String>) {
        self.savepoints.lock().insert(trigger, outcome);
    }

    pub(crate) fn savepoint_of(&self, trigger: &str) -> Option<Result<String, String>> {
        self.savepoints.lock().get(trigger).cloned()
    }

    async fn tell(&self, command: Command) {
        // A job that has ended listens no more, and needs to be told nothing.
        let _ = self.commands.send(command).await;
    }
}
