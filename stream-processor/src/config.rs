//! How the stream processor listens, runs jobs, and keeps their checkpoints.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use crate::connectors::ConnectorConfig;
use crate::error::Error;
use crate::runtime::job::Limits;
use crate::runtime::supervisor::RestartPolicy;

/// How the stream processor listens, runs jobs, and keeps their checkpoints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address of the SQL Gateway REST.
    pub gateway_listen: SocketAddr,
    /// Address of the job REST.
    pub job_listen: SocketAddr,
    /// Where checkpoints and job definitions are kept: `s3://…` or `file://…`. Empty keeps checkpoints in memory
    /// only, and jobs do not survive the process.
    pub checkpoint_dir: String,
    /// S3 service of checkpoints, and of Iceberg tables whose catalog names none.
    pub s3_endpoint: String,
    /// Access key; empty leaves requests unsigned.
    pub s3_access_key: String,
    /// Secret key.
    pub s3_secret_key: String,
    /// Region that requests are signed for.
    pub s3_region: String,
    /// Threads that run operators; 0 takes one for each core.
    pub threads: usize,
    /// `parallelism.default` of new sessions; 0 takes one for each thread.
    pub parallelism: usize,
    /// Further settings of new sessions, as `SET` would make them.
    pub session_defaults: BTreeMap<String, String>,
    /// Values of `WITH` options that are replaced wherever a script has them, whole or as the beginning of a longer
    /// value: how documented addresses become actual ones.
    pub option_overrides: BTreeMap<String, String>,
    /// `execution.checkpointing.interval` of new sessions.
    #[serde(with = "humantime_serde")]
    pub checkpoint_interval: Duration,
    /// A checkpoint that takes longer fails the attempt.
    #[serde(with = "humantime_serde")]
    pub checkpoint_timeout: Duration,
    /// Checkpoints kept of each job.
    pub checkpoints_retained: usize,
    /// Commits of a sink that may wait before no further checkpoint is begun.
    pub max_pending_commits: usize,
    /// Pause before the first restart of a failed job; doubled for each further one.
    #[serde(with = "humantime_serde")]
    pub restart_delay: Duration,
    /// Longest pause before a restart.
    #[serde(with = "humantime_serde")]
    pub restart_delay_max: Duration,
    /// How long a drain at shutdown may take before jobs are stopped without a last checkpoint.
    #[serde(with = "humantime_serde")]
    pub drain_timeout: Duration,
    /// Bytes of rows in flight on one channel between two task instances.
    pub channel_size: ByteSize,
    /// Bytes fetched and not yet read, for each instance of a Kafka source.
    pub prefetch_size: ByteSize,
    /// Bytes encoded and not yet uploaded, for each instance of an Iceberg sink.
    pub sink_buffer: ByteSize,
    /// Size at which a data file is closed.
    pub target_file_size: ByteSize,
    /// Bytes of keys that an upserting sink instance remembers between two checkpoints.
    pub upsert_keys: ByteSize,
    /// Bytes of query results not yet taken by their client.
    pub result_buffer: ByteSize,
    /// Longest line read from a file.
    pub longest_record: ByteSize,
    /// Largest body of a request.
    pub max_request: ByteSize,
    /// Sessions open at once.
    pub max_sessions: usize,
    /// Statements of a session whose results are kept.
    pub max_operations: usize,
    /// A session not used for this long is closed.
    #[serde(with = "humantime_serde")]
    pub session_timeout: Duration,
    /// Jobs running at once.
    pub max_jobs: usize,
    /// Ended jobs that are still listed.
    pub ended_jobs_kept: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            gateway_listen: SocketAddr::from(([127, 0, 0, 1], 8083)),
            job_listen: SocketAddr::from(([127, 0, 0, 1], 8081)),
            checkpoint_dir: "s3://lakehouse/_streamforge/checkpoints".to_owned(),
            s3_endpoint: "http://127.0.0.1:9000".to_owned(),
            s3_access_key: String::new(),
            s3_secret_key: String::new(),
            s3_region: "us-east-1".to_owned(),
            threads: 0,
            parallelism: 0,
            session_defaults: BTreeMap::new(),
            option_overrides: BTreeMap::new(),
            checkpoint_interval: Duration::from_secs(1),
            checkpoint_timeout: Duration::from_secs(120),
            checkpoints_retained: 2,
            max_pending_commits: 8,
            restart_delay: Duration::from_millis(200),
            restart_delay_max: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(8),
            channel_size: ByteSize::mib(2),
            prefetch_size: ByteSize::mib(8),
            sink_buffer: ByteSize::mib(4),
            target_file_size: ByteSize::mib(128),
            upsert_keys: ByteSize::mib(64),
            result_buffer: ByteSize::mib(4),
            longest_record: ByteSize::mib(16),
            max_request: ByteSize::mib(4),
            max_sessions: 100,
            max_operations: 100,
            session_timeout: Duration::from_secs(600),
            max_jobs: 50,
            ended_jobs_kept: 50,
        }
    }
}

