//! The record batch as it lies on the wire and on disk: its fixed header, its checks, its in-place patches.
//!
//! Apart from the log because producers, recovery, retention and lookups all read the same 61 bytes. Batches come
//! from produce requests and from segment files; nothing here decodes records (see [`super::records`]).

use bytes::{Buf, BytesMut};

/// Bytes before the records of a v2 batch.
pub(crate) const HEADER_LEN: usize = 61;
/// Bytes before the part that `batchLength` counts.
pub(crate) const PREFIX_LEN: usize = 12;
/// `producerId` of a batch whose sender is not idempotent.
pub(crate) const NO_PRODUCER: i64 = -1;

const CRC_START: usize = 21;
const TIMESTAMP_TYPE: i16 = 0x08;
const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;

/// Why bytes are not a batch this broker stores.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BatchError {
    #[error("record batch is cut short: {len} bytes")]
    Short { len: usize },
    #[error("record batch has message format {magic}; only 2 is stored")]
    Magic { magic: i8 },
    #[error("record batch checksum does not match")]
    Checksum,
    #[error("record batch is malformed: {why}")]
    Malformed { why: &'static str },
}

/// How the records of a batch are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// The fixed header of a v2 record batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    pub(crate) base_offset: i64,
    pub(crate) length: i32,
    pub(crate) magic: i8,
    pub(crate) crc: u32,
    pub(crate) attributes: i16,
    pub(crate) last_offset_delta: i32,
    pub(crate) base_timestamp: i64,
    pub(crate) max_timestamp: i64,
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) base_sequence: i32,
    pub(crate) count: i32,
}

impl BatchHeader {
    /// Reads the header at the start of `bytes` without looking at the records.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        if bytes.len() < HEADER_LEN {
            return Err(BatchError::Short { len: bytes.len() });
        }
        let mut cursor = bytes;
        let base_offset = cursor.get_i64();
        let length = cursor.get_i32();
        let _leader_epoch = cursor.get_i32();
        let magic = cursor.get_i8();
        if magic != 2 {
            return Err(BatchError::Magic { magic });
        }
        let header = Self {
            base_offset,
            length,
            magic,
            crc: cursor.get_u32(),
            attributes: cursor.get_i16(),
            last_offset_delta: cursor.get_i32(),
            base_timestamp: cursor.get_i64(),
            max_timestamp: cursor.get_i64(),
            producer_id: cursor.get_i64(),
            producer_epoch: cursor.get_i16(),
            base_sequence: cursor.get_i32(),
            count: cursor.get_i32(),
        };
        if usize::try_from(length).map_or(true, |length| length < HEADER_LEN - PREFIX_LEN) {
            return Err(BatchError::Malformed {
                why: "its length is impossible",
            });
        }
        if header.count < 1 || i64::from(header.last_offset_delta) != i64::from(header.count) - 1 {
            return Err(BatchError::Malformed {
                why: "its offsets do not match its count",
            });
        }
        if header.compression().is_none() {
            return Err(BatchError::Malformed {
                why: "its compression is unknown",
            });
        }
        Ok(header)
    }

    /// Reads and verifies the batch at the start of `bytes`: header, presence of every byte, checksum.
    pub(crate) fn verify(bytes: &[u8]) -> Result<Self, BatchError> {
        let header = Self::parse(bytes)?;
        let Some(body) = bytes.get(CRC_START..header.size()) else {
            return Err(BatchError::Short { len: bytes.len() });
        };
        if crc32c::crc32c(body) != header.crc {
            return Err(BatchError::Checksum);
        }
        Ok(header)
    }

    /// Bytes of the whole batch.
    pub(crate) fn size(&self) -> usize {
        PREFIX_LEN + usize::try_from(self.length).unwrap_or(0)
    }

    pub(crate) fn last_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta)
    }

    pub(crate) fn last_sequence(&self) -> i32 {
        add_sequence(self.base_sequence, self.last_offset_delta)
    }

    pub(crate) fn compression(&self) -> Option<Compression> {
        match self.attributes & 0x07 {
            0 => Some(Compression::None),
            1 => Some(Compression::Gzip),
            2 => Some(Compression::Snappy),
            3 => Some(Compression::Lz4),
            4 => Some(Compression::Zstd),
            _ => None,
        }
    }

    pub(crate) fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    pub(crate) fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    /// True when every record carries the broker's time of append.
    pub(crate) fn has_log_append_time(&self) -> bool {
        self.attributes & TIMESTAMP_TYPE != 0
    }
}

/// `sequence + delta` in Kafka's circular space of non-negative 32-bit numbers.
pub(crate) fn add_sequence(sequence: i32, delta: i32) -> i32 {
    let sum = (i64::from(sequence) + i64::from(delta)) & i64::from(i32::MAX);
    i32::try_from(sum).unwrap_or(0)
}

/// Gives a batch its place in the log. Both fields lie outside the checksum.
pub(crate) fn place(batch: &mut BytesMut, base_offset: i64, leader_epoch: i32) {
    batch[0..8].copy_from_slice(&base_offset.to_be_bytes());
    batch[12..16].copy_from_slice(&leader_epoch.to_be_bytes());
}

/// Stamps the batch with the broker's time and renews the checksum, which covers it.
pub(crate) fn stamp(batch: &mut BytesMut, header: &mut BatchHeader, now_ms: i64) {
    header.attributes |= TIMESTAMP_TYPE;
    header.max_timestamp = now_ms;
    batch[21..23].copy_from_slice(&header.attributes.to_be_bytes());
    batch[35..43].copy_from_slice(&now_ms.to_be_bytes());
    header.crc = crc32c::crc32c(&batch[CRC_START..]);
    batch[17..21].copy_from_slice(&header.crc.to_be_bytes());
}
