//! The sync scheduler: pending batches become one write and one sync, several of which overlap.
//!
//! Runs on the writer threads. An append starts a flush at once while few are running; when the disk is the bottleneck
//! batches gather and the next flush takes them all, so no timer is needed. The high watermark follows finished
//! flushes in order, so nothing is acknowledged or served before everything below it is durable.

use std::io;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::Error;
use super::append::RETRY_MS;
use super::partition::{Health, InFlight, Partition, PendingWrite, State, Watcher};
use super::segment::Segment;

/// Batches smaller than this are gathered into one write.
const GATHER: usize = 64 * 1024;

/// Which step failed decides whether the partition may be opened again.
enum WriteError {
    Write(io::Error),
    Sync(io::Error),
}

impl Partition {
    /// Writes and syncs what is pending, then acknowledges what became durable.
    pub(super) fn flush(self: &Arc<Self>) {
        let mut state = self.state.lock();
        state.flush_queued = false;
        let writes = std::mem::take(&mut state.pending);
        let Some(last) = writes.last() else { return };
        let id = state.in_flight.back().map_or(0, |flush| flush.id + 1);
        let generation = state.generation;
        let end_offset = last.end_offset;
        state.in_flight.push_back(InFlight {
            id,
            end_offset,
            lens: lens(&writes),
            done: false,
        });
        state.n_flushing += 1;
        drop(state);

        let started = Instant::now();
        let outcome = self.write(&writes);
        self.env
            .metrics
            .sync_seconds
            .observe(started.elapsed().as_secs_f64());

        let mut state = self.state.lock();
        state.n_flushing -= 1;
        if state.generation != generation {
            return;
        }
        match outcome {
            Ok(()) => {
                let acks = state.finish(id);
                let watchers = if acks.moved {
                    state.take_watchers()
                } else {
                    Vec::new()
                };
                self.queue_flush(&mut state);
                drop(state);
                for ack in acks.ready {
                    // A producer that went away needs no acknowledgement.
                    let _ = ack.send(Ok(()));
                }
                Watcher::wake_all(&watchers);
            }
            Err(error) => self.fail(state, &error),
        }
    }

    fn write(&self, writes: &[PendingWrite]) -> Result<(), WriteError> {
        let mut rest = writes;
        while let Some(first) = rest.first() {
            let n_same = rest
                .iter()
                .take_while(|write| Arc::ptr_eq(&write.segment, &first.segment))
                .count();
            let (run, later) = rest.split_at(n_same);
            self.write_run(run).map_err(WriteError::Write)?;
            let file = first
                .segment
                .file(&self.env.disk)
                .map_err(WriteError::Write)?;
            self.env.disk.sync(&file).map_err(WriteError::Sync)?;
            rest = later;
        }
        Ok(())
    }

    /// Writes consecutive batches of one segment.
    fn write_run(&self, run: &[PendingWrite]) -> io::Result<()> {
        let Some((first, last)) = run.first().zip(run.last()) else {
            return Ok(());
        };
        let disk = &self.env.disk;
        let file = first.segment.file(disk)?;
        first
            .segment
            .reserve(disk, &file, last.position + last.bytes.len() as u64)?;
        let mut gathered: Vec<u8> = Vec::new();
        let mut gathered_at = first.position;
        for write in run {
            if write.bytes.len() < GATHER && gathered.len() < 4 * GATHER {
                gathered.extend_from_slice(&write.bytes);
                continue;
            }
            disk.write_all_at(&file, &gathered, gathered_at)?;
            gathered.clear();
            disk.write_all_at(&file, &write.bytes, write.position)?;
            gathered_at = write.position + write.bytes.len() as u64;
        }
        if gathered.is_empty() {
            Ok(())
        } else {
            disk.write_all_at(&file, &gathered, gathered_at)
        }
    }

