//! Walks fetched record batches and fills columns from them.
//!
//! Every length is checked before it is used: a damaged or hostile batch ends in [`Error::Corrupt`], not in a panic or a
//! large allocation.

use std::collections::HashSet;

use bytes::Bytes;

use super::columns::{RecordColumns, Span};
use super::compression::Compression;
use super::{
    ATTRIBUTES_AT, CONTROL, CRC_AT, HEADER_LEN, LENGTH_END, LOG_APPEND_TIME, TRANSACTIONAL, varint,
};
use crate::error::Error;

/// What decoding may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Most bytes that one fetch of one partition may decompress to.
    pub max_decompressed: usize,
}

/// A transaction that was rolled back, as fetch responses list them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Aborted {
    pub(crate) producer_id: i64,
    pub(crate) first_offset: i64,
}

/// The fields of a batch header that reading needs.
struct Header {
    base_offset: i64,
    attributes: i16,
    last_offset_delta: i32,
    base_timestamp: i64,
    max_timestamp: i64,
    producer_id: i64,
    count: i32,
    /// Bytes of the whole batch.
    size: usize,
}

/// The shortest record: seven fields of one byte.
const RECORD_MIN: usize = 7;

impl Default for BatchLimits {
    fn default() -> BatchLimits {
        BatchLimits {
            max_decompressed: 256 << 20,
        }
    }
}

/// Decodes all complete batches of `records` and keeps the records from offset `from` on.
///
/// A batch cut off at the end is left out, as brokers send such; nothing but a cut-off batch is an error.
pub fn decode_batches(
    records: &Bytes,
    from: i64,
    limits: BatchLimits,
) -> Result<RecordColumns, Error> {
    decode_committed(records, from, &[], limits)
}

/// [`decode_batches`] without the records of the `aborted` transactions.
pub(crate) fn decode_committed(
    records: &Bytes,
    from: i64,
    aborted: &[Aborted],
    limits: BatchLimits,
) -> Result<RecordColumns, Error> {
    let (packed, count) = survey(records)?;
    let mut filter = AbortFilter::new(aborted);
    let mut columns = RecordColumns {
        next_offset: from,
        ..RecordColumns::default()
    };
    columns.keys.reserve(count);
    columns.values.reserve(count);
    columns.offsets.reserve(count);
    columns.timestamps.reserve(count);
    let mut plain = Vec::new();
    let mut at = 0;
    while let Some(header) = header(records, at)? {
        let batch = at..at + header.size;
        at = batch.end;
        check_sum(&header, &records[batch.clone()])?;
        let end = header.base_offset + i64::from(header.last_offset_delta) + 1;
        if end <= from {
            continue;
        }
        let body = batch.start + HEADER_LEN..batch.end;
        let visible = filter.admits(&header, &records[body.clone()]);
        if header.attributes & CONTROL == 0 && visible {
            let codec = codec(&header)?;
            if packed {
                let start = plain.len();
                let left = limits.max_decompressed.saturating_sub(start);
                codec
                    .decompress(&records[body], &mut plain, left)
                    .map_err(|error| corrupt(&header, format!("could not decompress: {error}")))?;
                walk(&plain, start, &header, from, &mut columns)?;
            } else {
                walk(
                    &records[..body.end],
                    body.start,
                    &header,
                    from,
                    &mut columns,
                )?;
            }
        }
        columns.next_offset = columns.next_offset.max(end);
    }
    columns.data = if packed {
        Bytes::from(plain)
    } else {
        records.clone()
    };
    Ok(columns)
}

/// The position behind the last whole batch of `records`, at least `from`; looks only at headers.
pub(crate) fn next_offset(records: &[u8], from: i64) -> Result<i64, Error> {
    let mut next = from;
    let mut at = 0;
    while let Some(header) = header(records, at)? {
        next = next.max(header.base_offset + i64::from(header.last_offset_delta) + 1);
        at += header.size;
    }
    if at == 0 && !records.is_empty() {
        let reason = format!("no whole batch in {} bytes", records.len());
        return Err(Error::Corrupt {
            offset: from,
            reason,
        });
    }
    Ok(next)
}

