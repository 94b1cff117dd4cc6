//! Writes records straight into the wire form of a batch.
//!
//! The header's place is kept free at the front, so a batch without compression is never copied between the first
//! record and the socket.

use bytes::Bytes;

use super::compression::Compression;
use super::{ATTRIBUTES_AT, CRC_AT, HEADER_LEN, LENGTH_END, varint};
use crate::error::Error;

/// Who produced a batch and the sequence number of its first record; the broker drops repetitions by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerStamp {
    /// Producer id.
    pub id: i64,
    /// Producer epoch.
    pub epoch: i16,
    /// Sequence number of the first record.
    pub sequence: i32,
}

/// The stamp of a producer without idempotence.
pub const NO_PRODUCER: ProducerStamp = ProducerStamp {
    id: -1,
    epoch: -1,
    sequence: -1,
};

/// A record batch being filled.
#[derive(Debug)]
pub struct BatchBuilder {
    buffer: Vec<u8>,
    count: i32,
    base_timestamp: i64,
    max_timestamp: i64,
}

/// A batch that only lacks its producer stamp.
#[derive(Debug)]
pub(crate) struct Sealed {
    buffer: Vec<u8>,
    count: i32,
}

/// Room for the fields of a record that stand before its key.
const FIELDS_MAX: usize = varint::MAX_LEN_32 * 3 + varint::MAX_LEN_64 + 1;

