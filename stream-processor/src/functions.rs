//! Flink's functions with Flink's types and results.

pub(crate) mod time;

/// The names of all functions, for `SHOW FUNCTIONS`.
pub(crate) fn names() -> Vec<String> {
    Vec::new()
}
