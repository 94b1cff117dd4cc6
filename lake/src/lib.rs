//! Iceberg committer, writers and table maintenance.
