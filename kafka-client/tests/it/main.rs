//! The client against brokers over real sockets: ours, hostile ones, and beside the clients that everybody uses.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

mod admin;
mod broker;
mod consume;
mod emitter;
mod faults;
mod hostile;
mod mangled;
mod peer;
mod python;
mod secure;
