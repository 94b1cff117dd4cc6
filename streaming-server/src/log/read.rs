//! Reads: whole batches below the high watermark, from memory when they are recent, else planned for a reader thread.
//!
//! Planning takes the state lock for a moment and does no I/O; [`Slice::read`] does one `pread` for the usual fetch.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;

use super::batch::{BatchHeader, HEADER_LEN};
use super::disk::Disk;
use super::partition::{Partition, Position};
use super::segment::Segment;
use super::{Env, Error};

/// Where the answer to a read is.
#[derive(Debug)]
pub(crate) enum Plan {
    /// Whole batches, already here; none when the offset is the high watermark.
    Ready(Vec<Bytes>),
    /// To be read from a file.
    File(Slice),
}

/// A range of one segment that begins at or shortly before the wanted batch.
#[derive(Debug)]
pub(crate) struct Slice {
    segment: Arc<Segment>,
    position: u64,
    end: u64,
    offset: i64,
    max_bytes: usize,
    whole_first: bool,
}

impl Partition {
    /// Plans a read from `offset` of at most `max_bytes`; `whole_first` lets the first batch exceed them.
    pub(crate) fn plan_read(
        &self,
        offset: i64,
        max_bytes: usize,
        whole_first: bool,
    ) -> Result<(Position, Plan), Error> {
        let state = self.state.lock();
        if matches!(state.health, super::partition::Health::Deleted) {
            return Err(Error::Deleted);
        }
        let position = state.position();
        if offset < position.log_start || offset > position.high_watermark {
            return Err(Error::OffsetOutOfRange {
                offset,
                start: position.log_start,
                end: position.high_watermark,
            });
        }
        if offset == position.high_watermark || (max_bytes == 0 && !whole_first) {
            return Ok((position, Plan::Ready(Vec::new())));
        }
        if let Some(batches) =
            state
                .recent
                .read(offset, position.high_watermark, max_bytes, whole_first)
        {
            return Ok((position, Plan::Ready(batches)));
        }
        let Some(segment) = state.segment_of(offset).cloned() else {
            return Err(Error::OffsetOutOfRange {
                offset,
                start: position.log_start,
                end: position.high_watermark,
            });
        };
        drop(state);
        let start = segment.index.read().position_before(offset);
        let end = segment.synced_len();
        Ok((
            position,
            Plan::File(Slice {
                segment,
                position: start,
                end,
                offset,
                max_bytes,
                whole_first,
            }),
        ))
    }
}

impl Slice {
    /// Most bytes the read may bring into memory.
    pub(crate) fn budget(&self) -> usize {
        self.max_bytes
    }

    /// Reads the batches; blocks, so call it on a reader thread.
    pub(crate) fn read(&self, env: &Env) -> Result<Bytes, Error> {
        self.read_file(&env.disk).map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound && self.segment.is_removed() {
                Error::Expired {
                    offset: self.offset,
                }
            } else {
                Error::Read(Arc::new(error))
            }
        })
    }

    fn read_file(&self, disk: &Disk) -> io::Result<Bytes> {
        let file = self.segment.file_to_read(disk)?;
        let Some((first, header)) = self.find_first(&file)? else {
            return Ok(Bytes::new());
        };
        let room = usize::try_from(self.end - first).unwrap_or(usize::MAX);
        let wanted = if self.whole_first {
            self.max_bytes.max(header.size())
        } else {
            self.max_bytes
        };
        let mut bytes = vec![0; wanted.min(room)];
        file.read_exact_at(&mut bytes, first)?;
        let len = whole_batches(&bytes);
        bytes.truncate(len);
        Ok(Bytes::from(bytes))
    }

    /// Position and header of the batch that holds the offset.
    fn find_first(&self, file: &File) -> io::Result<Option<(u64, BatchHeader)>> {
        let mut walk = HeaderWalk::new(file, self.position, self.end);
        while let Some((position, header)) = walk.next()? {
            if header.last_offset() >= self.offset {
                return Ok(Some((position, header)));
            }
        }
        Ok(None)
    }
}

/// Bytes at the start of `bytes` that are complete batches.
fn whole_batches(bytes: &[u8]) -> usize {
    let mut len = 0;
    while let Some(rest) = bytes.get(len..)
        && let Ok(header) = BatchHeader::parse(rest)
        && header.size() <= rest.len()
    {
        len += header.size();
    }
    len
}

/// Steps over the batches of a file reading their headers, a window at a time.
pub(super) struct HeaderWalk<'a> {
    file: &'a File,
    position: u64,
    end: u64,
    window: Vec<u8>,
    window_at: u64,
}

const WINDOW: u64 = 32 * 1024;

impl<'a> HeaderWalk<'a> {
    pub(super) fn new(file: &'a File, position: u64, end: u64) -> Self {
        Self {
            file,
            position,
            end,
            window: Vec::new(),
            window_at: position,
        }
    }

    /// The next batch, or `None` at the end; a damaged header is an error.
    pub(super) fn next(&mut self) -> io::Result<Option<(u64, BatchHeader)>> {
        if self.position + HEADER_LEN as u64 > self.end {
            return Ok(None);
        }
        let window_end = self.window_at + self.window.len() as u64;
        if self.position < self.window_at || self.position + HEADER_LEN as u64 > window_end {
            let len = WINDOW.min(self.end - self.position);
            self.window.resize(usize::try_from(len).unwrap_or(0), 0);
            self.file.read_exact_at(&mut self.window, self.position)?;
            self.window_at = self.position;
        }
        let start = usize::try_from(self.position - self.window_at).unwrap_or(0);
        let header = BatchHeader::parse(&self.window[start..])
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let position = self.position;
        self.position += header.size() as u64;
        Ok(Some((position, header)))
    }
}
