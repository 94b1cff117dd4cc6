//! What to emit, how fast, and where to.

use std::collections::BTreeMap;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// What to emit, how fast, and where to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Kafka brokers, `host:port`, separated by commas.
    pub bootstrap: String,
    /// Encryption and credentials in the names of Kafka's Java client, for example `security.protocol`.
    pub properties: BTreeMap<String, String>,
    /// Topic; it is made if it does not exist.
    pub topic: String,
    /// Partitions of the topic if it has to be made.
    pub partitions: i32,
    /// Which kind of events.
    pub profile: Profile,
    /// Events per second; 0 is as fast as possible.
    pub rate: u32,
    /// How the rate changes over time.
    pub shape: Shape,
    /// Records after which it ends; without it, it runs until it is stopped.
    pub count: Option<u64>,
    /// Decides the accounts, the pages and all events.
    pub seed: u64,
    /// Distinguishes runs over the same accounts and pages: another number gives other events.
    pub stream: u64,
    /// Event time of the first event, in milliseconds since 1970; without it, the clock less `backfill`.
    pub start_time: Option<i64>,
    /// This much event time is emitted at full speed first, then it goes on at `rate`.
    #[serde(with = "humantime_serde")]
    pub backfill: Duration,
    /// Share of events (0 to 1) whose event time lies up to `late_by` in the past.
    pub late: f64,
    /// How far late events lie in the past at most; at least a fifth of it.
    #[serde(with = "humantime_serde")]
    pub late_by: Duration,
    /// Share of events (0 to 1) whose event time lies up to `out_of_order_by` in the past.
    pub out_of_order: f64,
    /// How far out-of-order events lie in the past at most.
    #[serde(with = "humantime_serde")]
    pub out_of_order_by: Duration,
    /// Share of events (0 to 1) that are sent a second time, byte by byte, some events later.
    pub duplicate: f64,
    /// Share of events (0 to 1) that no reader can make sense of.
    pub malformed: f64,
    /// Compression of the batches.
    pub compression: Codec,
    /// Size at which a batch is sent.
    pub batch: ByteSize,
    /// How long a batch waits for more events.
    #[serde(with = "humantime_serde")]
    pub linger: Duration,
    /// Bytes under way at which emitting waits for the broker.
    pub memory: ByteSize,
    /// How often progress is reported.
    #[serde(with = "humantime_serde")]
    pub report_every: Duration,
}

/// A kind of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Shop visits as JSON, keyed by session.
    Clickstream,
    /// The same visits as lines of a web server's combined log, keyed by session.
    Weblog,
    /// The events of the Nexmark benchmark as JSON, without key: 92 % bids, 6 % auctions, 2 % persons.
    Nexmark,
}

/// How the rate changes over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Shape {
    /// Not at all.
    #[default]
    Fixed,
    /// `factor` times the rate for `length` at the start of every `every`.
    Burst {
        /// From one burst to the next.
        #[serde(with = "humantime_serde")]
        every: Duration,
        /// How long one lasts.
        #[serde(with = "humantime_serde")]
        length: Duration,
        /// How many times the rate.
        factor: u32,
    },
    /// Grows evenly from `from` events per second to the rate.
    Ramp {
        /// Events per second at the beginning.
        from: u32,
        /// How long it grows.
        #[serde(with = "humantime_serde")]
        over: Duration,
    },
}

/// Compression of the batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the codecs are known by their names")]
pub enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            bootstrap: "127.0.0.1:9092".to_owned(),
            properties: BTreeMap::new(),
            topic: "clickstream".to_owned(),
            partitions: 4,
            profile: Profile::Clickstream,
            rate: 1000,
            shape: Shape::Fixed,
            count: None,
            seed: 42,
            stream: 0,
            start_time: None,
            backfill: Duration::ZERO,
            late: 0.005,
            late_by: Duration::from_secs(600),
            out_of_order: 0.05,
            out_of_order_by: Duration::from_secs(3),
            duplicate: 0.01,
            malformed: 0.002,
            compression: Codec::None,
            batch: ByteSize::kib(256),
            linger: Duration::from_millis(20),
            memory: ByteSize::mib(64),
            report_every: Duration::from_secs(1),
        }
    }
}

impl Config {
    /// Refuses values that make no sense.
    pub fn validate(&self) -> Result<(), Error> {
        let refuse = |key, why: &str| {
            Err(Error::Config {
                key,
                why: why.to_owned(),
            })
        };
        let shares = [
            ("late", self.late),
            ("out_of_order", self.out_of_order),
            ("duplicate", self.duplicate),
            ("malformed", self.malformed),
        ];
        for (key, share) in shares {
            if !(0.0..=1.0).contains(&share) {
                return refuse(key, "needs a share between 0 and 1");
            }
        }
        if self.topic.is_empty() {
            return refuse("topic", "needs a name");
        }
        if self.partitions < 1 {
            return refuse("partitions", "needs at least 1");
        }
        if self.rate == 0 && self.shape != Shape::Fixed {
            return refuse(
                "shape",
                "needs a rate; 0 is as fast as possible all the time",
            );
        }
        if self.rate == 0 && self.backfill > Duration::ZERO {
            return refuse(
                "backfill",
                "needs a rate, which says how many events lie in it",
            );
        }
        match self.shape {
            Shape::Burst {
                every,
                length,
                factor,
            } if length >= every || factor == 0 => {
                return refuse(
                    "shape",
                    "needs bursts shorter than their distance and a factor",
                );
            }
            Shape::Ramp { from: 0, .. } => return refuse("shape", "needs a ramp from at least 1"),
            _ => {}
        }
        if !(1024..=(900 << 10)).contains(&self.batch.as_u64()) {
            return refuse(
                "batch",
                "needs 1 KiB to 900 KiB, brokers refuse batches over 1 MiB",
            );
        }
        if self.memory.as_u64() < 4 * self.batch.as_u64() || self.memory.as_u64() > 2 << 30 {
            return refuse("memory", "needs room for four batches and at most 2 GiB");
        }
        if self.linger.is_zero() || self.report_every.is_zero() {
            return refuse("linger", "needs more than nothing, as does `report_every`");
        }
        Ok(())
    }
}
