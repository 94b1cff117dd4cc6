//! JSON records into columns.
//!
//! Records of one topic look alike, so for each member the decoder remembers which member came after it the last time
//! and first compares with that name; a hit costs a `memcmp`. Values are read straight into typed columns; only a
//! value of another kind takes the tolerant way of [`super::convert`]. A record that is not JSON is taken back.

use std::fmt;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use hashbrown::HashMap;

use crate::error::Error;
use crate::formats::json::column::Column;
use crate::formats::json::convert::{TimestampStandard, unescape};
use crate::formats::json::scan::{Malformed, Scanner};
use crate::formats::{Decoded, Decoder, Payloads, options};
use crate::table::{self, ColumnKind, SqlType, TableDefinition, TypeRoot};

/// Member names remembered, so that records with random names do not fill the memory.
const NAMES: usize = 4096;

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The options of the format.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct JsonOptions {
    /// `json.ignore-parse-errors`: bad values become NULL, bad records are skipped.
    pub(crate) ignore_errors: bool,
    /// `json.fail-on-missing-field`
    pub(crate) fail_on_missing: bool,
    /// `json.timestamp-format.standard`
    pub(crate) timestamps: TimestampStandard,
    /// The table has a DECIMAL column, so that numbers inside what a `STRING` column takes stay exact.
    pub(crate) decimals: bool,
}

/// Why a record cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It is not JSON.
    Malformed(usize),
    /// A value does not fit its column, and that is not to be ignored.
    Value,
    /// A member is missing, and that is not to be ignored.
    Missing,
}

/// Decodes records of one table.
pub(crate) struct JsonDecoder {
    members: Members,
    options: JsonOptions,
}

/// The columns of an object and how to find them.
pub(crate) struct Members {
    columns: Vec<Column>,
    /// Every name seen, also of members that are not read.
    names: Vec<Name>,
    by_name: HashMap<Vec<u8>, usize>,
    /// The name expected first.
    first: usize,
    n_rows: usize,
}

struct Name {
    /// `"name":` as it stood in the text.
    literal: Vec<u8>,
    column: Option<usize>,
    /// The name that followed the last time.
    next: usize,
}

/// Stands for no name.
const NONE: usize = usize::MAX;

impl From<Malformed> for Failure {
    fn from(malformed: Malformed) -> Self {
        Failure::Malformed(malformed.0)
    }
}

// === impl JsonOptions ===

impl JsonOptions {
    /// From the table's options.
    pub(crate) fn of(table: &TableDefinition) -> Result<JsonOptions, Error> {
        let ignore_errors = option(table, "ignore-parse-errors")?;
        let fail_on_missing = option(table, "fail-on-missing-field")?;
        if ignore_errors && fail_on_missing {
            return Err(Error::invalid(format!(
                "table {}: fail-on-missing-field and ignore-parse-errors shouldn't both be true",
                table.path
            )));
        }
        Ok(JsonOptions {
            ignore_errors,
            fail_on_missing,
            timestamps: timestamp_standard(table, "json")?,
            decimals: table.columns.iter().any(|column| {
                column.kind == ColumnKind::Physical && has_decimal(&column.data_type)
            }),
        })
    }
}

/// Whether the type is DECIMAL or holds one.
fn has_decimal(data_type: &SqlType) -> bool {
    match &data_type.root {
        TypeRoot::Decimal(..) => true,
        TypeRoot::Array(inner) | TypeRoot::Multiset(inner) => has_decimal(inner),
        TypeRoot::Map(key, value) => has_decimal(key) || has_decimal(value),
        TypeRoot::Row(fields) => fields.iter().any(|(_, field)| has_decimal(field)),
        _ => false,
    }
}

/// A switch under `json.` or, for Kafka, `value.json.`.
fn option(table: &TableDefinition, name: &str) -> Result<bool, Error> {
    let value = format!("value.json.{name}");
    let under_value = options::flag(table, &value, false)?;
    Ok(options::flag(table, &format!("json.{name}"), false)? || under_value)
}

