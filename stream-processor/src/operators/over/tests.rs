//! Each row comes with what its frame gives, however watermarks and checkpoints cut the stream.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray,
};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};
use proptest::prelude::*;

use super::{OverAggregate, OverFrame};
use crate::batch::ChangeBatch;
use crate::error::Error;
use crate::graph::OperatorFactory;
use crate::operator::{CheckpointId, EventTime, Operator, Output, Subtask};
use crate::operators::aggregate::{AggregateCall, Function};
use crate::table::{SqlType, TypeRoot};

fn input() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Millisecond, None);
    Arc::new(Schema::new(vec![
        Field::new("key", DataType::Utf8, true),
        Field::new("time", time, true),
        Field::new("value", DataType::Int64, true),
        Field::new("number", DataType::Int64, true),
    ]))
}

fn plan(frame: OverFrame, keyed: bool) -> OverAggregate {
    let call = |function, argument| AggregateCall {
        function,
        distinct: false,
        argument,
        filter: None,
        separator: ",".to_owned(),
        result: SqlType::of(TypeRoot::BigInt),
        retracts: frame.is_bounded(),
    };
    let value = Some((2, SqlType::of(TypeRoot::BigInt)));
    let number = |name: &str| Field::new(name, DataType::Int64, true);
    OverAggregate {
        input: input(),
        partition: if keyed { vec![0] } else { vec![] },
        time: 1,
        frame,
        calls: vec![
            call(Function::Count, None),
            call(Function::Sum, value.clone()),
            call(Function::Max, value),
        ],
        keep: vec![3],
        output: Arc::new(Schema::new(
            ["number", "count", "sum", "max"].map(number).to_vec(),
        )),
    }
}

fn create(plan: &OverAggregate) -> Box<dyn Operator> {
    let whole = Subtask {
        index: 0,
        parallelism: 1,
    };
    plan.create(whole).unwrap()
}

/// Key, time, value; its number is its place.
type Row = (u8, i64, Option<i64>);

fn batch(rows: &[(usize, Row)]) -> ChangeBatch {
    let keys = rows.iter().map(|(_, (key, ..))| Some(key.to_string()));
    let times: TimestampMillisecondArray = rows.iter().map(|(_, (_, at, _))| Some(*at)).collect();
    let values: Int64Array = rows.iter().map(|(_, (.., value))| *value).collect();
    let numbers: Int64Array = rows
        .iter()
        .map(|(number, _)| Some(*number as i64))
        .collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(keys.collect::<StringArray>()),
        Arc::new(times),
        Arc::new(values),
        Arc::new(numbers),
    ];
    ChangeBatch::inserts(RecordBatch::try_new(input(), columns).unwrap())
}

/// Number, count, sum and greatest of each row that came out, and how many were late.
#[derive(Default)]
struct Seen(Vec<[Option<i64>; 4]>, usize);

impl Output for Seen {
    fn emit(&mut self, batch: ChangeBatch) -> Result<(), Error> {
        assert!(batch.kinds.is_none());
        for row in 0..batch.num_rows() {
            self.0.push(std::array::from_fn(|column| {
                let numbers = batch.rows.column(column).as_primitive::<Int64Type>();
                numbers.is_valid(row).then(|| numbers.value(row))
            }));
        }
        Ok(())
    }

    fn watermark(&mut self, _: EventTime) -> Result<(), Error> {
        Ok(())
    }

    fn late(&mut self, rows: RecordBatch) -> Result<(), Error> {
        self.1 += rows.num_rows();
        Ok(())
    }
}

/// What each row's frame gives, by comparing it with all others.
fn expected(rows: &[Row], frame: OverFrame, keyed: bool) -> Vec<[Option<i64>; 4]> {
    let of = |(number, row): (usize, &Row)| {
        let mut before: Vec<(i64, usize, Option<i64>)> = rows
            .iter()
            .enumerate()
            .filter(|(_, other)| !keyed || other.0 == row.0)
            .map(|(at, other)| (other.1, at, other.2))
            .filter(|(time, at, _)| match frame {
                OverFrame::Rows(_) => (*time, *at) <= (row.1, number),
                OverFrame::Range(None) => *time <= row.1,
                OverFrame::Range(Some(by)) => (row.1 - by..=row.1).contains(time),
            })
            .collect();
        before.sort_unstable();
        if let OverFrame::Rows(Some(by)) = frame {
            before.drain(..before.len().saturating_sub(by as usize + 1));
        }
        let values = || before.iter().filter_map(|(.., value)| *value);
        let sum = values().next().map(|_| values().sum());
        [
            Some(number as i64),
            Some(before.len() as i64),
            sum,
            values().max(),
        ]
    };
    rows.iter().enumerate().map(of).collect()
}

proptest! {
    #[test]
    fn each_row_comes_with_what_its_frame_gives(
        frame in prop::sample::select(vec![
            OverFrame::Rows(None),
            OverFrame::Rows(Some(0)),
            OverFrame::Rows(Some(2)),
            OverFrame::Range(None),
            OverFrame::Range(Some(0)),
            OverFrame::Range(Some(7)),
        ]),
        keyed in any::<bool>(),
        steps in prop::collection::vec(
            (prop::collection::vec((0..3_u8, 1..15_i64, prop::option::of(-5..5_i64)), 1..5), 0..4_u8),
            0..30,
        ),
    ) {
        let plan = plan(frame, keyed);
        let mut over = create(&plan);
        let mut seen = Seen::default();
        let mut rows: Vec<Row> = Vec::new();
        let mut watermark = 1000;
        over.on_watermark(EventTime(watermark), &mut seen).unwrap();
        for (more, then) in steps {
            let first = rows.len();
            rows.extend(more.into_iter().map(|(key, later, value)| (key, watermark + later, value)));
            let numbered: Vec<(usize, Row)> = rows.iter().copied().enumerate().skip(first).collect();
            over.on_batch(0, batch(&numbered), &mut seen).unwrap();
            if then == 0 {
                let saved = over.snapshot(CheckpointId(1)).unwrap();
                over = create(&plan);
                over.restore(saved).unwrap();
            }
            if then < 2 {
                watermark += 8;
                over.on_watermark(EventTime(watermark), &mut seen).unwrap();
            }
        }
        over.on_watermark(EventTime::MAX, &mut seen).unwrap();
        prop_assert_eq!(seen.1, 0);
        if let OverFrame::Range(Some(_)) = frame {
            prop_assert_eq!(over.state_size(), 0);
        }
        seen.0.sort_unstable();
        prop_assert_eq!(seen.0, expected(&rows, frame, keyed));
    }
}

#[test]
fn a_row_is_late_behind_the_watermark_or_behind_the_last_row_of_its_key() {
    for (frame, n_late) in [(OverFrame::Rows(None), 2), (OverFrame::Rows(Some(1)), 1)] {
        let plan = plan(frame, true);
        let mut over = create(&plan);
        let mut seen = Seen::default();
        over.on_batch(
            0,
            batch(&[(0, (1, 50, None)), (1, (2, 10, None))]),
            &mut seen,
        )
        .unwrap();
        over.on_watermark(EventTime(60), &mut seen).unwrap();
        let saved = over.snapshot(CheckpointId(1)).unwrap();
        let mut over = create(&plan);
        over.restore(saved).unwrap();
        // Both are behind the watermark; the second is after the last row of its key.
        over.on_batch(
            0,
            batch(&[(2, (1, 50, None)), (3, (2, 55, None))]),
            &mut seen,
        )
        .unwrap();
        assert_eq!(seen.1, n_late, "{frame:?}");
    }
}