/// Checks every batch header; says whether any batch is compressed and how many records there may be.
fn survey(records: &Bytes) -> Result<(bool, usize), Error> {
    if u32::try_from(records.len()).is_err() {
        return Err(Error::Corrupt {
            offset: -1,
            reason: "over 4 GiB in one fetch".to_owned(),
        });
    }
    let mut packed = false;
    let mut count = 0;
    let mut at = 0;
    while let Some(header) = header(records, at)? {
        let compressed = codec(&header)? != Compression::None;
        let bytes = header.size - HEADER_LEN;
        packed |= compressed;
        // A promise of records is believed only as far as its bytes can hold them.
        let most = if compressed {
            bytes.saturating_mul(8)
        } else {
            bytes / RECORD_MIN
        };
        count += usize::try_from(header.count).unwrap_or(0).min(most);
        at += header.size;
    }
    if at == 0 && !records.is_empty() {
        let reason = format!("no whole batch in {} bytes", records.len());
        return Err(Error::Corrupt { offset: -1, reason });
    }
    Ok((packed, count))
}

/// Reads the batch header at `at`; `None` when no whole batch is left.
fn header(records: &[u8], at: usize) -> Result<Option<Header>, Error> {
    let rest = &records[at..];
    let Some((front, _)) = rest.split_first_chunk::<HEADER_LEN>() else {
        return Ok(None);
    };
    let base_offset = i64::from_be_bytes(field(front, 0));
    let bad = |reason: String| Error::Corrupt {
        offset: base_offset,
        reason,
    };
    if front[16] != 2 {
        return Err(bad(format!(
            "message format {} is not served, only 2",
            front[16]
        )));
    }
    let length = i32::from_be_bytes(field(front, 8));
    let size = usize::try_from(length).unwrap_or(0) + LENGTH_END;
    if size < HEADER_LEN {
        return Err(bad(format!(
            "length {length} is shorter than a batch header"
        )));
    }
    if size > rest.len() {
        return Ok(None);
    }
    let header = Header {
        base_offset,
        attributes: i16::from_be_bytes(field(front, 21)),
        last_offset_delta: i32::from_be_bytes(field(front, 23)),
        base_timestamp: i64::from_be_bytes(field(front, 27)),
        max_timestamp: i64::from_be_bytes(field(front, 35)),
        producer_id: i64::from_be_bytes(field(front, 43)),
        count: i32::from_be_bytes(field(front, 57)),
        size,
    };
    let last = base_offset.checked_add(i64::from(header.last_offset_delta));
    if base_offset < 0 || header.last_offset_delta < 0 || last.is_none_or(|last| last == i64::MAX) {
        return Err(bad(format!(
            "last offset delta {} is impossible",
            header.last_offset_delta
        )));
    }
    Ok(Some(header))
}

fn check_sum(header: &Header, batch: &[u8]) -> Result<(), Error> {
    let stored: [u8; 4] = std::array::from_fn(|index| batch[CRC_AT + index]);
    let stored = u32::from_be_bytes(stored);
    let computed = crc32c::crc32c(&batch[ATTRIBUTES_AT..]);
    if stored == computed {
        return Ok(());
    }
    Err(corrupt(
        header,
        format!("checksum is {computed:08x}, the batch says {stored:08x}"),
    ))
}

fn field<const N: usize>(front: &[u8; HEADER_LEN], at: usize) -> [u8; N] {
    std::array::from_fn(|index| front[at + index])
}

fn codec(header: &Header) -> Result<Compression, Error> {
    Compression::from_attributes(header.attributes).ok_or_else(|| {
        corrupt(
            header,
            format!("unknown codec in attributes {:#06x}", header.attributes),
        )
    })
}

fn corrupt(header: &Header, reason: String) -> Error {
    Error::Corrupt {
        offset: header.base_offset,
        reason,
    }
}

