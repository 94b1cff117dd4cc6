//! S3-compatible object store on local disk.
//!
//! It stands in for MinIO or AWS S3 in StreamForge: the lake's Parquet files, Iceberg metadata and the processor's
//! checkpoints live here. Requests come in over the S3 protocol ([`server`], [`http`]); what they mean for buckets,
//! objects and uploads is decided and made durable by [`store`], which knows nothing of HTTP. Nothing else touches
//! the data directory.

mod config;
mod error;
mod http;
mod metrics;
mod server;
mod store;

pub use config::Config;
pub use error::Error;
pub use server::serve;
