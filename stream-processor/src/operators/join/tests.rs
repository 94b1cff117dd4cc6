//! What a join forgets, and when.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::Join;
use crate::batch::{ChangeBatch, RowKind};
use crate::error::Error;
use crate::graph::OperatorFactory;
use crate::operator::{CheckpointId, EventTime, Operator, Output, Subtask};

fn side(names: [&str; 2]) -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    Arc::new(Schema::new(names.map(text).to_vec()))
}

fn join(outer: bool, ttl: [Option<i64>; 2]) -> Box<dyn Operator> {
    let whole = Subtask {
        index: 0,
        parallelism: 1,
    };
    plan(outer, ttl).create(whole).unwrap()
}

fn plan(outer: bool, ttl: [Option<i64>; 2]) -> Join {
    let sides = [side(["k", "left"]), side(["key", "right"])];
    let fields: Vec<_> = sides
        .iter()
        .flat_map(|side| side.fields().iter().cloned())
        .collect();
    Join {
        sides,
        keys: [vec![0], vec![0]],
        outer,
        side_to_all: false,
        condition: None,
        ttl,
        output: Arc::new(Schema::new(fields)),
    }
}

fn row(port: usize, key: &str, value: &str) -> ChangeBatch {
    let names = if port == 0 {
        ["k", "left"]
    } else {
        ["key", "right"]
    };
    let columns = [key, value].map(|text| Arc::new(StringArray::from(vec![text])) as ArrayRef);
    ChangeBatch::inserts(RecordBatch::try_new(side(names), columns.to_vec()).unwrap())
}

/// `kind left right` of each row that came out.
#[derive(Default)]
struct Seen(Vec<String>);

impl Output for Seen {
    fn emit(&mut self, batch: ChangeBatch) -> Result<(), Error> {
        let (left, right) = (
            batch.rows.column(1).as_string::<i32>(),
            batch.rows.column(3).as_string::<i32>(),
        );
        for at in 0..batch.num_rows() {
            let right = if right.is_null(at) {
                "-"
            } else {
                right.value(at)
            };
            let sign = match batch.kind(at) {
                RowKind::Insert => "+I",
                RowKind::UpdateBefore => "-U",
                RowKind::UpdateAfter => "+U",
                RowKind::Delete => "-D",
            };
            self.0.push(format!("{sign} {} {right}", left.value(at)));
        }
        Ok(())
    }

    fn watermark(&mut self, _: EventTime) -> Result<(), Error> {
        Ok(())
    }

    fn late(&mut self, _: RecordBatch) -> Result<(), Error> {
        Err(Error::failed("a regular join knows no late rows"))
    }
}

#[test]
fn a_row_is_joined_until_its_side_forgets_it() {
    let mut seen = Seen::default();
    let mut join = join(false, [Some(1000), None]);
    join.on_processing_time(10_000, &mut seen).unwrap();
    join.on_batch(0, row(0, "a", "l1"), &mut seen).unwrap();
    join.on_batch(1, row(1, "a", "r1"), &mut seen).unwrap();
    join.on_processing_time(10_999, &mut seen).unwrap();
    join.on_batch(1, row(1, "a", "r2"), &mut seen).unwrap();
    join.on_processing_time(11_000, &mut seen).unwrap();
    join.on_batch(1, row(1, "a", "r3"), &mut seen).unwrap();
    // The other side has no time to live: all of its rows are there.
    join.on_batch(0, row(0, "a", "l2"), &mut seen).unwrap();
    let mut last: Vec<String> = seen.0.split_off(2);
    last.sort();
    assert_eq!(seen.0, ["+I l1 r1", "+I l1 r2"]);
    assert_eq!(last, ["+I l2 r1", "+I l2 r2", "+I l2 r3"]);
}

#[test]
fn left_rows_lose_their_nulls_also_when_no_left_row_will_come() {
    let mut seen = Seen::default();
    let mut join = join(true, [None, None]);
    join.on_batch(0, row(0, "a", "l1"), &mut seen).unwrap();
    join.on_end_of_input(0, &mut seen).unwrap();
    join.on_batch(1, row(1, "a", "r1"), &mut seen).unwrap();
    join.on_batch(1, row(1, "a", "r2"), &mut seen).unwrap();
    assert_eq!(seen.0, ["+I l1 -", "-D l1 -", "+I l1 r1", "+I l1 r2"]);
}

#[test]
fn an_ended_side_with_a_time_to_live_goes_too_and_one_without_stays() {
    for (ttl, expected) in [(Some(1000), vec![]), (None, vec!["+I l1 r1"])] {
        let mut seen = Seen::default();
        let mut join = join(false, [Some(1000), ttl]);
        join.on_processing_time(10_000, &mut seen).unwrap();
        join.on_batch(1, row(1, "a", "r1"), &mut seen).unwrap();
        join.on_end_of_input(1, &mut seen).unwrap();
        join.on_processing_time(20_000, &mut seen).unwrap();
        join.on_batch(0, row(0, "a", "l1"), &mut seen).unwrap();
        assert_eq!(seen.0, expected, "{ttl:?}");
    }
}

