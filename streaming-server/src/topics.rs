//! What topics there are: their ids, partitions and settings, and the file that remembers them.
//!
//! The catalog file is replaced as a whole at each change, after new directories exist and before old ones go, so a
//! crash leaves either the old or the new list. Changes do I/O and run one at a time on the broker's chores thread;
//! questions read a map in memory.

mod catalog;
pub(crate) mod settings;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use uuid::Uuid;

use crate::data_dir::DataDir;
use crate::log::{self, Env, Partition};
use catalog::{Catalog, TopicEntry};
use settings::{Defaults, SettingError};

/// Producer ids handed out between two writes of the catalog.
const PRODUCER_ID_BLOCK: i64 = 1000;

/// Why a change of topics is refused or fails.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("topic `{name}` already exists")]
    Exists { name: String },
    #[error("no topic named `{name}`")]
    Unknown { name: String },
    #[error("`{name}` is no topic name: {why}")]
    Name { name: String, why: &'static str },
    #[error("{why}")]
    Partitions { why: String },
    #[error(transparent)]
    Setting(#[from] SettingError),
    #[error("could not change the topics on disk")]
    Storage(#[source] io::Error),
    #[error("could not open a partition")]
    Open(#[from] log::OpenError),
}

/// One topic and its open partitions.
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    pub(crate) id: Uuid,
    pub(crate) partitions: Vec<Arc<Partition>>,
    /// Settings that differ from the broker's defaults, by Kafka's names.
    pub(crate) overrides: BTreeMap<String, String>,
}

/// All topics of the broker.
pub(crate) struct Topics {
    data_dir: DataDir,
    env: Arc<Env>,
    defaults: Defaults,
    max_partitions: usize,
    cluster_id: String,
    known: RwLock<Known>,
    catalog: Mutex<Catalog>,
    producer_ids: Mutex<std::ops::Range<i64>>,
}

#[derive(Default)]
struct Known {
    by_name: BTreeMap<Arc<str>, Arc<Topic>>,
    by_id: HashMap<Uuid, Arc<Topic>>,
}

/// What must be known before the log's environment can be made.
pub(crate) struct Opened {
    data_dir: DataDir,
    catalog: Catalog,
}

/// Reads the catalog of `data_dir` and counts this start in it.
pub(crate) fn open_catalog(data_dir: DataDir) -> Result<Opened, crate::Error> {
    let path = data_dir.catalog_file();
    let mut catalog = Catalog::load(&path)?;
    catalog.starts += 1;
    catalog
        .save(&path)
        .map_err(|source| crate::Error::Storage { path, source })?;
    Ok(Opened { data_dir, catalog })
}

impl Opened {
    /// Grows by one at each start.
    pub(crate) fn leader_epoch(&self) -> i32 {
        self.catalog.starts
    }
}

// === impl Topics ===

impl Topics {
    /// Opens every partition, several at a time.
    pub(crate) fn open(
        opened: Opened,
        env: Arc<Env>,
        defaults: Defaults,
        max_partitions: u32,
        now_ms: i64,
    ) -> Result<Self, crate::Error> {
        let Opened {
            data_dir,
            mut catalog,
        } = opened;
        for id in std::mem::take(&mut catalog.deleting) {
            let directory = data_dir.topic_directory(id);
            match std::fs::remove_dir_all(&directory) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(crate::Error::Storage {
                        path: directory,
                        source: error,
                    });
                }
                _ => {}
            }
        }
        let mut known = Known::default();
        let opened = open_all(&data_dir, &env, &defaults, &catalog.topics, now_ms)?;
        for (entry, partitions) in catalog.topics.iter().zip(opened) {
            known.insert(Topic {
                name: entry.name.as_str().into(),
                id: entry.id,
                partitions,
                overrides: entry.overrides.clone(),
            });
        }
        let next = catalog.next_producer_id;
        Ok(Self {
            data_dir,
            env,
            defaults,
            max_partitions: usize::try_from(max_partitions).unwrap_or(usize::MAX),
            cluster_id: catalog.cluster_id.clone(),
            known: RwLock::new(known),
            catalog: Mutex::new(catalog),
            producer_ids: Mutex::new(next..next),
        })
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<Topic>> {
        self.known.read().by_name.get(name).cloned()
    }

    pub(crate) fn get_by_id(&self, id: Uuid) -> Option<Arc<Topic>> {
        self.known.read().by_id.get(&id).cloned()
    }

    /// All topics by name.
    pub(crate) fn all(&self) -> Vec<Arc<Topic>> {
        self.known.read().by_name.values().cloned().collect()
    }

    pub(crate) fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    pub(crate) fn data_path(&self) -> &std::path::Path {
        self.data_dir.path()
    }

    pub(crate) fn defaults(&self) -> &Defaults {
        &self.defaults
    }

    /// Says whether [`Topics::create`] would succeed.
    pub(crate) fn check_create(
        &self,
        name: &str,
        n_partitions: i32,
        overrides: &BTreeMap<String, String>,
    ) -> Result<usize, Error> {
        check_name(name)?;
        if self.get(name).is_some() {
            return Err(Error::Exists {
                name: name.to_owned(),
            });
        }
        self.defaults.apply(overrides)?;
        let n_partitions = usize::try_from(n_partitions)
            .ok()
            .filter(|n| *n > 0)
            .ok_or_else(|| Error::Partitions {
                why: format!("a topic needs at least one partition, not {n_partitions}"),
            })?;
        self.check_room(n_partitions)?;
        Ok(n_partitions)
    }

    /// Creates a topic; it is durable when this returns.
    pub(crate) fn create(
        &self,
        name: &str,
        n_partitions: i32,
        overrides: BTreeMap<String, String>,
        now_ms: i64,
    ) -> Result<Arc<Topic>, Error> {
        let mut catalog = self.catalog.lock();
        let n_partitions = self.check_create(name, n_partitions, &overrides)?;
        let id = Uuid::new_v4();
        let settings = self.defaults.apply(&overrides)?;
        let entry = TopicEntry {
            name: name.to_owned(),
            id,
            n_partitions,
            overrides: overrides.clone(),
        };
        let partitions = (0..n_partitions)
            .map(|number| open_one(&self.data_dir, &self.env, &entry, number, &settings, now_ms))
            .collect::<Result<_, _>>()?;
        self.change(&mut catalog, |catalog| catalog.topics.push(entry))?;
        let topic = Topic {
            name: name.into(),
            id,
            partitions,
            overrides,
        };
        tracing::info!(topic = name, n_partitions, "topic created");
        Ok(self.known.write().insert(topic))
    }

    /// Adds partitions until there are `total`; without `dry_run` they are durable when this returns.
    pub(crate) fn grow(&self, name: &str, total: i32, now_ms: i64) -> Result<(), Error> {
        let mut catalog = self.catalog.lock();
        let topic = self.check_grow(name, total)?;
        let total = usize::try_from(total).unwrap_or(0);
        let settings = self.defaults.apply(&topic.overrides)?;
        let entry = TopicEntry {
            name: name.to_owned(),
            id: topic.id,
            n_partitions: total,
            overrides: topic.overrides.clone(),
        };
        let mut partitions = topic.partitions.clone();
        for number in partitions.len()..total {
            partitions.push(open_one(
                &self.data_dir,
                &self.env,
                &entry,
                number,
                &settings,
                now_ms,
            )?);
        }
        self.change(&mut catalog, |catalog| catalog.replace(entry))?;
        let grown = Topic {
            name: Arc::clone(&topic.name),
            id: topic.id,
            partitions,
            overrides: topic.overrides.clone(),
        };
        self.known.write().insert(grown);
        Ok(())
    }

    /// Says whether [`Topics::grow`] would succeed.
    pub(crate) fn check_grow(&self, name: &str, total: i32) -> Result<Arc<Topic>, Error> {
        let topic = self.get(name).ok_or_else(|| Error::Unknown {
            name: name.to_owned(),
        })?;
        let n_partitions = topic.partitions.len();
        let more = usize::try_from(total)
            .ok()
            .and_then(|total| total.checked_sub(n_partitions))
            .unwrap_or(0);
        if more == 0 {
            let why = format!(
                "topic `{name}` has {n_partitions} partitions; it can only get more, not {total}"
            );
            return Err(Error::Partitions { why });
        }
        self.check_room(more)?;
        Ok(topic)
    }

    /// Replaces the settings of a topic.
    pub(crate) fn configure(
        &self,
        name: &str,
        overrides: BTreeMap<String, String>,
    ) -> Result<(), Error> {
        let mut catalog = self.catalog.lock();
        let topic = self.get(name).ok_or_else(|| Error::Unknown {
            name: name.to_owned(),
        })?;
        let settings = self.defaults.apply(&overrides)?;
        let entry = TopicEntry {
            name: name.to_owned(),
            id: topic.id,
            n_partitions: topic.partitions.len(),
            overrides: overrides.clone(),
        };
        self.change(&mut catalog, |catalog| catalog.replace(entry))?;
        for partition in &topic.partitions {
            partition.change_settings(settings.clone());
        }
        let (name, partitions) = (Arc::clone(&topic.name), topic.partitions.clone());
        self.known.write().insert(Topic {
            name,
            id: topic.id,
            partitions,
            overrides,
        });
        Ok(())
    }

    /// Deletes a topic; it is gone for good when this returns, its files soon after.
    pub(crate) fn delete(&self, name: &str) -> Result<(), Error> {
        let mut catalog = self.catalog.lock();
        let topic = self.get(name).ok_or_else(|| Error::Unknown {
            name: name.to_owned(),
        })?;
        self.change(&mut catalog, |catalog| {
            catalog.topics.retain(|entry| entry.id != topic.id);
            catalog.deleting.push(topic.id);
        })?;
        self.known.write().remove(&topic);
        for partition in &topic.partitions {
            partition.mark_deleted();
        }
        // If this fails the next start tries again.
        match std::fs::remove_dir_all(self.data_dir.topic_directory(topic.id)) {
            Ok(()) => self.change(&mut catalog, |catalog| {
                catalog.deleting.retain(|id| *id != topic.id)
            })?,
            Err(error) => tracing::warn!(topic = name, %error, "files of a deleted topic remain"),
        }
        tracing::info!(topic = name, "topic deleted");
        Ok(())
    }

    /// A producer id that was never given out before, not even by an earlier process.
    pub(crate) fn next_producer_id(&self) -> Result<i64, Error> {
        let mut ids = self.producer_ids.lock();
        if let Some(id) = ids.next() {
            return Ok(id);
        }
        let mut catalog = self.catalog.lock();
        let first = catalog.next_producer_id;
        self.change(&mut catalog, |catalog| {
            catalog.next_producer_id += PRODUCER_ID_BLOCK
        })?;
        *ids = first + 1..first + PRODUCER_ID_BLOCK;
        Ok(first)
    }

    fn check_room(&self, n_more: usize) -> Result<(), Error> {
        let n_partitions: usize = self
            .known
            .read()
            .by_name
            .values()
            .map(|topic| topic.partitions.len())
            .sum();
        if n_partitions + n_more > self.max_partitions {
            let why = format!(
                "the broker keeps at most {} partitions (`max_partitions`)",
                self.max_partitions
            );
            return Err(Error::Partitions { why });
        }
        Ok(())
    }

    fn change(
        &self,
        catalog: &mut Catalog,
        change: impl FnOnce(&mut Catalog),
    ) -> Result<(), Error> {
        let mut changed = catalog.clone();
        change(&mut changed);
        changed
            .save(&self.data_dir.catalog_file())
            .map_err(Error::Storage)?;
        *catalog = changed;
        Ok(())
    }
}

// === impl Known ===

impl Known {
    fn insert(&mut self, topic: Topic) -> Arc<Topic> {
        let topic = Arc::new(topic);
        self.by_name
            .insert(Arc::clone(&topic.name), Arc::clone(&topic));
        self.by_id.insert(topic.id, Arc::clone(&topic));
        topic
    }

    fn remove(&mut self, topic: &Topic) {
        self.by_name.remove(&topic.name);
        self.by_id.remove(&topic.id);
    }
}

fn open_one(
    data_dir: &DataDir,
    env: &Arc<Env>,
    entry: &TopicEntry,
    number: usize,
    settings: &log::Settings,
    now_ms: i64,
) -> Result<Arc<Partition>, log::OpenError> {
    let directory = data_dir.topic_directory(entry.id).join(number.to_string());
    let number = i32::try_from(number).unwrap_or(i32::MAX);
    Partition::open(
        &entry.name,
        number,
        &directory,
        env,
        settings.clone(),
        now_ms,
    )
}

/// Opens the partitions of all `topics` on a few threads: recovery is mostly checksums.
fn open_all(
    data_dir: &DataDir,
    env: &Arc<Env>,
    defaults: &Defaults,
    topics: &[TopicEntry],
    now_ms: i64,
) -> Result<Vec<Vec<Arc<Partition>>>, crate::Error> {
    let mut jobs = Vec::new();
    for (i, entry) in topics.iter().enumerate() {
        let settings =
            defaults
                .apply(&entry.overrides)
                .map_err(|error| crate::Error::Partition {
                    topic: entry.name.clone(),
                    partition: 0,
                    source: Box::new(error),
                })?;
        jobs.extend((0..entry.n_partitions).map(|number| (i, number, settings.clone())));
    }
    let n_threads = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(8);
    let next = std::sync::atomic::AtomicUsize::new(0);
    let results: Mutex<Vec<_>> = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..n_threads {
            scope.spawn(|| {
                while let Some((i, number, settings)) =
                    jobs.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
                {
                    let opened = open_one(data_dir, env, &topics[*i], *number, settings, now_ms);
                    results.lock().push((*i, *number, opened));
                }
            });
        }
    });
    let mut results = results.into_inner();
    results.sort_by_key(|(i, number, _)| (*i, *number));
    let mut opened: Vec<Vec<Arc<Partition>>> = topics.iter().map(|_| Vec::new()).collect();
    for (i, number, partition) in results {
        let number = i32::try_from(number).unwrap_or(i32::MAX);
        let partition =
            partition.map_err(|error| crate::Error::partition(&topics[i].name, number, error))?;
        opened[i].push(partition);
    }
    Ok(opened)
}

/// Refuses what Kafka allows for no topic.
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    let why = if name.is_empty() || name.len() > 249 {
        "it needs 1 to 249 characters"
    } else if name == "." || name == ".." {
        "it names a directory"
    } else if !name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    {
        "only letters, digits, `.`, `_` and `-` are allowed"
    } else {
        return Ok(());
    };
    Err(Error::Name {
        name: name.to_owned(),
        why,
    })
}

#[cfg(test)]
mod tests;
