//! Which files a snapshot consists of, and which deletes apply to each of them.
//!
//! Manifests never change once written, so parsed ones are kept by path in a bounded cache that all
//! tables share. The query engine's scan and [`crate::maintenance`] both plan from [`SnapshotFiles`].

use std::collections::HashMap;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use iceberg::spec::{
    DataContentType, DataFile, DataFileFormat, Datum, ManifestContentType, ManifestEntryRef,
    ManifestFile, ManifestList, PrimitiveLiteral, Snapshot, Struct,
};
use parking_lot::Mutex;

use crate::writer::deletes::FILE_PATH_ID;
use crate::{Error, Result, Table};

/// Manifests read at once.
pub(crate) const READS_IN_FLIGHT: usize = 8;
/// Parsed size of a manifest, as a multiple of its size on disk.
const PARSED_FACTOR: usize = 12;

/// Parsed manifests and manifest lists by path, bounded in bytes.
#[derive(Debug)]
pub struct ManifestCache {
    capacity: usize,
    inner: Mutex<Cached>,
}

#[derive(Debug, Default)]
struct Cached {
    entries: HashMap<String, Kept>,
    bytes: usize,
    clock: u64,
}

#[derive(Debug)]
struct Kept {
    value: Parsed,
    bytes: usize,
    last_used: u64,
}

#[derive(Debug, Clone)]
enum Parsed {
    List(Arc<Vec<ManifestFile>>),
    Manifest(Arc<Vec<ManifestEntryRef>>),
}

/// A live file of a snapshot.
#[derive(Debug, Clone)]
pub struct LiveFile {
    entry: ManifestEntryRef,
    /// The partition spec it was written under.
    pub spec_id: i32,
    /// Its data sequence number: deletes are compared with it.
    pub sequence: i64,
    /// The snapshot that added it.
    pub snapshot_id: i64,
}

/// The live files of a snapshot.
#[derive(Debug, Default)]
pub struct SnapshotFiles {
    data: Vec<LiveFile>,
    deletes: Vec<LiveFile>,
    equality_everywhere: Vec<usize>,
    equality: HashMap<(i32, Struct), Vec<usize>>,
    positions_of: HashMap<String, Vec<usize>>,
    positions: HashMap<(i32, Struct), Vec<usize>>,
}

/// The delete files that apply to one data file.
#[derive(Debug, Default, Clone)]
pub struct Deletes<'a> {
    /// Position delete files that may name the data file.
    pub positions: Vec<&'a LiveFile>,
    /// Equality delete files whose keys reach the data file.
    pub equality: Vec<&'a LiveFile>,
}

// === impl LiveFile ===

impl LiveFile {
    /// What the manifest says of it.
    pub fn file(&self) -> &DataFile {
        self.entry.data_file()
    }

    /// Where it is.
    pub fn path(&self) -> &str {
        self.entry.file_path()
    }

    /// The sequence number of the commit that added it to the table.
    pub fn file_sequence(&self) -> Option<i64> {
        self.entry.file_sequence_number
    }
}

// === impl ManifestCache ===

