//! Makes events: clickstream, web logs and Nexmark, sent to any Kafka.
