//! The batches of one partition on their way: which may be sent now, and what an answer means for the others.
//!
//! It is a state machine without IO or clock. Its rule: batches get their sequence numbers in order; after any failure
//! nothing more is sent until every attempt under way is answered, and then they are repeated in that same order with
//! the same numbers. So the broker either stores a batch in its place or knows it as a repetition.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::batch::{NO_PRODUCER, ProducerStamp, Sealed, restamp};
use crate::error::{Error, ErrorCode};
use crate::metadata::TopicPartition;

/// Producer id and epoch given out by the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) id: i64,
    pub(super) epoch: i16,
}

/// Names one batch of the partition in answers.
pub(super) type Ticket = u64;

/// A batch whose fate is decided: its first offset, or why it failed.
#[derive(Debug)]
pub(super) struct Decided<T> {
    pub(super) cargo: T,
    pub(super) count: i32,
    pub(super) size: usize,
    pub(super) enqueued: Instant,
    pub(super) outcome: Result<i64, Error>,
}

/// What does not change.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) partition: TopicPartition,
    pub(super) idempotent: bool,
    pub(super) max_in_flight: usize,
    pub(super) delivery_timeout: Duration,
}

/// The batches of one partition; `T` is what the owner wants back with the outcome.
#[derive(Debug)]
pub(super) struct Queue<T> {
    rules: Rules,
    identity: Option<Identity>,
    next_sequence: i32,
    next_ticket: Ticket,
    /// Without a sequence number yet.
    waiting: VecDeque<Entry<T>>,
    /// With one, in its order.
    flight: VecDeque<Entry<T>>,
    open: usize,
    /// An attempt failed: send nothing until no answer is open.
    draining: bool,
    not_before: Option<Instant>,
    /// The number of the first batch that failed for good, which the broker therefore expects again.
    gap: Option<i32>,
    /// What the broker expects next cannot be known any more; only a new identity helps.
    lost: bool,
}

#[derive(Debug)]
struct Entry<T> {
    ticket: Ticket,
    body: Body,
    count: i32,
    size: usize,
    sequence: i32,
    enqueued: Instant,
    /// An attempt is under way.
    open: bool,
    /// Some attempt may have been stored although nobody said so.
    ambiguous: bool,
    /// The broker refused its sequence number although everything before it was acknowledged.
    refused: bool,
    last_error: Option<Error>,
    cargo: T,
}

#[derive(Debug)]
enum Body {
    Sealed(Sealed),
    Stamped(Bytes),
}

impl<T> Queue<T> {
    pub(super) fn new(rules: Rules) -> Queue<T> {
        Queue {
            rules,
            identity: None,
            next_sequence: 0,
            next_ticket: 0,
            waiting: VecDeque::new(),
            flight: VecDeque::new(),
            open: 0,
            draining: false,
            not_before: None,
            gap: None,
            lost: false,
        }
    }

    pub(super) fn push(&mut self, sealed: Sealed, enqueued: Instant, cargo: T) {
        self.waiting.push_back(Entry {
            ticket: self.next_ticket,
            count: sealed.count(),
            size: sealed.size(),
            body: Body::Sealed(sealed),
            sequence: -1,
            enqueued,
            open: false,
            ambiguous: false,
            refused: false,
            last_error: None,
            cargo,
        });
        self.next_ticket += 1;
    }

