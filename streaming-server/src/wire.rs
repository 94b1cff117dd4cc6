//! Bytes to typed requests and typed responses to bytes, per API version.
//!
//! The codec of kafka-protocol does the fields; this half adds what a server facing strangers needs: one table of what
//! is served, a check of every length before anything is allocated, and fetch responses that are not copied.

mod error;
mod fetch;
mod frame;
mod shape;
mod table;

pub(crate) use error::{code, topic_code};
pub(crate) use fetch::{FetchReply, PartitionReply, TopicReply};
pub(crate) use frame::{Chunks, Refusal, Request, decode, encode};
pub(crate) use table::APIS;
