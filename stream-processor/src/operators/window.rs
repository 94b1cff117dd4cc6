//! Windows of fixed length: assigning rows to them, and aggregating what is in each until the watermark closes it.
//!
//! The aggregation runs in one phase, over rows, or in two, the second over what [`local`] has added up.

pub(crate) mod local;
mod sets;
pub(crate) mod top_n;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{Int64Type, SchemaRef};
use chrono_tz::Tz;
use hashbrown::HashMap;

use self::sets::Sets;
use super::aggregate::{AggregateCall, State, states_size};
use super::dedup::millis;
use super::keys::{
    Encoder, batch_of, column, damaged, failed, loaded_column, saved_column, state_batch,
    take_rows, take_watermark, watermark_table,
};
use crate::batch::ChangeBatch;
use crate::error::Error;
use crate::functions::time;
use crate::graph::OperatorFactory;
use crate::operator::{CheckpointId, EventTime, Operator, Output, StateRows, StateTable, Subtask};
use crate::plan::rel::WindowKind;

/// Appends window_start, window_end and window_time; a row in several windows comes several times.
#[derive(Debug, Clone)]
pub(crate) struct Assign {
    pub(crate) kind: WindowKind,
    pub(crate) time: usize,
    /// The input's columns that go on, before those of the window.
    pub(crate) keep: Vec<usize>,
    /// The session's zone if the time column is TIMESTAMP_LTZ: windows follow its wall clock.
    pub(crate) zone: Option<Tz>,
    pub(crate) output: SchemaRef,
}

/// The windows, as start and end, that `time` lies in; latest start last.
pub(crate) fn windows_of(kind: WindowKind, time: i64, out: &mut Vec<(i64, i64)>) {
    out.clear();
    let start = |size: i64, offset: i64| (time - offset).div_euclid(size) * size + offset;
    match kind {
        WindowKind::Tumble { size, offset } => {
            let start = start(size, offset);
            out.push((start, start + size));
        }
        WindowKind::Hop {
            slide,
            size,
            offset,
        } => {
            let last = start(slide, offset);
            let mut begin = last;
            while begin > time - size {
                out.push((begin, begin + size));
                begin -= slide;
            }
            out.reverse();
        }
        WindowKind::Cumulate { step, size, offset } => {
            let begin = start(size, offset);
            let mut end = begin + ((time - begin) / step + 1) * step;
            while end <= begin + size {
                out.push((begin, end));
                end += step;
            }
        }
        WindowKind::Session { .. } => {}
    }
}

impl OperatorFactory for Assign {
    fn create(&self, _: Subtask) -> Result<Box<dyn Operator>, Error> {
        Ok(Box::new(self.clone()))
    }
}

impl Operator for Assign {
    fn on_batch(
        &mut self,
        _: usize,
        batch: ChangeBatch,
        output: &mut dyn Output,
    ) -> Result<(), Error> {
        let times = millis(batch.rows.column(self.time))?;
        let n_rows = times.len();
        let mut rows: Vec<u32> = Vec::with_capacity(n_rows);
        let (mut starts, mut ends) = (Vec::with_capacity(n_rows), Vec::with_capacity(n_rows));
        let mut windows = Vec::new();
        for (row, time) in times.values().iter().enumerate() {
            let local = self
                .zone
                .map_or(*time, |zone| time::millis_to_local(*time, zone));
            windows_of(self.kind, local, &mut windows);
            for (start, end) in &windows {
                rows.push(row as u32);
                starts.push(*start);
                ends.push(*end);
            }
        }
        let kinds = batch
            .kinds
            .as_ref()
            .map(|kinds| rows.iter().map(|row| kinds[*row as usize]).collect());
        let kept = batch.rows.project(&self.keep).map_err(failed)?;
        let assigned = if matches!(self.kind, WindowKind::Tumble { .. }) {
            kept
        } else {
            take_record_batch(&kept, &UInt32Array::from(rows)).map_err(failed)?
        };
        let mut columns = assigned.columns().to_vec();
        columns.extend(window_columns(&starts, &ends, self.zone)?);
        output.emit(ChangeBatch {
            rows: batch_of(&self.output, columns)?,
            kinds,
        })
    }
}

