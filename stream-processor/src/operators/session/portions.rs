//! What checkpoints get of sessions, and how it is read again.
//!
//! A checkpoint gets the sessions of those keys that changed since the one before, as a portion behind those of earlier
//! checkpoints; of a key that stands in several portions the last one holds. When the portions have twice as many rows
//! as there are keys, the oldest go, and what only they hold is written with the changes: most of it has changed or
//! ended since.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, new_null_array};
use arrow::datatypes::Int64Type;

use super::{Key, NONE, Session, Sessions};
use crate::error::Error;
use crate::operator::StateRows;
use crate::operators::aggregate::State;
use crate::operators::keys::{
    column, damaged, loaded_column, saved_column, state_batch, without_offsets,
};
use crate::operators::text;
use crate::operators::window::{close_time, named, spread};

/// What one snapshot wrote.
pub(super) struct Portion {
    snapshot: u32,
    /// Stubs once they have been given to a checkpoint.
    pub(super) batches: Vec<StateRows>,
}

/// Most rows of a batch that checkpoints get: what it takes to build one is in memory beside it.
const MOST_ROWS: usize = 1 << 15;

/// Most portions; each is a file of every checkpoint.
const MOST_PORTIONS: usize = 64;

impl Sessions {
    /// Lets the oldest portions go as long as there are too many rows or portions; what only they hold is marked.
    pub(super) fn clean(&mut self) {
        let rows_of =
            |portion: &Portion| portion.batches.iter().map(StateRows::n_rows).sum::<usize>();
        let mut n_rows: usize = self.portions.iter().map(rows_of).sum();
        n_rows += self.changed.len() + self.gone.len();
        // Of many small portions the first may hold nearly all sessions, so that all are written anew.
        let all = self.portions.len() >= MOST_PORTIONS;
        let mut last = None;
        while let Some(oldest) = self.portions.front()
            && (all || n_rows > 2 * self.first.len())
        {
            n_rows -= rows_of(oldest);
            last = Some(oldest.snapshot);
            self.portions.pop_front();
        }
        let Some(last) = last else { return };
        if self.portions.is_empty() {
            // Nothing that is left has these keys.
            self.gone.clear();
        }
        for slot in 0..self.sessions.len() as u32 {
            let session = &self.sessions[slot as usize];
            if session.written <= last {
                self.mark(slot);
            }
        }
    }

    /// Writes the sessions of the changed keys for checkpoints, and a row for each key that has none any more.
    pub(super) fn write(&mut self) -> Result<(), Error> {
        let mut slots: Vec<(u32, bool)> = Vec::with_capacity(self.changed.len());
        for changed in std::mem::take(&mut self.changed) {
            let session = &self.sessions[changed as usize];
            if session.written != NONE {
                continue;
            }
            let Some(first) = self.first_of(&session.key) else {
                continue;
            };
            let begin = slots.len();
            slots.extend(self.chain(first).map(|slot| (slot, slot == first)));
            for (slot, _) in &slots[begin..] {
                self.sessions[*slot as usize].written = self.n_snapshots;
            }
        }
        let mut gone = std::mem::take(&mut self.gone);
        gone.retain(|key| self.first_of(key).is_none());
        let open = slots.chunks(MOST_ROWS);
        let open = open.map(|slots| self.batch(slots, &[]));
        let gone = gone.chunks(MOST_ROWS).map(|gone| self.batch(&[], gone));
        let batches = open.chain(gone).collect::<Result<Vec<_>, _>>()?;
        if !batches.is_empty() {
            self.portions.push_back(Portion {
                snapshot: self.n_snapshots,
                batches,
            });
        }
        Ok(())
    }

