//! What a checkpoint leaves behind to be committed: files that are written but not yet visible.
//!
//! A [`Committable`] is stored in the job's checkpoint between the two phases of a commit, so it is
//! serialisable and does not depend on any table version: each file is kept as the specification's own
//! JSON form with the partition spec it was written under. [`crate::committer`] turns it into a snapshot.

use std::collections::BTreeMap;

use iceberg::spec::{
    DataContentType, DataFile, FormatVersion, TableMetadata, deserialize_data_file_from_json,
    serialize_data_file_to_json,
};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Kafka positions: topic → partition → next offset to read.
pub type Offsets = BTreeMap<String, BTreeMap<i32, i64>>;

/// Who writes: one job and one operator (sink) in it. Checkpoints are counted per writer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Writer {
    /// The job, the same across restarts.
    pub job_id: String,
    /// The sink within the job, the same across restarts.
    pub operator_id: String,
}

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Content {
    /// Rows.
    Data,
    /// Positions of deleted rows.
    PositionDeletes,
    /// Keys of deleted rows.
    EqualityDeletes,
}

/// A file that is written and complete, but in no snapshot yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewFile {
    /// What it holds.
    pub content: Content,
    /// Where it is.
    pub path: String,
    /// Rows, or deletes, in it.
    pub records: u64,
    /// Its size.
    pub bytes: u64,
    /// The partition spec it was written under.
    pub spec_id: i32,
    /// The schema it was written under.
    pub schema_id: i32,
    /// The manifest entry, as the Iceberg library writes it in JSON.
    entry: String,
}

/// The files and positions of one checkpoint of one writer for one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committable {
    /// Number of the checkpoint; grows, never reused by the same writer.
    pub checkpoint_id: u64,
    /// Files to be made visible.
    pub files: Vec<NewFile>,
    /// Kafka positions that these files reach up to.
    #[serde(default)]
    pub offsets: Offsets,
    /// Watermark in milliseconds since 1970 that these files reach up to.
    #[serde(default)]
    pub watermark: Option<i64>,
}

// === impl NewFile ===

impl NewFile {
    /// Keeps `file`, written under the given spec and schema of `metadata`.
    pub(crate) fn new(
        file: DataFile,
        spec_id: i32,
        schema_id: i32,
        metadata: &TableMetadata,
    ) -> Result<Self> {
        let content = match file.content_type() {
            DataContentType::Data => Content::Data,
            DataContentType::PositionDeletes => Content::PositionDeletes,
            DataContentType::EqualityDeletes => Content::EqualityDeletes,
        };
        let partition_type = partition_type(metadata, spec_id, schema_id)?;
        Ok(Self {
            content,
            path: file.file_path().to_owned(),
            records: file.record_count(),
            bytes: file.file_size_in_bytes(),
            spec_id,
            schema_id,
            entry: serialize_data_file_to_json(file, &partition_type, FormatVersion::V2)
                .map_err(Error::iceberg("keep a file for its commit"))?,
        })
    }

    /// The manifest entry, read with the schema and spec the file was written under.
    pub(crate) fn data_file(&self, metadata: &TableMetadata) -> Result<DataFile> {
        let partition_type = partition_type(metadata, self.spec_id, self.schema_id)?;
        let schema = metadata
            .schema_by_id(self.schema_id)
            .ok_or_else(|| Error::NotFound {
                what: format!("schema {} in the table", self.schema_id),
            })?;
        deserialize_data_file_from_json(&self.entry, self.spec_id, &partition_type, schema).map_err(
            Error::iceberg(format!("read the kept entry of `{}`", self.path)),
        )
    }

    /// True for both kinds of delete files.
    pub fn is_delete(&self) -> bool {
        self.content != Content::Data
    }
}

// === impl Committable ===

impl Committable {
    /// An empty committable for a checkpoint.
    pub fn new(checkpoint_id: u64) -> Self {
        Self {
            checkpoint_id,
            files: Vec::new(),
            offsets: Offsets::new(),
            watermark: None,
        }
    }

    /// Adds what another subtask of the same writer wrote for the same checkpoint. Offsets of different
    /// Kafka partitions are joined; the lower watermark holds.
    pub fn merge(&mut self, other: Self) -> Result<()> {
        if other.checkpoint_id != self.checkpoint_id {
            return Err(Error::Invalid(format!(
                "checkpoints {} and {} must not be merged",
                self.checkpoint_id, other.checkpoint_id
            )));
        }
        self.files.extend(other.files);
        for (topic, offsets) in other.offsets {
            self.offsets.entry(topic).or_default().extend(offsets);
        }
        self.watermark = match (self.watermark, other.watermark) {
            (Some(ours), Some(theirs)) => Some(ours.min(theirs)),
            (ours, theirs) => ours.or(theirs),
        };
        Ok(())
    }

    /// True when there is a delete file among the files.
    pub fn has_deletes(&self) -> bool {
        self.files.iter().any(NewFile::is_delete)
    }

    /// Rows in data files.
    pub fn records(&self) -> u64 {
        self.files
            .iter()
            .filter(|file| !file.is_delete())
            .map(|file| file.records)
            .sum()
    }
}

fn partition_type(
    metadata: &TableMetadata,
    spec_id: i32,
    schema_id: i32,
) -> Result<iceberg::spec::StructType> {
    let spec = metadata
        .partition_spec_by_id(spec_id)
        .ok_or_else(|| Error::NotFound {
            what: format!("partition spec {spec_id} in the table"),
        })?;
    let schema = metadata
        .schema_by_id(schema_id)
        .ok_or_else(|| Error::NotFound {
            what: format!("schema {schema_id} in the table"),
        })?;
    spec.partition_type(schema)
        .map_err(Error::iceberg("type the partition"))
}