impl Config {
    /// Refuses values that cannot work, naming the key.
    pub fn validate(&self) -> Result<(), Error> {
        for (key, address) in [
            ("gateway_listen", self.gateway_listen),
            ("job_listen", self.job_listen),
        ] {
            if !address.ip().is_loopback() {
                return Err(refused(
                    key,
                    "listens beyond this machine, and there is no authentication to protect it",
                ));
            }
        }
        let needed = [
            ("checkpoints_retained", self.checkpoints_retained),
            ("max_pending_commits", self.max_pending_commits),
            ("max_sessions", self.max_sessions),
            ("max_operations", self.max_operations),
            ("max_jobs", self.max_jobs),
            ("channel_size", self.channel_size.as_u64() as usize),
            ("prefetch_size", self.prefetch_size.as_u64() as usize),
            ("sink_buffer", self.sink_buffer.as_u64() as usize),
            ("target_file_size", self.target_file_size.as_u64() as usize),
            ("result_buffer", self.result_buffer.as_u64() as usize),
            ("longest_record", self.longest_record.as_u64() as usize),
            ("max_request", self.max_request.as_u64() as usize),
        ];
        if let Some((key, _)) = needed.iter().find(|(_, value)| *value == 0) {
            return Err(refused(key, "must not be 0"));
        }
        let place = self.checkpoint_dir.as_str();
        if !place.is_empty() && !place.starts_with("s3://") && !place.starts_with("file://") {
            return Err(refused(
                "checkpoint_dir",
                "needs to begin with s3:// or file://",
            ));
        }
        Ok(())
    }

    /// Threads that run operators.
    pub(crate) fn stream_threads(&self) -> usize {
        if self.threads > 0 {
            return self.threads;
        }
        std::thread::available_parallelism().map_or(2, usize::from)
    }

    /// Settings of a new session.
    pub(crate) fn settings(&self) -> BTreeMap<String, String> {
        let parallelism = match self.parallelism {
            0 => self.stream_threads(),
            chosen => chosen,
        };
        let mut settings = BTreeMap::from([
            ("parallelism.default".to_owned(), parallelism.to_string()),
            (
                "execution.checkpointing.interval".to_owned(),
                format!("{} ms", self.checkpoint_interval.as_millis()),
            ),
        ]);
        settings.extend(self.session_defaults.clone());
        settings
    }

    pub(crate) fn store(&self) -> lake::io::StoreConfig {
        lake::io::StoreConfig {
            endpoint: (!self.s3_endpoint.is_empty()).then(|| self.s3_endpoint.clone()),
            region: self.s3_region.clone(),
            access_key: self.s3_access_key.clone(),
            secret_key: self.s3_secret_key.clone(),
            path_style: true,
            ..lake::io::StoreConfig::default()
        }
    }

    pub(crate) fn connectors(&self) -> ConnectorConfig {
        let bytes = |size: ByteSize| size.as_u64() as usize;
        ConnectorConfig {
            store: self.store(),
            prefetch_bytes: bytes(self.prefetch_size),
            sink_buffer: bytes(self.sink_buffer),
            target_file_size: bytes(self.target_file_size),
            upsert_key_bytes: bytes(self.upsert_keys),
            result_bytes: bytes(self.result_buffer),
            longest_record: bytes(self.longest_record),
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            channel_bytes: self.channel_size.as_u64() as usize,
            checkpoint_timeout: self.checkpoint_timeout,
            pending_commits: self.max_pending_commits,
        }
    }

    pub(crate) fn restarts(&self) -> RestartPolicy {
        RestartPolicy {
            first_delay: self.restart_delay,
            longest_delay: self.restart_delay_max,
            attempts: None,
            stable_after: Duration::from_secs(60),
        }
    }
}

fn refused(key: &str, why: &str) -> Error {
    Error::invalid(format!("configuration key `stream_processor.{key}` {why}"))
}

#[cfg(test)]
mod tests {
    use super::Config;

    #[test]
    fn the_defaults_are_valid() {
        Config::default().validate().unwrap();
    }

    #[test]
    fn listening_beyond_the_machine_is_refused() {
        let config = Config {
            job_listen: "0.0.0.0:8081".parse().unwrap(),
            ..Config::default()
        };
        let error = config.validate().unwrap_err().to_string();
        assert!(error.contains("`stream_processor.job_listen`"), "{error}");
    }
}
