//! Kafka-protocol broker with a durable log.
