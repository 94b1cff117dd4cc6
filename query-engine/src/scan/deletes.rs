//! Takes rows out whose key was deleted by a later commit.
//!
//! The node sits directly on a Parquet scan that adds two columns to each row: the sequence number of
//! its file, and the number of the group of delete files that may reach it (one group per partition).
//! Deleted keys are read when the first batch of a group arrives and shared by all partitions of the
//! plan.

use std::fmt;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, FieldRef, Int32Type, Int64Type, SchemaRef};
use datafusion::common::{DataFusionError, Result, Statistics};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::TryStreamExt;
use lake::Table;
use lake::deletes::DeletedKeys;
use lake::read::LiveFile;
use tokio::sync::OnceCell;

use super::external;

/// The column that holds the sequence number of a row's file.
const SEQUENCE: &str = "\u{0}sequence";
/// The column that holds the number of a row's group of delete files.
const GROUP: &str = "\u{0}deletes";

/// Delete files that reach the same data files, and their keys once they are read.
#[derive(Debug)]
pub(super) struct DeleteGroup {
    files: Vec<LiveFile>,
    keys: OnceCell<DeletedKeys>,
}

/// Removes the rows of its input whose key was deleted.
#[derive(Debug)]
pub(super) struct EqualityDeletesExec {
    input: Arc<dyn ExecutionPlan>,
    shared: Arc<Shared>,
    properties: Arc<PlanProperties>,
}

#[derive(Debug)]
struct Shared {
    table: Table,
    groups: Vec<DeleteGroup>,
    /// Field id and place in the input of each key column.
    keys: Vec<(i32, usize)>,
    n_output: usize,
    schema: SchemaRef,
    max_bytes: usize,
}

// === impl DeleteGroup ===

impl DeleteGroup {
    pub(super) fn new(files: Vec<LiveFile>) -> Self {
        Self {
            files,
            keys: OnceCell::new(),
        }
    }

    async fn keys(&self, table: &Table, max_bytes: usize) -> Result<&DeletedKeys> {
        self.keys
            .get_or_try_init(|| async {
                let files: Vec<&LiveFile> = self.files.iter().collect();
                DeletedKeys::load(table, &files, max_bytes)
                    .await
                    .map_err(external)
            })
            .await
    }
}

/// The two columns that the input adds, as partition columns of its files.
pub(super) fn extra_columns() -> Vec<FieldRef> {
    vec![
        Arc::new(Field::new(SEQUENCE, DataType::Int64, false)),
        Arc::new(Field::new(GROUP, DataType::Int32, false)),
    ]
}

// === impl EqualityDeletesExec ===

impl EqualityDeletesExec {
    /// Puts the node on `input`, whose first columns are those of `schema` and whose last two are
    /// [`extra_columns`]. `keys` gives field id and place in the input of each key column.
    pub(super) fn new(
        input: Arc<dyn ExecutionPlan>,
        table: Table,
        groups: Vec<DeleteGroup>,
        keys: Vec<(i32, usize)>,
        schema: SchemaRef,
        max_bytes: usize,
    ) -> Self {
        let n_output = schema.fields().len();
        let shared = Shared {
            table,
            groups,
            keys,
            n_output,
            schema,
            max_bytes,
        };
        Self::over(input, Arc::new(shared))
    }

    fn over(input: Arc<dyn ExecutionPlan>, shared: Arc<Shared>) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&shared.schema)),
            datafusion::physical_plan::Partitioning::UnknownPartitioning(
                input.properties().output_partitioning().partition_count(),
            ),
            EmissionType::Incremental,
            input.properties().boundedness,
        );
        Self {
            input,
            shared,
            properties: Arc::new(properties),
        }
    }
}

impl DisplayAs for EqualityDeletesExec {
    fn fmt_as(&self, _: DisplayFormatType, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files: usize = self
            .shared
            .groups
            .iter()
            .map(|group| group.files.len())
            .sum();
        write!(formatter, "EqualityDeletesExec: delete_files={files}")
    }
}

impl ExecutionPlan for EqualityDeletesExec {
    fn name(&self) -> &'static str {
        "EqualityDeletesExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        // It does keep the order, but promises none of its own: a sort must not be pushed below it.
        vec![false]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(input), true) => Ok(Arc::new(Self::over(input, Arc::clone(&self.shared)))),
            _ => Err(DataFusionError::Internal(
                "deletes need one input".to_owned(),
            )),
        }
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let shared = Arc::clone(&self.shared);
        let kept = self
            .input
            .execute(partition, context)?
            .and_then(move |batch| {
                let shared = Arc::clone(&shared);
                async move { shared.kept(&batch).await }
            });
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&self.shared.schema),
            kept,
        )))
    }

    fn partition_statistics(&self, partition: Option<usize>) -> Result<Arc<Statistics>> {
        let mut statistics =
            Arc::unwrap_or_clone(self.input.partition_statistics(partition)?).to_inexact();
        statistics.column_statistics.truncate(self.shared.n_output);
        Ok(Arc::new(statistics))
    }
}

// === impl Shared ===

impl Shared {
    async fn kept(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let n_columns = batch.num_columns();
        let output: Vec<usize> = (0..self.n_output).collect();
        if batch.num_rows() == 0 || n_columns < 2 {
            return Ok(batch.project(&output)?);
        }
        // A scan that casts may hand out the constant columns as it likes; these are plain.
        let sequences = arrow::compute::cast(batch.column(n_columns - 2), &DataType::Int64)?;
        let groups = arrow::compute::cast(batch.column(n_columns - 1), &DataType::Int32)?;
        let sequences = sequences.as_primitive::<Int64Type>();
        let groups = groups.as_primitive::<Int32Type>();
        let mut kept = Vec::with_capacity(batch.num_rows());
        let mut start = 0;
        while start < batch.num_rows() {
            // Rows of one file follow each other; mostly the whole batch is of one.
            let here = (sequences.value(start), groups.value(start));
            let end = (start..batch.num_rows())
                .find(|row| (sequences.value(*row), groups.value(*row)) != here)
                .unwrap_or(batch.num_rows());
            let rows = batch.slice(start, end - start);
            let group = usize::try_from(here.1)
                .ok()
                .and_then(|group| self.groups.get(group))
                .ok_or_else(|| DataFusionError::Internal("no such group of deletes".to_owned()))?;
            let keys = group.keys(&self.table, self.max_bytes).await?;
            let mask: BooleanArray = keys
                .kept(rows.num_rows(), here.0, |id| {
                    self.keys
                        .iter()
                        .find(|(key, _)| *key == id)
                        .map(|(_, place)| Arc::clone(rows.column(*place)))
                })
                .map_err(external)?;
            kept.extend((0..mask.len()).map(|row| mask.value(row)));
            start = end;
        }
        let projected = batch.project(&output)?;
        Ok(filter_record_batch(&projected, &BooleanArray::from(kept))?)
    }
}
