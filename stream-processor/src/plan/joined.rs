//! What a join makes of its two sides.

use std::sync::Arc;

use super::condition::{conjuncts, split_condition, with_keys};
use super::from::Source;
use super::interval::{Interval, interval};
use super::query::apply_filter;
use super::rel::{Field, Op, Rel, Role};
use super::scope::Scope;
use super::typed::{Typed, TypedKind};
use crate::error::{Error, Position};
use crate::graph::ChangelogMode;
use crate::sql::ast::JoinKind;

/// The join of two sides on `condition`, which is over the columns of both. Where nothing is taken back, one that asks for
/// equal windows is a window join, and one that bounds the times of both sides an interval join; else it is a regular one.
pub(super) fn joined(
    left: &Source,
    right: &Source,
    kind: JoinKind,
    condition: Option<Typed>,
    ttl: [Option<i64>; 2],
) -> Source {
    let n_left = left.0.fields.len();
    let (pairs, condition) = condition
        .map(|condition| split_condition(condition, n_left))
        .unwrap_or_default();
    let is_append = left.0.is_append() && right.0.is_append();
    let ends = window_ends(left, right, &pairs).filter(|_| is_append);
    let fields = [&left.0, &right.0].map(|rel| &rel.fields[..]);
    let interval = condition
        .as_ref()
        .filter(|_| is_append && ends.is_none() && !matches!(kind, JoinKind::Semi | JoinKind::Anti))
        .and_then(|condition| interval(condition, fields));
    let keeps = match kind {
        _ if ends.is_none() && interval.is_none() => [false, false],
        JoinKind::Inner | JoinKind::Cross => [true, true],
        JoinKind::Left | JoinKind::Semi | JoinKind::Anti => [true, false],
        JoinKind::Right => [false, true],
        JoinKind::Full => [false, false],
    };
    let scope = joined_scope([&left.1, &right.1], kind, keeps);
    let (left_rel, left_keys) = with_keys(&left.0, pairs.iter().map(|(left, _)| left.clone()));
    let shifted = pairs
        .iter()
        .map(|(_, right)| right.remap(&|column| column - n_left));
    let (right_rel, right_keys) = with_keys(&right.0, shifted);
    let fields = scope.columns.iter().map(|(_, field)| field.clone());
    let only_adds = matches!(kind, JoinKind::Inner | JoinKind::Cross | JoinKind::Semi);
    let changes = if ends.is_some() || interval.is_some() || (only_adds && is_append) {
        ChangelogMode::InsertOnly
    } else {
        ChangelogMode::Retract
    };
    let op = |condition| match (ends, interval) {
        (Some(ends), _) => Op::WindowJoin {
            kind,
            left_keys,
            right_keys,
            ends,
            condition,
        },
        (None, Some(Interval { times, reach })) => Op::IntervalJoin {
            kind,
            left_keys,
            right_keys,
            times,
            reach,
            condition,
        },
        (None, None) => Op::Join {
            kind,
            left_keys,
            right_keys,
            condition,
            ttl,
        },
    };
    let rel = assemble(
        [left_rel, right_rel],
        [n_left, right.0.fields.len()],
        fields.collect(),
        condition,
        changes,
        op,
    );
    (rel, scope)
}

/// Refuses a `STATE_TTL` hint for a join that keeps its rows as long as their times ask for.
pub(super) fn check_ttl(rel: &Rel, ttl: [Option<i64>; 2], at: Position) -> Result<(), Error> {
    let op = match &rel.op {
        Op::Calc { .. } => &rel.inputs[0].op,
        op => op,
    };
    let timed = matches!(op, Op::WindowJoin { .. } | Op::IntervalJoin { .. });
    if timed && ttl != [None, None] {
        return Err(Error::unsupported(
            "STATE_TTL of a window or interval join",
            at,
            "; it keeps rows as long as their times ask for",
        ));
    }
    Ok(())
}

