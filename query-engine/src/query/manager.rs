//! Takes queries in, bounds how many run and wait, and forgets them when their clients do.

use std::collections::{HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use futures::FutureExt;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::task::TaskTracker;

use super::run::Engine;
use super::{Query, State, now};
use crate::failure::{Code, Failure};
use crate::session::Session;

/// Pages that may wait for a client.
const PAGES_AHEAD: usize = 2;

/// All queries of this process.
pub(crate) struct Manager {
    pub(crate) engine: Arc<Engine>,
    queries: Mutex<Queries>,
    permits: Arc<Semaphore>,
    n_queued: AtomicUsize,
    next: AtomicU64,
    runtime: tokio::runtime::Handle,
    pub(crate) tasks: TaskTracker,
}

#[derive(Default)]
struct Queries {
    by_id: HashMap<String, Arc<Query>>,
    order: VecDeque<String>,
}

impl Manager {
    pub(crate) fn new(engine: Arc<Engine>, runtime: tokio::runtime::Handle) -> Arc<Manager> {
        let permits = Arc::new(Semaphore::new(engine.config.max_running));
        Arc::new(Manager {
            engine,
            queries: Mutex::default(),
            permits,
            n_queued: AtomicUsize::new(0),
            next: AtomicU64::new(0),
            runtime,
            tasks: TaskTracker::new(),
        })
    }

    /// A query that is known but never starts; the caller says why.
    pub(crate) fn refuse(&self, sql: String, session: Session) -> Arc<Query> {
        self.made(sql, session).0
    }

    fn made(&self, sql: String, session: Session) -> (Arc<Query>, mpsc::Sender<super::Page>) {
        let created = now();
        let number = self.next.fetch_add(1, Ordering::Relaxed) % 100_000;
        let id = format!(
            "{}_{number:05}_{}",
            created.format("%Y%m%d_%H%M%S"),
            word(5)
        );
        let (sender, receiver) = mpsc::channel(PAGES_AHEAD);
        let query = Arc::new(Query::new(
            id,
            format!("y{}", word(31)),
            sql,
            session,
            created,
            receiver,
        ));
        self.remember(&query);
        self.engine.metrics.started.inc();
        (query, sender)
    }

    /// Takes a statement in and starts it when there is room.
    pub(crate) fn submit(self: &Arc<Self>, sql: String, session: Session) -> Arc<Query> {
        let (query, sender) = self.made(sql, session);
        if self.n_queued.load(Ordering::Relaxed) >= self.engine.config.max_queued {
            query.fail(Failure::new(
                Code::QueryQueueFull,
                "Too many queued queries for \"global\"",
            ));
            return query;
        }
        self.n_queued.fetch_add(1, Ordering::Relaxed);
        self.engine.metrics.queued.inc();
        let (manager, running) = (Arc::clone(self), Arc::clone(&query));
        self.tasks.spawn_on(
            async move {
                let limit = tokio::time::sleep(manager.engine.run_time(&running.session));
                tokio::select! {
                    () = running.cancel.cancelled() => {
                        running.fail(Failure::new(Code::UserCanceled, "Query was canceled"));
                        manager.left_queue(&running);
                    }
                    () = limit => {
                        running.fail(Failure::new(Code::ExceededTimeLimit, "Query exceeded the maximum run time limit"));
                        manager.left_queue(&running);
                    }
                    () = manager.go(&running, sender) => {}
                }
                if running.progress().failure.is_some() {
                    manager.engine.metrics.failed.inc();
                }
            },
            &self.runtime,
        );
        query
    }

    async fn go(self: &Arc<Self>, query: &Arc<Query>, sender: mpsc::Sender<super::Page>) {
        let Ok(_permit) = Arc::clone(&self.permits).acquire_owned().await else {
            return;
        };
        self.left_queue(query);
        self.engine.metrics.running.inc();
        let _running = Running(&self.engine.metrics.running);
        let running = Box::pin(Arc::clone(&self.engine).run(self, query, sender));
        // A bug in one query must not leave its client waiting for ever.
        match AssertUnwindSafe(running).catch_unwind().await {
            Ok(Ok(())) => query.finish(),
            Ok(Err(failure)) => query.fail(failure),
            Err(_) => {
                tracing::error!(query_id = %query.id, "query panicked");
                query.fail(Failure::new(
                    Code::GenericInternalError,
                    "the query engine failed in an unexpected way",
                ));
            }
        }
    }

    /// The query no longer waits: counted once, however it left.
    fn left_queue(&self, query: &Query) {
        let mut waited = false;
        query.update(|progress| {
            waited = progress.started.is_none();
            progress.started.get_or_insert_with(std::time::Instant::now);
            if progress.state == State::Queued {
                progress.state = State::Planning;
            }
        });
        if waited {
            self.n_queued.fetch_sub(1, Ordering::Relaxed);
            self.engine.metrics.queued.dec();
        }
    }

    fn remember(&self, query: &Arc<Query>) {
        let mut queries = self.queries.lock();
        queries.by_id.insert(query.id.clone(), Arc::clone(query));
        queries.order.push_back(query.id.clone());
        let mut done = queries
            .by_id
            .values()
            .filter(|query| query.progress().state.is_done())
            .count();
        let mut kept = VecDeque::new();
        while let Some(id) = queries.order.pop_front() {
            let ended = queries
                .by_id
                .get(&id)
                .is_none_or(|query| query.progress().state.is_done());
            if ended && done > self.engine.config.max_history {
                queries.by_id.remove(&id);
                done -= 1;
            } else {
                kept.push_back(id);
            }
        }
        queries.order = kept;
    }

    pub(crate) fn find(&self, id: &str) -> Option<Arc<Query>> {
        self.queries.lock().by_id.get(id).cloned()
    }

    /// All known queries, oldest first.
    pub(crate) fn list(&self) -> Vec<Arc<Query>> {
        let queries = self.queries.lock();
        queries
            .order
            .iter()
            .filter_map(|id| queries.by_id.get(id).cloned())
            .collect()
    }

    /// Ends queries whose clients have gone.
    pub(crate) fn expire(&self) {
        let limit = self.engine.config.client_timeout;
        for query in self.list() {
            if query.idle() > limit && !query.progress().state.is_done() {
                query.fail(Failure::new(
                    Code::AbandonedQuery,
                    format!("Query {} has not been accessed since {:?}", query.id, limit),
                ));
            }
        }
    }

    /// Ends everything, as the process is going.
    pub(crate) fn stop(&self) {
        for query in self.list() {
            query.fail(Failure::new(
                Code::ServerShuttingDown,
                "Server is shutting down",
            ));
        }
        self.tasks.close();
    }
}

struct Running<'m>(&'m prometheus_client::metrics::gauge::Gauge);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Letters and digits that nobody can guess.
pub(crate) fn word(length: usize) -> String {
    const LETTERS: &[u8] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let bytes = [
        uuid::Uuid::new_v4().into_bytes(),
        uuid::Uuid::new_v4().into_bytes(),
    ]
    .concat();
    (0..length)
        .map(|at| char::from(LETTERS[usize::from(bytes[at % bytes.len()]) % LETTERS.len()]))
        .collect()
}
