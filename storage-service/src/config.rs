//! How the store listens, keeps its data and bounds what one client may ask of it.
//!
//! Kept apart so that the binary can build, print and check it without starting anything. Values come from
//! `streamforge.toml` and the environment through the binary, and go to [`crate::serve`].

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::store::RECEIVED;

/// How the store listens, where it keeps objects and what it allows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address the S3 protocol is served on.
    pub listen: SocketAddr,
    /// Directory of the index and the objects; used by one process at a time.
    pub data_dir: PathBuf,
    /// Region every signature must be scoped to.
    pub region: String,
    /// Access key clients sign with; empty together with `secret_key` allows unsigned requests on loopback.
    pub access_key: String,
    /// Secret of the access key.
    pub secret_key: String,
    /// Buckets created at start when they do not exist.
    pub buckets: Vec<String>,
    /// Objects up to this size are kept in the index, so that storing one costs a single disk sync.
    pub inline_size: ByteSize,
    /// Largest object one PUT, or one part of an upload, may have.
    pub max_put_size: ByteSize,
    /// Largest XML body of a request (multiple delete, complete upload, tagging).
    pub max_xml_size: ByteSize,
    /// Largest chunk of a body that is sent in signed chunks; one chunk is held in memory to be verified.
    pub max_chunk_size: ByteSize,
    /// Memory for the bodies of all requests served at once; further ones wait.
    pub request_memory: ByteSize,
    /// Memory the index may use for cached pages.
    pub index_cache: ByteSize,
    /// Writes are refused while the disk has less than this free, so that deletes still work.
    pub min_free_space: ByteSize,
    /// Connections served at once; further ones wait to be accepted.
    pub max_connections: usize,
    /// Threads that read, write and hash objects.
    pub io_threads: usize,
    /// How many waiting writes may share one disk sync.
    pub commit_batch: usize,
    /// How long a client may take to send the headers of a request.
    #[serde(with = "humantime_serde")]
    pub header_timeout: Duration,
    /// How long a request body or a client reading an answer may make no progress.
    #[serde(with = "humantime_serde")]
    pub stall_timeout: Duration,
    /// How far a signed request's date may be from this machine's clock.
    #[serde(with = "humantime_serde")]
    pub max_clock_skew: Duration,
    /// How long requests already begun may take to finish when the service stops.
    #[serde(with = "humantime_serde")]
    pub shutdown_timeout: Duration,
    /// Age at which an upload that was neither completed nor aborted is removed.
    #[serde(with = "humantime_serde")]
    pub upload_expiry: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 9000)),
            data_dir: PathBuf::from("streamforge-data/storage-service"),
            region: String::from("us-east-1"),
            access_key: String::new(),
            secret_key: String::new(),
            buckets: vec![String::from("lakehouse")],
            inline_size: ByteSize::kib(64),
            max_put_size: ByteSize::gib(5),
            max_xml_size: ByteSize::mib(4),
            max_chunk_size: ByteSize::mib(16),
            request_memory: ByteSize::mib(256),
            index_cache: ByteSize::mib(32),
            min_free_space: ByteSize::mib(64),
            max_connections: 1024,
            io_threads: 8,
            commit_batch: 256,
            header_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(60),
            max_clock_skew: Duration::from_secs(15 * 60),
            shutdown_timeout: Duration::from_secs(4),
            upload_expiry: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

impl Config {
    /// Says which value cannot work, before anything is written.
    pub fn validate(&self) -> Result<(), Error> {
        let refuse = |key, why: &str| {
            Err(Error::Config {
                key,
                why: why.to_owned(),
            })
        };
        if self.access_key.is_empty() != self.secret_key.is_empty() {
            return refuse("secret_key", "needs `access_key` and `secret_key` together");
        }
        if !self.signed() && !self.listen.ip().is_loopback() {
            return refuse(
                "listen",
                "listening beyond loopback needs `access_key` and `secret_key`",
            );
        }
        if self.region.is_empty() || !self.region.bytes().all(is_region_byte) {
            return refuse("region", "must be lower-case letters, digits and `-`");
        }
        if self.inline_size > ByteSize::mib(1) {
            return refuse("inline_size", "must be at most 1 MiB");
        }
        if self.max_put_size < self.inline_size {
            return refuse("max_put_size", "must be at least `inline_size`");
        }
        let largest = self.max_xml_size.as_u64().max(RECEIVED);
        if self.request_memory.as_u64() < largest.saturating_add(self.max_chunk_size.as_u64()) {
            return refuse(
                "request_memory",
                "must hold 3 MiB or `max_xml_size`, whichever is more, and `max_chunk_size`",
            );
        }
        for bucket in &self.buckets {
            if !s3s::path::check_bucket_name(bucket) {
                return Err(Error::Config {
                    key: "buckets",
                    why: format!("`{bucket}` is no valid bucket name"),
                });
            }
        }
        let positive = [
            ("max_connections", self.max_connections),
            ("io_threads", self.io_threads),
            ("commit_batch", self.commit_batch),
        ];
        match positive.into_iter().find(|(_, value)| *value == 0) {
            Some((key, _)) => refuse(key, "must be at least 1"),
            None => Ok(()),
        }
    }

    /// Whether requests must be signed.
    pub(crate) fn signed(&self) -> bool {
        !self.access_key.is_empty()
    }
}

fn is_region_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'
}

#[cfg(test)]
mod tests;
