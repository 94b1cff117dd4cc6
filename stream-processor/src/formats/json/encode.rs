//! Rows into JSON records, formatted as Flink's `json` and `debezium-json` do.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, SchemaRef, Time32MillisecondType, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType,
};
use base64::Engine;

use crate::batch::ChangeBatch;
use crate::error::Error;
use crate::formats::json::convert::{TimestampStandard, quote};
use crate::formats::json::decode::timestamp_standard;
use crate::formats::{Encoder, options, text};
use crate::table::TableDefinition;

/// The options of the format.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct JsonEncoding {
    /// `json.timestamp-format.standard`
    timestamps: TimestampStandard,
    /// `json.encode.decimal-as-plain-number`
    plain_decimals: bool,
    /// `json.encode.ignore-null-fields`
    skip_nulls: bool,
}

/// Writes `json`.
pub(crate) struct JsonEncoder {
    /// `"name":` of each column.
    names: Vec<Vec<u8>>,
    encoding: JsonEncoding,
}

/// Writes `debezium-json`: an insert as `c`, a retraction as `d`.
pub(crate) struct DebeziumEncoder {
    rows: JsonEncoder,
}

// === impl JsonEncoding ===

impl JsonEncoding {
    /// From the table's options of `format`, which is `json` or `debezium-json`.
    pub(crate) fn of(table: &TableDefinition, format: &str) -> Result<Self, Error> {
        let key = |name: &str| format!("{format}.{name}");
        let mode = key("map-null-key.mode");
        if let Some(value) = options::get(table, &mode).filter(|value| *value != "FAIL") {
            return Err(options::wrong(table, &mode, value));
        }
        if options::flag(table, "debezium-json.schema-include", false)? {
            return Err(Error::invalid(format!(
                "table {}: Debezium JSON serialization doesn't support 'debezium-json.schema-include' option been set to true.",
                table.path
            )));
        }
        Ok(JsonEncoding {
            timestamps: timestamp_standard(table, format)?,
            plain_decimals: options::flag(table, &key("encode.decimal-as-plain-number"), false)?,
            skip_nulls: options::flag(table, &key("encode.ignore-null-fields"), false)?,
        })
    }
}

// === impl JsonEncoder ===

impl JsonEncoder {
    /// An encoder for rows of `schema`.
    pub(crate) fn new(schema: &SchemaRef, encoding: JsonEncoding) -> Result<Self, Error> {
        let names = schema.fields().iter().map(|field| literal(field.name()));
        Ok(JsonEncoder {
            names: names.collect(),
            encoding,
        })
    }

    /// Appends one row as an object.
    pub(crate) fn encode_row(
        &mut self,
        rows: &RecordBatch,
        row: usize,
        output: &mut Vec<u8>,
    ) -> Result<(), Error> {
        output.push(b'{');
        let mut first = true;
        for (column, name) in rows.columns().iter().zip(&self.names) {
            if self.encoding.skip_nulls && column.is_null(row) {
                continue;
            }
            if !first {
                output.push(b',');
            }
            first = false;
            output.extend_from_slice(name);
            value(column, row, &self.encoding, output)?;
        }
        output.push(b'}');
        Ok(())
    }
}

impl Encoder for JsonEncoder {
    fn encode(
        &mut self,
        batch: &ChangeBatch,
        row: usize,
        output: &mut Vec<u8>,
    ) -> Result<(), Error> {
        self.encode_row(&batch.rows, row, output)
    }
}

// === impl DebeziumEncoder ===

impl DebeziumEncoder {
    /// An encoder for rows of `schema`.
    pub(crate) fn new(schema: &SchemaRef, encoding: JsonEncoding) -> Result<Self, Error> {
        Ok(DebeziumEncoder {
            rows: JsonEncoder::new(schema, encoding)?,
        })
    }
}

