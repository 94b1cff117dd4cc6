//! The client against brokers over real sockets: ours, hostile ones, and beside the clients that everybody uses.

mod admin;
mod broker;
mod consume;
mod emitter;
mod faults;
mod hostile;
mod python;
