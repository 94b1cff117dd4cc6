//! Makes table metadata: a new table's, a committed change's, a registered file's. Pure: no storage and no database.
//!
//! The rules of the format are those of the iceberg crate's builder. What it calls invalid although it only came too
//! late (a snapshot with a used sequence number) is told apart here, because a client must then retry, not give up.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;

use flate2::read::GzDecoder;
use iceberg::spec::{FormatVersion, Schema, SortOrder, TableMetadata, UnboundPartitionSpec};
use iceberg::{TableCreation, TableUpdate};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Error;

const FORMAT_VERSION: &str = "format-version";
const DELETE_AFTER_COMMIT: &str = "write.metadata.delete-after-commit.enabled";

/// What a client says of a table it creates.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct CreateTable {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) location: Option<String>,
    pub(crate) schema: Schema,
    #[serde(default)]
    pub(crate) partition_spec: Option<UnboundPartitionSpec>,
    #[serde(default)]
    pub(crate) write_order: Option<SortOrder>,
    #[serde(default)]
    pub(crate) stage_create: Option<bool>,
    #[serde(default)]
    pub(crate) properties: Option<HashMap<String, String>>,
}

/// A table's next metadata, and the metadata files that fell out of its log.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) metadata: TableMetadata,
    /// Files to delete once the change is committed; empty unless the table asks for that.
    pub(crate) expired: Vec<String>,
}

/// The metadata of a new table at `location`.
pub(crate) fn create(
    request: CreateTable,
    location: String,
    defaults: &BTreeMap<String, String>,
) -> Result<TableMetadata, Error> {
    let mut properties = with_defaults(request.properties.unwrap_or_default(), defaults);
    let format_version = take_format_version(&mut properties)?;
    let creation = TableCreation {
        name: request.name,
        location: Some(location),
        schema: request.schema,
        partition_spec: request.partition_spec,
        sort_order: request.write_order,
        properties,
        format_version: format_version.unwrap_or(FormatVersion::V2),
    };
    let built = iceberg::spec::TableMetadataBuilder::from_table_creation(creation)
        .and_then(iceberg::spec::TableMetadataBuilder::build)
        .map_err(refused)?;
    Ok(built.metadata)
}

/// The metadata of a table made by a commit with `assert-create`, keeping the ids that its writer used.
pub(crate) fn create_from_updates(
    updates: Vec<TableUpdate>,
    default_location: String,
    defaults: &BTreeMap<String, String>,
) -> Result<TableMetadata, Error> {
    let seed = seed(&updates, default_location)?;
    let mut builder = seed.into_builder(None);
    let no_properties = !updates
        .iter()
        .any(|update| matches!(update, TableUpdate::SetProperties { .. }));
    if no_properties {
        builder = builder
            .set_properties(with_defaults(HashMap::new(), defaults))
            .map_err(refused)?;
    }
    for update in updates {
        let update = match update {
            TableUpdate::SetProperties { updates } => {
                let mut updates = with_defaults(updates, defaults);
                take_format_version(&mut updates)?;
                TableUpdate::SetProperties { updates }
            }
            other => other,
        };
        builder = update.apply(builder).map_err(refused)?;
    }
    Ok(builder.build().map_err(refused)?.metadata)
}

/// Applies `updates` to `base`, whose file is `base_location`; `None` when they change nothing.
pub(crate) fn apply(
    base: &TableMetadata,
    base_location: String,
    updates: Vec<TableUpdate>,
) -> Result<Option<Change>, Error> {
    check_not_late(base, &updates)?;
    check_not_named(base, &updates)?;
    let mut builder = base.clone().into_builder(Some(base_location));
    for update in updates {
        builder = update.apply(builder).map_err(refused)?;
    }
    let built = builder.build().map_err(refused)?;
    if built.changes.is_empty() {
        return Ok(None);
    }
    let delete = built
        .metadata
        .properties()
        .get(DELETE_AFTER_COMMIT)
        .is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let expired = built
        .expired_metadata_logs
        .into_iter()
        .filter(|_| delete)
        .map(|entry| entry.metadata_file)
        .collect();
    Ok(Some(Change {
        metadata: built.metadata,
        expired,
    }))
}

/// Reads a metadata file, compressed or not, of at most `limit` bytes.
pub(crate) fn parse(file: &[u8], limit: u64) -> Result<TableMetadata, Error> {
    let mut text = Vec::new();
    let plain = if file.starts_with(&[0x1f, 0x8b]) {
        GzDecoder::new(file)
            .take(limit + 1)
            .read_to_end(&mut text)
            .map_err(|error| Error::invalid(format!("the metadata file is not gzip: {error}")))?;
        text.as_slice()
    } else {
        file
    };
    if u64::try_from(plain.len()).map_or(true, |len| len > limit) {
        return Err(Error::invalid(format!(
            "the metadata file is larger than {limit} bytes"
        )));
    }
    serde_json::from_slice(plain)
        .map_err(|error| Error::invalid(format!("the metadata file cannot be read: {error}")))
}

fn with_defaults(
    mut properties: HashMap<String, String>,
    defaults: &BTreeMap<String, String>,
) -> HashMap<String, String> {
    for (key, value) in defaults {
        properties
            .entry(key.clone())
            .or_insert_with(|| value.clone());
    }
    properties
}

fn take_format_version(
    properties: &mut HashMap<String, String>,
) -> Result<Option<FormatVersion>, Error> {
    match properties.remove(FORMAT_VERSION).as_deref() {
        None => Ok(None),
        Some("1") => Ok(Some(FormatVersion::V1)),
        Some("2") => Ok(Some(FormatVersion::V2)),
        Some("3") => Ok(Some(FormatVersion::V3)),
        Some(other) => Err(Error::invalid(format!(
            "Unsupported format version: {other}"
        ))),
    }
}

