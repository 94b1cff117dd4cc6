//! One factory for each kind of step.

use std::sync::Arc;

use chrono_tz::Tz;
use datafusion::physical_plan::PhysicalExpr;

use super::columns::{Input, named, names};
use super::{Builder, Step};
use crate::error::Error;
use crate::graph::OperatorFactory;
use crate::operators::calc::{Calc, Union};
use crate::operators::dedup::Dedup;
use crate::operators::group::GroupAggregate;
use crate::operators::join::Join;
use crate::operators::session::SessionAggregate;
use crate::operators::temporal::TemporalJoin;
use crate::operators::window::{Assign, WindowAggregate};
use crate::plan::rel::{Field, Op, Role};
use crate::plan::typed::Typed;
use crate::sql::ast::JoinKind;
use crate::table::TypeRoot;

impl Builder<'_> {
    /// The factory, and for each input the key columns it is exchanged by; `None` for no exchange.
    #[expect(
        clippy::type_complexity,
        reason = "one caller, which takes it apart at once"
    )]
    #[expect(
        clippy::too_many_lines,
        reason = "one arm an operator, each a plain construction"
    )]
    pub(super) fn operator(
        &self,
        step: &Step,
        columns: &[usize],
        inputs: &[Input<'_>],
        output: arrow::datatypes::SchemaRef,
    ) -> Result<(String, Arc<dyn OperatorFactory>, Option<Vec<Vec<usize>>>), Error> {
        let first = &inputs[0];
        let schemas: Vec<_> = inputs.iter().map(Input::schema).collect();
        let mut moved_calls = Vec::new();
        if let Op::WindowAggregate { calls, .. }
        | Op::SessionAggregate { calls, .. }
        | Op::GroupAggregate { calls, .. } = &step.op
        {
            for call in calls {
                let mut call = call.clone();
                if let Some((column, _)) = &mut call.argument {
                    *column = first.at(*column);
                }
                call.filter = call.filter.map(|filter| first.at(filter));
                moved_calls.push(call);
            }
        }
        let at = |columns: &[usize]| -> Vec<usize> {
            columns.iter().map(|column| first.at(*column)).collect()
        };
        Ok(match &step.op {
            Op::Scan(_) | Op::RowNumber { .. } => {
                return Err(Error::failed("a step that is no operator"));
            }
            Op::Calc { filter, exprs } => {
                let filter = filter
                    .as_ref()
                    .map(|filter| filter.remap(&|column| first.at(column)));
                let exprs: Vec<Typed> = columns
                    .iter()
                    .map(|column| exprs[*column].remap(&|column| first.at(column)))
                    .collect();
                let name = if filter.is_some() {
                    "Filter"
                } else {
                    "Project"
                };
                let calc = Calc::new(&schemas[0], filter.as_ref(), &exprs, output)?;
                (
                    format!("{name}({})", names(step, columns)),
                    Arc::new(calc),
                    None,
                )
            }
            Op::Window { kind, time, .. } => {
                let zone = self.zone_of(&first.fields[*time]);
                let own = step.fields.len() - 3;
                let passed = columns.iter().filter(|column| **column < own);
                let assign = Assign {
                    kind: *kind,
                    time: first.at(*time),
                    keep: passed.map(|column| first.at(*column)).collect(),
                    zone,
                    output,
                };
                let time = &step.fields[*time].name;
                (
                    format!("Window({})", kind.shown(time)),
                    Arc::new(assign),
                    None,
                )
            }
            Op::WindowAggregate { end, keys, .. } => {
                let exchange: Vec<usize> = keys
                    .iter()
                    .filter(|key| {
                        !crate::operators::window::is_window_column(&first.fields[**key].name)
                    })
                    .copied()
                    .collect();
                let zone = match step.fields[*end].role {
                    Role::WindowEnd(true) => Some(self.zone),
                    _ => None,
                };
                let aggregate = WindowAggregate {
                    input: schemas[0].clone(),
                    end: first.at(*end),
                    zone,
                    keys: at(keys),
                    calls: moved_calls,
                    output,
                };
                (
                    format!("WindowAggregate({})", names(step, columns)),
                    Arc::new(aggregate),
                    Some(vec![at(&exchange)]),
                )
            }
            Op::SessionAggregate {
                gap,
                time,
                keys,
                windows,
                ..
            } => {
                let aggregate = SessionAggregate {
                    input: schemas[0].clone(),
                    gap: *gap,
                    time: first.at(*time),
                    zone: self.zone_of(&first.fields[*time]),
                    keys: at(keys),
                    windows: windows.clone(),
                    calls: moved_calls,
                    output,
                };
                (
                    format!("SessionAggregate({})", names(step, columns)),
                    Arc::new(aggregate),
                    Some(vec![at(keys)]),
                )
            }
            Op::GroupAggregate { keys, .. } => {
                let aggregate = GroupAggregate {
                    input: schemas[0].clone(),
                    keys: at(keys),
                    calls: moved_calls,
                    ttl: self.ttl,
                    output,
                };
                (
                    format!("GroupAggregate({})", names(step, columns)),
                    Arc::new(aggregate),
                    Some(vec![at(keys)]),
                )
            }
            Op::Dedup {
                keys,
                order,
                keep_last,
            } => {
                let dedup = Dedup {
                    schema: schemas[0].clone(),
                    keys: at(keys),
                    order: order.map(|order| first.at(order)),
                    keep_last: *keep_last,
                    ttl: self.ttl,
                };
                (
                    format!("Deduplicate({})", named(step, keys)),
                    Arc::new(dedup),
                    Some(vec![at(keys)]),
                )
            }
            Op::Join {
                kind,
                left_keys,
                right_keys,
                condition,
                ttl,
            } => {
                let right = &inputs[1];
                let keys = [
                    at(left_keys),
                    right_keys.iter().map(|key| right.at(*key)).collect(),
                ];
                let condition = self.condition(condition.as_ref(), first, right, &output)?;
                let join = Join {
                    ttl: ttl.map(|hint| hint.map_or(self.ttl, |ttl| (ttl > 0).then_some(ttl))),
                    sides: [schemas[0].clone(), schemas[1].clone()],
                    keys: keys.clone(),
                    outer: *kind == JoinKind::Left,
                    condition,
                    output,
                };
                (
                    format!("Join({})", kind.shown()),
                    Arc::new(join),
                    Some(keys.to_vec()),
                )
            }
            Op::TemporalJoin {
                outer,
                left_keys,
                right_keys,
                left_time,
                right_time,
                condition,
            } => {
                let right = &inputs[1];
                let keys = [
                    at(left_keys),
                    right_keys.iter().map(|key| right.at(*key)).collect(),
                ];
                let condition = self.condition(condition.as_ref(), first, right, &output)?;
                let join = TemporalJoin {
                    sides: [schemas[0].clone(), schemas[1].clone()],
                    keys: keys.clone(),
                    times: [first.at(*left_time), right.at(*right_time)],
                    outer: *outer,
                    condition,
                    output,
                };
                (
                    "TemporalJoin".to_owned(),
                    Arc::new(join),
                    Some(keys.to_vec()),
                )
            }
            Op::Union => ("Union".to_owned(), Arc::new(Union { output }), None),
        })
    }

    fn condition(
        &self,
        condition: Option<&Typed>,
        left: &Input<'_>,
        right: &Input<'_>,
        output: &arrow::datatypes::SchemaRef,
    ) -> Result<Option<Arc<dyn PhysicalExpr>>, Error> {
        let n_left = left.fields.len();
        let place = |column: usize| {
            if column < n_left {
                left.at(column)
            } else {
                left.kept.len() + right.at(column - n_left)
            }
        };
        condition
            .map(|condition| condition.remap(&place).compile(output))
            .transpose()
    }

    fn zone_of(&self, field: &Field) -> Option<Tz> {
        matches!(field.ty.root, TypeRoot::TimestampLtz(_)).then_some(self.zone)
    }
}
