//! One statement under way: its status, and its result page by page.
//!
//! Tokens count pages. The last page can be fetched again, in case its answer was lost; an older one is gone.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::result::{Page, Row, decoded};
use crate::connectors::collect::CollectQueue;
use crate::error::Error;
use crate::http::Failure;
use crate::jobs::{Entry, JobId, Jobs};
use crate::runtime::job::stats::JobState;
use crate::table::SqlType;

/// How long a fetch waits for something to answer with.
const POLL: Duration = Duration::from_millis(200);

/// What a statement ended with.
pub(super) enum Finished {
    /// Rows that are known.
    Rows {
        columns: Vec<(String, SqlType)>,
        rows: Vec<Row>,
        job: Option<JobId>,
    },
    /// A query whose rows come as it runs.
    Query {
        columns: Vec<(String, SqlType)>,
        job: JobId,
        rows: Arc<CollectQueue>,
    },
}

/// A statement under way or ended.
pub(super) struct Operation {
    jobs: Jobs,
    page_rows: usize,
    status: watch::Sender<Status>,
    result: tokio::sync::Mutex<Option<Reader>>,
    task: Mutex<JoinSet<()>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Status {
    Running,
    Finished,
    Canceled,
    Failed(String),
}

/// Reads a result forward and remembers the last page.
struct Reader {
    finished: Finished,
    /// The token of `last`, once something was read.
    token: Option<u64>,
    last: Page,
    /// Rows of [`Finished::Rows`] already read.
    read: usize,
    /// Rows of [`Finished::Query`] that have arrived and were not read.
    arrived: VecDeque<Row>,
}

// === impl Operation ===

impl Operation {
    /// Begins `statement`.
    pub(super) fn begin(
        jobs: Jobs,
        page_rows: usize,
        statement: impl Future<Output = Result<Finished, Error>> + Send + 'static,
    ) -> Arc<Self> {
        let operation = Arc::new(Operation {
            jobs,
            page_rows,
            status: watch::Sender::new(Status::Running),
            result: tokio::sync::Mutex::default(),
            task: Mutex::default(),
        });
        let this = Arc::downgrade(&operation);
        operation.task.lock().spawn(async move {
            let outcome = statement.await;
            let Some(this) = this.upgrade() else { return };
            match outcome {
                Ok(finished) => {
                    *this.result.lock().await = Some(Reader::new(finished));
                    this.advance(Status::Finished);
                }
                Err(error) => this.advance(Status::Failed(telemetry::chain(&error).to_string())),
            }
        });
        operation
    }

    /// An end is final: a cancelled statement stays cancelled.
    fn advance(&self, to: Status) {
        self.status.send_if_modified(|status| {
            let was_running = *status == Status::Running;
            if was_running {
                *status = to;
            }
            was_running
        });
    }

    /// Flink's name of the status.
    pub(super) fn status(&self) -> &'static str {
        match *self.status.borrow() {
            Status::Running => "RUNNING",
            Status::Finished => "FINISHED",
            Status::Canceled => "CANCELED",
            Status::Failed(_) => "ERROR",
        }
    }

    pub(super) fn is_over(&self) -> bool {
        *self.status.borrow() != Status::Running
    }

    /// How the statement ended, if it does so soon.
    async fn ended(&self) -> Option<Status> {
        let mut status = self.status.subscribe();
        let ended =
            tokio::time::timeout(POLL, status.wait_for(|status| *status != Status::Running)).await;
        // The sender is our own, so the wait cannot fail.
        ended.ok()?.ok().map(|status| status.clone())
    }

    /// Page `token` of the result.
    pub(super) async fn fetch(&self, token: u64) -> Result<Page, Failure> {
        match self.ended().await {
            None => return Ok(Page::NotReady { token }),
            Some(Status::Failed(message)) => return Err(Failure::execution(message)),
            Some(Status::Canceled) => {
                return Err(Failure::execution("the operation was cancelled"));
            }
            Some(Status::Running | Status::Finished) => {}
        }
        let mut result = self.result.lock().await;
        let Some(reader) = result.as_mut() else {
            return Ok(Page::NotReady { token });
        };
        reader.fetch(token, &self.jobs, self.page_rows).await
    }

