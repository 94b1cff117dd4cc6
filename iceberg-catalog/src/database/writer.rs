//! The one writer of the database: changes that arrive while a sync is under way share the next one.
//!
//! Each change is all or nothing in a savepoint of its own, so a refused one does not disturb the others of its batch.
//! Nothing is answered before the commit that holds it.

use std::sync::Arc;

use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, AnyPool, Executor};
use tokio::sync::{mpsc, oneshot};

use crate::files::overlap;
use crate::metrics::Metrics;

/// SQLite's result code for a full disk.
const SQLITE_FULL: &str = "13";

/// A change to the rows, carried out completely or refused completely.
#[derive(Debug)]
pub(crate) enum Change {
    CreateNamespace {
        namespace: String,
        parent: Option<String>,
        properties: String,
    },
    DropNamespace {
        namespace: String,
    },
    /// Replaces the properties if they still are `expected`.
    SetProperties {
        namespace: String,
        expected: String,
        properties: String,
    },
    /// New tables and new versions of tables, together.
    Commit(Vec<TableChange>),
    DropTable {
        namespace: String,
        name: String,
        /// Whether the files are to be deleted too.
        purge: bool,
    },
    Rename {
        from: (String, String),
        to: (String, String),
    },
    /// The files at this location are deleted.
    Purged {
        location: String,
    },
}

/// One table's part of a commit.
#[derive(Debug, Clone)]
pub(crate) struct TableChange {
    pub(crate) id: String,
    pub(crate) base: Base,
    pub(crate) location: String,
    pub(crate) metadata_location: String,
    pub(crate) metadata: Vec<u8>,
}

/// What a table change stands on.
#[derive(Debug, Clone)]
pub(crate) enum Base {
    /// The table does not exist yet.
    Nothing { namespace: String, name: String },
    /// The table is at this version.
    Version(i64),
}

/// Why a change was not made; nothing of it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// What should be new exists.
    Exists,
    /// What should be there is not.
    Missing,
    /// The namespace meant as container is missing.
    NoNamespace,
    NotEmpty,
    /// Files at the location of a new table are being deleted.
    Purging,
    /// Another change came first.
    Stale,
}

/// Why a change may not have been made.
#[derive(Debug, Clone)]
pub(crate) enum Failure {
    Refused(Refusal),
    /// The database failed before the commit: nothing was changed.
    NotMade(Arc<sqlx::Error>),
    /// The commit itself failed: it may or may not have been made.
    Unknown(Arc<sqlx::Error>),
    /// The writer has stopped.
    Stopped,
}

/// How much may wait and how much one sync may carry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) pending: usize,
    pub(crate) batch: usize,
}

struct Job {
    change: Change,
    answer: oneshot::Sender<Result<(), Failure>>,
}

/// Hands changes to the writer; clones feed the same one.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    jobs: mpsc::Sender<Job>,
}

/// The writer's loop, which owns the connection.
pub(crate) struct Loop {
    pool: AnyPool,
    begin: &'static str,
    jobs: mpsc::Receiver<Job>,
    batch: usize,
    metrics: Metrics,
}

pub(crate) fn new(
    pool: AnyPool,
    begin: &'static str,
    bounds: Bounds,
    metrics: Metrics,
) -> (Writer, Loop) {
    let (sender, receiver) = mpsc::channel(bounds.pending);
    let work = Loop {
        pool,
        begin,
        jobs: receiver,
        batch: bounds.batch,
        metrics,
    };
    (Writer { jobs: sender }, work)
}

// === impl Writer ===

impl Writer {
    /// Makes `change`; when this returns `Ok` it is durable.
    pub(crate) async fn make(&self, change: Change) -> Result<(), Failure> {
        let (answer, answered) = oneshot::channel();
        self.jobs
            .send(Job { change, answer })
            .await
            .map_err(|_| Failure::Stopped)?;
        answered.await.unwrap_or(Err(Failure::Stopped))
    }
}

// === impl Loop ===

