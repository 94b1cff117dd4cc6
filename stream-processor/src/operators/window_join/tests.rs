//! Rows meet within their window, once it is over, whatever was saved and restored before.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray,
};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};
use datafusion_expr_common::operator::Operator as Comparison;
use datafusion_physical_expr::expressions::{BinaryExpr, Column};

use super::WindowJoin;
use crate::batch::ChangeBatch;
use crate::error::Error;
use crate::graph::OperatorFactory;
use crate::operator::{CheckpointId, EventTime, Operator, Output, Subtask};
use crate::operators::join::Alone;

fn side() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Millisecond, None);
    Arc::new(Schema::new(vec![
        Field::new("end", time, true),
        Field::new("key", DataType::Utf8, true),
        Field::new("value", DataType::Int64, true),
    ]))
}

fn plan(pairs: bool, alone: [Alone; 2], with_condition: bool) -> WindowJoin {
    let fields: Vec<_> = [side(), side()]
        .iter()
        .flat_map(|side| side.fields().iter().cloned())
        .collect();
    let lower = BinaryExpr::new(
        Arc::new(Column::new("value", 2)),
        Comparison::Lt,
        Arc::new(Column::new("value", 5)),
    );
    WindowJoin {
        sides: [side(), side()],
        keys: [vec![0, 1], vec![0, 1]],
        ends: [0, 0],
        zone: None,
        pairs,
        alone,
        condition: with_condition.then(|| Arc::new(lower) as _),
        output: Arc::new(Schema::new(fields)),
    }
}

fn create(plan: &WindowJoin) -> Box<dyn Operator> {
    let whole = Subtask {
        index: 0,
        parallelism: 1,
    };
    plan.create(whole).unwrap()
}

fn rows(rows: &[(i64, Option<&str>, i64)]) -> ChangeBatch {
    let ends: TimestampMillisecondArray = rows.iter().map(|(end, ..)| Some(*end)).collect();
    let keys: StringArray = rows.iter().map(|(_, key, _)| *key).collect();
    let values: Int64Array = rows.iter().map(|(.., value)| Some(*value)).collect();
    let columns: Vec<ArrayRef> = vec![Arc::new(ends), Arc::new(keys), Arc::new(values)];
    ChangeBatch::inserts(RecordBatch::try_new(side(), columns).unwrap())
}

#[derive(Default)]
struct Seen {
    /// `key left right` of each row.
    rows: Vec<String>,
    n_late: usize,
}

impl Output for Seen {
    fn emit(&mut self, batch: ChangeBatch) -> Result<(), Error> {
        assert!(batch.kinds.is_none());
        for at in 0..batch.num_rows() {
            let key = |column: usize| {
                let keys = batch.rows.column(column).as_string::<i32>();
                keys.is_valid(at).then(|| keys.value(at))
            };
            let value = |column: usize| {
                let values = batch.rows.column(column).as_primitive::<Int64Type>();
                let value = values.is_valid(at).then(|| values.value(at).to_string());
                value.unwrap_or("-".to_owned())
            };
            let key = key(1).or(key(4)).unwrap_or("-");
            self.rows.push(format!("{key} {} {}", value(2), value(5)));
        }
        Ok(())
    }

    fn watermark(&mut self, _: EventTime) -> Result<(), Error> {
        Ok(())
    }

    fn late(&mut self, rows: RecordBatch) -> Result<(), Error> {
        self.n_late += rows.num_rows();
        Ok(())
    }
}

const NEVER: Alone = Alone::Never;
const UNMATCHED: Alone = Alone::Unmatched;

#[test]
fn each_kind_gives_its_rows() {
    for (pairs, alone, with_condition, expected) in [
        (true, [NEVER, NEVER], false, vec!["a 1 2", "b 3 1"]),
        (true, [NEVER, NEVER], true, vec!["a 1 2"]),
        (
            true,
            [UNMATCHED, NEVER],
            true,
            vec!["- 9 -", "a 1 2", "b 3 -", "c 5 -"],
        ),
        (
            true,
            [UNMATCHED, UNMATCHED],
            true,
            vec![
                "- - 9", "- 9 -", "a 1 2", "b - 1", "b 3 -", "c 5 -", "d - 7",
            ],
        ),
        (
            false,
            [Alone::Matched, NEVER],
            false,
            vec!["a 1 -", "b 3 -"],
        ),
        (false, [UNMATCHED, NEVER], false, vec!["- 9 -", "c 5 -"]),
    ] {
        let plan = plan(pairs, alone, with_condition);
        let mut seen = Seen::default();
        let mut join = create(&plan);
        let left = rows(&[
            (60, Some("a"), 1),
            (60, Some("b"), 3),
            (60, None, 9),
            (60, Some("c"), 5),
        ]);
        join.on_batch(0, left, &mut seen).unwrap();
        let saved = join.snapshot(CheckpointId(1)).unwrap();
        let mut join = create(&plan);
        join.restore(saved).unwrap();
        let right = rows(&[
            (60, Some("a"), 2),
            (60, Some("b"), 1),
            (60, None, 9),
            (60, Some("d"), 7),
        ]);
        join.on_batch(1, right, &mut seen).unwrap();
        // Another window: nothing of it may meet this one's rows.
        join.on_batch(1, rows(&[(120, Some("c"), 6)]), &mut seen)
            .unwrap();
        join.on_watermark(EventTime(58), &mut seen).unwrap();
        assert!(seen.rows.is_empty());
        join.on_watermark(EventTime(59), &mut seen).unwrap();
        seen.rows.sort();
        assert_eq!(seen.rows, expected);
    }
}

#[test]
fn a_row_of_a_window_that_is_over_is_late_before_and_after_a_restart() {
    let plan = plan(true, [UNMATCHED, NEVER], false);
    let mut seen = Seen::default();
    let mut join = create(&plan);
    join.on_watermark(EventTime(59), &mut seen).unwrap();
    join.on_batch(
        0,
        rows(&[(60, Some("a"), 1), (61, Some("a"), 2)]),
        &mut seen,
    )
    .unwrap();
    assert_eq!(seen.n_late, 1);
    let saved = join.snapshot(CheckpointId(1)).unwrap();
    let mut join = create(&plan);
    join.restore(saved).unwrap();
    join.on_batch(1, rows(&[(60, Some("a"), 3)]), &mut seen)
        .unwrap();
    assert_eq!(seen.n_late, 2);
    assert!(join.state_size() > 0);
    join.on_watermark(EventTime::MAX, &mut seen).unwrap();
    assert_eq!(seen.rows, ["a 2 -"]);
    assert_eq!(join.state_size(), 0);
}

#[test]
fn many_batches_of_a_window_all_count() {
    let plan = plan(true, [NEVER, NEVER], false);
    let mut seen = Seen::default();
    let mut join = create(&plan);
    for value in 0..1500 {
        join.on_batch(0, rows(&[(60, Some("a"), value)]), &mut seen)
            .unwrap();
    }
    join.on_batch(1, rows(&[(60, Some("a"), -1)]), &mut seen)
        .unwrap();
    join.on_watermark(EventTime::MAX, &mut seen).unwrap();
    let expected: Vec<String> = (0..1500).map(|value| format!("a {value} -1")).collect();
    assert_eq!(seen.rows, expected);
}
