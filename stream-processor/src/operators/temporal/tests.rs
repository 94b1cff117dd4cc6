//! Facts about the temporal join that goldens cannot show: late left rows, and what a restored join remembers.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use super::TemporalJoin;
use crate::batch::{ChangeBatch, RowKind};
use crate::error::Error;
use crate::graph::OperatorFactory;
use crate::operator::{CheckpointId, EventTime, Operator, Output, Subtask};

fn side(names: [&str; 3]) -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Millisecond, None);
    Arc::new(Schema::new(vec![
        Field::new(names[0], DataType::Utf8, true),
        Field::new(names[1], time, true),
        Field::new(names[2], DataType::Utf8, true),
    ]))
}

fn plan() -> TemporalJoin {
    let sides = [side(["k", "at", "name"]), side(["key", "since", "version"])];
    let fields: Vec<_> = sides
        .iter()
        .flat_map(|side| side.fields().iter().cloned())
        .collect();
    TemporalJoin {
        sides,
        keys: [vec![0], vec![0]],
        times: [1, 1],
        outer: true,
        condition: None,
        output: Arc::new(Schema::new(fields)),
    }
}

fn join() -> Box<dyn Operator> {
    plan()
        .create(Subtask {
            index: 0,
            parallelism: 1,
        })
        .unwrap()
}

fn rows(schema: &SchemaRef, rows: &[(&str, i64, &str)]) -> RecordBatch {
    let texts = |text: fn(&(&str, i64, &str)) -> String| -> ArrayRef {
        Arc::new(rows.iter().map(text).map(Some).collect::<StringArray>())
    };
    let times: ArrayRef = Arc::new(TimestampMillisecondArray::from_iter_values(
        rows.iter().map(|row| row.1),
    ));
    RecordBatch::try_new(
        schema.clone(),
        vec![
            texts(|row| row.0.to_owned()),
            times,
            texts(|row| row.2.to_owned()),
        ],
    )
    .unwrap()
}

/// `name=version` of each joined row.
#[derive(Default)]
struct Seen {
    joined: Vec<String>,
    late: usize,
}

impl Output for Seen {
    fn emit(&mut self, batch: ChangeBatch) -> Result<(), Error> {
        let (names, versions) = (
            batch.rows.column(2).as_string::<i32>(),
            batch.rows.column(5).as_string::<i32>(),
        );
        for row in 0..batch.num_rows() {
            let version = if versions.is_null(row) {
                "none"
            } else {
                versions.value(row)
            };
            let kind = match batch.kind(row) {
                RowKind::Insert => "",
                other => other.short(),
            };
            self.joined
                .push(format!("{kind}{}={version}", names.value(row)));
        }
        Ok(())
    }

    fn watermark(&mut self, _: EventTime) -> Result<(), Error> {
        Ok(())
    }

    fn late(&mut self, rows: RecordBatch) -> Result<(), Error> {
        self.late += rows.num_rows();
        Ok(())
    }
}

fn left(join: &mut dyn Operator, seen: &mut Seen, given: &[(&str, i64, &str)]) {
    let batch = ChangeBatch::inserts(rows(&plan().sides[0], given));
    join.on_batch(0, batch, seen).unwrap();
}

fn right(join: &mut dyn Operator, kind: RowKind, given: &[(&str, i64, &str)]) {
    let mut batch = ChangeBatch::inserts(rows(&plan().sides[1], given));
    if kind != RowKind::Insert {
        batch.kinds = Some(vec![kind; given.len()].into());
    }
    join.on_batch(1, batch, &mut Seen::default()).unwrap();
}

/// What a watermark brings out, sorted.
fn passed(join: &mut dyn Operator, watermark: i64) -> Vec<String> {
    let mut seen = Seen::default();
    join.on_watermark(EventTime(watermark), &mut seen).unwrap();
    seen.joined.sort();
    seen.joined
}

fn restored(join: &mut dyn Operator) -> Box<dyn Operator> {
    let tables = join.snapshot(CheckpointId(1)).unwrap();
    let mut next = self::join();
    next.restore(tables).unwrap();
    next
}

#[test]
fn a_left_row_behind_the_watermark_comes_with_the_next_one() {
    let mut join = join();
    let mut seen = Seen::default();
    right(&mut *join, RowKind::Insert, &[("a", 10, "v1")]);
    left(&mut *join, &mut seen, &[("a", 20, "in time")]);
    assert_eq!(passed(&mut *join, 100), ["in time=v1"]);
    left(
        &mut *join,
        &mut seen,
        &[("a", 30, "late"), ("b", 5, "alone")],
    );
    assert_eq!((seen.joined.len(), seen.late), (0, 0));
    assert_eq!(passed(&mut *join, 101), ["alone=none", "late=v1"]);
}

/// As in Flink, where a key's versions are looked through when its timer fires, and not with each watermark.
#[test]
fn a_late_row_meets_an_older_version_as_long_as_nothing_has_looked_at_its_key() {
    let mut join = join();
    let mut seen = Seen::default();
    right(
        &mut *join,
        RowKind::Insert,
        &[("a", 10, "v1"), ("a", 50, "v2")],
    );
    assert!(passed(&mut *join, 40).is_empty());
    assert!(passed(&mut *join, 60).is_empty());
    left(&mut *join, &mut seen, &[("a", 45, "late")]);
    assert_eq!(passed(&mut *join, 70), ["late=v1"]);
    left(&mut *join, &mut seen, &[("a", 45, "again")]);
    assert_eq!(passed(&mut *join, 80), ["again=none"]);
}

#[test]
fn a_restored_join_waits_remembers_and_forgets_as_before() {
    let mut first = join();
    let mut seen = Seen::default();
    right(
        &mut *first,
        RowKind::Insert,
        &[("a", 10, "v1"), ("a", 50, "v2"), ("b", 10, "w1")],
    );
    right(&mut *first, RowKind::Delete, &[("b", 50, "w1")]);
    left(&mut *first, &mut seen, &[("a", 70, "waits")]);
    assert!(passed(&mut *first, 40).is_empty());
    left(
        &mut *first,
        &mut seen,
        &[("b", 60, "deleted"), ("b", 20, "late")],
    );

    let mut second = restored(&mut *first);
    for join in [&mut *first, &mut *second] {
        assert_eq!(passed(join, 65), ["deleted=none", "late=w1"]);
        assert_eq!(passed(join, 75), ["waits=v2"]);
        left(join, &mut Seen::default(), &[("a", 45, "later")]);
        assert_eq!(passed(join, 80), ["later=none"]);
    }
}

#[test]
fn results_do_what_their_left_rows_do_in_their_order_also_after_a_restore() {
    let changes = [
        ("a", 20, "x"),
        ("a", 20, "x"),
        ("a", 5, "y"),
        ("a", 20, "z"),
    ];
    let kinds = [
        RowKind::Insert,
        RowKind::UpdateBefore,
        RowKind::UpdateAfter,
        RowKind::Delete,
    ];
    let mut first = join();
    right(&mut *first, RowKind::Insert, &[("a", 10, "v1")]);
    let batch = ChangeBatch::changes(rows(&plan().sides[0], &changes), kinds.into());
    first.on_batch(0, batch, &mut Seen::default()).unwrap();
    let mut second = restored(&mut *first);
    for join in [&mut *first, &mut *second] {
        let mut seen = Seen::default();
        join.on_watermark(EventTime(100), &mut seen).unwrap();
        assert_eq!(seen.joined, ["x=v1", "-Ux=v1", "+Uy=none", "-Dz=v1"]);
    }
}
