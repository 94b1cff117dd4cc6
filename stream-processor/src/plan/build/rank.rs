//! The factories of Top-N and of sorting by time.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use super::columns::{Input, names};
use super::{Builder, Step};
use crate::error::Error;
use crate::graph::OperatorFactory;
use crate::operators::temporal_sort::TemporalSort;
use crate::operators::top_n::{SortColumn, TopN};
use crate::operators::window::top_n::WindowTopN;
use crate::plan::rel::{Field, Op, Role};

impl Builder<'_> {
    /// The name and the factory of a rank, which gives `columns`.
    pub(super) fn rank(
        &self,
        step: &Step,
        columns: &[usize],
        input: &Input<'_>,
        output: SchemaRef,
    ) -> Result<(String, Arc<dyn OperatorFactory>), Error> {
        let at = |columns: &[usize]| columns.iter().map(|column| input.at(*column)).collect();
        let numbered = columns.contains(&(step.fields.len() - 1));
        let shown = names(step, columns);
        match &step.op {
            Op::Rank {
                partition,
                order,
                range,
                appends,
                in_place,
            } => {
                let rank = TopN {
                    input: input.schema(),
                    partition: at(partition),
                    order: moved(order, input),
                    range: *range,
                    appends: *appends,
                    in_place: *in_place,
                    numbered,
                    ttl: self.ttl,
                    output,
                };
                Ok((format!("Rank({shown})"), Arc::new(rank)))
            }
            Op::WindowRank {
                partition,
                order,
                range,
                end,
                later_first,
            } => {
                let rank = WindowTopN {
                    input: input.schema(),
                    partition: at(partition),
                    exchanged: at(&without_window(partition, input.fields)),
                    end: input.at(*end),
                    zone: match input.fields[*end].role {
                        Role::WindowEnd(true) => Some(self.zone),
                        _ => None,
                    },
                    order: moved(order, input),
                    range: *range,
                    later_first: *later_first,
                    numbered,
                    output,
                };
                Ok((format!("WindowRank({shown})"), Arc::new(rank)))
            }
            _ => Err(Error::failed("a step that is no rank")),
        }
    }
}

/// The name and the factory of a sort by the column of event time, then by `order`.
pub(super) fn temporal_sort(
    step: &Step,
    columns: &[usize],
    (time, order): (usize, &[SortColumn]),
    input: &Input<'_>,
    output: SchemaRef,
) -> (String, Arc<dyn OperatorFactory>) {
    let sort = TemporalSort {
        input: input.schema(),
        time: input.at(time),
        order: moved(order, input),
        output,
    };
    let shown = names(step, columns);
    (format!("TemporalSort({shown})"), Arc::new(sort))
}

/// ORDER BY over the columns where they are now.
fn moved(order: &[SortColumn], input: &Input<'_>) -> Vec<SortColumn> {
    let moved = order.iter().map(|item| SortColumn {
        column: input.at(item.column),
        ..*item
    });
    moved.collect()
}

/// The columns by which rows are exchanged: not those of the window, whose rows belong together anyway.
pub(super) fn without_window(partition: &[usize], fields: &[Field]) -> Vec<usize> {
    let is_window = |role| matches!(role, Role::WindowStart | Role::WindowEnd(_));
    let columns = partition.iter().copied();
    columns
        .filter(|column| !is_window(fields[*column].role))
        .collect()
}
