//! INSERT: brings a query's columns to those of the table, and refuses what the table cannot take.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::Array;

use super::Planner;
use super::coerce::{is_integer, is_numeric, is_text};
use super::query::Env;
use super::rel::{Rel, Role};
use super::typed::{Kernel, Typed};
use crate::error::{Error, Position};
use crate::functions::{cast, failed};
use crate::sql::Relation;
use crate::sql::ast::{Ident, Insert};
use crate::table::{Column, ColumnKind, SqlType, TableDefinition, TablePath, TypeRoot};

/// The columns that a sink takes: all but computed and virtual ones.
pub(crate) fn written(table: &TableDefinition) -> Vec<&Column> {
    table
        .columns
        .iter()
        .filter(|column| match column.kind {
            ColumnKind::Physical => true,
            ColumnKind::Metadata { is_virtual, .. } => !is_virtual,
            ColumnKind::Computed(_) => false,
        })
        .collect()
}

impl Planner<'_> {
    /// The rows to write, in the table's columns, and the table with its hints.
    #[expect(clippy::too_many_lines, reason = "one check after the other")]
    pub(super) fn insert(
        &self,
        insert: &Insert,
    ) -> Result<(Arc<Rel>, Arc<TableDefinition>, bool), Error> {
        let env = Env::here(self.lookup);
        let at = insert.path[0].position;
        let table = match self.lookup.find(&insert.path, env.place())? {
            (_, Relation::Table(table)) => table,
            (path, Relation::View(_)) => {
                return Err(Error::validation(
                    format!("{path} is a view and cannot be written"),
                    at,
                ));
            }
        };
        let table = super::hints::with_hints(table, &insert.hints)?;
        let query = self.query(&insert.query, &env)?;
        let columns = written(&table);
        let mut targets: Vec<usize> = (0..columns.len()).collect();
        let position_of = |ident: &Ident| {
            columns
                .iter()
                .position(|column| column.name == ident.value)
                .ok_or_else(|| {
                    Error::validation(
                        format!("no column `{}` in {}", ident.value, table.path),
                        ident.position,
                    )
                })
        };
        if !insert.columns.is_empty() {
            targets = insert
                .columns
                .iter()
                .map(position_of)
                .collect::<Result<_, _>>()?;
        }
        let mut values: Vec<Option<Typed>> = vec![None; columns.len()];
        let analyzer_scope = super::scope::Scope::default();
        let analyzer = super::expr::Analyzer {
            scope: &analyzer_scope,
            grouping: None,
            zone: self.zone,
        };
        for (ident, value) in &insert.partition {
            let column = position_of(ident)?;
            targets.retain(|target| *target != column);
            values[column] = Some(analyzer.expr(value)?);
        }
        if targets.len() != query.fields.len() {
            return Err(Error::validation(
                format!(
                    "{} takes {} columns, the query has {}",
                    table.path,
                    targets.len(),
                    query.fields.len()
                ),
                insert.position,
            ));
        }
        for (index, target) in targets.iter().enumerate() {
            values[*target] = Some(Typed::column(index, query.fields[index].ty.clone()));
        }
        let mut items = Vec::with_capacity(columns.len());
        for (column, value) in columns.iter().zip(values) {
            let value = match value {
                Some(value) => value,
                None => Typed::null(&column.data_type)?,
            };
            items.push((
                column.name.clone(),
                self.store(value, column, insert.position)?,
            ));
        }
        let rowtimes = query
            .fields
            .iter()
            .filter(|field| field.role == Role::Rowtime)
            .count();
        if rowtimes > 1 {
            return Err(Error::validation(
                "the query has more than one rowtime attribute column: CAST the others to TIMESTAMP(3)",
                insert.position,
            ));
        }
        Ok((
            Rel::calc(query, None, items),
            table.clone(),
            insert.overwrite,
        ))
    }

    /// `value` as the column's type, if Flink stores it so unasked.
    fn store(&self, value: Typed, column: &Column, at: Position) -> Result<Typed, Error> {
        let (from, to) = (value.ty.clone(), &column.data_type);
        if !value.is_null_literal() && !storable(&from.root, &to.root) {
            return Err(Error::validation(
                format!(
                    "column `{}` is {to}, the query gives {from}; CAST it",
                    column.name
                ),
                at,
            ));
        }
        let stored = if is_text(&from.root) && is_text(&to.root) {
            Typed {
                ty: to.with_nullable(from.nullable),
                ..value
            }
        } else {
            cast::explicit(value, to, false, self.zone, at)?
        };
        if to.nullable || !stored.ty.nullable {
            return Ok(stored);
        }
        let name = column.name.clone();
        let kernel = Kernel::new(format!("NOT_NULL[{name}]"), move |args, _| {
            if args[0].null_count() > 0 {
                return Err(failed(format!(
                    "column `{name}` is NOT NULL, however, a null value is being written into it"
                )));
            }
            Ok(args[0].clone())
        });
        let ty = stored.ty.with_nullable(false);
        Ok(Typed::call(kernel, vec![stored], ty))
    }

    /// The table named by `streamforge.late-table`.
    pub(super) fn late_table(&self, name: &str) -> Result<Arc<TableDefinition>, Error> {
        let position = Position { line: 1, column: 1 };
        let path: Vec<Ident> = name
            .split('.')
            .map(|part| Ident {
                value: part.trim_matches('`').to_owned(),
                position,
            })
            .collect();
        match self.lookup.find(&path, self.lookup.here())? {
            (_, Relation::Table(table)) => Ok(table),
            (path, Relation::View(_)) => {
                Err(Error::invalid(format!("the late table {path} is a view")))
            }
        }
    }
}