/// The inner join of two inputs on `condition`.
pub(super) fn join_on(
    inputs: &[Arc<Rel>],
    condition: Typed,
    ttl: [Option<i64>; 2],
) -> Result<Arc<Rel>, Error> {
    let n_left = inputs[0].fields.len();
    let mut parts = Vec::new();
    conjuncts(condition, &mut parts);
    // Of each side, and of both.
    let mut conditions: [Option<Typed>; 3] = Default::default();
    for part in parts {
        let (mut left, mut right) = (false, false);
        part.mark_columns(&mut |column| {
            left |= column < n_left;
            right |= column >= n_left;
        });
        let (at, part) = match (left, right) {
            (true, false) => (0, part),
            (false, true) => (1, part.remap(&|column| column - n_left)),
            _ => (2, part),
        };
        conditions[at] = Some(match conditions[at].take() {
            None => part,
            Some(before) => before.and(part),
        });
    }
    let [left, right, both] = conditions;
    let source = |rel: &Arc<Rel>, filter: Option<Typed>| -> Result<Source, Error> {
        let rel = match filter {
            Some(filter) => apply_filter(rel.clone(), filter)?,
            None => rel.clone(),
        };
        let columns = rel.fields.iter().map(|field| (None, field.clone()));
        let scope = Scope::of(columns.collect());
        Ok((rel, scope))
    };
    let kind = if both.is_some() {
        JoinKind::Inner
    } else {
        JoinKind::Cross
    };
    let (left, right) = (source(&inputs[0], left)?, source(&inputs[1], right)?);
    Ok(joined(&left, &right, kind, both, ttl).0)
}

/// Where the sides have the ends of their windows, if both start and end are asked to be equal.
fn window_ends(left: &Source, right: &Source, pairs: &[(Typed, Typed)]) -> Option<[usize; 2]> {
    let n_left = left.0.fields.len();
    let columns = pairs.iter().filter_map(|(one, other)| {
        let (TypedKind::Column(one), TypedKind::Column(other)) = (&one.kind, &other.kind) else {
            return None;
        };
        Some([*one, other - n_left])
    });
    let columns: Vec<[usize; 2]> = columns.collect();
    let roles = |[one, other]: &[usize; 2]| (left.0.fields[*one].role, right.0.fields[*other].role);
    let is_start = |at: &[usize; 2]| roles(at) == (Role::WindowStart, Role::WindowStart);
    let is_end = |at: &[usize; 2]| match roles(at) {
        (Role::WindowEnd(one), Role::WindowEnd(other)) => one == other,
        _ => false,
    };
    columns.iter().find(|at| is_start(at))?;
    columns.iter().find(|at| is_end(at)).copied()
}

/// Makes the join and cuts off key columns that were only computed for it.
#[expect(
    clippy::needless_pass_by_value,
    reason = "all of it goes into the result"
)]
pub(super) fn assemble(
    inputs: [Arc<Rel>; 2],
    widths: [usize; 2],
    fields: Vec<Field>,
    condition: Option<Typed>,
    changes: ChangelogMode,
    op: impl FnOnce(Option<Typed>) -> Op,
) -> Arc<Rel> {
    let extra_left = inputs[0].fields.len() - widths[0];
    let extra_right = inputs[1].fields.len() - widths[1];
    let condition = condition.map(|condition| {
        condition.remap(&|column| {
            if column < widths[0] {
                column
            } else {
                column + extra_left
            }
        })
    });
    let mut wide: Vec<Field> = fields[..widths[0]].to_vec();
    wide.extend(inputs[0].fields[widths[0]..].iter().cloned());
    wide.extend(fields[widths[0]..].iter().cloned());
    wide.extend(inputs[1].fields[widths[1]..].iter().cloned());
    let joined = Arc::new(Rel {
        op: op(condition),
        inputs: inputs.to_vec(),
        fields: wide,
        changes,
    });
    if extra_left + extra_right == 0 {
        return joined;
    }
    let items = fields
        .iter()
        .enumerate()
        .map(|(index, field)| {
            let column = if index < widths[0] {
                index
            } else {
                index + extra_left
            };
            (field.name.clone(), Typed::column(column, field.ty.clone()))
        })
        .collect();
    Rel::calc(joined, None, items)
}

/// Both sides' columns; those of a side that does not keep its times are no row times and windows any more.
pub(super) fn joined_scope([left, right]: [&Scope; 2], kind: JoinKind, keeps: [bool; 2]) -> Scope {
    let plain = |(name, field): &(Option<String>, Field), nullable: bool, keep: bool| {
        let mut field = field.clone();
        if !keep
            && matches!(
                field.role,
                Role::Rowtime | Role::WindowEnd(_) | Role::WindowStart
            )
        {
            field.role = Role::Plain;
        }
        field.ty.nullable |= nullable;
        (name.clone(), field)
    };
    let nulls = [
        matches!(kind, JoinKind::Right | JoinKind::Full),
        matches!(
            kind,
            JoinKind::Left | JoinKind::Full | JoinKind::Semi | JoinKind::Anti
        ),
    ];
    let left = left.columns.iter();
    let right = right.columns.iter();
    let columns = left
        .map(|column| plain(column, nulls[0], keeps[0]))
        .chain(right.map(|column| plain(column, nulls[1], keeps[1])));
    Scope {
        columns: columns.collect(),
        ..Scope::default()
    }
}
