//! One factory for each kind of step.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use chrono_tz::Tz;
use datafusion_physical_expr::PhysicalExpr;

use super::columns::{Input, named, names};
use super::rank::{temporal_sort, without_window};
use super::{Builder, Route, Step};
use crate::error::Error;
use crate::graph::{ChangelogMode, Edge, NodeId, NodeKind, OperatorFactory, Partitioning};
use crate::operators::aggregate::AggregateCall;
use crate::operators::calc::{Calc, Union};
use crate::operators::dedup::Dedup;
use crate::operators::group::GroupAggregate;
use crate::operators::interval_join::IntervalJoin;
use crate::operators::join::{Alone, Join};
use crate::operators::over::OverAggregate;
use crate::operators::session::SessionAggregate;
use crate::operators::temporal::TemporalJoin;
use crate::operators::unnest::{Part, Unnest};
use crate::operators::values::Values;
use crate::operators::window::local::{self, LocalWindowAggregate};
use crate::operators::window::{Assign, Phase, WindowAggregate, is_window_column};
use crate::operators::window_join::WindowJoin;
use crate::plan::rel::{Field, Op, Role};
use crate::plan::typed::Typed;
use crate::sql::ast::JoinKind;
use crate::table::TypeRoot;

impl Builder<'_> {
    /// How the rows of the inputs find the instances of the step.
    pub(super) fn route(&self, step: &Step, steps: &[Step], inputs: &[Input<'_>]) -> Route {
        let at = |port: usize, columns: &[usize]| -> Vec<usize> {
            let input = &inputs[port];
            columns.iter().map(|column| input.at(*column)).collect()
        };
        match &step.op {
            Op::Scan(_)
            | Op::RowNumber { .. }
            | Op::Calc { .. }
            | Op::Window { .. }
            | Op::Unnest { .. }
            | Op::Values(_)
            | Op::Union => Route::Stay,
            Op::WindowAggregate { keys, .. } => {
                let is_window = |key: &usize| is_window_column(&inputs[0].fields[*key].name);
                let keys: Vec<usize> = keys.iter().copied().filter(|key| !is_window(key)).collect();
                Route::Keys(vec![at(0, &keys)])
            }
            Op::SessionAggregate { keys, .. }
            | Op::GroupAggregate { keys, .. }
            | Op::Dedup { keys, .. } => Route::Keys(vec![at(0, keys)]),
            Op::Over { partition, .. } => Route::Keys(vec![at(0, partition)]),
            Op::TemporalSort { .. } => Route::Keys(vec![Vec::new()]),
            Op::Rank { partition, .. } => Route::Keys(vec![at(0, partition)]),
            Op::WindowRank { partition, .. } => {
                Route::Keys(vec![at(0, &without_window(partition, inputs[0].fields))])
            }
            Op::Join { .. } if self.parallelism > 1 && has_small_side(step, steps) => {
                Route::SideToAll
            }
            Op::Join { .. }
            | Op::WindowJoin { .. }
            | Op::IntervalJoin { .. }
            | Op::TemporalJoin { .. } => {
                let keys = step.op.join().map(|join| join.keys).into_iter().flatten();
                Route::Keys(
                    keys.enumerate()
                        .map(|(port, keys)| at(port, keys))
                        .collect(),
                )
            }
        }
    }

    /// The name and the factory.
    #[expect(
        clippy::too_many_lines,
        reason = "one arm an operator, each a plain construction"
    )]
    pub(super) fn operator(
        &self,
        step: &Step,
        columns: &[usize],
        inputs: &[Input<'_>],
        route: &Route,
        output: SchemaRef,
    ) -> Result<(String, Arc<dyn OperatorFactory>), Error> {
        let first = &inputs[0];
        let schemas: Vec<_> = inputs.iter().map(Input::schema).collect();
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
                (format!("{name}({})", names(step, columns)), Arc::new(calc))
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
                (format!("Window({})", kind.shown(time)), Arc::new(assign))
            }
            Op::WindowAggregate { end, keys, calls } => {
                let aggregate = self.window_aggregate(step, (*end, keys, calls), first, output);
                (
                    format!("WindowAggregate({})", names(step, columns)),
                    Arc::new(aggregate),
                )
            }
            Op::SessionAggregate {
                gap,
                time,
                keys,
                windows,
                calls,
            } => {
                let aggregate = SessionAggregate {
                    input: schemas[0].clone(),
                    gap: *gap,
                    time: first.at(*time),
                    zone: self.zone_of(&first.fields[*time]),
                    keys: at(keys),
                    windows: windows.clone(),
                    calls: moved(calls, first),
                    output,
                };
                (
                    format!("SessionAggregate({})", names(step, columns)),
                    Arc::new(aggregate),
                )
            }
            Op::GroupAggregate { keys, calls } => {
                let aggregate = GroupAggregate {
                    input: schemas[0].clone(),
                    keys: at(keys),
                    calls: moved(calls, first),
                    ttl: self.ttl,
                    output,
                };
                (
                    format!("GroupAggregate({})", names(step, columns)),
                    Arc::new(aggregate),
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
                )
            }
            Op::TemporalSort { time, order } => {
                temporal_sort(step, columns, (*time, order), first, output)
            }
            Op::Rank { .. } | Op::WindowRank { .. } => self.rank(step, columns, first, output)?,
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
                // Flink's interval and window joins keep rows as long as their times ask for.
                let general = self.ttl.filter(|_| !binds_time(step, inputs));
                let join = Join {
                    ttl: ttl.map(|hint| hint.map_or(general, |ttl| (ttl > 0).then_some(ttl))),
                    sides: [schemas[0].clone(), schemas[1].clone()],
                    keys,
                    pairs: has_pairs(*kind),
                    alone: alone(*kind),
                    side_to_all: matches!(route, Route::SideToAll),
                    condition,
                    output,
                };
                (format!("Join({})", kind.shown()), Arc::new(join))
            }
            Op::WindowJoin {
                kind,
                left_keys,
                right_keys,
                ends,
                condition,
            } => {
                let right = &inputs[1];
                let condition = self.condition(condition.as_ref(), first, right, &output)?;
                let zone = match first.fields[ends[0]].role {
                    Role::WindowEnd(true) => Some(self.zone),
                    _ => None,
                };
                let join = WindowJoin {
                    sides: [schemas[0].clone(), schemas[1].clone()],
                    keys: [
                        at(left_keys),
                        right_keys.iter().map(|key| right.at(*key)).collect(),
                    ],
                    ends: [first.at(ends[0]), right.at(ends[1])],
                    zone,
                    pairs: has_pairs(*kind),
                    alone: alone(*kind),
                    condition,
                    output,
                };
                (format!("WindowJoin({})", kind.shown()), Arc::new(join))
            }
            Op::IntervalJoin {
                kind,
                left_keys,
                right_keys,
                times,
                reach,
                condition,
            } => {
                let right = &inputs[1];
                let join = IntervalJoin {
                    sides: [schemas[0].clone(), schemas[1].clone()],
                    keys: [
                        at(left_keys),
                        right_keys.iter().map(|key| right.at(*key)).collect(),
                    ],
                    times: [first.at(times[0]), right.at(times[1])],
                    reach: *reach,
                    alone: alone(*kind),
                    condition: self.condition(condition.as_ref(), first, right, &output)?,
                    output,
                };
                (format!("IntervalJoin({})", kind.shown()), Arc::new(join))
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
                    keys,
                    times: [first.at(*left_time), right.at(*right_time)],
                    outer: *outer,
                    condition,
                    output,
                };
                ("TemporalJoin".to_owned(), Arc::new(join))
            }
            Op::Over {
                partition,
                time,
                frame,
                calls,
            } => {
                let kept = columns.iter().filter(|column| **column < step.first_width);
                let over = OverAggregate {
                    input: schemas[0].clone(),
                    partition: at(partition),
                    time: first.at(*time),
                    frame: *frame,
                    calls: moved(calls, first),
                    keep: kept.map(|column| first.at(*column)).collect(),
                    output,
                };
                (
                    format!("OverAggregate({})", names(step, columns)),
                    Arc::new(over),
                )
            }
            Op::Union => ("Union".to_owned(), Arc::new(Union { output })),
            Op::Unnest { .. } => self.unnest(step, columns, first, output)?,
            Op::Values(rows) => {
                let compile = |row: &Vec<Typed>| {
                    let row = columns.iter().map(|column| &row[*column]);
                    row.map(|value| value.compile(&schemas[0])).collect()
                };
                let rows = rows.iter().map(compile).collect::<Result<_, _>>()?;
                ("Values".to_owned(), Arc::new(Values { rows, output }))
            }
        })
    }

    fn unnest(
        &self,
        step: &Step,
        columns: &[usize],
        input: &Input<'_>,
        output: SchemaRef,
    ) -> Result<(String, Arc<dyn OperatorFactory>), Error> {
        let Op::Unnest {
            column,
            collection,
            ordinality,
            outer,
            condition,
        } = &step.op
        else {
            return Err(Error::failed("a step that is no UNNEST"));
        };
        let (own, last) = (input.fields.len(), step.fields.len() - 1);
        let part = |column: &usize| match *column {
            column if column < own => Part::Left(input.at(column)),
            column if *ordinality && column == last => Part::Ordinal,
            column => Part::Element(column - own),
        };
        let place = |column: usize| columns.binary_search(&column).unwrap_or(column);
        let condition = condition
            .as_ref()
            .map(|condition| condition.remap(&place).compile(&output))
            .transpose()?;
        let unnest = Unnest {
            column: input.at(*column),
            collection: *collection,
            ordinality: *ordinality,
            outer: *outer,
            parts: columns.iter().map(part).collect(),
            condition,
            output,
        };
        let name = format!("Unnest({})", step.fields[*column].name);
        Ok((name, Arc::new(unnest)))
    }

    fn window_aggregate(
        &self,
        step: &Step,
        (end, keys, calls): (usize, &[usize], &[AggregateCall]),
        input: &Input<'_>,
        output: SchemaRef,
    ) -> WindowAggregate {
        let zone = match step.fields[end].role {
            Role::WindowEnd(true) => Some(self.zone),
            _ => None,
        };
        WindowAggregate {
            input: input.schema(),
            of: Phase::Rows {
                end: input.at(end),
                zone,
            },
            keys: keys.iter().map(|key| input.at(*key)).collect(),
            calls: moved(calls, input),
            output,
        }
    }

    /// A windowed aggregation in two phases, if its results add up and its instances fall silent together.
    pub(super) fn two_phases(
        &mut self,
        step: &Step,
        columns: &[usize],
        steps: &[Step],
        input: &Input<'_>,
        output: &SchemaRef,
    ) -> Result<Option<NodeId>, Error> {
        let Op::WindowAggregate { end, keys, calls } = &step.op else {
            return Ok(None);
        };
        let before = step.inputs[0];
        let fits = self.parallelism > 1
            && self.settings.two_phases()?
            && steps[before].changes == ChangelogMode::InsertOnly
            && calls.iter().all(local::adds_up)
            && self.is_silent_at_once(before, steps)?;
        if !fits {
            return Ok(None);
        }
        let rows = self.window_aggregate(step, (*end, keys, calls), input, output.clone());
        let n_keys = rows.keys.len();
        let partial = local::partial_schema(&rows.input, &rows.keys, calls.len());
        let own = self.nodes[input.node.0].parallelism;
        let edge = self.forward(input.node, own);
        let shown = names(step, columns);
        let first = self.node(
            super::named(format!("LocalWindowAggregate({shown})")),
            NodeKind::Operator(Arc::new(LocalWindowAggregate(rows.clone()))),
            vec![edge],
            partial.clone(),
            own,
        );
        self.local_phases.push(first);
        let is_window = |key: &usize| is_window_column(partial.field(*key).name());
        let exchanged: Vec<usize> = (0..n_keys).filter(|key| !is_window(key)).collect();
        let parallelism = match exchanged.is_empty() {
            true => 1,
            false => self.parallelism,
        };
        let edge = Edge {
            from: first,
            partitioning: Partitioning::Hash(exchanged),
        };
        let second = WindowAggregate {
            input: partial,
            of: Phase::Partials,
            keys: (0..n_keys).collect(),
            ..rows
        };
        Ok(Some(self.node(
            super::named(format!("GlobalWindowAggregate({shown})")),
            NodeKind::Operator(Arc::new(second)),
            vec![edge],
            output.clone(),
            parallelism,
        )))
    }

    /// Whether the instances of `step` are never silent one without the other: they are all fed by all instances of
    /// another step, or by inputs that are not silent before they end.
    fn is_silent_at_once(&self, step: usize, steps: &[Step]) -> Result<bool, Error> {
        let before = &steps[step].inputs;
        Ok(match &steps[step].op {
            Op::Scan(table) => {
                table.is_bounded() && self.settings.job_config()?.source_idle_timeout.is_none()
            }
            Op::Calc { .. } | Op::Window { .. } | Op::Unnest { .. } | Op::Union => before
                .iter()
                .map(|input| self.is_silent_at_once(*input, steps))
                .collect::<Result<Vec<_>, _>>()?
                .into_iter()
                .all(|at_once| at_once),
            Op::Join { .. } if has_small_side(&steps[step], steps) => {
                self.is_silent_at_once(before[0], steps)?
            }
            _ => true,
        })
    }

    fn condition(
        &self,
        condition: Option<&Typed>,
        left: &Input<'_>,
        right: &Input<'_>,
        output: &SchemaRef,
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

/// Whether a join gives pairs of rows.
fn has_pairs(kind: JoinKind) -> bool {
    !matches!(kind, JoinKind::Semi | JoinKind::Anti)
}

/// Which rows of the sides a join gives alone.
fn alone(kind: JoinKind) -> [Alone; 2] {
    use Alone::{Matched, Never, Unmatched};
    match kind {
        JoinKind::Inner | JoinKind::Cross => [Never, Never],
        JoinKind::Left | JoinKind::Anti => [Unmatched, Never],
        JoinKind::Right => [Never, Unmatched],
        JoinKind::Full => [Unmatched, Unmatched],
        JoinKind::Semi => [Matched, Never],
    }
}

/// The calls over the columns where they are now.
fn moved(calls: &[AggregateCall], input: &Input<'_>) -> Vec<AggregateCall> {
    let mut calls = calls.to_vec();
    for call in &mut calls {
        if let Some((column, _)) = &mut call.argument {
            *column = input.at(*column);
        }
        call.filter = call.filter.map(|filter| input.at(filter));
    }
    calls
}

/// Whether the step joins an endless stream of inserts with a side that ends: then each instance can hold the whole
/// side, and the stream needs no exchange. Only one instance may say which rows of the side have no match.
fn has_small_side(step: &Step, steps: &[Step]) -> bool {
    if matches!(
        step.op,
        Op::Join {
            kind: JoinKind::Right | JoinKind::Full,
            ..
        }
    ) {
        return false;
    }
    let [left, right] = step.inputs[..] else {
        return false;
    };
    let inserts = |step: usize| steps[step].changes == ChangelogMode::InsertOnly;
    inserts(left) && inserts(right) && !ends(left, steps) && is_side(right, steps)
}

/// Whether `step` only reads, filters and projects a table that ends.
fn is_side(step: usize, steps: &[Step]) -> bool {
    match &steps[step].op {
        Op::Scan(table) => table.is_bounded(),
        Op::Calc { .. } => is_side(steps[step].inputs[0], steps),
        _ => false,
    }
}

/// Whether every input of `step` ends.
fn ends(step: usize, steps: &[Step]) -> bool {
    match &steps[step].op {
        Op::Scan(table) => table.is_bounded(),
        _ => steps[step].inputs.iter().all(|input| ends(*input, steps)),
    }
}

/// Whether a join asks for event times of both sides, or for the same window.
fn binds_time(step: &Step, inputs: &[Input<'_>]) -> bool {
    let Op::Join {
        left_keys,
        right_keys,
        condition,
        ..
    } = &step.op
    else {
        return false;
    };
    let [left, right] = [inputs[0].fields, inputs[1].fields];
    let in_window = |field: &Field| matches!(field.role, Role::WindowStart | Role::WindowEnd(_));
    let same_window = left_keys
        .iter()
        .zip(right_keys)
        .any(|(a, b)| in_window(&left[*a]) && in_window(&right[*b]));
    let mut timed = [false; 2];
    if let Some(condition) = condition {
        condition.mark_columns(&mut |column| {
            let (side, field) = match column.checked_sub(left.len()) {
                None => (0, &left[column]),
                Some(column) => (1, &right[column]),
            };
            timed[side] |= field.role == Role::Rowtime;
        });
    }
    same_window || timed == [true; 2]
}
