//! WHERE with subqueries: `IN (SELECT …)` and `EXISTS (SELECT …)` become semi joins, their negations anti joins.

use datafusion_expr_common::operator::Operator;

use super::Planner;
use super::expr::{compare, either, is_null};
use super::from::Source;
use super::joined::{check_ttl, joined};
use super::query::{Env, apply_filter, contains_aggregate};
use super::rel::{Op, Rel};
use super::scope::Scope;
use super::top_n::to_sides;
use super::typed::Typed;
use crate::error::{Error, Position};
use crate::sql::ast::{BinaryOp, Expr, ExprKind, JoinKind, Query, Select, SelectItem, SetExpr};

/// A condition that asks a subquery.
struct Asked<'q> {
    /// What is sought in it; `None` asks only whether it has rows.
    value: Option<&'q Expr>,
    query: &'q Query,
    negated: bool,
    at: Position,
}

/// The conjuncts of a condition as written.
fn conjuncts<'e>(expr: &'e Expr, out: &mut Vec<&'e Expr>) {
    match &expr.kind {
        ExprKind::Binary(BinaryOp::And, left, right) => {
            conjuncts(left, out);
            conjuncts(right, out);
        }
        _ => out.push(expr),
    }
}

/// The subquery that a conjunct asks.
fn asked(expr: &Expr) -> Option<Asked<'_>> {
    let (value, query, negated) = match &expr.kind {
        ExprKind::InQuery(value, query, negated) => (Some(&**value), &**query, *negated),
        ExprKind::Exists(query) => (None, &**query, false),
        ExprKind::Not(inner) => {
            let inner = asked(inner)?;
            (inner.value, inner.query, !inner.negated)
        }
        _ => return None,
    };
    Some(Asked {
        value,
        query,
        negated,
        at: expr.position,
    })
}

/// The SELECT whose WHERE may name columns of the query around it: one that only filters and projects.
fn correlated(query: &Query) -> Option<&Select> {
    let plain = query.ctes.is_empty()
        && query.order.is_empty()
        && query.limit.is_none()
        && query.offset.is_none();
    match &query.body {
        SetExpr::Select(select) if plain => {
            let items = select.items.iter();
            let aggregates = !select.group.is_empty()
                || select.having.is_some()
                || items
                    .filter_map(|item| match item {
                        SelectItem::Expr(expr, _) => Some(expr),
                        _ => None,
                    })
                    .any(contains_aggregate);
            (!aggregates && select.from.is_some()).then_some(select)
        }
        _ => None,
    }
}

