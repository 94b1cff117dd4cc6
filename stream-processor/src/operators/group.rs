//! Aggregation without windows: a result a key, updated as rows come. Without aggregates it is DISTINCT.
//!
//! A group that got no row for the time to live begins anew with its next one, and a retraction that finds no group is
//! dropped, as in Flink.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt32Array};
use arrow::datatypes::{Int64Type, SchemaRef};
use hashbrown::HashMap;

use super::aggregate::{AggregateCall, State, states_size};
use super::calc::keep_rows;
use super::keys::{
    Encoder, batch_of, column, damaged, failed, loaded_column, retain, saved_column, state_batch,
};
use super::ttl::{TimeToLive, UNTIMED, Written};
use super::window::{additions, named, spread};
use crate::batch::{ChangeBatch, RowKind};
use crate::error::Error;
use crate::graph::OperatorFactory;
use crate::operator::{CheckpointId, Operator, Output, StateTable, Subtask};

/// Groups by `keys`; the output has the keys, then the results.
#[derive(Debug, Clone)]
pub(crate) struct GroupAggregate {
    pub(crate) input: SchemaRef,
    pub(crate) keys: Vec<usize>,
    pub(crate) calls: Vec<AggregateCall>,
    /// How long a group is kept without a row, in milliseconds.
    pub(crate) ttl: Option<i64>,
    pub(crate) output: SchemaRef,
}

impl OperatorFactory for GroupAggregate {
    fn create(&self, _: Subtask) -> Result<Box<dyn Operator>, Error> {
        Ok(Box::new(Groups {
            encoder: Encoder::new(&self.input, &self.keys)?,
            plan: self.clone(),
            index: HashMap::default(),
            keys: Vec::new(),
            counts: Vec::new(),
            written: Vec::new(),
            ttl: TimeToLive::new(self.ttl),
            states: vec![Vec::new(); self.calls.len()],
        }))
    }
}

struct Groups {
    plan: GroupAggregate,
    encoder: Encoder,
    index: HashMap<Box<[u8]>, u32, ahash::RandomState>,
    keys: Vec<Box<[u8]>>,
    /// How many rows each group has.
    counts: Vec<i64>,
    written: Vec<Written>,
    ttl: TimeToLive,
    states: Vec<Vec<State>>,
}

impl Groups {
    fn groups_of(&mut self, batch: &RecordBatch) -> Result<Vec<u32>, Error> {
        if self.plan.keys.is_empty() {
            let none: Box<[u8]> = Box::default();
            let group = self.group(&none);
            return Ok(vec![group; batch.num_rows()]);
        }
        let rows = self.encoder.encode(batch)?;
        Ok(rows.iter().map(|row| self.group(row)).collect())
    }

    fn group(&mut self, key: &[u8]) -> u32 {
        if let Some(group) = self.index.get(key).copied() {
            let at = group as usize;
            if !self.ttl.is_alive(self.written[at]) {
                self.counts[at] = 0;
                for (call, states) in self.plan.calls.iter().zip(&mut self.states) {
                    states[at] = call.empty();
                }
            }
            self.written[at] = self.ttl.now();
            return group;
        }
        let group = self.keys.len() as u32;
        self.index.insert(key.into(), group);
        self.keys.push(key.into());
        self.counts.push(0);
        self.written.push(self.ttl.now());
        for (call, states) in self.plan.calls.iter().zip(&mut self.states) {
            states.push(call.empty());
        }
        group
    }

    /// Lets go of the groups whose time is over, and of those that have no rows any more.
    fn sweep(&mut self) {
        let alive: Vec<bool> = self
            .written
            .iter()
            .zip(&self.counts)
            .map(|(written, count)| *count != 0 && self.ttl.is_alive(*written))
            .collect();
        if alive.iter().all(|alive| *alive) {
            return;
        }
        retain(&mut self.keys, &alive);
        retain(&mut self.counts, &alive);
        retain(&mut self.written, &alive);
        for states in &mut self.states {
            retain(states, &alive);
        }
        self.index = (0..)
            .zip(&self.keys)
            .map(|(group, key)| (key.clone(), group))
            .collect();
    }

