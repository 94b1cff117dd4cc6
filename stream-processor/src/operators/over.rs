//! Aggregates over the rows before each row, in the order of event time.
//!
//! Rows wait for the watermark; then each comes with what the calls give over its frame. What is late, and when a key is
//! forgotten, is as in Flink: without a beginning of the frame a row behind the watermark is late, else one that is not
//! after the last row of its key that was given; a frame of a time forgets a key half of that time after its last row.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, ListArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{Int64Type, SchemaRef};
use hashbrown::HashMap;

use super::aggregate::{AggregateCall, Argument, State};
use super::cell::Cell;
use super::dedup::millis;
use super::keys::{
    Encoder, batch_of, column, damaged, failed, loaded_column, saved_column, state_batch,
    take_rows, take_watermark, watermark_table,
};
use super::window::{named, spread};
use crate::batch::ChangeBatch;
use crate::error::Error;
use crate::graph::OperatorFactory;
use crate::operator::{CheckpointId, EventTime, Operator, Output, StateTable, Subtask};

/// The rows before a row that count, besides itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OverFrame {
    /// So many rows; `None` is all.
    Rows(Option<u64>),
    /// Those of so many milliseconds, and all of the same time; `None` is all.
    Range(Option<i64>),
}

impl OverFrame {
    pub(crate) fn is_bounded(self) -> bool {
        matches!(self, OverFrame::Rows(Some(_)) | OverFrame::Range(Some(_)))
    }
}

/// What to compute; the output has the input's columns `keep`, then the results.
#[derive(Debug, Clone)]
pub(crate) struct OverAggregate {
    pub(crate) input: SchemaRef,
    pub(crate) partition: Vec<usize>,
    pub(crate) time: usize,
    pub(crate) frame: OverFrame,
    pub(crate) calls: Vec<AggregateCall>,
    pub(crate) keep: Vec<usize>,
    pub(crate) output: SchemaRef,
}

impl OperatorFactory for OverAggregate {
    fn create(&self, _: Subtask) -> Result<Box<dyn Operator>, Error> {
        Ok(Box::new(Overs {
            keys: Encoder::new(&self.input, &self.partition)?,
            rows: Encoder::all(&self.input)?,
            plan: self.clone(),
            held: HashMap::default(),
            timers: BTreeMap::new(),
            watermark: EventTime::MIN,
        }))
    }
}

type Bytes = Box<[u8]>;

/// What is known of one key.
struct Key {
    /// Those that wait, and behind them those that are still in a frame.
    rows: BTreeMap<i64, Vec<Arc<[u8]>>>,
    /// By call: what it gave over the last frame.
    states: Vec<State>,
    /// Time of the last rows that were given.
    last: Option<i64>,
    /// How many rows the last frame has, if it has so many at most.
    in_frame: u64,
    /// When all is forgotten: the last of these times. Those before it were put off; as in Flink, they count as times of
    /// rows that were given.
    forgotten: Vec<i64>,
}

/// What happens to the rows of a key, one after the other; rows by their place among all that are touched.
enum Step {
    Add(u32),
    TakeBack(u32),
    Give(u32),
}

struct Overs {
    plan: OverAggregate,
    keys: Encoder,
    rows: Encoder,
    held: HashMap<Bytes, Key, ahash::RandomState>,
    /// Keys by a time at which they have something to do.
    timers: BTreeMap<i64, Vec<Bytes>>,
    watermark: EventTime,
}

impl Key {
    fn new(calls: &[AggregateCall]) -> Self {
        Key {
            rows: BTreeMap::new(),
            states: calls.iter().map(AggregateCall::empty).collect(),
            last: None,
            in_frame: 0,
            forgotten: Vec::new(),
        }
    }

    /// The first time of rows that wait.
    fn next(&self) -> Option<i64> {
        let after = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let mut waiting = self.rows.range((after, Bound::Unbounded));
        waiting.next().map(|(time, _)| *time)
    }

    /// Passes the times up to `time` at which the key would have been forgotten, had no later rows come.
    fn put_off(&mut self, time: i64) {
        while let [first, _, ..] = self.forgotten[..]
            && first <= time
        {
            self.forgotten.remove(0);
            self.last = self.last.max(Some(first));
        }
    }

