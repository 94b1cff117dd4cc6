//! The join of two streams within equal windows: rows wait for the watermark that closes their window, then each meets
//! those of the other side. Nothing is ever taken back, and a closed window is forgotten.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::SchemaRef;
use chrono_tz::Tz;
use datafusion_physical_expr::PhysicalExpr;
use hashbrown::HashMap;

use super::dedup::millis;
use super::join::{Alone, accepted, not_null, with_nulls};
use super::keys::{
    Encoder, batch_of, damaged, failed, retain, state_batch, take_rows, take_watermark,
    watermark_table,
};
use super::window::{close_time, named};
use crate::batch::ChangeBatch;
use crate::error::Error;
use crate::graph::OperatorFactory;
use crate::operator::{CheckpointId, EventTime, Operator, Output, StateTable, Subtask};

/// Most rows of the left side that are paired at once.
const AT_ONCE: usize = 1024;
/// Most batches of a window that are not put together.
const MOST_BATCHES: usize = 64;

/// What to join; the output has the left side's columns, then the right's.
#[derive(Debug, Clone)]
pub(crate) struct WindowJoin {
    pub(crate) sides: [SchemaRef; 2],
    /// What must be equal, start and end of the window among it.
    pub(crate) keys: [Vec<usize>; 2],
    /// Where the sides have the end of the window.
    pub(crate) ends: [usize; 2],
    /// Of windows over TIMESTAMP_LTZ.
    pub(crate) zone: Option<Tz>,
    /// Whether pairs come out.
    pub(crate) pairs: bool,
    /// Which rows of each side come out alone.
    pub(crate) alone: [Alone; 2],
    pub(crate) condition: Option<Arc<dyn PhysicalExpr>>,
    pub(crate) output: SchemaRef,
}

impl OperatorFactory for WindowJoin {
    fn create(&self, _: Subtask) -> Result<Box<dyn Operator>, Error> {
        Ok(Box::new(Joiner {
            keys: [
                Encoder::new(&self.sides[0], &self.keys[0])?,
                Encoder::new(&self.sides[1], &self.keys[1])?,
            ],
            plan: self.clone(),
            windows: BTreeMap::new(),
            watermark: EventTime::MIN,
        }))
    }
}

/// The rows of a window, by side.
type Waiting = [Vec<RecordBatch>; 2];

struct Joiner {
    plan: WindowJoin,
    keys: [Encoder; 2],
    /// By the watermark that closes the window.
    windows: BTreeMap<i64, Waiting>,
    watermark: EventTime,
}

impl Joiner {
    /// The rows of `batch` by the watermark that closes their window.
    fn by_window(
        &self,
        port: usize,
        batch: &RecordBatch,
    ) -> Result<BTreeMap<i64, Vec<u32>>, Error> {
        let ends = millis(batch.column(self.plan.ends[port]))?;
        let mut rows: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
        for (row, end) in ends.values().iter().enumerate() {
            let of_window = rows.entry(close_time(*end, self.plan.zone)).or_default();
            of_window.push(row as u32);
        }
        Ok(rows)
    }

    fn hold(&mut self, port: usize, close: i64, rows: RecordBatch) -> Result<(), Error> {
        let held = &mut self.windows.entry(close).or_default()[port];
        held.push(rows);
        if held.len() >= MOST_BATCHES {
            let whole = concat_batches(&self.plan.sides[port], held.iter()).map_err(failed)?;
            *held = vec![whole];
        }
        Ok(())
    }

    /// Joins the rows of a window that is over.
    fn fire(&self, waiting: &Waiting, output: &mut dyn Output) -> Result<(), Error> {
        let whole = |port: usize| concat_batches(&self.plan.sides[port], &waiting[port]);
        let (left, right) = (whole(0).map_err(failed)?, whole(1).map_err(failed)?);
        let right_keys = self.keys[1].encode(&right)?;
        let mut places: HashMap<&[u8], Vec<u32>, ahash::RandomState> = HashMap::default();
        for (row, keyed) in not_null(&right, &self.plan.keys[1]).into_iter().enumerate() {
            if keyed {
                let of_key = places.entry(right_keys.row(row)).or_default();
                of_key.push(row as u32);
            }
        }
        let mut matched = vec![0; right.num_rows()];
        for begin in (0..left.num_rows()).step_by(AT_ONCE) {
            let left = left.slice(begin, AT_ONCE.min(left.num_rows() - begin));
            let keys = self.keys[0].encode(&left)?;
            let (mut here, mut there) = (Vec::new(), Vec::new());
            for (row, keyed) in not_null(&left, &self.plan.keys[0]).into_iter().enumerate() {
                let found = places.get(keys.row(row)).filter(|_| keyed);
                there.extend(found.into_iter().flatten());
                here.resize(there.len(), row as u32);
            }
            let joined = self.paired(&left, &right, &mut here, &mut there)?;
            if self.plan.pairs && joined.num_rows() > 0 {
                output.emit(ChangeBatch::inserts(joined))?;
            }
            let mut matches = vec![0; left.num_rows()];
            here.iter().for_each(|row| matches[*row as usize] += 1);
            there.iter().for_each(|row| matched[*row as usize] += 1);
            self.emit_alone(0, &left, &matches, output)?;
        }
        self.emit_alone(1, &right, &matched, output)
    }

