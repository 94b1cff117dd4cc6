//! What one side of a join keeps: its rows by key, and once it has ended, laid out as columns.

use std::hint::black_box;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use hashbrown::{HashMap, HashTable};
use smallvec::SmallVec;

use crate::error::Error;
use crate::operator::StateRows;
use crate::operators::keys::{AHEAD, Encoded, Encoder, batch_of, failed, state_batch};
use crate::operators::ttl::{TimeToLive, Written};

pub(super) struct Held {
    /// Shared, because each match passes it on.
    pub(super) row: Arc<[u8]>,
    /// Equal rows that are there.
    pub(super) count: i64,
    /// Outer joins: how many rows of the other side match.
    pub(super) matches: i64,
    pub(super) written: Written,
}

pub(super) struct Side {
    pub(super) keys: Encoder,
    pub(super) rows: Encoder,
    pub(super) held: HashMap<Box<[u8]>, Vec<Held>, ahash::RandomState>,
    /// What was held when the side ended.
    pub(super) arranged: Option<Arranged>,
    pub(super) ended: bool,
    pub(super) bytes: usize,
    pub(super) ttl: TimeToLive,
}

/// The rows of a side that has ended: they change no more.
pub(super) struct Arranged {
    /// Those of one key stand together, as often as there are equal ones.
    pub(super) rows: RecordBatch,
    /// Where those of a key are.
    pub(super) places: Places,
    /// As a checkpoint keeps them; the same batch each time, so that it is written once.
    saved: Option<StateRows>,
}

/// Where the rows of each key are.
pub(super) struct Places {
    table: HashTable<Place>,
    hasher: ahash::RandomState,
}

struct Place {
    /// Short ones lie in place.
    key: SmallVec<[u8; 40]>,
    rows: Range<u32>,
}

impl Places {
    fn with_capacity(capacity: usize) -> Self {
        Places {
            table: HashTable::with_capacity(capacity),
            hasher: ahash::RandomState::new(),
        }
    }

    /// Adds a key that is not there.
    fn insert(&mut self, key: &[u8], rows: Range<u32>) {
        let hash = self.hasher.hash_one(key);
        let key = key.into();
        let hash_of = |place: &Place| self.hasher.hash_one(&*place.key);
        self.table.insert_unique(hash, Place { key, rows }, hash_of);
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// The rows of each of `keys`.
    pub(super) fn of(&self, keys: &Encoded) -> Vec<Range<u32>> {
        let hashes: Vec<u64> = keys.iter().map(|key| self.hasher.hash_one(key)).collect();
        let mut places = Vec::with_capacity(hashes.len());
        for (row, (key, hash)) in keys.iter().zip(&hashes).enumerate() {
            if row % AHEAD == 0 {
                self.fetch(&hashes[row..hashes.len().min(row + AHEAD)]);
            }
            let place = self.table.find(*hash, |place| *place.key == *key);
            places.push(place.map_or(0..0, |place| place.rows.clone()));
        }
        places
    }

    /// Has the memory that keys with these hashes lead to brought near; none waits for another.
    fn fetch(&self, hashes: &[u64]) {
        for hash in hashes {
            let near = self.table.find(*hash, |_| true);
            black_box(near.map(|place| place.rows.start));
        }
    }
}

impl Side {
    /// Lays out what is held; nothing may come any more.
    pub(super) fn arrange(&mut self, schema: &SchemaRef) -> Result<(), Error> {
        let held = std::mem::take(&mut self.held);
        let mut places = Places::with_capacity(held.len());
        let mut rows: Vec<Arc<[u8]>> = Vec::new();
        for (key, of_key) in held {
            let begin = rows.len();
            for held in of_key {
                rows.extend((0..held.count).map(|_| held.row.clone()));
            }
            places.insert(&key, begin as u32..rows.len() as u32);
        }
        let columns = self.rows.decode(rows.iter().map(|row| &**row))?;
        self.arranged = Some(Arranged {
            rows: batch_of(schema, columns)?,
            places,
            saved: None,
        });
        Ok(())
    }

