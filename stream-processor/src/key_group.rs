//! Which key group a row belongs to: a frozen hash over the typed bytes of its key columns.
//!
//! Checkpoints and exchanges depend on it, so it never changes: neither the seed of a hash map nor the layout of an
//! array may leak into it. [`crate::runtime`] uses it to route rows, operators use it to mark their state.
//!
//! The definition: a value is hashed with XXH3-64 (seed 0) over its canonical bytes (integers, dates, times and
//! timestamps as little-endian i64, decimals as i128, floats as the bits of the f64 with one NaN and no negative zero,
//! booleans as one byte, text and binary as they are, nested values as the little-endian hashes of their parts);
//! NULL is a constant. Columns are folded in order, and the group is the high half of the product with 128.

use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, GenericBinaryArray, GenericStringArray,
    PrimitiveArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use twox_hash::XxHash3_64;

use crate::error::Error;
use crate::operator::KEY_GROUPS;

const NULL_HASH: u64 = 0x9e37_79b9_7f4a_7c15;
const FOLD: u64 = 0xff51_afd7_ed55_8ccd;

/// The key group of each row of `columns`, which all have `n_rows` rows. Without columns everything is in group 0.
pub fn key_groups(columns: &[ArrayRef], n_rows: usize) -> Result<Vec<u16>, Error> {
    let mut folded = vec![0u64; n_rows];
    let mut hashes = Vec::with_capacity(n_rows);
    for column in columns {
        hashes.clear();
        hash_column(column, &mut hashes)?;
        for (all, hash) in folded.iter_mut().zip(&hashes) {
            *all = (all.rotate_left(29) ^ hash).wrapping_mul(FOLD);
        }
    }
    Ok(folded.into_iter().map(group_of).collect())
}

fn group_of(hash: u64) -> u16 {
    let mixed = (hash ^ (hash >> 32)) & 0xffff_ffff;
    ((mixed * u64::from(KEY_GROUPS)) >> 32) as u16
}

fn hash_column(column: &ArrayRef, hashes: &mut Vec<u64>) -> Result<(), Error> {
    match column.data_type() {
        DataType::Utf8 => strings(column.as_string::<i32>(), hashes),
        DataType::LargeUtf8 => strings(column.as_string::<i64>(), hashes),
        DataType::Binary => binaries(column.as_binary::<i32>(), hashes),
        DataType::LargeBinary => binaries(column.as_binary::<i64>(), hashes),
        DataType::Utf8View | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            let plain = cast(column, &DataType::Binary).map_err(unhashable)?;
            binaries(plain.as_binary::<i32>(), hashes);
        }
        DataType::Boolean => {
            let values = column.as_boolean();
            hashes.extend((0..values.len()).map(|row| {
                hash_if(values.is_valid(row), || {
                    XxHash3_64::oneshot(&[u8::from(values.value(row))])
                })
            }));
        }
        DataType::Decimal128(_, _) => {
            let values: &Decimal128Array = column.as_primitive();
            hashes.extend((0..values.len()).map(|row| {
                hash_if(values.is_valid(row), || {
                    XxHash3_64::oneshot(&values.value(row).to_le_bytes())
                })
            }));
        }
        DataType::Float32 | DataType::Float64 => floats(column, hashes)?,
        DataType::List(_) | DataType::LargeList(_) | DataType::Map(_, _) | DataType::Struct(_) => {
            nested(column, hashes)?;
        }
        DataType::Interval(_) => {
            let months = column.as_primitive_opt::<arrow::datatypes::IntervalYearMonthType>();
            let values = months.ok_or_else(|| unhashable(column.data_type()))?;
            hashes.extend((0..values.len()).map(|row| {
                hash_if(values.is_valid(row), || {
                    integer(i64::from(values.value(row)))
                })
            }));
        }
        _ => integers(column, hashes)?,
    }
    Ok(())
}

fn hash_if(valid: bool, hash: impl FnOnce() -> u64) -> u64 {
    if valid { hash() } else { NULL_HASH }
}

fn integer(value: i64) -> u64 {
    XxHash3_64::oneshot(&value.to_le_bytes())
}

fn integers(column: &ArrayRef, hashes: &mut Vec<u64>) -> Result<(), Error> {
    let wide = match column.data_type() {
        DataType::Date32 | DataType::Time32(_) => {
            let narrow = cast(column, &DataType::Int32).map_err(unhashable)?;
            cast(&narrow, &DataType::Int64)
        }
        DataType::Timestamp(
            TimeUnit::Millisecond | TimeUnit::Microsecond | TimeUnit::Nanosecond | TimeUnit::Second,
            _,
        ) => cast(column, &DataType::Int64),
        _ => cast(column, &DataType::Int64),
    }
    .map_err(unhashable)?;
    let values: &PrimitiveArray<Int64Type> = wide.as_primitive();
    if values.null_count() == 0 {
        hashes.extend(values.values().iter().map(|value| integer(*value)));
    } else {
        hashes.extend(values.iter().map(|value| value.map_or(NULL_HASH, integer)));
    }
    Ok(())
}

