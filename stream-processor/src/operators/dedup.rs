//! One row a key: the first by processing time (and nothing kept but a fingerprint of the key), the first by event
//! time (when the watermark has passed it), or the last by either (updating).
//!
//! The first by processing time is [`first_seen`]. The others are forgotten by the rules of [`super::ttl`], except that
//! a first row by event time is not forgotten while it waits.

mod first_seen;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use first_seen::FirstSeen;
use hashbrown::HashMap;

use super::keys::{Encoder, batch_of, column, damaged, failed, state_batch, take_rows};
use super::ttl::{TimeToLive, UNTIMED, Written};
use crate::batch::{ChangeBatch, RowKind};
use crate::error::Error;
use crate::graph::OperatorFactory;
use crate::operator::{CheckpointId, EventTime, Operator, Output, StateTable, Subtask};

/// What to keep.
#[derive(Debug, Clone)]
pub(crate) struct Dedup {
    pub(crate) schema: SchemaRef,
    pub(crate) keys: Vec<usize>,
    /// The row-time column, or `None` for processing time.
    pub(crate) order: Option<usize>,
    pub(crate) keep_last: bool,
    /// Milliseconds.
    pub(crate) ttl: Option<i64>,
}

impl OperatorFactory for Dedup {
    fn create(&self, _: Subtask) -> Result<Box<dyn Operator>, Error> {
        let keys = Encoder::new(&self.schema, &self.keys)?;
        if self.order.is_none() && !self.keep_last {
            return Ok(Box::new(FirstSeen::new(self.clone(), keys)));
        }
        Ok(Box::new(Ordered {
            plan: self.clone(),
            keys,
            rows: Encoder::all(&self.schema)?,
            watermark: EventTime::MIN,
            pending: BTreeMap::new(),
            held: HashMap::default(),
            ttl: TimeToLive::new(self.ttl),
        }))
    }
}

/// First by event time, or last by either time.
struct Ordered {
    plan: Dedup,
    keys: Encoder,
    rows: Encoder,
    watermark: EventTime,
    /// First by event time: keys that wait for the watermark, by their row's time.
    pending: BTreeMap<i64, Vec<Box<[u8]>>>,
    held: HashMap<Box<[u8]>, Held, ahash::RandomState>,
    ttl: TimeToLive,
}

struct Held {
    time: i64,
    /// Empty once emitted, when only the key still matters.
    row: Box<[u8]>,
    written: Written,
}

impl Held {
    /// Whether the row is waiting for the watermark or was written lately.
    fn is_known(&self, ttl: TimeToLive, waits: bool) -> bool {
        (waits && !self.row.is_empty()) || ttl.is_alive(self.written)
    }
}

impl Ordered {
    fn times(&self, rows: &RecordBatch) -> Result<Int64Array, Error> {
        match self.plan.order {
            None => Ok(Int64Array::from(vec![0; rows.num_rows()])),
            Some(order) => millis(rows.column(order)),
        }
    }

    fn first(&mut self, batch: &ChangeBatch, output: &mut dyn Output) -> Result<(), Error> {
        let times = self.times(&batch.rows)?;
        let keys = self.keys.encode(&batch.rows)?;
        let rows = self.rows.encode(&batch.rows)?;
        let mut late = Vec::new();
        for row in 0..batch.num_rows() {
            let time = times.value(row);
            if time <= self.watermark.0 {
                late.push(row as u32);
                continue;
            }
            let key = keys.row(row);
            let better = match self.held.get(key) {
                None => true,
                Some(held) if !held.is_known(self.ttl, true) => true,
                Some(held) => !held.row.is_empty() && time < held.time,
            };
            if better {
                let key: Box<[u8]> = key.into();
                self.pending.entry(time).or_default().push(key.clone());
                let row = rows.row(row).into();
                let written = self.ttl.now();
                self.held.insert(key, Held { time, row, written });
            }
        }
        if late.is_empty() {
            return Ok(());
        }
        output.late(take_rows(&batch.rows, late)?)
    }

