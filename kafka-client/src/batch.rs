//! Record batches, format 2: how they are built for sending and walked after fetching.
//!
//! It is apart from the client because it does no IO: bytes in, bytes or columns out. The walk borrows from the fetched
//! buffer and allocates nothing per record.

mod builder;
mod columns;
mod compression;
mod varint;
mod walker;

pub use builder::{BatchBuilder, NO_PRODUCER, ProducerStamp};
pub use columns::{Headers, RecordColumns, Span};
pub use compression::Compression;
pub use walker::{BatchLimits, decode_batches};

pub(crate) use builder::{Sealed, restamp};
pub(crate) use walker::{Aborted, decode_committed, next_offset};

/// Bytes of a batch before its records.
pub(crate) const HEADER_LEN: usize = 61;
/// Bytes before the part that `batchLength` counts.
pub(crate) const LENGTH_END: usize = 12;
/// Where the checksum stands; it covers everything behind it.
pub(crate) const CRC_AT: usize = 17;
/// Where the attributes stand, the first bytes under the checksum.
pub(crate) const ATTRIBUTES_AT: usize = 21;
/// Compression codec in the attributes.
pub(crate) const CODEC_MASK: i16 = 0x07;
/// Timestamps were set by the broker.
pub(crate) const LOG_APPEND_TIME: i16 = 0x08;
/// The batch belongs to a transaction.
pub(crate) const TRANSACTIONAL: i16 = 0x10;
/// The batch holds a transaction marker, not user data.
pub(crate) const CONTROL: i16 = 0x20;

#[cfg(test)]
mod tests;
