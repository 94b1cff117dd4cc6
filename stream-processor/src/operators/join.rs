//! The regular join of two streams: inner, or left with corrections when a match comes or goes.
//!
//! Each side keeps its rows by key. When one input has ended for ever and the join is inner, the other side's rows can
//! meet nothing new any more and are forgotten: a bounded side input costs only its own size. The rows of a side that
//! has ended are laid out as columns, from which matches are taken without decoding. A row that was not written for the
//! time to live of its side is gone, ended or not, as in Flink; nothing is corrected for it.
//!
//! A stream can also be joined where it is, without an exchange by key: then each instance gets the whole right side.
//! Barriers are aligned, so all instances have the same of it at a checkpoint, and the first one writes it for all.

mod side;

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{Int64Type, SchemaRef};
use datafusion_physical_expr::PhysicalExpr;
use hashbrown::HashMap;

use self::side::{Held, Side};
use super::calc::evaluate;
use super::keys::{Encoder, batch_of, column, damaged, take_rows};
use super::ttl::{TimeToLive, UNTIMED};
use super::window::named;
use crate::batch::{ChangeBatch, RowKind};
use crate::error::Error;
use crate::graph::OperatorFactory;
use crate::operator::{CheckpointId, Operator, Output, StateTable, Subtask};

/// What to join; the output has the left side's columns, then the right's.
#[derive(Debug, Clone)]
pub(crate) struct Join {
    pub(crate) sides: [SchemaRef; 2],
    pub(crate) keys: [Vec<usize>; 2],
    /// Left rows without a match come with NULLs.
    pub(crate) outer: bool,
    /// The right side goes to all instances, the rows of the left side to any.
    pub(crate) side_to_all: bool,
    pub(crate) condition: Option<Arc<dyn PhysicalExpr>>,
    /// How long a side keeps a row that is not written again, in milliseconds.
    pub(crate) ttl: [Option<i64>; 2],
    pub(crate) output: SchemaRef,
}

impl OperatorFactory for Join {
    fn create(&self, subtask: Subtask) -> Result<Box<dyn Operator>, Error> {
        let side = |port: usize| -> Result<Side, Error> {
            Ok(Side {
                keys: Encoder::new(&self.sides[port], &self.keys[port])?,
                rows: Encoder::all(&self.sides[port])?,
                held: HashMap::default(),
                arranged: None,
                ended: false,
                bytes: 0,
                ttl: TimeToLive::new(self.ttl[port]),
            })
        };
        Ok(Box::new(Joiner {
            sides: [side(0)?, side(1)?],
            plan: self.clone(),
            subtask,
            unmatched: Vec::new(),
        }))
    }
}

struct Joiner {
    plan: Join,
    subtask: Subtask,
    sides: [Side; 2],
    /// What an outer join has to say of the batch besides its pairs.
    unmatched: Vec<Unmatched>,
}

/// A left row that comes or goes with NULLs for the right.
struct Unmatched {
    row: Arc<[u8]>,
    kind: RowKind,
    /// How many pairs of the batch come before it.
    after: usize,
}

/// Pairs of rows that have equal keys.
#[derive(Default)]
struct Pairs {
    here: Vec<u32>,
    there: There,
    kinds: Vec<RowKind>,
}

/// The other side's rows of [`Pairs`].
enum There {
    /// As held by key.
    Bytes(Vec<Arc<[u8]>>),
    /// By place in [`Arranged`].
    Places(Vec<u32>),
}

impl Default for There {
    fn default() -> Self {
        There::Bytes(Vec::new())
    }
}

impl Pairs {
    /// Pairs `here` with the rows of an arranged side that are at `place`; gives how many there are.
    fn meet_arranged(&mut self, here: u32, kind: RowKind, place: Range<u32>) -> i64 {
        let n_rows = place.len();
        if let There::Places(there) = &mut self.there {
            self.here.extend(place.clone().map(|_| here));
            there.extend(place);
            self.kinds.resize(self.here.len(), kind);
        }
        n_rows as i64
    }

