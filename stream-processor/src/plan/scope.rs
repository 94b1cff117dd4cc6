//! What names mean where an expression stands.

use super::rel::Field;
use crate::error::{Error, Position};

/// The columns that names can mean.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scope {
    pub(crate) columns: Vec<(Option<String>, Field)>,
    /// So many of the first columns are those of the query around this one: they count for names that nothing else has.
    pub(crate) n_around: usize,
}

impl Scope {
    pub(crate) fn of(columns: Vec<(Option<String>, Field)>) -> Self {
        Scope {
            columns,
            n_around: 0,
        }
    }

    /// Where `column`, of `table` if one is named, is.
    pub(super) fn find(
        &self,
        table: Option<&str>,
        column: &str,
        at: Position,
    ) -> Result<Option<usize>, Error> {
        let (around, own) = self.columns.split_at(self.n_around);
        for (columns, first) in [(own, around.len()), (around, 0)] {
            let mut fitting = columns
                .iter()
                .enumerate()
                .filter(|(_, (qualifier, field))| {
                    field.name == column
                        && table.is_none_or(|table| qualifier.as_deref() == Some(table))
                });
            let Some((found, _)) = fitting.next() else {
                continue;
            };
            if fitting.next().is_some() {
                return Err(Error::validation(
                    format!("column `{column}` is ambiguous"),
                    at,
                ));
            }
            return Ok(Some(first + found));
        }
        Ok(None)
    }
}
