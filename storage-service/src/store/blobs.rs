//! Large objects as files named by a random id, never by a key; each 64 KiB block carries a CRC.
//!
//! A file is written once, synced, and only then named by the index, so a file the index does not name is garbage of
//! a crash and is swept at the next start. Files a reader holds are removed when it lets go.
//!
//! Format: the bytes of the object, then one little-endian CRC-32C per block of [`BLOCK`] bytes.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::warn;

use super::Error;
use super::pool::Pool;
use super::record::BlobId;

/// Bytes covered by one checksum.
pub(crate) const BLOCK: usize = 64 * 1024;

/// The directory of blobs and who is reading which.
pub(crate) struct Blobs {
    dir: PathBuf,
    pool: Pool,
    pins: Mutex<Pins>,
}

#[derive(Default)]
struct Pins {
    held: HashMap<BlobId, u32>,
    /// Removed from the index, to be removed from disk when no longer held.
    doomed: HashSet<BlobId>,
}

/// Keeps files readable while an answer is sent.
pub(crate) struct Pin {
    blobs: Arc<Blobs>,
    ids: Vec<BlobId>,
}

/// A file the index does not name yet; removed if it is dropped before that.
pub(crate) struct Fresh {
    blobs: Arc<Blobs>,
    pub(crate) id: BlobId,
    kept: bool,
}

/// Writes one blob.
pub(crate) struct BlobWriter {
    file: File,
    fresh: Fresh,
    sums: Vec<u8>,
    block: Block,
}

struct Block {
    crc: crc_fast::Digest,
    len: usize,
}

// === impl Blobs ===

impl Blobs {
    /// Opens the directory, making its 256 subdirectories if there are none.
    pub(crate) fn open(dir: PathBuf, pool: Pool) -> io::Result<Self> {
        if !fs::exists(&dir)? {
            let new = dir.with_extension("new");
            fs::create_dir_all(&new)?;
            for shard in 0..=u8::MAX {
                fs::create_dir_all(new.join(format!("{shard:02x}")))?;
            }
            File::open(&new)?.sync_all()?;
            fs::rename(&new, &dir)?;
            if let Some(parent) = dir.parent() {
                File::open(parent)?.sync_all()?;
            }
        }
        Ok(Self {
            dir,
            pool,
            pins: Mutex::default(),
        })
    }

    fn shard(&self, id: BlobId) -> PathBuf {
        self.dir.join(format!("{:02x}", id.0 & 0xff))
    }

    fn path(&self, id: BlobId) -> PathBuf {
        self.shard(id).join(id.to_string())
    }

    /// Begins a new blob.
    pub(crate) fn create(self: &Arc<Self>) -> Result<BlobWriter, Error> {
        let id = BlobId::fresh();
        let file = File::options()
            .write(true)
            .create_new(true)
            .open(self.path(id))
            .map_err(Error::io("create a file for the object"))?;
        let fresh = Fresh {
            blobs: Arc::clone(self),
            id,
            kept: false,
        };
        Ok(BlobWriter {
            file,
            fresh,
            sums: Vec::new(),
            block: Block::new(),
        })
    }

    /// Opens a blob for [`read`].
    pub(crate) fn open_blob(&self, id: BlobId) -> Result<File, Error> {
        File::open(self.path(id)).map_err(Error::io("open the file of the object"))
    }

    /// Holds files against removal. The caller must look again whether the index still names them.
    pub(crate) fn pin(self: &Arc<Self>, ids: Vec<BlobId>) -> Pin {
        let mut pins = self.pins.lock();
        for id in &ids {
            *pins.held.entry(*id).or_default() += 1;
        }
        drop(pins);
        Pin {
            blobs: Arc::clone(self),
            ids,
        }
    }

    /// Removes files the index no longer names, now or when their readers are done.
    pub(crate) fn remove(self: &Arc<Self>, ids: Vec<BlobId>) {
        let free: Vec<BlobId> = {
            let mut pins = self.pins.lock();
            let (held, free) = ids.into_iter().partition(|id| pins.held.contains_key(id));
            pins.doomed.extend::<Vec<BlobId>>(held);
            free
        };
        self.unlink(free);
    }

    fn unlink(self: &Arc<Self>, ids: Vec<BlobId>) {
        if ids.is_empty() {
            return;
        }
        let blobs = Arc::clone(self);
        self.pool.detach(move || {
            for id in ids {
                if let Err(error) = fs::remove_file(blobs.path(id)) {
                    warn!(blob = %id, %error, "file could not be removed, the next start sweeps it");
                }
            }
        });
    }

