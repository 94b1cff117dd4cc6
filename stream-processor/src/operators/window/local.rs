//! The first of two phases of a windowed aggregation: each instance aggregates the rows that it has, and one row for
//! each group crosses the exchange instead of all of them. Flink's `LocalWindowAggregate`.
//!
//! What it holds is no state: it goes on before each barrier, before the watermark that closes its window, and when
//! there are too many groups. It drops late rows itself, because only here they are still rows: it passes on what a
//! window has before the watermark that closes it, so nothing it passes on is late in the second phase. That needs
//! all instances to be silent or to speak together, so the planner puts it only behind an exchange or an input that
//! is never silent.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::{Bucket, CLOSE, STATE, WindowAggregate, Windows};
use crate::batch::ChangeBatch;
use crate::error::Error;
use crate::graph::OperatorFactory;
use crate::operator::{CheckpointId, EventTime, Operator, Output, StateTable, Subtask};
use crate::operators::aggregate::{AggregateCall, Function};
use crate::operators::keys::{batch_of, saved_column, take_watermark, watermark_table};

/// Groups that are held at most.
const MOST_GROUPS: usize = 1 << 16;

/// What the second phase would do in one; this is its first half.
#[derive(Debug, Clone)]
pub(crate) struct LocalWindowAggregate(pub(crate) WindowAggregate);

/// What travels between the phases: the keys, when the window closes, a saved state for each call.
pub(crate) fn partial_schema(input: &Schema, keys: &[usize], n_calls: usize) -> SchemaRef {
    let keys = keys.iter().map(|key| input.field(*key).clone());
    let close = Field::new(CLOSE, DataType::Int64, true);
    let states =
        (0..n_calls).map(|call| Field::new(format!("{STATE}_{call}"), DataType::Binary, true));
    Arc::new(Schema::new(
        keys.chain([close]).chain(states).collect::<Vec<_>>(),
    ))
}

/// Whether states of `call` over parts of the rows add up to the state over all, in whichever order they come.
pub(crate) fn adds_up(call: &AggregateCall) -> bool {
    let function = matches!(
        call.function,
        Function::Count | Function::Sum | Function::Avg | Function::Min | Function::Max
    );
    function && !call.retracts
}

struct Locals {
    windows: Windows,
    output: SchemaRef,
}

impl OperatorFactory for LocalWindowAggregate {
    fn create(&self, _: Subtask) -> Result<Box<dyn Operator>, Error> {
        let plan = &self.0;
        Ok(Box::new(Locals {
            output: partial_schema(&plan.input, &plan.keys, plan.calls.len()),
            windows: Windows::new(plan)?,
        }))
    }
}

impl Locals {
    fn pass_on(&self, close: i64, bucket: &Bucket, output: &mut dyn Output) -> Result<(), Error> {
        let mut columns = bucket.key_columns(&self.windows.encoder)?;
        let closes: ArrayRef = Arc::new(Int64Array::from(vec![close; bucket.keys.len()]));
        columns.push(closes);
        columns.extend(
            bucket
                .states
                .iter()
                .map(|states| saved_column(states.iter())),
        );
        output.emit(ChangeBatch::inserts(batch_of(&self.output, columns)?))
    }

    fn pass_on_all(&mut self, output: &mut dyn Output) -> Result<(), Error> {
        let open = std::mem::take(&mut self.windows.open);
        for (close, bucket) in &open {
            self.pass_on(*close, bucket, output)?;
        }
        Ok(())
    }
}

impl Operator for Locals {
    fn on_batch(
        &mut self,
        port: usize,
        batch: ChangeBatch,
        output: &mut dyn Output,
    ) -> Result<(), Error> {
        self.windows.on_batch(port, batch, output)?;
        if self.windows.n_groups() > MOST_GROUPS {
            self.pass_on_all(output)?;
        }
        Ok(())
    }

    fn on_watermark(&mut self, watermark: EventTime, output: &mut dyn Output) -> Result<(), Error> {
        for (close, bucket) in self.windows.close_until(watermark) {
            self.pass_on(close, &bucket, output)?;
        }
        output.watermark(watermark)
    }

    fn before_barrier(&mut self, output: &mut dyn Output) -> Result<(), Error> {
        self.pass_on_all(output)
    }

    fn snapshot(&mut self, _: CheckpointId) -> Result<Vec<StateTable>, Error> {
        Ok(vec![watermark_table(self.windows.watermark)?])
    }

    fn restore(&mut self, mut tables: Vec<StateTable>) -> Result<(), Error> {
        self.windows.watermark = take_watermark(&mut tables)?;
        Ok(())
    }

    fn state_size(&self) -> usize {
        self.windows.state_size()
    }
}
