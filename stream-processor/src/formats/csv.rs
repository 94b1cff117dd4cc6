//! The `csv` format: one record a line, quoted and escaped as Jackson's CSV does under Flink.

use arrow::array::Array;
use arrow::datatypes::SchemaRef;

use crate::batch::ChangeBatch;
use crate::error::Error;
use crate::formats::json::column::Column as Building;
use crate::formats::json::encode::{JsonEncoding, value};
use crate::formats::{Decoded, Decoder, Encoder, Payloads, options};
use crate::table::{Column, ColumnKind, TableDefinition};

/// Values longer than this are quoted without looking (Jackson's limit).
const QUOTE_CHECK: usize = 24;

#[derive(Debug, Clone)]
struct CsvOptions {
    delimiter: u8,
    quote: Option<u8>,
    escape: Option<u8>,
    null_literal: Option<String>,
    ignore_errors: bool,
    comments: bool,
}

/// Reads `csv`.
pub(crate) struct CsvDecoder {
    options: CsvOptions,
    /// For each field of a line, the column it goes to.
    fields: Vec<Option<usize>>,
    columns: Vec<Building>,
}

/// Writes `csv`.
pub(crate) struct CsvEncoder {
    options: CsvOptions,
    /// Values of these columns are never quoted.
    bare: Vec<bool>,
}

impl CsvOptions {
    fn of(table: &TableDefinition) -> Result<Self, Error> {
        let one = |key: &str, default: Option<u8>| match options::get(table, key) {
            None => Ok(default),
            Some("\\t") => Ok(Some(b'\t')),
            Some(text) if text.len() == 1 => Ok(Some(text.as_bytes()[0])),
            Some(text) => Err(options::wrong(table, key, text)),
        };
        let no_quotes = options::flag(table, "csv.disable-quote-character", false)?;
        Ok(CsvOptions {
            delimiter: one("csv.field-delimiter", Some(b','))?.unwrap_or(b','),
            quote: one("csv.quote-character", Some(b'"'))?.filter(|_| !no_quotes),
            escape: one("csv.escape-character", None)?,
            null_literal: options::get(table, "csv.null-literal").map(str::to_owned),
            ignore_errors: options::flag(table, "csv.ignore-parse-errors", false)?,
            comments: options::flag(table, "csv.allow-comments", false)?,
        })
    }
}

// === impl CsvDecoder ===

impl CsvDecoder {
    /// A decoder for these columns of the table.
    pub(crate) fn new(table: &TableDefinition, columns: &[&Column]) -> Result<Self, Error> {
        let physical = table.columns.iter();
        let physical = physical.filter(|column| column.kind == ColumnKind::Physical);
        let fields =
            physical.map(|column| columns.iter().position(|read| read.name == column.name));
        Ok(CsvDecoder {
            options: CsvOptions::of(table)?,
            fields: fields.collect(),
            columns: columns
                .iter()
                .map(|column| Building::new(&column.data_type.arrow()))
                .collect::<Result<_, _>>()?,
        })
    }

    fn record(&mut self, text: &[u8]) -> Option<()> {
        let fields = split(text, &self.options)?;
        if fields.len() > self.fields.len() {
            return None;
        }
        for (index, target) in self.fields.iter().enumerate() {
            let Some(target) = target else { continue };
            let column = &mut self.columns[*target];
            let is_null = match (fields.get(index), &self.options.null_literal) {
                (None, _) => true,
                (Some(field), Some(literal)) => field == literal.as_bytes(),
                (Some(_), None) => false,
            };
            if is_null {
                column.push_null();
            } else if !column.read_plain(&fields[index]) {
                if !self.options.ignore_errors {
                    return None;
                }
                column.push_null();
            }
        }
        Some(())
    }
}

