//! The `json` format: records straight into columns, and rows back into records.
//!
//! `decode` drives, `column` holds the columns being built and reads typed values, `scan` walks JSON text, `convert`
//! is the tolerant way for values that are not of the column's type, `tree` prints objects and arrays for text columns,
//! `debezium` reads the change events of `debezium-json`.
//! The rules are Flink's.

pub(crate) mod column;
pub(crate) mod convert;
pub(crate) mod debezium;
pub(crate) mod decode;
pub(crate) mod encode;
pub(crate) mod scan;
pub(crate) mod tree;

#[cfg(test)]
mod tests;