/// window_start, window_end, window_time.
pub(crate) fn window_columns(
    starts: &[i64],
    ends: &[i64],
    zone: Option<Tz>,
) -> Result<[ArrayRef; 3], Error> {
    let plain = |values: &[i64]| time::millis_column(values.iter().map(|value| Some(*value)));
    let last = ends.iter().map(|end| Some(close_time(*end, zone)));
    let window_time = time::millis_column(last);
    let window_time = match zone {
        None => window_time,
        Some(_) => arrow::compute::cast(
            &window_time,
            &crate::table::SqlType::of(crate::table::TypeRoot::TimestampLtz(3)).arrow(),
        )
        .map_err(failed)?,
    };
    Ok([plain(starts), plain(ends), window_time])
}

/// The event time at which the window that ends at `end` is complete.
pub(crate) fn close_time(end: i64, zone: Option<Tz>) -> i64 {
    match zone {
        None => end - 1,
        Some(zone) => time::millis_from_local(end, zone) - 1,
    }
}

/// Aggregates within windows that earlier steps have assigned.
#[derive(Debug, Clone)]
pub(crate) struct WindowAggregate {
    pub(crate) input: SchemaRef,
    pub(crate) of: Phase,
    pub(crate) keys: Vec<usize>,
    pub(crate) calls: Vec<AggregateCall>,
    pub(crate) output: SchemaRef,
}

/// What is aggregated.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Phase {
    /// Rows, whose window ends at column `end`, a wall clock of `zone` if there is one.
    Rows { end: usize, zone: Option<Tz> },
    /// What [`local`] passes on: the keys are the first columns.
    Partials,
}

impl OperatorFactory for WindowAggregate {
    fn create(&self, _: Subtask) -> Result<Box<dyn Operator>, Error> {
        Ok(Box::new(Windows::new(self)?))
    }
}

/// When the window of a saved state closes, and the states themselves; no columns of a query have such names.
const CLOSE: &str = "__close";
const STATE: &str = "__state";

/// The groups of the windows that close at one time.
#[derive(Default)]
struct Bucket {
    groups: HashMap<Box<[u8]>, u32, ahash::RandomState>,
    keys: Vec<Box<[u8]>>,
    /// One list a call, one state a group.
    states: Vec<Vec<State>>,
    sets: Sets,
}

struct Windows {
    plan: WindowAggregate,
    encoder: Encoder,
    watermark: EventTime,
    open: BTreeMap<i64, Bucket>,
}

impl Windows {
    fn new(plan: &WindowAggregate) -> Result<Self, Error> {
        Ok(Windows {
            encoder: Encoder::new(&plan.input, &plan.keys)?,
            plan: plan.clone(),
            watermark: EventTime::MIN,
            open: BTreeMap::new(),
        })
    }

    fn n_groups(&self) -> usize {
        self.open.values().map(|bucket| bucket.keys.len()).sum()
    }

    /// The windows that `watermark` closes, in their order.
    fn close_until(&mut self, watermark: EventTime) -> BTreeMap<i64, Bucket> {
        self.watermark = self.watermark.max(watermark);
        let later = match self.watermark.0.checked_add(1) {
            Some(next) => self.open.split_off(&next),
            None => BTreeMap::new(),
        };
        std::mem::replace(&mut self.open, later)
    }