fn storable(from: &TypeRoot, to: &TypeRoot) -> bool {
    use TypeRoot::{Date, Decimal, Double, Float, Timestamp, TimestampLtz};
    let rank = |root: &TypeRoot| match root {
        TypeRoot::TinyInt => 0,
        TypeRoot::SmallInt => 1,
        TypeRoot::Int => 2,
        _ => 3,
    };
    match (from, to) {
        (a, b) if a == b => true,
        (a, b) if is_text(a) && is_text(b) => true,
        (a, b) if is_integer(a) && is_integer(b) => rank(a) <= rank(b),
        (a, Decimal(..)) => is_integer(a) || matches!(a, Decimal(..)),
        (a, Double) => is_numeric(a),
        (a, Float) => is_integer(a) || *a == Float,
        (Timestamp(_) | TimestampLtz(_), Timestamp(_) | TimestampLtz(_)) => true,
        (Date, Timestamp(_)) => true,
        (
            TypeRoot::Binary(_) | TypeRoot::Varbinary(_),
            TypeRoot::Binary(_) | TypeRoot::Varbinary(_),
        ) => true,
        (TypeRoot::Array(a), TypeRoot::Array(b))
        | (TypeRoot::Multiset(a), TypeRoot::Multiset(b)) => storable(&a.root, &b.root),
        (TypeRoot::Map(k1, v1), TypeRoot::Map(k2, v2)) => {
            storable(&k1.root, &k2.root) && storable(&v1.root, &v2.root)
        }
        (TypeRoot::Row(a), TypeRoot::Row(b)) => {
            a.len() == b.len()
                && a.iter()
                    .zip(b)
                    .all(|((_, a), (_, b))| storable(&a.root, &b.root))
        }
        _ => false,
    }
}

/// The table that a top-level query's rows go to.
pub(crate) fn collect_table(rel: &Rel) -> TableDefinition {
    TableDefinition {
        path: TablePath {
            catalog: crate::sql::DEFAULT_CATALOG.to_owned(),
            database: crate::sql::DEFAULT_DATABASE.to_owned(),
            table: "collect".to_owned(),
        },
        columns: rel
            .fields
            .iter()
            .map(|field| Column {
                name: field.name.clone(),
                data_type: field.ty.clone(),
                kind: ColumnKind::Physical,
            })
            .collect(),
        watermark: None,
        primary_key: Vec::new(),
        partitioned_by: Vec::new(),
        options: BTreeMap::from([("connector".to_owned(), "collect".to_owned())]),
    }
}

/// The columns a late table must have.
pub(crate) fn late_columns() -> [(&'static str, SqlType); 3] {
    [
        ("operator", SqlType::string()),
        ("event_time", SqlType::of(TypeRoot::Timestamp(3))),
        ("row", SqlType::string()),
    ]
}
