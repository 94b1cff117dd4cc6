//! The regular join of two streams: inner, or left with corrections when a match comes or goes.
//!
//! Each side keeps its rows by key. When one input has ended for ever and the join is inner, the other side's rows can
//! meet nothing new any more and are forgotten: a bounded side input costs only its own size. The rows of a side that
//! has ended are laid out as columns, from which matches are taken without decoding. A row that was not written for the
//! time to live of its side is gone, ended or not, as in Flink; nothing is corrected for it.
//!
//! A stream can also be joined where it is, without an exchange by key: then each instance gets the whole right side.
//! Barriers are aligned, so all instances have the same of it at a checkpoint, and the first one writes it for all.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{Int64Type, SchemaRef};
use datafusion_physical_expr::PhysicalExpr;
use hashbrown::HashMap;

use super::calc::evaluate;
use super::keys::{Encoder, batch_of, column, damaged, state_batch, take_rows};
use super::ttl::{TimeToLive, UNTIMED, Written};
use super::window::named;
use crate::batch::{ChangeBatch, RowKind};
use crate::error::Error;
use crate::graph::OperatorFactory;
use crate::operator::{CheckpointId, Operator, Output, StateRows, StateTable, Subtask};

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
            buffered: Vec::new(),
        }))
    }
}

struct Held {
    /// Shared, because each match passes it on.
    row: Arc<[u8]>,
    /// Equal rows that are there.
    count: i64,
    /// Outer joins: how many rows of the other side match.
    matches: i64,
    written: Written,
}

struct Side {
    keys: Encoder,
    rows: Encoder,
    held: HashMap<Box<[u8]>, Vec<Held>, ahash::RandomState>,
    /// What was held when the side ended.
    arranged: Option<Arranged>,
    ended: bool,
    bytes: usize,
    ttl: TimeToLive,
}

/// The rows of a side that has ended: they change no more.
struct Arranged {
    /// Those of one key stand together, as often as there are equal ones.
    rows: RecordBatch,
    /// Where those of a key begin and how many they are.
    places: HashMap<Box<[u8]>, (u32, u32), ahash::RandomState>,
    /// As a checkpoint keeps them; the same batch each time, so that it is written once.
    saved: Option<StateRows>,
}

impl Side {
    /// Lays out what is held; nothing may come any more.
    fn arrange(&mut self, schema: &SchemaRef) -> Result<(), Error> {
        let held = std::mem::take(&mut self.held);
        let mut places = HashMap::with_capacity_and_hasher(held.len(), Default::default());
        let mut rows: Vec<Arc<[u8]>> = Vec::new();
        for (key, of_key) in held {
            let begin = rows.len();
            for held in of_key {
                rows.extend((0..held.count).map(|_| held.row.clone()));
            }
            places.insert(key, (begin as u32, (rows.len() - begin) as u32));
        }
        let columns = self.rows.decode_bytes(rows.iter().map(|row| &**row))?;
        self.arranged = Some(Arranged {
            rows: batch_of(schema, columns)?,
            places,
            saved: None,
        });
        Ok(())
    }

    /// The rows as a checkpoint keeps them, if there are any.
    /// With `keys`, each instance of a restored job gets those of its key groups, otherwise each gets all.
    fn saved(&mut self, keys: Option<&[usize]>) -> Result<Option<StateRows>, Error> {
        if let Some(arranged) = &mut self.arranged {
            if arranged.saved.is_none() && arranged.rows.num_rows() > 0 {
                let ones = vec![1; arranged.rows.num_rows()];
                let zeros = vec![0; arranged.rows.num_rows()];
                let saved = saved_rows(keys, arranged.rows.columns(), ones, zeros, None)?;
                arranged.saved = Some(saved.into());
            }
            return Ok(arranged.saved.clone());
        }
        let all: Vec<&Held> = self.held.values().flatten().collect();
        if all.is_empty() {
            return Ok(None);
        }
        let rows = self.rows.decode_bytes(all.iter().map(|held| &*held.row))?;
        let counts = all.iter().map(|held| held.count).collect();
        let matches = all.iter().map(|held| held.matches).collect();
        let written = all.iter().map(|held| held.written).collect();
        let written = self.ttl.expires().then_some(written);
        Ok(Some(
            saved_rows(keys, &rows, counts, matches, written)?.into(),
        ))
    }

