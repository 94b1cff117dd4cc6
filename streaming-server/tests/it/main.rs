//! The broker over real sockets: raw frames, hostile frames, and real clients.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

mod broker;
mod client;
mod disk;
mod fuzz;
mod java;
mod kcat;
mod python;
mod raw;
