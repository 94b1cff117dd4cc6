//! The tables about tables: `information_schema`, `system.jdbc`, `system.metadata`, `system.runtime`.
//!
//! Each is a list of columns and a function that makes its rows. Rows are made when the table is scanned, and
//! equalities on schema and table names reach that function, so that a client asking for one table's columns does not
//! make the engine load every table.

mod rows;
mod tables;

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_empty_array};
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Expr, Operator, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;

use crate::failure::{Code, Failure, Result};
use crate::query::Query;
use crate::query::manager::Manager;
use crate::sql::analyze::{Table, TableColumn};
use crate::types::Type;

pub(crate) use rows::{described, schemas, tables as lake_tables};
pub(crate) use tables::{SYSTEM_SCHEMAS, catalogs, definition, names};

/// A column of such a table.
pub(crate) type ColumnSpec = (&'static str, Type);

/// What the scan of such a table is limited to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    pub(crate) equals: Vec<(String, String)>,
}

impl Wanted {
    /// Must a column with one of these names have another value?
    pub(crate) fn excludes(&self, names: &[&str], value: &str) -> bool {
        self.equals
            .iter()
            .any(|(column, wanted)| names.contains(&column.as_str()) && wanted != value)
    }
}

/// A table of this module, bound to a catalog and the query that reads it.
struct MetaTable {
    manager: Weak<Manager>,
    name: [String; 3],
    user: String,
    schema: SchemaRef,
    columns: Vec<ColumnSpec>,
}

impl std::fmt::Debug for MetaTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MetaTable({})", self.name.join("."))
    }
}

/// The table of this name, or the failure that there is none.
pub(crate) fn table(manager: &Arc<Manager>, query: &Query, name: &[String; 3]) -> Result<Table> {
    let Some(columns) = definition(&name[1], &name[2], name[0] == "system") else {
        let known = name[1] == "information_schema" || SYSTEM_SCHEMAS.contains(&name[1].as_str());
        return Err(if known {
            Failure::new(
                Code::TableNotFound,
                format!("Table '{}' does not exist", name.join(".")),
            )
        } else {
            Failure::new(
                Code::SchemaNotFound,
                format!("Schema '{}' does not exist", name[1]),
            )
        });
    };
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, ty)| Field::new(*name, ty.arrow(), true))
        .collect();
    let provider = MetaTable {
        manager: Arc::downgrade(manager),
        name: name.clone(),
        user: query.session.user.clone(),
        schema: Arc::new(Schema::new(fields)),
        columns: columns.clone(),
    };
    let columns = columns
        .iter()
        .map(|(name, ty)| TableColumn {
            name: (*name).to_owned(),
            source: (*name).to_owned(),
            ty: ty.clone(),
            hidden: false,
        })
        .collect();
    Ok(Table {
        name: name.clone(),
        provider: Arc::new(provider),
        columns,
    })
}

/// Rows of scalars as one batch.
pub(crate) fn batch(columns: &[ColumnSpec], rows: Vec<Vec<ScalarValue>>) -> Result<RecordBatch> {
    let n_rows = rows.len();
    let mut cells: Vec<Vec<ScalarValue>> =
        columns.iter().map(|_| Vec::with_capacity(n_rows)).collect();
    for row in rows {
        for (column, cell) in cells.iter_mut().zip(row) {
            column.push(cell);
        }
    }
    let mut arrays: Vec<ArrayRef> = Vec::with_capacity(columns.len());
    for ((_, ty), column) in columns.iter().zip(cells) {
        arrays.push(if column.is_empty() {
            new_empty_array(&ty.arrow())
        } else {
            ScalarValue::iter_to_array(column)?
        });
    }
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, ty)| Field::new(*name, ty.arrow(), true))
        .collect();
    let options = RecordBatchOptions::new().with_row_count(Some(n_rows));
    Ok(RecordBatch::try_new_with_options(
        Arc::new(Schema::new(fields)),
        arrays,
        &options,
    )?)
}

/// A text cell.
pub(crate) fn text(value: impl Into<String>) -> ScalarValue {
    ScalarValue::Utf8(Some(value.into()))
}

/// An empty text cell.
pub(crate) fn null() -> ScalarValue {
    ScalarValue::Utf8(None)
}

fn wanted(filters: &[Expr]) -> Wanted {
    let mut wanted = Wanted::default();
    for filter in filters {
        if let Expr::BinaryExpr(binary) = filter
            && binary.op == Operator::Eq
        {
            let pair = match (binary.left.as_ref(), binary.right.as_ref()) {
                (Expr::Column(column), Expr::Literal(value, _))
                | (Expr::Literal(value, _), Expr::Column(column)) => Some((column, value)),
                _ => None,
            };
            if let Some((column, ScalarValue::Utf8(Some(value)))) = pair {
                wanted.equals.push((column.name.clone(), value.clone()));
            }
        }
    }
    wanted
}

#[async_trait]
impl TableProvider for MetaTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> DfResult<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let Some(manager) = self.manager.upgrade() else {
            return Err(Failure::new(Code::ServerShuttingDown, "Server is shutting down").into());
        };
        let made = Box::pin(rows::make(
            &manager,
            &self.name,
            &self.user,
            &wanted(filters),
        ))
        .await?;
        let batch = batch(&self.columns, made)?;
        let source: Arc<dyn ExecutionPlan> = MemorySourceConfig::try_new_exec(
            &[vec![batch]],
            Arc::clone(&self.schema),
            projection.cloned(),
        )?;
        Ok(source)
    }
}
