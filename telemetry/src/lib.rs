//! Telemetry: how every service logs, counts and says that it is well.
//!
//! It exists apart so that all services answer `/metrics`, `/healthz` and `/readyz` alike and print errors alike.
//! A service makes a [`Registry`] and a [`Health`], hands both down, and mounts [`routes`] (or calls [`answer`] where it
//! speaks HTTP without axum). [`serve()`] serves a router to clients of whom nothing good is assumed. Nothing here is global but the subscriber that [`init`] installs once per process.

mod chain;
mod health;
mod logging;
mod patient;
mod serve;

pub use chain::{Chain, chain};
pub use health::{Health, answer, routes};
pub use logging::{InitError, LogFormat, init};
pub use patient::{Patient, Stalled};
pub use prometheus_client::registry::Registry;
pub use serve::{Limits, serve};
