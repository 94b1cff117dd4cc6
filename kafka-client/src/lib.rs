//! A Kafka client for programs that move many records: columnar reads, bulk pipelined writes, and the admin calls
//! around them.
//!
//! It is a crate of its own because the emitter, the stream processor and the query engine all meet the event bus only
//! over Kafka's wire protocol. Bytes come from any broker, ours or Apache Kafka; they leave as [`RecordColumns`] whose
//! ranges point into the fetched buffer, or as [`Delivery`] reports of batches the leader acknowledged.
//!
//! Start at [`Client::connect`]; from it come [`Producer`], [`PartitionConsumer`] and the admin calls.

mod admin;
mod batch;
mod client;
mod config;
mod connection;
mod consumer;
mod error;
mod groups;
mod metadata;
mod offsets;
mod producer;
mod properties;
mod sasl;
mod shape;
mod tls;

pub use admin::{ConfigEntry, ConfigResource, GroupListing, NewTopic};
pub use batch::{
    BatchBuilder, BatchLimits, Compression, Headers, NO_PRODUCER, ProducerStamp, RecordColumns,
    Span, decode_batches,
};
pub use client::Client;
pub use config::{Config, Sasl, SaslMechanism, Tls};
pub use consumer::{ConsumerConfig, FetchHealth, Fetched, Isolation, PartitionConsumer, StartAt};
pub use error::{Error, ErrorCode};
pub use groups::CommittedOffset;
pub use metadata::{Broker, ClusterInfo, PartitionInfo, TopicInfo, TopicPartition};
pub use offsets::{ListedOffset, OffsetSpec};
pub use producer::{
    Acks, Delivery, DeliveryReport, Producer, ProducerConfig, ProducerStats, Record,
    partition_for_key,
};
pub use properties::parse_properties;
