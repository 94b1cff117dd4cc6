//! The job as the planner hands it to the runtime: sources, operators and sinks, and how rows travel between them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{FieldRef, SchemaRef};
use datafusion_physical_expr::PhysicalExpr;

use crate::error::Error;
use crate::operator::{Operator, Subtask};
use crate::operators::calc::Extraction;
use crate::table::TableDefinition;

/// Index of a node in [`StreamGraph::nodes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub usize);

/// A whole job, nodes in topological order.
#[derive(Debug)]
pub struct StreamGraph {
    /// `pipeline.name`, or one made from the sink tables.
    pub name: String,
    /// Inputs come before those that read them.
    pub nodes: Vec<Node>,
    /// What the job's `SET` statements chose.
    pub config: JobConfig,
}

/// The settings of one job, from `SET` statements; units as in Flink's documentation of each key.
#[derive(Debug, Clone, PartialEq)]
pub struct JobConfig {
    /// `execution.checkpointing.interval`; `None` takes none but the last.
    pub checkpoint_interval: Option<Duration>,
    /// `pipeline.auto-watermark-interval`; zero emits a watermark after every row.
    pub auto_watermark_interval: Duration,
    /// `table.exec.source.idle-timeout`; `None` waits for a silent partition for ever.
    pub source_idle_timeout: Option<Duration>,
    /// `execution.runtime-mode` is `batch`.
    pub batch: bool,
}

/// One step of a job.
#[derive(Debug)]
pub struct Node {
    /// Names the state; the same for the same SQL whenever it is planned.
    pub uid: String,
    /// What the job page shows.
    pub name: String,
    /// What it does.
    pub kind: NodeKind,
    /// Where its rows come from, by port.
    pub inputs: Vec<Edge>,
    /// The columns it emits; for a sink, those it takes.
    pub schema: SchemaRef,
    /// How many instances run.
    pub parallelism: usize,
}

/// An input of a node.
#[derive(Debug, Clone, PartialEq)]
pub struct Edge {
    /// Who emits.
    pub from: NodeId,
    /// Which instance gets which row.
    pub partitioning: Partitioning,
}

/// Which instance of the receiver gets a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Partitioning {
    /// The instance of the same index; both sides have equal parallelism and run in one task.
    Forward,
    /// By the key group of these columns.
    Hash(Vec<usize>),
    /// Round robin.
    Rebalance,
    /// Every instance gets every row.
    Broadcast,
    /// The sender's late rows instead of its results, one to one like `Forward`, described by
    /// [`late_schema`]: the sender's name, the event time if the sender marked its column, the row as JSON.
    Late,
}

/// Metadata key of the field that holds event time in the rows given to [`crate::operator::Output::late`].
pub const ROWTIME_KEY: &str = "streamforge.rowtime";

/// The columns that travel on a [`Partitioning::Late`] edge: `operator` STRING, `event_time` TIMESTAMP(3), `row` STRING.
///
/// A column of the late rows whose field has the metadata key [`ROWTIME_KEY`] gives `event_time`, otherwise it is NULL.
pub fn late_schema() -> SchemaRef {
    use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
    Arc::new(Schema::new(vec![
        Field::new("operator", DataType::Utf8, false),
        Field::new(
            "event_time",
            DataType::Timestamp(TimeUnit::Millisecond, None),
            true,
        ),
        Field::new("row", DataType::Utf8, false),
    ]))
}

/// What a node does.
pub enum NodeKind {
    /// Reads a table.
    Source(Arc<SourceSpec>),
    /// Transforms rows.
    Operator(Arc<dyn OperatorFactory>),
    /// Writes a table.
    Sink(Arc<SinkSpec>),
}

impl fmt::Debug for NodeKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NodeKind::Source(spec) => write!(formatter, "Source({})", spec.table.path),
            NodeKind::Operator(factory) => write!(formatter, "{factory:?}"),
            NodeKind::Sink(spec) => write!(formatter, "Sink({})", spec.table.path),
        }
    }
}

/// Makes the instances of an operator.
pub trait OperatorFactory: fmt::Debug + Send + Sync {
    /// A new instance without state.
    fn create(&self, subtask: Subtask) -> Result<Box<dyn Operator>, Error>;
}

/// What to read and what to make of it.
#[derive(Debug)]
pub struct SourceSpec {
    /// Connector, options (hints already merged in) and declared columns.
    pub table: Arc<TableDefinition>,
    /// Indices into `table.columns` of the physical and metadata columns to decode, after projection push-down.
    pub read: Vec<usize>,
    /// What is read from JSON texts among `read`, in one walk over each text; its columns stand behind those of `read`.
    pub(crate) extractions: Vec<Extraction>,
    /// Computed columns, each over `read`, the extracted columns and the computed ones before it.
    pub computed: Vec<ComputedColumn>,
    /// Evaluated over all of them.
    pub watermark: Option<Watermark>,
    /// Which of `read`, the extracted and the computed columns are emitted, in this order.
    pub output: Vec<usize>,
}

/// A column made from others.
#[derive(Debug, Clone)]
pub struct ComputedColumn {
    /// Name, type, nullability.
    pub field: FieldRef,
    /// `PROCTIME()` is planned as `None`: the source fills in the time of reading.
    pub expression: Option<Arc<dyn PhysicalExpr>>,
}

/// `WATERMARK FOR column AS expression`.
#[derive(Debug, Clone)]
pub struct Watermark {
    /// The row-time column.
    pub column: usize,
    /// Gives a timestamp of millisecond precision; the running maximum per split is the split's watermark.
    pub expression: Arc<dyn PhysicalExpr>,
}

/// Where to write.
#[derive(Debug)]
pub struct SinkSpec {
    /// Connector, options and columns; the input has already been cast to the columns' types and order.
    pub table: Arc<TableDefinition>,
    /// Which kinds of change arrive.
    pub changelog: ChangelogMode,
    /// The columns of the table's PRIMARY KEY, empty without one.
    pub primary_key: Vec<usize>,
    /// `INSERT OVERWRITE`.
    pub overwrite: bool,
}

/// Which kinds of change a stream carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangelogMode {
    /// Only `+I`.
    InsertOnly,
    /// `+I`, `+U` and `-D` by key; no `-U`.
    Upsert,
    /// All four.
    Retract,
}
