//! The join of two streams over an interval of event time: a row of one side meets those of the other whose time is
//! between two bounds around its own. Nothing is taken back, and rows are forgotten once the watermark says that they
//! can meet nothing more.
//!
//! When a key's rows are looked through, and so what late rows still meet, is as in Flink's `TimeIntervalJoin`; within
//! one batch rows are let go at its end. The watermark goes on behind the rows that may still come out.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int64Type, SchemaRef};
use datafusion_physical_expr::PhysicalExpr;
use hashbrown::HashMap;

use super::dedup::millis;
use super::join::{Alone, accepted, not_null, with_nulls};
use super::keys::{
    Encoded, Encoder, batch_of, column, damaged, failed, state_batch, take_rows, take_watermark,
    watermark_table,
};
use super::window::named;
use crate::batch::ChangeBatch;
use crate::error::Error;
use crate::graph::OperatorFactory;
use crate::operator::{CheckpointId, EventTime, Operator, Output, StateTable, Subtask};

/// What to join; the output has the left side's columns, then the right's.
#[derive(Debug, Clone)]
pub(crate) struct IntervalJoin {
    pub(crate) sides: [SchemaRef; 2],
    pub(crate) keys: [Vec<usize>; 2],
    pub(crate) times: [usize; 2],
    /// How long after its time a row of each side may meet a row of the other, in milliseconds; negative if it must have
    /// come before. A left row at `t` meets right rows from `t - reach[1]` to `t + reach[0]`.
    pub(crate) reach: [i64; 2],
    /// Which rows of each side come out alone.
    pub(crate) alone: [Alone; 2],
    pub(crate) condition: Option<Arc<dyn PhysicalExpr>>,
    pub(crate) output: SchemaRef,
}

impl OperatorFactory for IntervalJoin {
    fn create(&self, _: Subtask) -> Result<Box<dyn Operator>, Error> {
        let [left, right] = &self.sides;
        Ok(Box::new(Joiner {
            keys: [
                Encoder::new(left, &self.keys[0])?,
                Encoder::new(right, &self.keys[1])?,
            ],
            rows: [Encoder::all(left)?, Encoder::all(right)?],
            plan: self.clone(),
            held: HashMap::default(),
            timers: BTreeMap::new(),
            expired: [i64::MIN; 2],
            watermark: EventTime::MIN,
        }))
    }
}

type Bytes = Box<[u8]>;

struct Held {
    row: Arc<[u8]>,
    /// Whether it has met a row.
    met: bool,
}

/// What is held of one key.
#[derive(Default)]
struct Key {
    /// By side and time.
    rows: [BTreeMap<i64, Vec<Held>>; 2],
    /// When the rows of each side are looked through next.
    timers: [Option<i64>; 2],
}

struct Joiner {
    plan: IntervalJoin,
    keys: [Encoder; 2],
    rows: [Encoder; 2],
    held: HashMap<Bytes, Key, ahash::RandomState>,
    /// Keys and sides by the time of their timer; an entry that is not its key's timer any more is skipped.
    timers: BTreeMap<i64, Vec<(Bytes, usize)>>,
    /// Up to when the rows of each side could meet nothing more when they were last looked at.
    expired: [i64; 2],
    watermark: EventTime,
}

/// Rows of a batch and the held rows that their times allow.
#[derive(Default)]
struct Pairs {
    here: Vec<u32>,
    there: Vec<Arc<[u8]>>,
    /// Time and place of the held row.
    places: Vec<(i64, usize)>,
    /// Rows whose key has rows of the other side that are over.
    over: Vec<u32>,
}

/// Rows that come alone, by side.
type Singles = [Vec<Arc<[u8]>>; 2];

impl Joiner {
    /// Up to when rows of the side at `port` can meet nothing more.
    fn expiry(&self, port: usize) -> i64 {
        match self.watermark {
            EventTime::MAX => i64::MAX,
            EventTime(watermark) => watermark.saturating_sub(self.plan.reach[port] + 1),
        }
    }

    fn pairs(&mut self, port: usize, times: &[i64], keys: &Encoded, keyed: &[bool]) -> Pairs {
        let [own, others] = [port, 1 - port].map(|port| self.plan.reach[port]);
        let mut pairs = Pairs::default();
        for (row, time) in times.iter().enumerate().filter(|(row, _)| keyed[*row]) {
            let (first, last) = (time.saturating_sub(others), time.saturating_add(own));
            if self.expired[1 - port] >= last {
                continue;
            }
            self.expired[1 - port] = self.expiry(1 - port);
            let Some(of_key) = self.held.get(keys.row(row)) else {
                continue;
            };
            let held = &of_key.rows[1 - port];
            if first <= last {
                for (time, rows) in held.range(first..=last) {
                    for (at, held) in rows.iter().enumerate() {
                        pairs.here.push(row as u32);
                        pairs.there.push(held.row.clone());
                        pairs.places.push((*time, at));
                    }
                }
            }
            if held.range(..=self.expired[1 - port]).next().is_some() {
                pairs.over.push(row as u32);
            }
        }
        pairs
    }