/// A snapshot made on an older base is a conflict; the builder would call it invalid.
fn check_not_late(base: &TableMetadata, updates: &[TableUpdate]) -> Result<(), Error> {
    let mut last_sequence = base.last_sequence_number();
    let mut next_row = base.next_row_id();
    for update in updates {
        let TableUpdate::AddSnapshot { snapshot } = update else {
            continue;
        };
        let sequence = snapshot.sequence_number();
        let versioned = base.format_version() != FormatVersion::V1;
        if versioned && sequence <= last_sequence && snapshot.parent_snapshot_id().is_some() {
            return Err(Error::CommitFailed(format!(
                "Cannot add snapshot with sequence number {sequence} older than last sequence number {last_sequence}"
            )));
        }
        last_sequence = sequence;
        if base.format_version() == FormatVersion::V3
            && let Some((first_row, rows)) = snapshot.row_range()
        {
            if first_row < next_row {
                return Err(Error::CommitFailed(format!(
                    "Cannot add a snapshot, first-row-id is behind table next-row-id: {first_row} < {next_row}"
                )));
            }
            next_row = next_row.saturating_add(rows);
        }
    }
    Ok(())
}

/// The builder drops a branch or tag without a word when its snapshot goes. Whoever asks for that did not know of it:
/// it was made after they read the table, and the files of its snapshot would be deleted next.
fn check_not_named(base: &TableMetadata, updates: &[TableUpdate]) -> Result<(), Error> {
    if !updates
        .iter()
        .any(|update| matches!(update, TableUpdate::RemoveSnapshots { .. }))
    {
        return Ok(());
    }
    // The metadata type hides its references, so they are read from its JSON form.
    let Some(Value::Object(refs)) = to_json(base)?.get_mut("refs").map(Value::take) else {
        return Ok(());
    };
    let mut named: HashMap<&str, i64> = refs
        .iter()
        .filter_map(|(name, reference)| Some((name.as_str(), reference["snapshot-id"].as_i64()?)))
        .collect();
    for (place, update) in updates.iter().enumerate() {
        match update {
            TableUpdate::SetSnapshotRef {
                ref_name,
                reference,
            } => {
                named.insert(ref_name, reference.snapshot_id);
            }
            TableUpdate::RemoveSnapshotRef { ref_name } => {
                named.remove(ref_name.as_str());
            }
            TableUpdate::RemoveSnapshots { snapshot_ids } => {
                // A reference that the same commit removes later is one that they knew of.
                let known = |name: &str| {
                    updates[place..].iter().any(|update| {
                        matches!(update, TableUpdate::RemoveSnapshotRef { ref_name } if ref_name == name)
                    })
                };
                if let Some((name, id)) = named
                    .iter()
                    .find(|(name, id)| snapshot_ids.contains(id) && !known(name))
                {
                    return Err(Error::CommitFailed(format!(
                        "Cannot remove snapshot {id}: still referenced by {name}"
                    )));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// The first metadata of a table from the first schema, spec and version in `updates`, before they are applied.
fn seed(updates: &[TableUpdate], default_location: String) -> Result<TableMetadata, Error> {
    let schema = updates
        .iter()
        .find_map(|update| match update {
            TableUpdate::AddSchema { schema } => Some(schema.clone()),
            _ => None,
        })
        .ok_or_else(|| Error::invalid("a commit that creates a table must add a schema"))?;
    let spec = updates.iter().find_map(|update| match update {
        TableUpdate::AddSpec { spec } => Some(spec.clone()),
        _ => None,
    });
    let format_version = updates
        .iter()
        .find_map(|update| match update {
            TableUpdate::UpgradeFormatVersion { format_version } => Some(*format_version),
            _ => None,
        })
        .unwrap_or(FormatVersion::V2);
    let location = updates
        .iter()
        .find_map(|update| match update {
            TableUpdate::SetLocation { location } => Some(location.clone()),
            _ => None,
        })
        .unwrap_or(default_location);
    let spec = spec
        .unwrap_or_default()
        .bind(schema.clone())
        .map_err(refused)?
        .with_spec_id(0);
    let last_partition_id = spec
        .fields()
        .iter()
        .map(|field| field.field_id)
        .max()
        .unwrap_or(999);
    let mut schema_json = to_json(&schema)?;
    schema_json["schema-id"] = json!(0);
    let mut seed = json!({
        "format-version": format_version as u8,
        "table-uuid": Uuid::now_v7(),
        "location": location,
        "last-sequence-number": 0,
        "last-updated-ms": 0,
        "last-column-id": schema.highest_field_id(),
        "schemas": [schema_json],
        "current-schema-id": 0,
        "partition-specs": [to_json(&spec)?],
        "default-spec-id": 0,
        "last-partition-id": last_partition_id,
        "sort-orders": [{"order-id": 0, "fields": []}],
        "default-sort-order-id": 0,
    });
    if format_version == FormatVersion::V3 {
        seed["next-row-id"] = json!(0);
    }
    serde_json::from_value(seed)
        .map_err(|error| Error::invalid(format!("the new table's parts do not fit: {error}")))
}

fn to_json(part: &impl serde::Serialize) -> Result<Value, Error> {
    serde_json::to_value(part).map_err(|error| Error::invalid(error.to_string()))
}

#[expect(clippy::needless_pass_by_value, reason = "the form map_err wants")]
fn refused(error: iceberg::Error) -> Error {
    Error::Invalid(error.message().to_owned())
}

#[cfg(test)]
mod tests;