    /// Gives the rows of `time`.
    fn give(
        &mut self,
        time: i64,
        frame: OverFrame,
        touched: &mut Vec<Arc<[u8]>>,
        steps: &mut Vec<Step>,
    ) {
        let place = |touched: &mut Vec<Arc<[u8]>>, row: Arc<[u8]>| {
            touched.push(row);
            (touched.len() - 1) as u32
        };
        let rows = self.rows.get(&time).cloned().unwrap_or_default();
        match frame {
            OverFrame::Range(before) => {
                let over = before.map(|before| time.saturating_sub(before));
                while let Some(over) = over
                    && let Some(first) = self.rows.first_entry()
                    && *first.key() < over
                {
                    for row in first.remove() {
                        steps.push(Step::TakeBack(place(touched, row)));
                    }
                }
                let begin = touched.len() as u32;
                touched.extend(rows);
                let places = begin..touched.len() as u32;
                steps.extend(places.clone().map(Step::Add));
                steps.extend(places.map(Step::Give));
            }
            OverFrame::Rows(before) => {
                for row in rows {
                    if before.is_some_and(|before| self.in_frame > before) {
                        if let Some(first) = self.oldest() {
                            steps.push(Step::TakeBack(place(touched, first)));
                        }
                    } else {
                        self.in_frame += 1;
                    }
                    let at = place(touched, row);
                    steps.extend([Step::Add(at), Step::Give(at)]);
                }
            }
        }
        if !frame.is_bounded() {
            self.rows.remove(&time);
        }
        self.last = Some(time);
    }

    /// Takes out the first row of the frame.
    fn oldest(&mut self) -> Option<Arc<[u8]>> {
        let mut first = self.rows.first_entry()?;
        let row = first.get_mut().remove(0);
        if first.get().is_empty() {
            first.remove();
        }
        Some(row)
    }
}

impl Overs {
    /// Whether a row of `time` comes too late for its key.
    fn is_late(&self, key: &[u8], time: i64) -> bool {
        if !self.plan.frame.is_bounded() {
            return time <= self.watermark.0;
        }
        let last = self.held.get(key).and_then(|key| key.last);
        last.is_some_and(|last| time <= last)
    }

    fn hold(&mut self, key: &[u8], time: i64, row: Arc<[u8]>) {
        let calls = &self.plan.calls;
        let held = self.held.entry_ref(key).or_insert_with(|| Key::new(calls));
        let same_time = held.rows.entry(time).or_default();
        same_time.push(row);
        if same_time.len() == 1 {
            self.timers.entry(time).or_default().push(key.into());
        }
        if let OverFrame::Range(Some(before)) = self.plan.frame {
            let least = time.saturating_add(before + 1);
            if held
                .forgotten
                .last()
                .is_none_or(|forgotten| *forgotten < least)
            {
                let forgotten = least.saturating_add(before / 2);
                held.forgotten.push(forgotten);
                self.timers.entry(forgotten).or_default().push(key.into());
            }
        }
    }

    /// Gives all rows up to the watermark.
    fn fire(&mut self, output: &mut dyn Output) -> Result<(), Error> {
        let later = match self.watermark.0.checked_add(1) {
            Some(next) => self.timers.split_off(&next),
            None => BTreeMap::new(),
        };
        let due = std::mem::replace(&mut self.timers, later);
        let mut keys: Vec<Bytes> = due.into_values().flatten().collect();
        keys.sort_unstable();
        keys.dedup();
        let (mut touched, mut steps) = (Vec::new(), Vec::new());
        // Which steps are each key's, and whether its states begin anew before some of them.
        let mut runs: Vec<(Bytes, std::ops::Range<usize>)> = Vec::new();
        for key in keys {
            let begin = steps.len();
            let Some(held) = self.held.get_mut(&key) else {
                continue;
            };
            while let Some(time) = held.next().filter(|time| *time <= self.watermark.0) {
                held.put_off(time - 1);
                held.give(time, self.plan.frame, &mut touched, &mut steps);
            }
            held.put_off(self.watermark.0);
            runs.push((key, begin..steps.len()));
        }
        self.emit(&touched, &steps, &runs, output)?;
        for (key, _) in runs {
            let watermark = self.watermark.0;
            let is_over = |held: &Key| held.forgotten.last().is_some_and(|at| *at <= watermark);
            if self.held.get(&key).is_some_and(is_over) {
                self.held.remove(&key);
            }
        }
        Ok(())
    }

