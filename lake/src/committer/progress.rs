//! The mark that a writer leaves in each snapshot, and how it is found again.
//!
//! It is kept twice in one commit: in the snapshot's summary, under the names Flink uses, and in a table
//! property, because summaries vanish when snapshots expire and a property does not.

use std::collections::HashMap;

use iceberg::spec::{SnapshotRef, TableMetadata};
use serde::{Deserialize, Serialize};

use crate::committable::{Offsets, Writer};
use crate::{Error, Result};

const JOB_ID: &str = "flink.job-id";
const OPERATOR_ID: &str = "flink.operator-id";
const MAX_CHECKPOINT: &str = "flink.max-committed-checkpoint-id";
const OFFSETS: &str = "streamforge.kafka-offsets";
const WATERMARK: &str = "streamforge.watermark";

/// How far a writer has come in a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Its last committed checkpoint.
    pub checkpoint_id: u64,
    /// Kafka positions up to which its rows are in the table.
    #[serde(default)]
    pub offsets: Offsets,
    /// Watermark in milliseconds since 1970 up to which its rows are in the table.
    #[serde(default)]
    pub watermark: Option<i64>,
}

/// The further of the marks in the ancestors of the current snapshot and in the table's properties.
pub(super) fn of(metadata: &TableMetadata, writer: &Writer) -> Result<Option<Progress>> {
    let walked = ancestors(metadata).find_map(|snapshot| {
        let summary = &snapshot.summary().additional_properties;
        let ours = summary.get(JOB_ID) == Some(&writer.job_id)
            && summary.get(OPERATOR_ID) == Some(&writer.operator_id);
        ours.then(|| from_summary(summary)).flatten()
    });
    let kept = metadata
        .properties()
        .get(&property(writer))
        .map(|value| {
            serde_json::from_str::<Progress>(value).map_err(|error| {
                Error::Invalid(format!(
                    "table property `{}` is damaged: {error}",
                    property(writer)
                ))
            })
        })
        .transpose()?;
    Ok(match (walked, kept) {
        (Some(walked), Some(kept)) if kept.checkpoint_id > walked.checkpoint_id => Some(kept),
        (None, kept) => kept,
        (walked, _) => walked,
    })
}

/// The lines of the snapshot summary that say so.
pub(super) fn summary(writer: &Writer, progress: &Progress) -> Result<HashMap<String, String>> {
    let mut lines = HashMap::from([
        (JOB_ID.to_owned(), writer.job_id.clone()),
        (OPERATOR_ID.to_owned(), writer.operator_id.clone()),
        (
            MAX_CHECKPOINT.to_owned(),
            progress.checkpoint_id.to_string(),
        ),
    ]);
    if !progress.offsets.is_empty() {
        lines.insert(OFFSETS.to_owned(), json(&progress.offsets)?);
    }
    if let Some(watermark) = progress.watermark {
        lines.insert(WATERMARK.to_owned(), watermark.to_string());
    }
    Ok(lines)
}

/// The table property that says so.
pub(super) fn properties(writer: &Writer, progress: &Progress) -> Result<HashMap<String, String>> {
    Ok(HashMap::from([(property(writer), json(progress)?)]))
}

/// The current snapshot and its ancestors that are still in the metadata, newest first.
pub(crate) fn ancestors(metadata: &TableMetadata) -> impl Iterator<Item = &SnapshotRef> {
    std::iter::successors(metadata.current_snapshot(), |snapshot| {
        snapshot
            .parent_snapshot_id()
            .and_then(|parent| metadata.snapshot_by_id(parent))
    })
}

fn property(writer: &Writer) -> String {
    format!(
        "streamforge.committed.{}.{}",
        writer.job_id, writer.operator_id
    )
}

fn from_summary(summary: &HashMap<String, String>) -> Option<Progress> {
    Some(Progress {
        checkpoint_id: summary.get(MAX_CHECKPOINT)?.parse().ok()?,
        offsets: summary
            .get(OFFSETS)
            .and_then(|offsets| serde_json::from_str(offsets).ok())
            .unwrap_or_default(),
        watermark: summary
            .get(WATERMARK)
            .and_then(|watermark| watermark.parse().ok()),
    })
}

fn json<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|error| Error::Invalid(format!("the writer's progress has no JSON form: {error}")))
}
