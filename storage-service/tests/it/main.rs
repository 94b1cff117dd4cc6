//! Whole-service facts, over real sockets and with real clients.

#![expect(
    clippy::unwrap_used,
    reason = "the lint exempts test functions, not their helpers"
)]

mod clients;
mod disk;
mod forms;
mod harness;
mod hostile;
mod lifecycle;
mod load;
mod python;
mod signature;