    /// The pairs that the condition accepts.
    fn paired(
        &self,
        left: &RecordBatch,
        right: &RecordBatch,
        here: &mut Vec<u32>,
        there: &mut Vec<u32>,
    ) -> Result<RecordBatch, Error> {
        let take = |batch: &RecordBatch, rows: &[u32]| {
            take_record_batch(batch, &UInt32Array::from(rows.to_vec())).map_err(failed)
        };
        let mut columns = take(left, here)?.columns().to_vec();
        columns.extend_from_slice(take(right, there)?.columns());
        let joined = batch_of(&self.plan.output, columns)?;
        let Some(accepted) = accepted(self.plan.condition.as_ref(), &joined)? else {
            return Ok(joined);
        };
        retain(here, &accepted);
        retain(there, &accepted);
        arrow::compute::filter_record_batch(&joined, &BooleanArray::from(accepted)).map_err(failed)
    }

    /// Emits those rows of a side that come with NULLs for the other.
    fn emit_alone(
        &self,
        port: usize,
        rows: &RecordBatch,
        matches: &[i64],
        output: &mut dyn Output,
    ) -> Result<(), Error> {
        let alone = self.plan.alone[port];
        let shown = (0..rows.num_rows()).filter(|row| alone.shows(matches[*row]));
        let shown: Vec<u32> = shown.map(|row| row as u32).collect();
        if shown.is_empty() {
            return Ok(());
        }
        let rows = take_rows(rows, shown)?;
        let (columns, n_rows) = (rows.columns().to_vec(), rows.num_rows());
        let rows = with_nulls(&self.plan.output, port, columns, n_rows)?;
        output.emit(ChangeBatch::inserts(rows))
    }
}

impl Operator for Joiner {
    fn on_batch(
        &mut self,
        port: usize,
        batch: ChangeBatch,
        output: &mut dyn Output,
    ) -> Result<(), Error> {
        for (close, rows) in self.by_window(port, &batch.rows)? {
            let rows = take_rows(&batch.rows, rows)?;
            if close <= self.watermark.0 {
                output.late(rows)?;
            } else {
                self.hold(port, close, rows)?;
            }
        }
        Ok(())
    }

    fn on_watermark(&mut self, watermark: EventTime, output: &mut dyn Output) -> Result<(), Error> {
        self.watermark = self.watermark.max(watermark);
        while let Some(window) = self.windows.first_entry()
            && *window.key() <= self.watermark.0
        {
            let waiting = window.remove();
            self.fire(&waiting, output)?;
        }
        output.watermark(watermark)
    }

    fn snapshot(&mut self, _: CheckpointId) -> Result<Vec<StateTable>, Error> {
        let mut tables = vec![watermark_table(self.watermark)?];
        for port in 0..2 {
            let mut rows = Vec::new();
            for batch in self.windows.values().flat_map(|waiting| &waiting[port]) {
                let keys = self.plan.keys[port].iter();
                let keys: Vec<ArrayRef> = keys.map(|key| batch.column(*key).clone()).collect();
                let columns = batch.columns().iter().enumerate();
                let columns = columns.map(|(at, column)| (format!("value_{at}"), column.clone()));
                rows.push(state_batch(&keys, columns.collect())?.into());
            }
            tables.push(StateTable {
                name: format!("rows-{port}"),
                rows,
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
            let schema = self.plan.sides[port].clone();
            for batch in table.into_batches() {
                let values = named(&batch, "value", schema.fields().len())?;
                let rows = batch_of(&schema, values)?;
                for (close, of_window) in self.by_window(port, &rows)? {
                    self.hold(port, close, take_rows(&rows, of_window)?)?;
                }
            }
        }
        Ok(())
    }

    fn state_size(&self) -> usize {
        let batches = self.windows.values().flatten().flatten();
        batches.map(RecordBatch::get_array_memory_size).sum()
    }
}

#[cfg(test)]
mod tests;
