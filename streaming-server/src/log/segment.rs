//! One file of a partition's log with its index.
//!
//! Shared between the appender, the sync threads and readers, each of which needs a different part of it; the file is
//! opened on first use, so that thousands of old segments cost nothing at start.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use super::disk::Disk;
use super::index::Index;

const FIRST_ALLOCATION: u64 = 1 << 20;
const LARGEST_ALLOCATION: u64 = 16 << 20;

/// A run of batches in one file, named by its first offset.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) base: i64,
    path: PathBuf,
    file: Mutex<Option<Arc<File>>>,
    /// Bytes that are durable and may be read.
    synced_len: AtomicU64,
    /// Bytes reserved on disk, at least what is written.
    allocated: Mutex<u64>,
    pub(crate) index: RwLock<Index>,
    /// When its first batch was appended, for rolling by age; zero while empty.
    pub(crate) first_append_ms: AtomicU64,
    /// Closed for good: trimmed to its length with its index beside it.
    pub(crate) sealed: AtomicBool,
    /// Deleted by retention; who planned to read it finds no file.
    removed: AtomicBool,
}

impl Segment {
    pub(crate) fn new(directory: &Path, base: i64) -> Self {
        Self::recovered(directory, Index::new(base), base, 0)
    }

    /// A segment found on disk, whose first `index.log_len` bytes are good.
    pub(crate) fn recovered(
        directory: &Path,
        index: Index,
        base: i64,
        first_append_ms: i64,
    ) -> Self {
        Self {
            base,
            path: directory.join(format!("{base:020}.log")),
            file: Mutex::new(None),
            synced_len: AtomicU64::new(index.log_len),
            allocated: Mutex::new(index.log_len),
            index: RwLock::new(index),
            first_append_ms: AtomicU64::new(u64::try_from(first_append_ms).unwrap_or(0)),
            sealed: AtomicBool::new(false),
            removed: AtomicBool::new(false),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn index_path(&self) -> PathBuf {
        self.path.with_extension("index")
    }

    pub(crate) fn synced_len(&self) -> u64 {
        self.synced_len.load(Ordering::Acquire)
    }

    pub(crate) fn set_synced_len(&self, len: u64) {
        self.synced_len.fetch_max(len, Ordering::AcqRel);
    }

    /// The open file, created if this is its first use.
    pub(crate) fn file(&self, disk: &Disk) -> io::Result<Arc<File>> {
        self.file_by(|path| disk.create_log(path))
    }

    /// The open file for a reader, which must not bring back what retention deletes meanwhile.
    pub(crate) fn file_to_read(&self, disk: &Disk) -> io::Result<Arc<File>> {
        self.file_by(|path| disk.open_log(path))
    }

    fn file_by(&self, open: impl FnOnce(&Path) -> io::Result<File>) -> io::Result<Arc<File>> {
        let mut slot = self.file.lock();
        if let Some(file) = &*slot {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(open(&self.path)?);
        *slot = Some(Arc::clone(&file));
        Ok(file)
    }

    pub(crate) fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }

    /// Makes sure that `[0, end)` is reserved on disk, in steps that grow with the file.
    pub(crate) fn reserve(&self, disk: &Disk, file: &File, end: u64) -> io::Result<()> {
        let mut allocated = self.allocated.lock();
        if end <= *allocated {
            return Ok(());
        }
        let step = (*allocated).clamp(FIRST_ALLOCATION, LARGEST_ALLOCATION);
        let target = end.max(*allocated + step);
        disk.preallocate(file, *allocated, target - *allocated)?;
        *allocated = target;
        Ok(())
    }

    /// Gives back what was reserved and not used, and makes the length durable.
    pub(crate) fn trim(&self, disk: &Disk, len: u64) -> io::Result<()> {
        let file = self.file(disk)?;
        let mut allocated = self.allocated.lock();
        file.set_len(len)?;
        *allocated = len;
        file.sync_all()
    }

    /// Removes its files; readers that hold it open finish undisturbed.
    pub(crate) fn remove(&self) -> io::Result<()> {
        self.removed.store(true, Ordering::Release);
        for path in [self.path.clone(), self.index_path()] {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}