/// `json.timestamp-format.standard`, or that of another format.
pub(crate) fn timestamp_standard(
    table: &TableDefinition,
    format: &str,
) -> Result<TimestampStandard, Error> {
    let key = format!("{format}.timestamp-format.standard");
    let value = options::get(table, &key).or_else(|| options::get(table, &format!("value.{key}")));
    match value {
        None | Some("SQL") => Ok(TimestampStandard::Sql),
        Some("ISO-8601") => Ok(TimestampStandard::Iso8601),
        Some(other) => Err(options::wrong(table, &key, other)),
    }
}

// === impl JsonDecoder ===

impl JsonDecoder {
    /// A decoder for these columns.
    pub(crate) fn new(columns: &[&table::Column], options: JsonOptions) -> Result<Self, Error> {
        Ok(JsonDecoder {
            members: Members::of_columns(columns)?,
            options,
        })
    }

    /// Reads one record, which may be an array of rows; gives how many rows it had.
    fn record(&mut self, text: &[u8]) -> Result<usize, Failure> {
        let mut scanner = Scanner::of_record(text);
        scanner.space();
        match scanner.peek() {
            b'{' => {
                self.members.read(&mut scanner, &self.options)?;
                Ok(1)
            }
            b'[' => {
                scanner.at += 1;
                scanner.space();
                if scanner.peek() == b']' {
                    return Ok(0);
                }
                let mut n_rows = 0;
                loop {
                    scanner.space();
                    if scanner.peek() != b'{' {
                        return Err(Failure::Malformed(scanner.at));
                    }
                    self.members.read(&mut scanner, &self.options)?;
                    n_rows += 1;
                    scanner.space();
                    if scanner.peek() == b']' {
                        return Ok(n_rows);
                    }
                    scanner.expect(b',')?;
                }
            }
            // Jackson passes over a byte order mark; asked last, so that other records do not pay for it.
            _ if text.starts_with(BYTE_ORDER_MARK) => self.record(&text[BYTE_ORDER_MARK.len()..]),
            _ => Err(Failure::Malformed(scanner.at)),
        }
    }
}

impl Decoder for JsonDecoder {
    fn decode(&mut self, payloads: Payloads<'_>) -> Result<Decoded, Error> {
        let mut origin = Vec::with_capacity(payloads.spans.len());
        let mut n_bad = 0;
        for (index, span) in payloads.spans.iter().enumerate() {
            let text = span.of(payloads.data).unwrap_or_default();
            if text.is_empty() {
                continue;
            }
            let before = self.members.n_rows;
            let read = match std::str::from_utf8(text) {
                Ok(_) => self.record(text),
                Err(error) => Err(Failure::Malformed(error.valid_up_to())),
            };
            match read {
                Ok(n_rows) => origin.extend(std::iter::repeat_n(index as u32, n_rows)),
                Err(failure) => {
                    self.members.truncate(before);
                    if !self.options.ignore_errors {
                        return Err(bad_record(text, failure));
                    }
                    n_bad += 1;
                }
            }
        }
        let n_rows = origin.len();
        let one_to_one = n_rows == payloads.spans.len()
            && origin
                .iter()
                .enumerate()
                .all(|(row, of)| row == *of as usize);
        Ok(Decoded {
            columns: self.members.finish()?,
            n_rows,
            origin: (!one_to_one).then_some(origin),
            kinds: None,
            n_bad,
        })
    }
}

fn bad_record(text: &[u8], why: Failure) -> Error {
    let shown = String::from_utf8_lossy(&text[..text.len().min(200)]);
    Error::failed(format!("Failed to deserialize JSON '{shown}': {why}"))
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Malformed(at) => write!(formatter, "it is not JSON at byte {at}"),
            Failure::Value => formatter.write_str("a value does not fit its column"),
            Failure::Missing => formatter.write_str("a field is missing"),
        }
    }
}

// === impl Members ===

impl Members {
    /// The columns of a table.
    pub(crate) fn of_columns(columns: &[&table::Column]) -> Result<Members, Error> {
        let types: Vec<(&str, DataType)> = columns
            .iter()
            .map(|column| (column.name.as_str(), column.data_type.arrow()))
            .collect();
        Members::new(types.iter().map(|(name, of)| (*name, of)))
    }

