//! The best rows of each window and partition, given when the watermark closes the window: Flink's `WindowRank` and
//! `WindowDeduplicate`.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{Int64Type, SchemaRef};
use chrono_tz::Tz;

use super::{by_close, close_time, named};
use crate::batch::ChangeBatch;
use crate::error::Error;
use crate::graph::OperatorFactory;
use crate::operator::{CheckpointId, EventTime, Operator, Output, StateTable, Subtask};
use crate::operators::dedup::millis;
use crate::operators::keys::{
    Encoder, batch_of, column, damaged, state_batch, take_rows, take_watermark, watermark_table,
};
use crate::operators::top_n::{Place, RankRange, Ranking, SortColumn, Sorter, ranking_size};

/// Gives the rows of `range` in each window and partition; the output has the columns of the input, then the number.
#[derive(Debug, Clone)]
pub(crate) struct WindowTopN {
    pub(crate) input: SchemaRef,
    /// With the columns of the window.
    pub(crate) partition: Vec<usize>,
    /// Those that the exchange before the operator hashes.
    pub(crate) exchanged: Vec<usize>,
    /// Where the window ends, a wall clock of `zone` if there is one.
    pub(crate) end: usize,
    pub(crate) zone: Option<Tz>,
    pub(crate) order: Vec<SortColumn>,
    pub(crate) range: RankRange,
    /// Whether of equal rows the later one is the better.
    pub(crate) later_first: bool,
    /// Whether the row number is asked for.
    pub(crate) numbered: bool,
    pub(crate) output: SchemaRef,
}

impl OperatorFactory for WindowTopN {
    fn create(&self, _: Subtask) -> Result<Box<dyn Operator>, Error> {
        Ok(Box::new(Windows {
            keys: Encoder::new(&self.input, &self.partition)?,
            sorter: Sorter::new(&self.input, &self.order)?,
            rows: Encoder::all(&self.input)?,
            watermark: EventTime::MIN,
            open: BTreeMap::new(),
            arrivals: 0,
            plan: self.clone(),
        }))
    }
}

/// The partitions of a window by their keys, in an order that does not change from run to run.
type Window = BTreeMap<Box<[u8]>, Ranking>;

struct Windows {
    plan: WindowTopN,
    keys: Encoder,
    sorter: Sorter,
    rows: Encoder,
    watermark: EventTime,
    /// By the time at which they close.
    open: BTreeMap<i64, Window>,
    /// How many rows have come.
    arrivals: i64,
}

impl Windows {
    fn add(&mut self, close: i64, batch: &RecordBatch) -> Result<(), Error> {
        let keys = self.keys.encode(batch)?;
        let (places, rows) = (self.sorter.encode(batch)?, self.rows.encode(batch)?);
        let window = self.open.entry(close).or_default();
        for at in 0..batch.num_rows() {
            self.arrivals += 1;
            let place = Place {
                key: places.row(at).data().into(),
                arrival: if self.plan.later_first {
                    -self.arrivals
                } else {
                    self.arrivals
                },
            };
            let key = keys.row(at);
            if !window.contains_key(key) {
                window.insert(key.into(), Ranking::new());
            }
            let Some(ranking) = window.get_mut(key) else {
                continue;
            };
            if self.plan.range.is_filled_by(ranking.len()) {
                if ranking
                    .last_key_value()
                    .is_some_and(|(worst, _)| *worst < place)
                {
                    continue;
                }
                ranking.pop_last();
            }
            ranking.insert(place, rows.row(at).into());
        }
        Ok(())
    }

    fn emit(&self, window: &Window, output: &mut dyn Output) -> Result<(), Error> {
        let range = self.plan.range;
        let ranked = window
            .values()
            .flat_map(|ranking| (range.start as i64..).zip(range.of(ranking)));
        let (numbers, rows): (Vec<i64>, Vec<&Arc<[u8]>>) = ranked.unzip();
        if rows.is_empty() {
            return Ok(());
        }
        let mut columns = self.rows.decode(rows.into_iter().map(|row| &**row))?;
        if self.plan.numbered {
            columns.push(Arc::new(Int64Array::from(numbers)));
        }
        output.emit(ChangeBatch::inserts(batch_of(&self.plan.output, columns)?))
    }
}

impl Operator for Windows {
    fn on_batch(
        &mut self,
        _: usize,
        batch: ChangeBatch,
        output: &mut dyn Output,
    ) -> Result<(), Error> {
        let (end, zone) = (self.plan.end, self.plan.zone);
        let (parts, late) = by_close(&batch.rows, end, zone, self.watermark)?;
        if !late.is_empty() {
            output.late(take_rows(&batch.rows, late)?)?;
        }
        for (close, rows) in parts {
            self.add(close, &take_rows(&batch.rows, rows)?)?;
        }
        Ok(())
    }

    fn on_watermark(&mut self, watermark: EventTime, output: &mut dyn Output) -> Result<(), Error> {
        self.watermark = self.watermark.max(watermark);
        let later = match self.watermark.0.checked_add(1) {
            Some(next) => self.open.split_off(&next),
            None => BTreeMap::new(),
        };
        for window in std::mem::replace(&mut self.open, later).into_values() {
            self.emit(&window, output)?;
        }
        output.watermark(watermark)
    }

    fn snapshot(&mut self, _: CheckpointId) -> Result<Vec<StateTable>, Error> {
        let mut tables = vec![watermark_table(self.watermark)?];
        let mut batches = Vec::with_capacity(self.open.len());
        for window in self.open.values() {
            let held = || window.values().flatten();
            let values = self.rows.decode(held().map(|(_, row)| &**row))?;
            let arrivals = held().map(|(place, _)| place.arrival);
            let arrivals: ArrayRef = Arc::new(Int64Array::from_iter_values(arrivals));
            let mut columns = vec![("arrival".to_owned(), arrivals)];
            for (index, value) in values.iter().enumerate() {
                columns.push((format!("value_{index}"), value.clone()));
            }
            let keys = self.plan.exchanged.iter().map(|key| values[*key].clone());
            batches.push(state_batch(&keys.collect::<Vec<_>>(), columns)?.into());
        }
        tables.push(StateTable {
            name: "rows".to_owned(),
            rows: batches,
        });
        Ok(tables)
    }

    fn restore(&mut self, mut tables: Vec<StateTable>) -> Result<(), Error> {
        self.watermark = take_watermark(&mut tables)?;
        for batch in tables.into_iter().flat_map(StateTable::into_batches) {
            let values = named(&batch, "value", self.plan.input.fields().len())?;
            let values = batch_of(&self.plan.input, values)?;
            let arrivals = column(&batch, "arrival")?
                .as_primitive_opt::<Int64Type>()
                .ok_or_else(damaged)?;
            let ends = millis(values.column(self.plan.end))?;
            let (keys, rows) = (self.keys.encode(&values)?, self.rows.encode(&values)?);
            let places = self.sorter.encode(&values)?;
            for at in 0..batch.num_rows() {
                let close = close_time(ends.value(at), self.plan.zone);
                let arrival = arrivals.value(at);
                let place = Place {
                    key: places.row(at).data().into(),
                    arrival,
                };
                let window = self.open.entry(close).or_default();
                let ranking = window.entry(keys.row(at).into()).or_default();
                ranking.insert(place, rows.row(at).into());
                self.arrivals = self.arrivals.max(arrival.abs());
            }
        }
        Ok(())
    }

    fn state_size(&self) -> usize {
        let rankings = self.open.values().flatten();
        rankings
            .map(|(key, ranking)| key.len() + 64 + ranking_size(ranking))
            .sum()
    }
}

#[cfg(test)]
mod tests;
