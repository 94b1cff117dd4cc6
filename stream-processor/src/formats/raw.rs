//! The `raw` format: the record is the one value, text or bytes; numbers in network byte order.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, Int32Array, Int64Array, StringBuilder,
};
use arrow::datatypes::{DataType, SchemaRef};

use crate::batch::ChangeBatch;
use crate::error::Error;
use crate::formats::{Decoded, Decoder, Encoder, Payloads, options};
use crate::table::{Column, TableDefinition};

/// Reads `raw`.
pub(crate) struct RawDecoder {
    data_type: Option<DataType>,
}

/// Writes `raw`.
pub(crate) struct RawEncoder {
    data_type: DataType,
}

fn check(table: &TableDefinition, data_type: &DataType) -> Result<(), Error> {
    if let Some(charset) = options::get(table, "raw.charset")
        && !charset.eq_ignore_ascii_case("utf-8")
    {
        return Err(options::wrong(table, "raw.charset", charset));
    }
    if let Some(order) = options::get(table, "raw.endianness")
        && order != "big-endian"
    {
        return Err(options::wrong(table, "raw.endianness", order));
    }
    match data_type {
        DataType::Utf8 | DataType::Binary | DataType::Int32 | DataType::Int64 => Ok(()),
        other => Err(Error::invalid(format!(
            "table {}: the raw format has no values of type {other}",
            table.path
        ))),
    }
}

impl RawDecoder {
    /// A decoder for the one column, or for none if it is not read.
    pub(crate) fn new(table: &TableDefinition, columns: &[&Column]) -> Result<Self, Error> {
        let data_type = match columns {
            [] => None,
            [column] => Some(column.data_type.arrow()),
            _ => {
                return Err(Error::invalid(format!(
                    "table {}: the raw format needs exactly one physical column",
                    table.path
                )));
            }
        };
        if let Some(data_type) = &data_type {
            check(table, data_type)?;
        }
        Ok(RawDecoder { data_type })
    }
}

impl Decoder for RawDecoder {
    fn decode(&mut self, payloads: Payloads<'_>) -> Result<Decoded, Error> {
        let values = || payloads.spans.iter().map(|span| span.of(payloads.data));
        let n_rows = payloads.spans.len();
        let column: Option<ArrayRef> = match &self.data_type {
            None => None,
            Some(DataType::Utf8) => {
                let bytes: usize = payloads.spans.iter().map(|span| span.len()).sum();
                let mut builder = StringBuilder::with_capacity(n_rows, bytes);
                for value in values() {
                    match value.map(std::str::from_utf8) {
                        Some(Ok(text)) => builder.append_value(text),
                        // As Java does, bytes that are no UTF-8 become replacement characters.
                        _ => builder.append_option(value.map(String::from_utf8_lossy)),
                    }
                }
                Some(Arc::new(builder.finish()))
            }
            Some(DataType::Binary) => {
                let mut builder = BinaryBuilder::with_capacity(n_rows, payloads.data.len());
                values().for_each(|value| builder.append_option(value));
                Some(Arc::new(builder.finish()))
            }
            Some(DataType::Int32) => {
                let numbers = values().map(|value| number(value).map(i32::from_be_bytes));
                Some(Arc::new(numbers.collect::<Int32Array>()))
            }
            Some(_) => {
                let numbers = values().map(|value| number(value).map(i64::from_be_bytes));
                Some(Arc::new(numbers.collect::<Int64Array>()))
            }
        };
        Ok(Decoded {
            columns: column.into_iter().collect(),
            n_rows,
            origin: None,
            kinds: None,
            n_bad: 0,
        })
    }
}

fn number<const N: usize>(value: Option<&[u8]>) -> Option<[u8; N]> {
    value?.try_into().ok()
}

impl RawEncoder {
    /// An encoder for rows of one column.
    pub(crate) fn new(table: &TableDefinition, schema: &SchemaRef) -> Result<Self, Error> {
        if schema.fields().len() != 1 {
            return Err(Error::invalid(format!(
                "table {}: the raw format needs exactly one physical column",
                table.path
            )));
        }
        let data_type = schema.field(0).data_type().clone();
        check(table, &data_type)?;
        Ok(RawEncoder { data_type })
    }
}

impl Encoder for RawEncoder {
    fn encode(
        &mut self,
        batch: &ChangeBatch,
        row: usize,
        output: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let column = batch.rows.column(0);
        if column.is_null(row) {
            return Ok(());
        }
        match self.data_type {
            DataType::Utf8 => {
                output.extend_from_slice(column.as_string::<i32>().value(row).as_bytes());
            }
            DataType::Binary => {
                let values: &BinaryArray = column.as_binary();
                output.extend_from_slice(values.value(row));
            }
            DataType::Int32 => {
                let values: &Int32Array = column.as_primitive();
                output.extend_from_slice(&values.value(row).to_be_bytes());
            }
            _ => {
                let values: &Int64Array = column.as_primitive();
                output.extend_from_slice(&values.value(row).to_be_bytes());
            }
        }
        Ok(())
    }
}
