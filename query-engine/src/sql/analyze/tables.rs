//! Which tables a statement names: found before analysis, because looking them up needs the network.

use crate::failure::{Code, Failure, Pos, Result};
use crate::sql::ast::{
    Body, Expr, Item, Kind, Name, On, Over, Query, Relation, RelationKind, Version,
};

use super::Environment;

/// A table as a statement names it: catalog, schema, table and the time-travel clause.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct TableKey {
    pub(crate) catalog: String,
    pub(crate) schema: String,
    pub(crate) table: String,
    pub(crate) version: Option<Version>,
}

/// Fills in the session's catalog and schema.
pub(crate) fn key(
    name: &Name,
    version: Option<&Version>,
    environment: &Environment,
) -> Result<TableKey> {
    let values: Vec<&str> = name.parts.iter().map(|part| part.value.as_str()).collect();
    let pos = name.pos();
    let catalog = || {
        environment.catalog.as_deref().ok_or_else(|| {
            Failure::at(
                Code::MissingCatalogName,
                pos,
                "Catalog must be specified when session catalog is not set",
            )
        })
    };
    let (catalog, schema, table) = match values.as_slice() {
        [table] => {
            let schema = environment.schema.as_deref().ok_or_else(|| {
                Failure::at(
                    Code::MissingSchemaName,
                    pos,
                    "Schema must be specified when session schema is not set",
                )
            })?;
            (catalog()?, schema, *table)
        }
        [schema, table] => (catalog()?, *schema, *table),
        [catalog, schema, table] => (*catalog, *schema, *table),
        _ => {
            return Err(Failure::at(
                Code::SyntaxError,
                pos,
                format!("Too many dots in table name: {}", name.text()),
            ));
        }
    };
    Ok(TableKey {
        catalog: catalog.into(),
        schema: schema.into(),
        table: table.into(),
        version: version.cloned(),
    })
}

/// Every table reference in a query, common table expressions included (they are told apart in analysis).
pub(crate) fn references(query: &Query, environment: &Environment) -> Vec<(TableKey, Pos)> {
    let mut keys = Vec::new();
    walk(query, &mut |name, version| {
        if let Ok(key) = key(name, version, environment)
            && !keys.iter().any(|(known, _)| *known == key)
        {
            keys.push((key, name.pos()));
        }
    });
    keys
}

type Visit<'v> = dyn FnMut(&Name, Option<&Version>) + 'v;

/// Visits every table name in a query.
pub(crate) fn walk(query: &Query, visit: &mut Visit<'_>) {
    for cte in &query.with {
        walk(&cte.query, visit);
    }
    body(&query.body, visit);
    query
        .order_by
        .iter()
        .for_each(|item| expr(&item.expr, visit));
}

fn body(node: &Body, visit: &mut Visit<'_>) {
    match node {
        Body::Select(select) => {
            for item in &select.items {
                if let Item::Expr(value, _) | Item::Qualified(value, _) = item {
                    expr(value, visit);
                }
            }
            if let Some(from) = &select.from {
                relation(from, visit);
            }
            select
                .filter
                .iter()
                .chain(&select.having)
                .for_each(|value| expr(value, visit));
        }
        Body::Values(rows) => rows.iter().for_each(|row| expr(row, visit)),
        Body::Table(name) => visit(name, None),
        Body::Query(query) => walk(query, visit),
        Body::Set { left, right, .. } => {
            body(left, visit);
            body(right, visit);
        }
    }
}

fn relation(node: &Relation, visit: &mut Visit<'_>) {
    match node.kind.as_ref() {
        RelationKind::Table { name, version } => visit(name, version.as_ref()),
        RelationKind::Subquery(query) | RelationKind::Lateral(query) => walk(query, visit),
        RelationKind::Unnest { exprs, .. } => exprs.iter().for_each(|value| expr(value, visit)),
        RelationKind::Nested(inner) => relation(inner, visit),
        RelationKind::Join {
            left, right, on, ..
        } => {
            relation(left, visit);
            relation(right, visit);
            if let On::Expr(on) = on {
                expr(on, visit);
            }
        }
    }
}

fn expr(node: &Expr, visit: &mut Visit<'_>) {
    match node.kind.as_ref() {
        Kind::Subquery(query) | Kind::Exists(query) => walk(query, visit),
        Kind::InQuery(left, query) | Kind::Quantified { left, query, .. } => {
            expr(left, visit);
            walk(query, visit);
        }
        _ => children(node, &mut |child| expr(child, visit)),
    }
}

/// Calls `visit` with each direct sub-expression.
#[expect(
    clippy::too_many_lines,
    reason = "one arm a case of the dialect, each a plain construction"
)]
pub(crate) fn children(node: &Expr, visit: &mut dyn FnMut(&Expr)) {
    match node.kind.as_ref() {
        Kind::Dereference(a, _)
        | Kind::Negate(a)
        | Kind::Not(a)
        | Kind::IsNull(a)
        | Kind::IsTruth(a, _)
        | Kind::Cast { expr: a, .. }
        | Kind::Lambda(_, a)
        | Kind::Extract(_, a)
        | Kind::Json { input: a, .. }
        | Kind::InQuery(a, _)
        | Kind::Quantified { left: a, .. } => visit(a),
        Kind::Arith(_, a, b)
        | Kind::Compare(_, a, b)
        | Kind::Distinct(a, b)
        | Kind::AtTimeZone(a, b)
        | Kind::Subscript(a, b) => {
            visit(a);
            visit(b);
        }
        Kind::Concat(all) | Kind::And(all) | Kind::Or(all) | Kind::Array(all) | Kind::Row(all) => {
            all.iter().for_each(visit);
        }
        Kind::InList(a, all) => {
            visit(a);
            all.iter().for_each(visit);
        }
        Kind::Between {
            expr, low, high, ..
        } => [expr, low, high].into_iter().for_each(visit),
        Kind::Like {
            expr,
            pattern,
            escape,
        } => {
            visit(expr);
            visit(pattern);
            escape.iter().for_each(visit);
        }
        Kind::Case {
            operand,
            whens,
            otherwise,
        } => {
            operand.iter().for_each(&mut *visit);
            whens
                .iter()
                .flat_map(|(when, then)| [when, then])
                .for_each(&mut *visit);
            otherwise.iter().for_each(visit);
        }
        Kind::Call(call) => {
            call.args.iter().for_each(&mut *visit);
            call.order_by
                .iter()
                .map(|item| &item.expr)
                .for_each(&mut *visit);
            call.filter.iter().for_each(&mut *visit);
            if let Some(Over::Spec(window)) = &call.over {
                window.partition_by.iter().for_each(&mut *visit);
                window
                    .order_by
                    .iter()
                    .map(|item| &item.expr)
                    .for_each(visit);
            }
        }
        Kind::Null
        | Kind::Boolean(_)
        | Kind::Text(_)
        | Kind::Bytes(_)
        | Kind::Integer(_)
        | Kind::Decimal(_)
        | Kind::Double(_)
        | Kind::Typed(..)
        | Kind::Interval { .. }
        | Kind::Parameter(_)
        | Kind::Ident(_)
        | Kind::Exists(_)
        | Kind::Subquery(_)
        | Kind::Special(..) => {}
    }
}
