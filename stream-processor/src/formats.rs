//! Bytes to columns and back: `json`, `debezium-json`, `csv` and `raw`.
//!
//! A [`Decoder`] is made for the columns a query reads, a [`Encoder`] for those a sink writes. They know nothing of
//! where the bytes come from; [`crate::connectors`] feeds them.

pub(crate) mod csv;
pub(crate) mod json;
pub(crate) mod options;
pub(crate) mod raw;
pub(crate) mod text;

use arrow::array::ArrayRef;
use kafka_client::Span;

use crate::batch::{ChangeBatch, RowKind};
use crate::error::Error;
use crate::table::{Column, TableDefinition};

/// The payloads of some records: ranges of one buffer, or null.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Payloads<'a> {
    /// What the spans point into.
    pub(crate) data: &'a [u8],
    /// One a record.
    pub(crate) spans: &'a [Span],
}

/// What a decoder made of some records.
#[derive(Debug)]
pub(crate) struct Decoded {
    /// One array a column.
    pub(crate) columns: Vec<ArrayRef>,
    /// Rows in each of them.
    pub(crate) n_rows: usize,
    /// The record that each row came from; `None` if row `i` is record `i`.
    pub(crate) origin: Option<Vec<u32>>,
    /// What each row does; `None` if all are inserts.
    pub(crate) kinds: Option<Vec<RowKind>>,
    /// Records that were skipped because they were bad.
    pub(crate) n_bad: usize,
}

/// Reads records of one format into columns.
pub(crate) trait Decoder: Send {
    /// Decodes all of `payloads`.
    fn decode(&mut self, payloads: Payloads<'_>) -> Result<Decoded, Error>;
}

/// Writes rows in one format, each as one record without a line end.
pub(crate) trait Encoder: Send {
    /// Appends row `row` to `output`.
    fn encode(
        &mut self,
        batch: &ChangeBatch,
        row: usize,
        output: &mut Vec<u8>,
    ) -> Result<(), Error>;
    /// Whether rows other than inserts can be told.
    fn takes_changes(&self) -> bool {
        false
    }
}

/// A decoder of `table`'s format for the physical `columns`, in this order, and behind them the format's own metadata.
pub(crate) fn decoder(
    table: &TableDefinition,
    format: &str,
    columns: &[&Column],
    metadata: &[&str],
) -> Result<Box<dyn Decoder>, Error> {
    if let Some(key) = metadata.first().filter(|_| format != "debezium-json") {
        return Err(Error::invalid(format!(
            "format '{format}' of table {} has no metadata '{key}'",
            table.path
        )));
    }
    match format {
        "json" => {
            let options = json::decode::JsonOptions::of(table)?;
            Ok(Box::new(json::decode::JsonDecoder::new(columns, options)?))
        }
        "debezium-json" => {
            let options = json::debezium::DebeziumOptions::of(table)?;
            let decoder = json::debezium::DebeziumDecoder::new(columns, metadata, options)?;
            Ok(Box::new(decoder))
        }
        "raw" => Ok(Box::new(raw::RawDecoder::new(table, columns)?)),
        "csv" => Ok(Box::new(csv::CsvDecoder::new(table, columns)?)),
        other => Err(unknown(table, other)),
    }
}

/// An encoder of `table`'s format for rows of `schema`.
pub(crate) fn encoder(
    table: &TableDefinition,
    format: &str,
    schema: &arrow::datatypes::SchemaRef,
) -> Result<Box<dyn Encoder>, Error> {
    match format {
        "json" => Ok(Box::new(json::encode::JsonEncoder::new(
            schema,
            json::encode::JsonEncoding::of(table, format)?,
        )?)),
        "debezium-json" => Ok(Box::new(json::encode::DebeziumEncoder::new(
            schema,
            json::encode::JsonEncoding::of(table, format)?,
        )?)),
        "csv" => Ok(Box::new(csv::CsvEncoder::new(table, schema)?)),
        "raw" => Ok(Box::new(raw::RawEncoder::new(table, schema)?)),
        other => Err(unknown(table, other)),
    }
}

fn unknown(table: &TableDefinition, format: &str) -> Error {
    Error::invalid(format!(
        "table {} has format `{format}`; there are json, debezium-json, csv and raw",
        table.path
    ))
}
