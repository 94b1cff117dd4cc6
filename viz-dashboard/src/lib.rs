//! The web pages of StreamForge: live dashboards, a SQL page, and a view of services, jobs, tables and topics.
//!
//! It exists apart so that Superset can take its place: dashboards are Superset's asset bundles, data comes over the
//! Trino protocol ([`trino`]) and job states over Flink's REST ([`platform`]). Pages are plain HTML with a few ES
//! modules; everything they need is embedded, so they work offline.

mod assets;
mod bundle;
mod config;
mod error;
mod http;
mod live;
mod metrics;
mod platform;
mod runs;
mod server;
mod trino;

pub use config::Config;
pub use error::Error;
pub use server::serve;
