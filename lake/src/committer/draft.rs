//! Writes the manifests and the manifest list of a snapshot that is about to be committed.
//!
//! Manifests of added files do not depend on the version they are committed on (sequence numbers are
//! inherited), and manifests never change, so one attempt hands the next what it has written and what
//! it has found in the manifests that files are removed from; only the list is written anew. So an
//! attempt that lost against a faster writer costs little more than reading what that writer added.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::Utc;
use futures::{StreamExt, TryStreamExt, stream};
use iceberg::TableUpdate;
use iceberg::spec::{
    DataFile, FormatVersion, MAIN_BRANCH, ManifestContentType, ManifestEntryRef, ManifestFile,
    ManifestListWriter, ManifestWriter, ManifestWriterBuilder, Snapshot, SnapshotReference,
    SnapshotRetention, Summary, UNASSIGNED_SEQUENCE_NUMBER,
};
use uuid::Uuid;

use super::Change;
use super::summary::Counts;
use crate::committable::Content;
use crate::read::{READS_IN_FLIGHT, manifest_entries};
use crate::{Error, Result, Table};

/// Manifests of added files, ready to be listed by a snapshot with this id.
#[derive(Debug)]
pub(crate) struct Added {
    pub(super) snapshot_id: i64,
    format: FormatVersion,
    schema_id: i32,
    manifests: Vec<ManifestFile>,
    files: Vec<(i32, DataFile)>,
    /// What the removal of files makes of each manifest looked at so far, by its path.
    removals: HashMap<String, Removal>,
}

/// What is left of a manifest that files are removed from.
#[derive(Debug)]
enum Removal {
    /// It lists none of them.
    Untouched,
    /// The manifest that stands for it, and the removed files that it listed.
    Rewritten(Box<ManifestFile>, Vec<DataFile>),
}

impl Added {
    /// Whether these manifests can be used on this version too.
    pub(super) fn fits(&self, table: &Table) -> bool {
        let metadata = table.metadata();
        self.format == metadata.format_version()
            && self.schema_id == metadata.current_schema_id()
            && metadata.snapshot_by_id(self.snapshot_id).is_none()
    }
}

/// Writes manifests for the files that `change` adds, one per partition spec and content.
pub(super) async fn write_added(table: &Table, change: &Change) -> Result<Added> {
    let metadata = table.metadata();
    let snapshot_id = new_snapshot_id();
    let mut groups: BTreeMap<(bool, i32), Vec<DataFile>> = BTreeMap::new();
    let mut files = Vec::with_capacity(change.added.len());
    for file in &change.added {
        if file.content == Content::PositionDeletes
            && metadata.format_version() != FormatVersion::V2
        {
            return Err(Error::Unsupported(format!(
                "adding position delete files to a table of format version {}",
                metadata.format_version()
            )));
        }
        let entry = file.data_file(metadata)?;
        groups
            .entry((file.is_delete(), file.spec_id))
            .or_default()
            .push(entry.clone());
        files.push((file.spec_id, entry));
    }
    let mut manifests = Vec::new();
    for ((is_delete, spec_id), entries) in groups {
        let content = if is_delete {
            ManifestContentType::Deletes
        } else {
            ManifestContentType::Data
        };
        let mut writer = manifest_writer(table, snapshot_id, spec_id, content)?;
        for entry in entries {
            let sequence = match content {
                ManifestContentType::Data => change
                    .sequences
                    .get(entry.file_path())
                    .copied()
                    .unwrap_or(UNASSIGNED_SEQUENCE_NUMBER),
                ManifestContentType::Deletes => UNASSIGNED_SEQUENCE_NUMBER,
            };
            writer
                .add_file(entry, sequence)
                .map_err(Error::iceberg("list a new file"))?;
        }
        manifests.push(
            writer
                .write_manifest_file()
                .await
                .map_err(Error::iceberg("write a manifest"))?,
        );
    }
    Ok(Added {
        snapshot_id,
        format: metadata.format_version(),
        schema_id: metadata.current_schema_id(),
        manifests,
        files,
        removals: HashMap::new(),
    })
}