impl Loop {
    /// Works until every [`Writer`] is gone and all they sent is answered.
    pub(crate) async fn run(mut self) {
        let mut jobs = Vec::with_capacity(self.batch);
        while self.jobs.recv_many(&mut jobs, self.batch).await > 0 {
            self.batch(&mut jobs).await;
        }
        self.pool.close().await;
    }

    async fn batch(&self, jobs: &mut Vec<Job>) {
        let outcomes = self.try_batch(jobs).await;
        self.metrics.database_syncs.inc();
        match outcomes {
            Ok(outcomes) => {
                for (job, outcome) in jobs.drain(..).zip(outcomes) {
                    // The asker may have gone away; its change stands all the same.
                    let _gone = job.answer.send(outcome.map_err(Failure::Refused));
                }
            }
            Err(failure) => {
                for job in jobs.drain(..) {
                    let _gone = job.answer.send(Err(failure.clone()));
                }
            }
        }
    }

    async fn try_batch(&self, jobs: &[Job]) -> Result<Vec<Result<(), Refusal>>, Failure> {
        let not_made = |error| Failure::NotMade(Arc::new(error));
        let mut connection = self.pool.acquire().await.map_err(not_made)?;
        connection.execute(self.begin).await.map_err(not_made)?;
        let mut outcomes = Vec::with_capacity(jobs.len());
        for job in jobs {
            match change(&mut connection, &job.change).await {
                Ok(outcome) => outcomes.push(outcome),
                Err(error) => {
                    give_up(connection).await;
                    return Err(not_made(error));
                }
            }
        }
        if let Err(error) = connection.execute("COMMIT").await {
            give_up(connection).await;
            let error = Arc::new(error);
            return Err(match is_full(&error) {
                true => Failure::NotMade(error),
                false => Failure::Unknown(error),
            });
        }
        Ok(outcomes)
    }
}

/// Whether SQLite found no room for the commit, which it then has certainly not made.
fn is_full(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(|error| error.code())
        .is_some_and(|code| code == SQLITE_FULL)
}

/// Ends the transaction; a connection that cannot even do that is closed.
async fn give_up(mut connection: PoolConnection<Any>) {
    if connection.execute("ROLLBACK").await.is_err() {
        connection.close_on_drop();
    }
}

async fn change(
    connection: &mut AnyConnection,
    change: &Change,
) -> Result<Result<(), Refusal>, sqlx::Error> {
    connection.execute("SAVEPOINT one_change").await?;
    let outcome = match carry_out(connection, change).await {
        Err(Problem::Refused(refusal)) => Err(refusal),
        Err(Problem::Failed(error)) => match refusal(change, &error) {
            Some(refusal) => Err(refusal),
            None => return Err(error),
        },
        Ok(()) => Ok(()),
    };
    if outcome.is_err() {
        connection
            .execute("ROLLBACK TO SAVEPOINT one_change")
            .await?;
    }
    connection.execute("RELEASE SAVEPOINT one_change").await?;
    Ok(outcome)
}

enum Problem {
    Refused(Refusal),
    Failed(sqlx::Error),
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        Problem::Failed(error)
    }
}

/// What a broken constraint means for `change`.
fn refusal(change: &Change, error: &sqlx::Error) -> Option<Refusal> {
    let error = error.as_database_error()?;
    if error.is_unique_violation() {
        return Some(Refusal::Exists);
    }
    error.is_foreign_key_violation().then_some(match change {
        Change::DropNamespace { .. } => Refusal::NotEmpty,
        _ => Refusal::NoNamespace,
    })
}