/// Appends the records of one batch, which stand in `data` from `at` to its end.
fn walk(
    data: &[u8],
    mut at: usize,
    header: &Header,
    from: i64,
    columns: &mut RecordColumns,
) -> Result<(), Error> {
    if u32::try_from(data.len()).is_err() {
        return Err(corrupt(header, "over 4 GiB decompressed".to_owned()));
    }
    let log_append_time =
        (header.attributes & LOG_APPEND_TIME != 0).then_some(header.max_timestamp);
    for index in 0..header.count {
        let cut = || corrupt(header, format!("record {index} does not fit its batch"));
        let length = varint::get(data, &mut at).ok_or_else(cut)?;
        let length = usize::try_from(length).map_err(|_| cut())?;
        let end = at
            .checked_add(length)
            .filter(|end| *end <= data.len())
            .ok_or_else(cut)?;
        let record = &data[..end];
        // The attributes of a record are unused.
        at += 1;
        let time_delta = varint::get(record, &mut at).ok_or_else(cut)?;
        let offset_delta = varint::get(record, &mut at).ok_or_else(cut)?;
        if offset_delta < 0 || offset_delta > i64::from(header.last_offset_delta) {
            return Err(corrupt(
                header,
                format!("record {index} has an impossible offset"),
            ));
        }
        let offset = header.base_offset + offset_delta;
        let key = span(record, &mut at).ok_or_else(cut)?;
        let value = span(record, &mut at).ok_or_else(cut)?;
        let headers = varint::get(record, &mut at).ok_or_else(cut)?;
        if offset < from {
            at = end;
            continue;
        }
        if headers != 0 {
            read_headers(record, &mut at, headers, columns).ok_or_else(cut)?;
        }
        if at != end {
            return Err(cut());
        }
        columns.keys.push(key);
        columns.values.push(value);
        columns.offsets.push(offset);
        columns
            .timestamps
            .push(log_append_time.unwrap_or(header.base_timestamp.saturating_add(time_delta)));
    }
    Ok(())
}

/// Reads a length and skips that many bytes; −1 is null.
#[inline]
fn span(record: &[u8], at: &mut usize) -> Option<Span> {
    let length = varint::get(record, at)?;
    if length == -1 {
        return Some(Span::NULL);
    }
    let length = usize::try_from(length).ok()?;
    let start = *at;
    let end = start
        .checked_add(length)
        .filter(|end| *end <= record.len())?;
    *at = end;
    Some(Span {
        start: start as u32,
        end: end as u32,
    })
}

fn read_headers(
    record: &[u8],
    at: &mut usize,
    count: i64,
    columns: &mut RecordColumns,
) -> Option<()> {
    for _ in 0..u32::try_from(count).ok()? {
        let name = span(record, at).filter(|name| !name.is_null())?;
        let value = span(record, at)?;
        columns.headers.entries.push((name, value));
    }
    columns.headers.close_record(columns.offsets.len());
    Some(())
}

/// Knows, batch by batch, which producers are inside a transaction that was rolled back.
struct AbortFilter {
    /// Not yet reached, the nearest last.
    ahead: Vec<Aborted>,
    inside: HashSet<i64>,
}

impl AbortFilter {
    fn new(aborted: &[Aborted]) -> AbortFilter {
        let mut ahead = aborted.to_vec();
        ahead.sort_by_key(|transaction| std::cmp::Reverse(transaction.first_offset));
        AbortFilter {
            ahead,
            inside: HashSet::new(),
        }
    }

    /// Whether the batch may be seen; must be asked for every batch in order.
    fn admits(&mut self, header: &Header, body: &[u8]) -> bool {
        let last = header.base_offset + i64::from(header.last_offset_delta);
        while let Some(next) = self.ahead.pop_if(|next| next.first_offset <= last) {
            self.inside.insert(next.producer_id);
        }
        if header.attributes & CONTROL != 0 {
            if is_abort_marker(body) {
                self.inside.remove(&header.producer_id);
            }
            return false;
        }
        header.attributes & TRANSACTIONAL == 0 || !self.inside.contains(&header.producer_id)
    }
}

/// Whether the control record of a batch is the end of a rolled-back transaction: its key is version and type 0.
fn is_abort_marker(body: &[u8]) -> bool {
    let mut at = 0;
    let key = (|| {
        varint::get(body, &mut at)?;
        at += 1;
        varint::get(body, &mut at)?;
        varint::get(body, &mut at)?;
        span(body, &mut at)?.of(body)
    })();
    key.is_some_and(|key| key.len() >= 4 && key[2..4] == [0, 0])
}
