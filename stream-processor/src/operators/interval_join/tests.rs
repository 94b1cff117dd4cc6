//! Rows meet those whose time is near enough, whatever the order they come in, and are forgotten afterwards.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray,
};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};
use datafusion_expr_common::operator::Operator as Comparison;
use datafusion_physical_expr::expressions::{BinaryExpr, Column};
use proptest::prelude::*;

use super::IntervalJoin;
use crate::batch::ChangeBatch;
use crate::error::Error;
use crate::graph::OperatorFactory;
use crate::operator::{CheckpointId, EventTime, Operator, Output, Subtask};
use crate::operators::join::Alone;

fn side() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Millisecond, None);
    Arc::new(Schema::new(vec![
        Field::new("time", time, true),
        Field::new("key", DataType::Utf8, true),
        Field::new("value", DataType::Int64, true),
    ]))
}

fn plan(reach: [i64; 2], alone: [Alone; 2], with_condition: bool) -> IntervalJoin {
    let fields: Vec<_> = [side(), side()]
        .iter()
        .flat_map(|side| side.fields().iter().cloned())
        .collect();
    let lower = BinaryExpr::new(
        Arc::new(Column::new("value", 2)),
        Comparison::Lt,
        Arc::new(Column::new("value", 5)),
    );
    IntervalJoin {
        sides: [side(), side()],
        keys: [vec![1], vec![1]],
        times: [0, 0],
        reach,
        alone,
        condition: with_condition.then(|| Arc::new(lower) as _),
        output: Arc::new(Schema::new(fields)),
    }
}

fn create(plan: &IntervalJoin) -> Box<dyn Operator> {
    let whole = Subtask {
        index: 0,
        parallelism: 1,
    };
    plan.create(whole).unwrap()
}

/// Time, key, value.
type Row = (i64, Option<u8>, i64);

fn rows(rows: &[Row]) -> ChangeBatch {
    let times: TimestampMillisecondArray = rows.iter().map(|(time, ..)| Some(*time)).collect();
    let keys = rows
        .iter()
        .map(|(_, key, _)| key.map(|key| key.to_string()));
    let values: Int64Array = rows.iter().map(|(.., value)| Some(*value)).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(times),
        Arc::new(keys.collect::<StringArray>()),
        Arc::new(values),
    ];
    ChangeBatch::inserts(RecordBatch::try_new(side(), columns).unwrap())
}

#[derive(Default)]
struct Seen {
    /// The values of each row's sides.
    rows: Vec<String>,
    watermark: Option<EventTime>,
}

fn shown(left: Option<i64>, right: Option<i64>) -> String {
    let text = |value: Option<i64>| value.map_or("-".to_owned(), |value| value.to_string());
    format!("{} {}", text(left), text(right))
}

impl Output for Seen {
    fn emit(&mut self, batch: ChangeBatch) -> Result<(), Error> {
        assert!(batch.kinds.is_none());
        for at in 0..batch.num_rows() {
            let value = |column: usize| {
                let values = batch.rows.column(column).as_primitive::<Int64Type>();
                values.is_valid(at).then(|| values.value(at))
            };
            self.rows.push(shown(value(2), value(5)));
        }
        Ok(())
    }

    fn watermark(&mut self, watermark: EventTime) -> Result<(), Error> {
        self.watermark = Some(watermark);
        Ok(())
    }

    fn late(&mut self, _: RecordBatch) -> Result<(), Error> {
        Err(Error::failed("an interval join lets no row be late"))
    }
}

