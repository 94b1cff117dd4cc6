//! GROUP BY: updating, within windows that end, or within sessions.

use std::sync::Arc;

use datafusion_expr_common::operator::Operator;

use super::expr::compare;
use super::grouping::Grouping;
use super::rel::{Field, Op, Rel, Role, SessionColumn, WindowKind};
use super::typed::{Typed, TypedKind};
use crate::error::{Error, Position};
use crate::graph::ChangelogMode;
use crate::operators::aggregate::{AggregateCall, Function};
use crate::table::{SqlType, TypeRoot};

/// The step that groups `rel`: its columns are the groups, then the calls.
pub(super) fn grouped(
    rel: &Arc<Rel>,
    grouping: &Grouping,
    names: &[String],
    at: Position,
) -> Result<Arc<Rel>, Error> {
    let mut calls = grouping.calls.borrow().clone();
    for call in &mut calls {
        call.retracts = !rel.is_append();
    }
    let n_groups = grouping.groups.len();
    let mut items: Vec<(String, Typed)> = names
        .iter()
        .cloned()
        .zip(grouping.groups.iter().cloned())
        .collect();
    for (index, argument) in grouping.arguments.borrow().iter().enumerate() {
        items.push((format!("$argument{index}"), argument.clone()));
    }
    if let Op::Window {
        kind: WindowKind::Session { gap },
        time,
        partition,
    } = &rel.op
    {
        return session(rel, *gap, *time, partition, items, n_groups, calls, at);
    }
    if items.is_empty() {
        // COUNT(*) alone: something must carry the number of rows.
        items.push(("$row".to_owned(), Typed::boolean(true)));
    }
    let input = Rel::calc(rel.clone(), None, items);
    let mut fields: Vec<Field> = input.fields[..n_groups].to_vec();
    let has = |role: fn(Role) -> bool| fields.iter().position(|field| role(field.role));
    let start = has(|role| role == Role::WindowStart);
    let end = has(|role| matches!(role, Role::WindowEnd(_)));
    let keys: Vec<usize> = (0..n_groups).collect();
    let windowed = start.and(end);
    if windowed.is_none() {
        for field in &mut fields {
            field.role = Role::Plain;
        }
    }
    let counted = windowed.is_some() && !input.is_append();
    if counted {
        calls.push(count_rows());
    }
    for (index, call) in calls.iter().enumerate() {
        fields.push(Field::plain(format!("$call{index}"), call.result.clone()));
    }
    let (op, changes) = match windowed {
        Some(end) => (
            Op::WindowAggregate { end, keys, calls },
            ChangelogMode::InsertOnly,
        ),
        None if calls.is_empty() && input.is_append() => (
            Op::GroupAggregate { keys, calls },
            ChangelogMode::InsertOnly,
        ),
        None => (Op::GroupAggregate { keys, calls }, ChangelogMode::Retract),
    };
    let grouped = Arc::new(Rel {
        op,
        inputs: vec![input],
        fields,
        changes,
    });
    Ok(match counted {
        true => without_empty(grouped),
        false => grouped,
    })
}

/// COUNT(*) of rows that may be taken back.
fn count_rows() -> AggregateCall {
    AggregateCall {
        function: Function::Count,
        distinct: false,
        argument: None,
        filter: None,
        separator: String::new(),
        result: SqlType::required(TypeRoot::BigInt),
        retracts: true,
    }
}

/// The windows of `grouped` that have rows, by its last column, which goes: Flink leaves out those whose rows have all
/// been taken back.
fn without_empty(grouped: Arc<Rel>) -> Arc<Rel> {
    let mut items = grouped.all();
    let Some((_, rows)) = items.pop() else {
        return grouped;
    };
    let zero = Typed::literal(0_i64.into(), rows.ty.clone());
    let filter = compare(Operator::NotEq, rows, zero);
    Rel::calc(grouped, Some(filter), items)
}

