//! Which statistics of a column manifests keep, as the table's properties say.
//!
//! `write.metadata.metrics.default` and `write.metadata.metrics.column.<name>` take `none`, `counts`,
//! `truncate(<length>)` or `full`; Iceberg's default is `truncate(16)`. A column at the top level
//! without bounds has none in the Parquet file either: comparing wide values costs time, and skips nothing.
//! See <https://iceberg.apache.org/docs/latest/configuration/#write-properties>.

use std::collections::HashMap;
use std::num::NonZeroUsize;

use crate::{Error, Result};

const DEFAULT: &str = "write.metadata.metrics.default";
const COLUMN: &str = "write.metadata.metrics.column.";
/// Characters (or bytes) that a bound keeps when no property says another length.
const BOUND_LENGTH: NonZeroUsize = NonZeroUsize::new(16).unwrap();

/// What is kept of one column, beside its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MetricsMode {
    /// Nothing.
    None,
    /// How many values, nulls and NaNs.
    Counts,
    /// Also bounds, text and bytes cut to this many characters or bytes.
    Truncate(NonZeroUsize),
    /// Also bounds, whole.
    Full,
}

/// The modes of a table's columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metrics {
    default: MetricsMode,
    /// By the column's full name, dots between the names of nested ones.
    columns: HashMap<String, MetricsMode>,
}

// === impl MetricsMode ===

impl MetricsMode {
    fn parse(key: &str, value: &str) -> Result<Self> {
        let text = value.trim().to_ascii_lowercase();
        let length = text
            .strip_prefix("truncate(")
            .and_then(|rest| rest.strip_suffix(')'))
            .and_then(|length| length.trim().parse().ok());
        match (text.as_str(), length) {
            ("none", _) => Ok(MetricsMode::None),
            ("counts", _) => Ok(MetricsMode::Counts),
            ("full", _) => Ok(MetricsMode::Full),
            (_, Some(length)) => Ok(MetricsMode::Truncate(length)),
            _ => Err(Error::Invalid(format!(
                "table property `{key}` is `{value}`, not `none`, `counts`, `truncate(<length>)` or `full`"
            ))),
        }
    }

    /// Whether lower and upper bounds are kept.
    pub(super) fn has_bounds(self) -> bool {
        matches!(self, MetricsMode::Truncate(_) | MetricsMode::Full)
    }

    /// Bytes that a bound can have, at least one; `None` if it is not cut.
    fn bytes(self) -> Option<usize> {
        match self {
            MetricsMode::None | MetricsMode::Counts => Some(1),
            // A character has up to four.
            MetricsMode::Truncate(length) => Some(length.get().saturating_mul(4)),
            MetricsMode::Full => None,
        }
    }
}

// === impl Metrics ===

impl Default for Metrics {
    fn default() -> Self {
        Metrics {
            default: MetricsMode::Truncate(BOUND_LENGTH),
            columns: HashMap::new(),
        }
    }
}

impl Metrics {
    /// All bounds whole: for the paths in position deletes, by which readers find the deletes of a file.
    pub(super) fn full() -> Self {
        Metrics {
            default: MetricsMode::Full,
            columns: HashMap::new(),
        }
    }

    /// What the properties of a table say.
    pub(super) fn of(properties: &HashMap<String, String>) -> Result<Self> {
        let mut metrics = Metrics::default();
        for (key, value) in properties {
            if key == DEFAULT {
                metrics.default = MetricsMode::parse(key, value)?;
            } else if let Some(column) = key.strip_prefix(COLUMN) {
                let mode = MetricsMode::parse(key, value)?;
                metrics.columns.insert(column.to_owned(), mode);
            }
        }
        Ok(metrics)
    }

    /// The mode of the column with this full name.
    pub(super) fn mode(&self, column: &str) -> MetricsMode {
        self.columns.get(column).copied().unwrap_or(self.default)
    }

    /// Bytes that the longest bound of any column can have, at least one; `None` if one is not cut.
    pub(super) fn longest_bound(&self) -> Option<usize> {
        let mut longest = self.default.bytes()?;
        for mode in self.columns.values() {
            longest = longest.max(mode.bytes()?);
        }
        Some(longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(properties: &[(&str, &str)]) -> Result<Metrics> {
        let owned = properties.iter();
        Metrics::of(
            &owned
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        )
    }

    fn truncate(length: usize) -> MetricsMode {
        MetricsMode::Truncate(NonZeroUsize::new(length).unwrap())
    }

    #[test]
    fn a_column_has_its_own_mode_or_the_tables() {
        let metrics = of(&[
            (DEFAULT, "Counts"),
            ("write.metadata.metrics.column.a", "truncate(40)"),
            ("write.metadata.metrics.column.b.c", "none"),
        ])
        .unwrap();
        let modes = ["a", "b.c", "other"].map(|column| metrics.mode(column));
        let wanted = [truncate(40), MetricsMode::None, MetricsMode::Counts];
        assert_eq!(modes, wanted);
        assert_eq!(metrics.longest_bound(), Some(160));
        assert_eq!(of(&[]).unwrap().mode("any"), truncate(16));
        assert_eq!(Metrics::full().longest_bound(), None);
    }

    #[test]
    fn what_is_no_mode_is_refused_by_name() {
        for wrong in ["", "some", "truncate(0)", "truncate(x)", "truncate(9"] {
            let error = of(&[("write.metadata.metrics.column.a", wrong)]).unwrap_err();
            let message = error.to_string();
            assert!(
                message.contains("write.metadata.metrics.column.a"),
                "{wrong}: {message}"
            );
        }
    }
}
