//! The catalog over real sockets: each test starts one on a port and a directory of its own.

mod clients;
mod commits;
mod durability;
mod namespaces;
mod server;
mod tables;
