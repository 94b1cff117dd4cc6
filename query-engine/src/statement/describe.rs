//! DESCRIBE INPUT and DESCRIBE OUTPUT of prepared statements.

use datafusion::common::ScalarValue;

use super::{Executor, Output, table};
use crate::failure::{Pos, Result};
use crate::meta::text;
use crate::sql::ast::{Expr, Ident, Kind, Statement};
use crate::sql::parser;
use crate::types::Type;

impl Executor<'_> {
    pub(super) fn describe_input(&self, name: &Ident) -> Result<Output> {
        let count = parser::count_parameters(&self.prepared(name)?)?;
        let row = |position: usize| {
            vec![
                ScalarValue::Int64(i64::try_from(position).ok()),
                text("unknown"),
            ]
        };
        table(
            &[("Position", Type::Bigint), ("Type", Type::VARCHAR)],
            (0..count).map(row).collect(),
        )
    }

    pub(super) async fn describe_output(&self, name: &Ident) -> Result<Output> {
        let sql = self.prepared(name)?;
        let columns = [
            ("Column Name", Type::VARCHAR),
            ("Catalog", Type::VARCHAR),
            ("Schema", Type::VARCHAR),
            ("Table", Type::VARCHAR),
            ("Type", Type::VARCHAR),
            ("Type Size", Type::Bigint),
            ("Aliased", Type::Boolean),
        ];
        let Statement::Query(query) = parser::statement(&sql)? else {
            return table(&columns, Vec::new());
        };
        let null = Expr {
            pos: Pos { line: 1, column: 1 },
            kind: Box::new(Kind::Null),
        };
        let analyzed = self
            .analyze(&query, &vec![null; parser::count_parameters(&sql)?])
            .await?;
        let rows = analyzed.columns.into_iter().map(|column| {
            let [catalog, schema, from] = column.origin.unwrap_or_default();
            let size = match column.ty {
                Type::Boolean | Type::Tinyint => 1,
                Type::Smallint => 2,
                Type::Integer | Type::Real | Type::Date => 4,
                Type::Bigint
                | Type::Double
                | Type::Timestamp(_)
                | Type::TimestampTz(..)
                | Type::Time(_) => 8,
                _ => 0,
            };
            vec![
                text(column.name),
                text(catalog),
                text(schema),
                text(from),
                text(column.ty.to_string()),
                ScalarValue::Int64(Some(size)),
                ScalarValue::Boolean(Some(column.aliased)),
            ]
        });
        table(&columns, rows.collect())
    }
}
