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
    let fields: Vec<(Option<String>, Type)> =
        items.iter().map(|item| (None, item.ty.clone())).collect();
    let shape = row_fields(&fields);
    let ty = Type::Row(fields);
    let args = items.into_iter().map(|item| item.expr).collect();
    let run = move |args: &Args| {
        let columns = (0..args.len())
            .map(|arg| args.expanded(arg))
            .collect::<Result<Vec<_>>>()?;
        done(StructArray::try_new(shape.clone(), columns, None)?)
    };
    Typed::new(
        Kernel::call(
            "row",
            format!("{ty}"),
            ty.arrow(),
            OnFailure::Raise,
            args,
            Arc::new(run),
        ),
        ty,
    )
}

/// Field `index` of a row; NULL where the row is.
pub(crate) fn field(row: Expr, index: usize, ty: &Type) -> Expr {
    let run = move |args: &Args| field_of(args.array(0), index);
    Kernel::call(
        "field",
        index.to_string(),
        ty.arrow(),
        OnFailure::Raise,
        vec![row],
        Arc::new(run),
    )
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
    let mask = arrow::compute::is_null(row)?;
    Ok(arrow::compute::nullif(column, &mask)?)
}

/// A lake column in the shape the engine uses: nested fields keep their places and lose their names.
pub(crate) fn relabelled(expr: Expr, ty: &Type) -> Expr {
    let shape = ty.arrow();
    let wanted = shape.clone();
    let run = move |args: &Args| relabel(args.array(0), &wanted);
    Kernel::call(
        "relabel",
        ty.to_string(),
        shape,
        OnFailure::Raise,
        vec![expr],
        Arc::new(run),
    )
}

fn relabel(array: &ArrayRef, shape: &DataType) -> Result<ArrayRef> {
    use datafusion::arrow::array::{ListArray, MapArray};
    match (array.data_type(), shape) {
        (found, shape) if found == shape => Ok(Arc::clone(array)),
        (DataType::Struct(_), DataType::Struct(fields)) => {
            let row: &StructArray = array.as_struct();
            let columns = row
                .columns()
                .iter()
                .zip(fields)
                .map(|(column, field)| relabel(column, field.data_type()));
            let columns = columns.collect::<Result<Vec<_>>>()?;
            done(StructArray::try_new_with_length(
                fields.clone(),
                columns,
                row.nulls().cloned(),
                row.len(),
            )?)
        }
        (DataType::List(_), DataType::List(field)) => {
            let list: &ListArray = array.as_list();
            let values = relabel(list.values(), field.data_type())?;
            done(ListArray::try_new(
                Arc::clone(field),
                list.offsets().clone(),
                values,
                list.nulls().cloned(),
            )?)
        }
        (DataType::Map(..), DataType::Map(field, sorted)) => {
            let map: &MapArray = array.as_map();
            let entries: ArrayRef = Arc::new(map.entries().clone());
            let entries = relabel(&entries, field.data_type())?.as_struct().clone();
            done(MapArray::try_new(
                Arc::clone(field),
                map.offsets().clone(),
                entries,
                map.nulls().cloned(),
                *sorted,
            )?)
        }
        _ => Ok(arrow::compute::cast(array, shape)?),
    }
}
