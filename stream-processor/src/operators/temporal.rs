//! The event-time temporal join: each left row meets the version of its key that was valid at its time.
//!
//! Left rows wait for the watermark, since an older version may still come. A left row behind the watermark is not lost:
//! it waits for the next watermark and meets what is still remembered, as in Flink. What is remembered depends on when a
//! key's versions were last looked through, so each key has one timer that is set and cleared as Flink's
//! `TemporalRowTimeJoinOperator` does it. A left row that takes another back meets the same version as that one did,
//! unless it came so late that the version is forgotten.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int8Array, Int64Array, RecordBatch, UInt32Array,
};
use arrow::compute::take;
use arrow::datatypes::{Int8Type, Int64Type, SchemaRef};
use datafusion_physical_expr::PhysicalExpr;
use hashbrown::HashMap;

use super::calc::evaluate;
use super::dedup::millis;
use super::keys::{
    Encoder, batch_of, column, damaged, failed, state_batch, take_watermark, watermark_table,
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
    /// Left rows as they came.
    waiting: Vec<Waiting>,
    /// By the time they begin.
    versions: BTreeMap<i64, Version>,
}

/// A left row and what it does; its result does the same.
struct Waiting {
    time: i64,
    kind: RowKind,
    row: Bytes,
}

/// Left rows that have met their version, or nothing.
type Met = Vec<(Waiting, Option<Arc<[u8]>>)>;

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
    fn on_left(&mut self, batch: &ChangeBatch) -> Result<(), Error> {
        let rows = &batch.rows;
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
            state.waiting.push(Waiting {
                time: *time,
                kind: batch.kind(row),
                row: bytes.row(row).into(),
            });
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
                if let Some(next) = state.waiting.iter().map(|left| left.time).min() {
                    set_timer(&mut self.timers, &key, state, next);
                }
                if state.waiting.is_empty() && state.versions.is_empty() {
                    self.keys.remove(&key);
                }
            }
        }
        met
    }

    /// The rows in their order: a retraction and what comes in its place stay together.
    fn emit(&self, met: &Met, output: &mut dyn Output) -> Result<(), Error> {
        if met.is_empty() {
            return Ok(());
        }
        let columns = self.left[1].decode(met.iter().map(|(left, _)| &*left.row))?;
        let versions = met.iter().filter_map(|(_, version)| version.as_deref());
        let versions = self.right[1].decode(versions)?;
        let mut n_versions = 0;
        let mut places: Vec<Option<u32>> = Vec::with_capacity(met.len());
        for (_, version) in met {
            places.push(version.is_some().then_some(n_versions));
            n_versions += u32::from(version.is_some());
        }
        let widen = |places: &[Option<u32>]| {
            let places = UInt32Array::from(places.to_vec());
            // Most left rows meet a version, and then all of them do.
            let right = match places.null_count() {
                0 => Ok(versions.clone()),
                _ => versions
                    .iter()
                    .map(|column| take(column, &places, None))
                    .collect(),
            };
            let columns = columns
                .iter()
                .cloned()
                .chain(right.map_err(failed)?)
                .collect();
            batch_of(&self.plan.output, columns)
        };
        let mut rows = widen(&places)?;
        if let Some(condition) = &self.plan.condition {
            let mask = evaluate(condition, &rows)?;
            let mask = mask
                .as_boolean_opt()
                .ok_or_else(|| Error::failed("a join condition was no BOOLEAN"))?;
            for (at, place) in places.iter_mut().enumerate() {
                *place = place.filter(|_| mask.is_valid(at) && mask.value(at));
            }
            rows = widen(&places)?;
        }
        let kinds: Vec<RowKind> = met.iter().map(|(left, _)| left.kind).collect();
        let mut joined = match kinds.iter().all(|kind| *kind == RowKind::Insert) {
            true => ChangeBatch::inserts(rows),
            false => ChangeBatch::changes(rows, kinds.into()),
        };
        if !self.plan.outer {
            let met: BooleanArray = places.iter().map(|place| Some(place.is_some())).collect();
            joined = super::calc::keep_rows(joined, &met)?;
        }
        match joined.num_rows() {
            0 => Ok(()),
            _ => output.emit(joined),
        }
    }

    fn restore_left(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        let schema = &self.plan.sides[0];
        let rows = batch_of(schema, named(batch, "value", schema.fields().len())?)?;
        let Some(kinds) = batch.column_by_name(KIND) else {
            // Of a build in which all left rows were inserts.
            return self.on_left(&ChangeBatch::inserts(rows));
        };
        let kinds = kinds.as_primitive_opt::<Int8Type>().ok_or_else(damaged)?;
        let kinds = kinds.values().iter().map(|kind| kind_of(*kind));
        let kinds = kinds.collect::<Result<Vec<_>, _>>()?;
        self.on_left(&ChangeBatch::changes(rows, kinds.into()))
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
        for left in self.waiting.extract_if(.., |left| left.time <= watermark) {
            let version = self.versions.range(..=left.time).next_back();
            let version = version
                .filter(|(_, version)| version.live)
                .map(|(_, version)| version.row.clone());
            met.push((left, version));
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
            self.on_left(&batch)
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
        let left: Vec<&Waiting> = self.keys.values().flat_map(|key| &key.waiting).collect();
        if !left.is_empty() {
            let rows = self.left[1].decode(left.iter().map(|left| &*left.row))?;
            let kinds: Int8Array = left.iter().map(|left| Some(left.kind as i8)).collect();
            let more: Vec<(String, ArrayRef)> = vec![(KIND.to_owned(), Arc::new(kinds))];
            tables.push(table("left", &self.plan.keys[0], rows, more)?);
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
            let waiting: usize = state.waiting.iter().map(|left| left.row.len() + 32).sum();
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
const KIND: &str = "kind";
const TIMER: &str = "timer";

fn kind_of(saved: i8) -> Result<RowKind, Error> {
    let kinds = [
        RowKind::Insert,
        RowKind::UpdateBefore,
        RowKind::UpdateAfter,
        RowKind::Delete,
    ];
    let found = kinds.into_iter().find(|kind| *kind as i8 == saved);
    found.ok_or_else(damaged)
}

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
