//! Session windows: a key's rows that are less than a gap apart.

mod portions;

use std::collections::{BTreeMap, VecDeque};
use std::hint::black_box;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use chrono_tz::Tz;
use hashbrown::HashTable;
use smallvec::SmallVec;

use self::portions::Portion;
use super::aggregate::{AggregateCall, State, StatesMut};
use super::dedup::millis;
use super::keys::{AHEAD, Encoder, batch_of, take_rows, take_watermark, watermark_table};
use super::pieces::Pieces;
use super::rows::RowStates;
use super::window::window_columns;
use crate::batch::ChangeBatch;
use crate::error::Error;
use crate::functions::time;
use crate::graph::OperatorFactory;
use crate::operator::{CheckpointId, EventTime, Operator, Output, StateRows, StateTable, Subtask};
use crate::plan::rel::SessionColumn;

/// Aggregates sessions; the output has the keys, the window columns, then the results.
#[derive(Debug, Clone)]
pub(crate) struct SessionAggregate {
    pub(crate) input: SchemaRef,
    pub(crate) gap: i64,
    pub(crate) time: usize,
    pub(crate) zone: Option<Tz>,
    pub(crate) keys: Vec<usize>,
    pub(crate) windows: Vec<SessionColumn>,
    pub(crate) calls: Vec<AggregateCall>,
    pub(crate) output: SchemaRef,
}

impl OperatorFactory for SessionAggregate {
    fn create(&self, _: Subtask) -> Result<Box<dyn Operator>, Error> {
        Ok(Box::new(Sessions {
            encoder: Encoder::new(&self.input, &self.keys)?,
            plan: self.clone(),
            watermark: EventTime::MIN,
            sessions: Pieces::default(),
            states: RowStates::new(&self.calls),
            free: Vec::new(),
            first: HashTable::new(),
            hasher: ahash::RandomState::new(),
            timers: BTreeMap::new(),
            meeting: Vec::new(),
            changed: Vec::new(),
            gone: Vec::new(),
            portions: VecDeque::new(),
            n_snapshots: 0,
        }))
    }
}

/// The bytes of a key; short ones lie in place, as each row's is compared with them.
type Key = SmallVec<[u8; 24]>;

/// No slot, and no snapshot.
const NONE: u32 = u32::MAX;

/// Instead of a snapshot: it is over, and its slot free or soon to be.
const CLOSED: u32 = u32::MAX - 1;

/// An open session of a key. Many are open at once, so it is small: others point to it by its slot.
struct Session {
    /// Empty bytes in a slot that is free.
    key: Key,
    /// Wall clock if the time column is TIMESTAMP_LTZ.
    start: i64,
    end: i64,
    /// When it is looked at: at its end, or before it if the session grew since.
    timer: i64,
    /// The slot of another session of the same key, which does not touch this one.
    next: u32,
    /// The snapshot whose portion holds it, [`NONE`] if its key is among the changed ones, or [`CLOSED`].
    written: u32,
}

/// A cache line.
const _: () = assert!(size_of::<Session>() == 64);

struct Sessions {
    plan: SessionAggregate,
    encoder: Encoder,
    watermark: EventTime,
    /// By slot.
    sessions: Pieces<Session>,
    /// By slot: a row needs all states of its session, so they lie side by side.
    states: RowStates,
    /// Slots of no session, with empty states.
    free: Vec<u32>,
    /// The first slot of each key.
    first: HashTable<u32>,
    hasher: ahash::RandomState,
    /// Slots that may have a session to close, by its last millisecond.
    timers: BTreeMap<i64, Vec<u32>>,
    /// Slots of sessions that a row has joined: the second is to be merged into the first.
    meeting: Vec<(u32, u32)>,
    /// Slots whose keys are not as the last checkpoint has them; of those that are no longer marked nothing is to do.
    changed: Vec<u32>,
    /// Keys that have no session any more, and that a checkpoint may have.
    gone: Vec<Key>,
    /// What checkpoints have, oldest first.
    portions: VecDeque<Portion>,
    n_snapshots: u32,
}

