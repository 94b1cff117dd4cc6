//! The event-time temporal join: each left row meets the version of its key that was valid at its time.
//!
//! Left rows wait for the watermark, since an older version may still come. A left row behind the watermark is not lost:
//! it waits for the next watermark and meets what is still remembered, as in Flink. What is remembered depends on when a
//! key's versions were last looked through, so each key has one timer that is set and cleared as Flink's
//! `TemporalRowTimeJoinOperator` does it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch};
use arrow::datatypes::{Int64Type, SchemaRef};
use datafusion_physical_expr::PhysicalExpr;
use hashbrown::HashMap;

use super::calc::evaluate;
use super::dedup::millis;
use super::keys::{
    Encoder, batch_of, column, damaged, state_batch, take_watermark, watermark_table,
};
use super::window::named;
use crate::batch::{ChangeBatch, RowKind};
use crate::error::Error;
use crate::graph::OperatorFactory;
use crate::operator::{CheckpointId, EventTime, Operator, Output, StateTable, Subtask};

/// What to join.
#[derive(Debug, Clone)]
pub(crate) struct TemporalJoin {
    pub(crate) sides: [SchemaRef; 2],
    pub(crate) keys: [Vec<usize>; 2],
    pub(crate) times: [usize; 2],
    pub(crate) outer: bool,
    pub(crate) condition: Option<Arc<dyn PhysicalExpr>>,
    pub(crate) output: SchemaRef,
}

impl OperatorFactory for TemporalJoin {
    fn create(&self, _: Subtask) -> Result<Box<dyn Operator>, Error> {
        let encoders = |port: usize| -> Result<[Encoder; 2], Error> {
            Ok([
                Encoder::new(&self.sides[port], &self.keys[port])?,
                Encoder::all(&self.sides[port])?,
            ])
        };
        Ok(Box::new(Joiner {
            left: encoders(0)?,
            right: encoders(1)?,
            plan: self.clone(),
            watermark: EventTime::MIN,
            keys: HashMap::default(),
            timers: BTreeMap::new(),
        }))
    }
}

type Bytes = Box<[u8]>;

/// A row of the right side from its time on.
struct Version {
    /// False where the row was deleted.
    live: bool,
    row: Arc<[u8]>,
}

/// What is known of one key.
#[derive(Default)]
struct Key {
    /// When the key is looked at next.
    timer: Option<i64>,
    /// Left rows as they came, with their times.
    waiting: Vec<(i64, Bytes)>,
    /// By the time they begin.
    versions: BTreeMap<i64, Version>,
}

/// Left rows that have met their version, or nothing.
type Met = Vec<(Bytes, Option<Arc<[u8]>>)>;

struct Joiner {
    plan: TemporalJoin,
    left: [Encoder; 2],
    right: [Encoder; 2],
    watermark: EventTime,
    keys: HashMap<Bytes, Key, ahash::RandomState>,
    /// Keys by the time of their timer; an entry that is not its key's timer any more is skipped.
    timers: BTreeMap<i64, Vec<Bytes>>,
}

impl Joiner {
    fn on_left(&mut self, rows: &RecordBatch) -> Result<(), Error> {
        let times = millis(rows.column(self.plan.times[0]))?;
        let (keys, bytes) = (self.left[0].encode(rows)?, self.left[1].encode(rows)?);
        for (row, time) in times.values().iter().enumerate() {
            let null = self.plan.keys[0]
                .iter()
                .any(|key| rows.column(*key).is_null(row));
            // NULL meets nothing; the empty key is no encoding of any row.
            let encoded = keys.row(row);
            let key: &[u8] = if null { &[] } else { encoded };
            let state = self.keys.entry_ref(key).or_default();
            state.waiting.push((*time, bytes.row(row).into()));
            set_timer(&mut self.timers, key, state, *time);
        }
        Ok(())
    }

    fn on_right(&mut self, batch: &ChangeBatch) -> Result<(), Error> {
        let times = millis(batch.rows.column(self.plan.times[1]))?;
        let (keys, bytes) = (
            self.right[0].encode(&batch.rows)?,
            self.right[1].encode(&batch.rows)?,
        );
        for (row, time) in times.values().iter().enumerate() {
            let live = match batch.kind(row) {
                RowKind::Insert | RowKind::UpdateAfter => true,
                RowKind::UpdateBefore => continue,
                RowKind::Delete => false,
            };
            let key = keys.row(row);
            let state = self.keys.entry_ref(key).or_default();
            let row = bytes.row(row).into();
            state.versions.insert(*time, Version { live, row });
            set_timer(&mut self.timers, key, state, *time);
        }
        Ok(())
    }

