//! SELECT: filters, grouping, projection, and set operations.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono_tz::Tz;

use super::expr::Analyzer;
use super::from::Source;
use super::group::grouped;
use super::group_window::{COLUMNS, GroupWindow, call_of, column};
use super::grouping::Grouping;
use super::joined::join_on;
use super::rel::{Field, Op, Rel, Role, WindowKind};
use super::scope::Scope;
use super::top_n::{Numbering, ranked, row_number, to_sides};
use super::typed::Typed;
use super::{Lookup, Planner, coerce};
use crate::error::{Error, Position};
use crate::graph::ChangelogMode;
use crate::sql::ast::{Expr, ExprKind, JoinKind, Query, Select, SelectItem, SetExpr, SetOperator};
use crate::table::{SqlType, TypeRoot};

/// What names mean where a query stands.
#[derive(Clone)]
pub(super) struct Env {
    pub(super) ctes: Vec<(String, Arc<Rel>)>,
    pub(super) catalog: String,
    pub(super) database: String,
    /// How many views deep.
    pub(super) depth: usize,
    /// The times to live that the `STATE_TTL` hints of this SELECT give, by the names of tables in its FROM.
    pub(super) state_ttl: BTreeMap<String, i64>,
}

impl Env {
    pub(super) fn here(lookup: &Lookup<'_>) -> Self {
        let (catalog, database) = lookup.here();
        Env {
            ctes: Vec::new(),
            catalog: catalog.to_owned(),
            database: database.to_owned(),
            depth: 0,
            state_ttl: BTreeMap::new(),
        }
    }

    pub(super) fn place(&self) -> (&str, &str) {
        (&self.catalog, &self.database)
    }
}

