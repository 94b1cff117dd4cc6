//! The interval that a join condition sets between the times of its sides.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, TimestampMillisecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use datafusion_expr_common::operator::Operator;

use super::condition::conjuncts;
use super::rel::{Field, Role, schema};
use super::typed::{Typed, TypedKind};

/// Where the sides have their times, and how far they reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Interval {
    pub(super) times: [usize; 2],
    /// As `reach` of [`IntervalJoin`](crate::operators::interval_join::IntervalJoin).
    pub(super) reach: [i64; 2],
}

/// A row time plus so many milliseconds.
struct Moment {
    port: usize,
    column: usize,
    plus: i64,
}

/// What `condition`, over the columns of both sides, says of their row times, if it bounds them on both ends.
pub(super) fn interval(condition: &Typed, sides: [&[Field]; 2]) -> Option<Interval> {
    let mut parts = Vec::new();
    conjuncts(condition.clone(), &mut parts);
    let mut times: Option<[usize; 2]> = None;
    // What the left time is after the right one, at least and at most.
    let (mut least, mut most): (Option<i64>, Option<i64>) = (None, None);
    for part in parts {
        let TypedKind::Binary(op, one, other) = &part.kind else {
            continue;
        };
        let (Some(one), Some(other)) = (moment(one, sides), moment(other, sides)) else {
            continue;
        };
        let (left, right, op) = match (one.port, other.port) {
            (0, 1) => (one, other, *op),
            (1, 0) => (other, one, op.swap()?),
            _ => continue,
        };
        let columns = [left.column, right.column];
        if *times.get_or_insert(columns) != columns {
            return None;
        }
        let after = right.plus - left.plus;
        let (low, high) = match op {
            Operator::Eq => (Some(after), Some(after)),
            Operator::GtEq => (Some(after), None),
            Operator::Gt => (Some(after + 1), None),
            Operator::LtEq => (None, Some(after)),
            Operator::Lt => (None, Some(after - 1)),
            _ => continue,
        };
        least = least.max(low);
        most = [most, high].into_iter().flatten().min();
    }
    Some(Interval {
        times: times?,
        reach: [-least?, most?],
    })
}

/// Reads `expr` as a row time of one side that is moved by a constant.
fn moment(expr: &Typed, sides: [&[Field]; 2]) -> Option<Moment> {
    let mut columns = Vec::new();
    expr.mark_columns(&mut |column| columns.push(column));
    let [column] = columns[..] else {
        return None;
    };
    let n_left = sides[0].len();
    let (port, at) = match column.checked_sub(n_left) {
        None => (0, column),
        Some(at) => (1, at),
    };
    let field = &sides[port][at];
    if field.role != Role::Rowtime {
        return None;
    }
    // Whatever it is made of, it moves all times by the same: in winter, in summer, at the end of a leap year's February.
    let samples = [1_767_225_600_000, 1_782_864_000_123, 1_709_164_800_000_i64];
    let times: ArrayRef = Arc::new(TimestampMillisecondArray::from(samples.to_vec()));
    let schema = schema(std::slice::from_ref(field));
    let times = cast(&times, schema.field(0).data_type()).ok()?;
    let batch = RecordBatch::try_new(schema.clone(), vec![times]).ok()?;
    let moved = expr
        .remap(&|_| 0)
        .compile(&schema)
        .ok()?
        .evaluate(&batch)
        .ok()?;
    let moved = moved.into_array(samples.len()).ok()?;
    let zone = match moved.data_type() {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => return None,
    };
    let moved = cast(&moved, &DataType::Timestamp(TimeUnit::Millisecond, zone)).ok()?;
    let moved = cast(&moved, &DataType::Int64).ok()?;
    let moved = moved.as_primitive_opt::<Int64Type>()?;
    let mut by = samples
        .iter()
        .zip(moved.iter())
        .map(|(time, moved)| Some(moved? - time));
    let plus = by.next()??;
    by.all(|other| other == Some(plus)).then_some(Moment {
        port,
        column: at,
        plus,
    })
}
