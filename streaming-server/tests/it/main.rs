//! The broker over real sockets: raw frames, hostile frames, and real clients.

mod broker;
mod python;
mod raw;