/// Session windows know their bounds only when they close: the window columns are made by the operator.
#[expect(
    clippy::too_many_lines,
    reason = "one step after the other, none of use alone"
)]
#[expect(
    clippy::needless_pass_by_value,
    reason = "its only caller is done with what it gives"
)]
#[expect(
    clippy::too_many_arguments,
    reason = "the parts of one step, taken apart by its only caller"
)]
fn session(
    window: &Arc<Rel>,
    gap: i64,
    time: usize,
    partition: &[usize],
    items: Vec<(String, Typed)>,
    n_groups: usize,
    mut calls: Vec<AggregateCall>,
    at: Position,
) -> Result<Arc<Rel>, Error> {
    let input = &window.inputs[0];
    let n_input = input.fields.len();
    if !input.is_append() {
        return Err(Error::unsupported(
            "SESSION over rows that can be taken back",
            at,
            "",
        ));
    }
    // Groups that are window columns leave; the others and the arguments stay.
    let (mut kept, mut windows, mut places) = (Vec::new(), Vec::new(), Vec::new());
    for (name, typed) in &items[..n_groups] {
        match typed.kind {
            TypedKind::Column(column) if column >= n_input => {
                places.push((true, windows.len()));
                windows.push(match column - n_input {
                    0 => SessionColumn::Start,
                    1 => SessionColumn::End,
                    _ => SessionColumn::Time,
                });
            }
            TypedKind::Column(column) if partition.contains(&column) => {
                places.push((false, kept.len()));
                kept.push((name.clone(), typed.clone()));
            }
            _ => {
                return Err(Error::unsupported(
                    "grouping sessions by more than their PARTITION BY",
                    at,
                    "; name the column there too",
                ));
            }
        }
    }
    let complete = kept.len() == partition.len()
        && windows.contains(&SessionColumn::Start)
        && windows.contains(&SessionColumn::End);
    if !complete {
        return Err(Error::unsupported(
            "SESSION without grouping by window_start, window_end and all of its PARTITION BY",
            at,
            "",
        ));
    }
    let n_keys = kept.len();
    let arguments = &items[n_groups..];
    let mut reads_window = false;
    for (_, argument) in arguments {
        argument.mark_columns(&mut |column| reads_window |= column >= n_input);
    }
    if reads_window {
        return Err(Error::unsupported(
            "an aggregate over a session's window columns",
            at,
            "",
        ));
    }
    let moved = |column: usize| column - n_groups + n_keys;
    for call in &mut calls {
        if let Some((column, _)) = &mut call.argument {
            *column = moved(*column);
        }
        call.filter = call.filter.map(moved);
    }
    kept.extend(arguments.iter().cloned());
    kept.push((
        "$time".to_owned(),
        Typed::column(time, input.fields[time].ty.clone()),
    ));
    let time = kept.len() - 1;
    let input = Rel::calc(input.clone(), None, kept);
    let mut fields = input.fields[..n_keys].to_vec();
    for window_column in &windows {
        let index = match window_column {
            SessionColumn::Start => 0,
            SessionColumn::End => 1,
            SessionColumn::Time => 2,
        };
        fields.push(window.fields[n_input + index].clone());
    }
    let n_windows = windows.len();
    for (index, call) in calls.iter().enumerate() {
        fields.push(Field::plain(format!("$call{index}"), call.result.clone()));
    }
    let n_calls = calls.len();
    let rel = Arc::new(Rel {
        op: Op::SessionAggregate {
            gap,
            time,
            keys: (0..n_keys).collect(),
            windows,
            calls,
        },
        inputs: vec![input],
        fields,
        changes: ChangelogMode::InsertOnly,
    });
    let order = places
        .into_iter()
        .map(|(is_window, place)| if is_window { n_keys + place } else { place })
        .chain((0..n_calls).map(|call| n_keys + n_windows + call));
    let items = order
        .map(|column| {
            (
                rel.fields[column].name.clone(),
                Typed::column(column, rel.fields[column].ty.clone()),
            )
        })
        .collect();
    Ok(Rel::calc(rel, None, items))
}
