//! Bytes on their way out: read and checked on the IO threads, one chunk ahead of the client.

use std::collections::VecDeque;
use std::fs::File;
use std::ops::Range;
use std::pin::Pin as Pinned;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::Stream;
use tokio::sync::oneshot;

use super::Error;
use super::blobs::{self, BLOCK, Blobs, Pin};
use super::pool::Pool;
use super::record::BlobId;

/// Bytes read at a time, a multiple of the checksummed block.
const CHUNK: u64 = 8 * BLOCK as u64;

/// Consecutive bytes of an object in one place.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub(crate) place: Place,
    pub(crate) len: u64,
}

#[derive(Debug, Clone)]
pub(crate) enum Place {
    Memory(Bytes),
    File(BlobId),
}

/// A stream of an object's bytes. It ends with an error if what is on disk is damaged.
pub(crate) struct Download {
    blobs: Arc<Blobs>,
    pool: Pool,
    /// What is still to be read, each with the bytes wanted of it.
    pieces: VecDeque<(Range<u64>, Piece)>,
    /// The file of the first piece, once opened.
    file: Option<Arc<File>>,
    ahead: Option<oneshot::Receiver<Result<Chunk, Error>>>,
    len: u64,
    /// Held so that the files stay until the last byte is read.
    _pin: Option<Pin>,
}

struct Chunk {
    bytes: Bytes,
    file: Arc<File>,
    piece_ends: bool,
}

impl Download {
    pub(super) fn new(
        blobs: Arc<Blobs>,
        pool: Pool,
        pieces: Vec<(Range<u64>, Piece)>,
        pin: Option<Pin>,
    ) -> Self {
        let len = pieces
            .iter()
            .map(|(range, _)| range.end - range.start)
            .sum();
        let mut download = Self {
            blobs,
            pool,
            pieces: pieces.into(),
            file: None,
            ahead: None,
            len,
            _pin: pin,
        };
        download.read_ahead();
        download
    }

    /// Bytes not yet handed out.
    pub(crate) fn remaining(&self) -> u64 {
        self.len
    }

    /// Starts to read the next chunk of a file, if that is what comes next.
    fn read_ahead(&mut self) {
        let Some((range, piece)) = self.pieces.front_mut() else {
            return;
        };
        let Place::File(id) = piece.place else { return };
        let (start, until, len) = (range.start, range.end, piece.len);
        // Up to a block border, so that no block is read twice.
        let end = until.min((start / CHUNK + 1) * CHUNK);
        range.start = end;
        let file = self.file.take();
        let blobs = Arc::clone(&self.blobs);
        self.ahead = Some(self.pool.start_job(move || {
            let file = match file {
                Some(file) => file,
                None => Arc::new(blobs.open_blob(id)?),
            };
            let bytes = blobs::read(&file, len, start, end)?;
            Ok(Chunk {
                bytes: bytes.into(),
                file,
                piece_ends: end == until,
            })
        }));
    }
}

impl Stream for Download {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pinned<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if let Some(ahead) = &mut this.ahead {
            let chunk = ready!(Pinned::new(ahead).poll(cx)).unwrap_or(Err(Error::Stopped));
            this.ahead = None;
            let Chunk {
                bytes,
                file,
                piece_ends,
            } = match chunk {
                Ok(chunk) => chunk,
                Err(error) => {
                    this.pieces.clear();
                    return Poll::Ready(Some(Err(error)));
                }
            };
            if piece_ends {
                this.pieces.pop_front();
            } else {
                this.file = Some(file);
            }
            this.len -= bytes.len() as u64;
            this.read_ahead();
            return Poll::Ready(Some(Ok(bytes)));
        }
        let Some((range, piece)) = this.pieces.pop_front() else {
            return Poll::Ready(None);
        };
        let Place::Memory(bytes) = piece.place else {
            return Poll::Ready(None);
        };
        let slice = |at: u64| usize::try_from(at).unwrap_or(bytes.len()).min(bytes.len());
        let bytes = bytes.slice(slice(range.start)..slice(range.end));
        this.len -= bytes.len() as u64;
        this.read_ahead();
        Poll::Ready(Some(Ok(bytes)))
    }
}