#[test]
fn a_left_join_corrects_no_row_that_it_has_forgotten() {
    let mut seen = Seen::default();
    let mut join = join(true, [Some(1000), Some(1000)]);
    join.on_processing_time(10_000, &mut seen).unwrap();
    join.on_batch(0, row(0, "a", "l1"), &mut seen).unwrap();
    join.on_processing_time(10_900, &mut seen).unwrap();
    join.on_batch(0, row(0, "b", "l2"), &mut seen).unwrap();
    join.on_processing_time(11_100, &mut seen).unwrap();
    join.on_batch(1, row(1, "a", "r1"), &mut seen).unwrap();
    join.on_batch(1, row(1, "b", "r2"), &mut seen).unwrap();
    assert_eq!(seen.0, ["+I l1 -", "+I l2 -", "-D l2 -", "+I l2 r2"]);
}

/// One batch of changes to the right side.
fn changes(rows: &[(RowKind, &str, &str)]) -> ChangeBatch {
    let keys: StringArray = rows.iter().map(|(_, key, _)| Some(*key)).collect();
    let values: StringArray = rows.iter().map(|(_, _, value)| Some(*value)).collect();
    let columns: Vec<ArrayRef> = vec![Arc::new(keys), Arc::new(values)];
    let batch = RecordBatch::try_new(side(["key", "right"]), columns).unwrap();
    ChangeBatch::changes(batch, rows.iter().map(|(kind, ..)| *kind).collect())
}

#[test]
fn a_left_join_says_what_changes_in_the_order_of_the_changes() {
    use RowKind::{Delete, Insert, UpdateAfter, UpdateBefore};
    let mut seen = Seen::default();
    let mut join = join(true, [None, None]);
    join.on_batch(0, row(0, "a", "l1"), &mut seen).unwrap();
    join.on_batch(0, row(0, "b", "l2"), &mut seen).unwrap();
    let both = changes(&[(Insert, "a", "r1"), (Insert, "b", "s1")]);
    join.on_batch(1, both, &mut seen).unwrap();
    seen.0.clear();
    let updates = changes(&[
        (UpdateBefore, "a", "r1"),
        (UpdateAfter, "a", "r2"),
        (Delete, "b", "s1"),
        (Insert, "b", "s2"),
        (Delete, "b", "s2"),
    ]);
    join.on_batch(1, updates, &mut seen).unwrap();
    assert_eq!(
        seen.0,
        [
            "-U l1 r1", "+I l1 -", "-D l1 -", "+U l1 r2", "-D l2 s1", "+I l2 -", "-D l2 -",
            "+I l2 s2", "-D l2 s2", "+I l2 -",
        ]
    );
}

#[test]
fn a_restored_row_is_as_old_as_it_was() {
    let mut seen = Seen::default();
    let ttl = [Some(1000), Some(1000)];
    let mut first = join(false, ttl);
    first.on_processing_time(10_000, &mut seen).unwrap();
    first.on_batch(0, row(0, "a", "l1"), &mut seen).unwrap();
    first.on_processing_time(10_500, &mut seen).unwrap();
    first.on_batch(0, row(0, "a", "l2"), &mut seen).unwrap();
    let saved = first.snapshot(CheckpointId(1)).unwrap();
    let mut second = join(false, ttl);
    second.restore(saved).unwrap();
    second.on_processing_time(11_200, &mut seen).unwrap();
    second.on_batch(1, row(1, "a", "r1"), &mut seen).unwrap();
    assert_eq!(seen.0, ["+I l2 r1"]);
}

#[test]
fn expired_rows_are_let_go() {
    let mut seen = Seen::default();
    let mut join = join(false, [Some(1000), Some(1000)]);
    let empty = join.state_size();
    join.on_processing_time(10_000, &mut seen).unwrap();
    join.on_batch(0, row(0, "a", "l1"), &mut seen).unwrap();
    assert!(join.state_size() > empty);
    join.on_processing_time(11_000, &mut seen).unwrap();
    assert_eq!(join.state_size(), empty);
}

#[test]
fn a_side_that_all_instances_have_is_saved_once_and_restored_to_all() {
    let plan = Join {
        side_to_all: true,
        ..plan(false, [None, None])
    };
    let instance = |index| {
        let subtask = Subtask {
            index,
            parallelism: 2,
        };
        plan.create(subtask).unwrap()
    };
    let mut seen = Seen::default();
    let mut saved = Vec::new();
    for index in 0..2 {
        let mut join = instance(index);
        join.on_batch(1, row(1, "a", "r1"), &mut seen).unwrap();
        join.on_batch(1, row(1, "a", "r2"), &mut seen).unwrap();
        join.on_end_of_input(1, &mut seen).unwrap();
        saved.extend(join.snapshot(CheckpointId(1)).unwrap());
    }
    let rows: Vec<_> = saved
        .iter()
        .filter(|table| table.name == "rows-1")
        .collect();
    assert_eq!(rows.len(), 1);
    // No key groups, so the store gives them to each instance.
    let schema = rows[0].rows[0].batch().unwrap().schema();
    assert!(schema.field_with_name("__key_group").is_err());
    for index in 0..2 {
        let mut join = instance(index);
        join.restore(saved.clone()).unwrap();
        join.on_batch(0, row(0, "a", "l1"), &mut seen).unwrap();
        let mut found = std::mem::take(&mut seen.0);
        found.sort();
        assert_eq!(found, ["+I l1 r1", "+I l1 r2"]);
    }
}
