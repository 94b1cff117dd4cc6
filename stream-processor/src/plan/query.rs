//! SELECT: filters, grouping, row numbers, projection, and set operations.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono_tz::Tz;
use datafusion_expr_common::operator::Operator;

use super::condition::conjuncts;
use super::expr::{Analyzer, Grouping, whole};
use super::group::grouped;
use super::joined::join_on;
use super::rel::{Field, Op, Rel, Role};
use super::scope::Scope;
use super::typed::{Typed, TypedKind};
use super::{Lookup, Planner, coerce};
use crate::error::{Error, Position};
use crate::graph::ChangelogMode;
use crate::sql::ast::{
    Expr, ExprKind, JoinKind, Over, Query, Select, SelectItem, SetExpr, SetOperator,
};
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
        if let Some(order) = query.order.first() {
            return Err(Error::unsupported(
                "ORDER BY of a whole query",
                order.expr.position,
                "; sort when you read the result",
            ));
        }
        if let Some(limit) = query.limit.as_ref().or(query.offset.as_ref()) {
            return Err(Error::unsupported("LIMIT", limit.position, ""));
        }
        self.set(&query.body, &env)
    }

    fn set(&self, body: &SetExpr, env: &Env) -> Result<Arc<Rel>, Error> {
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

    fn select(&self, select: &Select, env: &Env) -> Result<Arc<Rel>, Error> {
        let (mut rel, mut scope) = match &select.from {
            None => super::values::no_table(),
            Some(from) => {
                let state_ttl = super::hints::state_ttl(&select.hints, from)?;
                let env = env.clone();
                self.from(from, &Env { state_ttl, ..env })?
            }
        };
        if let Some(filter) = &select.filter {
            (rel, scope) = self.filtered((rel, scope), filter, env)?;
        }
        let aggregates = !select.group.is_empty()
            || select.having.is_some()
            || select.items.iter().any(has_aggregate);
        if aggregates {
            return self.aggregate(select, &rel, &scope);
        }
        let numbered = self.row_numbers(select, &mut rel, &mut scope)?;
        let analyzer = self.analyzer(&scope, None);
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

    /// Puts a row number below the projection if an item asks for one; gives its column.
    fn row_numbers(
        &self,
        select: &Select,
        rel: &mut Arc<Rel>,
        scope: &mut Scope,
    ) -> Result<Option<usize>, Error> {
        let mut found: Option<(&Over, Position)> = None;
        for item in &select.items {
            if let SelectItem::Expr(expr, _) = item
                && let Some(over) = row_number(expr)
            {
                if found.is_some() {
                    return Err(Error::unsupported("a second ROW_NUMBER", expr.position, ""));
                }
                found = Some((over, expr.position));
            }
        }
        let Some((over, at)) = found else {
            return Ok(None);
        };
        let mut items = rel.all();
        let width = items.len();
        let analyzer = self.analyzer(scope, None);
        let mut partition = Vec::new();
        for expr in &over.partition {
            let typed = analyzer.expr(expr)?;
            partition.push(match typed.kind {
                TypedKind::Column(column) => column,
                _ => {
                    items.push((format!("$partition{}", items.len()), typed));
                    items.len() - 1
                }
            });
        }
        let order = match &over.order[..] {
            [order] => match analyzer.expr(&order.expr)?.kind {
                TypedKind::Column(column)
                    if matches!(rel.fields[column].role, Role::Rowtime | Role::Proctime) =>
                {
                    Some((column, order.descending))
                }
                _ => None,
            },
            _ => None,
        };
        check_row_number(order.is_some() && !over.framed, rel.is_append(), at)?;
        let input = if items.len() > width {
            Rel::calc(rel.clone(), None, items)
        } else {
            rel.clone()
        };
        let mut fields = input.fields.clone();
        fields.push(Field::plain(
            "$row_number",
            SqlType::required(TypeRoot::BigInt),
        ));
        let number = fields.len() - 1;
        for field in fields.iter().skip(width) {
            scope.columns.push((Some("$".to_owned()), field.clone()));
        }
        let changes = input.changes;
        *rel = Arc::new(Rel {
            op: Op::RowNumber { partition, order },
            inputs: vec![input],
            fields,
            changes,
        });
        Ok(Some(number))
    }

    /// The rows of each grouping set; without sets all that is grouped by is one.
    fn aggregate(&self, select: &Select, rel: &Arc<Rel>, scope: &Scope) -> Result<Arc<Rel>, Error> {
        let all = || vec![(0..select.group.len()).collect()];
        let sets = select.grouping_sets.clone().unwrap_or_else(all);
        let mut united: Option<Arc<Rel>> = None;
        for set in &sets {
            let of_set = self.aggregate_set(select, rel, scope, set)?;
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
        rel: &Arc<Rel>,
        scope: &Scope,
        set: &[usize],
    ) -> Result<Arc<Rel>, Error> {
        let plain = self.analyzer(scope, None);
        let mut grouping = Grouping::default();
        let mut names = Vec::new();
        for at in set {
            let expr = &select.group[*at];
            let typed = plain.expr(expr)?;
            if select.grouping_sets.is_none() || !grouping.groups.contains(&typed) {
                grouping.groups.push(typed);
                names.push(derived(expr, *at));
            }
        }
        for expr in &select.group {
            let typed = plain.expr(expr)?;
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
            items.push((name, analyzer.expr(expr)?));
        }
        let having = select
            .having
            .as_ref()
            .map(|having| analyzer.boolean(having))
            .transpose()?;
        let grouped = grouped(rel, &grouping, &names, select.position)?;
        Ok(Rel::calc(grouped, having, items))
    }
}

fn row_number(expr: &Expr) -> Option<&Over> {
    match &expr.kind {
        ExprKind::Call(call) if call.name == "ROW_NUMBER" => call.over.as_ref(),
        _ => None,
    }
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

/// What deduplication can be made of: rows in the order of their time that nothing takes back.
fn check_row_number(by_time: bool, is_append: bool, at: Position) -> Result<(), Error> {
    let (what, hint) = match (by_time, is_append) {
        (false, _) => (
            "ROW_NUMBER ordered by anything but one time attribute",
            "; Top-N is not offered yet",
        ),
        (true, false) => (
            "ROW_NUMBER over rows that are updated or deleted",
            "; number the rows before they are joined or aggregated",
        ),
        (true, true) => return Ok(()),
    };
    Err(Error::unsupported(what, at, hint))
}

/// WHERE: a part of a cross join's condition goes to the side that it is about, the rest makes it a join on it; `row
/// number = 1` makes a deduplication.
pub(super) fn apply_filter(rel: Arc<Rel>, filter: Typed) -> Arc<Rel> {
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
    dedup(&rel, &filter).unwrap_or_else(|| Rel::filter(rel, filter))
}

/// `ROW_NUMBER() OVER (PARTITION BY … ORDER BY time) = 1`.
#[expect(clippy::too_many_lines, reason = "one pattern, matched and replaced")]
fn dedup(rel: &Arc<Rel>, filter: &Typed) -> Option<Arc<Rel>> {
    let Op::Calc {
        filter: None,
        exprs,
    } = &rel.op
    else {
        return None;
    };
    let numbered = &rel.inputs[0];
    let Op::RowNumber {
        partition,
        order: Some((order, descending)),
    } = &numbered.op
    else {
        return None;
    };
    let number = numbered.fields.len() - 1;
    let is_number = |expr: &Typed| match expr.kind {
        TypedKind::Column(column) => {
            matches!(exprs[column].kind, TypedKind::Column(found) if found == number)
        }
        _ => false,
    };
    let mut parts = Vec::new();
    conjuncts(filter.clone(), &mut parts);
    let before = parts.len();
    parts.retain(|part| {
        !matches!(&part.kind, TypedKind::Binary(op, left, right)
            if (is_number(left) && whole(right) == Some(1) && matches!(op, Operator::Eq | Operator::LtEq))
                || (is_number(left) && whole(right) == Some(2) && *op == Operator::Lt)
                || (is_number(right) && whole(left) == Some(1) && *op == Operator::Eq))
    });
    if parts.len() == before {
        return None;
    }
    let input = &numbered.inputs[0];
    let proctime = input.fields[*order].role == Role::Proctime;
    let changes = if *descending {
        ChangelogMode::Retract
    } else {
        ChangelogMode::InsertOnly
    };
    let one = Arc::new(Rel {
        op: Op::Dedup {
            keys: partition.clone(),
            order: (!proctime).then_some(*order),
            keep_last: *descending,
        },
        inputs: vec![input.clone()],
        fields: input.fields.clone(),
        changes,
    });
    let items = rel
        .fields
        .iter()
        .zip(exprs)
        .map(|(field, expr)| {
            let expr = expr.rewrite(&mut |inner| match inner.kind {
                TypedKind::Column(column) if column == number => Some(Typed::literal(
                    1_i64.into(),
                    SqlType::required(TypeRoot::BigInt),
                )),
                _ => None,
            });
            (field.name.clone(), expr)
        })
        .collect();
    let projected = Rel::calc(one, None, items);
    let rest = parts.into_iter().reduce(Typed::and);
    Some(match rest {
        None => projected,
        Some(rest) => Rel::filter(projected, rest),
    })
}
