//! The stream processor as its users see it: scripts, the SQL Gateway and the job REST over real sockets, and Flink's
//! own results.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod changes;
mod clickstream;
mod collections;
mod functions;
mod gateway;
mod golden;
mod script;
