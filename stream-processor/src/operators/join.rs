//! The regular join of two streams: inner, outer with corrections when a match comes or goes, semi and anti.
//!
//! An outer join also gives rows of a side alone, with NULLs for the other side, while they have no match; an anti join
//! gives only these, a semi join those that have one.
//!
//! Each side keeps its rows by key. When one input has ended for ever and the join is inner, the other side's rows can
//! meet nothing new any more and are forgotten: a bounded side input costs only its own size. The rows of a side that
//! has ended are laid out as columns, from which matches are taken without decoding. A row that was not written for the
//! time to live of its side is gone, ended or not, as in Flink; nothing is corrected for it.
//!
//! A stream can also be joined where it is, without an exchange by key: then each instance gets the whole right side.
//! Barriers are aligned, so all instances have the same of it at a checkpoint, and the first one writes it for all.

mod pairs;
mod side;

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt32Array, new_null_array,
};
use arrow::compute::{concat_batches, filter_record_batch, take_record_batch};
use arrow::datatypes::{Int64Type, SchemaRef};
use datafusion_physical_expr::PhysicalExpr;
use hashbrown::HashMap;

use self::pairs::{Pairs, There};
use self::side::{Held, Side};
use super::calc::evaluate;
use super::keys::{Encoded, Encoder, batch_of, column, damaged, retain, take_rows};
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
    /// Whether pairs come out.
    pub(crate) pairs: bool,
    /// Which rows of each side come out alone.
    pub(crate) alone: [Alone; 2],
    /// The right side goes to all instances, the rows of the left side to any.
    pub(crate) side_to_all: bool,
    pub(crate) condition: Option<Arc<dyn PhysicalExpr>>,
    /// How long a side keeps a row that is not written again, in milliseconds.
    pub(crate) ttl: [Option<i64>; 2],
    pub(crate) output: SchemaRef,
}

/// Which rows of a side come with NULLs for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alone {
    Never,
    Unmatched,
    Matched,
}

impl Alone {
    /// Whether a row comes alone that has `matches` matches.
    pub(crate) fn shows(self, matches: i64) -> bool {
        match self {
            Alone::Never => false,
            Alone::Unmatched => matches == 0,
            Alone::Matched => matches > 0,
        }
    }
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
        }))
    }
}

struct Joiner {
    plan: Join,
    subtask: Subtask,
    sides: [Side; 2],
}

/// A row that comes or goes with NULLs for the other side.
struct Single {
    port: usize,
    row: Arc<[u8]>,
    kind: RowKind,
    /// How many pairs of the batch come before it.
    after: usize,
}

impl Joiner {
    /// Each match of a row of `batch` with a row of the other side.
    fn probe(&self, port: usize, batch: &ChangeBatch, keys: &Encoded, keyed: &[bool]) -> Pairs {
        let other = &self.sides[1 - port];
        let mut pairs = Pairs::default();
        let places = other
            .arranged
            .as_ref()
            .map(|arranged| arranged.places.of(keys));
        if places.is_some() {
            pairs.there = There::Places(Vec::with_capacity(batch.num_rows()));
        }
        let counts = self.plan.alone[1 - port] != Alone::Never;
        for row in (0..batch.num_rows()).filter(|row| keyed[*row]) {
            match &places {
                Some(places) => pairs.meet_arranged(row as u32, places[row].clone()),
                None => pairs.meet(row as u32, keys.row(row), other, counts),
            }
        }
        pairs
    }

