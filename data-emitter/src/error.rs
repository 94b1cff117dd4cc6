//! Why the emitter cannot start or go on.

/// Why the emitter cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A configuration value cannot be used.
    #[error("configuration key `{key}`: {why}")]
    Config {
        /// The key.
        key: &'static str,
        /// What is wrong with its value.
        why: String,
    },
    /// The cluster cannot be reached or refuses.
    #[error("could not {what}")]
    Kafka {
        /// What we tried.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: kafka_client::Error,
    },
}
