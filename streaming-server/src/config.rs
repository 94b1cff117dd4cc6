//! How the broker listens, how it keeps its log, and the bounds of everything it holds in memory.
//!
//! Read by the binary from `[streaming_server]`; [`Config::validate`] refuses what could not work before anything is
//! written.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use crate::{Error, Tls};

/// Settings of the broker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address the Kafka protocol is served on.
    pub listen: SocketAddr,
    /// Address of `/metrics`, `/healthz` and `/readyz`.
    pub admin_listen: SocketAddr,
    /// Host name that clients are told to connect to; the address they listen on if unset.
    pub advertised_host: Option<String>,
    /// Port that clients are told to connect to; the one listened on if unset.
    pub advertised_port: Option<u16>,
    /// Name and password of each user; with any, everyone must authenticate by SASL PLAIN or SCRAM.
    pub users: BTreeMap<String, String>,
    /// Certificate and key; with them only TLS is spoken.
    pub tls: Option<Tls>,
    /// Directory of the log; used by one broker at a time.
    pub data_dir: PathBuf,
    /// Number of this broker in the cluster of one.
    pub node_id: i32,
    /// Partitions of a topic that is created without saying how many.
    pub default_partitions: i32,
    /// Whether a client that asks for an unknown topic creates it.
    pub auto_create_topics: bool,
    /// Most partitions of all topics together.
    pub max_partitions: u32,
    /// Size at which a log segment is closed and the next begun.
    pub segment_size: ByteSize,
    /// Age at which a log segment is closed and the next begun.
    #[serde(with = "humantime_serde")]
    pub segment_age: Duration,
    /// How long records are kept; forever if unset.
    #[serde(with = "humantime_serde")]
    pub retention: Option<Duration>,
    /// How many bytes of each partition are kept; any number if unset.
    pub retention_size: Option<ByteSize>,
    /// Largest record batch accepted.
    pub max_message_size: ByteSize,
    /// Free disk space below which writes are refused.
    pub min_free_space: ByteSize,
    /// Threads that write and sync, which is also how many syncs overlap.
    pub writer_threads: usize,
    /// Threads that read what is not in memory.
    pub reader_threads: usize,
    /// How often checkpoints, retention and expiry are looked after.
    #[serde(with = "humantime_serde")]
    pub housekeeping_interval: Duration,
    /// Silence after which an idempotent producer is forgotten.
    #[serde(with = "humantime_serde")]
    pub producer_expiry: Duration,
    /// Idempotent producers remembered by each partition.
    pub max_producers_per_partition: usize,
    /// Most connections at a time.
    pub max_connections: usize,
    /// Requests of one connection that are worked on at a time.
    pub max_pipelined_requests: usize,
    /// Largest request accepted.
    pub max_request_size: ByteSize,
    /// Bytes of all requests being worked on; beyond it sockets are not read.
    pub request_memory: ByteSize,
    /// Bytes of fetched records read from disk for all responses being sent.
    pub fetch_memory: ByteSize,
    /// Most bytes of records in one fetch response, whatever the client asks.
    pub max_fetch_size: ByteSize,
    /// Recent batches kept in memory for consumers at the tail, all partitions together.
    pub recent_memory: ByteSize,
    /// Fetch sessions kept; the longest unused one gives way.
    pub max_fetch_sessions: usize,
    /// Silence after which a connection is closed.
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    /// Time for a request to arrive once it has begun, and for each MiB of a response to be taken.
    #[serde(with = "humantime_serde")]
    pub transfer_timeout: Duration,
    /// How long a new group waits for further members before its first rebalance.
    #[serde(with = "humantime_serde")]
    pub group_initial_rebalance_delay: Duration,
    /// Shortest session timeout a group member may ask for.
    #[serde(with = "humantime_serde")]
    pub group_min_session_timeout: Duration,
    /// Longest session timeout a group member may ask for.
    #[serde(with = "humantime_serde")]
    pub group_max_session_timeout: Duration,
    /// Most members of one group.
    pub group_max_size: usize,
    /// Most groups.
    pub max_groups: usize,
    /// How long the committed offsets of an empty group are kept.
    #[serde(with = "humantime_serde")]
    pub offsets_retention: Duration,
    /// Longest metadata string a committed offset may carry.
    pub max_offset_metadata: ByteSize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 9092)),
            admin_listen: SocketAddr::from(([127, 0, 0, 1], 9644)),
            advertised_host: None,
            advertised_port: None,
            users: BTreeMap::new(),
            tls: None,
            data_dir: PathBuf::from("streamforge-data/streaming-server"),
            node_id: 1,
            default_partitions: 4,
            auto_create_topics: true,
            max_partitions: 4096,
            segment_size: ByteSize::mib(256),
            segment_age: Duration::from_hours(7 * 24),
            retention: Some(Duration::from_hours(7 * 24)),
            retention_size: None,
            max_message_size: ByteSize::b(1_048_588),
            min_free_space: ByteSize::mib(64),
            writer_threads: 6,
            reader_threads: 2,
            housekeeping_interval: Duration::from_secs(5),
            producer_expiry: Duration::from_hours(24),
            max_producers_per_partition: 10_000,
            max_connections: 1024,
            max_pipelined_requests: 8,
            max_request_size: ByteSize::mib(64),
            request_memory: ByteSize::mib(128),
            fetch_memory: ByteSize::mib(128),
            max_fetch_size: ByteSize::mib(55),
            recent_memory: ByteSize::mib(16),
            max_fetch_sessions: 1000,
            idle_timeout: Duration::from_mins(10),
            transfer_timeout: Duration::from_secs(30),
            group_initial_rebalance_delay: Duration::from_millis(500),
            group_min_session_timeout: Duration::from_secs(6),
            group_max_session_timeout: Duration::from_mins(30),
            group_max_size: 1000,
            max_groups: 10_000,
            offsets_retention: Duration::from_hours(7 * 24),
            max_offset_metadata: ByteSize::kib(4),
        }
    }
}

