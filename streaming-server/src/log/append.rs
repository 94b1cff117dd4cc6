//! Appends: a batch is checked, deduplicated, given its offsets and queued for the disk, without any I/O here.
//!
//! The answer carries a [`Durable`] to wait on; it resolves once the batch is synced, or the partition has failed.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use tokio::sync::oneshot;

use super::batch::{self, BatchHeader, Compression};
use super::partition::{Health, Partition, PendingWrite, State};
use super::producers::Verdict;
use super::records::Records;
use super::segment::Segment;
use super::{Error, Memory, Settings};

/// Flushes of one partition that may overlap: one disk gives three times the throughput of a single sync in flight.
const MAX_FLUSHES: usize = 4;
/// Pause before a partition whose write failed is opened again.
pub(super) const RETRY_MS: i64 = 1000;

/// Where a batch went.
#[derive(Debug)]
pub(crate) struct Appended {
    pub(crate) base_offset: i64,
    /// The broker's time if the topic asks for it, else -1.
    pub(crate) log_append_time: i64,
    pub(crate) log_start: i64,
    pub(crate) durable: Durable,
}

/// Resolves when an append is on disk.
#[derive(Debug)]
pub(crate) struct Durable(Option<oneshot::Receiver<Result<(), Error>>>);

impl Durable {
    /// Waits until the batch is synced.
    pub(crate) async fn wait(self) -> Result<(), Error> {
        match self.0 {
            None => Ok(()),
            Some(receiver) => receiver.await.unwrap_or_else(|_| {
                Err(Error::Storage {
                    reason: "the broker is stopping".into(),
                })
            }),
        }
    }
}

impl Partition {
    /// Appends one batch as received, apart from its offset, epoch and, where the topic says so, time.
    pub(crate) fn append(self: &Arc<Self>, batch: &Bytes, now_ms: i64) -> Result<Appended, Error> {
        self.append_holding(batch, now_ms, None)
    }

    /// Appends one batch that keeps `memory` until it is on disk, whether or not anyone still waits for that.
    pub(crate) fn append_holding(
        self: &Arc<Self>,
        batch: &Bytes,
        now_ms: i64,
        memory: Option<Memory>,
    ) -> Result<Appended, Error> {
        let settings = self.settings();
        let mut header = check(batch, &settings)?;
        let mut copy = BytesMut::with_capacity(batch.len());
        copy.extend_from_slice(batch);
        let log_append_time = if settings.log_append_time { now_ms } else { -1 };

        let mut state = self.state.lock();
        if let Err(error) = state.check_health() {
            self.retry_storage(&mut state, now_ms);
            return Err(error);
        }
        if let Verdict::Duplicate {
            base_offset,
            last_offset,
        } = state.producers.check(&header)?
        {
            self.env.metrics.duplicate_batches.inc();
            let durable = state.durable(last_offset + 1);
            return Ok(Appended {
                base_offset,
                log_append_time,
                log_start: state.log_start,
                durable,
            });
        }
        header.base_offset = state.next_offset;
        batch::place(&mut copy, header.base_offset, self.env.leader_epoch);
        if settings.log_append_time {
            batch::stamp(&mut copy, &mut header, now_ms);
        }
        let end_offset = header.last_offset() + 1;
        state.roll_if_due(&self.directory, &settings, &header, now_ms);
        self.admit(&mut state, &header, (copy.freeze(), memory), now_ms);
        let durable = state.durable(end_offset);
        self.queue_flush(&mut state);
        Ok(Appended {
            base_offset: header.base_offset,
            log_append_time,
            log_start: state.log_start,
            durable,
        })
    }

    fn admit(
        &self,
        state: &mut State,
        header: &BatchHeader,
        (bytes, memory): (Bytes, Option<Memory>),
        now_ms: i64,
    ) {
        let end_offset = header.last_offset() + 1;
        state.producers.record(header, now_ms);
        state.recent.push(
            &self.env,
            header.base_offset,
            header.last_offset(),
            bytes.clone(),
        );
        state.next_offset = end_offset;
        let Some(segment) = state.segments.back().cloned() else {
            return;
        };
        if segment.first_append_ms.load(Ordering::Relaxed) == 0 {
            segment
                .first_append_ms
                .store(u64::try_from(now_ms).unwrap_or(0), Ordering::Relaxed);
        }
        let mut index = segment.index.write();
        let position = index.log_len;
        index.push(
            header.base_offset,
            end_offset,
            header.max_timestamp,
            bytes.len(),
        );
        drop(index);
        state.pending.push(PendingWrite {
            segment,
            position,
            bytes,
            end_offset,
            _memory: memory,
        });
    }

