//! Which rows of a window are the best, which come too late, and windows that go on from a checkpoint.

use arrow::array::TimestampMillisecondArray;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};

use super::*;
use crate::operators::kept::Kept;

fn schema(numbered: bool) -> SchemaRef {
    let mut fields = vec![
        Field::new("k", DataType::Int64, true),
        Field::new(
            "window_end",
            DataType::Timestamp(TimeUnit::Millisecond, None),
            false,
        ),
        Field::new("a", DataType::Int64, true),
        Field::new("v", DataType::Int64, true),
    ];
    if numbered {
        fields.push(Field::new("rn", DataType::Int64, false));
    }
    Arc::new(Schema::new(fields))
}

/// The rows with the numbers 2 and 3 by `a`, the greatest first.
fn second_and_third() -> WindowTopN {
    WindowTopN {
        input: schema(false),
        partition: vec![0, 1],
        exchanged: vec![0],
        end: 1,
        zone: None,
        order: vec![SortColumn {
            column: 2,
            descending: true,
            nulls_first: false,
        }],
        range: RankRange { start: 2, end: 3 },
        later_first: false,
        numbered: true,
        output: schema(true),
    }
}

fn create(plan: &WindowTopN) -> Box<dyn Operator> {
    let whole = Subtask {
        index: 0,
        parallelism: 1,
    };
    plan.create(whole).unwrap()
}

/// Rows of `k`, the end of the window, `a` and `v`.
fn batch(rows: &[(i64, i64, Option<i64>, i64)]) -> ChangeBatch {
    let column = |values: Vec<Option<i64>>| Arc::new(Int64Array::from(values)) as ArrayRef;
    let ends = TimestampMillisecondArray::from_iter_values(rows.iter().map(|row| row.1));
    let columns = vec![
        column(rows.iter().map(|row| Some(row.0)).collect()),
        Arc::new(ends) as ArrayRef,
        column(rows.iter().map(|row| row.2).collect()),
        column(rows.iter().map(|row| Some(row.3)).collect()),
    ];
    ChangeBatch::inserts(batch_of(&schema(false), columns).unwrap())
}

/// `k end v number` of each row that came out, and `v` of those that were late.
#[derive(Default)]
struct Seen {
    rows: Vec<String>,
    late: Vec<i64>,
}

impl Output for Seen {
    fn emit(&mut self, batch: ChangeBatch) -> Result<(), Error> {
        assert!(batch.kinds.is_none());
        let ends = millis(batch.rows.column(1)).unwrap();
        let number = |column: usize, at: usize| {
            let column = batch.rows.columns().get(column);
            column.map_or(0, |column| column.as_primitive::<Int64Type>().value(at))
        };
        for at in 0..batch.num_rows() {
            let (key, value, rank) = (number(0, at), number(3, at), number(4, at));
            self.rows
                .push(format!("{key} {} {value} {rank}", ends.value(at)));
        }
        Ok(())
    }

    fn watermark(&mut self, _: EventTime) -> Result<(), Error> {
        Ok(())
    }

    fn late(&mut self, rows: RecordBatch) -> Result<(), Error> {
        let values = rows.column(3).as_primitive::<Int64Type>();
        self.late.extend(values.values());
        Ok(())
    }
}

#[test]
fn a_window_gives_its_best_rows_once_it_is_over() {
    let (plan, mut seen) = (second_and_third(), Seen::default());
    let mut windows = create(&plan);
    let rows = [
        (1, 1000, Some(5), 0),
        (1, 1000, Some(5), 1),
        (2, 1000, Some(9), 2),
        (1, 1000, None, 3),
        (1, 2000, Some(1), 4),
    ];
    windows.on_batch(0, batch(&rows), &mut seen).unwrap();
    windows.on_watermark(EventTime(998), &mut seen).unwrap();
    assert!(seen.rows.is_empty());
    // Of equal rows the first is the better.
    let rows = [(1, 1000, Some(5), 5), (1, 2000, Some(2), 6)];
    windows.on_batch(0, batch(&rows), &mut seen).unwrap();
    windows.on_watermark(EventTime(999), &mut seen).unwrap();
    let rows = [(1, 1000, Some(99), 7), (1, 2000, None, 8)];
    windows.on_batch(0, batch(&rows), &mut seen).unwrap();
    windows.on_watermark(EventTime::MAX, &mut seen).unwrap();
    assert_eq!(
        seen.rows,
        ["1 1000 1 2", "1 1000 5 3", "1 2000 4 2", "1 2000 8 3"]
    );
    assert_eq!(seen.late, [7]);
}

#[test]
fn windows_go_on_from_a_checkpoint() {
    for later_first in [false, true] {
        let plan = WindowTopN {
            range: RankRange { start: 1, end: 1 },
            later_first,
            numbered: false,
            output: schema(false),
            ..second_and_third()
        };
        let (mut whole, mut seen) = (create(&plan), [Seen::default(), Seen::default()]);
        let (mut cut, mut kept) = (create(&plan), Kept::default());
        for at in 0..40_i64 {
            let row = (at % 3, (at / 8 + 1) * 1000, Some(at % 5 / 2), at);
            let watermark = EventTime(at / 10 * 1000 - 1);
            whole.on_batch(0, batch(&[row]), &mut seen[0]).unwrap();
            whole.on_watermark(watermark, &mut seen[0]).unwrap();
            cut.on_batch(0, batch(&[row]), &mut seen[1]).unwrap();
            cut.on_watermark(watermark, &mut seen[1]).unwrap();
            let saved = cut.snapshot(CheckpointId(1)).unwrap();
            cut = create(&plan);
            cut.restore(kept.cut(saved)).unwrap();
        }
        whole.on_watermark(EventTime::MAX, &mut seen[0]).unwrap();
        cut.on_watermark(EventTime::MAX, &mut seen[1]).unwrap();
        assert_eq!(seen[0].rows, seen[1].rows);
        assert_eq!(seen[0].late, seen[1].late);
        assert_eq!(seen[0].rows.len(), 15);
    }
}