    /// Looks at each key whose time has come.
    fn fire(&mut self) -> Met {
        let watermark = self.watermark.0;
        let later = match watermark.checked_add(1) {
            Some(next) => self.timers.split_off(&next),
            None => BTreeMap::new(),
        };
        let due = std::mem::replace(&mut self.timers, later);
        let mut met = Met::new();
        for (time, keys) in due {
            for key in keys {
                let Some(state) = self.keys.get_mut(&key) else {
                    continue;
                };
                if state.timer != Some(time) {
                    continue;
                }
                state.timer = None;
                state.meet(watermark, &mut met);
                if let Some(next) = state.waiting.iter().map(|(time, _)| *time).min() {
                    set_timer(&mut self.timers, &key, state, next);
                }
                if state.waiting.is_empty() && state.versions.is_empty() {
                    self.keys.remove(&key);
                }
            }
        }
        met
    }

    fn emit(&self, met: &Met, output: &mut dyn Output) -> Result<(), Error> {
        let mut alone: Vec<&[u8]> = Vec::new();
        let mut matched: Vec<(&[u8], &[u8])> = Vec::new();
        for (row, version) in met {
            match version {
                Some(version) => matched.push((row, version)),
                None => alone.push(row),
            }
        }
        if !matched.is_empty() {
            let mut columns = self.left[1].decode(matched.iter().map(|(row, _)| *row))?;
            columns.extend(self.right[1].decode(matched.iter().map(|(_, version)| *version))?);
            let rows = batch_of(&self.plan.output, columns)?;
            let mut joined = ChangeBatch::inserts(rows);
            if let Some(condition) = &self.plan.condition {
                let mask = evaluate(condition, &joined.rows)?;
                let mask = mask
                    .as_boolean_opt()
                    .ok_or_else(|| Error::failed("a join condition was no BOOLEAN"))?;
                for (at, (row, _)) in matched.iter().enumerate() {
                    if !(mask.is_valid(at) && mask.value(at)) {
                        alone.push(row);
                    }
                }
                let mask: BooleanArray = mask.iter().map(|keep| Some(keep == Some(true))).collect();
                joined = super::calc::keep_rows(joined, &mask)?;
            }
            if joined.num_rows() > 0 {
                output.emit(joined)?;
            }
        }
        if self.plan.outer && !alone.is_empty() {
            let mut columns = self.left[1].decode(alone.iter().copied())?;
            let n_left = columns.len();
            for field in self.plan.output.fields().iter().skip(n_left) {
                columns.push(arrow::array::new_null_array(field.data_type(), alone.len()));
            }
            output.emit(ChangeBatch::inserts(batch_of(&self.plan.output, columns)?))?;
        }
        Ok(())
    }

    fn restore_left(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        let schema = &self.plan.sides[0];
        let rows = batch_of(schema, named(batch, "value", schema.fields().len())?)?;
        self.on_left(&rows)
    }

    fn restore_right(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        let schema = &self.plan.sides[1];
        let rows = batch_of(schema, named(batch, "value", schema.fields().len())?)?;
        let live = column(batch, LIVE)?.as_boolean_opt().ok_or_else(damaged)?;
        let timers = column(batch, TIMER)?
            .as_primitive_opt::<Int64Type>()
            .ok_or_else(damaged)?;
        let times = millis(rows.column(self.plan.times[1]))?;
        let (keys, bytes) = (self.right[0].encode(&rows)?, self.right[1].encode(&rows)?);
        for (row, time) in times.values().iter().enumerate() {
            let key = keys.row(row);
            let state = self.keys.entry_ref(key).or_default();
            let version = Version {
                live: live.value(row),
                row: bytes.row(row).into(),
            };
            state.versions.insert(*time, version);
            if timers.is_valid(row) {
                set_timer(&mut self.timers, key, state, timers.value(row));
            }
        }
        Ok(())
    }
}