    /// Whether there is anything left to deliver.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.flight.is_empty()
    }

    /// Whether batches wait for a producer id.
    pub(super) fn needs_identity(&self) -> bool {
        self.rules.idempotent && self.identity.is_none() && !self.is_empty()
    }

    pub(super) fn set_identity(&mut self, identity: Identity) {
        self.identity = Some(identity);
        self.next_sequence = 0;
    }

    /// Whether [`Queue::next`] would give a batch.
    pub(super) fn is_ready(&self, now: Instant) -> bool {
        if self.not_before.is_some_and(|at| at > now) || self.needs_identity() {
            return false;
        }
        if self.draining {
            return self.open == 0 && !self.is_empty();
        }
        self.flight.iter().any(|entry| !entry.open)
            || (!self.waiting.is_empty() && self.flight.len() < self.rules.max_in_flight)
    }

    /// When time alone changes something: a pause ends, or a batch expires.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let timeout = self.rules.delivery_timeout;
        let expiry = self
            .flight
            .iter()
            .chain(&self.waiting)
            .filter(|entry| !entry.open)
            .map(|entry| entry.enqueued + timeout)
            .min();
        self.not_before.into_iter().chain(expiry).min()
    }

    /// The next batch to send, stamped; it counts as under way from now on.
    pub(super) fn next(&mut self, now: Instant) -> Option<(Ticket, Bytes)> {
        if !self.is_ready(now) {
            return None;
        }
        self.draining = false;
        self.not_before = None;
        if !self.flight.iter().any(|entry| !entry.open) {
            let mut entry = self.waiting.pop_front()?;
            let stamp = match self.identity {
                Some(Identity { id, epoch }) => ProducerStamp {
                    id,
                    epoch,
                    sequence: self.next_sequence,
                },
                None => NO_PRODUCER,
            };
            entry.body = Body::Stamped(match entry.body {
                Body::Sealed(sealed) => sealed.stamp(stamp),
                Body::Stamped(bytes) => restamp(bytes, stamp),
            });
            entry.sequence = self.next_sequence;
            self.next_sequence = self.next_sequence.wrapping_add(entry.count) & i32::MAX;
            self.flight.push_back(entry);
        }
        let entry = self.flight.iter_mut().find(|entry| !entry.open)?;
        let Body::Stamped(bytes) = &entry.body else {
            return None;
        };
        entry.open = true;
        self.open += 1;
        Some((entry.ticket, bytes.clone()))
    }

    /// The leader stored the batch.
    pub(super) fn stored(&mut self, ticket: Ticket, offset: i64) -> Option<Decided<T>> {
        let at = self.answered(ticket)?;
        let entry = self.flight.remove(at)?;
        Some(entry.decide(Ok(offset)))
    }

    /// An attempt failed; it is repeated after `pause` if it may be. Returns what is decided by it.
    pub(super) fn failed(
        &mut self,
        ticket: Ticket,
        error: Error,
        now: Instant,
        pause: Duration,
    ) -> Vec<Decided<T>> {
        let Some(at) = self.answered(ticket) else {
            return Vec::new();
        };
        self.draining = true;
        let mut decided = Vec::new();
        let numbering = is_numbering(&error);
        let Some(entry) = self.flight.get_mut(at) else {
            return decided;
        };
        entry.ambiguous |= is_ambiguous(&error);
        if numbering && self.rules.idempotent {
            // Behind a failed batch this is no more than its echo.
            entry.refused |= at == 0 && self.gap.is_none();
            entry.last_error = Some(error);
        } else if error.is_retriable() {
            entry.last_error = Some(error);
            self.not_before = Some(now + pause);
        } else {
            decided.extend(self.give_up(at, error));
        }
        self.settle(&mut decided);
        decided
    }

    /// Fails the batches that were tried for too long and are not under way.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Decided<T>> {
        let mut decided = Vec::new();
        let timeout = self.rules.delivery_timeout;
        let late = |entry: &Entry<T>| !entry.open && now >= entry.enqueued + timeout;
        while let Some(at) = self.flight.iter().position(late) {
            let error = self.flight[at].overdue(timeout);
            self.draining = true;
            decided.extend(self.give_up(at, error));
        }
        while let Some(entry) = self.waiting.pop_front_if(|entry| late(entry)) {
            let error = entry.overdue(timeout);
            decided.push(entry.decide(Err(error)));
        }
        self.settle(&mut decided);
        decided
    }

    /// Fails everything that is not under way, for a reason that does not pass with time.
    pub(super) fn abandon(&mut self, error: &Error) -> Vec<Decided<T>> {
        let mut decided = Vec::new();
        while let Some(at) = self.flight.iter().position(|entry| !entry.open) {
            self.draining = true;
            decided.extend(self.give_up(at, error.clone()));
        }
        decided.extend(
            self.waiting
                .drain(..)
                .map(|entry| entry.decide(Err(error.clone()))),
        );
        self.settle(&mut decided);
        decided
    }

    /// Notes the answer to a ticket; returns where its batch stands.
    fn answered(&mut self, ticket: Ticket) -> Option<usize> {
        let at = self
            .flight
            .iter()
            .position(|entry| entry.ticket == ticket && entry.open)?;
        self.flight[at].open = false;
        self.open -= 1;
        Some(at)
    }

    fn give_up(&mut self, at: usize, error: Error) -> Option<Decided<T>> {
        let entry = self.flight.remove(at)?;
        if self.rules.idempotent {
            self.gap.get_or_insert(entry.sequence);
            self.lost |= entry.ambiguous || at > 0;
        }
        let error = if entry.ambiguous && !error.is_ambiguous() {
            entry.uncertain(&self.rules, &error)
        } else {
            error
        };
        Some(entry.decide(Err(error)))
    }

    /// Once nothing is under way: makes the numbers of the remaining batches right again.
    fn settle(&mut self, decided: &mut Vec<Decided<T>>) {
        if self.open > 0 || !self.rules.idempotent {
            return;
        }
        let refused = self.flight.front().is_some_and(|entry| entry.refused);
        let gap = self.gap.take();
        if gap.is_none() && !refused {
            return;
        }
        let doubtful = self.flight.iter().any(|entry| entry.ambiguous);
        if refused || self.lost || doubtful {
            self.identity = None;
            self.lost = false;
        } else if let Some(sequence) = gap {
            self.next_sequence = sequence;
        }
        // With new numbers the broker could not know a repetition; only what was surely refused may be sent again.
        while let Some(mut entry) = self.flight.pop_back() {
            if entry.ambiguous {
                let last = entry.last_error.take().unwrap_or(Error::Closed);
                let error = entry.uncertain(&self.rules, &last);
                decided.push(entry.decide(Err(error)));
            } else {
                entry.refused = false;
                self.waiting.push_front(entry);
            }
        }
    }
}