/// Writes the manifest list of the new snapshot and returns the updates that publish it.
pub(super) async fn updates(
    table: &Table,
    change: &Change,
    added: &mut Added,
) -> Result<Vec<TableUpdate>> {
    let metadata = table.metadata();
    let mut counts = Counts::default();
    for (spec_id, file) in &added.files {
        counts.add(*spec_id, file);
    }
    let mut manifests = added.manifests.clone();
    manifests.extend(kept(table, change, added, &mut counts).await?);
    let mut snapshot = publish_list(table, added.snapshot_id, manifests).await?;
    let mut lines = counts.lines(metadata.current_snapshot().map(AsRef::as_ref));
    lines.insert("engine-name".to_owned(), "streamforge".to_owned());
    lines.insert(
        "engine-version".to_owned(),
        env!("CARGO_PKG_VERSION").to_owned(),
    );
    lines.extend(change.summary.clone());
    snapshot.summary = Some(Summary {
        operation: change.operation.clone(),
        additional_properties: lines,
    });
    let mut updates = vec![
        TableUpdate::AddSnapshot {
            snapshot: snapshot.build(table, added.snapshot_id)?,
        },
        TableUpdate::SetSnapshotRef {
            ref_name: MAIN_BRANCH.to_owned(),
            reference: SnapshotReference::new(added.snapshot_id, main_retention(table)?),
        },
    ];
    if !change.properties.is_empty() {
        updates.push(TableUpdate::SetProperties {
            updates: change.properties.clone(),
        });
    }
    Ok(updates)
}

/// A manifest list that is written, on its way to becoming a snapshot.
pub(crate) struct Listed {
    list: String,
    sequence: i64,
    rows: Option<(u64, u64)>,
    summary: Option<Summary>,
}

impl Listed {
    fn build(self, table: &Table, snapshot_id: i64) -> Result<Snapshot> {
        let metadata = table.metadata();
        let Some(summary) = self.summary else {
            return Err(Error::Invalid("a snapshot needs a summary".to_owned()));
        };
        let parent = metadata.current_snapshot();
        let now = Utc::now().timestamp_millis();
        // The clock may run behind the one that made the last snapshot; order within a table holds.
        let now = parent.map_or(now, |parent| now.max(parent.timestamp_ms() + 1));
        let builder = Snapshot::builder()
            .with_snapshot_id(snapshot_id)
            .with_parent_snapshot_id(metadata.current_snapshot_id())
            .with_sequence_number(self.sequence)
            .with_timestamp_ms(now)
            .with_manifest_list(self.list)
            .with_summary(summary)
            .with_schema_id(metadata.current_schema_id());
        Ok(match self.rows {
            Some((first, count)) => builder.with_row_range(first, count).build(),
            None => builder.build(),
        })
    }
}

async fn publish_list(
    table: &Table,
    snapshot_id: i64,
    manifests: Vec<ManifestFile>,
) -> Result<Listed> {
    let metadata = table.metadata();
    let sequence = metadata.next_sequence_number();
    let list = format!(
        "{}/snap-{snapshot_id}-0-{}.avro",
        table.metadata_directory(),
        Uuid::now_v7()
    );
    let writer = table
        .file_io()
        .new_output(&list)
        .map_err(Error::iceberg("name a manifest list"))?
        .writer()
        .await
        .map_err(Error::iceberg("begin a manifest list"))?;
    let parent = metadata.current_snapshot_id();
    let first_row = metadata.next_row_id();
    let mut writer = match metadata.format_version() {
        FormatVersion::V1 => {
            return Err(Error::Unsupported(
                "writing to a format-version-1 table".to_owned(),
            ));
        }
        FormatVersion::V2 => ManifestListWriter::v2(writer, snapshot_id, parent, sequence),
        FormatVersion::V3 => {
            ManifestListWriter::v3(writer, snapshot_id, parent, sequence, Some(first_row))
        }
    };
    writer
        .add_manifests(manifests.into_iter())
        .map_err(Error::iceberg("list the manifests"))?;
    let rows = writer
        .next_row_id()
        .map(|next| (first_row, next.saturating_sub(first_row)));
    writer
        .close()
        .await
        .map_err(Error::iceberg("write a manifest list"))?;
    Ok(Listed {
        list,
        sequence,
        rows,
        summary: None,
    })
}