    fn fail(&self, mut state: parking_lot::MutexGuard<'_, State>, error: &WriteError) {
        let (reason, may_reopen): (Arc<str>, bool) = match error {
            WriteError::Write(error) => (format!("a write failed: {error}").into(), true),
            WriteError::Sync(error) => (format!("a sync failed: {error}").into(), false),
        };
        tracing::error!(topic = %self.topic, partition = self.number, reason = %reason, "partition refuses writes");
        self.env.metrics.storage_errors.inc();
        state.health = if may_reopen {
            Health::Refusing {
                reason: Arc::clone(&reason),
                retry_after_ms: Some(wall_ms() + RETRY_MS),
            }
        } else {
            Health::Failed {
                reason: Arc::clone(&reason),
            }
        };
        state.generation += 1;
        state.in_flight.clear();
        state.pending.clear();
        state.recent.clear(&self.env);
        let acks = std::mem::take(&mut state.acks);
        drop(state);
        for (_, ack) in acks {
            // A producer that went away needs no answer.
            let _ = ack.send(Err(Error::Storage {
                reason: Arc::clone(&reason),
            }));
        }
    }

    /// After a failed write: cuts the log back to its synced end and takes writes again.
    pub(super) fn reopen(&self, now_ms: i64) {
        let _chores = self.chores.lock();
        let end = {
            let state = self.state.lock();
            // While it refuses no flush can begin, so the files are ours alone.
            if !matches!(state.health, Health::Refusing { .. }) || state.n_flushing > 0 {
                return;
            }
            state.high_watermark
        };
        match super::recovery::recover(&self.directory, &self.env.disk, Some(end), now_ms) {
            Ok(recovered) if recovered.next_offset == end => {
                let mut state = self.state.lock();
                if !matches!(state.health, Health::Refusing { .. }) {
                    return;
                }
                let log_start = state.log_start;
                let watchers = state.take_watchers();
                let generation = state.generation + 1;
                *state = State::new(recovered);
                state.log_start = log_start;
                state.generation = generation;
                drop(state);
                Watcher::wake_all(&watchers);
                tracing::info!(topic = %self.topic, partition = self.number, end, "partition takes writes again");
            }
            Ok(recovered) => {
                let reason = format!(
                    "the log ends at {} on disk, {end} was acknowledged",
                    recovered.next_offset
                );
                tracing::error!(topic = %self.topic, partition = self.number, %reason, "partition failed");
                self.state.lock().health = Health::Failed {
                    reason: reason.into(),
                };
            }
            Err(error) => {
                if let Health::Refusing { retry_after_ms, .. } = &mut self.state.lock().health {
                    *retry_after_ms = Some(now_ms + RETRY_MS);
                }
                tracing::debug!(topic = %self.topic, partition = self.number, %error, "storage still refuses");
            }
        }
    }
}

struct Acks {
    moved: bool,
    ready: Vec<tokio::sync::oneshot::Sender<Result<(), Error>>>,
}

impl State {
    /// Marks a flush finished and moves the high watermark over every finished one before the first that is not.
    fn finish(&mut self, id: u64) -> Acks {
        let before = self.high_watermark;
        if let Some(flush) = self.in_flight.iter_mut().find(|flush| flush.id == id) {
            flush.done = true;
        }
        while self.in_flight.front().is_some_and(|flush| flush.done) {
            if let Some(flush) = self.in_flight.pop_front() {
                self.high_watermark = flush.end_offset;
                for (segment, len) in flush.lens {
                    segment.set_synced_len(len);
                }
            }
        }
        let n_ready = self
            .acks
            .partition_point(|(end, _)| *end <= self.high_watermark);
        let ready = self.acks.drain(..n_ready).map(|(_, ack)| ack).collect();
        Acks {
            moved: self.high_watermark > before,
            ready,
        }
    }
}

fn lens(writes: &[PendingWrite]) -> Vec<(Arc<Segment>, u64)> {
    let mut lens: Vec<(Arc<Segment>, u64)> = Vec::new();
    for write in writes {
        let end = write.position + Bytes::len(&write.bytes) as u64;
        match lens.last_mut() {
            Some((segment, len)) if Arc::ptr_eq(segment, &write.segment) => *len = end,
            _ => lens.push((Arc::clone(&write.segment), end)),
        }
    }
    lens
}

#[expect(
    clippy::disallowed_methods,
    reason = "flushes run on their own threads; only the retry pause uses the time"
)]
fn wall_ms() -> i64 {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}
