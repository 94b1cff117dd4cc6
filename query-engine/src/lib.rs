//! Trino-protocol query engine over Iceberg.

mod scan;
