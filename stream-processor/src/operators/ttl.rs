//! `table.exec.state.ttl`: state that was not written for so long, in processing time, is as good as gone.
//!
//! The rules are those of Flink's state backends as its SQL sets them up (`OnCreateAndWrite`, `NeverReturnExpired`):
//! writing renews, reading does not, and an entry past its time is not seen though it may not be cleaned up yet.

/// When an entry was last written, in milliseconds since the epoch; [`UNTIMED`] before the first tick.
pub(crate) type Written = i64;

/// Of an entry written before the operator knew the time: it counts from the first tick.
pub(crate) const UNTIMED: Written = 0;

/// How many times within a time to live the expired entries are cleaned up.
const SWEEPS: i64 = 4;

/// The time to live of one kind of state, and the time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TimeToLive {
    /// Milliseconds; `None` keeps for ever.
    ttl: Option<i64>,
    started: i64,
    now: i64,
    swept: i64,
}

impl TimeToLive {
    pub(crate) fn new(ttl: Option<i64>) -> Self {
        TimeToLive {
            ttl,
            started: UNTIMED,
            now: UNTIMED,
            swept: UNTIMED,
        }
    }

    /// Whether anything ever expires.
    pub(crate) fn expires(&self) -> bool {
        self.ttl.is_some()
    }

    /// What an entry written now carries.
    pub(crate) fn now(&self) -> Written {
        self.now
    }

    /// Whether an entry last written at `written` is still there.
    pub(crate) fn is_alive(&self, written: Written) -> bool {
        let Some(ttl) = self.ttl else {
            return true;
        };
        let since = if written == UNTIMED {
            self.started
        } else {
            written
        };
        self.now == UNTIMED || since.saturating_add(ttl) > self.now
    }

    /// It is `now`; says whether expired entries are to be cleaned up.
    pub(crate) fn tick(&mut self, now: i64) -> bool {
        let Some(ttl) = self.ttl else {
            return false;
        };
        if self.started == UNTIMED {
            (self.started, self.swept) = (now, now);
        }
        self.now = self.now.max(now);
        let due = self.now - self.swept >= (ttl / SWEEPS).max(1);
        if due {
            self.swept = self.now;
        }
        due
    }
}

#[cfg(test)]
mod tests;
