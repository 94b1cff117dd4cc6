//! Evaluates the requirements of a commit with the words of Java's `UpdateRequirement`.
//!
//! The iceberg crate has a check of its own, but clients and Java's compatibility kit compare the texts.

use iceberg::TableRequirement;
use iceberg::spec::TableMetadata;

use super::Error;

/// Whether the commit is one that creates its table.
pub(crate) fn creates(requirements: &[TableRequirement]) -> bool {
    requirements
        .iter()
        .any(|requirement| matches!(requirement, TableRequirement::NotExist))
}

/// Checks all `requirements` against a table as it is.
pub(crate) fn check(requirements: &[TableRequirement], table: &TableMetadata) -> Result<(), Error> {
    requirements
        .iter()
        .find_map(|requirement| broken(requirement, table))
        .map_or(Ok(()), |why| {
            Err(Error::CommitFailed(format!("Requirement failed: {why}")))
        })
}

fn broken(requirement: &TableRequirement, table: &TableMetadata) -> Option<String> {
    match requirement {
        TableRequirement::NotExist => Some("table already exists".to_owned()),
        TableRequirement::UuidMatch { uuid } => (table.uuid() != *uuid)
            .then(|| format!("UUID does not match: expected {} != {uuid}", table.uuid())),
        TableRequirement::RefSnapshotIdMatch { r#ref, snapshot_id } => {
            broken_ref(r#ref, *snapshot_id, table)
        }
        TableRequirement::LastAssignedFieldIdMatch {
            last_assigned_field_id,
        } => differs(
            "last assigned field id",
            i64::from(*last_assigned_field_id),
            i64::from(table.last_column_id()),
        ),
        TableRequirement::CurrentSchemaIdMatch { current_schema_id } => differs(
            "current schema",
            i64::from(*current_schema_id),
            i64::from(table.current_schema_id()),
        ),
        TableRequirement::LastAssignedPartitionIdMatch {
            last_assigned_partition_id,
        } => differs(
            "last assigned partition id",
            i64::from(*last_assigned_partition_id),
            i64::from(table.last_partition_id()),
        ),
        TableRequirement::DefaultSpecIdMatch { default_spec_id } => differs(
            "default partition spec",
            i64::from(*default_spec_id),
            i64::from(table.default_partition_spec_id()),
        ),
        TableRequirement::DefaultSortOrderIdMatch {
            default_sort_order_id,
        } => differs(
            "default sort order",
            *default_sort_order_id,
            table.default_sort_order_id(),
        ),
    }
}

fn differs(what: &str, expected: i64, found: i64) -> Option<String> {
    (expected != found).then(|| format!("{what} changed: expected id {expected} != {found}"))
}

fn broken_ref(name: &str, expected: Option<i64>, table: &TableMetadata) -> Option<String> {
    let found = table
        .snapshot_for_ref(name)
        .map(|snapshot| snapshot.snapshot_id());
    match (expected, found) {
        (None, Some(_)) => Some(format!(
            "{} {name} was created concurrently",
            kind(name, table)
        )),
        (Some(expected), Some(found)) if expected != found => Some(format!(
            "{} {name} has changed: expected id {expected} != {found}",
            kind(name, table)
        )),
        (Some(expected), None) => Some(format!(
            "branch or tag {name} is missing, expected {expected}"
        )),
        _ => None,
    }
}

/// `branch` or `tag`; the metadata type hides its references, so they are read from its JSON form.
fn kind(name: &str, table: &TableMetadata) -> &'static str {
    let is_tag = name != "main"
        && serde_json::to_value(table)
            .is_ok_and(|json| json["refs"][name]["type"].as_str() == Some("tag"));
    if is_tag { "tag" } else { "branch" }
}

#[cfg(test)]
mod tests;