    /// How many rows have been read.
    pub(crate) fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Columns by name.
    pub(crate) fn new<'a>(
        columns: impl Iterator<Item = (&'a str, &'a DataType)>,
    ) -> Result<Members, Error> {
        let mut members = Members {
            columns: Vec::new(),
            names: Vec::new(),
            by_name: HashMap::new(),
            first: NONE,
            n_rows: 0,
        };
        for (index, (name, data_type)) in columns.enumerate() {
            members.columns.push(Column::new(data_type)?);
            members.by_name.insert(name.as_bytes().to_vec(), index);
            members.names.push(Name {
                literal: Vec::new(),
                column: Some(index),
                next: NONE,
            });
        }
        Ok(members)
    }

    /// Reads the object that is next in the text as one row.
    pub(crate) fn read(
        &mut self,
        scanner: &mut Scanner<'_>,
        options: &JsonOptions,
    ) -> Result<(), Failure> {
        let row = self.n_rows;
        let mut n_set = 0;
        let mut previous = NONE;
        scanner.expect(b'{')?;
        scanner.space();
        if scanner.peek() == b'}' {
            scanner.at += 1;
        } else {
            loop {
                let name = self.name(scanner, previous)?;
                previous = name.unwrap_or(NONE);
                let column = name.and_then(|name| self.names[name].column);
                match column {
                    Some(column) => {
                        let column = &mut self.columns[column];
                        if column.len() > row {
                            // Of equal names the last one counts.
                            column.truncate(row);
                        } else {
                            n_set += 1;
                        }
                        column.read(scanner, options)?;
                    }
                    None => {
                        scanner.value()?;
                    }
                }
                scanner.space();
                match scanner.peek() {
                    b',' => scanner.at += 1,
                    b'}' => {
                        scanner.at += 1;
                        break;
                    }
                    _ => return Err(Failure::Malformed(scanner.at)),
                }
            }
        }
        self.n_rows = row + 1;
        if n_set < self.columns.len() {
            if options.fail_on_missing {
                return Err(Failure::Missing);
            }
            self.fill(row);
        }
        Ok(())
    }

    /// The name that is next in the text, with its colon; `None` for one that is not remembered.
    fn name(
        &mut self,
        scanner: &mut Scanner<'_>,
        previous: usize,
    ) -> Result<Option<usize>, Failure> {
        let expected = match self.names.get(previous) {
            Some(previous) => previous.next,
            None => self.first,
        };
        if let Some(name) = self.names.get(expected)
            && !name.literal.is_empty()
            && scanner.take(&name.literal)
        {
            return Ok(Some(expected));
        }
        scanner.space();
        let begin = scanner.at;
        let (text, escaped) = scanner.string()?;
        let adjacent = scanner.peek() == b':';
        scanner.space();
        scanner.expect(b':')?;
        let literal = &scanner.text[begin..scanner.at];
        let mut plain = Vec::new();
        let key = if escaped {
            unescape(text, true, &mut plain);
            plain.as_slice()
        } else {
            text
        };
        let found = match self.by_name.get(key) {
            Some(index) => *index,
            None if self.names.len() >= NAMES => return Ok(None),
            None => {
                self.by_name.insert(key.to_vec(), self.names.len());
                self.names.push(Name {
                    literal: Vec::new(),
                    column: None,
                    next: NONE,
                });
                self.names.len() - 1
            }
        };
        if adjacent && !escaped {
            self.names[found].literal = literal.to_vec();
        }
        match self.names.get_mut(previous) {
            Some(previous) => previous.next = found,
            None => self.first = found,
        }
        Ok(Some(found))
    }

    fn fill(&mut self, row: usize) {
        for column in &mut self.columns {
            if column.len() <= row {
                column.push_null();
            }
        }
    }

    /// Adds a row of NULLs.
    pub(crate) fn push_null(&mut self) {
        self.n_rows += 1;
        self.fill(self.n_rows - 1);
    }

    /// Takes back all but the first `n` rows.
    pub(crate) fn truncate(&mut self, n: usize) {
        self.n_rows = self.n_rows.min(n);
        for column in &mut self.columns {
            column.truncate(n);
        }
    }

    /// The arrays; the columns are empty afterwards.
    pub(crate) fn finish(&mut self) -> Result<Vec<ArrayRef>, Error> {
        self.n_rows = 0;
        self.columns.iter_mut().map(Column::finish).collect()
    }
}
