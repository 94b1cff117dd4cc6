//! Fetch responses, encoded around the record bytes instead of over a copy of them.
//!
//! The codec would copy every batch into its buffer; here only the fields between them are written, and batches go out
//! as the pieces they are stored in.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::sync::OwnedSemaphorePermit;
use uuid::Uuid;

use super::frame::Chunks;

/// A fetch response before encoding.
#[derive(Debug, Default)]
pub(crate) struct FetchReply {
    pub(crate) error_code: i16,
    pub(crate) session_id: i32,
    pub(crate) topics: Vec<TopicReply>,
    /// Memory that the records hold, given back once they are sent.
    pub(crate) permits: Vec<OwnedSemaphorePermit>,
}

/// The partitions of one topic, which is named or numbered according to the version.
#[derive(Debug)]
pub(crate) struct TopicReply {
    pub(crate) name: Arc<str>,
    pub(crate) id: Uuid,
    pub(crate) partitions: Vec<PartitionReply>,
}

/// What was found in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartitionReply {
    pub(crate) index: i32,
    pub(crate) error_code: i16,
    pub(crate) high_watermark: i64,
    pub(crate) log_start: i64,
    pub(crate) records: Vec<Bytes>,
}

impl PartitionReply {
    pub(crate) fn failed(index: i32, error_code: i16) -> Self {
        Self {
            index,
            error_code,
            high_watermark: -1,
            log_start: -1,
            records: Vec::new(),
        }
    }

    pub(crate) fn n_bytes(&self) -> usize {
        self.records.iter().map(Bytes::len).sum()
    }
}

impl FetchReply {
    pub(crate) fn n_bytes(&self) -> usize {
        self.topics
            .iter()
            .flat_map(|topic| &topic.partitions)
            .map(PartitionReply::n_bytes)
            .sum()
    }

    /// Encodes versions 4 to 17 with length prefix and header.
    pub(crate) fn encode(self, version: i16, correlation_id: i32) -> Chunks {
        let is_flexible = version >= 12;
        let mut out = Out {
            is_flexible,
            head: BytesMut::with_capacity(256),
            chunks: Vec::new(),
            len: 0,
        };
        out.head.put_i32(correlation_id);
        out.tags();
        out.head.put_i32(0);
        if version >= 7 {
            out.head.put_i16(self.error_code);
            out.head.put_i32(self.session_id);
        }
        out.count(self.topics.len());
        for topic in self.topics {
            if version >= 13 {
                out.head.put_slice(topic.id.as_bytes());
            } else {
                out.string(&topic.name);
            }
            out.count(topic.partitions.len());
            for partition in topic.partitions {
                out.partition(partition, version);
            }
            out.tags();
        }
        out.tags();
        out.finish()
    }
}

struct Out {
    is_flexible: bool,
    head: BytesMut,
    chunks: Vec<Bytes>,
    len: usize,
}

impl Out {
    fn partition(&mut self, partition: PartitionReply, version: i16) {
        self.head.put_i32(partition.index);
        self.head.put_i16(partition.error_code);
        self.head.put_i64(partition.high_watermark);
        // Without transactions everything synced is stable.
        self.head.put_i64(partition.high_watermark);
        if version >= 5 {
            self.head.put_i64(partition.log_start);
        }
        // No list of aborted transactions.
        if self.is_flexible {
            self.head.put_u8(0);
        } else {
            self.head.put_i32(-1);
        }
        if version >= 11 {
            self.head.put_i32(-1);
        }
        let len = partition.n_bytes();
        if self.is_flexible {
            self.varint(len + 1);
        } else {
            self.head.put_i32(i32::try_from(len).unwrap_or(i32::MAX));
        }
        for records in partition.records {
            self.splice(records);
        }
        self.tags();
    }

    fn splice(&mut self, records: Bytes) {
        let head = self.head.split().freeze();
        self.len += head.len() + records.len();
        self.chunks.push(head);
        self.chunks.push(records);
    }

    fn finish(mut self) -> Chunks {
        let head = self.head.split().freeze();
        self.len += head.len();
        let prefix = u32::try_from(self.len).unwrap_or(u32::MAX).to_be_bytes();
        let mut chunks = Chunks::from(Bytes::copy_from_slice(&prefix));
        for chunk in self.chunks {
            chunks.push(chunk);
        }
        chunks.push(head);
        chunks
    }

    fn count(&mut self, count: usize) {
        if self.is_flexible {
            self.varint(count + 1);
        } else {
            self.head.put_i32(i32::try_from(count).unwrap_or(i32::MAX));
        }
    }

    fn string(&mut self, text: &str) {
        if self.is_flexible {
            self.varint(text.len() + 1);
        } else {
            self.head
                .put_i16(i16::try_from(text.len()).unwrap_or(i16::MAX));
        }
        self.head.put_slice(text.as_bytes());
    }

    fn tags(&mut self) {
        if self.is_flexible {
            self.head.put_u8(0);
        }
    }

    fn varint(&mut self, value: usize) {
        let mut rest = value;
        while rest >= 0x80 {
            self.head
                .put_u8(u8::try_from(rest & 0x7f).unwrap_or(0) | 0x80);
            rest >>= 7;
        }
        self.head.put_u8(u8::try_from(rest).unwrap_or(0));
    }
}

#[cfg(test)]
mod tests;