impl Planner<'_> {
    pub(super) fn query(&self, query: &Query, env: &Env) -> Result<Arc<Rel>, Error> {
        let mut env = env.clone();
        for (name, columns, inner) in &query.ctes {
            let rel = self.query(inner, &env)?;
            let rel = if columns.is_empty() {
                rel
            } else {
                if columns.len() != rel.fields.len() {
                    return Err(Error::validation(
                        "the WITH query has another number of columns",
                        name.position,
                    ));
                }
                let items = rel
                    .all()
                    .into_iter()
                    .zip(columns)
                    .map(|((_, expr), name)| (name.value.clone(), expr));
                let items = items.collect();
                Rel::calc(rel, None, items)
            };
            env.ctes.push((name.value.clone(), rel));
        }
        self.limited(query, &env)
    }

    pub(super) fn set(&self, body: &SetExpr, env: &Env) -> Result<Arc<Rel>, Error> {
        match body {
            SetExpr::Select(select) => self.select(select, env),
            SetExpr::Nested(query) => self.query(query, env),
            SetExpr::Values(rows, position) => self.values(rows, *position),
            SetExpr::Set {
                operator,
                all,
                left,
                right,
                position,
            } => {
                if *operator != SetOperator::Union {
                    return Err(Error::unsupported(format!("{operator:?}"), *position, ""));
                }
                let union = union(
                    [&self.set(left, env)?, &self.set(right, env)?],
                    self.zone,
                    *position,
                )?;
                Ok(if *all { union } else { distinct(union) })
            }
        }
    }

    pub(super) fn select(&self, select: &Select, env: &Env) -> Result<Arc<Rel>, Error> {
        let (mut rel, mut scope) = match &select.from {
            None => super::values::no_table(),
            Some(from) => {
                let state_ttl = super::hints::state_ttl(&select.hints, from)?;
                let env = env.clone();
                self.from(from, &Env { state_ttl, ..env })?
            }
        };
        let at = select
            .from
            .as_ref()
            .map_or(select.position, |from| from.position);
        check_session(&rel, select, at)?;
        (rel, scope) = match &select.filter {
            Some(filter) => self.filtered((rel, scope), filter, env)?,
            None => (to_sides(rel, None)?.0, scope),
        };
        if aggregates(select) {
            let (source, window) = self.group_window((rel, scope), select)?;
            return self.aggregate(select, &source, window.as_ref());
        }
        let numbered = self.row_numbers(select, &mut rel, &mut scope)?;
        let overs = super::over::grouping(select, rel.fields.len());
        let analyzer = self.analyzer(&scope, Some(&overs));
        let mut items = Vec::new();
        for item in &select.items {
            match item {
                SelectItem::Expr(expr, alias) => {
                    super::values::refuse_null(expr)?;
                    let typed = match (&numbered, row_number(expr)) {
                        (Some(column), Some(_)) => {
                            Typed::column(*column, rel.fields[*column].ty.clone())
                        }
                        _ => analyzer.expr(expr)?,
                    };
                    let name = alias
                        .as_ref()
                        .map_or_else(|| derived(expr, items.len()), |alias| alias.value.clone());
                    items.push((name, typed));
                }
                _ => items.extend(stars(item, &scope)?),
            }
        }
        let rel = self.with_overs(rel, &scope, &overs, &mut items)?;
        let projected = Rel::calc(rel, None, items);
        Ok(if select.distinct {
            distinct(projected)
        } else {
            projected
        })
    }

    pub(super) fn analyzer<'s>(
        &self,
        scope: &'s Scope,
        grouping: Option<&'s Grouping>,
    ) -> Analyzer<'s> {
        Analyzer {
            scope,
            grouping,
            zone: self.zone,
        }
    }

    /// The rows of each grouping set; without sets all that is grouped by is one.
    fn aggregate(
        &self,
        select: &Select,
        source: &Source,
        window: Option<&GroupWindow>,
    ) -> Result<Arc<Rel>, Error> {
        let all = || vec![(0..select.group.len()).collect()];
        let sets = select.grouping_sets.clone().unwrap_or_else(all);
        let mut united: Option<Arc<Rel>> = None;
        for set in &sets {
            let of_set = self.aggregate_set(select, source, window, set)?;
            united = Some(match united {
                None => of_set,
                Some(before) => union([&before, &of_set], self.zone, select.position)?,
            });
        }
        let result = united.ok_or_else(|| Error::failed("GROUP BY without a set"))?;
        Ok(if select.distinct {
            distinct(result)
        } else {
            result
        })
    }

    /// Groups by the expressions at `set`; the others that are grouped by are NULL.
    fn aggregate_set(
        &self,
        select: &Select,
        (rel, scope): &Source,
        window: Option<&GroupWindow>,
        set: &[usize],
    ) -> Result<Arc<Rel>, Error> {
        let plain = self.analyzer(scope, None);
        let mut grouping = Grouping {
            window: window.cloned(),
            ..Grouping::default()
        };
        let mut names = Vec::new();
        for at in set {
            for (expr, name) in columns_of(&select.group[*at], *at) {
                let typed = plain.expr(&expr)?;
                if select.grouping_sets.is_none() || !grouping.groups.contains(&typed) {
                    grouping.groups.push(typed);
                    names.push(name);
                }
            }
        }
        for (expr, _) in select.group.iter().flat_map(|expr| columns_of(expr, 0)) {
            let typed = plain.expr(&expr)?;
            if !grouping.groups.contains(&typed) {
                grouping.absent.push(typed);
            }
        }
        let analyzer = self.analyzer(scope, Some(&grouping));
        let mut items = Vec::new();
        for item in &select.items {
            let SelectItem::Expr(expr, alias) = item else {
                return Err(Error::validation(
                    "* cannot be used with GROUP BY or aggregates",
                    select.position,
                ));
            };
            let name = alias
                .as_ref()
                .map_or_else(|| derived(expr, items.len()), |alias| alias.value.clone());
            let typed = match row_number(expr) {
                // Its column is known when the rows are grouped.
                Some(_) => Typed::column(0, SqlType::required(TypeRoot::BigInt)),
                None => analyzer.expr(expr)?,
            };
            items.push((name, typed));
        }
        let numbering = Numbering::of(select, &analyzer)?;
        if numbering.is_some() && select.grouping_sets.is_some() {
            return Err(Error::unsupported(
                "ROW_NUMBER beside aggregates of several grouping sets",
                select.position,
                "; number them in an outer query",
            ));
        }
        let mut having = select
            .having
            .as_ref()
            .map(|having| analyzer.boolean(having))
            .transpose()?;
        let mut below = grouped(rel, &grouping, &names, select.position)?;
        if let Some(numbering) = numbering {
            below = numbering.above(below, having.take())?;
            let number = below.fields.len() - 1;
            for (item, (_, typed)) in select.items.iter().zip(&mut items) {
                if matches!(item, SelectItem::Expr(expr, _) if row_number(expr).is_some()) {
                    *typed = Typed::column(number, typed.ty.clone());
                }
            }
        }
        Ok(Rel::calc(below, having, items))
    }
}