    /// Holds the rows of `batch` if the other side may still change, and says which rows come or go alone.
    fn keep(
        &mut self,
        port: usize,
        batch: &ChangeBatch,
        (keys, keyed): (&Encoded, &[bool]),
        pairs: &Pairs,
    ) -> Result<Vec<Single>, Error> {
        let keep = !self.sides[1 - port].ended;
        let [own, others] = [port, 1 - port].map(|port| self.plan.alone[port]);
        let mut singles = Vec::new();
        if !keep && own == Alone::Never && others == Alone::Never {
            return Ok(singles);
        }
        let rows = self.sides[port].rows.encode(&batch.rows)?;
        let mut end = 0;
        for (row, keyed) in keyed.iter().copied().enumerate() {
            let (begin, kind) = (end, batch.kind(row));
            end += pairs.here[begin..]
                .iter()
                .take_while(|here| **here == row as u32)
                .count();
            let matches = (end - begin) as i64;
            // NULLs go before the first match comes, and come back after the last has gone.
            let after = if kind.is_addition() { begin } else { end };
            if own.shows(matches) {
                let row = rows.row(row).into();
                singles.push(Single {
                    port,
                    row,
                    kind,
                    after,
                });
            }
            if others != Alone::Never {
                let held = &pairs.held[begin..end];
                self.count_matches(1 - port, (keys.row(row), held), kind, after, &mut singles);
            }
            if keep && keyed {
                let side = &mut self.sides[port];
                if kind.is_addition() {
                    side.add(keys.row(row), rows.row(row), matches);
                } else {
                    side.remove(keys.row(row), rows.row(row));
                }
            }
        }
        Ok(singles)
    }

    /// A match of the rows `held` of the side at `port` has come or gone.
    fn count_matches(
        &mut self,
        port: usize,
        (key, held): (&[u8], &[u32]),
        kind: RowKind,
        after: usize,
        singles: &mut Vec<Single>,
    ) {
        let change = if kind.is_addition() { 1 } else { -1 };
        let alone = self.plan.alone[port];
        let side = &mut self.sides[port];
        let Some(rows) = side.held.get_mut(key) else {
            return;
        };
        // Equal rows are held once and stand there one after the other.
        for at in held.chunk_by(|one, other| one == other) {
            let held = &mut rows[at[0] as usize];
            let before = held.matches;
            held.matches += change;
            held.written = side.ttl.now();
            let kind = match (alone.shows(before), alone.shows(held.matches)) {
                (true, false) => RowKind::Delete,
                (false, true) => RowKind::Insert,
                _ => continue,
            };
            singles.extend((0..held.count).map(|_| Single {
                port,
                row: held.row.clone(),
                kind,
                after,
            }));
        }
    }

    /// Lays out the side at `port` if it has ended and is still asked. Rows that count their matches go on doing so,
    /// and rows with a time to live go on getting older.
    fn arrange(&mut self, port: usize) -> Result<(), Error> {
        let counts = self.plan.alone[port] != Alone::Never;
        let asked = !self.sides[1 - port].ended;
        let side = &mut self.sides[port];
        if side.ended && asked && !counts && !side.ttl.expires() && side.arranged.is_none() {
            side.arrange(&self.plan.sides[port])?;
        }
        Ok(())
    }