    /// Counts the rows in, and gives those that are not retracted from a group without rows.
    fn count(&mut self, batch: ChangeBatch, groups: &mut Vec<u32>) -> Result<ChangeBatch, Error> {
        let Some(additions) = additions(&batch) else {
            for group in groups {
                self.counts[*group as usize] += 1;
            }
            return Ok(batch);
        };
        let mut known = Vec::with_capacity(groups.len());
        for (group, add) in groups.iter().zip(additions) {
            let count = &mut self.counts[*group as usize];
            known.push(add || *count > 0);
            *count += i64::from(add) - i64::from(!add && *count > 0);
        }
        retain(groups, &known);
        keep_rows(batch, &BooleanArray::from(known))
    }

    /// Keys and results of `groups`.
    fn rows(&self, groups: &[u32]) -> Result<RecordBatch, Error> {
        let mut columns = self.key_columns(groups)?;
        for (call, states) in self.plan.calls.iter().zip(&self.states) {
            columns.push(call.finish(groups.iter().map(|group| &states[*group as usize]))?);
        }
        batch_of(&self.plan.output, columns)
    }

    fn key_columns(&self, groups: &[u32]) -> Result<Vec<ArrayRef>, Error> {
        if self.plan.keys.is_empty() {
            return Ok(Vec::new());
        }
        self.encoder
            .decode(groups.iter().map(|group| &*self.keys[*group as usize]))
    }

    fn emit(
        &self,
        touched: &[u32],
        before: &[bool],
        old: &RecordBatch,
        output: &mut dyn Output,
    ) -> Result<(), Error> {
        let new = self.rows(touched)?;
        let same = unchanged(old, &new, self.plan.keys.len())?;
        let both =
            arrow::compute::concat_batches(&self.plan.output, [old, &new]).map_err(failed)?;
        let (mut order, mut kinds) = (Vec::new(), Vec::new());
        let n_touched = touched.len() as u32;
        for (at, group) in touched.iter().enumerate() {
            let now = self.counts[*group as usize] > 0;
            let (was, at) = (before[at], at as u32);
            match (was, now) {
                (false, true) => {
                    order.push(n_touched + at);
                    kinds.push(RowKind::Insert);
                }
                (true, false) => {
                    order.push(at);
                    kinds.push(RowKind::Delete);
                }
                (true, true) if !same[at as usize] => {
                    order.extend([at, n_touched + at]);
                    kinds.extend([RowKind::UpdateBefore, RowKind::UpdateAfter]);
                }
                _ => {}
            }
        }
        if order.is_empty() {
            return Ok(());
        }
        let rows =
            arrow::compute::take_record_batch(&both, &UInt32Array::from(order)).map_err(failed)?;
        if kinds.iter().all(|kind| *kind == RowKind::Insert) {
            return output.emit(ChangeBatch::inserts(rows));
        }
        output.emit(ChangeBatch::changes(rows, kinds.into()))
    }
}

/// Each group once, in the order of its last row: so Top-N puts those with equal results, as in Flink, where each row
/// updates its group.
fn in_order(groups: &[u32]) -> Vec<u32> {
    let mut last: Vec<(u32, u32)> = groups.iter().copied().zip(0..).collect();
    last.sort_unstable();
    last.reverse();
    last.dedup_by_key(|(group, _)| *group);
    last.sort_unstable_by_key(|(_, row)| *row);
    last.into_iter().map(|(group, _)| group).collect()
}

/// Which rows have the same results before and after.
fn unchanged(old: &RecordBatch, new: &RecordBatch, n_keys: usize) -> Result<Vec<bool>, Error> {
    let mut same = vec![true; old.num_rows()];
    for (before, after) in old.columns().iter().zip(new.columns()).skip(n_keys) {
        if before.data_type().is_nested() {
            for (row, same) in same.iter_mut().enumerate() {
                *same &= before.slice(row, 1) == after.slice(row, 1);
            }
            continue;
        }
        let distinct = arrow::compute::kernels::cmp::distinct(before, after).map_err(failed)?;
        for (row, same) in same.iter_mut().enumerate() {
            *same &= !distinct.value(row);
        }
    }
    Ok(same)
}

