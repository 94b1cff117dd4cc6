//! The query engine: interactive SQL over the lake, in Trino's protocol and dialect.
//!
//! A statement arrives over HTTP ([`http`]), is admitted and run by [`query`], read by [`sql`], carried out by
//! [`statement`], and its rows go back as pages of JSON. Tables come from the Iceberg catalog through [`scan`];
//! expressions are DataFusion's, with Trino's meaning written into the plan by the analyzer and [`functions`].

mod config;
mod error;
mod metrics;
mod server;

mod http;
mod query;
mod session;
mod statement;

mod failure;
mod functions;
mod sql;
mod types;

mod catalog;
mod meta;
mod scan;

pub use config::Config;
pub use error::Error;
pub use server::serve;