    fn fire(&mut self, output: &mut dyn Output) -> Result<(), Error> {
        let later = match self.watermark.0.checked_add(1) {
            Some(next) => self.pending.split_off(&next),
            None => BTreeMap::new(),
        };
        let due = std::mem::replace(&mut self.pending, later);
        let mut rows: Vec<Box<[u8]>> = Vec::new();
        for (time, keys) in due {
            for key in keys {
                if let Some(held) = self.held.get_mut(&key)
                    && held.time == time
                    && !held.row.is_empty()
                {
                    rows.push(std::mem::take(&mut held.row));
                }
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
        let columns = self.rows.decode(rows.iter().map(|row| &**row))?;
        output.emit(ChangeBatch::inserts(batch_of(&self.plan.schema, columns)?))
    }

    fn last(&mut self, batch: &ChangeBatch, output: &mut dyn Output) -> Result<(), Error> {
        let times = self.times(&batch.rows)?;
        let keys = self.keys.encode(&batch.rows)?;
        let rows = self.rows.encode(&batch.rows)?;
        let mut out: Vec<Box<[u8]>> = Vec::new();
        let mut kinds = Vec::new();
        for row in 0..batch.num_rows() {
            let time = times.value(row);
            let new: Box<[u8]> = rows.row(row).into();
            let ttl = self.ttl;
            let held = self
                .held
                .get_mut(keys.row(row))
                .filter(|held| held.is_known(ttl, false));
            match held {
                None => {
                    let key = keys.row(row).into();
                    let held = Held {
                        time,
                        row: new.clone(),
                        written: ttl.now(),
                    };
                    self.held.insert(key, held);
                    kinds.push(RowKind::Insert);
                }
                Some(held) if time >= held.time => {
                    out.push(std::mem::replace(&mut held.row, new.clone()));
                    (held.time, held.written) = (time, ttl.now());
                    kinds.extend([RowKind::UpdateBefore, RowKind::UpdateAfter]);
                }
                Some(_) => continue,
            }
            out.push(new);
        }
        if out.is_empty() {
            return Ok(());
        }
        let columns = self.rows.decode(out.iter().map(|row| &**row))?;
        output.emit(ChangeBatch::changes(
            batch_of(&self.plan.schema, columns)?,
            kinds.into(),
        ))
    }
}

/// A timestamp column in milliseconds; NULL is refused, as Flink does.
pub(crate) fn millis(array: &ArrayRef) -> Result<Int64Array, Error> {
    if array.null_count() > 0 {
        return Err(Error::failed(
            "RowTime field should not be null, please convert it to a non-null long value.",
        ));
    }
    let unit = match array.data_type() {
        DataType::Timestamp(_, zone) => {
            DataType::Timestamp(arrow::datatypes::TimeUnit::Millisecond, zone.clone())
        }
        other => return Err(Error::failed(format!("no row time of type {other}"))),
    };
    let array = cast(array, &unit)
        .and_then(|array| cast(&array, &DataType::Int64))
        .map_err(failed)?;
    Ok(array.as_primitive::<Int64Type>().clone())
}

impl Operator for Ordered {
    fn on_processing_time(&mut self, now: i64, _: &mut dyn Output) -> Result<(), Error> {
        if self.ttl.tick(now) {
            let (ttl, waits) = (self.ttl, !self.plan.keep_last);
            self.held.retain(|_, held| held.is_known(ttl, waits));
        }
        Ok(())
    }

    fn on_batch(
        &mut self,
        _: usize,
        batch: ChangeBatch,
        output: &mut dyn Output,
    ) -> Result<(), Error> {
        if self.plan.keep_last {
            self.last(&batch, output)
        } else {
            self.first(&batch, output)
        }
    }

    fn on_watermark(&mut self, watermark: EventTime, output: &mut dyn Output) -> Result<(), Error> {
        self.watermark = self.watermark.max(watermark);
        if !self.plan.keep_last {
            self.fire(output)?;
        }
        output.watermark(watermark)
    }

    fn snapshot(&mut self, _: CheckpointId) -> Result<Vec<StateTable>, Error> {
        if self.held.is_empty() {
            return Ok(Vec::new());
        }
        let keys = self.keys.decode(self.held.keys().map(|key| &**key))?;
        let times: ArrayRef = Arc::new(
            self.held
                .values()
                .map(|held| Some(held.time))
                .collect::<Int64Array>(),
        );
        // A key whose row is out has a row of NULLs.
        let live: BooleanArray = self
            .held
            .values()
            .map(|held| Some(!held.row.is_empty()))
            .collect();
        let rows: Vec<&[u8]> = self
            .held
            .values()
            .map(|held| &*held.row)
            .filter(|row| !row.is_empty())
            .collect();
        let values = self.rows.decode(rows)?;
        let mut next = 0;
        let at: UInt32Array = live
            .values()
            .iter()
            .map(|live| {
                next += u32::from(live);
                live.then(|| next - 1)
            })
            .collect();
        let mut columns = vec![
            ("time".to_owned(), times),
            ("live".to_owned(), Arc::new(live) as ArrayRef),
        ];
        if self.ttl.expires() {
            let written: Int64Array = self.held.values().map(|held| Some(held.written)).collect();
            columns.push(("written".to_owned(), Arc::new(written)));
        }
        for (index, value) in values.iter().enumerate() {
            columns.push((
                format!("value_{index}"),
                arrow::compute::take(value, &at, None).map_err(failed)?,
            ));
        }
        for (index, key) in keys.iter().enumerate() {
            columns.push((format!("key_{index}"), key.clone()));
        }
        Ok(vec![StateTable {
            name: "rows".to_owned(),
            rows: vec![state_batch(&keys, columns)?.into()],
        }])
    }

    fn restore(&mut self, tables: Vec<StateTable>) -> Result<(), Error> {
        for batch in tables.into_iter().flat_map(StateTable::into_batches) {
            let named = |prefix: &str, count: usize| {
                (0..count)
                    .map(|index| column(&batch, &format!("{prefix}_{index}")).cloned())
                    .collect::<Result<Vec<_>, _>>()
            };
            let n_columns = self.plan.schema.fields().len();
            let rows = self
                .rows
                .encode(&batch_of(&self.plan.schema, named("value", n_columns)?)?)?;
            let mut key_columns = batch_of(&self.plan.schema, named("value", n_columns)?)?
                .columns()
                .to_vec();
            for (key, array) in self
                .plan
                .keys
                .iter()
                .zip(named("key", self.plan.keys.len())?)
            {
                key_columns[*key] = array;
            }
            let keys = self
                .keys
                .encode(&batch_of(&self.plan.schema, key_columns)?)?;
            let times = column(&batch, "time")?
                .as_primitive_opt::<Int64Type>()
                .ok_or_else(damaged)?;
            let live = column(&batch, "live")?
                .as_boolean_opt()
                .ok_or_else(damaged)?;
            // A checkpoint of a job without a time to live has no such column.
            let written = column(&batch, "written")
                .ok()
                .and_then(|written| written.as_primitive_opt::<Int64Type>());
            for row in 0..batch.num_rows() {
                let key: Box<[u8]> = keys.row(row).into();
                let written = written.map_or(UNTIMED, |written| written.value(row));
                let time = times.value(row);
                let bytes = if live.value(row) {
                    rows.row(row).into()
                } else {
                    Box::default()
                };
                if live.value(row) && !self.plan.keep_last {
                    self.pending.entry(time).or_default().push(key.clone());
                }
                let held = Held {
                    time,
                    row: bytes,
                    written,
                };
                self.held.insert(key, held);
            }
        }
        Ok(())
    }

    fn state_size(&self) -> usize {
        self.held
            .iter()
            .map(|(key, held)| key.len() + held.row.len() + 48)
            .sum()
    }
}
