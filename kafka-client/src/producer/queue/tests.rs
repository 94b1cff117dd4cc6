//! What an answer means for the batches behind it, checked against a model of the broker's own bookkeeping.

use proptest::prelude::*;

use super::*;
use crate::batch::{BatchBuilder, Compression};

const PAUSE: Duration = Duration::from_millis(10);

fn queue(idempotent: bool) -> Queue<u32> {
    let mut queue = Queue::new(Rules {
        partition: TopicPartition::new("t", 0),
        idempotent,
        max_in_flight: 5,
        delivery_timeout: Duration::from_secs(100),
    });
    if idempotent {
        queue.set_identity(Identity { id: 1, epoch: 0 });
    }
    queue
}

fn push(queue: &mut Queue<u32>, now: Instant, cargo: u32, records: usize) {
    let mut builder = BatchBuilder::with_capacity(0);
    for _ in 0..records {
        builder.append(0, None, Some(&cargo.to_be_bytes()), &[]);
    }
    queue.push(builder.seal(Compression::None).unwrap(), now, cargo);
}

fn broker(code: ErrorCode) -> Error {
    Error::Broker {
        what: "produce".to_owned(),
        code,
        message: None,
    }
}

fn lost() -> Error {
    Error::Disconnected {
        address: "broker".to_owned(),
        reason: "test".to_owned(),
    }
}

fn sequence(bytes: &[u8]) -> (i64, i32, i32) {
    let id = i64::from_be_bytes(bytes[43..51].try_into().unwrap());
    let sequence = i32::from_be_bytes(bytes[53..57].try_into().unwrap());
    (
        id,
        sequence,
        i32::from_be_bytes(bytes[57..61].try_into().unwrap()),
    )
}

#[test]
fn five_batches_fly_and_the_sixth_waits() {
    let now = Instant::now();
    let mut queue = queue(true);
    for cargo in 0..6 {
        push(&mut queue, now, cargo, 2);
    }
    let sent: Vec<_> = std::iter::from_fn(|| queue.next(now)).collect();
    let sequences: Vec<_> = sent.iter().map(|(_, bytes)| sequence(bytes).1).collect();
    assert_eq!(sequences, [0, 2, 4, 6, 8]);
    assert_eq!(queue.stored(sent[0].0, 70).unwrap().outcome.unwrap(), 70);
    assert_eq!(sequence(&queue.next(now).unwrap().1).1, 10);
}

#[test]
fn after_a_failure_all_is_repeated_in_order_once_the_answers_are_in() {
    let now = Instant::now();
    let mut queue = queue(true);
    for cargo in 0..4 {
        push(&mut queue, now, cargo, 1);
    }
    let tickets: Vec<_> = std::iter::from_fn(|| queue.next(now))
        .map(|(ticket, _)| ticket)
        .collect();
    let moved = broker(ErrorCode::NotLeaderOrFollower);
    assert!(queue.failed(tickets[1], moved, now, PAUSE).is_empty());
    assert!(queue.next(now + PAUSE).is_none(), "three answers are open");
    queue.stored(tickets[0], 0).unwrap();
    let echo = || broker(ErrorCode::OutOfOrderSequenceNumber);
    assert!(queue.failed(tickets[2], echo(), now, PAUSE).is_empty());
    assert!(queue.failed(tickets[3], echo(), now, PAUSE).is_empty());
    assert!(queue.next(now).is_none(), "the pause is not over");
    let again: Vec<_> = std::iter::from_fn(|| queue.next(now + PAUSE)).collect();
    let sequences: Vec<_> = again.iter().map(|(_, bytes)| sequence(bytes)).collect();
    assert_eq!(sequences, [(1, 1, 1), (1, 2, 1), (1, 3, 1)]);
}

#[test]
fn a_batch_refused_for_good_gives_its_number_to_the_next() {
    let now = Instant::now();
    let mut queue = queue(true);
    for cargo in 0..3 {
        push(&mut queue, now, cargo, 10);
    }
    let tickets: Vec<_> = std::iter::from_fn(|| queue.next(now))
        .map(|(ticket, _)| ticket)
        .collect();
    let failed = queue.failed(tickets[0], broker(ErrorCode::MessageTooLarge), now, PAUSE);
    assert_eq!(
        failed.iter().map(|batch| batch.cargo).collect::<Vec<_>>(),
        [0]
    );
    for ticket in &tickets[1..] {
        let echo = broker(ErrorCode::OutOfOrderSequenceNumber);
        assert!(queue.failed(*ticket, echo, now, PAUSE).is_empty());
    }
    assert!(!queue.needs_identity());
    let again: Vec<_> = std::iter::from_fn(|| queue.next(now)).collect();
    let sequences: Vec<_> = again.iter().map(|(_, bytes)| sequence(bytes)).collect();
    assert_eq!(sequences, [(1, 0, 10), (1, 10, 10)]);
}