    /// Adds saved states of groups to those of the same groups; those that `take` refuses by their closing time are
    /// left out, and their rows returned.
    fn merge(
        &mut self,
        batch: &RecordBatch,
        keys: &RecordBatch,
        take: impl Fn(i64) -> bool,
    ) -> Result<Vec<u32>, Error> {
        let closes = column(batch, CLOSE)?
            .as_primitive_opt::<Int64Type>()
            .ok_or_else(damaged)?;
        let encoded = self.encoder.encode(keys)?;
        let calls = &self.plan.calls;
        let mut states = named(batch, STATE, calls.len())?
            .iter()
            .map(|column| Ok(loaded_column(column)?.into_iter()))
            .collect::<Result<Vec<_>, Error>>()?;
        let mut left_out = Vec::new();
        for row in 0..batch.num_rows() {
            let saved: Vec<State> = states.iter_mut().filter_map(Iterator::next).collect();
            let close = closes.value(row);
            if !take(close) {
                left_out.push(row as u32);
                continue;
            }
            let bucket = self.open.entry(close).or_insert_with(|| Bucket::new(calls));
            let group = bucket.group(encoded.row(row), calls) as usize;
            for ((call, into), from) in calls.iter().zip(&mut bucket.states).zip(saved) {
                call.merge(&mut into[group], from);
            }
        }
        Ok(left_out)
    }

    /// Whether the states of `call` go into checkpoints in portions.
    fn in_portions(&self, call: &AggregateCall) -> bool {
        matches!(self.plan.of, Phase::Partials) && call.counts_prints()
    }

    /// Keeps what has been added to sets for the next checkpoint.
    fn note_sets(&mut self, partials: &RecordBatch) -> Result<(), Error> {
        if !self.plan.calls.iter().any(|call| self.in_portions(call)) {
            return Ok(());
        }
        let closes = column(partials, CLOSE)?
            .as_primitive_opt::<Int64Type>()
            .ok_or_else(damaged)?;
        let mut parts: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
        for (row, close) in closes.values().iter().enumerate() {
            parts.entry(*close).or_default().push(row as u32);
        }
        for (close, rows) in parts {
            if let Some(bucket) = self.open.get_mut(&close) {
                bucket.sets.note(take_rows(partials, rows)?);
            }
        }
        Ok(())
    }

    /// Groups of the window that closes at `close` as rows of a checkpoint: keys, and a column of states for each call.
    fn rows(
        &self,
        close: i64,
        keys: &[ArrayRef],
        n_rows: usize,
        states: impl Fn(usize, &AggregateCall) -> Result<Option<ArrayRef>, Error>,
    ) -> Result<RecordBatch, Error> {
        let close: ArrayRef = Arc::new(Int64Array::from(vec![close; n_rows]));
        let mut columns = vec![(CLOSE.to_owned(), close)];
        for (index, key) in keys.iter().enumerate() {
            columns.push((format!("key_{index}"), key.clone()));
        }
        for (index, call) in self.plan.calls.iter().enumerate() {
            // What another table has is empty here: added up, they are the state.
            let states = match states(index, call)? {
                Some(states) => states,
                None => saved_column(std::iter::repeat_n(&call.empty(), n_rows)),
            };
            columns.push((format!("{STATE}_{index}"), states));
        }
        let keys = exchange_keys(&self.plan.keys, &self.plan.input, keys);
        state_batch(&keys, columns)
    }

    /// What a checkpoint gets of the sets of a window that are written in portions.
    fn set_rows(
        &self,
        close: i64,
        keys: &[ArrayRef],
        bucket: &Bucket,
        sets: &mut Sets,
    ) -> Result<Vec<StateRows>, Error> {
        let n_keys = self.plan.keys.len();
        sets.snapshot(
            || {
                self.rows(close, keys, bucket.keys.len(), |index, call| {
                    let states = &bucket.states[index];
                    Ok(self.in_portions(call).then(|| saved_column(states.iter())))
                })
            },
            |partial| {
                let keys = &partial.columns()[..n_keys];
                self.rows(close, keys, partial.num_rows(), |index, call| {
                    let saved = column(partial, &format!("{STATE}_{index}"))?;
                    Ok(self.in_portions(call).then(|| saved.clone()))
                })
            },
        )
    }

