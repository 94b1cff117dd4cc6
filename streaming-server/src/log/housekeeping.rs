//! What a partition needs done now and then: checkpoints, sealing closed segments, retention, and a clean close.
//!
//! Called by the broker's housekeeper with the time; does I/O, so it runs on its own thread.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Error;
use super::disk::{replace_file, sync_directory};
use super::index::Index;
use super::partition::{Health, Partition, Watcher};
use super::producers::Producers;
use super::recovery::{PRODUCERS_FILE, START_FILE};
use super::segment::Segment;

/// Bytes after which start-up would have too much to scan.
const CHECKPOINT_BYTES: u64 = 32 << 20;

/// What housekeeping remembers between its rounds.
#[derive(Default)]
pub(super) struct Chores {
    captured: Option<Capture>,
    /// Where the last checkpoint stands: segment and length.
    checkpoint: (i64, u64),
}

/// The state to be saved once everything it stands for is synced.
struct Capture {
    generation: u64,
    next_offset: i64,
    producers: Producers,
    segment: Arc<Segment>,
    index: Index,
}

impl Partition {
    /// One round: saves what became due, deletes what became too old or too much.
    pub(crate) fn housekeep(&self, now_ms: i64) -> io::Result<()> {
        let mut chores = self.chores.lock();
        self.state
            .lock()
            .producers
            .expire(now_ms - self.env.producer_expiry_ms, self.env.max_producers);
        // What deletes goes first and regardless of what writes: on a full disk only it makes room.
        let retained = self.apply_retention(now_ms);
        let sealed = self.seal_closed();
        let saved = self.checkpoint(&mut chores);
        retained.and(sealed).and(saved)
    }

    /// Deletes records before `offset`, or all that may be read when it is -1; gives the new start.
    pub(crate) fn delete_before(&self, offset: i64) -> Result<i64, Error> {
        let mut state = self.state.lock();
        state.check_health()?;
        let position = state.position();
        let offset = if offset == -1 {
            position.high_watermark
        } else {
            offset
        };
        if offset < 0 || offset > position.high_watermark {
            return Err(Error::OffsetOutOfRange {
                offset,
                start: position.log_start,
                end: position.high_watermark,
            });
        }
        state.log_start = state.log_start.max(offset);
        Ok(state.log_start)
    }

    /// Makes where the log starts durable, so that deleted records stay deleted; blocks.
    pub(crate) fn persist_start(&self) -> Result<(), Error> {
        let start = self.state.lock().log_start;
        let path = self.directory.join(START_FILE);
        replace_file(&path, start.to_string().as_bytes()).map_err(|error| Error::Storage {
            reason: error.to_string().into(),
        })
    }

    /// Waits for nothing: fails everyone who waits, and forgets the log. Its directory is then free to be removed.
    pub(crate) fn mark_deleted(&self) {
        let mut state = self.state.lock();
        state.health = Health::Deleted;
        state.generation += 1;
        state.pending.clear();
        state.in_flight.clear();
        state.recent.clear(&self.env);
        let acks = std::mem::take(&mut state.acks);
        let watchers = state.take_watchers();
        drop(state);
        for (_, ack) in acks {
            // A producer that went away needs no answer.
            let _ = ack.send(Err(Error::Deleted));
        }
        Watcher::wake_all(&watchers);
    }

    /// Saves everything so that the next start scans nothing. Call it when no append can come any more.
    pub(crate) fn close(&self) -> io::Result<()> {
        let _chores = self.chores.lock();
        let state = self.state.lock();
        if state.health != Health::Good || state.high_watermark != state.next_offset {
            // The next start finds out what is on disk.
            return Ok(());
        }
        let segments: Vec<_> = state.segments.iter().cloned().collect();
        let (producers, next_offset) = (state.producers.clone(), state.next_offset);
        drop(state);
        producers.save(&self.directory.join(PRODUCERS_FILE), next_offset)?;
        for segment in segments
            .iter()
            .filter(|segment| !segment.sealed.load(Ordering::Relaxed))
        {
            self.seal(segment)?;
        }
        Ok(())
    }

