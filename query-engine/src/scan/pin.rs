//! Which snapshot a query reads, decided once before planning.

use std::sync::Arc;

use lake::iceberg::spec::{SchemaRef, SnapshotRef};
use lake::{Error, Result, Table};

/// Which snapshot of a table a query reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SnapshotPin {
    /// The newest of the main branch.
    Current,
    /// The one with this id (`FOR VERSION AS OF 123`).
    Id(i64),
    /// The one that a branch or tag names (`FOR VERSION AS OF 'tag'`).
    Ref(String),
    /// The one that was current at this time, in milliseconds since 1970 (`FOR TIMESTAMP AS OF`).
    AsOf(i64),
}

impl SnapshotPin {
    /// The snapshot, `None` for a table that has none yet, and the columns to read it with: those of
    /// the snapshot for a look into the past, those of the table otherwise.
    pub(crate) fn resolve(&self, table: &Table) -> Result<(Option<SnapshotRef>, SchemaRef)> {
        let metadata = table.metadata();
        let current = || Arc::clone(metadata.current_schema());
        let past = |snapshot: &SnapshotRef| {
            snapshot
                .schema_id()
                .and_then(|id| metadata.schema_by_id(id))
                .map_or_else(current, Arc::clone)
        };
        match self {
            Self::Current => Ok((metadata.current_snapshot().cloned(), current())),
            Self::Id(id) => {
                let snapshot = table.snapshot(*id)?;
                Ok((Some(Arc::clone(snapshot)), past(snapshot)))
            }
            Self::Ref(name) => {
                let missing = || Error::NotFound {
                    what: format!("branch or tag `{name}` in `{}`", table.ident()),
                };
                let reference = table.refs()?.get(name).ok_or_else(missing)?;
                let snapshot = metadata
                    .snapshot_by_id(reference.snapshot_id)
                    .ok_or_else(missing)?;
                let schema = if reference.is_branch() {
                    current()
                } else {
                    past(snapshot)
                };
                Ok((Some(Arc::clone(snapshot)), schema))
            }
            Self::AsOf(time) => {
                let logged = metadata
                    .history()
                    .iter()
                    .filter(|entry| entry.timestamp_ms() <= *time)
                    .max_by_key(|entry| entry.timestamp_ms())
                    .ok_or_else(|| Error::NotFound {
                        what: format!(
                            "version of `{}` at or before {time} ms since 1970",
                            table.ident()
                        ),
                    })?;
                let snapshot = table.snapshot(logged.snapshot_id)?;
                Ok((Some(Arc::clone(snapshot)), past(snapshot)))
            }
        }
    }
}
