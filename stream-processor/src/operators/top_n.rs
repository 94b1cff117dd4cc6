//! The best rows of each partition, updated as rows come: Flink's `Rank`.
//!
//! Over inserts only the rows that can still be asked for are kept, over updates all of them. Equal rows stand in the
//! order in which they arrived. A partition to which nothing was added for the time to live begins anew, and a
//! retraction that finds no row is dropped, as in Flink.

mod ranking;

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{Int64Type, SchemaRef};
use hashbrown::{HashMap, HashSet};

use self::ranking::find;
pub(crate) use self::ranking::{Place, RankRange, Ranking, SortColumn, Sorter, ranking_size};
use super::keys::{Encoder, batch_of, column, damaged, state_batch};
use super::ttl::{TimeToLive, UNTIMED, Written};
use super::window::named;
use crate::batch::{ChangeBatch, RowKind};
use crate::error::Error;
use crate::graph::OperatorFactory;
use crate::operator::{CheckpointId, Operator, Output, StateTable, Subtask};

/// Keeps and gives the rows of `range` in each partition; the output has the columns of the input, then the number.
#[derive(Debug, Clone)]
pub(crate) struct TopN {
    pub(crate) input: SchemaRef,
    pub(crate) partition: Vec<usize>,
    pub(crate) order: Vec<SortColumn>,
    pub(crate) range: RankRange,
    /// Nothing is taken back.
    pub(crate) appends: bool,
    /// Whether an update that is no better than the row before it takes its place among equals.
    pub(crate) in_place: bool,
    /// Whether the row number is asked for.
    pub(crate) numbered: bool,
    /// How long a partition is kept without a row, in milliseconds.
    pub(crate) ttl: Option<i64>,
    pub(crate) output: SchemaRef,
}

impl OperatorFactory for TopN {
    fn create(&self, _: Subtask) -> Result<Box<dyn Operator>, Error> {
        Ok(Box::new(Partitions {
            keys: Encoder::new(&self.input, &self.partition)?,
            sorter: Sorter::new(&self.input, &self.order)?,
            rows: Encoder::all(&self.input)?,
            held: HashMap::default(),
            arrivals: 0,
            ttl: TimeToLive::new(self.ttl),
            plan: self.clone(),
        }))
    }
}

/// A row as bytes.
type Row = Arc<[u8]>;

/// How many rows a batch of a checkpoint has at most.
const SAVED_ROWS: usize = 1 << 16;

struct Partitions {
    plan: TopN,
    keys: Encoder,
    sorter: Sorter,
    rows: Encoder,
    held: HashMap<Box<[u8]>, Partition, ahash::RandomState>,
    /// How many rows have come.
    arrivals: i64,
    ttl: TimeToLive,
}

#[derive(Default)]
struct Partition {
    rows: Ranking,
    written: Written,
}

/// The partitions that a batch changed, in the order in which it did, with the rows that were asked for before.
#[derive(Default)]
struct Touched {
    known: HashSet<Box<[u8]>, ahash::RandomState>,
    before: Vec<(Box<[u8]>, Vec<Row>)>,
}

/// What is emitted of a batch.
#[derive(Default)]
struct Changes {
    rows: Vec<Row>,
    numbers: Vec<i64>,
    kinds: Vec<RowKind>,
}

impl Partitions {
    /// Whether a row that is only ever added would be asked for.
    fn can_enter(&self, key: &[u8], place: &[u8]) -> bool {
        let Some(partition) = self.held.get(key) else {
            return true;
        };
        if !self.plan.appends || !self.ttl.is_alive(partition.written) {
            return true;
        }
        let is_full = self.plan.range.is_filled_by(partition.rows.len());
        let worst = partition.rows.last_key_value();
        !is_full || worst.is_none_or(|(worst, _)| *place < *worst.key)
    }

    /// The partition, empty if its time is over; remembers what was asked for of it before the batch.
    fn touch(&mut self, key: &[u8], touched: &mut Touched) -> &mut Partition {
        let (ttl, range) = (self.ttl, self.plan.range);
        let partition = self.held.entry_ref(key).or_default();
        if !ttl.is_alive(partition.written) {
            partition.rows.clear();
        }
        if !touched.known.contains(key) {
            touched.known.insert(key.into());
            let before = range.of(&partition.rows).cloned().collect();
            touched.before.push((key.into(), before));
        }
        partition.written = ttl.now();
        partition
    }