    fn seal_closed(&self) -> io::Result<()> {
        let segments: Vec<_> = {
            let state = self.state.lock();
            let n_closed = state.segments.len() - 1;
            state.segments.iter().take(n_closed).cloned().collect()
        };
        for segment in segments
            .iter()
            .filter(|segment| !segment.sealed.load(Ordering::Relaxed))
        {
            if segment.synced_len() == segment.index.read().log_len {
                self.seal(segment)?;
            }
        }
        Ok(())
    }

    fn seal(&self, segment: &Segment) -> io::Result<()> {
        let index = segment.index.read().clone();
        segment.trim(&self.env.disk, index.log_len)?;
        index.save(&segment.index_path())?;
        segment.sealed.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Captures state when enough was written since the last checkpoint, and saves a capture that has become durable.
    fn checkpoint(&self, chores: &mut Chores) -> io::Result<()> {
        let state = self.state.lock();
        if let Some(capture) = chores.captured.take() {
            if capture.generation != state.generation {
                return Ok(());
            }
            if state.high_watermark < capture.next_offset {
                chores.captured = Some(capture);
                return Ok(());
            }
            drop(state);
            capture
                .producers
                .save(&self.directory.join(PRODUCERS_FILE), capture.next_offset)?;
            if !capture.segment.sealed.load(Ordering::Relaxed) {
                capture.index.save(&capture.segment.index_path())?;
            }
            chores.checkpoint = (capture.segment.base, capture.index.log_len);
            return Ok(());
        }
        let Some(segment) = state.segments.back() else {
            return Ok(());
        };
        let index = segment.index.read();
        let (base, saved_len) = chores.checkpoint;
        let grown = if base == segment.base {
            index.log_len - saved_len.min(index.log_len)
        } else {
            index.log_len
        };
        if state.health == Health::Good && grown >= CHECKPOINT_BYTES {
            chores.captured = Some(Capture {
                generation: state.generation,
                next_offset: state.next_offset,
                producers: state.producers.clone(),
                segment: Arc::clone(segment),
                index: index.clone(),
            });
        }
        Ok(())
    }

    fn apply_retention(&self, now_ms: i64) -> io::Result<()> {
        let settings = self.settings();
        let mut state = self.state.lock();
        // A partition that refuses writes because the disk is full still gives up what is old.
        let takes_writes = state.health == Health::Good;
        if !takes_writes && !matches!(state.health, Health::Refusing { .. }) {
            return Ok(());
        }
        let is_expired = |segment: &Segment| {
            let latest = segment.index.read().max_timestamp;
            settings.retention_ms >= 0 && latest >= 0 && now_ms - latest > settings.retention_ms
        };
        // An old active segment is closed first, so that it too can go.
        if let Some(active) = state.segments.back().cloned()
            && takes_writes
            && state.high_watermark == state.next_offset
            && active.index.read().log_len > 0
            && is_expired(&active)
        {
            let fresh = Segment::new(&self.directory, state.next_offset);
            fresh.file(&self.env.disk)?;
            state.segments.push_back(Arc::new(fresh));
        }
        let mut total: u64 = state
            .segments
            .iter()
            .map(|segment| segment.synced_len())
            .sum();
        let mut gone = Vec::new();
        while state.segments.len() > 1 {
            let Some((oldest, next)) = state.segments.front().cloned().zip(state.segments.get(1))
            else {
                break;
            };
            let len = oldest.synced_len();
            let is_surplus = u64::try_from(settings.retention_bytes)
                .is_ok_and(|keep| total.saturating_sub(len) >= keep);
            let next_base = next.base;
            let is_deleted = next_base <= state.log_start;
            if next_base > state.high_watermark
                || !(is_expired(&oldest) || is_surplus || is_deleted)
            {
                break;
            }
            total -= len;
            state.log_start = state.log_start.max(next_base);
            state.segments.pop_front();
            gone.push(oldest);
        }
        drop(state);
        for segment in &gone {
            segment.remove()?;
            tracing::info!(
                topic = %self.topic, partition = self.number, base_offset = segment.base, "segment deleted by retention"
            );
        }
        if gone.is_empty() {
            Ok(())
        } else {
            sync_directory(&self.directory)
        }
    }
}
