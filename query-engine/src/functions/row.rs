//! Rows: making them and taking fields out.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, StructArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::logical_expr::Expr;

use super::kernel::{Args, Kernel, OnFailure, done};
use crate::failure::Result;
use crate::sql::analyze::Typed;
use crate::types::{Type, row_fields};

/// `ROW(a, b)`: fields without names.
pub(crate) fn make(items: Vec<Typed>) -> Typed {
    let fields: Vec<(Option<String>, Type)> = items.iter().map(|item| (None, item.ty.clone())).collect();
    let shape = row_fields(&fields);
    let ty = Type::Row(fields);
    let args = items.into_iter().map(|item| item.expr).collect();
    let run = move |args: &Args| {
        let columns = (0..args.len()).map(|arg| args.expanded(arg)).collect::<Result<Vec<_>>>()?;
        done(StructArray::try_new(shape.clone(), columns, None)?)
    };
    Typed::new(Kernel::call("row", format!("{ty}"), ty.arrow(), OnFailure::Raise, args, Arc::new(run)), ty)
}

/// Field `index` of a row; NULL where the row is.
pub(crate) fn field(row: Expr, index: usize, ty: &Type) -> Expr {
    let run = move |args: &Args| field_of(args.array(0), index);
    Kernel::call("field", index.to_string(), ty.arrow(), OnFailure::Raise, vec![row], Arc::new(run))
}

/// The same with its type.
pub(crate) fn typed_field(row: &Typed, index: usize) -> Typed {
    let ty = match &row.ty {
        Type::Row(fields) => fields[index].1.clone(),
        other => other.clone(),
    };
    Typed::new(field(row.expr.clone(), index, &ty), ty)
}

/// A struct's column with the struct's own nulls applied.
pub(crate) fn field_of(row: &ArrayRef, index: usize) -> Result<ArrayRef> {
    let row: &StructArray = row.as_struct();
    let column = row.column(index);
    if row.null_count() == 0 || *column.data_type() == DataType::Null {
        return Ok(Arc::clone(column));
    }
    let mask = datafusion::arrow::compute::is_null(row)?;
    Ok(datafusion::arrow::compute::nullif(column, &mask)?)
}
