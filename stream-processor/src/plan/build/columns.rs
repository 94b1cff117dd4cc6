//! Which columns each step reads and gives, and where they are once unread ones are gone.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::Step;
use crate::graph::NodeId;
use crate::plan::rel::{Field, Op, Role, schema};

pub(super) struct Input<'s> {
    pub(super) node: NodeId,
    pub(super) kept: &'s [usize],
    pub(super) fields: &'s [Field],
}

impl Input<'_> {
    /// Where the column is now.
    pub(super) fn at(&self, column: usize) -> usize {
        self.kept.binary_search(&column).unwrap_or(column)
    }

    pub(super) fn schema(&self) -> arrow::datatypes::SchemaRef {
        let fields: Vec<Field> = self
            .kept
            .iter()
            .map(|column| self.fields[*column].clone())
            .collect();
        let plain = schema(&fields);
        // Late rows tell their event time by this mark.
        let marked: Vec<arrow::datatypes::Field> = plain
            .fields()
            .iter()
            .zip(&fields)
            .map(|(arrow, field)| {
                let arrow = (**arrow).clone();
                if field.role == Role::Rowtime {
                    let mark =
                        HashMap::from([(crate::graph::ROWTIME_KEY.to_owned(), String::new())]);
                    return arrow.with_metadata(mark);
                }
                arrow
            })
            .collect();
        Arc::new(arrow::datatypes::Schema::new(marked))
    }
}

/// Columns that a step puts out whether asked or not.
pub(super) fn fix(step: &Step, needed: &mut BTreeSet<usize>) {
    if let Some(join) = step.op.join() {
        let n_left = step.first_width;
        needed.extend(join.keys[0]);
        needed.extend(join.keys[1].iter().map(|key| key + n_left));
        if let Some(condition) = join.condition {
            condition.mark_columns(&mut |column| {
                needed.insert(column);
            });
        }
        if let Some([left, right]) = join.times {
            needed.extend([left, right + n_left]);
        }
    }
    match &step.op {
        Op::Window { time, .. } => {
            let width = step.fields.len();
            needed.extend(width - 3..width);
            needed.insert(*time);
        }
        Op::WindowAggregate { .. }
        | Op::SessionAggregate { .. }
        | Op::GroupAggregate { .. }
        | Op::Union => {
            needed.extend(0..step.fields.len());
        }
        Op::Dedup { keys, order, .. } => {
            needed.extend(keys.iter().chain(order));
        }
        Op::TemporalSort { time, order } => {
            needed.insert(*time);
            needed.extend(order.iter().map(|item| item.column));
        }
        Op::Rank {
            partition, order, ..
        }
        | Op::WindowRank {
            partition, order, ..
        } => {
            needed.extend(partition);
            needed.extend(order.iter().map(|item| item.column));
            if let Op::WindowRank { end, .. } = &step.op {
                needed.insert(*end);
            }
        }
        Op::Unnest { condition, .. } => {
            if let Some(condition) = condition {
                condition.mark_columns(&mut |column| {
                    needed.insert(column);
                });
            }
        }
        Op::Over { .. } => needed.extend(step.first_width..step.fields.len()),
        Op::Join { .. }
        | Op::WindowJoin { .. }
        | Op::IntervalJoin { .. }
        | Op::TemporalJoin { .. } => {}
        Op::Scan(_) | Op::Calc { .. } | Op::RowNumber { .. } | Op::Values(_) => {}
    }
}

/// What `step` reads of its input at `port`, when `asked` of its own columns are wanted.
pub(super) fn reads(
    step: &Step,
    port: usize,
    asked: &BTreeSet<usize>,
    width: usize,
    first: usize,
) -> BTreeSet<usize> {
    let mut all = BTreeSet::new();
    // Columns that are passed on, where others stand behind them.
    let passed = asked.iter().filter(|column| **column < width);
    match &step.op {
        Op::Scan(_) | Op::RowNumber { .. } => {}
        Op::Calc { filter, exprs } => {
            let mut mark = |column: usize| {
                all.insert(column);
            };
            if let Some(filter) = filter {
                filter.mark_columns(&mut mark);
            }
            for column in asked {
                exprs[*column].mark_columns(&mut mark);
            }
        }
        Op::Window { time, .. } => {
            all.extend(passed);
            all.insert(*time);
        }
        Op::WindowAggregate { keys, calls, .. }
        | Op::SessionAggregate { keys, calls, .. }
        | Op::GroupAggregate { keys, calls } => {
            all.extend(keys);
            for call in calls {
                all.extend(call.argument.as_ref().map(|(column, _)| *column));
                all.extend(call.filter);
            }
            if let Op::SessionAggregate { time, .. } = &step.op {
                all.insert(*time);
            }
        }
        Op::Dedup { .. } | Op::TemporalSort { .. } | Op::Union => all.extend(asked),
        // All but the number.
        Op::Rank { .. } | Op::WindowRank { .. } => all.extend(passed),
        Op::Over {
            partition,
            time,
            calls,
            ..
        } => {
            all.extend(passed);
            all.extend(partition.iter().chain([time]));
            for call in calls {
                all.extend(call.argument.as_ref().map(|(column, _)| *column));
                all.extend(call.filter);
            }
        }
        Op::Unnest { column, .. } => {
            all.extend(passed);
            all.insert(*column);
        }
        Op::Values(_) => {
            all.insert(0);
        }
        Op::Join { .. }
        | Op::WindowJoin { .. }
        | Op::IntervalJoin { .. }
        | Op::TemporalJoin { .. } => {
            if port == 0 {
                all.extend(asked.iter().filter(|column| **column < first));
            } else {
                all.extend(
                    asked
                        .iter()
                        .filter(|column| **column >= first)
                        .map(|column| column - first),
                );
            }
        }
    }
    all
}

pub(super) fn names(step: &Step, columns: &[usize]) -> String {
    named(step, columns)
}

pub(super) fn named(step: &Step, columns: &[usize]) -> String {
    let all: Vec<&str> = columns
        .iter()
        .map(|column| step.fields[*column].name.as_str())
        .collect();
    all.join(", ")
}