impl Key {
    /// Takes the left rows that need wait no longer, then forgets the versions before the one that is valid now.
    fn meet(&mut self, watermark: i64, met: &mut Met) {
        for (time, row) in self.waiting.extract_if(.., |(time, _)| *time <= watermark) {
            let version = self.versions.range(..=time).next_back();
            let version = version
                .filter(|(_, version)| version.live)
                .map(|(_, version)| version.row.clone());
            met.push((row, version));
        }
        let valid = self.versions.range(..=watermark).next_back();
        if let Some((since, live)) = valid.map(|(since, version)| (*since, version.live)) {
            self.versions = self.versions.split_off(&since);
            if !live {
                self.versions.remove(&since);
            }
        }
    }
}

/// A key has one timer, the earliest it was asked for since it last fired.
fn set_timer(timers: &mut BTreeMap<i64, Vec<Bytes>>, key: &[u8], state: &mut Key, time: i64) {
    if state.timer.is_none_or(|timer| timer > time) {
        state.timer = Some(time);
        timers.entry(time).or_default().push(key.into());
    }
}

impl Operator for Joiner {
    fn on_batch(
        &mut self,
        port: usize,
        batch: ChangeBatch,
        _: &mut dyn Output,
    ) -> Result<(), Error> {
        if port == 0 {
            self.on_left(&batch.rows)
        } else {
            self.on_right(&batch)
        }
    }

    fn on_watermark(&mut self, watermark: EventTime, output: &mut dyn Output) -> Result<(), Error> {
        self.watermark = self.watermark.max(watermark);
        let met = self.fire();
        self.emit(&met, output)?;
        output.watermark(watermark)
    }

    fn snapshot(&mut self, _: CheckpointId) -> Result<Vec<StateTable>, Error> {
        let mut tables = vec![watermark_table(self.watermark)?];
        let left: Vec<&[u8]> = self
            .keys
            .values()
            .flat_map(|key| &key.waiting)
            .map(|(_, row)| &**row)
            .collect();
        if !left.is_empty() {
            let rows = self.left[1].decode(left)?;
            tables.push(table("left", &self.plan.keys[0], rows, Vec::new())?);
        }
        let right: Vec<(Option<i64>, &Version)> = self
            .keys
            .values()
            .flat_map(|key| key.versions.values().map(|version| (key.timer, version)))
            .collect();
        if !right.is_empty() {
            let rows = self.right[1].decode(right.iter().map(|(_, version)| &*version.row))?;
            let live: BooleanArray = right
                .iter()
                .map(|(_, version)| Some(version.live))
                .collect();
            let timers: Int64Array = right.iter().map(|(timer, _)| *timer).collect();
            let more: Vec<(String, ArrayRef)> = vec![
                (LIVE.to_owned(), Arc::new(live)),
                (TIMER.to_owned(), Arc::new(timers)),
            ];
            tables.push(table(RIGHT, &self.plan.keys[1], rows, more)?);
        }
        Ok(tables)
    }

    fn restore(&mut self, mut tables: Vec<StateTable>) -> Result<(), Error> {
        self.watermark = take_watermark(&mut tables)?;
        for table in tables {
            let is_right = table.name == RIGHT;
            for batch in table.into_batches() {
                if is_right {
                    self.restore_right(&batch)?;
                } else {
                    self.restore_left(&batch)?;
                }
            }
        }
        Ok(())
    }

    fn state_size(&self) -> usize {
        let of_key = |(key, state): (&Bytes, &Key)| {
            let waiting: usize = state.waiting.iter().map(|(_, row)| row.len() + 24).sum();
            let versions: usize = state
                .versions
                .values()
                .map(|version| version.row.len() + 48)
                .sum();
            2 * key.len() + waiting + versions + 96
        };
        self.keys.iter().map(of_key).sum()
    }
}

const RIGHT: &str = "right";
const LIVE: &str = "live";
const TIMER: &str = "timer";

fn table(
    name: &str,
    keys: &[usize],
    rows: Vec<ArrayRef>,
    more: Vec<(String, ArrayRef)>,
) -> Result<StateTable, Error> {
    let keys: Vec<ArrayRef> = keys.iter().map(|key| rows[*key].clone()).collect();
    let mut columns: Vec<(String, ArrayRef)> = rows
        .into_iter()
        .enumerate()
        .map(|(index, column)| (format!("value_{index}"), column))
        .collect();
    columns.extend(more);
    Ok(StateTable {
        name: name.to_owned(),
        rows: vec![state_batch(&keys, columns)?.into()],
    })
}

#[cfg(test)]
mod tests;
