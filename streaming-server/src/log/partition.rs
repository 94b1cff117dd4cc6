//! One partition: its segments, its end, its high watermark, and everyone who waits for them to move.
//!
//! This file holds the state and the small questions about it; `append`, `flush`, `read`, `lookup` and `housekeeping`
//! each add what their name says. The state lock is never held across I/O.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, oneshot};

use super::producers::Producers;
use super::recent::Recent;
use super::recovery::{self, Recovered};
use super::segment::Segment;
use super::{Env, Error, Memory, OpenError, Settings};

/// A partition of a topic, open for appends and reads.
pub(crate) struct Partition {
    pub(super) topic: Arc<str>,
    pub(super) number: i32,
    pub(super) directory: PathBuf,
    pub(super) env: Arc<Env>,
    pub(super) settings: RwLock<Arc<Settings>>,
    pub(super) state: Mutex<State>,
    /// Serialises housekeeping with itself and with closing.
    pub(super) chores: Mutex<super::housekeeping::Chores>,
}

/// Where a partition begins and how far it may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) log_start: i64,
    pub(crate) high_watermark: i64,
}

/// Wakes a long poll when any partition it watches has moved.
#[derive(Debug, Default)]
pub(crate) struct Watcher(Notify);

pub(super) struct State {
    /// Oldest first; the last one takes appends. Never empty.
    pub(super) segments: VecDeque<Arc<Segment>>,
    pub(super) log_start: i64,
    /// Offset the next record gets.
    pub(super) next_offset: i64,
    /// Everything below is synced.
    pub(super) high_watermark: i64,
    pub(super) producers: Producers,
    pub(super) recent: Recent,
    pub(super) pending: Vec<PendingWrite>,
    /// Writes handed to threads, oldest first; the high watermark advances over finished ones in this order.
    pub(super) in_flight: VecDeque<InFlight>,
    /// Flushes running, of this generation or an earlier one.
    pub(super) n_flushing: usize,
    /// A flush is queued that will take whatever is pending.
    pub(super) flush_queued: bool,
    /// Grows when the log is reset after a failure; flushes of an earlier generation no longer count.
    pub(super) generation: u64,
    pub(super) health: Health,
    /// Acknowledgements to give, by the end offset they wait for.
    pub(super) acks: VecDeque<(i64, oneshot::Sender<Result<(), Error>>)>,
    pub(super) watchers: Vec<Weak<Watcher>>,
    pub(super) watchers_pruned_at: usize,
}

pub(super) struct PendingWrite {
    pub(super) segment: Arc<Segment>,
    pub(super) position: u64,
    pub(super) bytes: Bytes,
    pub(super) end_offset: i64,
    /// Given back once it is written: a disk slower than the producers must make them wait, not fill the memory.
    pub(super) _memory: Option<Memory>,
}

pub(super) struct InFlight {
    pub(super) id: u64,
    pub(super) end_offset: i64,
    /// Segments written, each with the length that becomes readable.
    pub(super) lens: Vec<(Arc<Segment>, u64)>,
    pub(super) done: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Health {
    Good,
    /// A write failed. The log is reopened at its synced end by the first append after this time; `None` while that is
    /// under way.
    Refusing {
        reason: Arc<str>,
        retry_after_ms: Option<i64>,
    },
    /// A sync failed: what the disk holds is in doubt until the process has restarted and checked it.
    Failed {
        reason: Arc<str>,
    },
    Deleted,
}

impl Partition {
    /// Opens the partition in `directory`, creating it or recovering what an earlier process left.
    pub(crate) fn open(
        topic: &str,
        number: i32,
        directory: &Path,
        env: &Arc<Env>,
        settings: Settings,
        now_ms: i64,
    ) -> Result<Arc<Self>, OpenError> {
        let fail = |source| OpenError {
            path: directory.to_owned(),
            source,
        };
        std::fs::create_dir_all(directory).map_err(fail)?;
        directory
            .parent()
            .map_or(Ok(()), super::sync_directory)
            .map_err(fail)?;
        let recovered = recovery::recover(directory, &env.disk, None, now_ms).map_err(fail)?;
        if recovered.cut_bytes > 0 {
            tracing::warn!(
                topic,
                partition = number,
                end = recovered.next_offset,
                cut_bytes = recovered.cut_bytes,
                "torn tail cut off"
            );
        }
        Ok(Arc::new(Self {
            topic: topic.into(),
            number,
            directory: directory.to_owned(),
            env: Arc::clone(env),
            settings: RwLock::new(Arc::new(settings)),
            state: Mutex::new(State::new(recovered)),
            chores: Mutex::default(),
        }))
    }

