//! Rows that go on in the order of their time, from a checkpoint too.

use arrow::array::{RecordBatch, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};

use super::*;
use crate::operators::kept::Kept;

fn schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Millisecond, None);
    Arc::new(Schema::new(vec![
        Field::new("ts", time, true),
        Field::new("v", DataType::Int64, true),
    ]))
}

fn create() -> Box<dyn Operator> {
    let plan = TemporalSort {
        input: schema(),
        time: 0,
        order: vec![SortColumn {
            column: 1,
            descending: true,
            nulls_first: false,
        }],
        output: schema(),
    };
    let whole = Subtask {
        index: 0,
        parallelism: 1,
    };
    plan.create(whole).unwrap()
}

fn batch(rows: &[(i64, i64)]) -> ChangeBatch {
    let times = TimestampMillisecondArray::from_iter_values(rows.iter().map(|row| row.0));
    let values = Int64Array::from_iter_values(rows.iter().map(|row| row.1));
    let columns: Vec<ArrayRef> = vec![Arc::new(times), Arc::new(values)];
    ChangeBatch::inserts(batch_of(&schema(), columns).unwrap())
}

/// The values of the rows that came out, and of those that were late.
#[derive(Default)]
struct Seen {
    rows: Vec<i64>,
    late: Vec<i64>,
}

fn values(rows: &RecordBatch) -> Vec<i64> {
    rows.column(1).as_primitive::<Int64Type>().values().to_vec()
}

impl Output for Seen {
    fn emit(&mut self, batch: ChangeBatch) -> Result<(), Error> {
        self.rows.extend(values(&batch.rows));
        Ok(())
    }

    fn watermark(&mut self, _: EventTime) -> Result<(), Error> {
        Ok(())
    }

    fn late(&mut self, rows: RecordBatch) -> Result<(), Error> {
        self.late.extend(values(&rows));
        Ok(())
    }
}

#[test]
fn rows_go_on_in_order_once_the_watermark_has_passed_them() {
    let mut seen = Seen::default();
    let mut sort = create();
    let rows = [(5, 1), (3, 2), (3, 4), (9, 0)];
    sort.on_batch(0, batch(&rows), &mut seen).unwrap();
    sort.on_watermark(EventTime(4), &mut seen).unwrap();
    assert_eq!(seen.rows, [4, 2]);
    let saved = sort.snapshot(CheckpointId(1)).unwrap();
    let mut sort = create();
    sort.restore(Kept::default().cut(saved)).unwrap();
    // Behind the watermark, but not behind what has gone on.
    sort.on_batch(0, batch(&[(4, 6), (3, 7), (5, 8)]), &mut seen)
        .unwrap();
    sort.on_watermark(EventTime::MAX, &mut seen).unwrap();
    assert_eq!(seen.rows, [4, 2, 6, 8, 1, 0]);
    assert_eq!(seen.late, [7]);
}
