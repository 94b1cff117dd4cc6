//! Kafka client: metadata, idempotent producer, columnar consumer, admin.