    fn add(&mut self, key: &[u8], place: &[u8], row: &[u8], touched: &mut Touched) {
        let place = Place {
            key: place.into(),
            arrival: self.arrivals,
        };
        self.arrivals += 1;
        let (appends, range) = (self.plan.appends, self.plan.range);
        let partition = self.touch(key, touched);
        partition.rows.insert(place, row.into());
        if appends && partition.rows.len() > range.end {
            partition.rows.pop_last();
        }
    }

    fn remove(&mut self, key: &[u8], place: &[u8], row: &[u8], touched: &mut Touched) {
        let ttl = self.ttl;
        let known = self.held.get(key);
        let known = known.filter(|partition| ttl.is_alive(partition.written));
        let Some(place) = known.and_then(|partition| find(&partition.rows, place, row)) else {
            return;
        };
        self.touch(key, touched).rows.remove(&place);
    }

    /// Puts a row in the place of an equal one; whether it was there.
    fn replace(
        &mut self,
        key: &[u8],
        place: &[u8],
        [old, new]: [&[u8]; 2],
        touched: &mut Touched,
    ) -> bool {
        let ttl = self.ttl;
        let known = self.held.get(key);
        let known = known.filter(|partition| ttl.is_alive(partition.written));
        let Some(place) = known.and_then(|partition| find(&partition.rows, place, old)) else {
            return false;
        };
        self.touch(key, touched).rows.insert(place, new.into());
        true
    }

    /// What has become of the rows that were asked for.
    fn changes(&mut self, touched: Touched) -> Changes {
        let mut changes = Changes::default();
        for (key, old) in touched.before {
            let Some(partition) = self.held.get(&key) else {
                continue;
            };
            let new: Vec<Row> = self.plan.range.of(&partition.rows).cloned().collect();
            if self.plan.numbered {
                changes.by_number(&old, &new, self.plan.range.start);
            } else {
                changes.by_row(old, new);
            }
            if partition.rows.is_empty() {
                self.held.remove(&key);
            }
        }
        changes
    }

    fn emit(&self, changes: Changes, output: &mut dyn Output) -> Result<(), Error> {
        if changes.rows.is_empty() {
            return Ok(());
        }
        let mut columns = self.rows.decode(changes.rows.iter().map(|row| &**row))?;
        if self.plan.numbered {
            columns.push(Arc::new(Int64Array::from(changes.numbers)));
        }
        let rows = batch_of(&self.plan.output, columns)?;
        if changes.kinds.iter().all(|kind| *kind == RowKind::Insert) {
            return output.emit(ChangeBatch::inserts(rows));
        }
        output.emit(ChangeBatch::changes(rows, changes.kinds.into()))
    }

    fn save(&self, held: &[(&Place, &Row, Written)]) -> Result<RecordBatch, Error> {
        let values = self.rows.decode(held.iter().map(|(_, row, _)| &***row))?;
        let arrivals = held.iter().map(|(place, ..)| place.arrival);
        let arrivals: ArrayRef = Arc::new(Int64Array::from_iter_values(arrivals));
        let mut columns = vec![("arrival".to_owned(), arrivals)];
        if self.ttl.expires() {
            let written = held.iter().map(|(.., written)| *written);
            let written = Int64Array::from_iter_values(written);
            columns.push(("written".to_owned(), Arc::new(written)));
        }
        for (index, value) in values.iter().enumerate() {
            columns.push((format!("value_{index}"), value.clone()));
        }
        let keys = self.plan.partition.iter().map(|key| values[*key].clone());
        state_batch(&keys.collect::<Vec<_>>(), columns)
    }
}

impl Changes {
    fn push(&mut self, row: Row, number: usize, kind: RowKind) {
        self.rows.push(row);
        self.numbers.push(number as i64);
        self.kinds.push(kind);
    }

    /// Row by row at each number. What is taken back comes first: a sink whose key is in the rows and not the number
    /// would otherwise lose a row that moves up before its old number is taken back.
    fn by_number(&mut self, old: &[Row], new: &[Row], start: usize) {
        let changed = |at: &usize| old.get(*at) != new.get(*at);
        for at in (0..old.len()).filter(changed) {
            let kind = match new.get(at) {
                Some(_) => RowKind::UpdateBefore,
                None => RowKind::Delete,
            };
            self.push(old[at].clone(), start + at, kind);
        }
        for at in (0..new.len()).filter(changed) {
            let kind = match old.get(at) {
                Some(_) => RowKind::UpdateAfter,
                None => RowKind::Insert,
            };
            self.push(new[at].clone(), start + at, kind);
        }
    }