/// The manifests of the current snapshot, without the files that `change` removes.
async fn kept(
    table: &Table,
    change: &Change,
    added: &mut Added,
    counts: &mut Counts,
) -> Result<Vec<ManifestFile>> {
    let metadata = table.metadata();
    let Some(snapshot) = metadata.current_snapshot() else {
        return if change.removed.is_empty() {
            Ok(Vec::new())
        } else {
            Err(gone(table, &change.removed))
        };
    };
    let mut list = crate::read::manifest_list(table, snapshot).await?;
    list.retain(|manifest| manifest.has_added_files() || manifest.has_existing_files());
    if change.removed.is_empty() {
        return Ok(list);
    }
    let unseen: Vec<&ManifestFile> = list
        .iter()
        .filter(|manifest| !added.removals.contains_key(&manifest.manifest_path))
        .collect();
    let snapshot_id = added.snapshot_id;
    let mut looks = Vec::with_capacity(unseen.len());
    for manifest in unseen {
        looks.push(async move {
            let removal = remove(table, snapshot_id, manifest, &change.removed).await?;
            Ok::<_, Error>((manifest.manifest_path.clone(), removal))
        });
    }
    let looked: Vec<(String, Removal)> = stream::iter(looks)
        .buffer_unordered(READS_IN_FLIGHT)
        .try_collect()
        .await?;
    added.removals.extend(looked);
    let mut missing = change.removed.clone();
    let mut kept = Vec::with_capacity(list.len());
    for manifest in list {
        match added.removals.get(&manifest.manifest_path) {
            Some(Removal::Rewritten(rewritten, removed)) => {
                for file in removed {
                    missing.remove(file.file_path());
                    counts.remove(manifest.partition_spec_id, file);
                }
                kept.push(rewritten.as_ref().clone());
            }
            Some(Removal::Untouched) | None => kept.push(manifest),
        }
    }
    if missing.is_empty() {
        Ok(kept)
    } else {
        Err(gone(table, &missing))
    }
}

/// Looks for the files `removed` in `manifest`, and writes it again without them if it lists any.
async fn remove(
    table: &Table,
    snapshot_id: i64,
    manifest: &ManifestFile,
    removed: &HashSet<String>,
) -> Result<Removal> {
    let entries = manifest_entries(table, manifest).await?;
    let found: Vec<DataFile> = entries
        .iter()
        .filter(|entry| entry.is_alive() && removed.contains(entry.file_path()))
        .map(|entry| entry.data_file().clone())
        .collect();
    if found.is_empty() {
        return Ok(Removal::Untouched);
    }
    let rewritten = without(table, snapshot_id, manifest, &entries, removed).await?;
    Ok(Removal::Rewritten(Box::new(rewritten), found))
}

/// Writes `manifest` again with the files `removed` marked as deleted.
async fn without(
    table: &Table,
    snapshot_id: i64,
    manifest: &ManifestFile,
    entries: &[ManifestEntryRef],
    removed: &HashSet<String>,
) -> Result<ManifestFile> {
    let mut writer = manifest_writer(
        table,
        snapshot_id,
        manifest.partition_spec_id,
        manifest.content,
    )?;
    for entry in entries.iter().filter(|entry| entry.is_alive()) {
        let (Some(added_by), Some(sequence)) = (entry.snapshot_id(), entry.sequence_number())
        else {
            return Err(Error::Invalid(format!(
                "manifest `{}` has an entry without a sequence number",
                manifest.manifest_path
            )));
        };
        let file = entry.data_file().clone();
        let file_sequence = entry.file_sequence_number;
        if removed.contains(entry.file_path()) {
            writer.add_delete_file(file, sequence, file_sequence)
        } else {
            writer.add_existing_file(file, added_by, sequence, file_sequence)
        }
        .map_err(Error::iceberg("list a file again"))?;
    }
    writer
        .write_manifest_file()
        .await
        .map_err(Error::iceberg("write a manifest"))
}

