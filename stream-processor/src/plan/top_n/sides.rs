//! Conditions on a row number of one side of a join, in its ON or in the WHERE above it, go down to that side.

use std::sync::Arc;

use super::ranked;
use crate::error::Error;
use crate::graph::ChangelogMode;
use crate::plan::condition::conjuncts;
use crate::plan::rel::{Op, Rel};
use crate::plan::typed::{Typed, TypedKind};
use crate::sql::ast::JoinKind;

/// `rel`, if it is a join, with the conditions on row numbers in its sides, and what is left of `filter`.
pub(in crate::plan) fn to_sides(
    rel: Arc<Rel>,
    filter: Option<Typed>,
) -> Result<(Arc<Rel>, Option<Typed>), Error> {
    if !has_number(&rel) {
        return Ok((rel, filter));
    }
    match &rel.op {
        // Columns that only the join needs are cut off above it.
        Op::Calc {
            filter: None,
            exprs,
        } if matches!(rel.inputs[0].op, Op::Join { .. }) && exprs.iter().all(is_column) => {
            let column = |at: usize| match exprs[at].kind {
                TypedKind::Column(below) => below,
                _ => at,
            };
            let place = |below: usize| {
                let mut places = 0..exprs.len();
                places.find(|at| column(*at) == below).unwrap_or(below)
            };
            let below = filter.map(|filter| filter.remap(&column));
            let (join, rest) = to_sides(rel.inputs[0].clone(), below)?;
            let rest = rest.map(|rest| rest.remap(&place));
            let names = rel.fields.iter().map(|field| field.name.clone());
            let items = names.zip(exprs.iter().cloned()).collect();
            Ok((Rel::calc(join, None, items), rest))
        }
        Op::Join {
            kind: JoinKind::Inner | JoinKind::Cross,
            ..
        } => sides(&rel, filter),
        _ => Ok((rel, filter)),
    }
}

fn sides(rel: &Rel, filter: Option<Typed>) -> Result<(Arc<Rel>, Option<Typed>), Error> {
    let mut join = rel.clone();
    let mut parts = Vec::new();
    if let Some(filter) = filter {
        conjuncts(filter, &mut parts);
    }
    let mut on = Vec::new();
    if let Op::Join { condition, .. } = &mut join.op
        && let Some(condition) = condition.take()
    {
        conjuncts(condition, &mut on);
    }
    let mut first = 0;
    for side in &mut join.inputs {
        let columns = first..first + side.fields.len();
        if !has_number(side) {
            first = columns.end;
            continue;
        }
        let is_own = |part: &mut Typed| {
            let (mut any, mut all) = (false, true);
            part.mark_columns(&mut |column| {
                any = true;
                all &= columns.contains(&column);
            });
            any && all
        };
        let mut own: Vec<Typed> = parts.extract_if(.., is_own).collect();
        own.extend(on.extract_if(.., is_own));
        let own = own.into_iter().reduce(Typed::and);
        let own = own.map(|own| own.remap(&|column| column - first));
        let (taken, rest) = match own {
            Some(own) => match ranked(side, &own)? {
                Some(taken) => (taken, None),
                None => to_sides(side.clone(), Some(own))?,
            },
            None => to_sides(side.clone(), None)?,
        };
        *side = taken;
        parts.extend(rest.map(|rest| rest.remap(&|column| column + first)));
        first = columns.end;
    }
    if let Op::Join { condition, .. } = &mut join.op {
        *condition = on.into_iter().reduce(Typed::and);
    }
    if !join.inputs.iter().all(|side| side.is_append()) {
        join.changes = ChangelogMode::Retract;
    }
    Ok((Arc::new(join), parts.into_iter().reduce(Typed::and)))
}

/// Whether below its projections and joins there is a row number.
fn has_number(rel: &Rel) -> bool {
    match rel.op {
        Op::RowNumber { .. } => true,
        Op::Calc { .. } | Op::Join { .. } => rel.inputs.iter().any(|input| has_number(input)),
        _ => false,
    }
}

fn is_column(expr: &Typed) -> bool {
    matches!(expr.kind, TypedKind::Column(_))
}
