//! Decides every event: who does what, when it says it happened, and what is wrong with it on purpose.
//!
//! It has no clock and does no IO: the caller passes the time of each event. An [`Event`] is a small value that can be
//! written again at any time with the same bytes, which is how duplicates are made.

mod clickstream;
mod nexmark;
mod sessions;
mod weblog;

use std::collections::VecDeque;

use crate::config::{Config, Profile};
use crate::random::{Random, threshold};
use crate::world::World;

pub(crate) use sessions::Visit;

/// How long a visitor looks at a page on average; it decides how many sessions are open at a rate.
const THINK_SECONDS: u64 = 8;
/// Duplicates follow within this many events.
const DUPLICATE_DISTANCE: u64 = 200;

/// How many events of each kind were made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// All records, repetitions included.
    pub records: u64,
    /// Different events that a reader can make sense of.
    pub valid: u64,
    /// Valid events set far back in time.
    pub late: u64,
    /// Valid events set a little back in time.
    pub out_of_order: u64,
    /// Records that repeat an earlier one.
    pub duplicates: u64,
    /// Records that no reader can make sense of.
    pub malformed: u64,
}

/// One record to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Event {
    /// When it was sent.
    pub(crate) sent: i64,
    /// When it says it happened.
    time: i64,
    /// Which way it is malformed.
    flaw: Option<u8>,
    body: Body,
}

#[derive(Debug, Clone, Copy)]
enum Body {
    Visit(Visit),
    Nexmark(nexmark::Item),
}

#[derive(Debug)]
enum Source {
    Visits(sessions::Sessions),
    Nexmark(nexmark::Nexmark),
}

/// Makes the events of one run.
#[derive(Debug)]
pub(crate) struct Generator {
    world: World,
    weblog: bool,
    random: Random,
    source: Source,
    faults: Faults,
    /// Events to be repeated, and at which record.
    repeats: VecDeque<(u64, Event)>,
    tally: Tally,
}

/// Thresholds of the shares, and how far times are set back, in milliseconds.
#[derive(Debug)]
struct Faults {
    late: u64,
    late_by: u64,
    out_of_order: u64,
    out_of_order_by: u64,
    duplicate: u64,
    malformed: u64,
}

impl Generator {
    pub(crate) fn new(config: &Config) -> Generator {
        let world = World::new(config.seed);
        let mut random = Random::new(config.seed, config.stream);
        let source = match config.profile {
            Profile::Clickstream | Profile::Weblog => {
                let rate = if config.rate == 0 {
                    4000
                } else {
                    u64::from(config.rate)
                };
                let open = (rate * THINK_SECONDS).clamp(64, 32_768) as usize;
                Source::Visits(sessions::Sessions::new(open, &world, &mut random))
            }
            Profile::Nexmark => Source::Nexmark(nexmark::Nexmark::default()),
        };
        let millis = |duration: std::time::Duration| duration.as_millis() as u64;
        Generator {
            world,
            weblog: config.profile == Profile::Weblog,
            random,
            source,
            faults: Faults {
                late: threshold(config.late),
                late_by: millis(config.late_by),
                out_of_order: threshold(config.out_of_order),
                out_of_order_by: millis(config.out_of_order_by),
                duplicate: threshold(config.duplicate),
                malformed: threshold(config.malformed),
            },
            repeats: VecDeque::with_capacity(DUPLICATE_DISTANCE as usize),
            tally: Tally::default(),
        }
    }

    pub(crate) fn tally(&self) -> Tally {
        self.tally
    }

    /// The next event, sent at `now` (milliseconds since 1970).
    pub(crate) fn next(&mut self, now: i64) -> Event {
        self.tally.records += 1;
        let record = self.tally.records;
        if let Some((_, event)) = self.repeats.pop_front_if(|(due, _)| *due <= record) {
            self.tally.duplicates += 1;
            return Event { sent: now, ..event };
        }
        let random = &mut self.random;
        let body = match &mut self.source {
            Source::Visits(sessions) => Body::Visit(sessions.next(&self.world, random)),
            Source::Nexmark(nexmark) => Body::Nexmark(nexmark.next(now, random)),
        };
        let mut event = Event {
            sent: now,
            time: now,
            flaw: None,
            body,
        };
        let faults = &self.faults;
        if random.happens(faults.malformed) {
            event.flaw = Some(random.next() as u8);
            self.tally.malformed += 1;
            return event;
        }
        self.tally.valid += 1;
        if random.happens(faults.late) {
            let least = faults.late_by / 5;
            event.time -= (least + random.below(faults.late_by - least + 1)) as i64;
            self.tally.late += 1;
        } else if random.happens(faults.out_of_order) {
            event.time -= random.below(faults.out_of_order_by + 1) as i64;
            self.tally.out_of_order += 1;
        }
        if random.happens(faults.duplicate) {
            let due = record + 1 + random.below(DUPLICATE_DISTANCE);
            // One record takes one place, so the queue stays in order by waiting behind the last.
            let due = self
                .repeats
                .back()
                .map_or(due, |(last, _)| due.max(last + 1));
            self.repeats.push_back((due, event));
        }
        event
    }

    /// The record's key.
    pub(crate) fn key<'a>(&self, event: &'a Event) -> Option<&'a [u8]> {
        match &event.body {
            Body::Visit(visit) => Some(&visit.session),
            Body::Nexmark(_) => None,
        }
    }

    /// Appends the record's value.
    pub(crate) fn write(&self, event: &Event, out: &mut Vec<u8>) {
        let start = out.len();
        match &event.body {
            Body::Visit(visit) if self.weblog => weblog::write(&self.world, visit, event.time, out),
            Body::Visit(visit) => {
                clickstream::write(&self.world, visit, event.time, event.flaw, out);
            }
            Body::Nexmark(item) => item.write(event.time, out),
        }
        // Clickstream has flaws of its own for the higher numbers.
        let cut = match event.flaw {
            Some(flaw) if flaw % 6 == 0 => true,
            Some(_) => self.weblog || matches!(event.body, Body::Nexmark(_)),
            None => false,
        };
        if cut {
            out.truncate(start + (out.len() - start) / 2);
        }
    }
}

#[cfg(test)]
mod tests;
