//! Test support: what tests of every crate need and no product code has.
//!
//! It imports none of our crates, so that a test that uses it shows only what the tested crate does. Real clients run
//! in the environment of [`mod@python`], which is made once and cached outside the repository; real Java clients and
//! Apache Kafka come from Maven Central, for the tests that `STREAMFORGE_PEERS` switches on.

mod disk;
mod fuzz;
mod java;
mod kafka;
mod notice;
mod panics;
mod peers;
mod ports;
mod python;
mod spark;
mod superset;
mod tls;
mod wait;

pub use disk::{Ballast, SmallDisk};
pub use fuzz::{fuzz, fuzz_http, fuzz_text};
pub use java::{jars, java};
pub use kafka::{ApacheKafka, kafka_libraries};
pub use notice::notice;
pub use panics::Panics;
pub use peers::peer;
pub use ports::Ports;
pub use python::{interpreter, python, tool};
pub use spark::{Spark, spark};
pub use superset::superset;
pub use tls::{TlsFiles, tls};
pub use wait::wait_until;

/// A directory of the test's own, removed at its end.
///
/// # Panics
/// If the system has no room for one.
pub fn temp_dir() -> tempfile::TempDir {
    tempfile::Builder::new()
        .prefix("streamforge-")
        .tempdir()
        .expect("a temporary directory")
}

/// The seed of this run: `STREAMFORGE_SEED`, or a fixed one. A randomised test puts it into its failure message.
///
/// # Panics
/// If the variable is no number.
pub fn seed() -> u64 {
    std::env::var("STREAMFORGE_SEED").map_or(20_261_123, |seed| {
        seed.parse().expect("STREAMFORGE_SEED is a number")
    })
}
