//! Tells for which columns of a file a dictionary pays, from the rows that are written first.
//!
//! A dictionary that is given up when it has grown too large (as Parquet writers do) has cost a hash, a comparison
//! and a copy of each value before, for nothing; in small files of identifiers or payloads it is never given up.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, UInt32Type, UInt64Type};

/// Rows that are looked at.
const SAMPLE: usize = 1024;
/// With fewer rows than this nothing is known.
const TOO_FEW: usize = 64;

/// The names of those columns of `rows` in which more than half of the values differ.
pub(super) fn unlike_columns(rows: &RecordBatch) -> Vec<String> {
    let sample = rows.slice(0, rows.num_rows().min(SAMPLE));
    let schema = sample.schema();
    let fields = schema.fields().iter().zip(sample.columns());
    fields
        .filter(|(_, column)| is_unlike(column))
        .map(|(field, _)| field.name().clone())
        .collect()
}

fn is_unlike(column: &ArrayRef) -> bool {
    let n_values = column.len() - column.null_count();
    n_values >= TOO_FEW && n_different(column).is_some_and(|n| n * 2 > n_values)
}

/// How many different values there are; `None` for types that are not counted.
fn n_different(column: &ArrayRef) -> Option<usize> {
    let hasher = RandomState::new();
    let mut seen = HashSet::new();
    match column.data_type() {
        DataType::Utf8 => {
            let values = column.as_string::<i32>().iter().flatten();
            seen.extend(values.map(|value| hasher.hash_one(value)));
        }
        DataType::Binary => {
            let values = column.as_binary::<i32>().iter().flatten();
            seen.extend(values.map(|value| hasher.hash_one(value)));
        }
        other => {
            // Numbers and times by their bits.
            let data = column.to_data();
            let bits = data.into_builder();
            let bits = match other.primitive_width()? {
                4 => bits.data_type(DataType::UInt32),
                8 => bits.data_type(DataType::UInt64),
                _ => return None,
            };
            let bits = arrow::array::make_array(bits.build().ok()?);
            match bits.as_primitive_opt::<UInt64Type>() {
                Some(bits) => seen.extend(bits.iter().flatten()),
                None => {
                    let bits = bits.as_primitive_opt::<UInt32Type>()?;
                    seen.extend(bits.iter().flatten().map(u64::from));
                }
            }
        }
    }
    Some(seen.len())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Float64Array, Int32Array, RecordBatch, StringArray};

    use super::unlike_columns;

    #[test]
    fn identifiers_have_no_dictionary_and_names_do() {
        let n = 0..2000;
        let columns: [(&str, ArrayRef); 5] = [
            (
                "id",
                Arc::new(StringArray::from_iter_values(
                    n.clone().map(|n| format!("event {n}")),
                )),
            ),
            (
                "name",
                Arc::new(StringArray::from_iter_values(
                    n.clone().map(|n| format!("page {}", n % 9)),
                )),
            ),
            (
                "place",
                Arc::new(
                    n.clone()
                        .map(|n| Some(f64::from(n) / 7.0))
                        .collect::<Float64Array>(),
                ),
            ),
            (
                "partition",
                Arc::new(n.clone().map(|n| Some(n % 4)).collect::<Int32Array>()),
            ),
            (
                "rare",
                Arc::new(
                    n.map(|n| (n % 100 == 0).then_some(n))
                        .collect::<Int32Array>(),
                ),
            ),
        ];
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        assert_eq!(unlike_columns(&rows), ["id", "place"]);
        assert_eq!(unlike_columns(&rows.slice(0, 10)), [""; 0]);
    }
}
