//! Windows that go on from a checkpoint have what those have that were never interrupted.

use arrow::array::{StringArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use proptest::prelude::*;

use super::local::{LocalWindowAggregate, partial_schema};
use super::*;
use crate::operators::aggregate::Function;
use crate::operators::fingerprint::WIDTH;
use crate::operators::kept::Kept;
use crate::table::{SqlType, TypeRoot};

/// What an operator emitted.
#[derive(Default)]
struct Emitted(Vec<RecordBatch>);

impl Output for Emitted {
    fn emit(&mut self, batch: ChangeBatch) -> Result<(), Error> {
        self.0.push(batch.rows);
        Ok(())
    }

    fn watermark(&mut self, _: EventTime) -> Result<(), Error> {
        Ok(())
    }

    fn late(&mut self, _: RecordBatch) -> Result<(), Error> {
        Ok(())
    }
}

impl Emitted {
    fn lines(&self) -> Vec<String> {
        let text = arrow::util::pretty::pretty_format_batches(&self.0).unwrap();
        let lines = text.to_string();
        let mut lines: Vec<String> = lines.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }
}

/// `k`, `window_end`, `COUNT(*)`, `COUNT(DISTINCT v)`, of one phase or of both.
struct Counting {
    first: Option<Box<dyn Operator>>,
    last: Box<dyn Operator>,
}

fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, None)
}

fn rows_plan() -> WindowAggregate {
    let field = |name: &str, data_type| Field::new(name, data_type, true);
    let call = |distinct, argument| AggregateCall {
        function: Function::Count,
        distinct,
        argument,
        filter: None,
        separator: String::new(),
        result: SqlType::of(TypeRoot::BigInt),
        retracts: false,
    };
    WindowAggregate {
        input: Arc::new(Schema::new(vec![
            field("k", DataType::Utf8),
            field("window_end", time()),
            field("v", DataType::Utf8),
        ])),
        of: Phase::Rows { end: 1, zone: None },
        keys: vec![0, 1],
        calls: vec![
            call(false, None),
            call(
                true,
                Some((2, SqlType::of(TypeRoot::Varchar(i32::MAX as u32)))),
            ),
        ],
        output: Arc::new(Schema::new(vec![
            field("k", DataType::Utf8),
            field("window_end", time()),
            field("n", DataType::Int64),
            field("n_distinct", DataType::Int64),
        ])),
    }
}

impl Counting {
    fn new(two_phases: bool, tables: Vec<StateTable>) -> Self {
        let whole = Subtask {
            index: 0,
            parallelism: 1,
        };
        let mut plan = rows_plan();
        let first = two_phases.then(|| {
            let first = LocalWindowAggregate(plan.clone()).create(whole).unwrap();
            plan.input = partial_schema(&plan.input, &plan.keys, plan.calls.len());
            plan.of = Phase::Partials;
            first
        });
        let mut last = plan.create(whole).unwrap();
        last.restore(tables).unwrap();
        Counting { first, last }
    }

    fn take(&mut self, events: &[(u8, i64, u8)], output: &mut Emitted) {
        let ends = events
            .iter()
            .map(|(_, time, _)| time.div_euclid(20) * 20 + 20);
        let keys = events.iter().map(|(key, ..)| format!("k{key}"));
        let values = events.iter().map(|(.., value)| format!("v{value}"));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(keys)),
            Arc::new(TimestampMillisecondArray::from_iter_values(ends)),
            Arc::new(StringArray::from_iter_values(values)),
        ];
        let rows = batch_of(&rows_plan().input, columns).unwrap();
        let first = self.first.as_mut().unwrap_or(&mut self.last);
        first
            .on_batch(0, ChangeBatch::inserts(rows), output)
            .unwrap();
    }

    /// Lets the first phase `act`, and the second have what it passes on.
    fn pass_on(&mut self, act: impl FnOnce(&mut dyn Operator, &mut Emitted)) {
        let Some(first) = &mut self.first else { return };
        let mut passed = Emitted::default();
        act(first.as_mut(), &mut passed);
        for rows in passed.0 {
            let output = &mut Emitted::default();
            self.last
                .on_batch(0, ChangeBatch::inserts(rows), output)
                .unwrap();
        }
    }

    fn advance(&mut self, watermark: EventTime, output: &mut Emitted) {
        self.pass_on(|first, passed| first.on_watermark(watermark, passed).unwrap());
        self.last.on_watermark(watermark, output).unwrap();
    }

    fn snapshot(&mut self) -> Vec<StateTable> {
        self.pass_on(|first, passed| first.before_barrier(passed).unwrap());
        self.last.snapshot(CheckpointId(1)).unwrap()
    }
}

proptest! {
    #[test]
    fn a_restored_window_counts_on(
        two_phases in any::<bool>(),
        steps in proptest::collection::vec(
            (
                proptest::collection::vec((0u8..3, 0i64..45, 0u8..20), 0..25),
                0i64..12,
                0u8..4,
            ),
            1..25,
        ),
    ) {
        let mut straight = Counting::new(false, Vec::new());
        let mut restored = Counting::new(two_phases, Vec::new());
        let (mut expected, mut found) = (Emitted::default(), Emitted::default());
        let mut kept = Kept::default();
        let mut now = 0;
        for (events, advance, what) in steps {
            let events: Vec<_> = events.iter().map(|(key, time, value)| (*key, now + time, *value)).collect();
            now += advance;
            for (counting, output) in [(&mut straight, &mut expected), (&mut restored, &mut found)] {
                counting.take(&events, output);
                counting.advance(EventTime(now), output);
            }
            match what {
                0 => {}
                1 | 2 => {
                    kept.take(restored.snapshot());
                }
                _ => restored = Counting::new(two_phases, kept.cut(restored.snapshot())),
            }
        }
        straight.advance(EventTime::MAX, &mut expected);
        restored.advance(EventTime::MAX, &mut found);
        prop_assert_eq!(expected.lines(), found.lines());
    }
}

#[test]
fn a_checkpoint_gets_of_a_set_what_came() {
    let mut counting = Counting::new(true, Vec::new());
    let mut output = Emitted::default();
    let all: Vec<_> = (0..200).map(|value| (0, 5, value)).collect();
    counting.take(&all, &mut output);
    let first = counting.snapshot();
    counting.take(&[(0, 6, 7), (0, 6, 201)], &mut output);
    let second = counting.snapshot();
    let sets = |tables: &[StateTable]| -> Vec<StateRows> {
        let table = tables.iter().find(|table| table.name == "sets-19");
        table.unwrap().rows.clone()
    };
    let (first, second) = (sets(&first), sets(&second));
    assert_eq!((first.len(), second.len()), (1, 2));
    assert!(first[0].is(&second[0]) && second[0].batch().is_none());
    let bytes = |rows: &StateRows| {
        rows.batch()
            .unwrap()
            .column_by_name("__state_1")
            .map(|states| states.as_binary::<i32>().value(0).len())
    };
    // A tag, how many there are, a fingerprint each.
    assert_eq!(bytes(&first[0]), Some(9 + 200 * WIDTH));
    assert_eq!(bytes(&second[1]), Some(9 + 2 * WIDTH));
}
