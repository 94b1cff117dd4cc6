//! What a partition remembers of its idempotent producers, so that a batch sent twice is stored once.
//!
//! A pure table: the log asks it before an append and tells it after; it is saved at checkpoints and replayed from the
//! batches written since. It keeps the last five batches of each producer, Kafka's bound on requests in flight.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::Path;

use bytes::{Buf, BufMut};

use super::batch::{BatchHeader, NO_PRODUCER, add_sequence};
use super::disk::replace_file;

const WINDOW: usize = 5;
const MAGIC: u32 = u32::from_be_bytes(*b"SFP1");

/// What an append must do with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// New: store it.
    Append,
    /// Stored before, at these offsets: answer with them.
    Duplicate { base_offset: i64, last_offset: i64 },
}

/// Why a batch cannot follow what its producer sent before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SequenceError {
    #[error("producer epoch {epoch} is older than {current}")]
    StaleEpoch { epoch: i16, current: i16 },
    #[error("sequence {sequence} does not follow {last}")]
    OutOfOrder { sequence: i32, last: i32 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sent {
    first_sequence: i32,
    last_sequence: i32,
    base_offset: i64,
    last_offset: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Producer {
    epoch: i16,
    /// When the broker last heard from it, for expiry.
    seen_ms: i64,
    sent: VecDeque<Sent>,
}

/// The idempotent producers of one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Producers {
    by_id: HashMap<i64, Producer>,
}

impl Producers {
    /// Judges a batch before it is appended.
    pub(crate) fn check(&self, batch: &BatchHeader) -> Result<Verdict, SequenceError> {
        if batch.producer_id == NO_PRODUCER {
            return Ok(Verdict::Append);
        }
        // An unknown producer may start anywhere: its history may have expired or been deleted with old segments.
        let Some(producer) = self.by_id.get(&batch.producer_id) else {
            return Ok(Verdict::Append);
        };
        if batch.producer_epoch < producer.epoch {
            return Err(SequenceError::StaleEpoch {
                epoch: batch.producer_epoch,
                current: producer.epoch,
            });
        }
        let last = producer.sent.back().map_or(-1, |sent| sent.last_sequence);
        if batch.producer_epoch > producer.epoch {
            return match batch.base_sequence {
                0 => Ok(Verdict::Append),
                sequence => Err(SequenceError::OutOfOrder { sequence, last: -1 }),
            };
        }
        let same = |sent: &&Sent| {
            sent.first_sequence == batch.base_sequence
                && sent.last_sequence == batch.last_sequence()
        };
        if let Some(sent) = producer.sent.iter().find(same) {
            return Ok(Verdict::Duplicate {
                base_offset: sent.base_offset,
                last_offset: sent.last_offset,
            });
        }
        if producer.sent.is_empty() || batch.base_sequence == add_sequence(last, 1) {
            Ok(Verdict::Append)
        } else {
            Err(SequenceError::OutOfOrder {
                sequence: batch.base_sequence,
                last,
            })
        }
    }

    /// Notes a batch that was appended, or found by a scan of the log.
    pub(crate) fn record(&mut self, batch: &BatchHeader, now_ms: i64) {
        if batch.producer_id == NO_PRODUCER {
            return;
        }
        let producer = self
            .by_id
            .entry(batch.producer_id)
            .or_insert_with(|| Producer {
                epoch: batch.producer_epoch,
                seen_ms: now_ms,
                sent: VecDeque::with_capacity(WINDOW),
            });
        if batch.producer_epoch != producer.epoch {
            producer.epoch = batch.producer_epoch;
            producer.sent.clear();
        }
        // A scan may pass batches that the loaded snapshot already covers.
        if producer
            .sent
            .back()
            .is_some_and(|sent| sent.base_offset >= batch.base_offset)
        {
            return;
        }
        if producer.sent.len() == WINDOW {
            producer.sent.pop_front();
        }
        producer.seen_ms = now_ms;
        producer.sent.push_back(Sent {
            first_sequence: batch.base_sequence,
            last_sequence: batch.last_sequence(),
            base_offset: batch.base_offset,
            last_offset: batch.last_offset(),
        });
    }

    /// Forgets producers not heard from since `before_ms`, and the longest silent ones beyond `max`.
    pub(crate) fn expire(&mut self, before_ms: i64, max: usize) {
        self.by_id
            .retain(|_, producer| producer.seen_ms >= before_ms);
        if self.by_id.len() > max {
            let mut seen: Vec<i64> = self
                .by_id
                .values()
                .map(|producer| producer.seen_ms)
                .collect();
            seen.sort_unstable();
            let cut = seen[seen.len() - max];
            self.by_id.retain(|_, producer| producer.seen_ms >= cut);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Saves the table as it stands when the log ends at `offset`.
    pub(crate) fn save(&self, path: &Path, offset: i64) -> io::Result<()> {
        let mut out = Vec::new();
        out.put_u32(MAGIC);
        out.put_i64(offset);
        out.put_u32(u32::try_from(self.by_id.len()).unwrap_or(u32::MAX));
        for (id, producer) in &self.by_id {
            out.put_i64(*id);
            out.put_i16(producer.epoch);
            out.put_i64(producer.seen_ms);
            out.put_u8(u8::try_from(producer.sent.len()).unwrap_or(u8::MAX));
            for sent in &producer.sent {
                out.put_i32(sent.first_sequence);
                out.put_i32(sent.last_sequence);
                out.put_i64(sent.base_offset);
                out.put_i64(sent.last_offset);
            }
        }
        out.put_u32(crc32c::crc32c(&out));
        replace_file(path, &out)
    }

    /// Loads a saved table and the offset it stands for; `None` when absent or damaged.
    pub(crate) fn load(path: &Path) -> io::Result<Option<(Self, i64)>> {
        match std::fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            outcome => Ok(Self::decode(&outcome?)),
        }
    }

    fn decode(bytes: &[u8]) -> Option<(Self, i64)> {
        let (mut rest, mut crc) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
        if crc.get_u32() != crc32c::crc32c(rest) || rest.try_get_u32().ok()? != MAGIC {
            return None;
        }
        let offset = rest.try_get_i64().ok()?;
        let n_producers = rest.try_get_u32().ok()?;
        let mut by_id = HashMap::new();
        for _ in 0..n_producers {
            let id = rest.try_get_i64().ok()?;
            let epoch = rest.try_get_i16().ok()?;
            let seen_ms = rest.try_get_i64().ok()?;
            let n_sent = rest.try_get_u8().ok()?;
            let mut sent = VecDeque::with_capacity(WINDOW);
            for _ in 0..n_sent {
                sent.push_back(Sent {
                    first_sequence: rest.try_get_i32().ok()?,
                    last_sequence: rest.try_get_i32().ok()?,
                    base_offset: rest.try_get_i64().ok()?,
                    last_offset: rest.try_get_i64().ok()?,
                });
            }
            by_id.insert(
                id,
                Producer {
                    epoch,
                    seen_ms,
                    sent,
                },
            );
        }
        rest.is_empty().then_some((Self { by_id }, offset))
    }
}
