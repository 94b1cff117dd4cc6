//! Runs a [`StreamGraph`](crate::graph::StreamGraph): tasks on own threads, edges with a byte budget, watermarks,
//! aligned barriers, and restart from the last checkpoint.
//!
//! `plan` cuts the graph into tasks (nodes joined by one-to-one edges share one), `task` is the state machine of one
//! task, `chain` its operators, `exchange` and `channel` what leads to other tasks, `pool` the threads. `job` starts an
//! attempt of all tasks and drives its checkpoints; `supervisor` restarts a failed attempt. Nothing here knows a
//! connector: sources and sinks come in through [`ends`].

pub(crate) mod chain;
pub(crate) mod channel;
pub(crate) mod ends;
pub(crate) mod exchange;
pub(crate) mod job;
pub(crate) mod late;
pub(crate) mod metrics;
pub(crate) mod plan;
pub(crate) mod pool;
pub(crate) mod source;
pub(crate) mod supervisor;
pub(crate) mod task;

/// Milliseconds since the epoch: the one place where running jobs read the clock.
pub(crate) fn clock() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

#[cfg(test)]
mod tests;