impl BatchBuilder {
    /// An empty batch with room for `capacity` bytes.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> BatchBuilder {
        let mut buffer = Vec::with_capacity(capacity.max(HEADER_LEN));
        buffer.resize(HEADER_LEN, 0);
        BatchBuilder {
            buffer,
            count: 0,
            base_timestamp: 0,
            max_timestamp: i64::MIN,
        }
    }

    /// Number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is no record yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes so far, with the header, before compression.
    #[must_use]
    pub fn size(&self) -> usize {
        self.buffer.len()
    }

    /// The most bytes that a record of this key and value can add.
    #[must_use]
    pub fn record_bound(key: usize, value: usize, headers: usize) -> usize {
        FIELDS_MAX + key + value + 2 * varint::MAX_LEN_32 + headers
    }

    /// Adds a record.
    pub fn append(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) {
        let mut tail = 0;
        for (name, value) in headers {
            tail += varint::len(name.len() as i64) + name.len();
            tail += varint::len(value.map_or(-1, |value| value.len() as i64))
                + value.map_or(0, <[u8]>::len);
        }
        tail += varint::len(headers.len() as i64);
        let mut fields = [0; FIELDS_MAX];
        let value_len = value.map_or(0, <[u8]>::len) + tail;
        let front = self.fields(
            &mut fields,
            timestamp,
            key,
            value.map(<[u8]>::len),
            value_len,
        );
        let (front, value_prefix) = front;
        self.buffer.extend_from_slice(&fields[..front]);
        self.buffer.extend_from_slice(key.unwrap_or_default());
        self.buffer
            .extend_from_slice(&fields[front..front + value_prefix]);
        self.buffer.extend_from_slice(value.unwrap_or_default());
        varint::push(&mut self.buffer, headers.len() as i64);
        for (name, value) in headers {
            varint::push(&mut self.buffer, name.len() as i64);
            self.buffer.extend_from_slice(name.as_bytes());
            varint::push(
                &mut self.buffer,
                value.map_or(-1, |value| value.len() as i64),
            );
            self.buffer.extend_from_slice(value.unwrap_or_default());
        }
    }

    /// Adds a record whose value `write` appends to the batch's own buffer; it must not touch what is there before.
    pub fn append_with(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let key_len = key.map_or(0, <[u8]>::len);
        let start = self.buffer.len();
        let value_at = start + FIELDS_MAX + key_len;
        self.buffer.resize(value_at, 0);
        write(&mut self.buffer);
        let value_len = self.buffer.len().saturating_sub(value_at);
        let mut fields = [0; FIELDS_MAX];
        // One more byte for the header count of 0.
        let (front, value_prefix) =
            self.fields(&mut fields, timestamp, key, Some(value_len), value_len + 1);
        let mut at = start;
        for part in [
            &fields[..front],
            key.unwrap_or_default(),
            &fields[front..front + value_prefix],
        ] {
            self.buffer[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        self.buffer.copy_within(value_at.., at);
        self.buffer.truncate(at + value_len);
        self.buffer.push(0);
    }

    /// Ends the batch and returns its bytes as they go over the wire.
    pub fn finish(self, compression: Compression, stamp: ProducerStamp) -> Result<Bytes, Error> {
        Ok(self.seal(compression)?.stamp(stamp))
    }

    /// Ends the batch; only the producer stamp is open.
    pub(crate) fn seal(self, compression: Compression) -> Result<Sealed, Error> {
        let BatchBuilder {
            mut buffer,
            count,
            base_timestamp,
            max_timestamp,
        } = self;
        if compression != Compression::None {
            let mut packed = Vec::with_capacity(buffer.len() / 2);
            packed.extend_from_slice(&buffer[..HEADER_LEN]);
            compression
                .compress(&buffer[HEADER_LEN..], &mut packed)
                .map_err(|error| Error::Corrupt {
                    offset: 0,
                    reason: format!("could not compress: {error}"),
                })?;
            buffer = packed;
        }
        let length = (buffer.len() - LENGTH_END) as i32;
        buffer[8..12].copy_from_slice(&length.to_be_bytes());
        // The leader fills in its epoch; −1 says that we do not know it.
        buffer[12..16].copy_from_slice(&(-1_i32).to_be_bytes());
        buffer[16] = 2;
        buffer[21..23].copy_from_slice(&compression.attributes().to_be_bytes());
        buffer[23..27].copy_from_slice(&(count - 1).to_be_bytes());
        buffer[27..35].copy_from_slice(&base_timestamp.to_be_bytes());
        buffer[35..43].copy_from_slice(&max_timestamp.to_be_bytes());
        buffer[57..61].copy_from_slice(&count.to_be_bytes());
        Ok(Sealed { buffer, count })
    }

    /// Fills `out` with the record's fields: those before the key, then the value's length behind them. Returns how
    /// long each part is, and counts the record.
    fn fields(
        &mut self,
        out: &mut [u8; FIELDS_MAX],
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<usize>,
        value_and_tail: usize,
    ) -> (usize, usize) {
        if self.count == 0 {
            self.base_timestamp = timestamp;
        }
        self.max_timestamp = self.max_timestamp.max(timestamp);
        let delta = timestamp - self.base_timestamp;
        let offset = i64::from(self.count);
        let key_len = key.map_or(-1, |key| key.len() as i64);
        let value_len = value.map_or(-1, |len| len as i64);
        self.count += 1;
        let length = 1
            + varint::len(delta)
            + varint::len(offset)
            + varint::len(key_len)
            + key.map_or(0, <[u8]>::len)
            + varint::len(value_len)
            + value_and_tail;
        let mut at = varint::put(out, length as i64);
        out[at] = 0;
        at += 1;
        at += varint::put(&mut out[at..], delta);
        at += varint::put(&mut out[at..], offset);
        at += varint::put(&mut out[at..], key_len);
        let front = at;
        at += varint::put(&mut out[at..], value_len);
        (front, at - front)
    }
}

impl Sealed {
    /// Number of records.
    pub(crate) fn count(&self) -> i32 {
        self.count
    }

    /// Bytes on the wire.
    pub(crate) fn size(&self) -> usize {
        self.buffer.len()
    }

    /// Writes the stamp and the checksum; returns the finished batch.
    pub(crate) fn stamp(mut self, stamp: ProducerStamp) -> Bytes {
        write_stamp(&mut self.buffer, stamp);
        Bytes::from(self.buffer)
    }
}

/// The same batch with another stamp.
pub(crate) fn restamp(batch: Bytes, stamp: ProducerStamp) -> Bytes {
    let mut buffer = Vec::from(batch);
    write_stamp(&mut buffer, stamp);
    Bytes::from(buffer)
}

fn write_stamp(buffer: &mut [u8], stamp: ProducerStamp) {
    buffer[43..51].copy_from_slice(&stamp.id.to_be_bytes());
    buffer[51..53].copy_from_slice(&stamp.epoch.to_be_bytes());
    buffer[53..57].copy_from_slice(&stamp.sequence.to_be_bytes());
    let crc = crc32c::crc32c(&buffer[ATTRIBUTES_AT..]);
    buffer[CRC_AT..ATTRIBUTES_AT].copy_from_slice(&crc.to_be_bytes());
}
