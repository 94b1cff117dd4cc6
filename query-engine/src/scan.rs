//! Reads Iceberg tables with DataFusion's own Parquet source.
//!
//! Ours rather than a library's because everything that makes such a scan fast or right lives here: a
//! snapshot pinned per query, files pruned by the statistics in manifests before any is opened, several
//! partitions read in parallel, both kinds of deletes, and columns found by field id however often they
//! were renamed. Tables come from [`LakeCatalog`], plans go to DataFusion as a [`TableProvider`]
//! ([`IcebergTable`]); [`metadata_tables`] answers the `$` tables. SQL is no concern of this module.
//!
//! [`TableProvider`]: datafusion::catalog::TableProvider

mod adapter;
mod caches;
mod catalog;
mod deletes;
mod files;
mod hidden;
pub(crate) mod metadata_tables;
mod pin;
mod pruning;
mod reading;
pub(crate) mod statistics;
mod table;
mod values;

pub(crate) use caches::{ScanBounds, ScanCaches};
pub(crate) use catalog::LakeCatalog;
pub(crate) use pin::SnapshotPin;
pub(crate) use reading::{ScanProgress, watched};
pub(crate) use table::IcebergTable;

/// An error of `lake` as DataFusion carries it; the cause stays reachable.
pub(crate) fn external(error: lake::Error) -> datafusion::error::DataFusionError {
    datafusion::error::DataFusionError::External(Box::new(error))
}

#[cfg(test)]
mod tests;