    /// Pairs `here` with each row that `side` has under `key`; gives how many there are.
    fn meet(&mut self, here: u32, kind: RowKind, key: &[u8], side: &Side) -> i64 {
        let before = self.here.len();
        if let There::Bytes(there) = &mut self.there {
            let rows = side.held.get(key).into_iter().flatten();
            for held in rows.filter(|held| side.ttl.is_alive(held.written)) {
                there.extend((0..held.count).map(|_| held.row.clone()));
                self.here.extend((0..held.count).map(|_| here));
            }
        }
        self.kinds.resize(self.here.len(), kind);
        (self.here.len() - before) as i64
    }
}

impl Joiner {
    /// Each match of a row of `batch` with a row of the other side; `batch` is kept if the other side may still change.
    fn probe(&mut self, port: usize, batch: &ChangeBatch) -> Result<Pairs, Error> {
        let keys = self.sides[port].keys.encode(&batch.rows)?;
        let keyed = not_null(&batch.rows, &self.plan.keys[port]);
        let keep = !self.sides[1 - port].ended;
        let rows = if keep || (self.plan.outer && port == 0) {
            Some(self.sides[port].rows.encode(&batch.rows)?)
        } else {
            None
        };
        let mut pairs = Pairs::default();
        let arranged = self.sides[1 - port].arranged.as_ref();
        let places = arranged.map(|arranged| arranged.places.of(&keys));
        if places.is_some() {
            pairs.there = There::Places(Vec::with_capacity(batch.num_rows()));
        }
        for (row, keyed) in keyed.iter().copied().enumerate() {
            let kind = batch.kind(row);
            let key = keys.row(row);
            let before = pairs.here.len();
            let mut matches = 0;
            if keyed {
                matches = match &places {
                    Some(places) => pairs.meet_arranged(row as u32, kind, places[row].clone()),
                    None => pairs.meet(row as u32, kind, key, &self.sides[1 - port]),
                };
            }
            // NULLs go before the first match comes, and come back after the last has gone.
            let after = if kind.is_addition() {
                before
            } else {
                pairs.here.len()
            };
            if self.plan.outer && port == 1 && keyed {
                // Also when no left row will come any more: those that are there lose their NULLs.
                self.count_matches(key, kind, after);
            }
            let Some(rows) = &rows else {
                continue;
            };
            let bytes = rows.row(row);
            if self.plan.outer && port == 0 && matches == 0 {
                self.unmatched.push(Unmatched {
                    row: bytes.into(),
                    kind,
                    after,
                });
            }
            if keep && (keyed || (self.plan.outer && port == 0)) {
                if kind.is_addition() {
                    self.sides[port].add(key, bytes, matches);
                } else {
                    self.sides[port].remove(key, bytes);
                }
            }
        }
        Ok(pairs)
    }

    /// A right row of this key has come or gone: left rows with their first match lose their NULLs, those that lost
    /// their last get them back.
    fn count_matches(&mut self, key: &[u8], kind: RowKind, after: usize) {
        let change = if kind.is_addition() { 1 } else { -1 };
        let ttl = self.sides[0].ttl;
        let lefts = self.sides[0].held.get_mut(key).into_iter().flatten();
        for left in lefts.filter(|left| ttl.is_alive(left.written)) {
            let before = left.matches;
            left.matches += change;
            left.written = ttl.now();
            let kind = match (before, left.matches) {
                (0, 1) => RowKind::Delete,
                (1, 0) => RowKind::Insert,
                _ => continue,
            };
            self.unmatched.extend((0..left.count).map(|_| Unmatched {
                row: left.row.clone(),
                kind,
                after,
            }));
        }
    }

    /// Lays out the side at `port` if it has ended and is still asked. The left rows of an outer join go on counting
    /// their matches, and rows with a time to live go on getting older.
    fn arrange(&mut self, port: usize) -> Result<(), Error> {
        let counts = self.plan.outer && port == 0;
        let asked = !self.sides[1 - port].ended;
        let side = &mut self.sides[port];
        if side.ended && asked && !counts && !side.ttl.expires() && side.arranged.is_none() {
            side.arrange(&self.plan.sides[port])?;
        }
        Ok(())
    }

