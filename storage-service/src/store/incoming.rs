//! Bytes on their way in: hashed and written on the IO threads while the next ones arrive.
//!
//! Small bodies stay in memory and end in the index; larger ones go to a file of their own. At most three chunks are
//! in memory per body. Nothing is visible until the caller hands the result to the index.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::sync::oneshot;

use super::Error;
use super::blobs::{BlobWriter, Blobs};
use super::digest::{Algorithm, Digester, Digests, Expected};
use super::pool::Pool;
use super::tables::Landed;

/// Bytes handed to the IO threads at a time.
const CHUNK: usize = 1024 * 1024;
/// Most bytes of one body that are in memory: one chunk is gathered, one written, and one may be on its way.
pub(crate) const RECEIVED: u64 = 3 * CHUNK as u64;
/// How much is written before the disk is told to begin, so that the last sync has little left to do.
const SYNC_EVERY: u64 = 16 * 1024 * 1024;

/// One body being received.
pub(crate) struct Incoming {
    blobs: Arc<Blobs>,
    pool: Pool,
    limits: Limits,
    buffer: BytesMut,
    len: u64,
    /// `None` while the IO threads have it.
    digester: Option<Digester>,
    writer: Option<BlobWriter>,
    in_flight: Option<InFlight>,
}

/// Sizes at which a body moves to a file, and at which it is refused.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) inline: u64,
    pub(crate) max: u64,
}

/// A chunk being hashed by one thread and written by another.
struct InFlight {
    hashed: oneshot::Receiver<Digester>,
    written: oneshot::Receiver<Result<BlobWriter, Error>>,
}

/// A body that arrived whole and is what the client said it is.
pub(crate) struct Arrived {
    pub(crate) landed: Landed,
    pub(crate) digests: Digests,
}

impl Incoming {
    pub(crate) fn new(
        blobs: Arc<Blobs>,
        pool: Pool,
        limits: Limits,
        algorithm: Option<Algorithm>,
    ) -> Self {
        Self {
            blobs,
            pool,
            limits,
            buffer: BytesMut::new(),
            len: 0,
            digester: Some(Digester::new(algorithm)),
            writer: None,
            in_flight: None,
        }
    }

    /// Takes the next bytes; waits while the disk is behind.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.len += bytes.len() as u64;
        if self.len > self.limits.max {
            return Err(Error::TooLarge {
                max: self.limits.max,
            });
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(CHUNK - self.buffer.len()));
            self.buffer.extend_from_slice(now);
            if self.buffer.len() == CHUNK {
                self.flush().await?;
            }
            rest = later;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Error> {
        self.settle().await?;
        let chunk: Bytes = self.buffer.split().freeze();
        // A body of one chunk mostly has another, which need not grow to its size.
        self.buffer.reserve(CHUNK);
        let (Some(mut digester), writer) = (self.digester.take(), self.writer.take()) else {
            return Err(Error::Stopped);
        };
        let blobs = Arc::clone(&self.blobs);
        let to_hash = chunk.clone();
        let hashed = self.pool.start_job(move || {
            digester.update(&to_hash);
            digester
        });
        let sync = self.len % SYNC_EVERY < CHUNK as u64 && self.len > SYNC_EVERY;
        let written = self.pool.start_job(move || {
            let mut writer = match writer {
                Some(writer) => writer,
                None => blobs.create()?,
            };
            writer.write(&chunk)?;
            if sync {
                writer.sync()?;
            }
            Ok(writer)
        });
        self.in_flight = Some(InFlight { hashed, written });
        Ok(())
    }

    /// Waits for the chunk that is being hashed and written.
    async fn settle(&mut self) -> Result<(), Error> {
        let Some(InFlight { hashed, written }) = self.in_flight.take() else {
            return Ok(());
        };
        self.digester = Some(hashed.await.map_err(|_| Error::Stopped)?);
        self.writer = Some(written.await.map_err(|_| Error::Stopped)??);
        Ok(())
    }

    /// Ends the body: compares it with what was announced and, if it is in a file, makes it durable.
    pub(crate) async fn finish(mut self, expected: &Expected) -> Result<Arrived, Error> {
        let small = self.len <= self.limits.inline && self.in_flight.is_none();
        if !small && !self.buffer.is_empty() {
            self.flush().await?;
        }
        self.settle().await?;
        let Some(mut digester) = self.digester.take() else {
            return Err(Error::Stopped);
        };
        if small {
            // At most `inline_size`, which takes a tenth of a millisecond.
            digester.update(&self.buffer);
        }
        let digests = digester.finish();
        digests.check(expected)?;
        let landed = match self.writer.take() {
            Some(writer) => Landed::File(self.pool.run(move || writer.finish()).await?),
            None if self.buffer.is_empty() => Landed::Empty,
            None => Landed::Inline(self.buffer.to_vec()),
        };
        Ok(Arrived { landed, digests })
    }
}
