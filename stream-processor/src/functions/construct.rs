//! `ARRAY[…]`, `MAP[…]` and `ROW(…)`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ListArray, MapArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::compute::interleave;
use arrow::datatypes::{DataType, Field, Fields};
use chrono_tz::Tz;
use datafusion_common::Result as DfResult;

use super::failed;
use crate::error::{Error, Position};
use crate::plan::coerce;
use crate::plan::typed::{Kernel, Typed};
use crate::table::{SqlType, TypeRoot};

/// `ARRAY[items]`
pub(crate) fn array(items: Vec<Typed>, zone: Tz, at: Position) -> Result<Typed, Error> {
    let (items, element) = in_common(items, "ARRAY", zone, at)?;
    let ty = SqlType::required(TypeRoot::Array(Box::new(element)));
    let data_type = ty.arrow();
    let kernel = Kernel::new(format!("ARRAY[{ty}]"), move |args, n_rows| {
        let DataType::List(field) = &data_type else {
            return Err(failed("ARRAY is no list"));
        };
        let (values, offsets) = (side_by_side(args, n_rows)?, every(args.len(), n_rows));
        Ok(Arc::new(ListArray::try_new(
            field.clone(),
            offsets,
            values,
            None,
        )?))
    });
    Ok(Typed::call(kernel.total(), items, ty))
}

/// `MAP[key, value, …]`; of equal keys all stay, and the last is found.
pub(crate) fn map(items: Vec<Typed>, zone: Tz, at: Position) -> Result<Typed, Error> {
    if items.len() % 2 == 1 {
        return Err(Error::validation("MAP needs a value for each key", at));
    }
    let (mut keys, mut values) = (Vec::new(), Vec::new());
    for (index, item) in items.into_iter().enumerate() {
        let side = if index % 2 == 0 {
            &mut keys
        } else {
            &mut values
        };
        side.push(item);
    }
    let (mut args, key) = in_common(keys, "MAP", zone, at)?;
    let (values, value) = in_common(values, "MAP", zone, at)?;
    args.extend(values);
    let ty = SqlType::required(TypeRoot::Map(Box::new(key), Box::new(value)));
    let data_type = ty.arrow();
    let kernel = Kernel::new(format!("MAP[{ty}]"), move |args, n_rows| {
        let (keys, values) = args.split_at(args.len() / 2);
        let columns = vec![side_by_side(keys, n_rows)?, side_by_side(values, n_rows)?];
        if columns[0].null_count() > 0 {
            return Err(failed("the key of a MAP must not be NULL"));
        }
        map_of(&data_type, every(keys.len(), n_rows), columns, None)
    });
    Ok(Typed::call(kernel, args, ty))
}

/// `ROW(fields)`; the names are those that Flink gives.
pub(crate) fn row(fields: Vec<Typed>) -> Typed {
    let named = fields.iter().enumerate();
    let named = named.map(|(index, field)| (format!("EXPR${index}"), field.ty.clone()));
    let ty = SqlType::required(TypeRoot::Row(named.collect()));
    let data_type = ty.arrow();
    let kernel = Kernel::new(format!("ROW[{ty}]"), move |args, _| {
        let DataType::Struct(fields) = &data_type else {
            return Err(failed("ROW is no struct"));
        };
        Ok(Arc::new(StructArray::try_new(
            fields.clone(),
            args.to_vec(),
            None,
        )?))
    });
    Typed::call(kernel.total(), fields, ty)
}

fn in_common(
    items: Vec<Typed>,
    what: &str,
    zone: Tz,
    at: Position,
) -> Result<(Vec<Typed>, SqlType), Error> {
    if items.is_empty() {
        return Err(Error::validation(
            format!("{what}[] needs at least one value"),
            at,
        ));
    }
    let ty = coerce::common_of(&items.iter().collect::<Vec<_>>(), what, at)?;
    let items = items
        .into_iter()
        .map(|item| coerce::to(item, &ty, zone))
        .collect::<Result<_, _>>()?;
    Ok((items, ty))
}

/// The first row of all columns, then the second one of all, and so on.
fn side_by_side(columns: &[ArrayRef], n_rows: usize) -> DfResult<ArrayRef> {
    let columns: Vec<&dyn Array> = columns.iter().map(AsRef::as_ref).collect();
    let n_columns = columns.len();
    let places: Vec<(usize, usize)> = (0..n_rows)
        .flat_map(|row| (0..n_columns).map(move |column| (column, row)))
        .collect();
    Ok(interleave(&columns, &places)?)
}

fn every(length: usize, n_rows: usize) -> OffsetBuffer<i32> {
    OffsetBuffer::from_lengths(std::iter::repeat_n(length, n_rows))
}

/// A map of the type `data_type` from its keys and values.
pub(super) fn map_of(
    data_type: &DataType,
    offsets: OffsetBuffer<i32>,
    columns: Vec<ArrayRef>,
    nulls: Option<arrow::buffer::NullBuffer>,
) -> DfResult<ArrayRef> {
    let DataType::Map(entries, sorted) = data_type else {
        return Err(failed("MAP is no map"));
    };
    let inner: &Fields = match entries.data_type() {
        DataType::Struct(inner) => inner,
        _ => return Err(failed("the entries of a MAP are no rows")),
    };
    let pairs = StructArray::try_new(inner.clone(), columns, None)?;
    let entries: Arc<Field> = entries.clone();
    Ok(Arc::new(MapArray::try_new(
        entries, offsets, pairs, nulls, *sorted,
    )?))
}