    /// Starts a flush for what is pending, unless one is queued or enough are running.
    pub(super) fn queue_flush(self: &Arc<Self>, state: &mut State) {
        if state.pending.is_empty() || state.flush_queued || state.n_flushing >= MAX_FLUSHES {
            return;
        }
        state.flush_queued = true;
        let partition = Arc::clone(self);
        self.env.writers.submit(move || partition.flush());
    }

    /// Has a partition whose write failed opened again, once at a time and not too often.
    fn retry_storage(self: &Arc<Self>, state: &mut State, now_ms: i64) {
        if let Health::Refusing {
            retry_after_ms: Some(at),
            ..
        } = state.health
            && state.n_flushing == 0
            && now_ms >= at
            && let Health::Refusing { retry_after_ms, .. } = &mut state.health
        {
            *retry_after_ms = None;
            let partition = Arc::clone(self);
            self.env.writers.submit(move || partition.reopen(now_ms));
        }
    }
}

/// Everything about a batch that can be judged without the partition.
fn check(batch: &Bytes, settings: &Settings) -> Result<BatchHeader, Error> {
    if batch.len() > settings.max_message_bytes {
        return Err(Error::TooLarge {
            size: batch.len(),
            max: settings.max_message_bytes,
        });
    }
    let header = BatchHeader::verify(batch)?;
    if header.size() != batch.len() {
        return Err(Error::InvalidRecord {
            why: "a produce request holds exactly one batch per partition",
        });
    }
    if header.is_control() {
        return Err(Error::InvalidRecord {
            why: "clients may not write control batches",
        });
    }
    if header.is_transactional() {
        return Err(Error::InvalidRecord {
            why: "transactions are not served",
        });
    }
    if header.producer_id != batch::NO_PRODUCER
        && (header.producer_epoch < 0 || header.base_sequence < 0)
    {
        return Err(Error::InvalidRecord {
            why: "an idempotent batch needs an epoch and a sequence",
        });
    }
    if header.compression() == Some(Compression::None) {
        let mut next_offset = header.base_offset;
        let mut in_order = true;
        Records::open(batch, 0)?.walk(|record| {
            in_order &= record.offset == next_offset;
            next_offset += 1;
            in_order
        })?;
        if !in_order {
            return Err(Error::InvalidRecord {
                why: "record offsets are not consecutive",
            });
        }
    }
    Ok(header)
}

impl State {
    /// A wait for `end_offset` to be synced; done at once if it is.
    fn durable(&mut self, end_offset: i64) -> Durable {
        if end_offset <= self.high_watermark {
            return Durable(None);
        }
        let (sender, receiver) = oneshot::channel();
        // Duplicates may wait for less than the newest append does: keep the queue sorted.
        let at = self.acks.partition_point(|(end, _)| *end <= end_offset);
        self.acks.insert(at, (end_offset, sender));
        Durable(Some(receiver))
    }

    fn roll_if_due(
        &mut self,
        directory: &std::path::Path,
        settings: &Settings,
        header: &BatchHeader,
        now_ms: i64,
    ) {
        let Some(active) = self.segments.back() else {
            return;
        };
        let len = active.index.read().log_len;
        let first_append_ms =
            i64::try_from(active.first_append_ms.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
        let is_full = len + header.size() as u64 > settings.segment_bytes;
        let is_old = now_ms - first_append_ms > settings.segment_ms;
        let is_far = header.last_offset() - active.base > i64::from(i32::MAX);
        if len > 0 && (is_full || is_old || is_far) {
            self.segments
                .push_back(Arc::new(Segment::new(directory, header.base_offset)));
        }
    }
}
