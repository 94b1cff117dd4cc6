//! Reads `WITH` options with their defaults; a value that is none of the allowed ones is refused by name.

use std::str::FromStr;

use crate::error::Error;
use crate::table::TableDefinition;

/// The value of `key`, if given.
pub(crate) fn get<'a>(table: &'a TableDefinition, key: &str) -> Option<&'a str> {
    table.options.get(key).map(String::as_str)
}

/// The value of `key`, which must be given.
pub(crate) fn need<'a>(table: &'a TableDefinition, key: &str) -> Result<&'a str, Error> {
    get(table, key)
        .ok_or_else(|| Error::invalid(format!("table {} needs the option '{key}'", table.path)))
}

/// The value of `key` as a `T`, or `default`.
pub(crate) fn parsed<T: FromStr>(
    table: &TableDefinition,
    key: &str,
    default: T,
) -> Result<T, Error> {
    match get(table, key) {
        None => Ok(default),
        Some(text) => text.trim().parse().map_err(|_| wrong(table, key, text)),
    }
}

/// The value of the switch `key`, or `default`.
pub(crate) fn flag(table: &TableDefinition, key: &str, default: bool) -> Result<bool, Error> {
    match get(table, key).map(str::to_ascii_lowercase).as_deref() {
        None => Ok(default),
        Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(other) => Err(wrong(table, key, other)),
    }
}

/// The error for a value that `key` cannot have.
pub(crate) fn wrong(table: &TableDefinition, key: &str, value: &str) -> Error {
    Error::invalid(format!(
        "option '{key}' of table {} cannot be '{value}'",
        table.path
    ))
}

/// The options of the formats, all of which are honoured.
const FORMATS: [&str; 21] = [
    "json.ignore-parse-errors",
    "json.fail-on-missing-field",
    "json.timestamp-format.standard",
    "json.map-null-key.mode",
    "json.encode.decimal-as-plain-number",
    "json.encode.ignore-null-fields",
    "debezium-json.schema-include",
    "debezium-json.ignore-parse-errors",
    "debezium-json.timestamp-format.standard",
    "debezium-json.map-null-key.mode",
    "debezium-json.encode.decimal-as-plain-number",
    "debezium-json.encode.ignore-null-fields",
    "csv.field-delimiter",
    "csv.quote-character",
    "csv.disable-quote-character",
    "csv.escape-character",
    "csv.null-literal",
    "csv.ignore-parse-errors",
    "csv.allow-comments",
    "raw.charset",
    "raw.endianness",
];

/// Refuses each option that is neither a format's nor among `known` (exact, or a prefix that ends in `.`).
pub(crate) fn refuse_unknown(table: &TableDefinition, known: &[&str]) -> Result<(), Error> {
    let is_known = |key: &String| {
        let listed = known
            .iter()
            .any(|known| key == known || (known.ends_with('.') && key.starts_with(known)));
        listed || FORMATS.contains(&key.as_str())
    };
    match table.options.keys().find(|key| !is_known(key)) {
        None => Ok(()),
        Some(key) => Err(Error::invalid(format!(
            "option '{key}' of table {} is not supported by connector '{}'",
            table.path,
            get(table, "connector").unwrap_or("?")
        ))),
    }
}
