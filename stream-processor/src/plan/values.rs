//! VALUES, and SELECT without FROM: rows that no table has.
//!
//! Both read a source of row numbers, which is bounded and remembers how far it was read; see
//! [`crate::operators::values`].

use std::sync::Arc;

use super::expr::Analyzer;
use super::from::Source;
use super::rel::{Field, Op, Rel};
use super::scope::Scope;
use super::typed::Typed;
use super::{Planner, coerce, source};
use crate::error::{Error, Position};
use crate::sql::ast::{Expr, ExprKind, Literal};
use crate::sql::{DEFAULT_CATALOG, DEFAULT_DATABASE};
use crate::table::{Column, ColumnKind, SqlType, TableDefinition, TablePath, TypeRoot};

/// The column of the row numbers.
const NUMBER: &str = "$row";

impl Planner<'_> {
    /// `VALUES (…), (…)`: columns `EXPR$0`, `EXPR$1`, … of the types that all rows share.
    pub(super) fn values(&self, rows: &[Vec<Expr>], at: Position) -> Result<Arc<Rel>, Error> {
        let scope = Scope::default();
        let analyzer = Analyzer {
            scope: &scope,
            grouping: None,
            zone: self.zone,
        };
        let rows: Vec<&[Expr]> = rows.iter().map(|row| fields_of(row)).collect();
        let width = rows.first().map_or(0, |row| row.len());
        let mut typed: Vec<Vec<Typed>> = Vec::with_capacity(rows.len());
        for row in &rows {
            if row.len() != width {
                let at = row.first().map_or(at, |first| first.position);
                return Err(Error::validation(
                    format!(
                        "a row of VALUES has {} values, the first {width}",
                        row.len()
                    ),
                    at,
                ));
            }
            row.iter().try_for_each(refuse_null)?;
            let row = row.iter().map(|value| analyzer.expr(value));
            typed.push(row.collect::<Result<_, _>>()?);
        }
        let mut fields = Vec::with_capacity(width);
        for column in 0..width {
            let ty = column_type(&rows, &typed, column)?;
            for row in &mut typed {
                row[column] = coerce::to(row[column].clone(), &ty, self.zone)?;
            }
            fields.push(Field::plain(format!("EXPR${column}"), ty));
        }
        let numbers = numbers(rows.len());
        let changes = numbers.changes;
        Ok(Arc::new(Rel {
            op: Op::Values(typed),
            inputs: vec![numbers],
            fields,
            changes,
        }))
    }
}

/// The values of a row, which may also be written `(ROW(…))`.
fn fields_of(row: &[Expr]) -> &[Expr] {
    match row {
        [
            Expr {
                kind: ExprKind::Row(fields),
                ..
            },
        ] => fields,
        _ => row,
    }
}

/// The type that a column of VALUES has in all rows.
fn column_type(rows: &[&[Expr]], typed: &[Vec<Typed>], column: usize) -> Result<SqlType, Error> {
    let mut found: Option<SqlType> = None;
    for (row, typed) in rows.iter().zip(typed) {
        let ty = &typed[column].ty;
        found = Some(match found {
            None => ty.clone(),
            Some(before) => coerce::least_restrictive(&before, ty).ok_or_else(|| {
                Error::validation(
                    format!("VALUES: {before} and {ty} have no common type"),
                    row[column].position,
                )
            })?,
        });
    }
    Ok(found.unwrap_or_else(SqlType::string))
}

/// What a query without FROM reads: one row, whose column has no name there.
pub(super) fn no_table() -> Source {
    let rel = numbers(1);
    let columns = rel.fields.iter();
    let columns = columns.map(|field| (Some("$".to_owned()), field.clone()));
    let scope = Scope::of(columns.collect());
    (rel, scope)
}

/// Refuses a bare NULL, as Flink does where nothing says of which type it is.
pub(super) fn refuse_null(expr: &Expr) -> Result<(), Error> {
    match expr.kind {
        ExprKind::Literal(Literal::Null) => Err(Error::validation(
            "Illegal use of 'NULL': CAST it to the type that it stands for",
            expr.position,
        )),
        _ => Ok(()),
    }
}

/// The numbers of `n_rows` rows, from 0.
fn numbers(n_rows: usize) -> Arc<Rel> {
    let options = [
        ("connector", "datagen".to_owned()),
        ("rows-per-second", "1000000000".to_owned()),
        (&format!("fields.{NUMBER}.kind"), "sequence".to_owned()),
        (&format!("fields.{NUMBER}.start"), "0".to_owned()),
        (
            &format!("fields.{NUMBER}.end"),
            (n_rows.max(1) - 1).to_string(),
        ),
    ];
    source::scan(Arc::new(TableDefinition {
        path: path(),
        columns: vec![Column {
            name: NUMBER.to_owned(),
            data_type: SqlType::required(TypeRoot::BigInt),
            kind: ColumnKind::Physical,
        }],
        watermark: None,
        primary_key: Vec::new(),
        partitioned_by: Vec::new(),
        options: options.map(|(key, value)| (key.to_owned(), value)).into(),
    }))
}

fn path() -> TablePath {
    TablePath {
        catalog: DEFAULT_CATALOG.to_owned(),
        database: DEFAULT_DATABASE.to_owned(),
        table: "Values".to_owned(),
    }
}

/// Whether `table` numbers the rows of VALUES, which come in their order.
pub(super) fn is_numbers(table: &TableDefinition) -> bool {
    table.columns.iter().any(|column| column.name == NUMBER) && table.path == path()
}
