//! The catalog over real sockets: each test starts one on a port and a directory of its own.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod clients;
mod commits;
mod disk;
mod durability;
mod hostile;
mod namespaces;
mod postgres;
mod server;
mod tables;
