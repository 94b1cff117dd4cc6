//! The catalog file: cluster id, producer ids given out, and the list of topics, as JSON.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::log::replace_file;

/// Everything the broker remembers apart from the logs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Catalog {
    pub(super) cluster_id: String,
    /// How often a broker was started on this directory; the leader epoch.
    pub(super) starts: i32,
    pub(super) next_producer_id: i64,
    /// Topics that are gone but whose files may remain.
    pub(super) deleting: Vec<Uuid>,
    pub(super) topics: Vec<TopicEntry>,
}

/// One topic as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TopicEntry {
    pub(super) name: String,
    pub(super) id: Uuid,
    #[serde(rename = "partitions")]
    pub(super) n_partitions: usize,
    pub(super) overrides: BTreeMap<String, String>,
}

impl Catalog {
    /// Reads the catalog at `path`, or makes that of a new cluster.
    pub(super) fn load(path: &Path) -> Result<Self, crate::Error> {
        match std::fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self {
                cluster_id: cluster_id(Uuid::new_v4()),
                starts: 0,
                next_producer_id: 1000,
                deleting: Vec::new(),
                topics: Vec::new(),
            }),
            Err(source) => Err(crate::Error::Storage {
                path: path.to_owned(),
                source,
            }),
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|source| crate::Error::Catalog {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// Makes the catalog durable, replacing the old one in one step.
    pub(super) fn save(&self, path: &Path) -> io::Result<()> {
        let json = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        replace_file(path, &json)
    }

    pub(super) fn replace(&mut self, entry: TopicEntry) {
        if let Some(old) = self.topics.iter_mut().find(|old| old.id == entry.id) {
            *old = entry;
        }
    }
}

/// 22 characters as Kafka forms its cluster ids: an id in URL-safe base64 without padding.
fn cluster_id(id: Uuid) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bits = id.as_u128();
    (0..22)
        .map(|i| {
            let sextet = if i < 21 {
                bits >> (122 - 6 * i)
            } else {
                bits << 4
            } & 0x3f;
            char::from(ALPHABET[usize::try_from(sextet).unwrap_or(0)])
        })
        .collect()
}