    /// The sessions at `slots`, each with whether it is the first of its key, and then keys that have none, as rows of
    /// a checkpoint.
    fn batch(&self, slots: &[(u32, bool)], gone: &[Key]) -> Result<StateRows, Error> {
        let sessions = || slots.iter().map(|(slot, _)| &self.sessions[*slot as usize]);
        let keys = sessions().map(|session| &*session.key);
        let keys = self
            .encoder
            .decode(keys.chain(gone.iter().map(|key| &**key)))?;
        let number = |of: fn(&Session) -> i64| -> ArrayRef {
            let open = sessions().map(|session| Some(of(session)));
            Arc::new(
                open.chain(gone.iter().map(|_| None))
                    .collect::<Int64Array>(),
            )
        };
        let flag = |of_slots: &dyn Fn(bool) -> bool| -> ArrayRef {
            let of_slots = slots.iter().map(|(_, first)| Some(of_slots(*first)));
            let of_gone = gone.iter().map(|_| Some(true));
            Arc::new(of_slots.chain(of_gone).collect::<BooleanArray>())
        };
        let mut columns: Vec<(String, ArrayRef)> = vec![
            ("start".to_owned(), number(|session| session.start)),
            ("end".to_owned(), number(|session| session.end)),
            ("gone".to_owned(), flag(&|_| false)),
            ("first".to_owned(), flag(&|first| first)),
        ];
        for (index, key) in keys.iter().enumerate() {
            columns.push((format!("key_{index}"), text::packed(key)));
        }
        for (index, call) in self.plan.calls.iter().enumerate() {
            let empty = call.empty();
            let states = slots
                .iter()
                .map(|(slot, _)| self.states.get(*slot as usize, index));
            let none = gone.iter().map(|_| Cow::Borrowed(&empty));
            let states = without_offsets(saved_column(states.chain(none)));
            columns.push((format!("state_{index}"), states));
        }
        StateRows::encoded(&state_batch(&keys, columns)?)
    }

    /// Opens the sessions of rows that [`Self::batch`] has made, any part of a portion at a time.
    pub(super) fn load(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        let number = |name: &str| {
            column(batch, name)?
                .as_primitive_opt::<Int64Type>()
                .ok_or_else(damaged)
        };
        let flag = |name: &str| column(batch, name)?.as_boolean_opt().ok_or_else(damaged);
        let (starts, ends) = (number("start")?, number("end")?);
        let (gone, first) = (flag("gone")?, flag("first")?);
        let mut states = named(batch, "state", self.plan.calls.len())?
            .iter()
            .map(|column| Ok(loaded_column(column)?.into_iter()))
            .collect::<Result<Vec<_>, Error>>()?;
        for (row, key) in self.loaded_keys(batch)?.into_iter().enumerate() {
            let saved: Vec<State> = states.iter_mut().filter_map(Iterator::next).collect();
            // The key's rows of an earlier portion hold no more.
            while first.value(row)
                && let Some(slot) = self.first_of(&key)
            {
                self.unlink(slot);
                self.release(slot);
            }
            if gone.value(row) {
                continue;
            }
            let (start, end) = (starts.value(row), ends.value(row));
            let close = close_time(end, self.plan.zone);
            let slot = self.open(&key, (start, end), close);
            for (index, saved) in saved.into_iter().enumerate() {
                if !self.states.fits(index, &saved) {
                    return Err(damaged());
                }
                self.states.set(slot as usize, index, saved);
            }
        }
        Ok(())
    }

    fn loaded_keys(&self, batch: &RecordBatch) -> Result<Vec<Key>, Error> {
        let rows = if self.plan.keys.is_empty() {
            // Only the number of rows counts: all have the same key.
            let of_none = self.plan.input.field(0).data_type();
            let of_none = new_null_array(of_none, batch.num_rows());
            spread(&self.plan.input, &[0], vec![of_none])?
        } else {
            let keys = named(batch, "key", self.plan.keys.len())?;
            let types = self.plan.keys.iter().map(|at| self.plan.input.field(*at));
            let keys = keys.iter().zip(types);
            let keys = keys
                .map(|(key, field)| text::unpacked(key, field.data_type()))
                .collect();
            spread(&self.plan.input, &self.plan.keys, keys)?
        };
        let encoded = self.encoder.encode(&rows)?;
        Ok(encoded.iter().map(Key::from).collect())
    }
}