    fn emit(
        &mut self,
        touched: &[Arc<[u8]>],
        steps: &[Step],
        runs: &[(Bytes, std::ops::Range<usize>)],
        output: &mut dyn Output,
    ) -> Result<(), Error> {
        if steps.is_empty() {
            return Ok(());
        }
        let rows = self.rows.decode(touched.iter().map(|row| &**row))?;
        let rows = batch_of(&self.plan.input, rows)?;
        let calls = &self.plan.calls;
        let arguments = calls.iter().map(|call| call.argument_in(&rows));
        let arguments = arguments.collect::<Result<Vec<Argument<'_>>, Error>>()?;
        let mut given: Vec<u32> = Vec::new();
        let mut results: Vec<Vec<Option<Cell>>> = vec![Vec::new(); calls.len()];
        for (key, run) in runs {
            let Some(held) = self.held.get_mut(key) else {
                continue;
            };
            for step in &steps[run.clone()] {
                let (row, add) = match step {
                    Step::Add(row) => (*row, true),
                    Step::TakeBack(row) => (*row, false),
                    Step::Give(row) => {
                        given.push(*row);
                        let states = calls.iter().zip(&held.states);
                        for ((call, state), results) in states.zip(&mut results) {
                            results.push(call.result(state));
                        }
                        continue;
                    }
                };
                for (argument, state) in arguments.iter().zip(&mut held.states) {
                    argument.apply(state, row as usize, add);
                }
            }
        }
        let given = take_record_batch(&rows, &UInt32Array::from(given)).map_err(failed)?;
        let kept = self
            .plan
            .keep
            .iter()
            .map(|column| given.column(*column).clone());
        let mut columns: Vec<ArrayRef> = kept.collect();
        for (call, results) in calls.iter().zip(results) {
            columns.push(call.results(results)?);
        }
        output.emit(ChangeBatch::inserts(batch_of(&self.plan.output, columns)?))
    }

    /// The keys and what is known of them besides their rows.
    fn saved_keys(&self) -> Result<Option<RecordBatch>, Error> {
        if self.held.is_empty() {
            return Ok(None);
        }
        let keys = self.keys.decode(self.held.keys().map(|key| &**key))?;
        let number = |of: &dyn Fn(&Key) -> Option<i64>| -> ArrayRef {
            Arc::new(self.held.values().map(of).collect::<Int64Array>())
        };
        let mut columns: Vec<(String, ArrayRef)> = vec![
            ("last".to_owned(), number(&|key| key.last)),
            (
                "in_frame".to_owned(),
                number(&|key| Some(key.in_frame as i64)),
            ),
            ("forgotten".to_owned(), self.saved_times()),
        ];
        for (index, key) in keys.iter().enumerate() {
            columns.push((format!("key_{index}"), key.clone()));
        }
        for index in 0..self.plan.calls.len() {
            let states = self.held.values().map(|key| &key.states[index]);
            columns.push((format!("state_{index}"), saved_column(states)));
        }
        state_batch(&keys, columns).map(Some)
    }

