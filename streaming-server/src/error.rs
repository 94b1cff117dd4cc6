//! Why the broker could not start or had to stop.

use std::io;
use std::path::PathBuf;

use crate::log;

/// Failure of the broker as a whole; failures of single requests are answered to their client instead.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting makes no sense.
    #[error("`{key}` in the configuration of the broker: {why}")]
    Config {
        /// Name of the setting.
        key: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// Another process uses the data directory.
    #[error("data directory `{}` is in use by another broker", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The data directory was written by another version, or is not a broker's.
    #[error("data directory `{}` is {found}; this broker reads {expected}", path.display())]
    Version {
        /// The directory.
        path: PathBuf,
        /// What its version file says.
        found: String,
        /// What this program can read.
        expected: &'static str,
    },
    /// A file of the data directory could not be read or written.
    #[error("could not use `{}`", path.display())]
    Storage {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The list of topics is damaged.
    #[error("could not understand `{}`", path.display())]
    Catalog {
        /// The file.
        path: PathBuf,
        /// Where it is damaged.
        #[source]
        source: serde_json::Error,
    },
    /// A partition could not be recovered.
    #[error("could not open partition {partition} of topic `{topic}`")]
    Partition {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// What failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Threads could not be started, or the socket failed.
    #[error("could not {what}")]
    Start {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn partition(topic: &str, partition: i32, source: log::OpenError) -> Self {
        Self::Partition {
            topic: topic.to_owned(),
            partition,
            source: Box::new(source),
        }
    }
}