    /// The rows as a checkpoint keeps them, if there are any.
    /// With `keys`, each instance of a restored job gets those of its key groups, otherwise each gets all.
    pub(super) fn saved(&mut self, keys: Option<&[usize]>) -> Result<Option<StateRows>, Error> {
        if let Some(arranged) = &mut self.arranged {
            if arranged.saved.is_none() && arranged.rows.num_rows() > 0 {
                let ones = vec![1; arranged.rows.num_rows()];
                let zeros = vec![0; arranged.rows.num_rows()];
                let saved = saved_rows(keys, arranged.rows.columns(), ones, zeros, None)?;
                arranged.saved = Some(saved.into());
            }
            return Ok(arranged.saved.clone());
        }
        let all: Vec<&Held> = self.held.values().flatten().collect();
        if all.is_empty() {
            return Ok(None);
        }
        let rows = self.rows.decode(all.iter().map(|held| &*held.row))?;
        let counts = all.iter().map(|held| held.count).collect();
        let matches = all.iter().map(|held| held.matches).collect();
        let written = all.iter().map(|held| held.written).collect();
        let written = self.ttl.expires().then_some(written);
        Ok(Some(
            saved_rows(keys, &rows, counts, matches, written)?.into(),
        ))
    }

    pub(super) fn add(&mut self, key: &[u8], row: &[u8], matches: i64) {
        let written = self.ttl.now();
        if let Some(rows) = self.held.get_mut(key)
            && let Some(held) = rows.iter_mut().find(|held| *held.row == *row)
        {
            if self.ttl.is_alive(held.written) {
                held.count += 1;
            } else {
                (held.count, held.matches) = (1, matches);
            }
            held.written = written;
            return;
        }
        self.put(
            key,
            Held {
                row: row.into(),
                count: 1,
                matches,
                written,
            },
        );
    }

    /// Takes in a row that is not held yet.
    pub(super) fn put(&mut self, key: &[u8], held: Held) {
        self.bytes += held.row.len() + HELD_OVERHEAD;
        if let Some(rows) = self.held.get_mut(key) {
            rows.push(held);
        } else {
            self.held.insert(key.into(), vec![held]);
        }
    }

    /// Lets go of the rows whose time is over.
    pub(super) fn sweep(&mut self) {
        let (ttl, bytes) = (self.ttl, &mut self.bytes);
        self.held.retain(|_, rows| {
            rows.retain(|held| {
                let is_alive = ttl.is_alive(held.written);
                if !is_alive {
                    *bytes = bytes.saturating_sub(held.row.len() + HELD_OVERHEAD);
                }
                is_alive
            });
            !rows.is_empty()
        });
    }

    pub(super) fn remove(&mut self, key: &[u8], row: &[u8]) {
        let Some(rows) = self.held.get_mut(key) else {
            return;
        };
        if let Some(at) = rows.iter().position(|held| *held.row == *row) {
            let held = &mut rows[at];
            held.count -= 1;
            let stays = held.count > 0 && self.ttl.is_alive(held.written);
            held.written = self.ttl.now();
            if !stays {
                rows.swap_remove(at);
                self.bytes = self.bytes.saturating_sub(row.len() + HELD_OVERHEAD);
            }
        }
        if rows.is_empty() {
            self.held.remove(key);
        }
    }
}

/// Bytes a held row costs besides itself.
const HELD_OVERHEAD: usize = 48;

/// Rows of a side with how often each is there, how many matches it has, and when it was last written.
fn saved_rows(
    keys: Option<&[usize]>,
    rows: &[ArrayRef],
    counts: Vec<i64>,
    matches: Vec<i64>,
    written: Option<Vec<Written>>,
) -> Result<RecordBatch, Error> {
    let mut columns: Vec<(String, ArrayRef)> = vec![
        ("count".to_owned(), Arc::new(Int64Array::from(counts))),
        ("matches".to_owned(), Arc::new(Int64Array::from(matches))),
    ];
    if let Some(written) = written {
        columns.push(("written".to_owned(), Arc::new(Int64Array::from(written))));
    }
    for (index, column) in rows.iter().enumerate() {
        columns.push((format!("value_{index}"), column.clone()));
    }
    match keys {
        Some(keys) => {
            let keys: Vec<ArrayRef> = keys.iter().map(|key| rows[*key].clone()).collect();
            state_batch(&keys, columns)
        }
        None => RecordBatch::try_from_iter_with_nullable(
            columns
                .into_iter()
                .map(|(name, column)| (name, column, true)),
        )
        .map_err(failed),
    }
}