async fn carry_out(connection: &mut AnyConnection, change: &Change) -> Result<(), Problem> {
    match change {
        Change::CreateNamespace {
            namespace,
            parent,
            properties,
        } => {
            sqlx::query("INSERT INTO namespaces (name, parent, properties) VALUES ($1, $2, $3)")
                .bind(namespace.clone())
                .bind(parent.clone())
                .bind(properties.clone())
                .execute(connection)
                .await?;
            Ok(())
        }
        Change::DropNamespace { namespace } => {
            let done = sqlx::query("DELETE FROM namespaces WHERE name = $1")
                .bind(namespace.clone())
                .execute(connection)
                .await?;
            expect_row(done.rows_affected(), Refusal::Missing)
        }
        Change::SetProperties {
            namespace,
            expected,
            properties,
        } => {
            let done = sqlx::query(
                "UPDATE namespaces SET properties = $1 WHERE name = $2 AND properties = $3",
            )
            .bind(properties.clone())
            .bind(namespace.clone())
            .bind(expected.clone())
            .execute(connection)
            .await?;
            expect_row(done.rows_affected(), Refusal::Stale)
        }
        Change::Commit(tables) => {
            for table in tables {
                commit(connection, table).await?;
            }
            Ok(())
        }
        Change::DropTable {
            namespace,
            name,
            purge,
        } => drop_table(connection, namespace, name, *purge).await,
        Change::Rename { from, to } => {
            let done = sqlx::query(
                "UPDATE tables SET namespace = $1, name = $2 WHERE namespace = $3 AND name = $4",
            )
            .bind(to.0.clone())
            .bind(to.1.clone())
            .bind(from.0.clone())
            .bind(from.1.clone())
            .execute(connection)
            .await?;
            expect_row(done.rows_affected(), Refusal::Missing)
        }
        Change::Purged { location } => {
            sqlx::query("DELETE FROM purges WHERE location = $1")
                .bind(location.clone())
                .execute(connection)
                .await?;
            Ok(())
        }
    }
}

async fn commit(connection: &mut AnyConnection, table: &TableChange) -> Result<(), Problem> {
    match &table.base {
        Base::Nothing { namespace, name } => {
            // The purge has looked who shares the location; who comes now would lose files to it.
            let purges: Vec<String> = sqlx::query_scalar("SELECT location FROM purges")
                .fetch_all(&mut *connection)
                .await?;
            if purges.iter().any(|purged| overlap(purged, &table.location)) {
                return Err(Problem::Refused(Refusal::Purging));
            }
            sqlx::query(
                "INSERT INTO tables (id, namespace, name, version, location, metadata_location, metadata)
                 VALUES ($1, $2, $3, 0, $4, $5, $6)",
            )
            .bind(table.id.clone())
            .bind(namespace.clone())
            .bind(name.clone())
            .bind(table.location.clone())
            .bind(table.metadata_location.clone())
            .bind(table.metadata.clone())
            .execute(connection)
            .await?;
            Ok(())
        }
        Base::Version(version) => {
            let done = sqlx::query(
                "UPDATE tables SET version = version + 1, location = $1, metadata_location = $2, metadata = $3
                 WHERE id = $4 AND version = $5",
            )
            .bind(table.location.clone())
            .bind(table.metadata_location.clone())
            .bind(table.metadata.clone())
            .bind(table.id.clone())
            .bind(*version)
            .execute(connection)
            .await?;
            expect_row(done.rows_affected(), Refusal::Stale)
        }
    }
}

async fn drop_table(
    connection: &mut AnyConnection,
    namespace: &str,
    name: &str,
    purge: bool,
) -> Result<(), Problem> {
    if purge {
        sqlx::query(
            "INSERT INTO purges SELECT location FROM tables WHERE namespace = $1 AND name = $2
             ON CONFLICT DO NOTHING",
        )
        .bind(namespace.to_owned())
        .bind(name.to_owned())
        .execute(&mut *connection)
        .await?;
    }
    let done = sqlx::query("DELETE FROM tables WHERE namespace = $1 AND name = $2")
        .bind(namespace.to_owned())
        .bind(name.to_owned())
        .execute(connection)
        .await?;
    expect_row(done.rows_affected(), Refusal::Missing)
}

fn expect_row(n_rows: u64, otherwise: Refusal) -> Result<(), Problem> {
    if n_rows == 0 {
        return Err(Problem::Refused(otherwise));
    }
    Ok(())
}
