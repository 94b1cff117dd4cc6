//! The events of the Nexmark benchmark, as its Kafka source expects them: one JSON object with `event_type` 0 (person),
//! 1 (auction) or 2 (bid) and the member of that name.
//!
//! Proportions, hot keys and sizes follow the benchmark's own generator: of 50 events one is a person, three are
//! auctions and 46 are bids; half of the bids go to the hottest auction of the moment, three quarters come from a hot
//! bidder, and records are padded to 200, 500 and 100 bytes.

use crate::random::Random;
use crate::text;

const FIRST_ID: u64 = 1000;
const FIRST_CATEGORY: u64 = 10;
const PER_ROUND: u64 = 50;
const PERSONS: u64 = 1;
const AUCTIONS: u64 = 3;
/// Auctions open at a time, and persons that are active.
const OPEN_AUCTIONS: u64 = 100;
const ACTIVE_PERSONS: u64 = 1000;
const CITIES: [(&str, &str); 10] = [
    ("Phoenix", "AZ"),
    ("Los Angeles", "CA"),
    ("San Francisco", "CA"),
    ("Boise", "ID"),
    ("Portland", "OR"),
    ("Bend", "OR"),
    ("Redmond", "WA"),
    ("Seattle", "WA"),
    ("Kent", "WA"),
    ("Cheyenne", "WY"),
];
const FIRST_NAMES: [&str; 11] = [
    "Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter",
];
const LAST_NAMES: [&str; 9] = [
    "Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris",
];
const CHANNELS: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];

/// Counts events; ids follow from the count.
#[derive(Debug, Default)]
pub(super) struct Nexmark {
    count: u64,
}

/// One event, of which the text is made when it is written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Item {
    Person {
        id: u64,
        bits: u64,
    },
    Auction {
        id: u64,
        seller: u64,
        category: u64,
        initial: u64,
        reserve: u64,
        expires: i64,
        bits: u64,
    },
    Bid {
        auction: u64,
        bidder: u64,
        price: u64,
        bits: u64,
    },
}

impl Nexmark {
    pub(super) fn next(&mut self, now: i64, random: &mut Random) -> Item {
        let count = self.count;
        self.count += 1;
        let (round, at) = (count / PER_ROUND, count % PER_ROUND);
        let bits = random.next();
        if at < PERSONS {
            return Item::Person {
                id: FIRST_ID + round * PERSONS,
                bits,
            };
        }
        let last_person = round * PERSONS;
        if at < PERSONS + AUCTIONS {
            let initial = price(random);
            return Item::Auction {
                id: FIRST_ID + round * AUCTIONS + at - PERSONS,
                // Three of four auctions are by a hot seller.
                seller: FIRST_ID + hot(random, 4, last_person, 100, ACTIVE_PERSONS),
                category: FIRST_CATEGORY + random.below(5),
                initial,
                reserve: initial + price(random),
                expires: now + 1 + random.below(20_000) as i64,
                bits,
            };
        }
        let last_auction = (round + 1) * AUCTIONS - 1;
        Item::Bid {
            auction: FIRST_ID + hot(random, 2, last_auction, 100, OPEN_AUCTIONS),
            bidder: FIRST_ID + 1 + hot(random, 4, last_person, 100, ACTIVE_PERSONS),
            price: price(random),
            bits,
        }
    }
}

/// An id: all but one in `ratio` times the last multiple of `step`, else one of the last `span`.
fn hot(random: &mut Random, ratio: u64, last: u64, step: u64, span: u64) -> u64 {
    if random.below(ratio) > 0 {
        last / step * step
    } else {
        last - random.below(span.min(last + 1))
    }
}

/// Cents from 1 to 10 million, evenly by magnitude.
fn price(random: &mut Random) -> u64 {
    (10_f64.powf(random.unit() * 6.0) * 100.0).round() as u64
}

impl Item {
    pub(super) fn write(&self, time: i64, out: &mut Vec<u8>) {
        let start = out.len();
        match *self {
            Item::Person { id, bits } => {
                out.extend_from_slice(b"{\"event_type\":0,\"person\":");
                person(out, id, bits, time);
                pad(out, start, 200, bits);
            }
            Item::Auction { .. } => {
                out.extend_from_slice(b"{\"event_type\":1,\"auction\":");
                self.auction(out, time);
                pad(out, start, 500, self.bits());
            }
            Item::Bid {
                auction,
                bidder,
                price,
                bits,
            } => {
                out.extend_from_slice(b"{\"event_type\":2,\"bid\":{\"auction\":");
                text::integer(out, auction as i64);
                number(out, "bidder", bidder);
                number(out, "price", price);
                channel(out, bits);
                moment(out, "dateTime", time);
                pad(out, start, 100, bits);
            }
        }
    }

