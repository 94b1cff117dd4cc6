//! The query engine over its protocol: our own small client, the Trino Python client, and bad input.

mod client;
mod dialect;
mod protocol;
mod python;