    fn add(&mut self, key: &[u8], row: &[u8], matches: i64) {
        let written = self.ttl.now();
        if let Some(rows) = self.held.get_mut(key)
            && let Some(held) = rows.iter_mut().find(|held| *held.row == *row)
        {
            if self.ttl.is_alive(held.written) {
                held.count += 1;
            } else {
                (held.count, held.matches) = (1, matches);
            }
            held.written = written;
            return;
        }
        self.put(
            key,
            Held {
                row: row.into(),
                count: 1,
                matches,
                written,
            },
        );
    }

    /// Takes in a row that is not held yet.
    fn put(&mut self, key: &[u8], held: Held) {
        self.bytes += held.row.len() + HELD_OVERHEAD;
        if let Some(rows) = self.held.get_mut(key) {
            rows.push(held);
        } else {
            self.held.insert(key.into(), vec![held]);
        }
    }

    /// Lets go of the rows whose time is over.
    fn sweep(&mut self) {
        let (ttl, bytes) = (self.ttl, &mut self.bytes);
        self.held.retain(|_, rows| {
            rows.retain(|held| {
                let is_alive = ttl.is_alive(held.written);
                if !is_alive {
                    *bytes = bytes.saturating_sub(held.row.len() + HELD_OVERHEAD);
                }
                is_alive
            });
            !rows.is_empty()
        });
    }

    fn remove(&mut self, key: &[u8], row: &[u8]) {
        let Some(rows) = self.held.get_mut(key) else {
            return;
        };
        if let Some(at) = rows.iter().position(|held| *held.row == *row) {
            let held = &mut rows[at];
            held.count -= 1;
            let stays = held.count > 0 && self.ttl.is_alive(held.written);
            held.written = self.ttl.now();
            if !stays {
                rows.swap_remove(at);
                self.bytes = self.bytes.saturating_sub(row.len() + HELD_OVERHEAD);
            }
        }
        if rows.is_empty() {
            self.held.remove(key);
        }
    }
}

/// Bytes a held row costs besides itself.
const HELD_OVERHEAD: usize = 48;

