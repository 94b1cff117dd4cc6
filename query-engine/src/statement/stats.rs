//! `SHOW STATS FOR` a table.

use datafusion::common::ScalarValue;

use super::{Executor, Output, table};
use crate::catalog;
use crate::failure::{Code, Failure, Result};
use crate::functions::cast::scalar_text;
use crate::meta::{self, null, text};
use crate::scan::statistics::{self, ColumnSummary, Summary};
use crate::sql::ast::Name;
use crate::types::{Type, UTC};

impl Executor<'_> {
    pub(super) async fn show_stats(&self, name: &Name) -> Result<Output> {
        let key = self.key(name)?;
        self.check_catalog(&key.catalog, name.pos())?;
        let columns = [
            ("column_name", Type::VARCHAR),
            ("data_size", Type::Double),
            ("distinct_values_count", Type::Double),
            ("nulls_fraction", Type::Double),
            ("row_count", Type::Double),
            ("low_value", Type::VARCHAR),
            ("high_value", Type::VARCHAR),
        ];
        if key.catalog == self.engine.config.catalog_name
            && let Some(found) = catalog::lake_table(self.engine, &key.schema, &key.table).await?
        {
            let summary = statistics::summary(&found, &self.engine.caches)
                .await
                .map_err(|error| catalog::failure(&error).or_at(name.pos()))?;
            return table(&columns, of_lake(&summary)?);
        }
        // Of tables made on the fly nothing is known but their columns.
        let described = meta::described(self.engine, &key.catalog, &key.schema, &key.table).await?;
        let described = described.ok_or_else(|| {
            let path = format!("{}.{}.{}", key.catalog, key.schema, key.table);
            Failure::at(
                Code::TableNotFound,
                name.pos(),
                format!("Table '{path}' does not exist"),
            )
        })?;
        let mut rows: Vec<_> = described
            .into_iter()
            .map(|column| row(text(column.name), [None; 3], None, [null(), null()]))
            .collect();
        rows.push(row(null(), [None; 3], None, [null(), null()]));
        table(&columns, rows)
    }
}

/// One row: size, number of distinct values and share of NULLs, then the number of rows and the range.
fn row(
    name: ScalarValue,
    numbers: [Option<f64>; 3],
    n_rows: Option<f64>,
    [low, high]: [ScalarValue; 2],
) -> Vec<ScalarValue> {
    let [size, distinct, nulls] = numbers.map(ScalarValue::Float64);
    vec![
        name,
        size,
        distinct,
        nulls,
        ScalarValue::Float64(n_rows),
        low,
        high,
    ]
}

#[expect(
    clippy::cast_precision_loss,
    reason = "estimates, which Trino shows as doubles"
)]
fn of_lake(summary: &Summary) -> Result<Vec<Vec<ScalarValue>>> {
    let n_rows = summary.n_rows as f64;
    let columns = summary.columns.iter().map(|column| {
        let name = text(column.field.name.to_lowercase());
        if summary.n_files == 0 {
            let empty = [Some(0.0), Some(0.0), Some(1.0)];
            return Ok(row(name, empty, None, [null(), null()]));
        }
        let nulls = column
            .n_nulls
            .filter(|_| n_rows > 0.0)
            .map(|nulls| nulls as f64 / n_rows);
        let distinct = column.n_distinct.map(|distinct| distinct as f64);
        let range = range(column)?;
        Ok(row(
            name,
            [column.data_size(), distinct, nulls],
            None,
            range,
        ))
    });
    let mut rows = columns.collect::<Result<Vec<_>>>()?;
    rows.push(row(null(), [None; 3], Some(n_rows), [null(), null()]));
    Ok(rows)
}

/// The range of a column in Trino's text; unknown for types that have none there.
fn range(column: &ColumnSummary) -> Result<[ScalarValue; 2]> {
    let ty = catalog::of_iceberg(&column.field.field_type)?;
    let end = |value: &Option<ScalarValue>| -> Result<ScalarValue> {
        match value {
            Some(value) => Ok(shown(&ty, value)?.map_or_else(null, text)),
            None => Ok(null()),
        }
    };
    Ok([end(&column.low)?, end(&column.high)?])
}

fn shown(ty: &Type, value: &ScalarValue) -> Result<Option<String>> {
    let ty = match ty {
        Type::Real | Type::Double | Type::Decimal(..) => {
            return Ok(java(value));
        }
        Type::TimestampTz(..) => Type::TimestampTz(3, UTC.into()),
        Type::Boolean
        | Type::Tinyint
        | Type::Smallint
        | Type::Integer
        | Type::Bigint
        | Type::Date
        | Type::Timestamp(_) => ty.clone(),
        _ => return Ok(None),
    };
    let value = value.cast_to(&ty.arrow())?;
    Ok(Some(scalar_text(&ty, &value.to_array()?, 0)))
}

/// A number as Java writes a double or a float, decimals among them.
fn java(value: &ScalarValue) -> Option<String> {
    let (number, plain, scientific) = match value {
        ScalarValue::Float32(Some(value)) => (
            f64::from(*value),
            format!("{value:?}"),
            format!("{value:E}"),
        ),
        other => match other.cast_to(&arrow::datatypes::DataType::Float64) {
            Ok(ScalarValue::Float64(Some(value))) => {
                (value, format!("{value:?}"), format!("{value:E}"))
            }
            _ => return None,
        },
    };
    if !number.is_finite() {
        return None;
    }
    if number == 0.0 || (1e-3..1e7).contains(&number.abs()) {
        return Some(plain);
    }
    let (digits, exponent) = scientific.split_once('E')?;
    let point = if digits.contains('.') { "" } else { ".0" };
    Some(format!("{digits}{point}E{exponent}"))
}