    pub(crate) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read())
    }

    pub(crate) fn change_settings(&self, settings: Settings) {
        *self.settings.write() = Arc::new(settings);
    }

    pub(crate) fn leader_epoch(&self) -> i32 {
        self.env.leader_epoch
    }

    pub(crate) fn position(&self) -> Position {
        self.state.lock().position()
    }

    /// Bytes of log on disk, without what is merely reserved.
    pub(crate) fn size(&self) -> u64 {
        self.state
            .lock()
            .segments
            .iter()
            .map(|segment| segment.synced_len())
            .sum()
    }

    pub(crate) fn n_producers(&self) -> usize {
        self.state.lock().producers.len()
    }

    /// Wakes `watcher` once, when the high watermark next moves or the partition goes away.
    pub(crate) fn watch(&self, watcher: &Arc<Watcher>) {
        let mut state = self.state.lock();
        if state.watchers.len() >= state.watchers_pruned_at {
            state.watchers.retain(|watcher| watcher.strong_count() > 0);
            state.watchers_pruned_at = (state.watchers.len() * 2).max(16);
        }
        state.watchers.push(Arc::downgrade(watcher));
    }
}

// === impl State ===

impl State {
    pub(super) fn new(recovered: Recovered) -> Self {
        Self {
            log_start: recovered.log_start,
            next_offset: recovered.next_offset,
            high_watermark: recovered.next_offset,
            segments: recovered.segments.into(),
            producers: recovered.producers,
            recent: Recent::default(),
            pending: Vec::new(),
            in_flight: VecDeque::new(),
            n_flushing: 0,
            flush_queued: false,
            generation: 0,
            health: Health::Good,
            acks: VecDeque::new(),
            watchers: Vec::new(),
            watchers_pruned_at: 16,
        }
    }

    pub(super) fn position(&self) -> Position {
        Position {
            log_start: self.log_start,
            high_watermark: self.high_watermark,
        }
    }

    /// The segment that holds `offset`, which must not be before the first.
    pub(super) fn segment_of(&self, offset: i64) -> Option<&Arc<Segment>> {
        let after = self
            .segments
            .partition_point(|segment| segment.base <= offset);
        self.segments.get(after.checked_sub(1)?)
    }

    pub(super) fn take_watchers(&mut self) -> Vec<Weak<Watcher>> {
        self.watchers_pruned_at = 16;
        std::mem::take(&mut self.watchers)
    }

    pub(super) fn check_health(&self) -> Result<(), Error> {
        match &self.health {
            Health::Good => Ok(()),
            Health::Refusing { reason, .. } | Health::Failed { reason } => Err(Error::Storage {
                reason: Arc::clone(reason),
            }),
            Health::Deleted => Err(Error::Deleted),
        }
    }
}

// === impl Watcher ===

impl Watcher {
    /// Completes when a watched partition has moved since the last time.
    pub(crate) async fn moved(&self) {
        self.0.notified().await;
    }

    pub(super) fn wake_all(watchers: &[Weak<Self>]) {
        for watcher in watchers.iter().filter_map(Weak::upgrade) {
            watcher.0.notify_one();
        }
    }
}