    fn joined(&self, port: usize, batch: &RecordBatch, pairs: Pairs) -> Result<RecordBatch, Error> {
        let here = take_rows(batch, pairs.here)?;
        let side = &self.sides[1 - port];
        let there = match (pairs.there, &side.arranged) {
            (There::Places(places), Some(arranged)) => {
                take_record_batch(&arranged.rows, &UInt32Array::from(places))
                    .map_err(super::keys::failed)?
                    .columns()
                    .to_vec()
            }
            (There::Bytes(rows), _) => side.rows.decode(rows.iter().map(|row| &**row))?,
            (There::Places(_), None) => return Err(Error::failed("a join lost a side")),
        };
        let mut columns = here.columns().to_vec();
        if port == 0 {
            columns.extend(there);
        } else {
            columns.splice(0..0, there);
        }
        batch_of(&self.plan.output, columns)
    }

    /// The pairs and what is unmatched, in the order of the rows that caused them: a sink that knows rows by their key
    /// keeps what comes last.
    fn in_order(
        &self,
        port: usize,
        batch: &RecordBatch,
        mut pairs: Pairs,
        unmatched: &[Unmatched],
    ) -> Result<ChangeBatch, Error> {
        let of_pairs = std::mem::take(&mut pairs.kinds);
        let joined = self.joined(port, batch, pairs)?;
        let left = unmatched.iter().map(|unmatched| &*unmatched.row);
        let mut columns = self.sides[0].rows.decode(left)?;
        for field in self.plan.output.fields().iter().skip(columns.len()) {
            let nulls = arrow::array::new_null_array(field.data_type(), unmatched.len());
            columns.push(nulls);
        }
        let alone = batch_of(&self.plan.output, columns)?;
        let (mut order, mut kinds) = (Vec::new(), Vec::new());
        let mut pair = 0;
        for (index, unmatched) in unmatched.iter().enumerate() {
            order.extend(pair as u32..unmatched.after as u32);
            kinds.extend_from_slice(&of_pairs[pair..unmatched.after]);
            pair = unmatched.after;
            order.push((of_pairs.len() + index) as u32);
            kinds.push(unmatched.kind);
        }
        order.extend(pair as u32..of_pairs.len() as u32);
        kinds.extend_from_slice(&of_pairs[pair..]);
        let rows = concat_batches(&self.plan.output, [&joined, &alone])
            .and_then(|rows| take_record_batch(&rows, &UInt32Array::from(order)))
            .map_err(super::keys::failed)?;
        Ok(ChangeBatch::changes(rows, kinds.into()))
    }
}

/// Which rows have no NULL among the columns `keys`: NULL joins nothing.
fn not_null(batch: &RecordBatch, keys: &[usize]) -> Vec<bool> {
    let mut all = vec![true; batch.num_rows()];
    for key in keys {
        let column = batch.column(*key);
        if column.null_count() > 0 {
            for (row, all) in all.iter_mut().enumerate() {
                *all &= column.is_valid(row);
            }
        }
    }
    all
}

impl Operator for Joiner {
    fn on_batch(
        &mut self,
        port: usize,
        batch: ChangeBatch,
        output: &mut dyn Output,
    ) -> Result<(), Error> {
        let pairs = self.probe(port, &batch)?;
        // Outer joins have no condition besides their keys.
        let unmatched = std::mem::take(&mut self.unmatched);
        if !unmatched.is_empty() {
            return output.emit(self.in_order(port, &batch.rows, pairs, &unmatched)?);
        }
        if pairs.here.is_empty() {
            return Ok(());
        }
        let kinds: Option<Arc<[RowKind]>> = batch.kinds.is_some().then(|| pairs.kinds[..].into());
        let rows = self.joined(port, &batch.rows, pairs)?;
        let mut joined = ChangeBatch { rows, kinds };
        if let Some(condition) = &self.plan.condition {
            let mask = evaluate(condition, &joined.rows)?;
            let mask = mask
                .as_boolean_opt()
                .ok_or_else(|| Error::failed("a join condition was no BOOLEAN"))?;
            let mask: BooleanArray = mask.iter().map(|keep| Some(keep == Some(true))).collect();
            joined = super::calc::keep_rows(joined, &mask)?;
        }
        if joined.num_rows() > 0 {
            output.emit(joined)?;
        }
        Ok(())
    }

