//! Session windows: a key's rows that are less than a gap apart.
//!
//! A checkpoint gets the sessions of those keys that changed since the one before, as a further batch behind what was
//! written then; of a key that stands in several batches the last one holds. When the changes have become more than
//! the sessions, all sessions are written anew.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch};
use arrow::datatypes::{Int64Type, SchemaRef};
use chrono_tz::Tz;
use hashbrown::HashMap;

use super::aggregate::{AggregateCall, State};
use super::dedup::millis;
use super::keys::{
    Encoder, batch_of, column, damaged, loaded_column, saved_column, state_batch, take_rows,
    take_watermark, watermark_table,
};
use super::window::{named, spread, window_columns};
use crate::batch::ChangeBatch;
use crate::error::Error;
use crate::functions::time;
use crate::graph::OperatorFactory;
use crate::operator::{CheckpointId, EventTime, Operator, Output, StateTable, Subtask};
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
            open: HashMap::default(),
            timers: BTreeMap::new(),
            states: vec![Vec::new(); self.calls.len()],
            free: Vec::new(),
            meeting: Vec::new(),
            changed: Vec::new(),
            written: Vec::new(),
        }))
    }
}

type Key = Box<[u8]>;

struct Session {
    /// Wall clock if the time column is TIMESTAMP_LTZ.
    start: i64,
    end: i64,
    /// Where its states lie.
    slot: u32,
    /// The timer that will look at it: at its end, or before it if the session grew since.
    timer: i64,
    /// Its key is among the changed ones.
    changed: bool,
}

struct Sessions {
    plan: SessionAggregate,
    encoder: Encoder,
    watermark: EventTime,
    /// A key's open sessions, which do not touch.
    open: HashMap<Key, Vec<Session>, ahash::RandomState>,
    /// Keys that may have a session to close, by its last millisecond.
    timers: BTreeMap<i64, Vec<Key>>,
    /// One list a call, one state a slot.
    states: Vec<Vec<State>>,
    /// Slots of no session, with empty states.
    free: Vec<u32>,
    /// Slots of sessions that a row has joined: the second is to be merged into the first.
    meeting: Vec<(u32, u32)>,
    /// Keys whose sessions are not as the last checkpoint has them, some of them twice.
    changed: Vec<Key>,
    /// What checkpoints have: all sessions, then changes.
    written: Vec<RecordBatch>,
}

/// Start, end and slot of a session.
type Written = (i64, i64, u32);

/// Rows that have found their sessions and are not yet in their states.
#[derive(Default)]
struct Placed {
    rows: Vec<u32>,
    slots: Vec<u32>,
}

impl Sessions {
    /// The slot of the session of `key` that `time` belongs to; `None` if it is late.
    fn place(&mut self, key: &[u8], time: i64) -> Option<u32> {
        let (mut start, mut end) = (time, time + self.plan.gap);
        // Sessions that touch exactly do merge.
        let touches =
            |session: &Session, start: i64, end: i64| session.start <= end && start <= session.end;
        if let Some(sessions) = self.open.get_mut(key)
            && let Some(first) = sessions
                .iter()
                .position(|session| touches(session, start, end))
        {
            // A session that is open ends behind the watermark, and so does what it grows to.
            let mut at = first + 1;
            while let Some(other) = sessions.get(at) {
                if touches(other, start, end) {
                    let other = sessions.swap_remove(at);
                    (start, end) = (start.min(other.start), end.max(other.end));
                    self.meeting.push((sessions[first].slot, other.slot));
                } else {
                    at += 1;
                }
            }
            let session = &mut sessions[first];
            session.start = session.start.min(start);
            session.end = session.end.max(end);
            if !std::mem::replace(&mut session.changed, true) {
                self.changed.push(key.into());
            }
            return Some(session.slot);
        }
        let timer = super::window::close_time(end, self.plan.zone);
        if timer <= self.watermark.0 {
            return None;
        }
        let slot = self.slot();
        let session = Session {
            start,
            end,
            slot,
            timer,
            changed: true,
        };
        self.changed.push(key.into());
        self.open.entry_ref(key).or_default().push(session);
        self.timers.entry(timer).or_default().push(key.into());
        Some(slot)
    }

    /// A slot with empty states.
    fn slot(&mut self) -> u32 {
        if let Some(slot) = self.free.pop() {
            return slot;
        }
        for (call, states) in self.plan.calls.iter().zip(&mut self.states) {
            states.push(call.empty());
        }
        self.states
            .first()
            .map_or(0, |states| states.len() as u32 - 1)
    }

