//! The way of a file's bytes from its encoder to the object store, without a copy on the way.
//!
//! [`Chunks`] is what the encoder writes to: memory in pieces of one size, never grown. [`Upload`] sends the pieces
//! on: one PUT for a small file, a multipart upload with bounded parts for a large one.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload, Result, WriteMultipart};

/// Bytes of a piece.
const CHUNK: usize = 256 << 10;
/// Parts of one upload in flight.
const IN_FLIGHT: usize = 2;

/// Bytes that were written and not yet taken.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    full: Vec<Bytes>,
    open: Vec<u8>,
}

/// An object that is being written.
pub(super) struct Upload {
    store: Arc<dyn ObjectStore>,
    key: Path,
    part_size: usize,
    /// Pieces of a file that may still be small.
    waiting: Vec<Bytes>,
    parts: Option<WriteMultipart>,
}

// === impl Chunks ===

impl Chunks {
    /// The full pieces.
    pub(super) fn take_full(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.full)
    }

    /// All pieces; nothing more is written then.
    pub(super) fn take_all(&mut self) -> Vec<Bytes> {
        let mut all = self.take_full();
        if !self.open.is_empty() {
            all.push(Bytes::from(std::mem::take(&mut self.open)));
        }
        all
    }
}

impl io::Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.open.capacity() == 0 {
            self.open.reserve_exact(CHUNK);
        }
        let n_taken = bytes.len().min(CHUNK - self.open.len());
        self.open.extend_from_slice(&bytes[..n_taken]);
        if self.open.len() == CHUNK {
            self.full.push(Bytes::from(std::mem::take(&mut self.open)));
        }
        Ok(n_taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

// === impl Upload ===

impl Upload {
    /// An upload whose first byte has still to come; nothing is in the store yet.
    pub(super) fn new(store: Arc<dyn ObjectStore>, key: Path, part_size: usize) -> Self {
        Upload {
            store,
            key,
            part_size,
            waiting: Vec::new(),
            parts: None,
        }
    }

    /// Takes pieces, and waits while too many parts are under way.
    pub(super) async fn send(&mut self, pieces: Vec<Bytes>) -> Result<()> {
        self.waiting.extend(pieces);
        let size: usize = self.waiting.iter().map(Bytes::len).sum();
        if self.parts.is_none() && size < self.part_size {
            return Ok(());
        }
        let parts = match &mut self.parts {
            Some(parts) => parts,
            none => {
                let upload = self.store.put_multipart(&self.key).await?;
                none.insert(WriteMultipart::new_with_chunk_size(upload, self.part_size))
            }
        };
        for piece in self.waiting.drain(..) {
            parts.wait_for_capacity(IN_FLIGHT).await?;
            parts.put(piece);
        }
        Ok(())
    }

    /// Completes the object with the last pieces; it is there when this returns.
    pub(super) async fn finish(mut self, pieces: Vec<Bytes>) -> Result<()> {
        self.send(pieces).await?;
        match self.parts {
            Some(parts) => parts.finish().await.map(|_| ()),
            None => {
                let body = PutPayload::from_iter(self.waiting);
                self.store.put(&self.key, body).await.map(|_| ())
            }
        }
    }

    /// Gives up what was begun.
    pub(super) async fn abort(self) -> Result<()> {
        match self.parts {
            Some(parts) => parts.abort().await,
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    //! What was written in whatever portions is what the object holds.

    use std::io::Write as _;

    use object_store::memory::InMemory;

    use super::*;

    #[tokio::test]
    async fn small_and_large_files_arrive_whole() {
        for size in [1, CHUNK - 1, CHUNK, 3 * CHUNK + 17, 40 * CHUNK + 1] {
            let bytes: Vec<u8> = (0..size).map(|at| (at * 31 % 251) as u8).collect();
            let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
            let key = Path::from("a/file");
            let mut upload = Upload::new(store.clone(), key.clone(), 6 << 20);
            let mut chunks = Chunks::default();
            for part in bytes.chunks(100_003) {
                chunks.write_all(part).unwrap();
                upload.send(chunks.take_full()).await.unwrap();
            }
            upload.finish(chunks.take_all()).await.unwrap();
            let found = store.get(&key).await.unwrap().bytes().await.unwrap();
            assert!(found == bytes, "{size} bytes");
        }
    }

    #[tokio::test]
    async fn a_file_that_is_given_up_is_not_there() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let key = Path::from("a/file");
        let mut upload = Upload::new(store.clone(), key.clone(), CHUNK);
        upload
            .send(vec![Bytes::from(vec![7; 3 * CHUNK])])
            .await
            .unwrap();
        upload.abort().await.unwrap();
        assert!(store.head(&key).await.is_err());
    }
}
