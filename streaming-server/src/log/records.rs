//! Walks the records inside a batch, decompressing when it must.
//!
//! The broker stores batches as received; it looks inside only to find a record by time, to check the shape of
//! uncompressed batches, and to read its own `__consumer_offsets` back. Output of decompression is bounded.

use std::io::Read;

use bytes::{BufMut, Bytes, BytesMut};

use super::batch::{BatchError, BatchHeader, Compression, HEADER_LEN};

/// One record, borrowed from its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
}

/// The records of a batch, decompressed if need be.
pub(crate) struct Records {
    header: BatchHeader,
    bytes: Bytes,
}

impl Records {
    /// Opens the verified batch at the start of `batch`; refuses to inflate beyond `limit` bytes.
    pub(crate) fn open(batch: &Bytes, limit: usize) -> Result<Self, BatchError> {
        let header = BatchHeader::parse(batch)?;
        if batch.len() < header.size() {
            return Err(BatchError::Short { len: batch.len() });
        }
        let body = batch.slice(HEADER_LEN..header.size());
        let bytes = match header.compression() {
            Some(Compression::None) | None => body,
            Some(compression) => inflate(compression, &body, limit)?,
        };
        Ok(Self { header, bytes })
    }

    /// Calls `each` for every record in order until it returns `false`.
    pub(crate) fn walk<'a>(
        &'a self,
        mut each: impl FnMut(Record<'a>) -> bool,
    ) -> Result<(), BatchError> {
        let mut rest: &[u8] = &self.bytes;
        for _ in 0..self.header.count {
            let record = read_record(&mut rest, &self.header)?;
            if !each(record) {
                return Ok(());
            }
        }
        if rest.is_empty() {
            Ok(())
        } else {
            Err(BatchError::Malformed {
                why: "bytes follow its last record",
            })
        }
    }
}

const CUT: BatchError = BatchError::Malformed {
    why: "a record is cut short",
};

fn read_record<'a>(rest: &mut &'a [u8], header: &BatchHeader) -> Result<Record<'a>, BatchError> {
    let len = usize::try_from(varint(rest)?).map_err(|_| CUT)?;
    let mut body = take(rest, len)?;
    let _attributes = take(&mut body, 1)?;
    let timestamp_delta = varint(&mut body)?;
    let offset_delta = varint(&mut body)?;
    let key = nullable(&mut body)?;
    let value = nullable(&mut body)?;
    let n_headers = varint(&mut body)?;
    for _ in 0..n_headers {
        let name_len = usize::try_from(varint(&mut body)?).map_err(|_| CUT)?;
        take(&mut body, name_len)?;
        nullable(&mut body)?;
    }
    if n_headers < 0 || !body.is_empty() {
        return Err(BatchError::Malformed {
            why: "a record's length does not match its content",
        });
    }
    let timestamp = if header.has_log_append_time() {
        header.max_timestamp
    } else {
        header.base_timestamp.wrapping_add(timestamp_delta)
    };
    Ok(Record {
        offset: header.base_offset.wrapping_add(offset_delta),
        timestamp,
        key,
        value,
    })
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8], BatchError> {
    if len > rest.len() {
        return Err(CUT);
    }
    let (head, tail) = rest.split_at(len);
    *rest = tail;
    Ok(head)
}

fn nullable<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>, BatchError> {
    match varint(rest)? {
        -1 => Ok(None),
        len => take(rest, usize::try_from(len).map_err(|_| CUT)?).map(Some),
    }
}

fn varint(rest: &mut &[u8]) -> Result<i64, BatchError> {
    let mut value = 0_u64;
    for (i, &byte) in rest.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            *rest = &rest[i + 1..];
            return Ok((value >> 1).cast_signed() ^ -((value & 1).cast_signed()));
        }
    }
    Err(CUT)
}

/// A snappy stream as the Java client frames it: this magic, two version numbers, then length-prefixed blocks.
const SNAPPY_JAVA: &[u8] = b"\x82SNAPPY\0";

fn inflate(compression: Compression, body: &[u8], limit: usize) -> Result<Bytes, BatchError> {
    let broken = |_| BatchError::Malformed {
        why: "its records do not decompress",
    };
    let mut out = Vec::new();
    // One byte more than allowed tells "too big" from "just fits".
    let cap = limit as u64 + 1;
    match compression {
        Compression::None => out.extend_from_slice(body),
        Compression::Gzip => {
            flate2::read::MultiGzDecoder::new(body)
                .take(cap)
                .read_to_end(&mut out)
                .map_err(broken)?;
        }
        Compression::Lz4 => {
            lz4_flex::frame::FrameDecoder::new(body)
                .take(cap)
                .read_to_end(&mut out)
                .map_err(broken)?;
        }
        Compression::Zstd => {
            let decoder = zstd::stream::read::Decoder::with_buffer(body).map_err(broken)?;
            decoder.take(cap).read_to_end(&mut out).map_err(broken)?;
        }
        Compression::Snappy => out = inflate_snappy(body, limit)?,
    }
    if out.len() > limit {
        return Err(BatchError::Malformed {
            why: "its records inflate beyond the limit",
        });
    }
    Ok(Bytes::from(out))
}

