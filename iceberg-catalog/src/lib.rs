//! Iceberg REST catalog on SQLite or PostgreSQL.