impl ManifestCache {
    /// A cache of at most `capacity` bytes, counted by an estimate of the parsed size.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            inner: Mutex::default(),
        }
    }

    /// Bytes held, by the same estimate.
    pub fn bytes(&self) -> usize {
        self.inner.lock().bytes
    }

    /// The manifests of a snapshot.
    pub async fn list(&self, table: &Table, snapshot: &Snapshot) -> Result<Arc<Vec<ManifestFile>>> {
        if let Some(Parsed::List(list)) = self.get(snapshot.manifest_list()) {
            return Ok(list);
        }
        let list = Arc::new(manifest_list(table, snapshot).await?);
        let bytes = list.len() * 512;
        self.put(
            snapshot.manifest_list(),
            Parsed::List(Arc::clone(&list)),
            bytes,
        );
        Ok(list)
    }

    /// The entries of a manifest, with inherited sequence numbers filled in.
    pub async fn manifest(
        &self,
        table: &Table,
        manifest: &ManifestFile,
    ) -> Result<Arc<Vec<ManifestEntryRef>>> {
        if let Some(Parsed::Manifest(entries)) = self.get(&manifest.manifest_path) {
            return Ok(entries);
        }
        let entries = Arc::new(manifest_entries(table, manifest).await?);
        let bytes = usize::try_from(manifest.manifest_length).unwrap_or(0) * PARSED_FACTOR;
        self.put(
            &manifest.manifest_path,
            Parsed::Manifest(Arc::clone(&entries)),
            bytes,
        );
        Ok(entries)
    }

    fn get(&self, path: &str) -> Option<Parsed> {
        let mut inner = self.inner.lock();
        inner.clock += 1;
        let clock = inner.clock;
        let kept = inner.entries.get_mut(path)?;
        kept.last_used = clock;
        Some(kept.value.clone())
    }

    fn put(&self, path: &str, value: Parsed, bytes: usize) {
        if bytes > self.capacity {
            return;
        }
        let mut inner = self.inner.lock();
        inner.clock += 1;
        let last_used = inner.clock;
        while inner.bytes + bytes > self.capacity {
            let oldest = inner
                .entries
                .iter()
                .min_by_key(|(_, kept)| kept.last_used)
                .map(|(path, _)| path.clone());
            let Some(dropped) = oldest.and_then(|path| inner.entries.remove(&path)) else {
                break;
            };
            inner.bytes -= dropped.bytes;
        }
        inner.bytes += bytes;
        if let Some(replaced) = inner.entries.insert(
            path.to_owned(),
            Kept {
                value,
                bytes,
                last_used,
            },
        ) {
            inner.bytes -= replaced.bytes;
        }
    }
}

// === impl SnapshotFiles ===

impl SnapshotFiles {
    /// Reads the live files of `snapshot`, leaving out data manifests for which `wanted` says no.
    pub async fn load(
        table: &Table,
        snapshot: &Snapshot,
        cache: &ManifestCache,
        wanted: impl Fn(&ManifestFile) -> bool,
    ) -> Result<Self> {
        let list = cache.list(table, snapshot).await?;
        let manifests: Vec<&ManifestFile> = list
            .iter()
            .filter(|manifest| manifest.has_added_files() || manifest.has_existing_files())
            .filter(|manifest| manifest.content == ManifestContentType::Deletes || wanted(manifest))
            .collect();
        // Made one by one: a closure over borrowed manifests would not be general enough.
        let mut reads = Vec::with_capacity(manifests.len());
        for manifest in manifests {
            reads.push(async move {
                let entries = cache.manifest(table, manifest).await?;
                Ok::<_, Error>((manifest.partition_spec_id, entries))
            });
        }
        let loaded: Vec<(i32, Arc<Vec<ManifestEntryRef>>)> = stream::iter(reads)
            .buffered(READS_IN_FLIGHT)
            .try_collect()
            .await?;
        let mut files = Self::default();
        for (spec_id, entries) in loaded {
            for entry in entries.iter().filter(|entry| entry.is_alive()) {
                files.add(table, spec_id, entry)?;
            }
        }
        Ok(files)
    }

    /// The live data files.
    pub fn data(&self) -> &[LiveFile] {
        &self.data
    }

    /// The live delete files.
    pub fn deletes(&self) -> &[LiveFile] {
        &self.deletes
    }