impl<T> Entry<T> {
    fn decide(self, outcome: Result<i64, Error>) -> Decided<T> {
        let Entry {
            cargo,
            count,
            size,
            enqueued,
            ..
        } = self;
        Decided {
            cargo,
            count,
            size,
            enqueued,
            outcome,
        }
    }

    fn overdue(&self, after: Duration) -> Error {
        self.last_error.clone().unwrap_or_else(|| Error::TimedOut {
            what: "delivery".to_owned(),
            address: "the leader".to_owned(),
            after,
        })
    }

    fn uncertain(&self, rules: &Rules, error: &Error) -> Error {
        let TopicPartition { topic, partition } = rules.partition.clone();
        Error::Uncertain {
            topic,
            partition,
            reason: error.to_string(),
        }
    }
}

/// Whether the broker refused the sequence number or does not know the producer.
fn is_numbering(error: &Error) -> bool {
    matches!(
        error.code(),
        Some(
            ErrorCode::OutOfOrderSequenceNumber
                | ErrorCode::UnknownProducerId
                | ErrorCode::InvalidProducerEpoch
        )
    )
}

/// Whether the batch may be stored although the attempt failed.
fn is_ambiguous(error: &Error) -> bool {
    error.is_ambiguous()
        || matches!(error, Error::Malformed { .. })
        || matches!(
            error.code(),
            Some(
                ErrorCode::RequestTimedOut
                    | ErrorCode::NotEnoughReplicasAfterAppend
                    | ErrorCode::KafkaStorageError
                    | ErrorCode::UnknownServerError
            )
        )
}

#[cfg(test)]
mod tests;
