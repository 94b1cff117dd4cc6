//! Turns a stream of changes with a primary key into data files and delete files.
//!
//! The rules are those of Flink's delta writer. A row that was written since the last checkpoint is
//! deleted by its position, because its file is known; an older one by its key, because finding it would
//! mean reading the table. Both kinds of deletes and the new rows then go into one commit, in which
//! equality deletes reach only older commits. Changes come from the stream processor's upsert sink,
//! files go to [`crate::committer`].

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, SortField};
use iceberg::spec::FormatVersion;

use crate::committable::NewFile;
use crate::partition::Partition;
use crate::schema::RowShape;
use crate::writer::deletes::{EqualityDeletes, PositionDeletes};
use crate::writer::{TableWriter, WriterOptions};
use crate::{Error, Result, Table};

/// What a row of a change stream says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RowKind {
    /// `+I`: a new row.
    Insert,
    /// `-U`: the old form of a row that changes.
    UpdateBefore,
    /// `+U`: the new form of a row that changes.
    UpdateAfter,
    /// `-D`: a row that goes.
    Delete,
}

/// What may be relied on about the changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeMode {
    /// A row replaces whatever has its key; `-U` says nothing new. Costs one delete per key.
    Upsert,
    /// A row with `+I` is the first of its key, and every change is announced by `-U` or `-D`. New keys
    /// cost no delete.
    Changelog,
}

/// Writes changes of a table with a primary key.
pub struct UpsertWriter {
    shape: RowShape,
    key: Vec<usize>,
    rows: RowConverter,
    mode: ChangeMode,
    options: WriterOptions,
    max_key_bytes: usize,
    key_bytes: usize,
    keys: HashMap<Box<[u8]>, Held>,
    data: TableWriter,
    positions: PositionDeletes,
    equality: EqualityDeletes,
}

/// What is known of a key since the last checkpoint.
#[derive(Debug, Clone)]
enum Held {
    /// Its older rows are deleted, and it has no row.
    Gone,
    /// Its row was written here.
    At {
        path: Arc<str>,
        partition: Arc<Partition>,
        position: u64,
    },
    /// Its row is in the batch at work.
    Row(u32),
}

/// Bytes that a known key costs besides itself.
const KEY_OVERHEAD: usize = 96;

// === impl RowKind ===

impl RowKind {
    /// Flink's number of it: 0 `+I`, 1 `-U`, 2 `+U`, 3 `-D`.
    pub fn from_byte(byte: u8) -> Option<Self> {
        [
            Self::Insert,
            Self::UpdateBefore,
            Self::UpdateAfter,
            Self::Delete,
        ]
        .get(usize::from(byte))
        .copied()
    }
}

// === impl UpsertWriter ===

impl UpsertWriter {
    /// A writer for `table`, whose rows are identified by the top-level columns `key`. What is known of
    /// the keys of one checkpoint may take `max_key_bytes`.
    pub fn new(
        table: &Table,
        key: &[String],
        mode: ChangeMode,
        options: WriterOptions,
        max_key_bytes: usize,
    ) -> Result<Self> {
        let metadata = table.metadata();
        if metadata.format_version() != FormatVersion::V2 {
            return Err(Error::Unsupported(format!(
                "upserting into a table of format version {}",
                metadata.format_version()
            )));
        }
        if key.is_empty() {
            return Err(Error::Invalid("an upsert needs a primary key".to_owned()));
        }
        let shape = RowShape::new(metadata.current_schema())?;
        let equality = EqualityDeletes::new(table, key, options.clone())?;
        let columns = key
            .iter()
            .map(|name| {
                shape
                    .arrow_schema()
                    .index_of(name)
                    .map_err(Error::arrow("find the key's columns"))
            })
            .collect::<Result<Vec<_>>>()?;
        let types = equality
            .columns()
            .fields()
            .iter()
            .map(|field| SortField::new(field.data_type().clone()))
            .collect();
        Ok(Self {
            shape,
            key: columns,
            rows: RowConverter::new(types).map_err(Error::arrow("compare keys"))?,
            mode,
            max_key_bytes,
            key_bytes: 0,
            keys: HashMap::new(),
            data: TableWriter::new(table, options.clone())?,
            positions: PositionDeletes::default(),
            equality,
            options,
        })
    }

    /// The columns that are written; batches are fitted to them by name.
    pub fn arrow_schema(&self) -> &SchemaRef {
        self.shape.arrow_schema()
    }

    /// Bytes held in memory: encoded rows and known keys.
    pub fn buffered_bytes(&self) -> usize {
        self.key_bytes + self.data.buffered_bytes() + self.equality.buffered_bytes()
    }