    /// Takes the states out of a slot, which is free then.
    fn release(&mut self, slot: u32) -> Vec<State> {
        self.free.push(slot);
        self.plan
            .calls
            .iter()
            .zip(&mut self.states)
            .map(|(call, states)| std::mem::replace(&mut states[slot as usize], call.empty()))
            .collect()
    }

    /// Takes placed rows into the states of their sessions.
    fn update(&mut self, batch: &RecordBatch, placed: &mut Placed) -> Result<(), Error> {
        let Placed { rows, slots } = std::mem::take(placed);
        if rows.is_empty() {
            return Ok(());
        }
        let rows = take_rows(batch, rows)?;
        for (call, states) in self.plan.calls.iter().zip(&mut self.states) {
            call.update(states, &slots, &rows, None)?;
        }
        Ok(())
    }

    /// Merges the states of sessions that have become one.
    fn meet(&mut self) {
        for (into, from) in std::mem::take(&mut self.meeting) {
            let merged = self.release(from);
            for ((call, states), state) in self.plan.calls.iter().zip(&mut self.states).zip(merged)
            {
                call.merge(&mut states[into as usize], state);
            }
        }
    }

    /// Writes the sessions of `keys` for checkpoints; a key without one gets a row that says so.
    fn write(&mut self, keys: &[Key]) -> Result<(), Error> {
        let mut rows: Vec<(&Key, Option<Written>)> = Vec::with_capacity(keys.len());
        for key in keys {
            let Some(sessions) = self.open.get_mut(key) else {
                rows.push((key, None));
                continue;
            };
            for session in sessions {
                session.changed = false;
                rows.push((key, Some((session.start, session.end, session.slot))));
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
        let keys = self
            .encoder
            .decode_bytes(rows.iter().map(|(key, _)| &***key))?;
        let sessions = || rows.iter().map(|(_, session)| *session);
        let number = |of: fn(Written) -> i64| -> ArrayRef {
            Arc::new(
                sessions()
                    .map(|session| session.map(of))
                    .collect::<Int64Array>(),
            )
        };
        let gone = sessions().map(|session| Some(session.is_none()));
        let mut columns: Vec<(String, ArrayRef)> = vec![
            ("start".to_owned(), number(|session| session.0)),
            ("end".to_owned(), number(|session| session.1)),
            ("gone".to_owned(), Arc::new(gone.collect::<BooleanArray>())),
        ];
        for (index, key) in keys.iter().enumerate() {
            columns.push((format!("key_{index}"), key.clone()));
        }
        for (index, call) in self.plan.calls.iter().enumerate() {
            let (states, empty) = (&self.states[index], call.empty());
            let states = saved_column(
                sessions()
                    .map(|session| session.map_or(&empty, |(_, _, slot)| &states[slot as usize])),
            );
            columns.push((format!("state_{index}"), states));
        }
        self.written.push(state_batch(&keys, columns)?);
        Ok(())
    }

    fn fire(&mut self, output: &mut dyn Output) -> Result<(), Error> {
        let later = match self.watermark.0.checked_add(1) {
            Some(next) => self.timers.split_off(&next),
            None => BTreeMap::new(),
        };
        let mut closed: Vec<(Key, Session)> = Vec::new();
        for (due, keys) in std::mem::replace(&mut self.timers, later) {
            for key in keys {
                let Some(sessions) = self.open.get_mut(&key) else {
                    continue;
                };
                let (watermark, zone) = (self.watermark.0, self.plan.zone);
                let ended = |session: &mut Session| {
                    super::window::close_time(session.end, zone) <= watermark
                };
                for session in sessions.extract_if(.., ended) {
                    closed.push((key.clone(), session));
                }
                for session in sessions.iter_mut().filter(|session| session.timer <= due) {
                    session.timer = super::window::close_time(session.end, zone);
                    self.timers
                        .entry(session.timer)
                        .or_default()
                        .push(key.clone());
                }
                if sessions.is_empty() {
                    self.open.remove(&key);
                }
            }
        }
        if closed.is_empty() {
            return Ok(());
        }
        let mut columns = self
            .encoder
            .decode_bytes(closed.iter().map(|(key, _)| &**key))?;
        let starts: Vec<i64> = closed.iter().map(|(_, session)| session.start).collect();
        let ends: Vec<i64> = closed.iter().map(|(_, session)| session.end).collect();
        let [start, end, last] = window_columns(&starts, &ends, self.plan.zone)?;
        for window in &self.plan.windows {
            columns.push(match window {
                SessionColumn::Start => start.clone(),
                SessionColumn::End => end.clone(),
                SessionColumn::Time => last.clone(),
            });
        }
        for (index, call) in self.plan.calls.iter().enumerate() {
            let states = &self.states[index];
            columns.push(
                call.finish(
                    closed
                        .iter()
                        .map(|(_, session)| &states[session.slot as usize]),
                )?,
            );
        }
        for (key, session) in closed {
            self.release(session.slot);
            if !session.changed {
                self.changed.push(key);
            }
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
        let mut late = Vec::new();
        let mut placed = Placed::default();
        for (row, time) in times.values().iter().enumerate() {
            let time = self
                .plan
                .zone
                .map_or(*time, |zone| time::millis_to_local(*time, zone));
            let Some(slot) = self.place(rows.row(row).as_ref(), time) else {
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
        self.changed.sort_unstable();
        self.changed.dedup();
        let changed = std::mem::take(&mut self.changed);
        let later = self.written.iter().skip(1).map(RecordBatch::num_rows);
        if self.written.is_empty() || later.sum::<usize>() + changed.len() > self.open.len() {
            let keys: Vec<Key> = self.open.keys().cloned().collect();
            self.written.clear();
            self.write(&keys)?;
        } else {
            self.write(&changed)?;
        }
        let mut tables = vec![watermark_table(self.watermark)?];
        if !self.written.is_empty() {
            tables.push(StateTable {
                name: "sessions".to_owned(),
                rows: self.written.clone(),
            });
        }
        Ok(tables)
    }

    fn restore(&mut self, mut tables: Vec<StateTable>) -> Result<(), Error> {
        self.watermark = take_watermark(&mut tables)?;
        for batch in tables.into_iter().flat_map(|table| table.rows) {
            let number = |name: &str| -> Result<Int64Array, Error> {
                Ok(column(&batch, name)?
                    .as_primitive_opt::<Int64Type>()
                    .ok_or_else(damaged)?
                    .clone())
            };
            let (starts, ends) = (number("start")?, number("end")?);
            let gone = column(&batch, "gone")?
                .as_boolean_opt()
                .ok_or_else(damaged)?;
            let n_rows = batch.num_rows();
            let keys: Vec<Key> = if self.plan.keys.is_empty() {
                {
                    let empty = spread(
                        &self.plan.input,
                        &[0],
                        vec![arrow::array::new_null_array(
                            self.plan.input.field(0).data_type(),
                            n_rows,
                        )],
                    )?;
                    self.encoder
                        .encode(&empty)?
                        .iter()
                        .map(|row| row.as_ref().into())
                        .collect()
                }
            } else {
                let keys = named(&batch, "key", self.plan.keys.len())?;
                let encoded =
                    self.encoder
                        .encode(&spread(&self.plan.input, &self.plan.keys, keys)?)?;
                encoded.iter().map(|row| row.as_ref().into()).collect()
            };
            for key in &keys {
                for session in self.open.remove(key).unwrap_or_default() {
                    self.release(session.slot);
                }
            }
            let mut states = named(&batch, "state", self.plan.calls.len())?
                .iter()
                .map(|column| Ok(loaded_column(column)?.into_iter()))
                .collect::<Result<Vec<_>, Error>>()?;
            for (row, key) in keys.into_iter().enumerate() {
                let saved: Vec<State> = states.iter_mut().filter_map(Iterator::next).collect();
                if gone.value(row) {
                    continue;
                }
                let (start, end) = (starts.value(row), ends.value(row));
                let close = super::window::close_time(end, self.plan.zone);
                self.timers.entry(close).or_default().push(key.clone());
                let slot = self.slot();
                for (own, saved) in self.states.iter_mut().zip(saved) {
                    own[slot as usize] = saved;
                }
                self.open.entry(key).or_default().push(Session {
                    start,
                    end,
                    slot,
                    timer: close,
                    changed: false,
                });
            }
        }
        Ok(())
    }

    fn state_size(&self) -> usize {
        // Each session with its key, here and among the timers; keys of one operator are of about one size.
        let key = self.open.keys().next().map_or(0, |key| key.len());
        let n_sessions = self.states.first().map_or(0, Vec::len) - self.free.len();
        self.open.len() * key * 2 + n_sessions * (72 + 48 * self.plan.calls.len())
    }
}

#[cfg(test)]
mod tests;
