//! Finds the columns of a query in a Parquet file by field id.
//!
//! DataFusion's own adapter goes by name, which is wrong in a table whose columns were renamed, or
//! dropped and added again. This one first gives the file's columns the names that the query uses for
//! their ids, lets DataFusion's adapter do casts and missing columns, and then gives the expressions the
//! file's own names back.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema as ArrowSchema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DataFusionError, Result};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr_adapter::{
    DefaultPhysicalExprAdapterFactory, PhysicalExprAdapter, PhysicalExprAdapterFactory,
};
use lake::iceberg::spec::Schema;
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

/// Makes adapters for the files of one scan.
#[derive(Debug)]
pub(super) struct FieldIdAdapterFactory {
    names: HashMap<i32, String>,
}

#[derive(Debug)]
struct FieldIdAdapter {
    inner: Arc<dyn PhysicalExprAdapter>,
    file: SchemaRef,
    /// Columns in which a nested field was renamed or replaced: a cast would go by the old names.
    unreadable: HashSet<usize>,
}

impl FieldIdAdapterFactory {
    /// Adapters to the columns of `schema`.
    pub(super) fn new(schema: &Schema) -> Self {
        let names = schema
            .field_id_to_fields()
            .iter()
            .map(|(id, field)| (*id, field.name.clone()))
            .collect();
        Self { names }
    }

    /// The file's columns under the names the query uses. A column whose id the query does not know
    /// gets a name that no column can have.
    fn renamed(&self, fields: &Fields) -> Fields {
        fields
            .iter()
            .map(|field| match id_of(field) {
                Some(id) => match self.names.get(&id) {
                    Some(name) => self.named(field, name),
                    None => self.named(field, &format!("\u{0}{id}")),
                },
                None => self.named(field, field.name()),
            })
            .collect()
    }

    fn named(&self, field: &Field, name: &str) -> FieldRef {
        let data_type = match field.data_type() {
            DataType::Struct(fields) => DataType::Struct(self.renamed(fields)),
            DataType::List(item) => DataType::List(self.named(item, item.name())),
            DataType::LargeList(item) => DataType::LargeList(self.named(item, item.name())),
            other => other.clone(),
        };
        Arc::new(Field::new(name, data_type, field.is_nullable()))
    }
}

impl PhysicalExprAdapterFactory for FieldIdAdapterFactory {
    fn create(
        &self,
        logical_file_schema: SchemaRef,
        physical_file_schema: SchemaRef,
    ) -> Result<Arc<dyn PhysicalExprAdapter>> {
        let renamed = Arc::new(ArrowSchema::new(
            self.renamed(physical_file_schema.fields()),
        ));
        let unreadable = physical_file_schema
            .fields()
            .iter()
            .zip(renamed.fields())
            .enumerate()
            .filter(|(_, (field, renamed))| !same_names(field.data_type(), renamed.data_type()))
            .map(|(index, _)| index)
            .collect();
        let inner = DefaultPhysicalExprAdapterFactory.create(logical_file_schema, renamed)?;
        Ok(Arc::new(FieldIdAdapter {
            inner,
            file: physical_file_schema,
            unreadable,
        }))
    }
}

impl PhysicalExprAdapter for FieldIdAdapter {
    fn rewrite(&self, expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        self.inner
            .rewrite(expr)?
            .transform(|expr| {
                let Some(column) = expr.downcast_ref::<Column>() else {
                    return Ok(Transformed::no(expr));
                };
                let index = column.index();
                let field = self.file.fields().get(index).ok_or_else(|| {
                    DataFusionError::Internal(format!("column {index} is not in the file"))
                })?;
                if self.unreadable.contains(&index) {
                    return Err(DataFusionError::NotImplemented(format!(
                        "column `{}` of a file written before a field inside it was renamed",
                        field.name()
                    )));
                }
                Ok(Transformed::yes(
                    Arc::new(Column::new(field.name(), index)) as _
                ))
            })
            .data()
    }
}

fn id_of(field: &Field) -> Option<i32> {
    field
        .metadata()
        .get(PARQUET_FIELD_ID_META_KEY)?
        .parse()
        .ok()
}

/// Whether all fields inside a column keep their names.
fn same_names(file: &DataType, renamed: &DataType) -> bool {
    match (file, renamed) {
        (DataType::Struct(file), DataType::Struct(renamed)) => {
            file.iter().zip(renamed).all(|(file, renamed)| {
                file.name() == renamed.name() && same_names(file.data_type(), renamed.data_type())
            })
        }
        (DataType::List(file), DataType::List(renamed))
        | (DataType::LargeList(file), DataType::LargeList(renamed)) => {
            same_names(file.data_type(), renamed.data_type())
        }
        _ => true,
    }
}
