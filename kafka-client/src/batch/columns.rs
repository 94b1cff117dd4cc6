//! Fetched records as columns: ranges into one buffer, and plain vectors of numbers.
//!
//! There is no Arrow type here, so the crate stays light; a reader wraps or copies the ranges as it likes.

use bytes::Bytes;

/// A range of [`RecordColumns::data`], or null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// First byte; `u32::MAX` for null.
    pub start: u32,
    /// One past the last byte; equal to `start` for null.
    pub end: u32,
}

/// The records of one partition that one fetch brought, in order of their offsets.
///
/// All vectors have one entry a record. `data` may hold bytes that no record points to.
#[derive(Debug, Clone, Default)]
pub struct RecordColumns {
    /// Partition number; 0 when decoded outside a consumer.
    pub partition: i32,
    /// The bytes all spans point into.
    pub data: Bytes,
    /// Keys.
    pub keys: Vec<Span>,
    /// Values; null is a tombstone.
    pub values: Vec<Span>,
    /// Offsets, ascending; gaps are where compaction or transactions left nothing.
    pub offsets: Vec<i64>,
    /// Timestamps in milliseconds since 1970; the broker's own where the topic uses log-append time.
    pub timestamps: Vec<i64>,
    /// Headers.
    pub headers: Headers,
    /// The position behind everything read, also behind control records and filtered ones.
    pub next_offset: i64,
}

/// The headers of the records of a [`RecordColumns`]; costs nothing while no record has any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers {
    /// For each record, one past its last entry; shorter than the record count when the rest has none.
    pub(super) ends: Vec<u32>,
    /// Name and value of every header of every record.
    pub(super) entries: Vec<(Span, Span)>,
}

impl Span {
    /// The null span.
    pub const NULL: Span = Span {
        start: u32::MAX,
        end: u32::MAX,
    };

    /// Whether it is null.
    #[must_use]
    pub fn is_null(self) -> bool {
        self.start == u32::MAX
    }

    /// Number of bytes, 0 for null.
    #[must_use]
    pub fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether it has no bytes (null, too).
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// The bytes in `data`, `None` for null.
    #[must_use]
    pub fn of(self, data: &[u8]) -> Option<&[u8]> {
        if self.is_null() {
            None
        } else {
            data.get(self.start as usize..self.end as usize)
        }
    }
}

impl RecordColumns {
    /// Number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Whether there is no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// The key of record `index`.
    #[must_use]
    pub fn key(&self, index: usize) -> Option<&[u8]> {
        self.keys.get(index)?.of(&self.data)
    }

    /// The value of record `index`.
    #[must_use]
    pub fn value(&self, index: usize) -> Option<&[u8]> {
        self.values.get(index)?.of(&self.data)
    }

    /// The headers of record `index`, in the order sent, with duplicates.
    pub fn headers(&self, index: usize) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.headers.range(index).map(|(name, value)| {
            (
                name.of(&self.data).unwrap_or_default(),
                value.of(&self.data),
            )
        })
    }

    /// Bytes of all keys and values together.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        self.keys
            .iter()
            .chain(&self.values)
            .map(|span| span.len())
            .sum()
    }
}

impl Headers {
    fn range(&self, index: usize) -> impl Iterator<Item = (Span, Span)> {
        let end = self.ends.get(index).map_or(0, |end| *end as usize);
        let start = match index.checked_sub(1) {
            Some(before) => self.ends.get(before).map_or(end, |end| *end as usize),
            None => 0,
        };
        self.entries
            .get(start..end)
            .unwrap_or_default()
            .iter()
            .copied()
    }

    /// Adds the entries collected since the last call to the record `index`.
    pub(super) fn close_record(&mut self, index: usize) {
        let before = self.ends.last().copied().unwrap_or(0);
        // Records without headers get their entry only when a later one needs it.
        if self.entries.len() as u32 > before {
            self.ends.resize(index, before);
            self.ends.push(self.entries.len() as u32);
        }
    }
}