impl Operator for Groups {
    fn on_batch(
        &mut self,
        _: usize,
        batch: ChangeBatch,
        output: &mut dyn Output,
    ) -> Result<(), Error> {
        let mut groups = self.groups_of(&batch.rows)?;
        let touched = in_order(&groups);
        let before: Vec<bool> = touched
            .iter()
            .map(|group| self.counts[*group as usize] > 0)
            .collect();
        let old = self.rows(&touched)?;
        let batch = self.count(batch, &mut groups)?;
        let additions = additions(&batch);
        for (call, states) in self.plan.calls.iter().zip(&mut self.states) {
            call.update(states, &groups, &batch.rows, additions.as_deref())?;
        }
        self.emit(&touched, &before, &old, output)
    }

    fn on_processing_time(&mut self, now: i64, _: &mut dyn Output) -> Result<(), Error> {
        if self.ttl.tick(now) {
            self.sweep();
        }
        Ok(())
    }

    fn snapshot(&mut self, _: CheckpointId) -> Result<Vec<StateTable>, Error> {
        let live: Vec<u32> = (0..self.keys.len() as u32)
            .filter(|group| self.counts[*group as usize] != 0)
            .collect();
        let keys = self.key_columns(&live)?;
        let counts: ArrayRef = Arc::new(
            live.iter()
                .map(|group| Some(self.counts[*group as usize]))
                .collect::<Int64Array>(),
        );
        let mut columns = vec![("count".to_owned(), counts)];
        if self.ttl.expires() {
            let written: Int64Array = live
                .iter()
                .map(|group| Some(self.written[*group as usize]))
                .collect();
            columns.push(("written".to_owned(), Arc::new(written)));
        }
        for (index, key) in keys.iter().enumerate() {
            columns.push((format!("key_{index}"), key.clone()));
        }
        for (index, states) in self.states.iter().enumerate() {
            let saved = saved_column(live.iter().map(|group| &states[*group as usize]));
            columns.push((format!("state_{index}"), saved));
        }
        Ok(vec![StateTable {
            name: "groups".to_owned(),
            rows: vec![state_batch(&keys, columns)?.into()],
        }])
    }

    fn restore(&mut self, tables: Vec<StateTable>) -> Result<(), Error> {
        for batch in tables.into_iter().flat_map(StateTable::into_batches) {
            let counts = column(&batch, "count")?
                .as_primitive_opt::<Int64Type>()
                .ok_or_else(damaged)?
                .clone();
            let keys = named(&batch, "key", self.plan.keys.len())?;
            let groups = if keys.is_empty() {
                (0..batch.num_rows()).map(|_| self.group(&[])).collect()
            } else {
                self.groups_of(&spread(&self.plan.input, &self.plan.keys, keys)?)?
            };
            let saved = named(&batch, "state", self.plan.calls.len())?;
            // A checkpoint of a job without a time to live has no such column.
            let written = column(&batch, "written")
                .ok()
                .and_then(|written| written.as_primitive_opt::<Int64Type>());
            for (row, group) in groups.iter().enumerate() {
                self.counts[*group as usize] += counts.value(row);
                self.written[*group as usize] =
                    written.map_or(UNTIMED, |written| written.value(row));
            }
            for (call, (into, column)) in self
                .plan
                .calls
                .iter()
                .zip(self.states.iter_mut().zip(&saved))
            {
                for (group, state) in groups.iter().zip(loaded_column(column)?) {
                    call.merge(&mut into[*group as usize], state);
                }
            }
        }
        Ok(())
    }

    fn state_size(&self) -> usize {
        let keys = self.keys.iter().map(|key| key.len() * 2 + 40);
        keys.sum::<usize>() + states_size(&self.states)
    }
}

#[cfg(test)]
mod tests;