    fn add(
        &mut self,
        close: i64,
        batch: &RecordBatch,
        additions: Option<&[bool]>,
    ) -> Result<(), Error> {
        let calls = &self.plan.calls;
        let bucket = self.open.entry(close).or_insert_with(|| Bucket::new(calls));
        let rows = self.encoder.encode(batch)?;
        let groups: Vec<u32> = rows
            .iter()
            .map(|row| bucket.group(row, &self.plan.calls))
            .collect();
        for (call, states) in self.plan.calls.iter().zip(&mut bucket.states) {
            call.update(states, &groups, batch, additions)?;
        }
        Ok(())
    }
}

impl Bucket {
    fn new(calls: &[AggregateCall]) -> Self {
        Bucket {
            states: vec![Vec::new(); calls.len()],
            ..Bucket::default()
        }
    }

    fn key_columns(&self, encoder: &Encoder) -> Result<Vec<ArrayRef>, Error> {
        encoder.decode(self.keys.iter().map(|key| &**key))
    }

    fn group(&mut self, key: &[u8], calls: &[AggregateCall]) -> u32 {
        if let Some(group) = self.groups.get(key) {
            return *group;
        }
        let group = self.keys.len() as u32;
        self.groups.insert(key.into(), group);
        self.keys.push(key.into());
        for (call, states) in calls.iter().zip(&mut self.states) {
            states.push(call.empty());
        }
        group
    }
}

/// Rows of a batch by the time at which their window closes.
type ByClose = BTreeMap<i64, Vec<u32>>;

/// The rows of each window, by the time at which it closes, and those whose window has closed already. The windows end
/// at column `end`, a wall clock of `zone` if there is one.
pub(crate) fn by_close(
    batch: &RecordBatch,
    end: usize,
    zone: Option<Tz>,
    watermark: EventTime,
) -> Result<(ByClose, Vec<u32>), Error> {
    let ends = millis(batch.column(end))?;
    let mut parts = ByClose::new();
    let mut late = Vec::new();
    let mut last = (i64::MIN, i64::MIN);
    for (row, end) in ends.values().iter().enumerate() {
        if *end != last.0 {
            last = (*end, close_time(*end, zone));
        }
        if last.1 <= watermark.0 {
            late.push(row as u32);
        } else {
            parts.entry(last.1).or_default().push(row as u32);
        }
    }
    Ok((parts, late))
}

/// Which kinds add, if any takes away.
pub(crate) fn additions(batch: &ChangeBatch) -> Option<Vec<bool>> {
    batch
        .kinds
        .as_ref()
        .map(|kinds| kinds.iter().map(|kind| kind.is_addition()).collect())
}

impl Operator for Windows {
    fn on_batch(
        &mut self,
        _: usize,
        batch: ChangeBatch,
        output: &mut dyn Output,
    ) -> Result<(), Error> {
        let (end, zone) = match self.plan.of {
            Phase::Rows { end, zone } => (end, zone),
            Phase::Partials => {
                let watermark = self.watermark.0;
                let late = self.merge(&batch.rows, &batch.rows, |close| close > watermark)?;
                self.note_sets(&batch.rows)?;
                return match late.is_empty() {
                    true => Ok(()),
                    false => output.late(take_rows(&batch.rows, late)?),
                };
            }
        };
        let (parts, late) = by_close(&batch.rows, end, zone, self.watermark)?;
        if !late.is_empty() {
            output.late(take_rows(&batch.rows, late)?)?;
        }
        let additions = additions(&batch);
        for (close, rows) in parts {
            let signs: Option<Vec<bool>> = additions
                .as_ref()
                .map(|additions| rows.iter().map(|row| additions[*row as usize]).collect());
            let part = take_rows(&batch.rows, rows)?;
            self.add(close, &part, signs.as_deref())?;
        }
        Ok(())
    }

