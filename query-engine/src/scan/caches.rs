//! What scans of all queries share: parsed manifests and Parquet footers, each bounded in bytes.
//!
//! Both are keyed by path and never go stale, because Iceberg files never change.

use std::sync::Arc;

use datafusion::execution::cache::DefaultFilesMetadataCache;
use datafusion::execution::cache::cache_manager::FileMetadataCache;
use lake::read::ManifestCache;

/// Bounds of [`ScanCaches`], in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ScanBounds {
    /// Parsed manifests kept.
    pub(crate) manifests: usize,
    /// Parquet footers kept.
    pub(crate) footers: usize,
    /// Deleted keys that one scan may hold.
    pub(crate) deleted_keys: usize,
}

/// Caches shared by all scans.
#[derive(Debug)]
pub(crate) struct ScanCaches {
    pub(crate) manifests: ManifestCache,
    pub(crate) footers: Arc<dyn FileMetadataCache>,
    pub(crate) deleted_keys: usize,
}

impl Default for ScanBounds {
    fn default() -> Self {
        Self {
            manifests: 64 << 20,
            footers: 64 << 20,
            deleted_keys: 256 << 20,
        }
    }
}

impl ScanCaches {
    /// Empty caches with these bounds.
    pub(crate) fn new(bounds: ScanBounds) -> Self {
        Self {
            manifests: ManifestCache::new(bounds.manifests),
            footers: Arc::new(DefaultFilesMetadataCache::new(bounds.footers)),
            deleted_keys: bounds.deleted_keys,
        }
    }
}