    /// Rows that leave, then rows that enter.
    fn by_row(&mut self, old: Vec<Row>, new: Vec<Row>) {
        let mut entering: HashMap<Row, usize, ahash::RandomState> = HashMap::default();
        for row in &new {
            *entering.entry(row.clone()).or_insert(0) += 1;
        }
        for row in old {
            match entering.get_mut(&row) {
                Some(count) if *count > 0 => *count -= 1,
                _ => self.push(row, 0, RowKind::Delete),
            }
        }
        for row in new {
            if let Some(count) = entering.get_mut(&row)
                && *count > 0
            {
                *count -= 1;
                self.push(row, 0, RowKind::Insert);
            }
        }
    }
}

impl Operator for Partitions {
    fn on_batch(
        &mut self,
        _: usize,
        batch: ChangeBatch,
        output: &mut dyn Output,
    ) -> Result<(), Error> {
        let keys = self.keys.encode(&batch.rows)?;
        let places = self.sorter.encode(&batch.rows)?;
        let entering: Vec<usize> = (0..batch.num_rows())
            .filter(|row| self.can_enter(keys.row(*row), places.row(*row).data()))
            .collect();
        if entering.is_empty() {
            return Ok(());
        }
        let rows = self.rows.encode(&batch.rows)?;
        let mut touched = Touched::default();
        let mut replaced = None;
        for at in entering {
            if replaced == Some(at) {
                continue;
            }
            let (key, place, row) = (keys.row(at), places.row(at).data(), rows.row(at));
            let next = at + 1;
            if self.plan.in_place
                && batch.kind(at) == RowKind::UpdateBefore
                && next < batch.num_rows()
                && batch.kind(next) == RowKind::UpdateAfter
                && (key, place) == (keys.row(next), places.row(next).data())
                && self.replace(key, place, [row, rows.row(next)], &mut touched)
            {
                replaced = Some(next);
                continue;
            }
            if !batch.kind(at).is_addition() {
                self.remove(key, place, row, &mut touched);
            } else if self.can_enter(key, place) {
                self.add(key, place, row, &mut touched);
            }
        }
        let changes = self.changes(touched);
        self.emit(changes, output)
    }

    fn on_processing_time(&mut self, now: i64, _: &mut dyn Output) -> Result<(), Error> {
        if self.ttl.tick(now) {
            let ttl = self.ttl;
            self.held
                .retain(|_, partition| ttl.is_alive(partition.written));
        }
        Ok(())
    }

    fn snapshot(&mut self, _: CheckpointId) -> Result<Vec<StateTable>, Error> {
        let rows: Vec<(&Place, &Row, Written)> = self
            .held
            .values()
            .flat_map(|partition| {
                let written = partition.written;
                let rows = partition.rows.iter();
                rows.map(move |(place, row)| (place, row, written))
            })
            .collect();
        let batches = rows.chunks(SAVED_ROWS).map(|rows| self.save(rows));
        Ok(vec![StateTable {
            name: "rows".to_owned(),
            rows: batches
                .map(|batch| batch.map(Into::into))
                .collect::<Result<_, _>>()?,
        }])
    }

    fn restore(&mut self, tables: Vec<StateTable>) -> Result<(), Error> {
        for batch in tables.into_iter().flat_map(StateTable::into_batches) {
            let values = named(&batch, "value", self.plan.input.fields().len())?;
            let values = batch_of(&self.plan.input, values)?;
            let arrivals = column(&batch, "arrival")?
                .as_primitive_opt::<Int64Type>()
                .ok_or_else(damaged)?;
            // A checkpoint of a job without a time to live has no such column.
            let written = column(&batch, "written")
                .ok()
                .and_then(|written| written.as_primitive_opt::<Int64Type>());
            let (keys, rows) = (self.keys.encode(&values)?, self.rows.encode(&values)?);
            let places = self.sorter.encode(&values)?;
            for at in 0..batch.num_rows() {
                let partition = self.held.entry_ref(keys.row(at)).or_default();
                let arrival = arrivals.value(at);
                let place = Place {
                    key: places.row(at).data().into(),
                    arrival,
                };
                partition.rows.insert(place, rows.row(at).into());
                partition.written = written.map_or(UNTIMED, |written| written.value(at));
                self.arrivals = self.arrivals.max(arrival + 1);
            }
        }
        Ok(())
    }

    fn state_size(&self) -> usize {
        let keys = self.held.keys().map(|key| key.len() + 64);
        let rows = self.held.values().map(|held| ranking_size(&held.rows));
        keys.chain(rows).sum()
    }
}

#[cfg(test)]
mod tests;
