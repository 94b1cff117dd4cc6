//! Whole-service facts, over real sockets and with real clients.

mod clients;
mod harness;
mod signature;
