//! Applies delete files to rows.
//!
//! Positions become a sorted list per data file; keys become a hash table from key to the highest
//! sequence number that deletes it, so a row costs one look-up however many delete files there are, and
//! NULL equals NULL as the specification asks. Used by compaction here and by the scan of the query
//! engine, which must agree to the last row.

use std::collections::HashMap;
use std::io::Cursor;
use std::pin::pin;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use arrow::row::{RowConverter, SortField};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use iceberg::arrow::type_to_arrow_type;
use iceberg::spec::Schema;
use object_store::ObjectStoreExt;
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use parquet::arrow::ParquetRecordBatchStreamBuilder;
use parquet::arrow::async_reader::{
    AsyncFileReader, ParquetObjectReader, ParquetRecordBatchStream,
};

use crate::read::LiveFile;
use crate::schema::cast;
use crate::writer::deletes::{FILE_PATH_ID, POS_ID};
use crate::{Error, Result, Table};

/// Rows read from a file at once.
const BATCH_ROWS: usize = 8192;
/// Files up to this size are read whole, in one request.
const SMALL_FILE: u64 = 1 << 20;
/// Files opened ahead of the one that is read; a table has thousands of small ones before compaction.
const OPENED_AHEAD: usize = 8;
/// Bytes a key in the table of deleted keys costs besides itself.
const KEY_OVERHEAD: usize = 48;

/// Deleted keys of some equality delete files.
#[derive(Debug, Default)]
pub struct DeletedKeys {
    /// One table per set of key columns.
    sets: Vec<KeySet>,
    bytes: usize,
}

#[derive(Debug)]
struct KeySet {
    ids: Vec<i32>,
    types: Vec<DataType>,
    rows: RowConverter,
    /// Key → the highest sequence number that deletes it.
    keys: HashMap<Box<[u8]>, i64>,
}

/// The rows of a Parquet file that is being read, be it from memory or from the store.
pub type Rows = ParquetRecordBatchStream<Box<dyn AsyncFileReader>>;