/// Rows that have found their sessions and are not yet in their states.
#[derive(Default)]
struct Placed {
    rows: Vec<u32>,
    slots: Vec<u32>,
}

impl Sessions {
    fn first_of(&self, key: &[u8]) -> Option<u32> {
        self.first_with(self.hasher.hash_one(key), key)
    }

    fn first_with(&self, hash: u64, key: &[u8]) -> Option<u32> {
        let same = |slot: &u32| *self.sessions[*slot as usize].key == *key;
        self.first.find(hash, same).copied()
    }

    /// Has the memory that keys with these hashes lead to brought near, step by step for all of them: within a step
    /// none waits for another, so that the processor asks for many at once. Rows that are placed one by one would each
    /// wait for their own.
    fn fetch(&self, hashes: &[u64]) {
        let near = |hash: &u64| self.first.find(*hash, |_| true).copied();
        let slots: SmallVec<[u32; AHEAD]> = hashes.iter().filter_map(near).collect();
        for slot in &slots {
            let session = &self.sessions[*slot as usize];
            black_box((session.start, session.next));
        }
        slots
            .iter()
            .for_each(|slot| self.states.fetch(*slot as usize));
        slots
            .iter()
            .for_each(|slot| self.states.fetch_text(*slot as usize));
    }

    /// The slots of the sessions that come with the one at `first`.
    fn chain(&self, first: u32) -> impl Iterator<Item = u32> {
        std::iter::successors(Some(first), |slot| {
            Some(self.sessions[*slot as usize].next).filter(|next| *next != NONE)
        })
    }

    /// The slot of the session of `key` that `time` belongs to; `None` if it is late.
    fn place(&mut self, hash: u64, key: &[u8], time: i64) -> Option<u32> {
        let (mut start, mut end) = (time, time + self.plan.gap);
        let first = self.first_with(hash, key);
        let mut joined: Option<u32> = None;
        let mut before = NONE;
        let mut at = first.unwrap_or(NONE);
        while at != NONE {
            let session = &self.sessions[at as usize];
            let next = session.next;
            // Sessions that touch exactly do merge. One that is open ends behind the watermark, and so does what it
            // grows to.
            if session.start > end || start > session.end {
                before = at;
            } else if let Some(joined) = joined {
                (start, end) = (start.min(session.start), end.max(session.end));
                self.meeting.push((joined, at));
                self.sessions[at as usize].written = CLOSED;
                // The joined one comes before it.
                self.sessions[before as usize].next = next;
            } else {
                (start, end) = (start.min(session.start), end.max(session.end));
                joined = Some(at);
                before = at;
            }
            at = next;
        }
        if let Some(slot) = joined {
            let session = &mut self.sessions[slot as usize];
            (session.start, session.end) = (start, end);
            self.mark(slot);
            return Some(slot);
        }
        let timer = super::window::close_time(end, self.plan.zone);
        if timer <= self.watermark.0 {
            return None;
        }
        let slot = self.open(key, (start, end), timer);
        self.mark(slot);
        Some(slot)
    }

    /// Notes that the sessions of a key are other than the last checkpoint has them.
    fn mark(&mut self, slot: u32) {
        if std::mem::replace(&mut self.sessions[slot as usize].written, NONE) != NONE {
            self.changed.push(slot);
        }
    }

