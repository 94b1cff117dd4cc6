//! The event-time temporal join: each left row meets the version of its key that was valid at its time.
//!
//! Left rows wait for the watermark, since an older version may still come; versions no left row can ask for any more
//! are forgotten.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use datafusion::physical_plan::PhysicalExpr;
use hashbrown::HashMap;

use super::calc::evaluate;
use super::dedup::millis;
use super::keys::{Encoder, batch_of, state_batch, take_rows, take_watermark, watermark_table};
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
            waiting: BTreeMap::new(),
            versions: HashMap::default(),
            superseded: false,
            bytes: [0; 2],
        }))
    }
}

type Bytes = Box<[u8]>;

struct Joiner {
    plan: TemporalJoin,
    left: [Encoder; 2],
    right: [Encoder; 2],
    watermark: EventTime,
    /// Left rows with their keys, by time.
    waiting: BTreeMap<i64, Vec<(Bytes, Bytes)>>,
    /// Each key's versions by the time they begin; `None` where the row was deleted.
    versions: HashMap<Bytes, BTreeMap<i64, Option<Bytes>>, ahash::RandomState>,
    /// Some key has versions that the watermark may make superfluous.
    superseded: bool,
    /// About what `waiting` and `versions` take.
    bytes: [usize; 2],
}

/// What a version costs beside its row.
const VERSION: usize = 96;

impl Joiner {
    fn on_left(&mut self, rows: &RecordBatch, output: &mut dyn Output) -> Result<(), Error> {
        let times = millis(rows.column(self.plan.times[0]))?;
        let (keys, bytes) = (self.left[0].encode(rows)?, self.left[1].encode(rows)?);
        let mut late = Vec::new();
        for (row, time) in times.values().iter().enumerate() {
            if *time <= self.watermark.0 {
                late.push(row as u32);
                continue;
            }
            let null = self.plan.keys[0]
                .iter()
                .any(|key| rows.column(*key).is_null(row));
            // NULL meets nothing; the empty key is no encoding of any row.
            let key = if null {
                Bytes::default()
            } else {
                keys.row(row).as_ref().into()
            };
            let row: Bytes = bytes.row(row).as_ref().into();
            self.bytes[0] += key.len() + row.len() + 48;
            self.waiting.entry(*time).or_default().push((key, row));
        }
        if late.is_empty() {
            return Ok(());
        }
        output.late(take_rows(rows, late)?)
    }

    fn on_right(&mut self, batch: &ChangeBatch) -> Result<(), Error> {
        let times = millis(batch.rows.column(self.plan.times[1]))?;
        let (keys, bytes) = (
            self.right[0].encode(&batch.rows)?,
            self.right[1].encode(&batch.rows)?,
        );
        for (row, time) in times.values().iter().enumerate() {
            let version: Option<Bytes> = match batch.kind(row) {
                RowKind::Insert | RowKind::UpdateAfter => Some(bytes.row(row).as_ref().into()),
                RowKind::UpdateBefore => continue,
                RowKind::Delete => None,
            };
            let key = keys.row(row);
            self.bytes[1] += VERSION + version.as_ref().map_or(0, |row| row.len());
            let versions = self.versions.entry_ref(key.as_ref()).or_default();
            self.superseded |= version.is_none() || !versions.is_empty();
            versions.insert(*time, version);
        }
        Ok(())
    }

    fn fire(&mut self, output: &mut dyn Output) -> Result<(), Error> {
        let later = match self.watermark.0.checked_add(1) {
            Some(next) => self.waiting.split_off(&next),
            None => BTreeMap::new(),
        };
        let due = std::mem::replace(&mut self.waiting, later);
        let gone = due.values().flatten();
        let gone = gone.map(|(key, row)| key.len() + row.len() + 48);
        self.bytes[0] = self.bytes[0].saturating_sub(gone.sum());
        let (mut matched, mut alone) = (Vec::new(), Vec::new());
        for (time, rows) in &due {
            for (key, row) in rows {
                let version = self
                    .versions
                    .get(key)
                    .and_then(|versions| versions.range(..=*time).next_back())
                    .and_then(|(_, version)| version.as_ref());
                match version {
                    Some(version) => matched.push((row, version)),
                    None => alone.push(row),
                }
            }
        }
        if !matched.is_empty() {
            let mut columns = self.left[1].decode_bytes(matched.iter().map(|(row, _)| &***row))?;
            columns.extend(
                self.right[1].decode_bytes(matched.iter().map(|(_, version)| &***version))?,
            );
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
            let mut columns = self.left[1].decode_bytes(alone.iter().map(|row| &***row))?;
            let n_left = columns.len();
            for field in self.plan.output.fields().iter().skip(n_left) {
                columns.push(arrow::array::new_null_array(field.data_type(), alone.len()));
            }
            output.emit(ChangeBatch::inserts(batch_of(&self.plan.output, columns)?))?;
        }
        self.forget();
        Ok(())
    }

