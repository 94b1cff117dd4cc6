//! The current metadata of recently used tables, so that a load or commit neither reads nor parses it again.
//!
//! An entry is used only when its version equals the row's, so another instance on the same database is never hidden.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use iceberg::spec::TableMetadata;
use parking_lot::Mutex;
use serde_json::value::RawValue;

/// A parsed table takes about this many times its JSON text, the text included.
const PARSED_FACTOR: usize = 4;

/// A table as of one version.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) id: String,
    pub(crate) version: i64,
    pub(crate) metadata_location: String,
    pub(crate) metadata: TableMetadata,
    pub(crate) json: Box<RawValue>,
}

/// Least recently used tables leave first once `limit` bytes are held.
#[derive(Debug)]
pub(crate) struct Cache {
    limit: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    tables: HashMap<String, (u64, Arc<Table>)>,
    by_use: BTreeMap<u64, String>,
    clock: u64,
    size: usize,
}

// === impl Cache ===

impl Cache {
    pub(crate) fn new(limit: u64) -> Self {
        Cache {
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            held: Mutex::default(),
        }
    }

    /// The table with this id, if it is held at just this version.
    pub(crate) fn get(&self, id: &str, version: i64) -> Option<Arc<Table>> {
        let mut held = self.held.lock();
        let held = &mut *held;
        let (used, table) = held.tables.get_mut(id)?;
        if table.version != version {
            return None;
        }
        held.by_use.remove(used);
        held.clock += 1;
        *used = held.clock;
        held.by_use.insert(held.clock, id.to_owned());
        Some(table.clone())
    }

    /// Holds `table` unless a newer version is held.
    pub(crate) fn put(&self, table: &Arc<Table>) {
        let mut held = self.held.lock();
        if let Some((_, old)) = held.tables.get(&table.id)
            && old.version >= table.version
        {
            return;
        }
        held.remove(&table.id);
        held.clock += 1;
        let now = held.clock;
        held.size += size(table);
        held.by_use.insert(now, table.id.clone());
        held.tables.insert(table.id.clone(), (now, table.clone()));
        while held.size > self.limit {
            let Some((_, oldest)) = held.by_use.first_key_value() else {
                break;
            };
            let oldest = oldest.clone();
            held.remove(&oldest);
        }
    }
}

impl Held {
    fn remove(&mut self, id: &str) {
        if let Some((used, table)) = self.tables.remove(id) {
            self.by_use.remove(&used);
            self.size -= size(&table);
        }
    }
}

fn size(table: &Table) -> usize {
    table.json.get().len() * PARSED_FACTOR
}

#[cfg(test)]
mod tests;
