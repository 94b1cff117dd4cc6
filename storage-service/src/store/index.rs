//! The index: one ordered key-value file that names every bucket, object, upload and part.
//!
//! All changes go through one thread that applies as many waiting ones as there are in a single transaction and makes
//! them durable with a single sync, so that many small writers share its cost. A condition such as `If-None-Match` is
//! evaluated inside that transaction, so of two writers that race exactly one wins. Readers see committed states only.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::RwLock;
use redb::{Database, ReadTransaction, ReadableDatabase as _, TableDefinition, WriteTransaction};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::Error;
use super::blobs::{Blobs, Fresh};
use super::lock::DirLock;
use super::pool::Pool;
use super::tables::Tables;
use crate::metrics::Metrics;

pub(crate) const BUCKETS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("buckets");
/// `bucket \0 key` to object.
pub(crate) const OBJECTS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("objects");
/// Bytes of small objects.
pub(crate) const INLINE: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("inline");
/// Files and how many contents name them.
pub(crate) const FILES: TableDefinition<'_, u128, u32> = TableDefinition::new("files");
/// Parts of completed uploads.
pub(crate) const MANIFESTS: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("manifests");
/// `bucket \0 key \0 upload` to upload.
pub(crate) const UPLOADS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("uploads");
/// `upload part-number` to part.
pub(crate) const PARTS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("parts");

/// Handle to the index; clones share it.
#[derive(Clone)]
pub(crate) struct Index {
    database: Arc<RwLock<Option<Database>>>,
    changes: mpsc::Sender<Box<dyn Change>>,
    pool: Pool,
}

/// How the index is opened.
pub(crate) struct Settings {
    pub(crate) opener: Opener,
    pub(crate) batch: usize,
    /// Held until the database is closed.
    pub(crate) lock: DirLock,
    /// Cancelled when it is.
    pub(crate) closed: CancellationToken,
    /// Cancelled when the index is given up.
    pub(crate) failed: CancellationToken,
}

/// Opens the database file, at the start and again after a full disk.
pub(crate) type Opener = Box<dyn Fn() -> Result<Database, redb::DatabaseError> + Send>;

/// How long the commit thread waits before it tries again to open a database that failed.
const REOPEN_PAUSE: Duration = Duration::from_millis(200);

/// One waiting change.
trait Change: Send {
    /// Applies the change. A refusal of the change itself is kept for `answer`; an error here ends the transaction.
    fn apply(&mut self, tables: &mut Tables<'_>) -> Result<(), Error>;
    fn answer(self: Box<Self>, outcome: Result<(), Error>);
}

struct Pending<T, F, N> {
    work: Option<F>,
    /// Told of the change once it is durable, also when nobody waits for the answer any more.
    note: N,
    result: Option<Result<T, Error>>,
    reply: oneshot::Sender<Result<T, Error>>,
}

impl<T, F, N> Change for Pending<T, F, N>
where
    T: Send,
    F: FnOnce(&mut Tables<'_>) -> Result<T, Error> + Send,
    N: FnOnce() + Send,
{
    fn apply(&mut self, tables: &mut Tables<'_>) -> Result<(), Error> {
        let Some(work) = self.work.take() else {
            return Ok(());
        };
        match work(tables) {
            Err(fatal @ (Error::Index(_) | Error::DiskFull | Error::Corrupt { .. })) => Err(fatal),
            result => {
                self.result = Some(result);
                Ok(())
            }
        }
    }

    fn answer(self: Box<Self>, outcome: Result<(), Error>) {
        let result = match outcome {
            Ok(()) => self.result.unwrap_or(Err(Error::Stopped)),
            Err(error) => Err(error),
        };
        if result.is_ok() {
            (self.note)();
        }
        // A client that went away no longer wants its answer; the change holds all the same.
        let _ = self.reply.send(result);
    }
}

impl Index {
    /// Opens the index, making it if there is none, and starts its thread.
    pub(crate) fn open(
        settings: Settings,
        blobs: Arc<Blobs>,
        pool: Pool,
        metrics: Metrics,
    ) -> Result<Self, Error> {
        let database = open_database(&settings.opener)?;
        let database = Arc::new(RwLock::new(Some(database)));
        let (changes, waiting) = mpsc::channel(settings.batch * 4);
        let committer = Committer {
            database: Arc::clone(&database),
            settings,
            blobs,
            waiting,
            metrics,
        };
        thread::Builder::new()
            .name(String::from("store-commit"))
            .spawn(move || committer.run())
            .map_err(Error::io("start the commit thread"))?;
        Ok(Self {
            database,
            changes,
            pool,
        })
    }

    /// Applies a change durably. It must refuse before it touches anything.
    pub(crate) async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tables<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.change_noting(work, || {}).await
    }

    /// As [`Index::change`]; `note` is called when the change is durable, even if the caller has gone away by then.
    pub(crate) async fn change_noting<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tables<'_>) -> Result<T, Error> + Send + 'static,
        note: impl FnOnce() + Send + 'static,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let pending = Box::new(Pending {
            work: Some(work),
            note,
            result: None,
            reply,
        });
        self.changes
            .send(pending)
            .await
            .map_err(|_| Error::Stopped)?;
        answer.await.map_err(|_| Error::Stopped)?
    }

    /// Reads from the last committed state.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let index = self.clone();
        self.pool.run(move || index.read_now(work)).await
    }

    /// As [`Index::read`], on this thread.
    pub(crate) fn read_now<T>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let database = self.database.read();
        let database = database.as_ref().ok_or(Error::Stopped)?;
        work(&database.begin_read()?)
    }
}