    /// Keeps of each key the newest version that has begun, and those that begin later.
    fn forget(&mut self) {
        if !std::mem::take(&mut self.superseded) {
            return;
        }
        let watermark = self.watermark.0;
        let (mut superseded, mut bytes) = (false, 0);
        self.versions.retain(|_, versions| {
            if let Some(current) = versions
                .range(..=watermark)
                .next_back()
                .map(|(time, _)| *time)
            {
                *versions = versions.split_off(&current);
            }
            let gone = versions.len() == 1
                && versions
                    .iter()
                    .all(|(time, version)| version.is_none() && *time <= watermark);
            if !gone {
                superseded |= versions.len() > 1 || versions.values().any(Option::is_none);
                let sizes = versions.values().flatten().map(|row| row.len());
                bytes += versions.len() * VERSION + sizes.sum::<usize>();
            }
            !gone
        });
        self.superseded = superseded;
        self.bytes[1] = bytes;
    }
}

impl Operator for Joiner {
    fn on_batch(
        &mut self,
        port: usize,
        batch: ChangeBatch,
        output: &mut dyn Output,
    ) -> Result<(), Error> {
        if port == 0 {
            self.on_left(&batch.rows, output)
        } else {
            self.on_right(&batch)
        }
    }

    fn on_watermark(&mut self, watermark: EventTime, output: &mut dyn Output) -> Result<(), Error> {
        self.watermark = self.watermark.max(watermark);
        self.fire(output)?;
        output.watermark(watermark)
    }

    fn snapshot(&mut self, _: CheckpointId) -> Result<Vec<StateTable>, Error> {
        let mut tables = vec![watermark_table(self.watermark)?];
        let left: Vec<&Bytes> = self
            .waiting
            .values()
            .flatten()
            .map(|(_, row)| row)
            .collect();
        if !left.is_empty() {
            let rows = self.left[1].decode_bytes(left.iter().map(|row| &***row))?;
            tables.push(table("left", &self.plan.keys[0], rows)?);
        }
        let right: Vec<&Bytes> = self
            .versions
            .values()
            .flat_map(BTreeMap::values)
            .flatten()
            .collect();
        if !right.is_empty() {
            let rows = self.right[1].decode_bytes(right.iter().map(|row| &***row))?;
            tables.push(table("right", &self.plan.keys[1], rows)?);
        }
        Ok(tables)
    }

    fn restore(&mut self, mut tables: Vec<StateTable>) -> Result<(), Error> {
        let watermark = take_watermark(&mut tables)?;
        for table in tables {
            let port = usize::from(table.name == "right");
            let schema = self.plan.sides[port].clone();
            for batch in table.rows {
                let rows = batch_of(&schema, named(&batch, "value", schema.fields().len())?)?;
                if port == 0 {
                    // Nothing is late yet: what waited goes on waiting.
                    self.on_left(&rows, &mut Nowhere)?;
                } else {
                    self.on_right(&ChangeBatch::inserts(rows))?;
                }
            }
        }
        self.watermark = watermark;
        Ok(())
    }

    fn state_size(&self) -> usize {
        self.bytes.iter().sum()
    }
}

fn table(name: &str, keys: &[usize], rows: Vec<ArrayRef>) -> Result<StateTable, Error> {
    let keys: Vec<ArrayRef> = keys.iter().map(|key| rows[*key].clone()).collect();
    let columns = rows
        .into_iter()
        .enumerate()
        .map(|(index, column)| (format!("value_{index}"), column))
        .collect();
    Ok(StateTable {
        name: name.to_owned(),
        rows: vec![state_batch(&keys, columns)?],
    })
}

/// Takes nothing: restoring emits nothing.
struct Nowhere;

impl Output for Nowhere {
    fn emit(&mut self, _: ChangeBatch) -> Result<(), Error> {
        Ok(())
    }

    fn watermark(&mut self, _: EventTime) -> Result<(), Error> {
        Ok(())
    }

    fn late(&mut self, _: RecordBatch) -> Result<(), Error> {
        Ok(())
    }
}