impl Config {
    /// Refuses settings that contradict each other or would open the broker to strangers.
    pub fn validate(&self) -> Result<(), Error> {
        let refuse = |key, why: &str| {
            Err(Error::Config {
                key,
                why: why.to_owned(),
            })
        };
        if !self.listen.ip().is_loopback() && self.users.is_empty() {
            return refuse(
                "listen",
                "listening beyond loopback needs authentication: set `users`",
            );
        }
        if !self.admin_listen.ip().is_loopback() {
            return refuse(
                "admin_listen",
                "metrics and health have no authentication and stay on loopback",
            );
        }
        if self.node_id < 0 {
            return refuse("node_id", "must not be negative");
        }
        if self.default_partitions < 1 {
            return refuse("default_partitions", "must be at least 1");
        }
        // Positions in a segment's index are 32-bit.
        if !(1 << 20..=1 << 30).contains(&self.segment_size.as_u64()) {
            return refuse("segment_size", "must be between 1 MiB and 1 GiB");
        }
        if self.max_message_size > self.max_request_size {
            return refuse("max_message_size", "must not exceed `max_request_size`");
        }
        if self.max_request_size.as_u64() > 1 << 30 {
            return refuse("max_request_size", "must not exceed 1 GiB");
        }
        if self.request_memory < self.max_request_size {
            return refuse(
                "request_memory",
                "must hold at least one request of `max_request_size`",
            );
        }
        if self.fetch_memory < self.max_fetch_size {
            return refuse(
                "fetch_memory",
                "must hold at least one response of `max_fetch_size`",
            );
        }
        for (key, value) in [
            ("writer_threads", self.writer_threads),
            ("reader_threads", self.reader_threads),
            ("max_connections", self.max_connections),
            ("max_pipelined_requests", self.max_pipelined_requests),
        ] {
            if !(1..=65_536).contains(&value) {
                return refuse(key, "must be between 1 and 65536");
            }
        }
        if self.housekeeping_interval.is_zero() {
            return refuse("housekeeping_interval", "must not be zero");
        }
        Ok(())
    }
}
