//! Keeps a plan that multiplies rows interruptible, and its batches small.
//!
//! DataFusion asks a task to give way when it hands out batches. A join whose condition holds for no pair hands out
//! none, however many pairs it looks at, and `UNNEST` makes one batch of all that comes of a batch. So join conditions
//! ask on the way whether the query is still wanted and let other tasks run, joins give way with each batch, and rows
//! go into `UNNEST` in small batches. What is added here is added last, so that no optimizer has to understand it.

use std::cell::Cell;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::DataFusionError;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result as DfResult;
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, Join, LogicalPlan, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility,
};
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{Stream, StreamExt};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio_util::sync::CancellationToken;

use crate::failure::{Code, Failure, Result};
use crate::scan::ScanProgress;

/// Operators that may make many rows of few.
const MULTIPLIERS: [&str; 6] = [
    "UnnestExec",
    "CrossJoinExec",
    "NestedLoopJoinExec",
    "HashJoinExec",
    "SortMergeJoinExec",
    "PiecewiseMergeJoinExec",
];
/// Rows that are unnested at once: an array has at most ten thousand elements when a function made it.
const UNNESTED_AT_ONCE: usize = 64;

/// How long a thread computes conditions before other tasks have their turn.
const TURN: Duration = Duration::from_millis(200);

thread_local! {
    /// When the first and the last of the conditions were computed that this thread has computed in one turn.
    static TURN_OF: Cell<Option<(Instant, Instant)>> = const { Cell::new(None) };
}

/// A condition that holds as before, lets other tasks run, and fails once the query is cancelled.
#[derive(Debug)]
struct Wanted {
    signature: Signature,
    cancel: CancellationToken,
}

/// Hands out the batches of its input in slices.
#[derive(Debug)]
struct SliceExec {
    input: Arc<dyn ExecutionPlan>,
}

struct Slices {
    input: SendableRecordBatchStream,
    rest: Option<RecordBatch>,
}

/// Makes the conditions of joins fail when `cancel` is cancelled.
pub(super) fn interruptible(plan: LogicalPlan, cancel: &CancellationToken) -> Result<LogicalPlan> {
    let function = Arc::new(ScalarUDF::new_from_impl(Wanted {
        signature: Signature::any(1, Volatility::Immutable),
        cancel: cancel.clone(),
    }));
    let guarded = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Join(join) if join.filter.is_some() => {
            let filter = join.filter.map(|filter| {
                Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(&function), vec![filter]))
            });
            Ok(Transformed::yes(LogicalPlan::Join(Join { filter, ..join })))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(guarded.data)
}

/// The finished plan: its multipliers give way, `UNNEST` gets small batches, scans name the file they fail in.
pub(super) fn steady(
    plan: Arc<dyn ExecutionPlan>,
    progress: &Arc<ScanProgress>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let made = plan.transform_up(|node| {
        if !MULTIPLIERS.contains(&node.name()) {
            let watched = crate::scan::watched(Arc::clone(&node), progress);
            let changed = !Arc::ptr_eq(&watched, &node);
            return Ok(Transformed::new_transformed(watched, changed));
        }
        let node = if node.name() == "UnnestExec" {
            let inputs = node.children().into_iter().cloned().map(sliced);
            let inputs = inputs.collect::<DfResult<_>>()?;
            node.with_new_children(inputs)?
        } else {
            node
        };
        Ok(Transformed::yes(
            Arc::new(CooperativeExec::new(node)) as Arc<dyn ExecutionPlan>
        ))
    })?;
    Ok(made.data)
}

/// Slices what goes into the projections that make the arrays.
fn sliced(plan: Arc<dyn ExecutionPlan>) -> DfResult<Arc<dyn ExecutionPlan>> {
    if plan.name() != "ProjectionExec" {
        return Ok(Arc::new(SliceExec { input: plan }));
    }
    let inputs = plan.children().into_iter().cloned().map(sliced);
    let inputs = inputs.collect::<DfResult<_>>()?;
    plan.with_new_children(inputs)
}

/// Lets the runtime run another task if this thread has computed conditions for long: a join whose condition never holds
/// does not return from its poll, and would keep the thread from every other statement.
fn give_way() {
    let now = Instant::now();
    let turn = TURN_OF.get().filter(|(_, last)| now - *last < TURN);
    let began = turn.map_or(now, |(began, _)| began);
    if now - began < TURN {
        TURN_OF.set(Some((began, now)));
        return;
    }
    TURN_OF.set(None);
    let Ok(runtime) = Handle::try_current() else {
        return;
    };
    if runtime.runtime_flavor() == RuntimeFlavor::MultiThread {
        // Another thread takes this one's place; that it has run a task says that there was a turn. The task can only
        // fail when the runtime ends, and this one with it.
        tokio::task::block_in_place(|| {
            let _ = runtime.block_on(runtime.spawn(std::future::ready(())));
        });
    }
}

// === impl Wanted ===

impl PartialEq for Wanted {
    fn eq(&self, other: &Wanted) -> bool {
        self.signature == other.signature
    }
}

impl Eq for Wanted {}

impl Hash for Wanted {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.signature.hash(state);
    }
}

impl ScalarUDFImpl for Wanted {
    fn name(&self) -> &str {
        "wanted"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        if self.cancel.is_cancelled() {
            return Err(Failure::new(Code::UserCanceled, "Query was canceled").into());
        }
        give_way();
        let mut args = args.args.into_iter();
        args.next()
            .ok_or_else(|| DataFusionError::Internal("a condition is one argument".to_owned()))
    }
}

// === impl SliceExec ===

impl DisplayAs for SliceExec {
    fn fmt_as(&self, _: DisplayFormatType, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SliceExec: rows={UNNESTED_AT_ONCE}")
    }
}

impl ExecutionPlan for SliceExec {
    fn name(&self) -> &'static str {
        "SliceExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(input), true) => Ok(Arc::new(SliceExec { input })),
            _ => Err(DataFusionError::Internal(
                "slices need one input".to_owned(),
            )),
        }
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> DfResult<SendableRecordBatchStream> {
        Ok(Box::pin(Slices {
            input: self.input.execute(partition, context)?,
            rest: None,
        }))
    }
}

// === impl Slices ===

impl Stream for Slices {
    type Item = DfResult<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.rest.is_none() {
            match self.input.poll_next_unpin(context) {
                Poll::Ready(Some(Ok(batch))) => self.rest = Some(batch),
                other => return other,
            }
        }
        let slice = self.rest.take().map(|batch| {
            let rows = batch.num_rows();
            if rows > UNNESTED_AT_ONCE {
                self.rest = Some(batch.slice(UNNESTED_AT_ONCE, rows - UNNESTED_AT_ONCE));
            }
            Ok(batch.slice(0, rows.min(UNNESTED_AT_ONCE)))
        });
        Poll::Ready(slice)
    }
}

impl RecordBatchStream for Slices {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}
