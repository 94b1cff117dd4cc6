//! What a running job counts: per node instance and per task, read by the job REST and `/metrics`.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Counters of one instance of a node.
#[derive(Debug)]
pub(crate) struct NodeMetrics {
    pub(crate) records_in: AtomicU64,
    pub(crate) records_out: AtomicU64,
    /// Only sources and sinks know bytes.
    pub(crate) bytes: AtomicU64,
    pub(crate) late: AtomicU64,
    /// `i64::MIN` before the first.
    pub(crate) watermark: AtomicI64,
    pub(crate) state_bytes: AtomicU64,
    /// `u64::MAX` if unknown.
    pub(crate) lag: AtomicU64,
    pub(crate) task: Arc<TaskTimes>,
}

/// Where the time of one task went.
#[derive(Debug, Default)]
pub(crate) struct TaskTimes {
    pub(crate) busy: AtomicU64,
    pub(crate) back_pressured: AtomicU64,
    pub(crate) idle: AtomicU64,
}

/// Why a task does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// No input.
    Input,
    /// No credit or a sink that is not ready.
    Output,
    /// It is only another task's turn.
    Turn,
}

/// Keeps [`TaskTimes`] as a task goes from running to waiting and back.
#[derive(Debug)]
pub(crate) struct TimeKeeper {
    times: Arc<TaskTimes>,
    since: Instant,
    waiting: Waiting,
}

impl NodeMetrics {
    pub(crate) fn new(task: Arc<TaskTimes>) -> Arc<Self> {
        Arc::new(NodeMetrics {
            records_in: AtomicU64::new(0),
            records_out: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            late: AtomicU64::new(0),
            watermark: AtomicI64::new(i64::MIN),
            state_bytes: AtomicU64::new(0),
            lag: AtomicU64::new(u64::MAX),
            task,
        })
    }
}

impl TimeKeeper {
    pub(crate) fn new(times: Arc<TaskTimes>, now: Instant) -> Self {
        TimeKeeper {
            times,
            since: now,
            waiting: Waiting::Input,
        }
    }

    /// A step begins.
    pub(crate) fn run(&mut self, now: Instant) {
        let waited = now.saturating_duration_since(self.since);
        let counter = match self.waiting {
            Waiting::Input => &self.times.idle,
            Waiting::Output => &self.times.back_pressured,
            Waiting::Turn => &self.times.busy,
        };
        add(counter, waited);
        self.since = now;
    }

    /// A step ends, and the task waits for this.
    pub(crate) fn wait(&mut self, now: Instant, waiting: Waiting) {
        add(&self.times.busy, now.saturating_duration_since(self.since));
        self.since = now;
        self.waiting = waiting;
    }
}

fn add(counter: &AtomicU64, time: Duration) {
    counter.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
}

/// Adds to a counter; relaxed, as counters order nothing.
pub(crate) fn count(counter: &AtomicU64, n: usize) {
    counter.fetch_add(n as u64, Ordering::Relaxed);
}