#[test]
fn a_forgotten_producer_gets_a_new_id_and_only_surely_refused_batches_are_repeated() {
    let now = Instant::now();
    let mut queue = queue(true);
    push(&mut queue, now, 0, 1);
    push(&mut queue, now, 1, 1);
    let tickets: Vec<_> = std::iter::from_fn(|| queue.next(now))
        .map(|(ticket, _)| ticket)
        .collect();
    queue.failed(tickets[0], broker(ErrorCode::UnknownProducerId), now, PAUSE);
    let decided = queue.failed(tickets[1], lost(), now, PAUSE);
    assert_eq!(decided.len(), 1, "the second may have been stored");
    assert_eq!(decided[0].cargo, 1);
    assert!(matches!(decided[0].outcome, Err(Error::Uncertain { .. })));
    assert!(queue.needs_identity());
    assert!(queue.next(now + PAUSE).is_none());
    queue.set_identity(Identity { id: 2, epoch: 0 });
    let (_, bytes) = queue.next(now + PAUSE).unwrap();
    assert_eq!(sequence(&bytes), (2, 0, 1));
}

#[test]
fn a_batch_that_is_never_stored_fails_when_its_time_is_over() {
    let now = Instant::now();
    let mut queue = queue(true);
    push(&mut queue, now, 0, 1);
    push(&mut queue, now, 1, 1);
    let (ticket, _) = queue.next(now).unwrap();
    queue.failed(ticket, broker(ErrorCode::LeaderNotAvailable), now, PAUSE);
    let late = now + Duration::from_secs(100);
    assert_eq!(queue.wake_at(), Some(now + PAUSE));
    let failed = queue.expire(late);
    assert_eq!(
        failed.iter().map(|batch| batch.cargo).collect::<Vec<_>>(),
        [0, 1]
    );
    assert!(queue.is_empty());
}

/// The broker's side of idempotence: the last five batches of each producer.
#[derive(Default)]
struct Log {
    stored: Vec<u32>,
    recent: VecDeque<(i64, i32)>,
    expected: std::collections::HashMap<i64, i32>,
}

impl Log {
    fn append(&mut self, bytes: &[u8]) -> Result<(), ErrorCode> {
        let (id, first, count) = sequence(bytes);
        if self.recent.contains(&(id, first)) {
            return Err(ErrorCode::DuplicateSequenceNumber);
        }
        let expected = self.expected.entry(id).or_insert(0);
        if first != *expected {
            return Err(ErrorCode::OutOfOrderSequenceNumber);
        }
        *expected += count;
        self.recent.push_back((id, first));
        if self.recent.len() > 5 {
            self.recent.pop_front();
        }
        let value = &bytes[bytes.len() - 5..bytes.len() - 1];
        self.stored
            .push(u32::from_be_bytes(value.try_into().unwrap()));
        Ok(())
    }
}

proptest! {
    #[test]
    fn no_fault_makes_a_batch_appear_twice_or_out_of_order(
        faults in proptest::collection::vec(0..6_u8, 1..120),
    ) {
        let mut now = Instant::now();
        let mut queue = queue(true);
        let mut log = Log::default();
        let mut open: Vec<(Ticket, Bytes)> = Vec::new();
        let mut acknowledged = Vec::new();
        let mut failed = Vec::new();
        let mut pushed = 0;
        let mut ids = 1;
        let mut faults = faults.into_iter();
        loop {
            while pushed < 30 {
                push(&mut queue, now, pushed, 1 + pushed as usize % 3);
                pushed += 1;
            }
            if queue.needs_identity() {
                ids += 1;
                queue.set_identity(Identity { id: ids, epoch: 0 });
            }
            open.extend(std::iter::from_fn(|| queue.next(now)));
            if open.is_empty() {
                if queue.is_empty() {
                    break;
                }
                now += PAUSE;
                continue;
            }
            // One connection: the broker sees requests in order, and the first fault that cuts it hits all behind.
            let (ticket, bytes) = open.remove(0);
            let fault = faults.next().unwrap_or(0);
            let outcome = match fault {
                1 => Err(broker(ErrorCode::NotLeaderOrFollower)),
                2 => Err(broker(ErrorCode::MessageTooLarge)),
                3 => {
                    // The answer is lost with the connection; what was behind it never arrived.
                    let _ = log.append(&bytes);
                    for (ticket, _) in open.drain(..) {
                        for decided in queue.failed(ticket, lost(), now, PAUSE) {
                            failed.push((decided.cargo, decided.outcome.unwrap_err()));
                        }
                    }
                    Err(lost())
                }
                _ => match log.append(&bytes) {
                    Ok(()) | Err(ErrorCode::DuplicateSequenceNumber) => Ok(()),
                    Err(code) => Err(broker(code)),
                },
            };
            match outcome {
                Ok(()) => acknowledged.push(queue.stored(ticket, 0).unwrap().cargo),
                Err(error) => {
                    for decided in queue.failed(ticket, error, now, PAUSE) {
                        failed.push((decided.cargo, decided.outcome.unwrap_err()));
                    }
                }
            }
        }
        let mut sorted = log.stored.clone();
        sorted.sort_unstable();
        sorted.dedup();
        prop_assert_eq!(&sorted, &log.stored, "stored once, in order");
        for cargo in &acknowledged {
            prop_assert!(log.stored.contains(cargo), "{} was acknowledged", cargo);
        }
        for (cargo, error) in &failed {
            let uncertain = error.is_ambiguous() || matches!(error, Error::Uncertain { .. });
            prop_assert!(uncertain || !log.stored.contains(cargo), "{} failed surely", cargo);
        }
        prop_assert_eq!(acknowledged.len() + failed.len(), 30);
    }
}