    /// Applies changes in their order; `kinds` has one entry per row of `batch`.
    pub async fn write(&mut self, batch: &RecordBatch, kinds: &[RowKind]) -> Result<()> {
        if kinds.len() != batch.num_rows() {
            return Err(Error::Invalid(format!(
                "{} kinds were given for {} rows",
                kinds.len(),
                batch.num_rows()
            )));
        }
        let batch = self.shape.fit(batch)?;
        let (wanted, deleted) = self.apply(&batch, kinds)?;
        if !deleted.is_empty() {
            let keys = batch
                .project(&self.key)
                .map_err(Error::arrow("take the key's columns"))?;
            let keys = take_record_batch(&keys, &UInt32Array::from(deleted))
                .map_err(Error::arrow("take the deleted keys"))?;
            self.equality.delete(&keys).await?;
        }
        self.place(&batch, wanted).await?;
        if self.key_bytes > self.max_key_bytes {
            return Err(Error::Invalid(format!(
                "the keys changed within one checkpoint take more than {} bytes; checkpoint more often",
                self.max_key_bytes
            )));
        }
        Ok(())
    }

    /// Completes everything written since the last call and forgets its keys.
    pub async fn finish(&mut self) -> Result<Vec<NewFile>> {
        let mut files = self.data.finish().await?;
        let table = self.data.table().clone();
        let spec_id = table.metadata().default_partition_spec_id();
        files.extend(
            self.positions
                .finish(&table, spec_id, &self.options)
                .await?,
        );
        files.extend(self.equality.finish().await?);
        self.keys.clear();
        self.key_bytes = 0;
        Ok(files)
    }

    /// Gives up what was written since the last [`Self::finish`].
    pub async fn abort(&mut self) {
        self.data.abort().await;
        self.equality.abort().await;
        self.positions = PositionDeletes::default();
        self.keys.clear();
        self.key_bytes = 0;
    }

    /// Brings the known keys up to date and returns the rows to be written and the rows whose key older
    /// commits must lose. A row that a later one of the batch replaces is never written.
    fn apply(&mut self, batch: &RecordBatch, kinds: &[RowKind]) -> Result<(Vec<u32>, Vec<u32>)> {
        let columns: Vec<_> = self
            .key
            .iter()
            .map(|column| Arc::clone(batch.column(*column)))
            .collect();
        let keys = self
            .rows
            .convert_columns(&columns)
            .map_err(Error::arrow("compare keys"))?;
        let mut wanted = vec![false; kinds.len()];
        let mut deleted = Vec::new();
        for ((row, key), kind) in (0_u32..).zip(keys.iter()).zip(kinds) {
            let adds = matches!(kind, RowKind::Insert | RowKind::UpdateAfter);
            if *kind == RowKind::UpdateBefore && self.mode == ChangeMode::Upsert {
                continue;
            }
            let next = if adds { Held::Row(row) } else { Held::Gone };
            match self.keys.entry(key.as_ref().into()) {
                Entry::Occupied(mut held) => match held.insert(next) {
                    Held::At {
                        path,
                        partition,
                        position,
                    } => {
                        self.positions.delete(&path, &partition, position);
                    }
                    Held::Row(replaced) => wanted[replaced as usize] = false,
                    Held::Gone => {}
                },
                Entry::Vacant(vacant) => {
                    if self.mode == ChangeMode::Upsert || *kind != RowKind::Insert {
                        deleted.push(row);
                    }
                    self.key_bytes += vacant.key().len() + KEY_OVERHEAD;
                    vacant.insert(next);
                }
            }
            wanted[row as usize] = adds;
        }
        let wanted = (0..)
            .zip(wanted)
            .filter_map(|(row, wanted)| wanted.then_some(row))
            .collect();
        Ok((wanted, deleted))
    }

    /// Writes the rows of the batch that are still wanted and remembers where each went.
    async fn place(&mut self, batch: &RecordBatch, wanted: Vec<u32>) -> Result<()> {
        if wanted.is_empty() {
            return Ok(());
        }
        let rows = take_record_batch(batch, &UInt32Array::from(wanted))
            .map_err(Error::arrow("take the rows to write"))?;
        let columns: Vec<_> = self
            .key
            .iter()
            .map(|column| Arc::clone(rows.column(*column)))
            .collect();
        let keys = self
            .rows
            .convert_columns(&columns)
            .map_err(Error::arrow("compare keys"))?;
        for placed in self.data.place(&rows).await? {
            for (position, row) in (placed.first..).zip(&placed.rows) {
                let held = Held::At {
                    path: Arc::clone(&placed.path),
                    partition: Arc::clone(&placed.partition),
                    position,
                };
                self.keys
                    .insert(keys.row(*row as usize).as_ref().into(), held);
            }
        }
        Ok(())
    }
}
