//! ORDER BY event time of a whole query: rows wait for the watermark, then go on in order. Flink's `TemporalSort`.
//!
//! A row is late if it is not after the last one that has gone on; being behind the watermark alone makes no row late.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::datatypes::{Int64Type, SchemaRef};

use super::dedup::millis;
use super::keys::{
    Encoder, batch_of, column, damaged, state_batch, take_rows, take_watermark, watermark_table,
};
use super::top_n::{Place, Ranking, SortColumn, Sorter, ranking_size};
use super::window::named;
use crate::batch::ChangeBatch;
use crate::error::Error;
use crate::graph::OperatorFactory;
use crate::operator::{CheckpointId, EventTime, Operator, Output, StateTable, Subtask};

/// Sorts all rows by `time`, and those of one time by `order`.
#[derive(Debug, Clone)]
pub(crate) struct TemporalSort {
    pub(crate) input: SchemaRef,
    pub(crate) time: usize,
    pub(crate) order: Vec<SortColumn>,
    pub(crate) output: SchemaRef,
}

impl OperatorFactory for TemporalSort {
    fn create(&self, _: Subtask) -> Result<Box<dyn Operator>, Error> {
        Ok(Box::new(Waiting {
            sorter: Sorter::new(&self.input, &self.order)?,
            rows: Encoder::all(&self.input)?,
            held: BTreeMap::new(),
            last: EventTime::MIN,
            arrivals: 0,
            plan: self.clone(),
        }))
    }
}

/// How many rows are emitted together at most.
const BATCH_ROWS: usize = 8192;

struct Waiting {
    plan: TemporalSort,
    sorter: Sorter,
    rows: Encoder,
    /// By event time.
    held: BTreeMap<i64, Ranking>,
    /// The time of the last row that has gone on.
    last: EventTime,
    /// How many rows have come.
    arrivals: i64,
}

impl Operator for Waiting {
    fn on_batch(
        &mut self,
        _: usize,
        batch: ChangeBatch,
        output: &mut dyn Output,
    ) -> Result<(), Error> {
        let times = millis(batch.rows.column(self.plan.time))?;
        let (places, rows) = (
            self.sorter.encode(&batch.rows)?,
            self.rows.encode(&batch.rows)?,
        );
        let mut late = Vec::new();
        for (at, time) in times.values().iter().enumerate() {
            if *time <= self.last.0 {
                late.push(at as u32);
                continue;
            }
            let place = Place {
                key: places.row(at).data().into(),
                arrival: self.arrivals,
            };
            self.arrivals += 1;
            let ranking = self.held.entry(*time).or_default();
            ranking.insert(place, rows.row(at).into());
        }
        if late.is_empty() {
            return Ok(());
        }
        output.late(take_rows(&batch.rows, late)?)
    }

    fn on_watermark(&mut self, watermark: EventTime, output: &mut dyn Output) -> Result<(), Error> {
        let later = match watermark.0.checked_add(1) {
            Some(next) => self.held.split_off(&next),
            None => BTreeMap::new(),
        };
        let due = std::mem::replace(&mut self.held, later);
        if let Some((time, _)) = due.last_key_value() {
            self.last = EventTime(*time);
        }
        let rows: Vec<&Arc<[u8]>> = due.values().flat_map(BTreeMap::values).collect();
        for rows in rows.chunks(BATCH_ROWS) {
            let columns = self.rows.decode(rows.iter().map(|row| &***row))?;
            output.emit(ChangeBatch::inserts(batch_of(&self.plan.output, columns)?))?;
        }
        output.watermark(watermark)
    }

    fn snapshot(&mut self, _: CheckpointId) -> Result<Vec<StateTable>, Error> {
        let held = || self.held.values().flatten();
        let values = self.rows.decode(held().map(|(_, row)| &**row))?;
        let arrivals = held().map(|(place, _)| place.arrival);
        let arrivals: ArrayRef = Arc::new(Int64Array::from_iter_values(arrivals));
        let mut columns = vec![("arrival".to_owned(), arrivals)];
        for (index, value) in values.into_iter().enumerate() {
            columns.push((format!("value_{index}"), value));
        }
        let rows = StateTable {
            name: "rows".to_owned(),
            rows: vec![state_batch(&[], columns)?.into()],
        };
        Ok(vec![watermark_table(self.last)?, rows])
    }

    fn restore(&mut self, mut tables: Vec<StateTable>) -> Result<(), Error> {
        self.last = take_watermark(&mut tables)?;
        for batch in tables.into_iter().flat_map(StateTable::into_batches) {
            let values = named(&batch, "value", self.plan.input.fields().len())?;
            let values = batch_of(&self.plan.input, values)?;
            let arrivals = column(&batch, "arrival")?
                .as_primitive_opt::<Int64Type>()
                .ok_or_else(damaged)?;
            let times = millis(values.column(self.plan.time))?;
            let (places, rows) = (self.sorter.encode(&values)?, self.rows.encode(&values)?);
            for at in 0..batch.num_rows() {
                let arrival = arrivals.value(at);
                let place = Place {
                    key: places.row(at).data().into(),
                    arrival,
                };
                let ranking = self.held.entry(times.value(at)).or_default();
                ranking.insert(place, rows.row(at).into());
                self.arrivals = self.arrivals.max(arrival + 1);
            }
        }
        Ok(())
    }

    fn state_size(&self) -> usize {
        self.held.values().map(ranking_size).sum()
    }
}

#[cfg(test)]
mod tests;
