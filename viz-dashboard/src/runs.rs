//! Statements of the SQL page: begun, followed while they run, cancelled, and kept for a while with their rows.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use serde::Serialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::trino::{Column, Error, QueryError, Statement, Stats, Trino};

/// Rows that one answer to the page holds.
const PAGE: usize = 1000;

/// The kept statements; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Runs {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    trino: Trino,
    max_runs: usize,
    bounds: Bounds,
    /// The oldest first.
    runs: Mutex<VecDeque<Arc<Run>>>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

/// How much is kept of one statement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) n_rows: usize,
    pub(crate) n_bytes: usize,
}

/// One statement.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) id: Uuid,
    pub(crate) sql: String,
    begun: Instant,
    progress: Mutex<Progress>,
    cancelled: CancellationToken,
}

#[derive(Debug, Default)]
struct Progress {
    query_id: String,
    columns: Vec<Column>,
    rows: Vec<Vec<Value>>,
    /// As they came, in JSON.
    n_bytes: usize,
    truncated: bool,
    stats: Stats,
    outcome: Option<Outcome>,
    took_ms: Option<u64>,
}

#[derive(Debug, Clone)]
enum Outcome {
    Finished,
    Cancelled,
    Failed(QueryError),
}

/// What the page is told of a statement.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    id: Uuid,
    query_id: String,
    /// `running`, `finished`, `failed` or `cancelled`.
    state: &'static str,
    columns: Vec<Column>,
    /// From the row asked for on.
    rows: Vec<Vec<Value>>,
    n_rows: usize,
    truncated: bool,
    stats: Stats,
    elapsed_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<QueryError>,
}

// === impl Runs ===

impl Runs {
    pub(crate) fn new(
        trino: Trino,
        max_runs: usize,
        bounds: Bounds,
        tasks: TaskTracker,
        shutdown: CancellationToken,
    ) -> Self {
        Runs {
            shared: Arc::new(Shared {
                trino,
                max_runs,
                bounds,
                runs: Mutex::default(),
                tasks,
                shutdown,
            }),
        }
    }

    /// Begins a statement; `None` when too many are running.
    pub(crate) fn begin(&self, sql: String) -> Option<Arc<Run>> {
        let run = Arc::new(Run {
            id: Uuid::new_v4(),
            sql,
            begun: Instant::now(),
            progress: Mutex::default(),
            cancelled: self.shared.shutdown.child_token(),
        });
        let mut runs = self.shared.runs.lock();
        if runs.len() >= self.shared.max_runs {
            let ended = runs
                .iter()
                .position(|old| old.progress.lock().outcome.is_some())?;
            runs.remove(ended);
        }
        runs.push_back(run.clone());
        drop(runs);
        let (shared, followed) = (self.shared.clone(), run.clone());
        self.shared.tasks.spawn(async move {
            let outcome = shared.follow(&followed).await;
            let mut progress = followed.progress.lock();
            progress.took_ms = Some(millis(followed.begun));
            progress.outcome = Some(outcome);
        });
        Some(run)
    }

    pub(crate) fn get(&self, id: Uuid) -> Option<Arc<Run>> {
        let runs = self.shared.runs.lock();
        runs.iter().find(|run| run.id == id).cloned()
    }

    /// Begins the statement once more, for all of its rows.
    pub(crate) async fn again(&self, run: &Run) -> Result<Statement, Error> {
        self.shared.trino.begin(&run.sql).await
    }
}

// === impl Shared ===

impl Shared {
    async fn follow(&self, run: &Run) -> Outcome {
        // Not given up half-way: only its answer says what to cancel.
        let begun = self.trino.begin(&run.sql).await;
        let mut statement = match begun {
            Ok(statement) => statement,
            Err(error) => return failed(error),
        };
        loop {
            if self.note(run, &mut statement) {
                statement.cancel().await;
                return Outcome::Finished;
            }
            let more = tokio::select! {
                () = run.cancelled.cancelled() => None,
                more = statement.advance() => Some(more),
            };
            match more {
                None => {
                    statement.cancel().await;
                    return Outcome::Cancelled;
                }
                Some(Ok(true)) => {}
                Some(Ok(false)) => return Outcome::Finished,
                Some(Err(error)) => return failed(error),
            }
        }
    }

    /// Takes over what the last answer brought; `true` when no more rows are wanted.
    fn note(&self, run: &Run, statement: &mut Statement) -> bool {
        let mut progress = run.progress.lock();
        progress.query_id.clone_from(&statement.id);
        progress.columns.clone_from(&statement.columns);
        progress.stats.clone_from(&statement.stats);
        if progress.n_bytes.saturating_add(statement.n_bytes) > self.bounds.n_bytes {
            // A page is kept whole or not at all.
            progress.truncated |= !statement.rows.is_empty();
            return progress.truncated;
        }
        progress.n_bytes += statement.n_bytes;
        progress.rows.append(&mut statement.rows);
        if progress.rows.len() > self.bounds.n_rows {
            progress.rows.truncate(self.bounds.n_rows);
            progress.truncated = true;
        }
        progress.truncated
    }
}

// === impl Run ===

impl Run {
    pub(crate) fn cancel(&self) {
        self.cancelled.cancel();
    }

    /// How far it is, with the rows from `after` on, as many as one answer holds.
    pub(crate) fn report(&self, after: usize) -> Report {
        let progress = self.progress.lock();
        let (state, error) = match &progress.outcome {
            None => ("running", None),
            Some(Outcome::Finished) => ("finished", None),
            Some(Outcome::Cancelled) => ("cancelled", None),
            Some(Outcome::Failed(error)) => ("failed", Some(error.clone())),
        };
        Report {
            id: self.id,
            query_id: progress.query_id.clone(),
            state,
            columns: progress.columns.clone(),
            rows: progress
                .rows
                .iter()
                .skip(after)
                .take(PAGE)
                .cloned()
                .collect(),
            n_rows: progress.rows.len(),
            truncated: progress.truncated,
            stats: progress.stats.clone(),
            elapsed_ms: progress.took_ms.unwrap_or_else(|| millis(self.begun)),
            error,
        }
    }
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn failed(error: Error) -> Outcome {
    Outcome::Failed(match error {
        Error::Failed(error) => error,
        other => QueryError {
            message: telemetry::chain(&other).to_string(),
            error_name: "UNREACHABLE".to_owned(),
            error_location: None,
        },
    })
}
