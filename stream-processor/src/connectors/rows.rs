//! Values as the text that `CAST(… AS STRING)` gives, for `print` and for clients that want plain text.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Decimal128Type, DurationMillisecondType, IntervalYearMonthType};

use crate::error::Error;
use crate::formats::json::encode::{JsonEncoding, timestamp, value};
use crate::formats::text;
use crate::table::{SqlType, TypeRoot};

/// Appends `[a, b, …]`.
pub(crate) fn write_row(
    rows: &RecordBatch,
    row: usize,
    types: &[SqlType],
    output: &mut Vec<u8>,
) -> Result<(), Error> {
    output.push(b'[');
    for (index, (column, data_type)) in rows.columns().iter().zip(types).enumerate() {
        if index > 0 {
            output.extend_from_slice(b", ");
        }
        write_value(column, row, data_type, output)?;
    }
    output.push(b']');
    Ok(())
}

/// Appends one value; NULL as `null`, as Flink prints it within rows.
pub(crate) fn write_value(
    column: &ArrayRef,
    row: usize,
    data_type: &SqlType,
    output: &mut Vec<u8>,
) -> Result<(), Error> {
    if column.is_null(row) {
        output.extend_from_slice(b"null");
        return Ok(());
    }
    match &data_type.root {
        TypeRoot::Boolean => {
            let word: &[u8] = if column.as_boolean().value(row) {
                b"TRUE"
            } else {
                b"FALSE"
            };
            output.extend_from_slice(word);
        }
        TypeRoot::Decimal(..) => {
            let DataType::Decimal128(_, scale) = column.data_type() else {
                return Err(wrong_type(column, data_type));
            };
            let number = column.as_primitive::<Decimal128Type>().value(row);
            text::write_decimal(number, *scale, true, output);
        }
        TypeRoot::Char(_) | TypeRoot::Varchar(_) => {
            output.extend_from_slice(column.as_string::<i32>().value(row).as_bytes());
        }
        TypeRoot::Binary(_) | TypeRoot::Varbinary(_) => {
            // Flink casts bytes to text as UTF-8.
            let bytes = column.as_binary::<i32>().value(row);
            output.extend_from_slice(String::from_utf8_lossy(bytes).as_bytes());
        }
        TypeRoot::Timestamp(precision) | TypeRoot::TimestampLtz(precision) => {
            let DataType::Timestamp(unit, _) = column.data_type() else {
                return Err(wrong_type(column, data_type));
            };
            let begin = output.len();
            text::write_timestamp(timestamp(column, *unit, row), *unit, b' ', output);
            pad_fraction(output, begin, usize::from(*precision));
        }
        TypeRoot::Array(element) => {
            let items = column.as_list::<i32>().value(row);
            output.push(b'[');
            for item in 0..items.len() {
                separate(item, output);
                write_value(&items, item, element, output)?;
            }
            output.push(b']');
        }
        TypeRoot::Map(_, _) | TypeRoot::Multiset(_) => write_map(column, row, data_type, output)?,
        TypeRoot::Row(fields) => {
            output.push(b'(');
            let children = column.as_struct().columns();
            for (index, (child, (_, of))) in children.iter().zip(fields).enumerate() {
                separate(index, output);
                write_value(child, row, of, output)?;
            }
            output.push(b')');
        }
        TypeRoot::IntervalYearMonth | TypeRoot::IntervalDayTime => {
            write_interval(column, row, output);
        }
        _ => {
            let mut json = Vec::new();
            value(column, row, &JsonEncoding::default(), &mut json)?;
            let bare = json
                .strip_prefix(b"\"")
                .and_then(|rest| rest.strip_suffix(b"\""));
            output.extend_from_slice(bare.unwrap_or(&json));
        }
    }
    Ok(())
}

fn write_interval(column: &ArrayRef, row: usize, output: &mut Vec<u8>) {
    let sign = |negative: bool| if negative { '-' } else { '+' };
    let text = if let Some(months) = column.as_primitive_opt::<IntervalYearMonthType>() {
        let months = months.value(row);
        let all = months.unsigned_abs();
        format!("{}{}-{:02}", sign(months < 0), all / 12, all % 12)
    } else {
        let millis = column.as_primitive::<DurationMillisecondType>().value(row);
        let all = millis.unsigned_abs();
        let (seconds, rest) = (all / 1000, all % 1000);
        let (days, hours) = (seconds / 86_400, seconds / 3_600 % 24);
        let (minutes, seconds) = (seconds / 60 % 60, seconds % 60);
        let sign = sign(millis < 0);
        format!("{sign}{days} {hours:02}:{minutes:02}:{seconds:02}.{rest:03}")
    };
    output.extend_from_slice(text.as_bytes());
}

fn write_map(
    column: &ArrayRef,
    row: usize,
    data_type: &SqlType,
    output: &mut Vec<u8>,
) -> Result<(), Error> {
    let entries = column.as_map().value(row);
    let count = SqlType {
        root: TypeRoot::Int,
        nullable: false,
    };
    let (key, of) = match &data_type.root {
        TypeRoot::Map(key, of) => (key.as_ref(), of.as_ref()),
        TypeRoot::Multiset(element) => (element.as_ref(), &count),
        _ => return Err(wrong_type(column, data_type)),
    };
    output.push(b'{');
    for entry in 0..entries.len() {
        separate(entry, output);
        write_value(entries.column(0), entry, key, output)?;
        output.push(b'=');
        write_value(entries.column(1), entry, of, output)?;
    }
    output.push(b'}');
    Ok(())
}

fn separate(index: usize, output: &mut Vec<u8>) {
    if index > 0 {
        output.extend_from_slice(b", ");
    }
}

/// Gives the time that begins at `begin` exactly `precision` digits of a second.
fn pad_fraction(output: &mut Vec<u8>, begin: usize, precision: usize) {
    let point = output[begin..].iter().position(|byte| *byte == b'.');
    let digits = point.map_or(0, |point| output.len() - begin - point - 1);
    if precision == 0 {
        if let Some(point) = point {
            output.truncate(begin + point);
        }
        return;
    }
    if point.is_none() {
        output.push(b'.');
    }
    if digits > precision {
        output.truncate(output.len() - (digits - precision));
    }
    output.extend(std::iter::repeat_n(b'0', precision.saturating_sub(digits)));
}

fn wrong_type(column: &ArrayRef, data_type: &SqlType) -> Error {
    Error::failed(format!(
        "a column of type {:?} holds {}",
        data_type.root,
        column.data_type()
    ))
}
