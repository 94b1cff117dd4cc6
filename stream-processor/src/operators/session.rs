//! Session windows: a key's rows that are less than a gap apart.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array};
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
        }))
    }
}

type Key = Box<[u8]>;

struct Session {
    /// Wall clock if the time column is TIMESTAMP_LTZ.
    start: i64,
    end: i64,
    states: Vec<State>,
}

struct Sessions {
    plan: SessionAggregate,
    encoder: Encoder,
    watermark: EventTime,
    /// A key's open sessions, which do not touch.
    open: HashMap<Key, Vec<Session>, ahash::RandomState>,
    /// Keys that may have a session to close, by its last millisecond.
    timers: BTreeMap<i64, Vec<Key>>,
}

impl Sessions {
    /// The index of the session of `key` that `time` belongs to after merging; `None` if it is late.
    fn place(&mut self, key: &[u8], time: i64) -> Option<usize> {
        let (mut start, mut end) = (time, time + self.plan.gap);
        let sessions = self.open.get(key).map_or(&[][..], Vec::as_slice);
        // Sessions that touch exactly do merge.
        let touching: Vec<usize> = (0..sessions.len())
            .filter(|at| sessions[*at].start <= end && start <= sessions[*at].end)
            .collect();
        for at in &touching {
            start = start.min(sessions[*at].start);
            end = end.max(sessions[*at].end);
        }
        let close = super::window::close_time(end, self.plan.zone);
        if close <= self.watermark.0 {
            return None;
        }
        if !self.open.contains_key(key) {
            self.open.insert(key.into(), Vec::new());
        }
        let sessions = self.open.get_mut(key)?;
        let Some((first, others)) = touching.split_first() else {
            sessions.push(Session {
                start,
                end,
                states: self.plan.calls.iter().map(AggregateCall::empty).collect(),
            });
            self.timers.entry(close).or_default().push(key.into());
            return Some(sessions.len() - 1);
        };
        for other in others.iter().rev() {
            let merged = sessions.swap_remove(*other);
            for (call, (into, from)) in self
                .plan
                .calls
                .iter()
                .zip(sessions[*first].states.iter_mut().zip(merged.states))
            {
                call.merge(into, from);
            }
        }
        let session = &mut sessions[*first];
        if session.end != end {
            self.timers.entry(close).or_default().push(key.into());
        }
        (session.start, session.end) = (start, end);
        Some(*first)
    }

    fn fire(&mut self, output: &mut dyn Output) -> Result<(), Error> {
        let later = match self.watermark.0.checked_add(1) {
            Some(next) => self.timers.split_off(&next),
            None => BTreeMap::new(),
        };
        let mut closed: Vec<(Key, Session)> = Vec::new();
        for (_, keys) in std::mem::replace(&mut self.timers, later) {
            for key in keys {
                let Some(sessions) = self.open.get_mut(&key) else {
                    continue;
                };
                let (watermark, zone) = (self.watermark.0, self.plan.zone);
                let due = |session: &mut Session| {
                    super::window::close_time(session.end, zone) <= watermark
                };
                for session in sessions.extract_if(.., due) {
                    closed.push((key.clone(), session));
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
            columns.push(call.finish(closed.iter().map(|(_, session)| &session.states[index]))?);
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
        let calls = self.plan.calls.clone();
        // Runs of rows that no merge may move are not worth the trouble: a row at a time.
        for (row, time) in times.values().iter().enumerate() {
            let time = self
                .plan
                .zone
                .map_or(*time, |zone| time::millis_to_local(*time, zone));
            let key = rows.row(row);
            let Some(at) = self.place(key.as_ref(), time) else {
                late.push(row as u32);
                continue;
            };
            let Some(session) = self
                .open
                .get_mut(key.as_ref())
                .and_then(|sessions| sessions.get_mut(at))
            else {
                return Err(Error::failed("a session went missing"));
            };
            let one = batch.rows.slice(row, 1);
            for (call, state) in calls.iter().zip(&mut session.states) {
                call.update(std::slice::from_mut(state), &[0], &one, None)?;
            }
        }
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
        let all: Vec<(&Key, &Session)> = self
            .open
            .iter()
            .flat_map(|(key, sessions)| sessions.iter().map(move |session| (key, session)))
            .collect();
        let mut tables = vec![watermark_table(self.watermark)?];
        if !all.is_empty() {
            let keys = self
                .encoder
                .decode_bytes(all.iter().map(|(key, _)| &***key))?;
            let starts: ArrayRef = Arc::new(
                all.iter()
                    .map(|(_, session)| Some(session.start))
                    .collect::<Int64Array>(),
            );
            let ends: ArrayRef = Arc::new(
                all.iter()
                    .map(|(_, session)| Some(session.end))
                    .collect::<Int64Array>(),
            );
            let mut columns = vec![("start".to_owned(), starts), ("end".to_owned(), ends)];
            for (index, key) in keys.iter().enumerate() {
                columns.push((format!("key_{index}"), key.clone()));
            }
            for index in 0..self.plan.calls.len() {
                let states = saved_column(all.iter().map(|(_, session)| &session.states[index]));
                columns.push((format!("state_{index}"), states));
            }
            tables.push(StateTable {
                name: "sessions".to_owned(),
                rows: vec![state_batch(&keys, columns)?],
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
            let mut states = named(&batch, "state", self.plan.calls.len())?
                .iter()
                .map(|column| Ok(loaded_column(column)?.into_iter()))
                .collect::<Result<Vec<_>, Error>>()?;
            for (row, key) in keys.into_iter().enumerate() {
                let (start, end) = (starts.value(row), ends.value(row));
                let close = super::window::close_time(end, self.plan.zone);
                self.timers.entry(close).or_default().push(key.clone());
                let states = states.iter_mut().filter_map(Iterator::next).collect();
                self.open
                    .entry(key)
                    .or_default()
                    .push(Session { start, end, states });
            }
        }
        Ok(())
    }

    fn state_size(&self) -> usize {
        self.open
            .iter()
            .map(|(key, sessions)| {
                key.len() * 2 + sessions.len() * (72 + 48 * self.plan.calls.len())
            })
            .sum()
    }
}