/// What is grouped by for `expr`, with its names: itself, or the columns of an old group window.
fn columns_of(expr: &Expr, at: usize) -> Vec<(Expr, String)> {
    if call_of(expr).is_none() {
        return vec![(expr.clone(), derived(expr, at))];
    }
    let columns = COLUMNS.iter();
    let columns = columns.map(|(known, name)| (column(known, expr.position), (*name).to_owned()));
    columns.collect()
}

fn aggregates(select: &Select) -> bool {
    !select.group.is_empty()
        || select.grouping_sets.is_some()
        || select.having.is_some()
        || select.items.iter().any(has_aggregate)
}

/// Sessions are known when they are over: only an aggregation can tell their windows.
fn check_session(rel: &Rel, select: &Select, at: Position) -> Result<(), Error> {
    let is_session = matches!(
        rel.op,
        Op::Window {
            kind: WindowKind::Session { .. },
            ..
        }
    );
    let what = match (is_session, &select.filter) {
        (true, Some(_)) => "WHERE over SESSION windows",
        (true, None) if !aggregates(select) => "SESSION windows that are not aggregated",
        _ => return Ok(()),
    };
    Err(Error::unsupported(what, at, ""))
}

fn has_aggregate(item: &SelectItem) -> bool {
    matches!(item, SelectItem::Expr(expr, _) if contains_aggregate(expr))
}

pub(super) fn contains_aggregate(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Call(call) => {
            (super::is_aggregate(&call.name) && call.over.is_none())
                || call.args.iter().any(contains_aggregate)
        }
        ExprKind::Not(a)
        | ExprKind::Negate(a)
        | ExprKind::IsNull(a, _)
        | ExprKind::IsTruth(a, ..)
        | ExprKind::Field(a, _)
        | ExprKind::IsJson(a, ..) => contains_aggregate(a),
        ExprKind::Cast { value, .. } | ExprKind::Like { value, .. } => contains_aggregate(value),
        ExprKind::Binary(_, a, b)
        | ExprKind::IsDistinct(a, b, _)
        | ExprKind::Index(a, b)
        | ExprKind::AtTimeZone(a, b) => contains_aggregate(a) || contains_aggregate(b),
        ExprKind::Between(a, b, c, _) => {
            [a, b, c].into_iter().any(|inner| contains_aggregate(inner))
        }
        ExprKind::InList(a, list, _) => {
            contains_aggregate(a) || list.iter().any(contains_aggregate)
        }
        ExprKind::Array(list) | ExprKind::Map(list) | ExprKind::Row(list) => {
            list.iter().any(contains_aggregate)
        }
        ExprKind::Case {
            operand,
            branches,
            otherwise,
        } => {
            operand.as_deref().is_some_and(contains_aggregate)
                || otherwise.as_deref().is_some_and(contains_aggregate)
                || branches
                    .iter()
                    .any(|(when, then)| contains_aggregate(when) || contains_aggregate(then))
        }
        _ => false,
    }
}

