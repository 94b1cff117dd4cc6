//! Names the file in errors that come from the middle of one, and counts what is read.
//!
//! DataFusion says what was wrong with the bytes, not whose they were. So the reader of each file notes whenever it
//! fetches pages for a partition of the scan, and a node on top of the finished plan puts the name of the last such
//! file into an error of that partition. The reader also compares the footer with the manifest: a file that holds
//! another number of rows than was committed is not the file that was committed.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use datafusion::common::{DataFusionError, Result, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::physical_plan::parquet::{
    CachedParquetFileReaderFactory, ParquetFileReaderFactory,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryFutureExt, TryStreamExt};
use parking_lot::Mutex;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;

use crate::failure::{Code, Failure};

/// What the scans of a query have read so far.
#[derive(Debug, Default)]
pub(crate) struct ScanProgress {
    pub(crate) rows: AtomicU64,
    /// Bytes of those rows in memory.
    pub(crate) bytes: AtomicU64,
    /// Bytes asked of the store.
    pub(crate) stored_bytes: AtomicU64,
    /// Partitions of scans, and how many of them have ended.
    pub(crate) n_splits: AtomicU64,
    pub(crate) n_done: AtomicU64,
}

/// The file that each partition of one scan reads.
#[derive(Debug, Default)]
pub(super) struct Reading {
    paths: Mutex<HashMap<usize, Arc<str>>>,
    /// Where it is counted, once the plan is finished.
    progress: OnceLock<Arc<ScanProgress>>,
}

/// What the manifest says of a file; goes with the file through DataFusion's scan.
#[derive(Debug, Clone)]
pub(super) struct Committed {
    pub(super) path: Arc<str>,
    pub(super) n_rows: u64,
    pub(super) reading: Arc<Reading>,
}

/// Makes readers that note what they read.
#[derive(Debug)]
pub(super) struct NotingFactory(pub(super) CachedParquetFileReaderFactory);

struct NotingReader {
    inner: Box<dyn AsyncFileReader + Send>,
    partition: usize,
    file: Option<Committed>,
}

/// Puts the name of the file into the errors of its input, which is a scan, and counts its rows.
#[derive(Debug)]
struct NamingExec {
    scan: Arc<dyn ExecutionPlan>,
    reading: Arc<Reading>,
    progress: Arc<ScanProgress>,
}

/// A partition that is being read; one less to do when it goes, be it at its end or because nobody wants more.
struct Split(Arc<ScanProgress>);

/// `plan` under a node that names the file in its errors and counts its rows, if it is a scan of this module.
pub(crate) fn watched(
    plan: Arc<dyn ExecutionPlan>,
    progress: &Arc<ScanProgress>,
) -> Arc<dyn ExecutionPlan> {
    let committed = plan
        .downcast_ref::<DataSourceExec>()
        .and_then(|scan| scan.data_source().downcast_ref::<FileScanConfig>())
        .and_then(|scan| {
            scan.file_groups
                .iter()
                .find_map(|group| group.files().first())
        })
        .and_then(|file| file.extension::<Committed>());
    let Some(reading) = committed.map(|committed| Arc::clone(&committed.reading)) else {
        return plan;
    };
    let n_splits = plan.properties().output_partitioning().partition_count();
    add(&progress.n_splits, n_splits);
    reading.progress.get_or_init(|| Arc::clone(progress));
    Arc::new(NamingExec {
        scan: plan,
        reading,
        progress: Arc::clone(progress),
    })
}

fn add(counter: &AtomicU64, n: usize) {
    counter.fetch_add(u64::try_from(n).unwrap_or(u64::MAX), Ordering::Relaxed);
}

impl Drop for Split {
    fn drop(&mut self) {
        add(&self.0.n_done, 1);
    }
}

// === impl NotingFactory ===

impl ParquetFileReaderFactory for NotingFactory {
    fn create_reader(
        &self,
        partition: usize,
        file: PartitionedFile,
        metadata_size_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        let committed = file.extension::<Committed>().cloned();
        let inner = self
            .0
            .create_reader(partition, file, metadata_size_hint, metrics)?;
        Ok(Box::new(NotingReader {
            inner,
            partition,
            file: committed,
        }))
    }
}

