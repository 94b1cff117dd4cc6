//! Makes events: clickstream, web logs and Nexmark, sent to any Kafka.
//!
//! It is a crate of its own because it is the only part of the platform that invents data; everything behind it reads
//! Kafka. A seeded model ([`world`], [`generator`]) decides every event, [`pace`] decides when, and [`emit`] writes them
//! straight into record batches for `kafka-client`.

mod config;
mod emit;
mod error;
mod generator;
mod pace;
mod progress;
mod random;
mod text;
mod world;

pub use config::{Codec, Config, Profile, Shape};
pub use emit::{run, run_reporting};
pub use error::Error;
pub use generator::Tally;
pub use progress::{Progress, Summary};
pub use world::{SideInputs, side_inputs};