impl Planner<'_> {
    /// The rows of `source` that WHERE accepts: first by its plain conditions, then by its subqueries in their order.
    pub(super) fn filtered(
        &self,
        source: Source,
        filter: &Expr,
        env: &Env,
    ) -> Result<Source, Error> {
        let (mut parts, at) = (Vec::new(), filter.position);
        conjuncts(filter, &mut parts);
        let (subqueries, plain): (Vec<&Expr>, Vec<&Expr>) =
            parts.into_iter().partition(|part| asked(part).is_some());
        let (mut rel, mut scope) = source;
        let analyzer = self.analyzer(&scope, None);
        let plain = plain.into_iter().map(|part| analyzer.boolean(part));
        let plain = plain.collect::<Result<Vec<Typed>, Error>>()?;
        let (joined, filter) = to_sides(rel, plain.into_iter().reduce(Typed::and))?;
        rel = joined;
        if let Some(filter) = filter {
            let ttl = match &rel.op {
                Op::Join { ttl, .. } => *ttl,
                _ => [None, None],
            };
            rel = apply_filter(rel, filter)?;
            check_ttl(&rel, ttl, at)?;
            // It may have made a join that keeps times.
            for ((_, known), field) in scope.columns.iter_mut().zip(&rel.fields) {
                known.role = field.role;
            }
        }
        let mut source = (rel, scope);
        for asked in subqueries.into_iter().filter_map(asked) {
            source = self.asked(&source, &asked, env)?;
        }
        Ok(source)
    }

    /// The rows of `source` for which a subquery has a row, or has none.
    fn asked(&self, source: &Source, asked: &Asked<'_>, env: &Env) -> Result<Source, Error> {
        let (inner, mut condition) = self.inner(source, asked, env)?;
        if let Some(value) = asked.value {
            let same = self.is_member(source, value, &inner, asked)?;
            condition = Some(match condition {
                None => same,
                Some(condition) => same.and(condition),
            });
        }
        let kind = if asked.negated {
            JoinKind::Anti
        } else {
            JoinKind::Semi
        };
        let (joined, mut scope) = joined(source, &inner, kind, condition, [None, None]);
        let n_left = source.1.columns.len();
        let mut items = joined.all();
        items.truncate(n_left);
        scope.columns.truncate(n_left);
        scope.n_around = source.1.n_around;
        Ok((Rel::calc(joined, None, items), scope))
    }

    /// The rows of a subquery, the column that is sought first, and what they have to do with the rows around them.
    fn inner(
        &self,
        around: &Source,
        asked: &Asked<'_>,
        env: &Env,
    ) -> Result<(Source, Option<Typed>), Error> {
        let Some(select) = correlated(asked.query) else {
            let rel = self.query(asked.query, env)?;
            let columns = rel.fields.iter().map(|field| (None, field.clone()));
            let scope = Scope::of(columns.collect());
            one_column(asked, rel.fields.len())?;
            return Ok(((rel, scope), None));
        };
        let Some(from) = &select.from else {
            return Err(Error::unsupported(
                "SELECT without FROM",
                select.position,
                "",
            ));
        };
        let mut source = self.from(from, env)?;
        let mut parts = Vec::new();
        if let Some(filter) = &select.filter {
            conjuncts(filter, &mut parts);
        }
        let mut outside = Vec::new();
        for part in parts {
            if asked_inside(part) || self.analyzer(&source.1, None).boolean(part).is_ok() {
                source = self.filtered(source, part, env)?;
            } else {
                outside.push(part);
            }
        }
        if asked.value.is_some() {
            source = self.sought(source, select, asked)?;
        }
        let mut columns = around.1.columns.clone();
        columns.extend(source.1.columns.iter().cloned());
        let both = Scope {
            columns,
            n_around: around.1.columns.len(),
        };
        let analyzer = self.analyzer(&both, None);
        let outside = outside.into_iter().map(|part| analyzer.boolean(part));
        let outside = outside.collect::<Result<Vec<Typed>, Error>>()?;
        Ok((source, outside.into_iter().reduce(Typed::and)))
    }

    /// `source` with the only column that `select` gives before all others.
    fn sought(
        &self,
        (rel, scope): Source,
        select: &Select,
        asked: &Asked<'_>,
    ) -> Result<Source, Error> {
        let first = match &select.items[..] {
            [SelectItem::Expr(expr, _)] => self.analyzer(&scope, None).expr(expr)?,
            [SelectItem::Star(_) | SelectItem::QualifiedStar(_)] => {
                one_column(asked, rel.fields.len())?;
                Typed::column(0, rel.fields[0].ty.clone())
            }
            items => {
                one_column(asked, items.len())?;
                return Err(Error::validation(
                    "a subquery after IN gives one column",
                    asked.at,
                ));
            }
        };
        let mut items = vec![("$sought".to_owned(), first)];
        items.extend(rel.all());
        let rel = Rel::calc(rel, None, items);
        let mut columns = vec![(None, rel.fields[0].clone())];
        columns.extend(scope.columns);
        Ok((rel, Scope::of(columns)))
    }

    /// Whether `value` is the first column of `inner`. What compares with NULL is unknown: it is no reason to be in, and
    /// none to be out.
    fn is_member(
        &self,
        source: &Source,
        value: &Expr,
        inner: &Source,
        asked: &Asked<'_>,
    ) -> Result<Typed, Error> {
        let value = self.analyzer(&source.1, None).expr(value)?;
        let member = Typed::column(source.1.columns.len(), inner.0.fields[0].ty.clone());
        let (value, member) = super::coerce::for_comparison(value, member, self.zone, asked.at)?;
        let same = compare(Operator::Eq, value.clone(), member.clone());
        if !asked.negated {
            return Ok(same);
        }
        let unknown = [value, member].into_iter().filter(|side| side.ty.nullable);
        Ok(unknown.fold(same, |known, side| either(known, is_null(side, false))))
    }
}

/// Whether a conjunct of a subquery asks a subquery of its own.
fn asked_inside(part: &Expr) -> bool {
    asked(part).is_some()
}

fn one_column(asked: &Asked<'_>, n_columns: usize) -> Result<(), Error> {
    if asked.value.is_some() && n_columns != 1 {
        return Err(Error::validation(
            format!("a subquery after IN gives one column, this one {n_columns}"),
            asked.at,
        ));
    }
    Ok(())
}