impl Decoder for CsvDecoder {
    fn decode(&mut self, payloads: Payloads<'_>) -> Result<Decoded, Error> {
        let mut origin = Vec::with_capacity(payloads.spans.len());
        let mut n_bad = 0;
        for (index, span) in payloads.spans.iter().enumerate() {
            let text = span.of(payloads.data).unwrap_or_default();
            if text.is_empty() || (self.options.comments && text.starts_with(b"#")) {
                continue;
            }
            let before = origin.len();
            if std::str::from_utf8(text).is_ok() && self.record(text).is_some() {
                origin.push(index as u32);
                continue;
            }
            for column in &mut self.columns {
                column.truncate(before);
            }
            if !self.options.ignore_errors {
                let shown = String::from_utf8_lossy(&text[..text.len().min(200)]).into_owned();
                return Err(Error::failed(format!(
                    "Failed to deserialize CSV row '{shown}'"
                )));
            }
            n_bad += 1;
        }
        let n_rows = origin.len();
        let columns = self.columns.iter_mut().map(Building::finish);
        Ok(Decoded {
            columns: columns.collect::<Result<_, _>>()?,
            n_rows,
            origin: (n_rows != payloads.spans.len()).then_some(origin),
            kinds: None,
            n_bad,
        })
    }
}

/// The fields of a line; `None` if a quote is not closed.
fn split(text: &[u8], options: &CsvOptions) -> Option<Vec<Vec<u8>>> {
    let mut fields = Vec::new();
    let mut field = Vec::new();
    let mut at = 0;
    loop {
        let quoted = options
            .quote
            .filter(|quote| field.is_empty() && text.get(at) == Some(quote));
        if let Some(quote) = quoted {
            at += 1;
            loop {
                let byte = *text.get(at)?;
                at += 1;
                if Some(byte) == options.escape {
                    field.push(*text.get(at)?);
                    at += 1;
                } else if byte != quote {
                    field.push(byte);
                } else if text.get(at) == Some(&quote) {
                    field.push(quote);
                    at += 1;
                } else {
                    break;
                }
            }
        }
        match text.get(at) {
            None => {
                fields.push(field);
                return Some(fields);
            }
            Some(byte) if *byte == options.delimiter => {
                fields.push(std::mem::take(&mut field));
                at += 1;
            }
            Some(byte) if Some(*byte) == options.escape => {
                field.push(*text.get(at + 1)?);
                at += 2;
            }
            Some(byte) => {
                field.push(*byte);
                at += 1;
            }
        }
    }
}

// === impl CsvEncoder ===

impl CsvEncoder {
    /// An encoder for rows of `schema`.
    pub(crate) fn new(table: &TableDefinition, schema: &SchemaRef) -> Result<Self, Error> {
        let mut bare = Vec::new();
        for field in schema.fields() {
            if field.data_type().is_nested() {
                return Err(Error::invalid(format!(
                    "table {}: the csv format has no values of type {}",
                    table.path,
                    field.data_type()
                )));
            }
            bare.push(field.data_type().is_numeric());
        }
        Ok(CsvEncoder {
            options: CsvOptions::of(table)?,
            bare,
        })
    }
}

impl Encoder for CsvEncoder {
    fn encode(
        &mut self,
        batch: &ChangeBatch,
        row: usize,
        output: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let mut json = Vec::new();
        for (index, column) in batch.rows.columns().iter().enumerate() {
            if index > 0 {
                output.push(self.options.delimiter);
            }
            if column.is_null(row) {
                let literal = self.options.null_literal.as_deref().unwrap_or_default();
                output.extend_from_slice(literal.as_bytes());
                continue;
            }
            json.clear();
            let text: &[u8] =
                if let Some(text) = arrow::array::AsArray::as_string_opt::<i32>(column) {
                    text.value(row).as_bytes()
                } else {
                    value(column, row, &JsonEncoding::default(), &mut json)?;
                    json.strip_prefix(b"\"")
                        .and_then(|rest| rest.strip_suffix(b"\""))
                        .unwrap_or(&json)
                };
            self.write(text, self.bare[index], output);
        }
        Ok(())
    }
}

impl CsvEncoder {
    fn write(&self, text: &[u8], bare: bool, output: &mut Vec<u8>) {
        let Some(quote) = self.options.quote.filter(|_| !bare) else {
            return output.extend_from_slice(text);
        };
        let safe = quote.max(self.options.delimiter) + 1;
        // Jackson looks for a backslash even if nothing is escaped with it.
        let escape = self.options.escape.unwrap_or(b'\\');
        let is_safe = |byte: &u8| *byte >= safe && *byte != escape;
        if text.len() <= QUOTE_CHECK && text.iter().all(is_safe) {
            return output.extend_from_slice(text);
        }
        output.push(quote);
        for byte in text {
            if *byte == quote {
                output.push(self.options.escape.unwrap_or(quote));
            }
            output.push(*byte);
        }
        output.push(quote);
    }
}