fn expected(sides: &[Vec<Row>; 2], plan: &IntervalJoin) -> Vec<String> {
    let [after, before] = plan.reach;
    let fits = |left: &Row, right: &Row| {
        left.1.is_some()
            && left.1 == right.1
            && (left.0 - before..=left.0 + after).contains(&right.0)
            && (plan.condition.is_none() || left.2 < right.2)
    };
    let mut all = Vec::new();
    for left in &sides[0] {
        let met: Vec<&Row> = sides[1].iter().filter(|right| fits(left, right)).collect();
        all.extend(met.iter().map(|right| shown(Some(left.2), Some(right.2))));
        if met.is_empty() && plan.alone[0] != Alone::Never {
            all.push(shown(Some(left.2), None));
        }
    }
    for right in &sides[1] {
        if plan.alone[1] != Alone::Never && !sides[0].iter().any(|left| fits(left, right)) {
            all.push(shown(None, Some(right.2)));
        }
    }
    all.sort();
    all
}

proptest! {
    #[test]
    fn rows_meet_as_if_all_were_compared_with_all(
        reach in prop::sample::select(vec![[5_i64, 5], [0, 10], [10, 0], [20, -5], [-5, 20], [0, 0]]),
        alone in prop::sample::select(vec![
            [Alone::Never, Alone::Never],
            [Alone::Unmatched, Alone::Never],
            [Alone::Never, Alone::Unmatched],
            [Alone::Unmatched, Alone::Unmatched],
        ]),
        with_condition in any::<bool>(),
        // Which side, how much later than the watermark, and what follows: a watermark, a checkpoint.
        steps in prop::collection::vec(
            (0..2_usize, prop::collection::vec((1..15_i64, prop::option::weighted(0.9, 0..2_u8)), 1..4), 0..4_u8),
            0..40,
        ),
    ) {
        let plan = plan(reach, alone, with_condition);
        let mut seen = Seen::default();
        let mut join = create(&plan);
        let mut sides: [Vec<Row>; 2] = Default::default();
        let mut watermark = 1000;
        join.on_watermark(EventTime(watermark), &mut seen).unwrap();
        for (number, (port, batch, then)) in steps.into_iter().enumerate() {
            let batch: Vec<Row> = batch
                .into_iter()
                .enumerate()
                .map(|(at, (later, key))| (watermark + later, key, (number * 10 + at) as i64 * 7 % 100))
                .collect();
            sides[port].extend(&batch);
            join.on_batch(port, rows(&batch), &mut seen).unwrap();
            if then == 0 {
                let saved = join.snapshot(CheckpointId(1)).unwrap();
                join = create(&plan);
                join.restore(saved).unwrap();
            }
            if then < 2 {
                watermark += 9;
                join.on_watermark(EventTime(watermark), &mut seen).unwrap();
                let delay = reach[0].max(reach[1]).max(0);
                prop_assert_eq!(seen.watermark, Some(EventTime(watermark - delay)));
            }
        }
        join.on_watermark(EventTime(watermark + 1000), &mut seen).unwrap();
        prop_assert_eq!(join.state_size(), 0);
        seen.rows.sort();
        prop_assert_eq!(seen.rows, expected(&sides, &plan));
    }
}

#[test]
fn a_row_without_match_comes_alone_once_it_can_have_none() {
    let plan = plan([10, 0], [Alone::Unmatched, Alone::Never], false);
    let mut seen = Seen::default();
    let mut join = create(&plan);
    join.on_batch(0, rows(&[(100, Some(1), 1), (100, None, 2)]), &mut seen)
        .unwrap();
    // NULL meets nothing, and need not wait.
    assert_eq!(std::mem::take(&mut seen.rows), ["2 -"]);
    join.on_watermark(EventTime(115), &mut seen).unwrap();
    assert!(seen.rows.is_empty());
    // Half the interval after it is over, as in Flink.
    join.on_watermark(EventTime(116), &mut seen).unwrap();
    assert_eq!(seen.rows, ["1 -"]);
    // What comes too late for all that could match is not held.
    join.on_batch(0, rows(&[(106, Some(1), 3)]), &mut seen)
        .unwrap();
    assert_eq!(seen.rows, ["1 -", "3 -"]);
    assert_eq!(join.state_size(), 0);
}