fn floats(column: &ArrayRef, hashes: &mut Vec<u64>) -> Result<(), Error> {
    let wide = cast(column, &DataType::Float64).map_err(unhashable)?;
    let values = wide.as_primitive::<arrow::datatypes::Float64Type>();
    hashes.extend(values.iter().map(|value| {
        value.map_or(NULL_HASH, |value| {
            let canonical = if value.is_nan() {
                f64::NAN
            } else {
                value + 0.0
            };
            let canonical = if canonical == 0.0 { 0.0 } else { canonical };
            XxHash3_64::oneshot(&canonical.to_bits().to_le_bytes())
        })
    }));
    Ok(())
}

fn strings<O: arrow::array::OffsetSizeTrait>(
    values: &GenericStringArray<O>,
    hashes: &mut Vec<u64>,
) {
    hashes.extend((0..values.len()).map(|row| {
        hash_if(values.is_valid(row), || {
            XxHash3_64::oneshot(values.value(row).as_bytes())
        })
    }));
}

fn binaries<O: arrow::array::OffsetSizeTrait>(
    values: &GenericBinaryArray<O>,
    hashes: &mut Vec<u64>,
) {
    hashes.extend((0..values.len()).map(|row| {
        hash_if(values.is_valid(row), || {
            XxHash3_64::oneshot(values.value(row))
        })
    }));
}

fn nested(column: &ArrayRef, hashes: &mut Vec<u64>) -> Result<(), Error> {
    let mut parts = Vec::new();
    for row in 0..column.len() {
        if column.is_null(row) {
            hashes.push(NULL_HASH);
            continue;
        }
        parts.clear();
        match column.data_type() {
            DataType::Struct(_) => {
                for child in column.as_struct().columns() {
                    hash_column(&child.slice(row, 1), &mut parts)?;
                }
            }
            DataType::List(_) => hash_column(&column.as_list::<i32>().value(row), &mut parts)?,
            DataType::LargeList(_) => hash_column(&column.as_list::<i64>().value(row), &mut parts)?,
            _ => {
                let entries = column.as_map().value(row);
                for child in entries.columns() {
                    hash_column(child, &mut parts)?;
                }
            }
        }
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.to_le_bytes()).collect();
        hashes.push(XxHash3_64::oneshot(&bytes));
    }
    Ok(())
}

fn unhashable(why: impl std::fmt::Display) -> Error {
    Error::failed(format!("no key group for a column: {why}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, Float64Array, Int32Array, Int64Array, StringArray, TimestampMillisecondArray,
    };

    use super::key_groups;

    fn groups(column: impl arrow::array::Array + 'static) -> Vec<u16> {
        let n_rows = column.len();
        key_groups(&[Arc::new(column) as ArrayRef], n_rows).unwrap()
    }

    /// A change here loses the state of every job that has been checkpointed.
    #[test]
    fn the_hash_is_frozen() {
        assert_eq!(groups(Int64Array::from(vec![0, 1, 2, -1])), FROZEN_INTEGERS);
        assert_eq!(
            groups(StringArray::from(vec![
                Some(""),
                Some("a"),
                Some("äöü"),
                None
            ])),
            FROZEN_STRINGS
        );
    }
    const FROZEN_INTEGERS: [u16; 4] = [80, 88, 19, 123];
    const FROZEN_STRINGS: [u16; 4] = [85, 126, 101, 48];

    #[test]
    fn equal_values_of_different_width_share_a_group() {
        let narrow = groups(Int32Array::from(vec![Some(7), None, Some(-3)]));
        assert_eq!(
            narrow,
            groups(Int64Array::from(vec![Some(7), None, Some(-3)]))
        );
        assert_eq!(
            narrow,
            groups(TimestampMillisecondArray::from(vec![
                Some(7),
                None,
                Some(-3)
            ]))
        );
        assert_eq!(
            groups(Float64Array::from(vec![0.0, f64::NAN])),
            groups(Float64Array::from(vec![-0.0, -f64::NAN]))
        );
    }

    #[test]
    fn groups_are_used_evenly() {
        let mut counts = [0usize; 128];
        for group in groups(Int64Array::from_iter_values(0..128_000)) {
            counts[usize::from(group)] += 1;
        }
        assert!(
            counts.iter().all(|count| (700..1300).contains(count)),
            "{counts:?}"
        );
    }
}