    /// Whether there is any file, named by the index or not.
    pub(crate) fn any(&self) -> io::Result<bool> {
        for shard in 0..=u8::MAX {
            let mut entries = fs::read_dir(self.dir.join(format!("{shard:02x}")))?;
            if entries.next().transpose()?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes every file that is not `live`; returns how many.
    pub(crate) fn sweep(&self, live: &HashSet<BlobId>) -> io::Result<usize> {
        let mut n_removed = 0;
        for shard in 0..=u8::MAX {
            for entry in fs::read_dir(self.dir.join(format!("{shard:02x}")))? {
                let entry = entry?;
                let id = entry
                    .file_name()
                    .to_str()
                    .and_then(|name| name.parse().ok());
                if id.is_none_or(|id| !live.contains(&id)) {
                    fs::remove_file(entry.path())?;
                    n_removed += 1;
                }
            }
        }
        Ok(n_removed)
    }

    /// Where the blobs are, to ask for free space.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }
}

// === impl Pin ===

impl Drop for Pin {
    fn drop(&mut self) {
        let mut free = Vec::new();
        let mut pins = self.blobs.pins.lock();
        for id in &self.ids {
            let Some(count) = pins.held.get_mut(id) else {
                continue;
            };
            *count -= 1;
            if *count == 0 {
                pins.held.remove(id);
                if pins.doomed.remove(id) {
                    free.push(*id);
                }
            }
        }
        drop(pins);
        self.blobs.unlink(free);
    }
}

// === impl Fresh ===

impl Fresh {
    /// The index names the file now, or may name it: it must stay.
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if !self.kept {
            self.blobs.unlink(vec![self.id]);
        }
    }
}

// === impl BlobWriter ===

impl Block {
    fn new() -> Self {
        Self {
            crc: crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi),
            len: 0,
        }
    }
}

impl BlobWriter {
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file
            .write_all(bytes)
            .map_err(Error::io("write the object"))?;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(BLOCK - self.block.len));
            self.block.crc.update(now);
            self.block.len += now.len();
            if self.block.len == BLOCK {
                self.end_block();
            }
            rest = later;
        }
        Ok(())
    }

    /// Lets the disk begin with what was written so far.
    pub(crate) fn sync(&mut self) -> Result<(), Error> {
        self.file.sync_data().map_err(Error::io("sync the object"))
    }

    fn end_block(&mut self) {
        self.sums
            .extend(low_word(self.block.crc.finalize()).to_le_bytes());
        self.block = Block::new();
    }

    /// Makes the blob durable; what is returned must be named by the index to stay.
    pub(crate) fn finish(mut self) -> Result<Fresh, Error> {
        if self.block.len > 0 {
            self.end_block();
        }
        self.file
            .write_all(&self.sums)
            .map_err(Error::io("write the object"))?;
        self.sync()?;
        File::open(self.fresh.blobs.shard(self.fresh.id))
            .and_then(|dir| dir.sync_all())
            .map_err(Error::io("sync the object's directory"))?;
        Ok(self.fresh)
    }
}

/// Reads `start..end` of a blob of `len` bytes, and checks every block it touches.
pub(crate) fn read(file: &File, len: u64, start: u64, end: u64) -> Result<Vec<u8>, Error> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => damaged(),
        _ => Error::io("read the object")(error),
    };
    let block = BLOCK as u64;
    let first = start / block;
    let last = end.div_ceil(block);
    let from = first * block;
    let until = (last * block).min(len);
    let mut bytes = vec![0; to_usize(until - from)];
    file.read_exact_at(&mut bytes, from).map_err(failed)?;
    let mut sums = vec![0; to_usize(last - first) * 4];
    file.read_exact_at(&mut sums, len + first * 4)
        .map_err(failed)?;
    for (data, sum) in bytes.chunks(BLOCK).zip(sums.chunks_exact(4)) {
        let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, data);
        if low_word(crc).to_le_bytes() != sum {
            return Err(damaged());
        }
    }
    bytes.truncate(to_usize(end - from));
    bytes.drain(..to_usize(start - from));
    Ok(bytes)
}

fn damaged() -> Error {
    Error::Corrupt {
        what: String::from("the file of the object"),
    }
}

fn low_word(crc: u64) -> u32 {
    u32::try_from(crc & 0xffff_ffff).expect("masked to 32 bits")
}

fn to_usize(len: u64) -> usize {
    usize::try_from(len).expect("reads are bounded far below the address space")
}
