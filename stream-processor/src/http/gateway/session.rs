//! Sessions: a SQL session each, the statements that led to it, and its operations.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::Mutex;

use super::operation::{Finished, Operation};
use super::result::typed;
use crate::batch::RowKind;
use crate::config::Config;
use crate::error::Error;
use crate::graph::{NodeKind, StreamGraph};
use crate::http::Failure;
use crate::jobs::{JobId, Jobs};
use crate::runtime::clock;
use crate::sql::{self, SessionOptions, StatementResult};
use crate::table::{SqlType, TypeRoot};

/// Rows of one page of a result.
const PAGE_ROWS: usize = 5_000;

/// All open sessions.
pub(super) struct Sessions {
    jobs: Jobs,
    options: SessionOptions,
    most: usize,
    timeout_ms: i64,
    most_operations: usize,
    open: Mutex<BTreeMap<String, Arc<Session>>>,
}

/// One client's session.
pub(super) struct Session {
    jobs: Jobs,
    /// Operations that are remembered; ended ones are forgotten first.
    most_operations: usize,
    used_at: AtomicI64,
    state: tokio::sync::Mutex<Inner>,
    operations: Mutex<BTreeMap<String, Arc<Operation>>>,
}

struct Inner {
    session: sql::Session,
    /// What has been executed, so that a job can be planned again from nothing.
    statements: Vec<String>,
}

/// An operation that was begun.
pub(super) struct Started {
    pub(super) handle: String,
}

// === impl Sessions ===

impl Sessions {
    pub(super) fn new(config: &Config, jobs: Jobs, options: SessionOptions) -> Self {
        Sessions {
            jobs,
            options,
            most: config.max_sessions,
            timeout_ms: i64::try_from(config.session_timeout.as_millis()).unwrap_or(i64::MAX),
            most_operations: config.max_operations,
            open: Mutex::default(),
        }
    }

    /// Opens a session with `properties` as its settings.
    pub(super) fn open(&self, properties: BTreeMap<String, String>) -> Result<String, Failure> {
        let mut open = self.open.lock();
        if open.len() >= self.most {
            return Err(Failure::execution(format!(
                "{} sessions are open, as many as `max_sessions` allows",
                self.most
            )));
        }
        let mut options = self.options.clone();
        let statements = properties
            .iter()
            .map(|(key, value)| set_statement(key, value))
            .collect();
        options.defaults.extend(properties);
        let handle = uuid::Uuid::new_v4().to_string();
        let session = Session {
            jobs: self.jobs.clone(),
            most_operations: self.most_operations,
            used_at: AtomicI64::new(clock()),
            state: tokio::sync::Mutex::new(Inner {
                session: sql::Session::new(options),
                statements,
            }),
            operations: Mutex::default(),
        };
        open.insert(handle.clone(), Arc::new(session));
        Ok(handle)
    }

    /// An open session, which counts as used now.
    pub(super) fn get(&self, handle: &str) -> Result<Arc<Session>, Failure> {
        let found = self.open.lock().get(handle).cloned();
        let session = found
            .ok_or_else(|| Failure::not_found(format!("Session '{handle}' does not exist.")))?;
        session.used_at.store(clock(), Ordering::Relaxed);
        Ok(session)
    }

    /// Ends a session and its queries; jobs go on.
    pub(super) async fn close(&self, handle: &str) -> Result<(), Failure> {
        let session = self.get(handle)?;
        self.open.lock().remove(handle);
        session.end().await;
        Ok(())
    }

    pub(super) async fn expire(&self, now: i64) {
        let is_old =
            |session: &Session| now - session.used_at.load(Ordering::Relaxed) > self.timeout_ms;
        let old: Vec<_> = self
            .open
            .lock()
            .extract_if(.., |_, session| is_old(session))
            .map(|(_, session)| session)
            .collect();
        for session in old {
            session.end().await;
        }
    }
}

fn set_statement(key: &str, value: &str) -> String {
    format!(
        "SET '{}' = '{}'",
        key.replace('\'', "''"),
        value.replace('\'', "''")
    )
}

// === impl Session ===

impl Session {
    pub(super) async fn settings(&self) -> BTreeMap<String, String> {
        self.state.lock().await.session.settings().clone()
    }