    /// A new session, with empty states.
    fn open(&mut self, key: &[u8], (start, end): (i64, i64), timer: i64) -> u32 {
        let first = self.first_of(key);
        let session = Session {
            key: key.into(),
            start,
            end,
            timer,
            next: NONE,
            written: 0,
        };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.sessions[slot as usize] = session;
                slot
            }
            None => {
                self.states.push();
                self.sessions.push(session);
                self.sessions.len() as u32 - 1
            }
        };
        match first {
            // Behind the first one, so that the table need not change.
            Some(first) => {
                let next = std::mem::replace(&mut self.sessions[first as usize].next, slot);
                self.sessions[slot as usize].next = next;
            }
            None => {
                let (hasher, sessions) = (&self.hasher, &self.sessions);
                let hash_of = |slot: &u32| hasher.hash_one(&*sessions[*slot as usize].key);
                self.first
                    .insert_unique(hasher.hash_one(key), slot, hash_of);
            }
        }
        self.timers.entry(timer).or_default().push(slot);
        slot
    }

    /// Takes the states out of a slot, which is free then.
    fn release(&mut self, slot: u32) -> Vec<State> {
        self.free.push(slot);
        let session = &mut self.sessions[slot as usize];
        session.written = CLOSED;
        session.key = Key::default();
        (0..self.plan.calls.len())
            .map(|call| self.states.take(slot as usize, call))
            .collect()
    }

    /// Takes a session out of those of its key.
    fn unlink(&mut self, slot: u32) {
        let session = &self.sessions[slot as usize];
        let next = session.next;
        let hash = self.hasher.hash_one(&*session.key);
        if let Ok(entry) = self.first.find_entry(hash, |first| *first == slot) {
            if next == NONE {
                entry.remove();
                let key = std::mem::take(&mut self.sessions[slot as usize].key);
                self.gone.push(key);
                return;
            }
            *entry.into_mut() = next;
            self.mark(next);
            return;
        }
        let Some(first) = self.first_of(&self.sessions[slot as usize].key) else {
            return;
        };
        let before = self
            .chain(first)
            .find(|at| self.sessions[*at as usize].next == slot);
        if let Some(before) = before {
            self.sessions[before as usize].next = next;
        }
        self.mark(first);
    }

    /// Takes placed rows into the states of their sessions.
    fn update(&mut self, batch: &RecordBatch, placed: &mut Placed) -> Result<(), Error> {
        let Placed { rows, slots } = std::mem::take(placed);
        if rows.is_empty() {
            return Ok(());
        }
        let rows = take_rows(batch, rows)?;
        for (index, call) in self.plan.calls.iter().enumerate() {
            call.update(&mut self.states.column(index), &slots, &rows, None)?;
        }
        Ok(())
    }

    /// Merges the states of sessions that have become one.
    fn meet(&mut self) {
        for (into, from) in std::mem::take(&mut self.meeting) {
            let merged = self.release(from);
            for (index, (call, merged)) in self.plan.calls.iter().zip(merged).enumerate() {
                let mut states = self.states.column(index);
                states.change(into as usize, |state| call.merge(state, merged));
            }
        }
    }

    /// Takes out the sessions that the watermark has passed, each with its key.
    fn closed(&mut self) -> Vec<(Key, u32)> {
        let later = match self.watermark.0.checked_add(1) {
            Some(next) => self.timers.split_off(&next),
            None => BTreeMap::new(),
        };
        let mut closed = Vec::new();
        for (due, slots) in std::mem::replace(&mut self.timers, later) {
            for slot in slots {
                let session = &mut self.sessions[slot as usize];
                // The session that set the timer may be over, and its slot another's.
                if session.written == CLOSED || session.timer != due {
                    continue;
                }
                let ends = super::window::close_time(session.end, self.plan.zone);
                if ends > self.watermark.0 {
                    session.timer = ends;
                    self.timers.entry(ends).or_default().push(slot);
                    continue;
                }
                session.written = CLOSED;
                closed.push((session.key.clone(), slot));
                self.unlink(slot);
            }
        }
        closed
    }

    fn fire(&mut self, output: &mut dyn Output) -> Result<(), Error> {
        let closed = self.closed();
        if closed.is_empty() {
            return Ok(());
        }
        let mut columns = self.encoder.decode(closed.iter().map(|(key, _)| &**key))?;
        let sessions = || {
            closed
                .iter()
                .map(|(_, slot)| &self.sessions[*slot as usize])
        };
        let starts: Vec<i64> = sessions().map(|session| session.start).collect();
        let ends: Vec<i64> = sessions().map(|session| session.end).collect();
        let [start, end, last] = window_columns(&starts, &ends, self.plan.zone)?;
        for window in &self.plan.windows {
            columns.push(match window {
                SessionColumn::Start => start.clone(),
                SessionColumn::End => end.clone(),
                SessionColumn::Time => last.clone(),
            });
        }
        for (index, call) in self.plan.calls.iter().enumerate() {
            let states = closed
                .iter()
                .map(|(_, slot)| self.states.get(*slot as usize, index));
            columns.push(call.finish(states)?);
        }
        for (_, slot) in closed {
            self.release(slot);
        }
        output.emit(ChangeBatch::inserts(batch_of(&self.plan.output, columns)?))
    }
}