    /// Stops the statement, and its query if it is one; a job that was submitted goes on.
    pub(super) async fn cancel(&self) {
        self.advance(Status::Canceled);
        self.task.lock().abort_all();
        let result = self.result.lock().await;
        if let Some(Reader {
            finished: Finished::Query { job, .. },
            ..
        }) = &*result
        {
            self.jobs.close_query(job).await;
        }
    }
}

// === impl Reader ===

impl Reader {
    fn new(finished: Finished) -> Self {
        Reader {
            finished,
            token: None,
            last: Page::NotReady { token: 0 },
            read: 0,
            arrived: VecDeque::new(),
        }
    }

    async fn fetch(&mut self, token: u64, jobs: &Jobs, page_rows: usize) -> Result<Page, Failure> {
        if self.token == Some(token) {
            return Ok(self.last.clone());
        }
        let expected = self.token.map_or(0, |last| last + 1);
        if token != expected || matches!(self.last, Page::End { .. }) {
            return Err(Failure::execution(format!(
                "Expecting token to be {expected}, but found {token}."
            )));
        }
        self.last = match &self.finished {
            Finished::Rows { columns, rows, job } => {
                let rows = &rows[self.read.min(rows.len())..];
                let rows = rows[..rows.len().min(page_rows)].to_vec();
                if rows.is_empty() && token > 0 {
                    Page::End {
                        columns: columns.clone(),
                        job: job.clone(),
                        is_query: job.is_none(),
                    }
                } else {
                    self.read += rows.len();
                    let (columns, job) = (columns.clone(), job.clone());
                    Page::Payload {
                        columns,
                        rows,
                        is_query: false,
                        job,
                        next: token + 1,
                    }
                }
            }
            Finished::Query { columns, job, rows } => {
                let entry = jobs.get(job.as_str());
                let entry = entry.ok_or_else(|| Failure::execution("the query's job is gone"))?;
                if self.arrived.is_empty() {
                    match arrivals(&entry, rows, columns, &mut self.arrived).await? {
                        Arrivals::Some => {}
                        Arrivals::NoMore => {
                            self.token = Some(token);
                            let job = Some(job.clone());
                            self.last = Page::End {
                                columns: columns.clone(),
                                job,
                                is_query: true,
                            };
                            return Ok(self.last.clone());
                        }
                    }
                }
                let rows = self
                    .arrived
                    .drain(..self.arrived.len().min(page_rows))
                    .collect();
                Page::Payload {
                    columns: columns.clone(),
                    rows,
                    job: Some(job.clone()),
                    is_query: true,
                    next: token + 1,
                }
            }
        };
        self.token = Some(token);
        Ok(self.last.clone())
    }
}

/// Whether a query may have more rows.
enum Arrivals {
    /// Perhaps none for now.
    Some,
    /// It has ended and all were read.
    NoMore,
}

/// Takes what has arrived of a query, waiting a little if that is nothing.
async fn arrivals(
    entry: &Entry,
    queue: &CollectQueue,
    columns: &[(String, SqlType)],
    into: &mut VecDeque<Row>,
) -> Result<Arrivals, Failure> {
    // Read before the rows: what arrives later cannot be missed by an end.
    let state = entry.state();
    let mut batches = queue.take();
    if batches.is_empty() && !state.is_final() {
        let mut changes = entry.watch();
        tokio::select! {
            () = queue.arrived() => {}
            _ = changes.wait_for(|state| state.is_final()) => {}
            () = tokio::time::sleep(POLL) => {}
        }
        batches = queue.take();
    }
    for batch in &batches {
        decoded(batch, columns, into)?;
    }
    match state {
        JobState::Failed if batches.is_empty() => {
            let reason = entry
                .view()
                .failures
                .first()
                .map_or(String::new(), |(_, reason)| reason.clone());
            Err(Failure::execution(reason))
        }
        state if state.is_final() && batches.is_empty() => Ok(Arrivals::NoMore),
        _ => Ok(Arrivals::Some),
    }
}
