//! Sessions that go on from a checkpoint end as those that were never interrupted.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use proptest::prelude::*;

use super::*;
use crate::operators::aggregate::Function;
use crate::operators::kept::Kept;
use crate::table::{SqlType, TypeRoot};

/// What an operator emitted, as text a row.
#[derive(Default)]
struct Emitted(Vec<String>);

impl Output for Emitted {
    fn emit(&mut self, batch: ChangeBatch) -> Result<(), Error> {
        let text = arrow::util::pretty::pretty_format_batches(&[batch.rows]).unwrap();
        let lines = text.to_string();
        let rows = lines.lines().filter(|line| line.starts_with("| k"));
        self.0.extend(rows.map(str::to_owned));
        Ok(())
    }

    fn watermark(&mut self, _: EventTime) -> Result<(), Error> {
        Ok(())
    }

    fn late(&mut self, rows: RecordBatch) -> Result<(), Error> {
        self.0.push(format!("{} late", rows.num_rows()));
        Ok(())
    }
}

fn plan() -> SessionAggregate {
    let time = || DataType::Timestamp(TimeUnit::Millisecond, None);
    let field = |name: &str, data_type| Field::new(name, data_type, true);
    let call = |function, argument| AggregateCall {
        function,
        distinct: false,
        argument,
        filter: None,
        separator: String::new(),
        result: SqlType::of(TypeRoot::BigInt),
        retracts: false,
    };
    let last_time = (1, SqlType::of(TypeRoot::Timestamp(3)));
    let mut latest = call(Function::Max, Some(last_time.clone()));
    latest.result = last_time.1;
    SessionAggregate {
        input: Arc::new(Schema::new(vec![
            field("k", DataType::Utf8),
            field("t", time()),
        ])),
        gap: 10,
        time: 1,
        zone: None,
        keys: vec![0],
        windows: vec![SessionColumn::Start, SessionColumn::End],
        calls: vec![call(Function::Count, None), latest],
        output: Arc::new(Schema::new(vec![
            field("k", DataType::Utf8),
            field("window_start", time()),
            field("window_end", time()),
            field("n", DataType::Int64),
            field("latest", time()),
        ])),
    }
}

fn operator(tables: Vec<StateTable>) -> Box<dyn Operator> {
    let whole = Subtask {
        index: 0,
        parallelism: 1,
    };
    let mut operator = plan().create(whole).unwrap();
    operator.restore(tables).unwrap();
    operator
}

fn rows(events: &[(u8, i64)]) -> ChangeBatch {
    let keys = StringArray::from_iter_values(events.iter().map(|(key, _)| format!("k{key}")));
    let times = TimestampMillisecondArray::from_iter_values(events.iter().map(|(_, time)| *time));
    let columns: Vec<ArrayRef> = vec![Arc::new(keys), Arc::new(times)];
    ChangeBatch::inserts(batch_of(&plan().input, columns).unwrap())
}

proptest! {
    #[test]
    fn a_checkpoint_of_changes_restores_all_sessions(
        steps in proptest::collection::vec(
            (proptest::collection::vec((0u8..30, -15i64..25), 0..25), 0i64..12, 0u8..4),
            1..25,
        ),
    ) {
        let (mut straight, mut restored) = (operator(Vec::new()), operator(Vec::new()));
        let (mut expected, mut found) = (Emitted::default(), Emitted::default());
        let mut now = 0;
        let mut kept = Kept::default();
        for (n, (events, advance, what)) in steps.iter().enumerate() {
            let events: Vec<_> = events.iter().map(|(key, time)| (*key, now + time)).collect();
            now += advance;
            for (operator, output) in [(&mut straight, &mut expected), (&mut restored, &mut found)] {
                operator.on_batch(0, rows(&events), output).unwrap();
                operator.on_watermark(EventTime(now), output).unwrap();
            }
            let checkpoint = CheckpointId(n as u64 + 1);
            match what {
                0 => {}
                1 | 2 => {
                    kept.take(restored.snapshot(checkpoint).unwrap());
                }
                _ => restored = operator(kept.cut(restored.snapshot(checkpoint).unwrap())),
            }
        }
        for (operator, output) in [(&mut straight, &mut expected), (&mut restored, &mut found)] {
            operator.on_watermark(EventTime::MAX, output).unwrap();
        }
        expected.0.sort();
        found.0.sort();
        prop_assert_eq!(expected.0, found.0);
    }

    #[test]
    fn a_checkpoint_writes_what_changed(n_keys in 100u8..200) {
        let mut sessions = operator(Vec::new());
        let mut output = Emitted::default();
        let all: Vec<_> = (0..n_keys).map(|key| (key, 0)).collect();
        sessions.on_batch(0, rows(&all), &mut output).unwrap();
        let first = sessions.snapshot(CheckpointId(1)).unwrap();
        sessions.on_batch(0, rows(&[(7, 3), (9, 4), (7, 5)]), &mut output).unwrap();
        let second = sessions.snapshot(CheckpointId(2)).unwrap();
        let n_rows = |tables: &[StateTable]| -> Vec<usize> {
            let table = tables.iter().find(|table| table.name == "sessions").unwrap();
            table.rows.iter().map(StateRows::n_rows).collect()
        };
        prop_assert_eq!(n_rows(&first), [usize::from(n_keys)]);
        prop_assert_eq!(n_rows(&second), [usize::from(n_keys), 2]);
        let kept = |tables: &[StateTable]| tables.last().unwrap().rows[0].clone();
        prop_assert!(kept(&first).is(&kept(&second)));
    }
}
