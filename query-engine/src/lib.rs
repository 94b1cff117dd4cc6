//! Trino-protocol query engine over Iceberg.