    /// Executes a statement that starts no job.
    pub(super) async fn configure(&self, statement: &str) -> Result<(), Failure> {
        let mut state = self.state.lock().await;
        match state.session.execute(statement).await? {
            StatementResult::Job(_) => Err(Failure::bad_request(
                "only DDL, USE and SET can configure a session",
            )),
            StatementResult::Ok | StatementResult::Rows { .. } => {
                state.statements.push(statement.to_owned());
                Ok(())
            }
        }
    }

    /// Begins a statement; its result is fetched from the operation.
    pub(super) fn execute(
        self: &Arc<Self>,
        statement: String,
        config: &BTreeMap<String, String>,
    ) -> Result<Started, Failure> {
        if let Some(key) = config.keys().next() {
            return Err(Failure::bad_request(format!(
                "`executionConfig` is not supported (`{key}`); use SET instead"
            )));
        }
        let handle = uuid::Uuid::new_v4().to_string();
        let session = Arc::clone(self);
        let operation = Operation::begin(self.jobs.clone(), PAGE_ROWS, async move {
            session.run(statement.trim().trim_end_matches(';')).await
        });
        let mut operations = self.operations.lock();
        operations.insert(handle.clone(), operation);
        if operations.len() > self.most_operations {
            let ended = operations
                .iter()
                .find(|(_, operation)| operation.is_over())
                .map(|(handle, _)| handle.clone());
            ended.and_then(|handle| operations.remove(&handle));
        }
        Ok(Started { handle })
    }

    async fn run(&self, statement: &str) -> Result<Finished, Error> {
        let mut state = self.state.lock().await;
        let outcome = state.session.execute(statement).await?;
        match outcome {
            StatementResult::Ok => {
                state.statements.push(statement.to_owned());
                Ok(one_row("result", "OK", None))
            }
            StatementResult::Rows { columns, rows } => {
                let row = |row: Vec<Option<String>>| {
                    let cells = row
                        .into_iter()
                        .zip(&columns)
                        .map(|(cell, (_, of))| typed(cell, of));
                    (RowKind::Insert, cells.collect())
                };
                let rows = rows.into_iter().map(row).collect();
                Ok(Finished::Rows {
                    columns,
                    rows,
                    job: None,
                })
            }
            StatementResult::Job(graph) => match collected_columns(&graph) {
                Some(columns) => {
                    let (job, rows) = self.jobs.submit_query(graph, clock())?;
                    Ok(Finished::Query { columns, job, rows })
                }
                None => {
                    let statements = state
                        .statements
                        .iter()
                        .cloned()
                        .chain([statement.to_owned()])
                        .collect();
                    let job = self.jobs.submit(graph, statements, clock()).await?;
                    let text = job.to_string();
                    Ok(one_row("job id", &text, Some(job)))
                }
            },
        }
    }

    pub(super) fn operation(&self, handle: &str) -> Result<Arc<Operation>, Failure> {
        let found = self.operations.lock().get(handle).cloned();
        found.ok_or_else(|| {
            Failure::not_found(format!("Can not find the submitted operation '{handle}'."))
        })
    }

    pub(super) async fn close_operation(&self, handle: &str) -> Result<(), Failure> {
        let operation = self.operation(handle)?;
        self.operations.lock().remove(handle);
        operation.cancel().await;
        Ok(())
    }

    async fn end(&self) {
        let all: Vec<_> = std::mem::take(&mut *self.operations.lock())
            .into_values()
            .collect();
        for operation in all {
            operation.cancel().await;
        }
    }
}

fn one_row(column: &str, value: &str, job: Option<JobId>) -> Finished {
    let text = SqlType {
        root: TypeRoot::Varchar(2_147_483_647),
        nullable: true,
    };
    Finished::Rows {
        columns: vec![(column.to_owned(), text)],
        rows: vec![(RowKind::Insert, vec![value.into()])],
        job,
    }
}

/// The columns of a query whose rows go to its client, if the graph is one.
fn collected_columns(graph: &StreamGraph) -> Option<Vec<(String, SqlType)>> {
    let [sink] = graph
        .nodes
        .iter()
        .filter_map(|node| {
            if let NodeKind::Sink(sink) = &node.kind {
                Some(sink)
            } else {
                None
            }
        })
        .collect::<Vec<_>>()[..]
    else {
        return None;
    };
    let is_collect = sink
        .table
        .options
        .get("connector")
        .is_some_and(|connector| connector == "collect");
    let column = |column: &crate::table::Column| (column.name.clone(), column.data_type.clone());
    is_collect.then(|| sink.table.columns.iter().map(column).collect())
}