impl Encoder for DebeziumEncoder {
    fn encode(
        &mut self,
        batch: &ChangeBatch,
        row: usize,
        output: &mut Vec<u8>,
    ) -> Result<(), Error> {
        if batch.kind(row).is_addition() {
            output.extend_from_slice(br#"{"before":null,"after":"#);
            self.rows.encode_row(&batch.rows, row, output)?;
            output.extend_from_slice(br#","op":"c"}"#);
        } else {
            output.extend_from_slice(br#"{"before":"#);
            self.rows.encode_row(&batch.rows, row, output)?;
            output.extend_from_slice(br#","after":null,"op":"d"}"#);
        }
        Ok(())
    }

    fn takes_changes(&self) -> bool {
        true
    }
}

fn literal(name: &str) -> Vec<u8> {
    let mut literal = Vec::new();
    quote(name.as_bytes(), &mut literal);
    literal.push(b':');
    literal
}

/// Appends one value.
pub(crate) fn value(
    column: &ArrayRef,
    row: usize,
    encoding: &JsonEncoding,
    output: &mut Vec<u8>,
) -> Result<(), Error> {
    if column.is_null(row) {
        output.extend_from_slice(b"null");
        return Ok(());
    }
    match column.data_type() {
        DataType::Boolean => {
            let word: &[u8] = if column.as_boolean().value(row) {
                b"true"
            } else {
                b"false"
            };
            output.extend_from_slice(word);
        }
        DataType::Int8 => integer(column.as_primitive::<Int8Type>().value(row).into(), output),
        DataType::Int16 => integer(column.as_primitive::<Int16Type>().value(row).into(), output),
        DataType::Int32 => integer(column.as_primitive::<Int32Type>().value(row).into(), output),
        DataType::Int64 => integer(column.as_primitive::<Int64Type>().value(row), output),
        DataType::Float32 => {
            let value = column.as_primitive::<Float32Type>().value(row);
            float(value.is_finite(), output, |output| {
                text::write_float(value, output)
            });
        }
        DataType::Float64 => {
            let value = column.as_primitive::<Float64Type>().value(row);
            float(value.is_finite(), output, |output| {
                text::write_double(value, output)
            });
        }
        DataType::Decimal128(_, scale) => {
            let value = column.as_primitive::<Decimal128Type>().value(row);
            text::write_decimal(value, *scale, encoding.plain_decimals, output);
        }
        DataType::Utf8 => quote(column.as_string::<i32>().value(row).as_bytes(), output),
        DataType::Binary => {
            let bytes = column.as_binary::<i32>().value(row);
            let text = base64::engine::general_purpose::STANDARD.encode(bytes);
            quote(text.as_bytes(), output);
        }
        DataType::Date32 => {
            let days = column.as_primitive::<Date32Type>().value(row);
            quoted(output, |output| text::write_date(days.into(), output));
        }
        DataType::Time32(TimeUnit::Millisecond) => {
            let time = column.as_primitive::<Time32MillisecondType>().value(row);
            quoted(output, |output| {
                // Flink's JSON format leaves the fraction out.
                let seconds = (time / 1000).rem_euclid(86_400);
                text::write_time(seconds.into(), TimeUnit::Second, output);
            });
        }
        DataType::Timestamp(unit, zone) => {
            let value = timestamp(column, *unit, row);
            quoted(output, |output| {
                let separator = encoding.timestamps.separator();
                text::write_timestamp(value, *unit, separator, output);
                if zone.is_some() {
                    output.push(b'Z');
                }
            });
        }
        _ => return nested(column, row, encoding, output),
    }
    Ok(())
}

fn nested(
    column: &ArrayRef,
    row: usize,
    encoding: &JsonEncoding,
    output: &mut Vec<u8>,
) -> Result<(), Error> {
    match column.data_type() {
        DataType::Struct(fields) => {
            output.push(b'{');
            let mut first = true;
            for (child, field) in column.as_struct().columns().iter().zip(fields) {
                if encoding.skip_nulls && child.is_null(row) {
                    continue;
                }
                if !first {
                    output.push(b',');
                }
                first = false;
                output.extend_from_slice(&literal(field.name()));
                value(child, row, encoding, output)?;
            }
            output.push(b'}');
        }
        DataType::List(_) => {
            let items = column.as_list::<i32>().value(row);
            output.push(b'[');
            for item in 0..items.len() {
                if item > 0 {
                    output.push(b',');
                }
                value(&items, item, encoding, output)?;
            }
            output.push(b']');
        }
        DataType::Map(_, _) => {
            let entries = column.as_map().value(row);
            let Some(keys) = entries.column(0).as_string_opt::<i32>() else {
                return Err(Error::failed("a JSON object needs text as keys"));
            };
            output.push(b'{');
            for entry in 0..entries.len() {
                if entry > 0 {
                    output.push(b',');
                }
                quote(keys.value(entry).as_bytes(), output);
                output.push(b':');
                value(entries.column(1), entry, encoding, output)?;
            }
            output.push(b'}');
        }
        other => {
            return Err(Error::failed(format!("no JSON for values of type {other}")));
        }
    }
    Ok(())
}

/// The value of a timestamp in its unit.
pub(crate) fn timestamp(column: &ArrayRef, unit: TimeUnit, row: usize) -> i64 {
    match unit {
        TimeUnit::Microsecond => column.as_primitive::<TimestampMicrosecondType>().value(row),
        TimeUnit::Nanosecond => column.as_primitive::<TimestampNanosecondType>().value(row),
        TimeUnit::Second => column
            .as_primitive::<arrow::datatypes::TimestampSecondType>()
            .value(row),
        TimeUnit::Millisecond => column.as_primitive::<TimestampMillisecondType>().value(row),
    }
}

fn integer(value: i64, output: &mut Vec<u8>) {
    output.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// JSON has no word for infinity, so Jackson writes it as a string.
fn float(finite: bool, output: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    if finite {
        write(output);
    } else {
        quoted(output, write);
    }
}

fn quoted(output: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    output.push(b'"');
    write(output);
    output.push(b'"');
}
