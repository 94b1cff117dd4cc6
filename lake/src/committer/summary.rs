//! The counts in a snapshot's summary: what it added and removed, and the totals after it.
//!
//! Readers show them and planners trust them, so totals are only written when those of the parent are
//! known; a wrong number would be worse than none.

use std::collections::{HashMap, HashSet};

use iceberg::spec::{DataContentType, DataFile, Snapshot, Struct};

/// What one snapshot changes, counted.
#[derive(Debug, Default)]
pub(super) struct Counts {
    added: Tally,
    removed: Tally,
    partitions: HashSet<(i32, Struct)>,
}

#[derive(Debug, Default)]
struct Tally {
    data_files: u64,
    records: u64,
    bytes: u64,
    delete_files: u64,
    position_delete_files: u64,
    position_deletes: u64,
    equality_delete_files: u64,
    equality_deletes: u64,
}

// === impl Counts ===

impl Counts {
    pub(super) fn add(&mut self, spec_id: i32, file: &DataFile) {
        self.partitions.insert((spec_id, file.partition().clone()));
        self.added.count(file);
    }

    pub(super) fn remove(&mut self, spec_id: i32, file: &DataFile) {
        self.partitions.insert((spec_id, file.partition().clone()));
        self.removed.count(file);
    }

    /// The lines of the summary, given the parent snapshot.
    pub(super) fn lines(&self, parent: Option<&Snapshot>) -> HashMap<String, String> {
        let mut lines = HashMap::new();
        let mut put = |name: &str, count: u64| {
            if count > 0 {
                lines.insert(name.to_owned(), count.to_string());
            }
        };
        put("added-data-files", self.added.data_files);
        put("added-records", self.added.records);
        put("added-files-size", self.added.bytes);
        put("added-delete-files", self.added.delete_files);
        put(
            "added-position-delete-files",
            self.added.position_delete_files,
        );
        put("added-position-deletes", self.added.position_deletes);
        put(
            "added-equality-delete-files",
            self.added.equality_delete_files,
        );
        put("added-equality-deletes", self.added.equality_deletes);
        put("deleted-data-files", self.removed.data_files);
        put("deleted-records", self.removed.records);
        put("removed-files-size", self.removed.bytes);
        put("removed-delete-files", self.removed.delete_files);
        put(
            "removed-position-delete-files",
            self.removed.position_delete_files,
        );
        put("removed-position-deletes", self.removed.position_deletes);
        put(
            "removed-equality-delete-files",
            self.removed.equality_delete_files,
        );
        put("removed-equality-deletes", self.removed.equality_deletes);
        lines.insert(
            "changed-partition-count".to_owned(),
            self.partitions.len().to_string(),
        );
        for (name, added, removed) in self.totals() {
            let before = match parent {
                None => Some(0),
                Some(parent) => parent
                    .summary()
                    .additional_properties
                    .get(name)
                    .and_then(|total| total.parse::<u64>().ok()),
            };
            if let Some(total) = before.and_then(|before| (before + added).checked_sub(removed)) {
                lines.insert(name.to_owned(), total.to_string());
            }
        }
        lines
    }

    fn totals(&self) -> [(&'static str, u64, u64); 6] {
        let (added, removed) = (&self.added, &self.removed);
        [
            ("total-data-files", added.data_files, removed.data_files),
            (
                "total-delete-files",
                added.delete_files,
                removed.delete_files,
            ),
            ("total-records", added.records, removed.records),
            ("total-files-size", added.bytes, removed.bytes),
            (
                "total-position-deletes",
                added.position_deletes,
                removed.position_deletes,
            ),
            (
                "total-equality-deletes",
                added.equality_deletes,
                removed.equality_deletes,
            ),
        ]
    }
}

// === impl Tally ===

impl Tally {
    fn count(&mut self, file: &DataFile) {
        self.bytes += file.file_size_in_bytes();
        match file.content_type() {
            DataContentType::Data => {
                self.data_files += 1;
                self.records += file.record_count();
            }
            DataContentType::PositionDeletes => {
                self.delete_files += 1;
                self.position_delete_files += 1;
                self.position_deletes += file.record_count();
            }
            DataContentType::EqualityDeletes => {
                self.delete_files += 1;
                self.equality_delete_files += 1;
                self.equality_deletes += file.record_count();
            }
        }
    }
}