    /// The pairs as rows, those that the condition accepts; others are no pairs.
    fn joined(
        &self,
        port: usize,
        batch: &RecordBatch,
        pairs: &mut Pairs,
    ) -> Result<RecordBatch, Error> {
        let mut columns = take_rows(batch, pairs.here.clone())?.columns().to_vec();
        let there = pairs.there.iter().map(|row| &**row);
        let there = self.rows[1 - port].decode(there)?;
        let at = if port == 0 { columns.len() } else { 0 };
        columns.splice(at..at, there);
        let joined = batch_of(&self.plan.output, columns)?;
        let Some(accepted) = accepted(self.plan.condition.as_ref(), &joined)? else {
            return Ok(joined);
        };
        super::keys::retain(&mut pairs.here, &accepted);
        super::keys::retain(&mut pairs.places, &accepted);
        filter_record_batch(&joined, &BooleanArray::from(accepted)).map_err(failed)
    }

    /// Holds the rows that may still meet others, and says which have met none and never will.
    fn keep(
        &mut self,
        port: usize,
        (times, rows): (&[i64], &Encoded),
        (keys, keyed): (&Encoded, &[bool]),
        pairs: &Pairs,
    ) -> Singles {
        let mut singles = Singles::default();
        let [own, others] = [port, 1 - port].map(|port| self.plan.alone[port] != Alone::Never);
        let mut end = 0;
        for (row, time) in times.iter().enumerate() {
            let begin = end;
            end += pairs.here[begin..]
                .iter()
                .take_while(|here| **here == row as u32)
                .count();
            let met = end > begin;
            let waits = keyed[row] && self.watermark.0 < time.saturating_add(self.plan.reach[port]);
            if !waits && own && !met {
                singles[port].push(rows.row(row).into());
            }
            if !waits && (!others || !met) {
                continue;
            }
            let key = keys.row(row);
            let of_key = self.held.entry_ref(key).or_default();
            for (time, at) in &pairs.places[begin..end] {
                if let Some(rows) = of_key.rows[1 - port].get_mut(time) {
                    rows[*at].met = true;
                }
            }
            if waits {
                let row = rows.row(row).into();
                let same_time = of_key.rows[port].entry(*time).or_default();
                same_time.push(Held { row, met });
                if of_key.timers[port].is_none() {
                    let due = due(self.plan.reach, port, *time);
                    of_key.timers[port] = Some(due);
                    self.timers.entry(due).or_default().push((key.into(), port));
                }
            }
        }
        singles
    }

    /// Lets go of the rows of a key and side that are over.
    fn sweep(&mut self, key: &[u8], port: usize, singles: &mut Singles) {
        let Some(of_key) = self.held.get_mut(key) else {
            return;
        };
        let later = match self.expired[port].checked_add(1) {
            Some(next) => of_key.rows[port].split_off(&next),
            None => BTreeMap::new(),
        };
        let over = std::mem::replace(&mut of_key.rows[port], later);
        if self.plan.alone[port] == Alone::Unmatched {
            let rows = over.into_values().flatten().filter(|held| !held.met);
            singles[port].extend(rows.map(|held| held.row));
        }
    }

    /// Looks through the rows whose time has come.
    fn fire(&mut self) -> Singles {
        let later = match self.watermark.0.checked_add(1) {
            Some(next) => self.timers.split_off(&next),
            None => BTreeMap::new(),
        };
        let mut singles = Singles::default();
        for (time, keys) in std::mem::replace(&mut self.timers, later) {
            for (key, port) in keys {
                let timer = self.held.get(&key).and_then(|held| held.timers[port]);
                if timer != Some(time) {
                    continue;
                }
                self.expired[port] = self.expiry(port);
                self.sweep(&key, port, &mut singles);
                let Some(of_key) = self.held.get_mut(&key) else {
                    continue;
                };
                let next = of_key.rows[port].keys().next();
                of_key.timers[port] = next.map(|time| due(self.plan.reach, port, *time));
                if let Some(due) = of_key.timers[port] {
                    self.timers.entry(due).or_default().push((key, port));
                } else if of_key.timers == [None, None]
                    && of_key.rows.iter().all(BTreeMap::is_empty)
                {
                    self.held.remove(&key);
                }
            }
        }
        singles
    }

    fn emit_alone(&self, singles: &Singles, output: &mut dyn Output) -> Result<(), Error> {
        for (port, rows) in singles.iter().enumerate() {
            if !rows.is_empty() {
                let columns = self.rows[port].decode(rows.iter().map(|row| &**row))?;
                let rows = with_nulls(&self.plan.output, port, columns, rows.len())?;
                output.emit(ChangeBatch::inserts(rows))?;
            }
        }
        Ok(())
    }

