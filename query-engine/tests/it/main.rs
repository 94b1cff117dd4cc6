//! The query engine over its protocol: our own small client, the Trino Python client, and bad input.

mod bounds;
mod client;
mod fuzz;
mod java;
mod lake;
mod protocol;
mod python;
mod slt;
mod tables;