    /// The delete files that apply to `file`: equality deletes of later commits for its partition,
    /// position deletes of its own or later commits that may name it.
    pub fn deletes_of(&self, file: &LiveFile) -> Deletes<'_> {
        let place = (file.spec_id, file.file().partition().clone());
        let pick = |indices: Option<&Vec<usize>>| {
            indices
                .into_iter()
                .flatten()
                .filter_map(|index| self.deletes.get(*index))
                .collect::<Vec<_>>()
        };
        let mut equality = pick(Some(&self.equality_everywhere));
        equality.extend(pick(self.equality.get(&place)));
        equality.retain(|delete| delete.sequence > file.sequence);
        let mut positions = pick(self.positions_of.get(file.path()));
        positions.extend(
            pick(self.positions.get(&place))
                .into_iter()
                .filter(|delete| may_name(delete.file(), file.path())),
        );
        positions.retain(|delete| delete.sequence >= file.sequence);
        Deletes {
            positions,
            equality,
        }
    }

    fn add(&mut self, table: &Table, spec_id: i32, entry: &ManifestEntryRef) -> Result<()> {
        let (Some(sequence), Some(snapshot_id)) = (entry.sequence_number(), entry.snapshot_id())
        else {
            return Err(Error::Invalid(format!(
                "the manifest entry of `{}` has no sequence number",
                entry.file_path()
            )));
        };
        let live = LiveFile {
            entry: Arc::clone(entry),
            spec_id,
            sequence,
            snapshot_id,
        };
        let file = live.file();
        let place = (spec_id, file.partition().clone());
        let index = self.deletes.len();
        match file.content_type() {
            DataContentType::Data => {
                self.data.push(live);
                return Ok(());
            }
            DataContentType::PositionDeletes => {
                if file.file_format() != DataFileFormat::Parquet {
                    return Err(Error::Unsupported(format!(
                        "reading deletes of format {} (`{}`)",
                        file.file_format(),
                        file.file_path()
                    )));
                }
                match file.referenced_data_file() {
                    Some(path) => self.positions_of.entry(path).or_default().push(index),
                    None => self.positions.entry(place).or_default().push(index),
                }
            }
            DataContentType::EqualityDeletes => {
                let everywhere = table
                    .metadata()
                    .partition_spec_by_id(spec_id)
                    .is_none_or(|spec| spec.is_unpartitioned());
                if everywhere {
                    self.equality_everywhere.push(index);
                } else {
                    self.equality.entry(place).or_default().push(index);
                }
            }
        }
        self.deletes.push(live);
        Ok(())
    }
}

// === impl Deletes ===

impl Deletes<'_> {
    /// True when no deletes apply.
    pub fn is_empty(&self) -> bool {
        self.positions.is_empty() && self.equality.is_empty()
    }
}

/// The manifests of a snapshot, read from the store.
pub(crate) async fn manifest_list(table: &Table, snapshot: &Snapshot) -> Result<Vec<ManifestFile>> {
    let path = snapshot.manifest_list();
    let read = async { table.file_io().new_input(path)?.read().await };
    let bytes = read
        .await
        .map_err(Error::iceberg(format!("read manifest list `{path}`")))?;
    let list = ManifestList::parse_with_version(&bytes, table.metadata().format_version())
        .map_err(Error::iceberg(format!("read manifest list `{path}`")))?;
    Ok(list.consume_entries().into_iter().collect())
}

/// The entries of a manifest, read from the store, with inherited sequence numbers filled in.
pub(crate) async fn manifest_entries(
    table: &Table,
    manifest: &ManifestFile,
) -> Result<Vec<ManifestEntryRef>> {
    let path = &manifest.manifest_path;
    let read = manifest.load_manifest(table.file_io()).await;
    let read = read.map_err(Error::iceberg(format!("read manifest `{path}`")))?;
    Ok(read.into_parts().0)
}

/// Whether a position delete file can name `path`, by its bounds.
fn may_name(delete: &DataFile, path: &str) -> bool {
    let text = |bound: &Datum| match bound.literal() {
        PrimitiveLiteral::String(text) => Some(text.clone()),
        _ => None,
    };
    let lower = delete.lower_bounds().get(&FILE_PATH_ID).and_then(text);
    let upper = delete.upper_bounds().get(&FILE_PATH_ID).and_then(text);
    lower.is_none_or(|lower| lower.as_str() <= path)
        && upper.is_none_or(|upper| path <= upper.as_str() || path.starts_with(&upper))
}
