//! Kafka-protocol broker with a durable log.
//!
//! The wire half ([`wire`], [`connection`]) turns frames into typed requests and back; [`broker`] answers them from the
//! domain half: [`log`] keeps batches on disk, [`topics`] knows what exists, [`group`] coordinates consumers. What is
//! acknowledged has been synced, and only what has been synced is served.

mod config;
mod error;
mod metrics;

mod admin;
mod server;

mod connection;
mod sasl;
mod tls;
mod wire;

mod broker;

mod data_dir;
mod group;
mod log;
mod topics;

pub use config::Config;
pub use error::Error;
pub use server::serve;
pub use tls::Tls;
