//! What checkpoints get of sessions.
//!
//! A checkpoint gets the sessions of those keys that changed since the one before, as a portion behind those of earlier
//! checkpoints; of a key that stands in several portions the last one holds. When the portions have twice as many rows
//! as there are keys, the oldest go, and what only they hold is written with the changes: most of it has changed or
//! ended since.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array};

use super::{Key, NONE, Session, Sessions};
use crate::error::Error;
use crate::operator::StateRows;
use crate::operators::keys::{saved_column, state_batch};

/// What one snapshot wrote.
pub(super) struct Portion {
    snapshot: u32,
    /// Stubs once they have been given to a checkpoint.
    pub(super) batches: Vec<StateRows>,
}

/// Most rows of a batch that checkpoints get: what it takes to build one is in memory beside it.
const MOST_ROWS: usize = 1 << 16;

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
            .decode_bytes(keys.chain(gone.iter().map(|key| &**key)))?;
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
            columns.push((format!("key_{index}"), key.clone()));
        }
        for (index, call) in self.plan.calls.iter().enumerate() {
            let empty = call.empty();
            let states = slots
                .iter()
                .map(|(slot, _)| self.states.get(*slot as usize, index));
            let none = gone.iter().map(|_| Cow::Borrowed(&empty));
            let states = saved_column(states.chain(none));
            columns.push((format!("state_{index}"), states));
        }
        Ok(state_batch(&keys, columns)?.into())
    }
}