    fn load(&mut self, port: usize, batch: &RecordBatch) -> Result<(), Error> {
        let schema = self.plan.sides[port].clone();
        let rows = batch_of(&schema, named(batch, "value", schema.fields().len())?)?;
        let met = column(batch, MET)?.as_boolean_opt().ok_or_else(damaged)?;
        let timers = column(batch, TIMER)?
            .as_primitive_opt::<Int64Type>()
            .ok_or_else(damaged)?;
        let times = millis(rows.column(self.plan.times[port]))?;
        let (keys, bytes) = (
            self.keys[port].encode(&rows)?,
            self.rows[port].encode(&rows)?,
        );
        for (row, time) in times.values().iter().enumerate() {
            let of_key = self.held.entry_ref(keys.row(row)).or_default();
            of_key.rows[port].entry(*time).or_default().push(Held {
                row: bytes.row(row).into(),
                met: met.value(row),
            });
            if timers.is_valid(row) && of_key.timers[port].is_none() {
                of_key.timers[port] = Some(timers.value(row));
                let due = self.timers.entry(timers.value(row)).or_default();
                due.push((keys.row(row).into(), port));
            }
        }
        Ok(())
    }
}

/// When the rows of a side are looked through that begin at `time`: half the interval after they are over.
fn due(reach: [i64; 2], port: usize, time: i64) -> i64 {
    let half = (reach[0] + reach[1]) / 2;
    time.saturating_add(reach[port]).saturating_add(half + 1)
}

const MET: &str = "met";
const TIMER: &str = "timer";

impl Operator for Joiner {
    fn on_batch(
        &mut self,
        port: usize,
        batch: ChangeBatch,
        output: &mut dyn Output,
    ) -> Result<(), Error> {
        let times = millis(batch.rows.column(self.plan.times[port]))?;
        let keys = self.keys[port].encode(&batch.rows)?;
        let rows = self.rows[port].encode(&batch.rows)?;
        let keyed = not_null(&batch.rows, &self.plan.keys[port]);
        let mut pairs = self.pairs(port, times.values(), &keys, &keyed);
        if !pairs.here.is_empty() {
            let joined = self.joined(port, &batch.rows, &mut pairs)?;
            if joined.num_rows() > 0 {
                output.emit(ChangeBatch::inserts(joined))?;
            }
        }
        let mut singles = self.keep(port, (times.values(), &rows), (&keys, &keyed), &pairs);
        for row in &pairs.over {
            self.sweep(keys.row(*row as usize), 1 - port, &mut singles);
        }
        self.emit_alone(&singles, output)
    }

    fn on_watermark(&mut self, watermark: EventTime, output: &mut dyn Output) -> Result<(), Error> {
        self.watermark = self.watermark.max(watermark);
        let singles = self.fire();
        self.emit_alone(&singles, output)?;
        output.watermark(match watermark {
            EventTime::MAX => EventTime::MAX,
            EventTime(watermark) => {
                let [left, right] = self.plan.reach;
                EventTime(watermark.saturating_sub(left.max(right).max(0)))
            }
        })
    }

    fn snapshot(&mut self, _: CheckpointId) -> Result<Vec<StateTable>, Error> {
        let mut tables = vec![watermark_table(self.watermark)?];
        for port in 0..2 {
            let mut all: Vec<(Option<i64>, &Held)> = Vec::new();
            for Key { rows, timers } in self.held.values() {
                let held = rows[port].values().flatten();
                all.extend(held.map(|held| (timers[port], held)));
            }
            if all.is_empty() {
                continue;
            }
            let rows = self.rows[port].decode(all.iter().map(|(_, held)| &*held.row))?;
            let met: BooleanArray = all.iter().map(|(_, held)| Some(held.met)).collect();
            let timers: Int64Array = all.iter().map(|(timer, _)| *timer).collect();
            let keys = self.plan.keys[port].iter();
            let keys: Vec<ArrayRef> = keys.map(|key| rows[*key].clone()).collect();
            let values = rows.into_iter().enumerate();
            let values = values.map(|(at, column)| (format!("value_{at}"), column));
            let more: [(String, ArrayRef); 2] = [
                (MET.to_owned(), Arc::new(met)),
                (TIMER.to_owned(), Arc::new(timers)),
            ];
            tables.push(StateTable {
                name: format!("rows-{port}"),
                rows: vec![state_batch(&keys, values.chain(more).collect())?.into()],
            });
        }
        Ok(tables)
    }

    fn restore(&mut self, mut tables: Vec<StateTable>) -> Result<(), Error> {
        self.watermark = take_watermark(&mut tables)?;
        for table in tables {
            let port = match table.name.as_str() {
                "rows-0" => 0,
                "rows-1" => 1,
                _ => return Err(damaged()),
            };
            for batch in table.into_batches() {
                self.load(port, &batch)?;
            }
        }
        Ok(())
    }

    fn state_size(&self) -> usize {
        let of_key = |(key, of_key): (&Bytes, &Key)| {
            let rows = of_key.rows.iter().flat_map(BTreeMap::values).flatten();
            2 * key.len() + 160 + rows.map(|held| held.row.len() + 56).sum::<usize>()
        };
        self.held.iter().map(of_key).sum()
    }
}

#[cfg(test)]
mod tests;
