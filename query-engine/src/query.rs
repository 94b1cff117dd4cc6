//! Queries: admission, state, pages of results, cancellation.
//!
//! A query is a state that its runner moves forward ([`run`]) and HTTP requests look at. The runner fills a bounded
//! channel of encoded pages, so a client that does not fetch stops the query instead of filling memory.

pub(crate) mod manager;
pub(crate) mod memory;
pub(crate) mod run;
mod steady;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;
use crate::scan::ScanProgress;
use crate::session::{Changes, Session};
use crate::sql::analyze::OutputColumn;

/// The states a query goes through, as Trino names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Queued,
    Planning,
    Running,
    Finishing,
    Finished,
    Failed,
}

impl State {
    pub(crate) fn name(self) -> &'static str {
        match self {
            State::Queued => "QUEUED",
            State::Planning => "PLANNING",
            State::Running => "RUNNING",
            State::Finishing => "FINISHING",
            State::Finished => "FINISHED",
            State::Failed => "FAILED",
        }
    }

    pub(crate) fn is_done(self) -> bool {
        matches!(self, State::Finished | State::Failed)
    }
}

/// An encoded page: a JSON array of rows.
pub(crate) struct Page {
    pub(crate) rows: u64,
    pub(crate) json: String,
}

/// What is known of a query beside its rows.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    pub(crate) state: State,
    pub(crate) columns: Option<Vec<OutputColumn>>,
    pub(crate) failure: Option<Failure>,
    pub(crate) changes: Changes,
    pub(crate) update_type: Option<String>,
    pub(crate) started: Option<Instant>,
    pub(crate) ended: Option<Instant>,
    pub(crate) ended_at: Option<DateTime<Utc>>,
    pub(crate) planning: Duration,
}

/// One query.
pub(crate) struct Query {
    pub(crate) id: String,
    pub(crate) slug: String,
    pub(crate) sql: String,
    pub(crate) session: Session,
    pub(crate) created: Instant,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) cancel: CancellationToken,
    pub(crate) peak_memory: Arc<AtomicU64>,
    pub(crate) scans: Arc<ScanProgress>,
    progress: Mutex<Progress>,
    heartbeat: Mutex<Instant>,
    pub(crate) changed: Notify,
    pub(crate) pages: tokio::sync::Mutex<Delivery>,
}

/// Where the client is in the pages.
pub(crate) struct Delivery {
    pub(crate) receiver: mpsc::Receiver<Page>,
    /// Token of the last answer and the answer itself, in case the client lost it.
    pub(crate) last: Option<(u64, Arc<str>)>,
}

impl Query {
    pub(crate) fn new(
        id: String,
        slug: String,
        sql: String,
        session: Session,
        now: DateTime<Utc>,
        receiver: mpsc::Receiver<Page>,
    ) -> Query {
        Query {
            id,
            slug,
            sql,
            session,
            created: Instant::now(),
            created_at: now,
            cancel: CancellationToken::new(),
            peak_memory: Arc::new(AtomicU64::new(0)),
            scans: Arc::default(),
            progress: Mutex::new(Progress {
                state: State::Queued,
                columns: None,
                failure: None,
                changes: Changes::default(),
                update_type: None,
                started: None,
                ended: None,
                ended_at: None,
                planning: Duration::ZERO,
            }),
            heartbeat: Mutex::new(Instant::now()),
            changed: Notify::new(),
            pages: tokio::sync::Mutex::new(Delivery {
                receiver,
                last: None,
            }),
        }
    }

    pub(crate) fn progress(&self) -> Progress {
        self.progress.lock().clone()
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.progress.lock());
        self.changed.notify_waiters();
    }

    /// Ends the query with a failure, unless it has ended already.
    pub(crate) fn fail(&self, failure: Failure) {
        self.update(|progress| {
            if !progress.state.is_done() {
                progress.state = State::Failed;
                progress.failure = Some(failure);
                progress.ended = Some(Instant::now());
                progress.ended_at = Some(now());
            }
        });
        self.cancel.cancel();
    }

    pub(crate) fn finish(&self) {
        self.update(|progress| {
            if !progress.state.is_done() {
                progress.state = State::Finished;
                progress.ended = Some(Instant::now());
                progress.ended_at = Some(now());
            }
        });
    }

    /// The client has shown that it is there.
    pub(crate) fn touch(&self) {
        *self.heartbeat.lock() = Instant::now();
    }

    pub(crate) fn idle(&self) -> Duration {
        self.heartbeat.lock().elapsed()
    }
}

/// The time of day, asked for in this one place.
#[expect(
    clippy::disallowed_methods,
    reason = "queries carry wall-clock times: current_timestamp and system.runtime.queries"
)]
pub(crate) fn now() -> DateTime<Utc> {
    DateTime::<Utc>::from(std::time::SystemTime::now())
}
