//! The rows of a batch paired with the rows of the other side that have their keys.

use std::ops::Range;
use std::sync::Arc;

use super::side::Side;

/// Pairs of rows that have equal keys, in the order of the rows of the batch.
#[derive(Default)]
pub(super) struct Pairs {
    /// Rows of the batch.
    pub(super) here: Vec<u32>,
    pub(super) there: There,
    /// Where the other side holds the row among those of the key, if it counts matches.
    pub(super) held: Vec<u32>,
}

/// The other side's rows of [`Pairs`].
pub(super) enum There {
    /// As held by key.
    Bytes(Vec<Arc<[u8]>>),
    /// By place in [`Arranged`](super::side::Arranged).
    Places(Vec<u32>),
}

impl Default for There {
    fn default() -> Self {
        There::Bytes(Vec::new())
    }
}

impl Pairs {
    /// Pairs `here` with the rows of an arranged side that are at `place`.
    pub(super) fn meet_arranged(&mut self, here: u32, place: Range<u32>) {
        if let There::Places(there) = &mut self.there {
            self.here.extend(place.clone().map(|_| here));
            there.extend(place);
        }
    }

    /// Pairs `here` with each row that `side` has under `key`; with `counts`, says where they are held.
    pub(super) fn meet(&mut self, here: u32, key: &[u8], side: &Side, counts: bool) {
        if let There::Bytes(there) = &mut self.there {
            let rows = side.held.get(key).into_iter().flatten().enumerate();
            for (at, held) in rows.filter(|(_, held)| side.ttl.is_alive(held.written)) {
                there.extend((0..held.count).map(|_| held.row.clone()));
                self.here.extend((0..held.count).map(|_| here));
                if counts {
                    self.held.extend((0..held.count).map(|_| at as u32));
                }
            }
        }
    }
}