// === impl NotingReader ===

impl NotingReader {
    fn note(&self, ranges: &[Range<u64>]) {
        if let Some(file) = &self.file {
            if let Some(progress) = file.reading.progress.get() {
                let bytes = ranges.iter().map(|range| range.end - range.start).sum();
                progress.stored_bytes.fetch_add(bytes, Ordering::Relaxed);
            }
            let mut paths = file.reading.paths.lock();
            paths.insert(self.partition, Arc::clone(&file.path));
        }
    }
}

/// The failure to open a file; the reason is the library's.
pub(super) fn cannot_open(path: &str, error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::new(
        Code::IcebergCannotOpenSplit,
        format!(
            "Error opening Iceberg split {path}: {}",
            telemetry::chain(error)
        ),
    )
}

impl AsyncFileReader for NotingReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        self.note(std::slice::from_ref(&range));
        self.inner.get_bytes(range)
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, parquet::errors::Result<Vec<Bytes>>> {
        self.note(&ranges);
        self.inner.get_byte_ranges(ranges)
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        let file = self.file.clone();
        let metadata = self.inner.get_metadata(options);
        let Some(file) = file else { return metadata };
        let path = Arc::clone(&file.path);
        metadata
            .and_then(move |metadata| async move {
                let n_rows = metadata.file_metadata().num_rows();
                if u64::try_from(n_rows) == Ok(file.n_rows) {
                    return Ok(metadata);
                }
                Err(ParquetError::General(format!(
                    "the file has {n_rows} rows, {} were committed",
                    file.n_rows
                )))
            })
            .map_err(move |error| ParquetError::External(Box::new(cannot_open(&path, &error))))
            .boxed()
    }
}

// === impl NamingExec ===

impl DisplayAs for NamingExec {
    fn fmt_as(&self, _: DisplayFormatType, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("NamingExec")
    }
}

impl ExecutionPlan for NamingExec {
    fn name(&self) -> &'static str {
        "NamingExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.scan.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.scan]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(scan), true) => Ok(Arc::new(Self {
                scan,
                reading: Arc::clone(&self.reading),
                progress: Arc::clone(&self.progress),
            })),
            _ => Err(DataFusionError::Internal("a scan is one input".to_owned())),
        }
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let reading = Arc::clone(&self.reading);
        let split = Split(Arc::clone(&self.progress));
        let schema: SchemaRef = self.scan.schema();
        // The decoder was written for files that are as their footers say: on others it may panic.
        let batches = AssertUnwindSafe(self.scan.execute(partition, context)?)
            .catch_unwind()
            .map(|batch| batch.unwrap_or_else(|_| Err(damaged())))
            .map_err(move |error| named(error, &reading, partition))
            .inspect_ok(move |batch| {
                add(&split.0.rows, batch.num_rows());
                add(&split.0.bytes, batch.get_array_memory_size());
            });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
    }

    fn partition_statistics(&self, partition: Option<usize>) -> Result<Arc<Statistics>> {
        self.scan.partition_statistics(partition)
    }
}

fn damaged() -> DataFusionError {
    Failure::new(Code::IcebergBadData, "the file is damaged").into()
}

/// An error of the data itself, with the name of the file; others, such as a lack of memory, stay as they are.
fn named(error: DataFusionError, reading: &Reading, partition: usize) -> DataFusionError {
    if matches!(error, DataFusionError::ResourcesExhausted(_)) {
        return error;
    }
    let failure = Failure::from(error);
    let of_data = matches!(
        failure.code,
        Code::IcebergBadData | Code::IcebergFilesystemError | Code::GenericInternalError
    );
    let path = reading.paths.lock().get(&partition).cloned();
    match path {
        Some(path) if of_data && !failure.message.contains(path.as_ref()) => Failure::new(
            Code::IcebergBadData,
            format!("Error reading Parquet file {path}: {}", failure.message),
        )
        .into(),
        _ => failure.into(),
    }
}