struct Joiner {
    plan: Join,
    subtask: Subtask,
    sides: [Side; 2],
    /// Left rows with NULLs for the right, to be emitted with the results.
    buffered: Vec<(Arc<[u8]>, RowKind)>,
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
    /// Pairs `here` with each row that `side` has under `key`; gives how many there are.
    fn meet(&mut self, here: u32, kind: RowKind, key: &[u8], side: &Side) -> i64 {
        let before = self.here.len();
        match (&side.arranged, &mut self.there) {
            (Some(arranged), There::Places(there)) => {
                if let Some((begin, n)) = arranged.places.get(key) {
                    there.extend(*begin..*begin + *n);
                    self.here.extend((0..*n).map(|_| here));
                }
            }
            (None, There::Bytes(there)) => {
                let rows = side.held.get(key).into_iter().flatten();
                for held in rows.filter(|held| side.ttl.is_alive(held.written)) {
                    there.extend((0..held.count).map(|_| held.row.clone()));
                    self.here.extend((0..held.count).map(|_| here));
                }
            }
            _ => {}
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
        if self.sides[1 - port].arranged.is_some() {
            pairs.there = There::Places(Vec::with_capacity(batch.num_rows()));
        }
        for (row, keyed) in keyed.iter().copied().enumerate() {
            let kind = batch.kind(row);
            let key = keys.row(row);
            let mut matches = 0;
            if keyed {
                let there = &self.sides[1 - port];
                matches = pairs.meet(row as u32, kind, key.as_ref(), there);
            }
            let Some(rows) = &rows else {
                continue;
            };
            let bytes = rows.row(row);
            if self.plan.outer {
                self.outer(port, key.as_ref(), bytes.as_ref(), kind, matches, keyed);
            }
            if keep && (keyed || (self.plan.outer && port == 0)) {
                if kind.is_addition() {
                    self.sides[port].add(key.as_ref(), bytes.as_ref(), matches);
                } else {
                    self.sides[port].remove(key.as_ref(), bytes.as_ref());
                }
            }
        }
        Ok(pairs)
    }

    /// A left row without match comes with NULLs; it goes when its first match comes, and again the other way.
    fn outer(
        &mut self,
        port: usize,
        key: &[u8],
        row: &[u8],
        kind: RowKind,
        matches: i64,
        keyed: bool,
    ) {
        if port == 0 {
            if matches == 0 {
                self.buffered.push((row.into(), kind));
            }
            return;
        }
        if !keyed {
            return;
        }
        let change = if kind.is_addition() { 1 } else { -1 };
        let ttl = self.sides[0].ttl;
        if let Some(lefts) = self.sides[0].held.get_mut(key) {
            for left in lefts.iter_mut().filter(|left| ttl.is_alive(left.written)) {
                let before = left.matches;
                left.matches += change;
                left.written = ttl.now();
                let kind = match (before, left.matches) {
                    (0, 1) => RowKind::Delete,
                    (1, 0) => RowKind::Insert,
                    _ => continue,
                };
                for _ in 0..left.count {
                    self.buffered.push((left.row.clone(), kind));
                }
            }
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
            (There::Bytes(rows), _) => side.rows.decode_bytes(rows.iter().map(|row| &**row))?,
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

    fn emit_outer(&mut self, deletes: bool, output: &mut dyn Output) -> Result<(), Error> {
        let (due, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.buffered)
            .into_iter()
            .partition(|(_, kind)| kind.is_addition() != deletes);
        self.buffered = rest;
        if due.is_empty() {
            return Ok(());
        }
        let mut columns = self.sides[0]
            .rows
            .decode_bytes(due.iter().map(|(row, _)| &**row))?;
        let n_left = columns.len();
        for field in self.plan.output.fields().iter().skip(n_left) {
            columns.push(arrow::array::new_null_array(field.data_type(), due.len()));
        }
        let kinds: Vec<RowKind> = due.iter().map(|(_, kind)| *kind).collect();
        output.emit(ChangeBatch::changes(
            batch_of(&self.plan.output, columns)?,
            kinds.into(),
        ))
    }
}

/// Rows of a side with how often each is there, how many matches it has, and when it was last written.
fn saved_rows(
    keys: Option<&[usize]>,
    rows: &[ArrayRef],
    counts: Vec<i64>,
    matches: Vec<i64>,
    written: Option<Vec<Written>>,
) -> Result<RecordBatch, Error> {
    let mut columns: Vec<(String, ArrayRef)> = vec![
        ("count".to_owned(), Arc::new(Int64Array::from(counts))),
        ("matches".to_owned(), Arc::new(Int64Array::from(matches))),
    ];
    if let Some(written) = written {
        columns.push(("written".to_owned(), Arc::new(Int64Array::from(written))));
    }
    for (index, column) in rows.iter().enumerate() {
        columns.push((format!("value_{index}"), column.clone()));
    }
    match keys {
        Some(keys) => {
            let keys: Vec<ArrayRef> = keys.iter().map(|key| rows[*key].clone()).collect();
            state_batch(&keys, columns)
        }
        None => RecordBatch::try_from_iter_with_nullable(
            columns
                .into_iter()
                .map(|(name, column)| (name, column, true)),
        )
        .map_err(super::keys::failed),
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
        self.emit_outer(true, output)?;
        if !pairs.here.is_empty() {
            let kinds: Option<Arc<[RowKind]>> =
                batch.kinds.is_some().then(|| pairs.kinds[..].into());
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
        }
        self.emit_outer(false, output)
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
                        row: rows.row(row).as_ref().into(),
                        count: counts.value(row),
                        matches: matches.value(row),
                        written: written
                            .as_ref()
                            .map_or(UNTIMED, |written| written.value(row)),
                    };
                    side.put(keys.row(row).as_ref(), held);
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
