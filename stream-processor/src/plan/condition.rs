//! What a join asks: equalities between its sides, the rest, and the versions behind a versioned table.

use std::sync::Arc;

use datafusion_expr_common::operator::Operator;

use super::rel::{Op, Rel, Role};
use super::typed::{Typed, TypedKind};

/// The conjuncts of a condition.
pub(super) fn conjuncts(condition: Typed, out: &mut Vec<Typed>) {
    match condition.kind {
        TypedKind::Binary(Operator::And, left, right) => {
            conjuncts(*left, out);
            conjuncts(*right, out);
        }
        _ => out.push(condition),
    }
}

/// Equalities between the sides, and what else is asked.
pub(super) fn split_condition(
    condition: Typed,
    n_left: usize,
) -> (Vec<(Typed, Typed)>, Option<Typed>) {
    let mut parts = Vec::new();
    conjuncts(condition, &mut parts);
    let side = |expr: &Typed| {
        let (mut left, mut right) = (false, false);
        expr.mark_columns(&mut |column| {
            if column < n_left {
                left = true
            } else {
                right = true
            }
        });
        (left, right)
    };
    let mut pairs = Vec::new();
    let mut rest: Option<Typed> = None;
    for part in parts {
        if let TypedKind::Binary(Operator::Eq, a, b) = &part.kind {
            match (side(a), side(b)) {
                ((true, false), (false, true)) => {
                    pairs.push(((**a).clone(), (**b).clone()));
                    continue;
                }
                ((false, true), (true, false)) => {
                    pairs.push(((**b).clone(), (**a).clone()));
                    continue;
                }
                _ => {}
            }
        }
        rest = Some(match rest {
            None => part,
            Some(before) => before.and(part),
        });
    }
    (pairs, rest)
}

/// `rel` with the key expressions as columns, and where they are.
pub(super) fn with_keys(
    rel: &Arc<Rel>,
    keys: impl Iterator<Item = Typed>,
) -> (Arc<Rel>, Vec<usize>) {
    let mut items = rel.all();
    let mut columns = Vec::new();
    for key in keys {
        columns.push(match key.kind {
            TypedKind::Column(column) => column,
            _ => {
                items.push((format!("$key{}", items.len()), key));
                items.len() - 1
            }
        });
    }
    if items.len() == rel.fields.len() {
        return (rel.clone(), columns);
    }
    (Rel::calc(rel.clone(), None, items), columns)
}

/// The stream of versions behind a versioned table: its rows, key columns and time column.
pub(super) fn versions_of(rel: &Arc<Rel>) -> Option<(Arc<Rel>, Vec<usize>, usize)> {
    match &rel.op {
        Op::Scan(table) if !table.primary_key.is_empty() && table.watermark.is_some() => {
            let position = |name: &String| rel.fields.iter().position(|field| field.name == *name);
            let keys = table
                .primary_key
                .iter()
                .map(position)
                .collect::<Option<Vec<_>>>()?;
            let time = rel
                .fields
                .iter()
                .position(|field| field.role == Role::Rowtime)?;
            Some((rel.clone(), keys, time))
        }
        Op::Dedup {
            keys,
            order: Some(time),
            keep_last: true,
        } => Some((rel.inputs[0].clone(), keys.clone(), *time)),
        Op::Calc {
            filter: None,
            exprs,
        } => {
            let (input, keys, time) = versions_of(&rel.inputs[0])?;
            let at = |column: usize| {
                exprs.iter().position(
                    |expr| matches!(expr.kind, TypedKind::Column(found) if found == column),
                )
            };
            let keys = keys.into_iter().map(at).collect::<Option<Vec<_>>>()?;
            let time = at(time)?;
            let items = rel
                .fields
                .iter()
                .map(|field| field.name.clone())
                .zip(exprs.iter().cloned())
                .collect();
            Some((Rel::calc(input, None, items), keys, time))
        }
        _ => None,
    }
}
