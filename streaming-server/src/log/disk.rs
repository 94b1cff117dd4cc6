//! The few operations through which the log touches a file, so that a test can make each of them fail.
//!
//! Real files in every build; the test build can be told which operation fails and how, because a full disk or a
//! failed sync cannot be had on demand.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Where the log's file operations go.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    #[cfg(test)]
    pub(crate) faults: std::sync::Arc<Faults>,
    /// Free space below which writes are refused, as if the disk were full.
    pub(crate) min_free: u64,
}

/// Which operation fails next, and with which error number; zero means none.
#[cfg(test)]
#[derive(Debug, Default)]
pub(crate) struct Faults {
    pub(crate) write: std::sync::atomic::AtomicI32,
    pub(crate) sync: std::sync::atomic::AtomicI32,
    /// Syncs wait while a test holds it.
    pub(crate) gate: parking_lot::Mutex<()>,
}

impl Disk {
    /// The real disk, taken for full when less than `min_free` bytes are left.
    pub(crate) fn keeping_free(min_free: u64) -> Self {
        Self {
            #[cfg(test)]
            faults: std::sync::Arc::default(),
            min_free,
        }
    }

    /// Opens a segment that is there for reading and writing.
    pub(crate) fn open_log(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(path)
    }

    /// Opens a segment for reading and writing, creating it and making its name durable when it is new.
    pub(crate) fn create_log(&self, path: &Path) -> io::Result<File> {
        let is_new = !path.try_exists()?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        if is_new && let Some(parent) = path.parent() {
            sync_directory(parent)?;
        }
        Ok(file)
    }

    pub(crate) fn write_all_at(&self, file: &File, bytes: &[u8], position: u64) -> io::Result<()> {
        #[cfg(test)]
        fail(&self.faults.write)?;
        file.write_all_at(bytes, position)
    }

    /// Makes the file's bytes durable. After an error the pages are in doubt: never retry, fail the partition.
    pub(crate) fn sync(&self, file: &File) -> io::Result<()> {
        #[cfg(test)]
        drop(self.faults.gate.lock());
        #[cfg(test)]
        fail(&self.faults.sync)?;
        file.sync_data()
    }

    /// Reserves `[from, from + len)`, so that appends change no extents; zero-filled. Without support it does nothing.
    pub(crate) fn preallocate(&self, file: &File, from: u64, len: u64) -> io::Result<()> {
        if self.min_free > 0 {
            let stat = rustix::fs::fstatvfs(file)?;
            if stat.f_bavail.saturating_mul(stat.f_frsize) < self.min_free {
                return Err(io::Error::from(rustix::io::Errno::NOSPC));
            }
        }
        match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), from, len) {
            Err(
                rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS | rustix::io::Errno::INVAL,
            ) => Ok(()),
            outcome => Ok(outcome?),
        }
    }
}

/// Makes created, renamed and removed names in `directory` durable.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Replaces the file at `path` so that a crash leaves the old or the new content, never a mixture.
pub(crate) fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("tmp");
    let file = File::create(&fresh)?;
    file.write_all_at(content, 0)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    path.parent().map_or(Ok(()), sync_directory)
}

#[cfg(test)]
fn fail(fault: &std::sync::atomic::AtomicI32) -> io::Result<()> {
    match fault.load(std::sync::atomic::Ordering::SeqCst) {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}