    fn joined(
        &self,
        port: usize,
        batch: &RecordBatch,
        pairs: &Pairs,
    ) -> Result<RecordBatch, Error> {
        let here = take_rows(batch, pairs.here.clone())?;
        let side = &self.sides[1 - port];
        let there = match (&pairs.there, &side.arranged) {
            (There::Places(places), Some(arranged)) => {
                take_record_batch(&arranged.rows, &UInt32Array::from(places.clone()))
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

    /// Only those pairs that the condition accepts, and their rows.
    fn accepted(&self, joined: RecordBatch, pairs: &mut Pairs) -> Result<RecordBatch, Error> {
        let Some(accepted) = accepted(self.plan.condition.as_ref(), &joined)? else {
            return Ok(joined);
        };
        retain(&mut pairs.here, &accepted);
        // Without counts there are none.
        retain(&mut pairs.held, &accepted);
        filter_record_batch(&joined, &BooleanArray::from(accepted)).map_err(super::keys::failed)
    }

    /// The rows that come alone, with NULLs for the other side; those of the left side first.
    fn alone(&self, singles: &[Single]) -> Result<RecordBatch, Error> {
        let of_side = |port: usize| -> Result<RecordBatch, Error> {
            let rows = || singles.iter().filter(|single| single.port == port);
            let columns = self.sides[port]
                .rows
                .decode(rows().map(|single| &*single.row))?;
            with_nulls(&self.plan.output, port, columns, rows().count())
        };
        concat_batches(&self.plan.output, [&of_side(0)?, &of_side(1)?]).map_err(super::keys::failed)
    }

    /// The pairs and the rows that come alone, in the order of the rows that caused them: a sink that knows rows by their
    /// key keeps what comes last.
    fn in_order(
        &self,
        joined: &RecordBatch,
        of_pairs: &[RowKind],
        singles: &[Single],
    ) -> Result<ChangeBatch, Error> {
        let alone = self.alone(singles)?;
        let mut next = [0, singles.iter().filter(|single| single.port == 0).count()];
        let (mut order, mut kinds) = (Vec::new(), Vec::new());
        let mut pair = 0;
        for single in singles {
            if self.plan.pairs {
                order.extend(pair as u32..single.after as u32);
                kinds.extend_from_slice(&of_pairs[pair..single.after]);
                pair = single.after;
            }
            order.push((joined.num_rows() + next[single.port]) as u32);
            next[single.port] += 1;
            kinds.push(single.kind);
        }
        if self.plan.pairs {
            order.extend(pair as u32..of_pairs.len() as u32);
            kinds.extend_from_slice(&of_pairs[pair..]);
        }
        let rows = concat_batches(&self.plan.output, [joined, &alone])
            .and_then(|rows| take_record_batch(&rows, &UInt32Array::from(order)))
            .map_err(super::keys::failed)?;
        Ok(ChangeBatch::changes(rows, kinds.into()))
    }
}

/// Which pairs of rows a condition accepts; `None` accepts all.
pub(crate) fn accepted(
    condition: Option<&Arc<dyn PhysicalExpr>>,
    joined: &RecordBatch,
) -> Result<Option<Vec<bool>>, Error> {
    let Some(condition) = condition else {
        return Ok(None);
    };
    let mask = evaluate(condition, joined)?;
    let mask = mask
        .as_boolean_opt()
        .ok_or_else(|| Error::failed("a join condition was no BOOLEAN"))?;
    Ok(Some(
        mask.iter().map(|accept| accept == Some(true)).collect(),
    ))
}

/// Rows of the side at `port`, whose columns are given, as rows of `output` with NULLs for the other side.
pub(crate) fn with_nulls(
    output: &SchemaRef,
    port: usize,
    mut columns: Vec<ArrayRef>,
    n_rows: usize,
) -> Result<RecordBatch, Error> {
    let (n_own, n_all) = (columns.len(), output.fields().len());
    let (at, other) = match port {
        0 => (n_own, &output.fields()[n_own..]),
        _ => (0, &output.fields()[..n_all - n_own]),
    };
    let nulls = other
        .iter()
        .map(|field| new_null_array(field.data_type(), n_rows));
    columns.splice(at..at, nulls);
    batch_of(output, columns)
}

/// Which rows have no NULL among the columns `keys`: NULL joins nothing.
pub(crate) fn not_null(batch: &RecordBatch, keys: &[usize]) -> Vec<bool> {
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
        let keys = self.sides[port].keys.encode(&batch.rows)?;
        let keyed = not_null(&batch.rows, &self.plan.keys[port]);
        let mut pairs = self.probe(port, &batch, &keys, &keyed);
        let mut joined = None;
        if !pairs.here.is_empty() && (self.plan.pairs || self.plan.condition.is_some()) {
            let candidates = self.joined(port, &batch.rows, &pairs)?;
            joined = Some(self.accepted(candidates, &mut pairs)?);
        }
        let singles = self.keep(port, &batch, (&keys, &keyed), &pairs)?;
        let kinds = || pairs.here.iter().map(|row| batch.kind(*row as usize));
        let joined = joined.filter(|_| self.plan.pairs);
        if !singles.is_empty() {
            let joined = joined.unwrap_or_else(|| RecordBatch::new_empty(self.plan.output.clone()));
            let kinds: Vec<RowKind> = kinds().collect();
            return output.emit(self.in_order(&joined, &kinds, &singles)?);
        }
        match joined {
            Some(rows) if rows.num_rows() > 0 => {
                let kinds = batch.kinds.is_some().then(|| kinds().collect());
                output.emit(ChangeBatch { rows, kinds })
            }
            _ => Ok(()),
        }
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