fn inflate_snappy(body: &[u8], limit: usize) -> Result<Vec<u8>, BatchError> {
    const BROKEN: BatchError = BatchError::Malformed {
        why: "its records do not decompress",
    };
    let mut out = Vec::new();
    let mut block = |bytes: &[u8]| {
        let len = snap::raw::decompress_len(bytes).map_err(|_| BROKEN)?;
        if out.len() + len > limit {
            return Err(BatchError::Malformed {
                why: "its records inflate beyond the limit",
            });
        }
        let start = out.len();
        out.resize(start + len, 0);
        snap::raw::Decoder::new()
            .decompress(bytes, &mut out[start..])
            .map_err(|_| BROKEN)?;
        Ok(())
    };
    if body.starts_with(SNAPPY_JAVA) {
        let mut rest = body.get(16..).ok_or(CUT)?;
        while !rest.is_empty() {
            let prefix: [u8; 4] = take(&mut rest, 4)?.try_into().map_err(|_| CUT)?;
            let len = usize::try_from(u32::from_be_bytes(prefix)).map_err(|_| CUT)?;
            block(take(&mut rest, len)?)?;
        }
    } else {
        block(body)?;
    }
    Ok(out)
}

/// A key and value to be written by the broker itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OwnRecord {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Option<Vec<u8>>,
}

/// Encodes `records` as one uncompressed batch stamped `timestamp`, ready for an append. Needs at least one record.
pub(crate) fn encode_batch(records: &[OwnRecord], timestamp: i64) -> Bytes {
    let mut body = BytesMut::new();
    for (offset_delta, record) in records.iter().enumerate() {
        let mut fields = BytesMut::new();
        fields.put_u8(0);
        put_varint(&mut fields, 0);
        put_varint(&mut fields, i64::try_from(offset_delta).unwrap_or(i64::MAX));
        put_varint(
            &mut fields,
            i64::try_from(record.key.len()).unwrap_or(i64::MAX),
        );
        fields.put_slice(&record.key);
        match &record.value {
            None => put_varint(&mut fields, -1),
            Some(value) => {
                put_varint(&mut fields, i64::try_from(value.len()).unwrap_or(i64::MAX));
                fields.put_slice(value);
            }
        }
        put_varint(&mut fields, 0);
        put_varint(&mut body, i64::try_from(fields.len()).unwrap_or(i64::MAX));
        body.put_slice(&fields);
    }
    encode_with_body(
        &BatchFields {
            timestamp,
            count: i32::try_from(records.len()).unwrap_or(i32::MAX),
            ..BatchFields::default()
        },
        &body,
    )
}

/// The fields of a batch that its maker chooses.
pub(crate) struct BatchFields {
    pub(crate) timestamp: i64,
    pub(crate) count: i32,
    pub(crate) attributes: i16,
    pub(crate) producer: (i64, i16, i32),
}

impl Default for BatchFields {
    fn default() -> Self {
        Self {
            timestamp: 0,
            count: 1,
            attributes: 0,
            producer: (-1, -1, -1),
        }
    }
}

pub(crate) fn encode_with_body(fields: &BatchFields, body: &[u8]) -> Bytes {
    let mut batch = BytesMut::with_capacity(HEADER_LEN + body.len());
    batch.put_i64(0);
    batch.put_i32(i32::try_from(HEADER_LEN - 12 + body.len()).unwrap_or(i32::MAX));
    batch.put_i32(-1);
    batch.put_i8(2);
    batch.put_u32(0);
    batch.put_i16(fields.attributes);
    batch.put_i32(fields.count - 1);
    batch.put_i64(fields.timestamp);
    batch.put_i64(fields.timestamp);
    batch.put_i64(fields.producer.0);
    batch.put_i16(fields.producer.1);
    batch.put_i32(fields.producer.2);
    batch.put_i32(fields.count);
    batch.put_slice(body);
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch.freeze()
}

fn put_varint(out: &mut BytesMut, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        out.put_u8(u8::try_from(rest & 0x7f).unwrap_or(0) | 0x80);
        rest >>= 7;
    }
    out.put_u8(u8::try_from(rest).unwrap_or(0));
}
