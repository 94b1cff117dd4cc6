//! Stream processor: Flink SQL over event time, exactly once.
//!
//! `sql` turns statements into a [`graph::StreamGraph`]; `runtime` runs it as tasks with watermarks, barriers and
//! checkpoints; `operators` are its stateful steps; `connectors` and `formats` are its ends.

pub mod batch;
pub mod error;
pub mod graph;
pub mod key_group;
pub mod operator;
pub mod table;

pub mod sql;

mod checkpoint;
mod config;
mod connectors;
mod formats;
mod functions;
mod http;
mod jobs;
mod local;
mod metrics;
mod operators;
mod plan;
mod runtime;
mod server;

pub use config::Config;
pub use error::Error;
pub use local::run_script;
pub use server::serve;