/// Opens the files in their order, some ahead of the one that is read. A small file is in memory then.
pub(crate) fn open_all<'a>(
    table: &'a Table,
    files: &'a [&'a LiveFile],
) -> impl Stream<Item = Result<(&'a LiveFile, Rows)>> + Send + 'a {
    stream::iter(files)
        .map(move |file| async move { Ok((*file, open(table, file).await?)) })
        .buffered(OPENED_AHEAD)
}

/// Opens a Parquet file of the table for reading; a small one is read into memory by it.
pub async fn open(table: &Table, live: &LiveFile) -> Result<Rows> {
    let (path, size) = (live.path(), live.file().file_size_in_bytes());
    let (store, key) = table.store().open(path)?;
    let reader: Box<dyn AsyncFileReader> = if size <= SMALL_FILE {
        let whole = async { store.get(&key).await?.bytes().await };
        Box::new(Cursor::new(
            whole.await.map_err(Error::store("read", path))?,
        ))
    } else {
        Box::new(ParquetObjectReader::new(store, key).with_file_size(size))
    };
    ParquetRecordBatchStreamBuilder::new(reader)
        .await
        .and_then(|builder| builder.with_batch_size(BATCH_ROWS).build())
        .map_err(Error::parquet("open", path))
}

/// The positions of rows of `path` that the position delete files delete, sorted, each once.
pub async fn positions(table: &Table, path: &str, deletes: &[&LiveFile]) -> Result<Vec<u64>> {
    let mut deleted = Vec::new();
    let mut opened = pin!(open_all(table, deletes));
    while let Some((delete, mut rows)) = opened.try_next().await? {
        let file = delete.file();
        while let Some(batch) = rows
            .try_next()
            .await
            .map_err(Error::parquet("read", file.file_path()))?
        {
            let paths = column(&batch, FILE_PATH_ID, &DataType::Utf8, file.file_path())?;
            let places = column(&batch, POS_ID, &DataType::Int64, file.file_path())?;
            let paths = paths.as_string::<i32>();
            let places = places.as_primitive::<Int64Type>();
            for row in 0..batch.num_rows() {
                if paths.value(row) == path {
                    deleted.push(places.value(row).cast_unsigned());
                }
            }
        }
    }
    deleted.sort_unstable();
    deleted.dedup();
    Ok(deleted)
}

// === impl DeletedKeys ===

impl DeletedKeys {
    /// Reads equality delete files. Fails when their keys would take more than `max_bytes`.
    pub async fn load(table: &Table, deletes: &[&LiveFile], max_bytes: usize) -> Result<Self> {
        let mut loaded = Self::default();
        match loaded.fill(table, deletes, max_bytes).await? {
            None => Ok(loaded),
            Some(_) => Err(Error::Unsupported(format!(
                "holding more than {max_bytes} bytes of deleted keys of `{}`",
                table.ident()
            ))),
        }
    }

    /// Reads equality delete files from the oldest commit on, until their keys take more than `max_bytes`.
    /// Then it also says up to which commit all keys are held.
    pub(crate) async fn load_oldest(
        table: &Table,
        mut deletes: Vec<&LiveFile>,
        max_bytes: usize,
    ) -> Result<(Self, Option<i64>)> {
        deletes.sort_by_key(|delete| delete.sequence);
        let mut loaded = Self::default();
        let passed = loaded.fill(table, &deletes, max_bytes).await?;
        Ok((loaded, passed.map(|sequence| sequence - 1)))
    }

    /// Reads `deletes`, and stops when `max_bytes` are passed: at a file of the commit that is returned.
    async fn fill(
        &mut self,
        table: &Table,
        deletes: &[&LiveFile],
        max_bytes: usize,
    ) -> Result<Option<i64>> {
        let mut opened = pin!(open_all(table, deletes));
        while let Some((delete, mut rows)) = opened.try_next().await? {
            let ids = delete.file().equality_ids().unwrap_or_default();
            if ids.is_empty() {
                return Err(Error::Invalid(format!(
                    "equality delete file `{}` names no key columns",
                    delete.path()
                )));
            }
            let set = self.set(table, ids)?;
            while let Some(batch) = rows
                .try_next()
                .await
                .map_err(Error::parquet("read", delete.path()))?
            {
                self.add(set, &batch, delete)?;
                if self.bytes > max_bytes {
                    return Ok(Some(delete.sequence));
                }
            }
        }
        Ok(None)
    }

    /// True when no key is deleted.
    pub fn is_empty(&self) -> bool {
        self.sets.iter().all(|set| set.keys.is_empty())
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The field ids of all key columns, each once.
    pub fn columns(&self) -> Vec<i32> {
        let mut ids: Vec<i32> = self
            .sets
            .iter()
            .flat_map(|set| set.ids.iter().copied())
            .collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Which rows of a data file with sequence number `sequence` stay. `find` gives the column with a
    /// field id; a column that the file does not have is NULL in each row.
    pub fn kept(
        &self,
        n_rows: usize,
        sequence: i64,
        find: impl Fn(i32) -> Option<ArrayRef>,
    ) -> Result<BooleanArray> {
        let mut kept = vec![true; n_rows];
        for set in self.sets.iter().filter(|set| !set.keys.is_empty()) {
            let columns = set
                .ids
                .iter()
                .zip(&set.types)
                .map(|(id, data_type)| match find(*id) {
                    Some(column) => as_type(&column, data_type),
                    None => Ok(arrow::array::new_null_array(data_type, n_rows)),
                })
                .collect::<Result<Vec<_>>>()?;
            let rows = set
                .rows
                .convert_columns(&columns)
                .map_err(Error::arrow("compare rows with deleted keys"))?;
            for (kept, row) in kept.iter_mut().zip(rows.iter()) {
                if set
                    .keys
                    .get(row.as_ref())
                    .is_some_and(|deleted| *deleted > sequence)
                {
                    *kept = false;
                }
            }
        }
        Ok(BooleanArray::from(kept))
    }

    fn set(&mut self, table: &Table, ids: Vec<i32>) -> Result<usize> {
        if let Some(index) = self.sets.iter().position(|set| set.ids == ids) {
            return Ok(index);
        }
        let types = ids
            .iter()
            .map(|id| type_of(table, *id))
            .collect::<Result<Vec<_>>>()?;
        let fields = types
            .iter()
            .map(|kind| SortField::new(kind.clone()))
            .collect();
        let rows = RowConverter::new(fields).map_err(Error::arrow("compare deleted keys"))?;
        self.sets.push(KeySet {
            ids,
            types,
            rows,
            keys: HashMap::new(),
        });
        Ok(self.sets.len() - 1)
    }

    fn add(&mut self, set: usize, batch: &RecordBatch, delete: &LiveFile) -> Result<()> {
        let Some(set) = self.sets.get_mut(set) else {
            return Ok(());
        };
        let columns = set
            .ids
            .iter()
            .zip(&set.types)
            .map(|(id, data_type)| column(batch, *id, data_type, delete.path()))
            .collect::<Result<Vec<_>>>()?;
        let rows = set
            .rows
            .convert_columns(&columns)
            .map_err(Error::arrow("read deleted keys"))?;
        for row in rows.iter() {
            let key: &[u8] = row.as_ref();
            match set.keys.get_mut(key) {
                Some(sequence) => *sequence = (*sequence).max(delete.sequence),
                None => {
                    self.bytes += key.len() + KEY_OVERHEAD;
                    set.keys.insert(key.into(), delete.sequence);
                }
            }
        }
        Ok(())
    }
}

/// The index of the column with a field id.
pub fn index_of(schema: &SchemaRef, id: i32) -> Option<usize> {
    schema.fields().iter().position(|field| {
        field
            .metadata()
            .get(PARQUET_FIELD_ID_META_KEY)
            .and_then(|held| held.parse::<i32>().ok())
            .is_some_and(|held| held == id)
    })
}

fn column(batch: &RecordBatch, id: i32, data_type: &DataType, path: &str) -> Result<ArrayRef> {
    let index = index_of(batch.schema_ref(), id).ok_or_else(|| {
        Error::Invalid(format!(
            "delete file `{path}` lacks the column with field id {id}"
        ))
    })?;
    as_type(batch.column(index), data_type)
}

fn as_type(column: &ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    if column.data_type() == data_type {
        return Ok(Arc::clone(column));
    }
    cast(
        column,
        &arrow::datatypes::Field::new("key", data_type.clone(), true),
    )
}

/// The current Arrow type of a key column, dropped columns included.
fn type_of(table: &Table, id: i32) -> Result<DataType> {
    let metadata = table.metadata();
    let known = |schema: &Schema| schema.field_by_id(id).map(|field| field.field_type.clone());
    let kind = known(metadata.current_schema())
        .or_else(|| metadata.schemas_iter().find_map(|schema| known(schema)))
        .ok_or_else(|| Error::NotFound {
            what: format!("column with field id {id} in `{}`", table.ident()),
        })?;
    type_to_arrow_type(&kind).map_err(Error::iceberg("type a key column"))
}