    fn on_processing_time(&mut self, now: i64, _: &mut dyn Output) -> Result<(), Error> {
        for side in &mut self.sides {
            if side.ttl.tick(now) {
                side.sweep();
            }
        }
        Ok(())
    }

    fn on_end_of_input(&mut self, port: usize, _: &mut dyn Output) -> Result<(), Error> {
        self.sides[port].ended = true;
        // The other side's rows have met all that they ever will.
        let other = &mut self.sides[1 - port];
        other.held = HashMap::default();
        other.arranged = None;
        other.bytes = 0;
        self.arrange(port)
    }

    fn snapshot(&mut self, _: CheckpointId) -> Result<Vec<StateTable>, Error> {
        let mut tables = Vec::new();
        for (port, side) in self.sides.iter_mut().enumerate() {
            let ended: ArrayRef = Arc::new(BooleanArray::from(vec![side.ended]));
            tables.push(StateTable {
                name: format!("ended-{port}"),
                rows: vec![
                    RecordBatch::try_from_iter([("ended", ended)])
                        .map_err(super::keys::failed)?
                        .into(),
                ],
            });
            let to_all = self.plan.side_to_all && port == 1;
            if to_all && self.subtask.index > 0 {
                continue;
            }
            let keys = (!to_all).then_some(&*self.plan.keys[port]);
            let rows = side.saved(keys)?;
            tables.extend(rows.map(|rows| StateTable {
                name: format!("rows-{port}"),
                rows: vec![rows],
            }));
        }
        Ok(tables)
    }

    fn restore(&mut self, tables: Vec<StateTable>) -> Result<(), Error> {
        for table in tables {
            let (what, port) = table.name.split_once('-').ok_or_else(damaged)?;
            let is_end = what == "ended";
            let port: usize = port
                .parse()
                .ok()
                .filter(|port| *port < 2)
                .ok_or_else(damaged)?;
            let schema = self.plan.sides[port].clone();
            for batch in table.into_batches() {
                let side = &mut self.sides[port];
                if is_end {
                    let ended = column(&batch, "ended")?
                        .as_boolean_opt()
                        .ok_or_else(damaged)?;
                    side.ended |= ended.iter().any(|ended| ended == Some(true));
                    continue;
                }
                let number = |name: &str| -> Result<Int64Array, Error> {
                    Ok(column(&batch, name)?
                        .as_primitive_opt::<Int64Type>()
                        .ok_or_else(damaged)?
                        .clone())
                };
                let (counts, matches) = (number("count")?, number("matches")?);
                // A checkpoint of a job without a time to live has no such column.
                let written = number("written").ok();
                let values = batch_of(&schema, named(&batch, "value", schema.fields().len())?)?;
                let (keys, rows) = (side.keys.encode(&values)?, side.rows.encode(&values)?);
                for row in 0..batch.num_rows() {
                    let held = Held {
                        row: rows.row(row).into(),
                        count: counts.value(row),
                        matches: matches.value(row),
                        written: written
                            .as_ref()
                            .map_or(UNTIMED, |written| written.value(row)),
                    };
                    side.put(keys.row(row), held);
                }
            }
        }
        self.arrange(0)?;
        self.arrange(1)
    }

    fn state_size(&self) -> usize {
        let keys = |side: &Side| {
            let arranged = side.arranged.as_ref();
            side.held.len() + arranged.map_or(0, |arranged| arranged.places.len())
        };
        self.sides
            .iter()
            .map(|side| side.bytes + keys(side) * 64)
            .sum()
    }
}

#[cfg(test)]
mod tests;
