//! Facts about planning from manifests.