/// The name of an item without alias.
fn derived(expr: &Expr, position: usize) -> String {
    match &expr.kind {
        ExprKind::Name(path) => path[path.len() - 1].value.clone(),
        ExprKind::Field(_, name) => name.value.clone(),
        _ => format!("EXPR${position}"),
    }
}

fn stars(item: &SelectItem, scope: &Scope) -> Result<Vec<(String, Typed)>, Error> {
    let (wanted, at) = match item {
        SelectItem::QualifiedStar(table) => (Some(table), table.position),
        SelectItem::Star(at) => (None, *at),
        SelectItem::Expr(expr, _) => (None, expr.position),
    };
    let items: Vec<(String, Typed)> = scope
        .columns
        .iter()
        .enumerate()
        .filter(|(_, (name, _))| name.as_deref() != Some("$"))
        .filter(|(_, (name, _))| wanted.is_none_or(|table| name.as_ref() == Some(&table.value)))
        .map(|(index, (_, field))| (field.name.clone(), Typed::column(index, field.ty.clone())))
        .collect();
    match wanted {
        Some(table) if items.is_empty() => Err(Error::validation(
            format!("unknown table `{}`", table.value),
            at,
        )),
        None if items.is_empty() => Err(Error::validation("SELECT * needs a FROM", at)),
        _ => Ok(items),
    }
}

/// DISTINCT: grouping by every column.
fn distinct(rel: Arc<Rel>) -> Arc<Rel> {
    let mut fields = rel.fields.clone();
    for field in &mut fields {
        field.role = Role::Plain;
    }
    let changes = rel.changes;
    Arc::new(Rel {
        op: Op::GroupAggregate {
            keys: (0..fields.len()).collect(),
            calls: Vec::new(),
        },
        inputs: vec![rel],
        fields,
        changes,
    })
}

fn union([left, right]: [&Arc<Rel>; 2], zone: Tz, at: Position) -> Result<Arc<Rel>, Error> {
    if left.fields.len() != right.fields.len() {
        return Err(Error::validation(
            "both sides of UNION need the same number of columns",
            at,
        ));
    }
    let mut fields = Vec::new();
    for (left, right) in left.fields.iter().zip(&right.fields) {
        let ty = coerce::least_restrictive(&left.ty, &right.ty).ok_or_else(|| {
            Error::validation(
                format!(
                    "UNION of {} and {} for column `{}`",
                    left.ty, right.ty, left.name
                ),
                at,
            )
        })?;
        fields.push(Field {
            name: left.name.clone(),
            ty,
            role: if left.role == right.role {
                left.role
            } else {
                Role::Plain
            },
        });
    }
    let mut inputs = Vec::new();
    for side in [left, right] {
        let items = side
            .all()
            .into_iter()
            .zip(&fields)
            .map(|((_, expr), field)| Ok((field.name.clone(), coerce::to(expr, &field.ty, zone)?)))
            .collect::<Result<Vec<_>, Error>>()?;
        inputs.push(Rel::calc(side.clone(), None, items));
    }
    let append = left.is_append() && right.is_append();
    Ok(Arc::new(Rel {
        op: Op::Union,
        inputs,
        fields,
        changes: if append {
            ChangelogMode::InsertOnly
        } else {
            ChangelogMode::Retract
        },
    }))
}

/// WHERE: a part of a cross join's condition goes to the side that it is about, the rest makes it a join on it; a row
/// number with an end makes Top-N.
pub(super) fn apply_filter(rel: Arc<Rel>, filter: Typed) -> Result<Arc<Rel>, Error> {
    if let Op::Join {
        kind: JoinKind::Cross,
        left_keys,
        condition: None,
        ttl,
        ..
    } = &rel.op
        && left_keys.is_empty()
    {
        return join_on(&rel.inputs, filter, *ttl);
    }
    let ranked = ranked(&rel, &filter)?;
    Ok(ranked.unwrap_or_else(|| Rel::filter(rel, filter)))
}