/// Begins a manifest in the table's format.
pub(crate) fn manifest_writer(
    table: &Table,
    snapshot_id: i64,
    spec_id: i32,
    content: ManifestContentType,
) -> Result<ManifestWriter> {
    let metadata = table.metadata();
    let spec = metadata
        .partition_spec_by_id(spec_id)
        .ok_or_else(|| Error::NotFound {
            what: format!("partition spec {spec_id} in `{}`", table.ident()),
        })?;
    let path = format!("{}/{}-m0.avro", table.metadata_directory(), Uuid::now_v7());
    let output = table
        .file_io()
        .new_output(&path)
        .map_err(Error::iceberg("name a manifest"))?;
    let builder = ManifestWriterBuilder::new(
        output,
        Some(snapshot_id),
        metadata.current_schema().clone(),
        spec.as_ref().clone(),
    );
    Ok(match (metadata.format_version(), content) {
        (FormatVersion::V1, _) => {
            return Err(Error::Unsupported(
                "writing to a format-version-1 table".to_owned(),
            ));
        }
        (FormatVersion::V2, ManifestContentType::Data) => builder.build_v2_data(),
        (FormatVersion::V2, ManifestContentType::Deletes) => builder.build_v2_deletes(),
        (FormatVersion::V3, ManifestContentType::Data) => builder.build_v3_data(),
        (FormatVersion::V3, ManifestContentType::Deletes) => builder.build_v3_deletes(),
    })
}

/// A snapshot that lists `manifests` in place of the current ones, for upkeep that changes no rows.
pub(crate) async fn replace_manifests(
    table: &Table,
    snapshot_id: i64,
    manifests: Vec<ManifestFile>,
    mut lines: HashMap<String, String>,
) -> Result<Vec<TableUpdate>> {
    let parent = table.metadata().current_snapshot().map(AsRef::as_ref);
    lines.extend(Counts::default().lines(parent));
    lines.insert("engine-name".to_owned(), "streamforge".to_owned());
    let mut listed = publish_list(table, snapshot_id, manifests).await?;
    listed.summary = Some(Summary {
        operation: iceberg::spec::Operation::Replace,
        additional_properties: lines,
    });
    Ok(vec![
        TableUpdate::AddSnapshot {
            snapshot: listed.build(table, snapshot_id)?,
        },
        TableUpdate::SetSnapshotRef {
            ref_name: MAIN_BRANCH.to_owned(),
            reference: SnapshotReference::new(snapshot_id, main_retention(table)?),
        },
    ])
}

/// A random positive id.
pub(crate) fn new_snapshot_id() -> i64 {
    let (high, low) = Uuid::new_v4().as_u64_pair();
    ((high ^ low) & (i64::MAX as u64)).cast_signed()
}

/// The retention of the main branch, which a commit must not lose.
fn main_retention(table: &Table) -> Result<SnapshotRetention> {
    let main = table.refs()?.get(MAIN_BRANCH);
    Ok(
        main.map_or(SnapshotRetention::branch(None, None, None), |main| {
            main.retention.clone()
        }),
    )
}

fn gone(table: &Table, paths: &HashSet<String>) -> Error {
    let first = paths.iter().min().map_or("", String::as_str);
    Error::Conflict {
        what: format!("table `{}`", table.ident()),
        why: format!(
            "{} files to be replaced are gone, `{first}` first",
            paths.len()
        ),
    }
}