/// Opens the file at `path`, keeping at most `cache` bytes of it in memory.
pub(crate) fn file_opener(path: PathBuf, cache: usize) -> Opener {
    Box::new(move || Database::builder().set_cache_size(cache).create(&path))
}

fn open_database(opener: &Opener) -> Result<Database, Error> {
    let database = opener()?;
    let txn = database.begin_write()?;
    drop(Tables::open(&txn)?);
    txn.commit()?;
    Ok(database)
}

/// The one thread that writes.
struct Committer {
    database: Arc<RwLock<Option<Database>>>,
    settings: Settings,
    blobs: Arc<Blobs>,
    waiting: mpsc::Receiver<Box<dyn Change>>,
    metrics: Metrics,
}

impl Committer {
    fn run(mut self) {
        let mut batch: Vec<Box<dyn Change>> = Vec::with_capacity(self.settings.batch);
        while self
            .waiting
            .blocking_recv_many(&mut batch, self.settings.batch)
            > 0
        {
            self.metrics.commits.inc();
            self.metrics.committed_changes.inc_by(batch.len() as u64);
            let outcome = self.commit(&mut batch);
            if let Err(error) = &outcome {
                error!(error = %telemetry::chain(error), "index could not be changed");
            }
            for change in batch.drain(..) {
                change.answer(outcome.clone());
            }
            match outcome {
                Ok(()) => {}
                Err(error) if error.is_lost_write() => self.give_up(&error),
                Err(error) => self.reopen(&error),
            }
        }
        *self.database.write() = None;
        drop(self.settings.lock);
        self.settings.closed.cancel();
    }

    fn commit(&self, batch: &mut [Box<dyn Change>]) -> Result<(), Error> {
        let database = self.database.read();
        let Some(database) = database.as_ref() else {
            return Err(Error::Stopped);
        };
        let txn = database.begin_write()?;
        let (landed, freed) = apply(&txn, batch)?;
        let outcome = txn.commit();
        // Also after a failure: the disk may hold the commit all the same, so the files must stay.
        landed.into_iter().for_each(Fresh::keep);
        outcome?;
        self.blobs.remove(freed);
        Ok(())
    }

    /// After a failed write or sync the kernel may take pages for written that are not on disk, so an index opened
    /// anew would read them from memory and acknowledge what a power cut takes back. It is closed for good; changes
    /// are answered with the error that ended it.
    fn give_up(&mut self, cause: &Error) {
        *self.database.write() = None;
        error!("index given up; check the disk, then start the service again");
        self.settings.failed.cancel();
        while let Some(change) = self.waiting.blocking_recv() {
            change.answer(Err(cause.clone()));
        }
    }

    /// After a full disk the database refuses everything until it is opened anew. Until that succeeds, changes are
    /// answered with the error that began it.
    fn reopen(&mut self, cause: &Error) {
        *self.database.write() = None;
        loop {
            match open_database(&self.settings.opener) {
                Ok(opened) => {
                    *self.database.write() = Some(opened);
                    info!("index reopened");
                    return;
                }
                Err(error) if error.is_lost_write() => return self.give_up(&error),
                Err(error) => {
                    warn!(error = %telemetry::chain(&error), "index could not be reopened yet");
                }
            }
            thread::sleep(REOPEN_PAUSE);
            loop {
                match self.waiting.try_recv() {
                    Ok(change) => change.answer(Err(cause.clone())),
                    Err(mpsc::error::TryRecvError::Empty) => break,
                    Err(mpsc::error::TryRecvError::Disconnected) => return,
                }
            }
        }
    }
}

type Effects = (Vec<Fresh>, Vec<super::record::BlobId>);

fn apply(txn: &WriteTransaction, batch: &mut [Box<dyn Change>]) -> Result<Effects, Error> {
    let mut tables = Tables::open(txn)?;
    for change in batch {
        change.apply(&mut tables)?;
    }
    Ok(tables.into_effects())
}