    /// When each key is forgotten.
    fn saved_times(&self) -> ArrayRef {
        let of_key = |key: &Key| Some(key.forgotten.iter().copied().map(Some).collect::<Vec<_>>());
        let all = self.held.values().map(of_key);
        Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(all))
    }

    fn load_keys(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        let number = |name: &str| {
            let column = column(batch, name)?;
            column.as_primitive_opt::<Int64Type>().ok_or_else(damaged)
        };
        let (last, in_frame) = (number("last")?, number("in_frame")?);
        let forgotten = column(batch, "forgotten")?;
        let forgotten = forgotten.as_list_opt::<i32>().ok_or_else(damaged)?;
        let valid = |numbers: &Int64Array, row| numbers.is_valid(row).then(|| numbers.value(row));
        let states = named(batch, "state", self.plan.calls.len())?;
        let mut states = states
            .iter()
            .map(|column| Ok(loaded_column(column)?.into_iter()))
            .collect::<Result<Vec<_>, Error>>()?;
        let keys = if self.plan.partition.is_empty() {
            // All rows have the same key; any row of the right length has it.
            let time = self.plan.input.field(self.plan.time).data_type();
            let time = arrow::array::new_null_array(time, batch.num_rows());
            spread(&self.plan.input, &[self.plan.time], vec![time])?
        } else {
            let keys = named(batch, "key", self.plan.partition.len())?;
            spread(&self.plan.input, &self.plan.partition, keys)?
        };
        let keys = self.keys.encode(&keys)?;
        for (row, key) in keys.iter().enumerate() {
            let states: Vec<State> = states.iter_mut().filter_map(Iterator::next).collect();
            let calls = &self.plan.calls;
            let held = self.held.entry_ref(key).or_insert_with(|| Key::new(calls));
            (held.states, held.last) = (states, valid(last, row));
            held.in_frame = in_frame.value(row) as u64;
            let times = forgotten.value(row);
            let times = times.as_primitive_opt::<Int64Type>().ok_or_else(damaged)?;
            held.forgotten = times.values().to_vec();
            for time in times.values() {
                self.timers.entry(*time).or_default().push(key.into());
            }
        }
        Ok(())
    }

    fn load_rows(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        let schema = self.plan.input.clone();
        let rows = batch_of(&schema, named(batch, "value", schema.fields().len())?)?;
        let times = millis(rows.column(self.plan.time))?;
        let (keys, bytes) = (self.keys.encode(&rows)?, self.rows.encode(&rows)?);
        for (row, time) in times.values().iter().enumerate() {
            let key = keys.row(row);
            let calls = &self.plan.calls;
            let held = self.held.entry_ref(key).or_insert_with(|| Key::new(calls));
            held.rows
                .entry(*time)
                .or_default()
                .push(bytes.row(row).into());
            self.timers.entry(*time).or_default().push(key.into());
        }
        Ok(())
    }
}

impl Operator for Overs {
    fn on_batch(
        &mut self,
        _: usize,
        batch: ChangeBatch,
        output: &mut dyn Output,
    ) -> Result<(), Error> {
        let times = millis(batch.rows.column(self.plan.time))?;
        let (keys, rows) = (
            self.keys.encode(&batch.rows)?,
            self.rows.encode(&batch.rows)?,
        );
        let mut late = Vec::new();
        for (row, time) in times.values().iter().enumerate() {
            let key = keys.row(row);
            if self.is_late(key, *time) {
                late.push(row as u32);
            } else {
                self.hold(key, *time, rows.row(row).into());
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
        let mut tables = vec![watermark_table(self.watermark)?];
        if let Some(keys) = self.saved_keys()? {
            tables.push(StateTable {
                name: "keys".to_owned(),
                rows: vec![keys.into()],
            });
        }
        let rows = self
            .held
            .values()
            .flat_map(|key| key.rows.values())
            .flatten();
        let rows: Vec<&[u8]> = rows.map(|row| &**row).collect();
        if !rows.is_empty() {
            let rows = self.rows.decode(rows)?;
            let keys = self.plan.partition.iter();
            let keys: Vec<ArrayRef> = keys.map(|key| rows[*key].clone()).collect();
            let values = rows.into_iter().enumerate();
            let values = values.map(|(at, column)| (format!("value_{at}"), column));
            tables.push(StateTable {
                name: "rows".to_owned(),
                rows: vec![state_batch(&keys, values.collect())?.into()],
            });
        }
        Ok(tables)
    }

    fn restore(&mut self, mut tables: Vec<StateTable>) -> Result<(), Error> {
        self.watermark = take_watermark(&mut tables)?;
        for table in tables {
            let is_keys = table.name == "keys";
            for batch in table.into_batches() {
                if is_keys {
                    self.load_keys(&batch)?;
                } else {
                    self.load_rows(&batch)?;
                }
            }
        }
        Ok(())
    }

    fn state_size(&self) -> usize {
        let of_key = |(key, held): (&Bytes, &Key)| {
            let rows = held.rows.values().flatten().map(|row| row.len() + 32);
            key.len() + 120 + held.states.len() * size_of::<State>() + rows.sum::<usize>()
        };
        self.held.iter().map(of_key).sum()
    }
}

#[cfg(test)]
mod tests;