    fn auction(&self, out: &mut Vec<u8>, time: i64) {
        let Item::Auction {
            id,
            seller,
            category,
            initial,
            reserve,
            expires,
            bits,
        } = *self
        else {
            return;
        };
        out.extend_from_slice(b"{\"id\":");
        text::integer(out, id as i64);
        out.extend_from_slice(b",\"itemName\":\"");
        letters(out, bits, 12);
        out.extend_from_slice(b"\",\"description\":\"");
        letters(out, bits.rotate_left(32), 60);
        out.push(b'"');
        number(out, "initialBid", initial);
        number(out, "reserve", reserve);
        moment(out, "dateTime", time);
        moment(out, "expires", expires);
        number(out, "seller", seller);
        number(out, "category", category);
    }

    fn bits(&self) -> u64 {
        match *self {
            Item::Person { bits, .. } | Item::Auction { bits, .. } | Item::Bid { bits, .. } => bits,
        }
    }
}

fn person(out: &mut Vec<u8>, id: u64, bits: u64, time: i64) {
    let pick = |shift: u32, len: usize| (bits >> shift) as usize % len;
    let first = FIRST_NAMES[pick(0, FIRST_NAMES.len())];
    let last = LAST_NAMES[pick(8, LAST_NAMES.len())];
    let (city, state) = CITIES[pick(16, CITIES.len())];
    out.extend_from_slice(b"{\"id\":");
    text::integer(out, id as i64);
    for part in [",\"name\":\"", first, " ", last, "\",\"emailAddress\":\""] {
        out.extend_from_slice(part.as_bytes());
    }
    letters(out, bits, 7);
    out.push(b'@');
    letters(out, bits.rotate_left(13), 5);
    out.extend_from_slice(b".com\",\"creditCard\":\"");
    for group in 0..4 {
        if group > 0 {
            out.push(b' ');
        }
        text::integer(out, 1000 + (bits >> (group * 12) & 0xfff) as i64);
    }
    for part in ["\",\"city\":\"", city, "\",\"state\":\"", state, "\""] {
        out.extend_from_slice(part.as_bytes());
    }
    moment(out, "dateTime", time);
}

/// Half of the bids come through one of four channels, the others through one of ten thousand.
fn channel(out: &mut Vec<u8>, bits: u64) {
    out.extend_from_slice(b",\"channel\":\"");
    let number = bits % 10_000;
    if bits >> 63 == 0 {
        out.extend_from_slice(CHANNELS[(bits >> 20) as usize % CHANNELS.len()].as_bytes());
    } else {
        out.extend_from_slice(b"channel-");
        text::integer(out, number as i64);
    }
    out.extend_from_slice(b"\",\"url\":\"https://www.nexmark.com/");
    letters(out, bits, 5);
    out.push(b'/');
    letters(out, bits.rotate_left(21), 5);
    out.extend_from_slice(b"/item.htm?query=1&channel_id=");
    text::integer(out, number as i64);
    out.push(b'"');
}

fn number(out: &mut Vec<u8>, name: &str, value: u64) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    text::integer(out, value as i64);
}

fn moment(out: &mut Vec<u8>, name: &str, time: i64) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":\"");
    text::sql_time(out, time);
    out.push(b'"');
}

/// Ends both objects with the field `extra`, as long as it takes to reach about `size` bytes beside the names.
fn pad(out: &mut Vec<u8>, start: usize, size: usize, bits: u64) {
    out.extend_from_slice(b",\"extra\":\"");
    // The benchmark counts values only; names and quotes are about 190 bytes on top.
    let missing = (size + 190).saturating_sub(out.len() - start);
    letters(out, bits.rotate_left(40), missing);
    out.extend_from_slice(b"\"}}");
}

/// Lower-case letters that follow from `bits`.
fn letters(out: &mut Vec<u8>, mut bits: u64, count: usize) {
    for _ in 0..count {
        bits = bits
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        out.push(b'a' + ((bits >> 56) % 26) as u8);
    }
}
