//! Facts about scans of Iceberg tables.
