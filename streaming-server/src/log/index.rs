//! The sparse index of one segment: offset → position and time → offset, one entry per stride of bytes.
//!
//! Kept in memory while its segment is in use and written beside it at checkpoints, where it doubles as the recovery
//! point: bytes up to `log_len` were checked and synced when it was written, so start-up scans only what follows.

use std::io;
use std::path::Path;

use bytes::{Buf, BufMut};

use super::disk::replace_file;

/// Bytes of log between two entries: 0.05 % of the log in memory, at most one extra read of this size per lookup.
const STRIDE: u64 = 32 * 1024;
const MAGIC: u32 = u32::from_be_bytes(*b"SFI1");
const ENTRY_LEN: usize = 16;

/// What is known at one batch boundary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    /// Offset of the batch that starts here, from the segment's base.
    relative_offset: u32,
    position: u32,
    /// Latest timestamp of all batches before this one.
    max_timestamp_before: i64,
}

/// Sparse index over the batches of one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Index {
    base: i64,
    entries: Vec<Entry>,
    /// Bytes of the segment that the index has seen.
    pub(crate) log_len: u64,
    /// Offset after the last batch seen.
    pub(crate) next_offset: i64,
    /// Latest timestamp seen, or -1.
    pub(crate) max_timestamp: i64,
}

impl Index {
    pub(crate) fn new(base: i64) -> Self {
        Self {
            base,
            entries: Vec::new(),
            log_len: 0,
            next_offset: base,
            max_timestamp: -1,
        }
    }

    /// Notes the batch `[base_offset, next_offset)` of `size` bytes at the end of the segment.
    pub(crate) fn push(
        &mut self,
        base_offset: i64,
        next_offset: i64,
        max_timestamp: i64,
        size: usize,
    ) {
        let due = self
            .entries
            .last()
            .is_none_or(|last| self.log_len >= u64::from(last.position) + STRIDE);
        if due
            && let Ok(relative_offset) = u32::try_from(base_offset - self.base)
            && let Ok(position) = u32::try_from(self.log_len)
        {
            self.entries.push(Entry {
                relative_offset,
                position,
                max_timestamp_before: self.max_timestamp,
            });
        }
        self.log_len += size as u64;
        self.next_offset = next_offset;
        self.max_timestamp = self.max_timestamp.max(max_timestamp);
    }

    /// Position of an indexed batch at or before `offset`.
    pub(crate) fn position_before(&self, offset: i64) -> u64 {
        let after = self
            .entries
            .partition_point(|entry| self.base + i64::from(entry.relative_offset) <= offset);
        after
            .checked_sub(1)
            .map_or(0, |i| u64::from(self.entries[i].position))
    }

    /// Position at or before the first batch that holds a timestamp of at least `timestamp`.
    pub(crate) fn position_before_time(&self, timestamp: i64) -> u64 {
        let after = self
            .entries
            .partition_point(|entry| entry.max_timestamp_before < timestamp);
        after
            .checked_sub(1)
            .map_or(0, |i| u64::from(self.entries[i].position))
    }

    /// Writes the index beside its segment, replacing an older one in one step.
    pub(crate) fn save(&self, path: &Path) -> io::Result<()> {
        let mut out = Vec::with_capacity(48 + self.entries.len() * ENTRY_LEN);
        out.put_u32(MAGIC);
        out.put_i64(self.base);
        out.put_u64(self.log_len);
        out.put_i64(self.next_offset);
        out.put_i64(self.max_timestamp);
        out.put_u32(u32::try_from(self.entries.len()).unwrap_or(u32::MAX));
        for entry in &self.entries {
            out.put_u32(entry.relative_offset);
            out.put_u32(entry.position);
            out.put_i64(entry.max_timestamp_before);
        }
        out.put_u32(crc32c::crc32c(&out));
        replace_file(path, &out)
    }

    /// Reads an index back; `None` when it is absent, damaged or of another segment, and must be rebuilt by a scan.
    pub(crate) fn load(path: &Path, base: i64) -> io::Result<Option<Self>> {
        let bytes = match std::fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            outcome => outcome?,
        };
        Ok(Self::decode(&bytes, base))
    }

    fn decode(bytes: &[u8], base: i64) -> Option<Self> {
        let (content, mut crc) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
        if crc.get_u32() != crc32c::crc32c(content) {
            return None;
        }
        let mut rest = content;
        if rest.len() < 40 || rest.get_u32() != MAGIC || rest.get_i64() != base {
            return None;
        }
        let (log_len, next_offset, max_timestamp) =
            (rest.get_u64(), rest.get_i64(), rest.get_i64());
        let n_entries = usize::try_from(rest.get_u32()).ok()?;
        if rest.len() != n_entries.checked_mul(ENTRY_LEN)? {
            return None;
        }
        let entries = (0..n_entries)
            .map(|_| Entry {
                relative_offset: rest.get_u32(),
                position: rest.get_u32(),
                max_timestamp_before: rest.get_i64(),
            })
            .collect();
        Some(Self {
            base,
            entries,
            log_len,
            next_offset,
            max_timestamp,
        })
    }
}