impl Operator for Sessions {
    fn on_batch(
        &mut self,
        _: usize,
        batch: ChangeBatch,
        output: &mut dyn Output,
    ) -> Result<(), Error> {
        let times = millis(batch.rows.column(self.plan.time))?;
        let rows = self.encoder.encode(&batch.rows)?;
        let hashes: Vec<u64> = rows.iter().map(|key| self.hasher.hash_one(key)).collect();
        let mut late = Vec::new();
        let mut placed = Placed::default();
        for (row, time) in times.values().iter().enumerate() {
            if row % AHEAD == 0 {
                self.fetch(&hashes[row..hashes.len().min(row + AHEAD)]);
            }
            let time = self
                .plan
                .zone
                .map_or(*time, |zone| time::millis_to_local(*time, zone));
            let Some(slot) = self.place(hashes[row], rows.row(row), time) else {
                late.push(row as u32);
                continue;
            };
            if !self.meeting.is_empty() {
                self.update(&batch.rows, &mut placed)?;
                self.meet();
            }
            placed.rows.push(row as u32);
            placed.slots.push(slot);
        }
        self.update(&batch.rows, &mut placed)?;
        if late.is_empty() {
            return Ok(());
        }
        output.late(take_rows(&batch.rows, late)?)
    }

    fn on_watermark(&mut self, watermark: EventTime, output: &mut dyn Output) -> Result<(), Error> {
        self.watermark = self.watermark.max(watermark);
        self.fire(output)?;
        output.watermark(watermark)
    }

    fn snapshot(&mut self, _: CheckpointId) -> Result<Vec<StateTable>, Error> {
        self.n_snapshots += 1;
        self.clean();
        self.write()?;
        let mut tables = vec![watermark_table(self.watermark)?];
        let portions = self.portions.iter();
        let rows: Vec<StateRows> = portions
            .flat_map(|portion| portion.batches.iter().cloned())
            .collect();
        if !rows.is_empty() {
            tables.push(StateTable {
                name: "sessions".to_owned(),
                rows,
            });
        }
        if let Some(last) = self.portions.back_mut() {
            last.batches = last.batches.iter().map(StateRows::stub).collect();
        }
        Ok(tables)
    }

    fn restore(&mut self, mut tables: Vec<StateTable>) -> Result<(), Error> {
        self.watermark = take_watermark(&mut tables)?;
        for batch in tables.into_iter().flat_map(StateTable::into_batches) {
            self.load(&batch)?;
        }
        // The next checkpoint has portions of its own.
        self.changed.clear();
        self.gone.clear();
        for slot in 0..self.sessions.len() as u32 {
            let session = &mut self.sessions[slot as usize];
            if session.written != CLOSED {
                session.written = NONE;
                self.changed.push(slot);
            }
        }
        Ok(())
    }

    fn state_size(&self) -> usize {
        // Keys of one operator are of about one size, and short ones lie in place.
        let first = self
            .sessions
            .iter()
            .find(|session| session.written != CLOSED);
        let key = first.map_or(0, |session| {
            usize::from(session.key.spilled()) * session.key.len()
        });
        let states = self.states.row_size();
        self.sessions.len() * (size_of::<Session>() + key + states + 16)
    }
}

#[cfg(test)]
mod tests;