    fn on_watermark(&mut self, watermark: EventTime, output: &mut dyn Output) -> Result<(), Error> {
        for bucket in self.close_until(watermark).into_values() {
            let mut columns = bucket.key_columns(&self.encoder)?;
            for (call, states) in self.plan.calls.iter().zip(&bucket.states) {
                columns.push(call.finish(states.iter())?);
            }
            output.emit(ChangeBatch::inserts(batch_of(&self.plan.output, columns)?))?;
        }
        output.watermark(watermark)
    }

    fn snapshot(&mut self, _: CheckpointId) -> Result<Vec<StateTable>, Error> {
        let mut tables = vec![watermark_table(self.watermark)?];
        let mut rows = Vec::with_capacity(self.open.len());
        let in_portions = self.plan.calls.iter().any(|call| self.in_portions(call));
        let mut open = std::mem::take(&mut self.open);
        for (close, bucket) in &mut open {
            let keys = bucket.key_columns(&self.encoder)?;
            let others = self.rows(*close, &keys, bucket.keys.len(), |index, call| {
                let states = &bucket.states[index];
                Ok((!self.in_portions(call)).then(|| saved_column(states.iter())))
            });
            rows.push(others?.into());
            if in_portions {
                let mut sets = std::mem::take(&mut bucket.sets);
                tables.push(StateTable {
                    name: format!("sets-{close}"),
                    rows: self.set_rows(*close, &keys, bucket, &mut sets)?,
                });
                bucket.sets = sets;
            }
        }
        self.open = open;
        tables.push(StateTable {
            name: "windows".to_owned(),
            rows,
        });
        Ok(tables)
    }

    fn restore(&mut self, mut tables: Vec<StateTable>) -> Result<(), Error> {
        self.watermark = take_watermark(&mut tables)?;
        for batch in tables.into_iter().flat_map(StateTable::into_batches) {
            let keys = named(&batch, "key", self.plan.keys.len())?;
            let keys = spread(&self.plan.input, &self.plan.keys, keys)?;
            self.merge(&batch, &keys, |_| true)?;
        }
        Ok(())
    }

    fn state_size(&self) -> usize {
        let states = |bucket: &Bucket| states_size(&bucket.states);
        self.n_groups() * 96 + self.open.values().map(states).sum::<usize>()
    }
}

/// The columns `prefix_0`, `prefix_1`, … of a state table.
pub(crate) fn named(
    batch: &RecordBatch,
    prefix: &str,
    count: usize,
) -> Result<Vec<ArrayRef>, Error> {
    (0..count)
        .map(|index| column(batch, &format!("{prefix}_{index}")).cloned())
        .collect()
}

/// A batch of `schema` whose columns `at` are `columns` and whose others are NULL.
pub(crate) fn spread(
    schema: &SchemaRef,
    at: &[usize],
    columns: Vec<ArrayRef>,
) -> Result<RecordBatch, Error> {
    let n_rows = columns.first().map_or(0, |column| column.len());
    let mut all: Vec<ArrayRef> = schema
        .fields()
        .iter()
        .map(|field| arrow::array::new_null_array(field.data_type(), n_rows))
        .collect();
    for (index, column) in at.iter().zip(columns) {
        all[*index] = column;
    }
    batch_of(schema, all)
}

/// Those key columns that the exchange before the operator hashes: all but the window's own.
pub(crate) fn exchange_keys(
    keys: &[usize],
    schema: &SchemaRef,
    columns: &[ArrayRef],
) -> Vec<ArrayRef> {
    keys.iter()
        .zip(columns)
        .filter(|(key, _)| !is_window_column(schema.field(**key).name()))
        .map(|(_, column)| column.clone())
        .collect()
}

/// Columns that the window functions add.
pub(crate) fn is_window_column(name: &str) -> bool {
    matches!(name, "window_start" | "window_end" | "window_time")
}

#[cfg(test)]
mod tests;
