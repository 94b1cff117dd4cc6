//! What a join forgets, and when; and that each kind of join gives what a simple one over the last rows does.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion_expr_common::operator::Operator as Comparison;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::{BinaryExpr, Column};
use proptest::prelude::*;

use super::{Alone, Join};
use crate::batch::{ChangeBatch, RowKind};
use crate::error::Error;
use crate::graph::OperatorFactory;
use crate::operator::{CheckpointId, EventTime, Operator, Output, Subtask};

fn side(names: [&str; 2]) -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    Arc::new(Schema::new(names.map(text).to_vec()))
}

/// An inner join, or a left one.
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
        pairs: true,
        alone: [
            if outer {
                Alone::Unmatched
            } else {
                Alone::Never
            },
            Alone::Never,
        ],
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

/// A row of a side: key and value.
type Row = (Option<u8>, u8);

/// The rows that changes leave, each as `key value key value`.
#[derive(Default)]
struct Table(Vec<String>);

impl Output for Table {
    fn emit(&mut self, batch: ChangeBatch) -> Result<(), Error> {
        for at in 0..batch.num_rows() {
            let columns = batch.rows.columns().iter();
            let texts = columns.map(|column| column.as_string::<i32>().iter().nth(at).flatten());
            let texts: Vec<&str> = texts.map(|text| text.unwrap_or("-")).collect();
            let row = texts.join(" ");
            if batch.kind(at).is_addition() {
                self.0.push(row);
            } else {
                let found = self.0.iter().position(|known| *known == row);
                self.0
                    .swap_remove(found.unwrap_or_else(|| panic!("{row} was not there")));
            }
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

/// Rows of the side at `port`, as batches of changes.
fn rows(port: usize, changes: &[(RowKind, Row)]) -> ChangeBatch {
    let names = [["k", "left"], ["key", "right"]][port];
    let keys = changes
        .iter()
        .map(|(_, (key, _))| key.map(|key| key.to_string()));
    let values = changes
        .iter()
        .map(|(_, (_, value))| Some(value.to_string()));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(keys.collect::<StringArray>()),
        Arc::new(values.collect::<StringArray>()),
    ];
    let batch = RecordBatch::try_new(side(names), columns).unwrap();
    ChangeBatch::changes(batch, changes.iter().map(|(kind, _)| *kind).collect())
}

/// What a join of `sides` gives, by comparing each row with each.
fn expected(sides: &[Vec<Row>; 2], plan: &Join) -> Vec<String> {
    let fits = |left: &Row, right: &Row| {
        let equal = plan.keys[0].is_empty() || (left.0.is_some() && left.0 == right.0);
        equal && (plan.condition.is_none() || left.1 < right.1)
    };
    let shown = |(key, value): &Row| {
        let key = key.map_or("-".to_owned(), |key| key.to_string());
        format!("{key} {value}")
    };
    let mut all = Vec::new();
    let mut matches = [vec![0; sides[0].len()], vec![0; sides[1].len()]];
    for (l, left) in sides[0].iter().enumerate() {
        for (r, right) in sides[1].iter().enumerate() {
            if fits(left, right) {
                matches[0][l] += 1;
                matches[1][r] += 1;
                if plan.pairs {
                    all.push(format!("{} {}", shown(left), shown(right)));
                }
            }
        }
    }
    for port in 0..2 {
        for (row, matches) in sides[port].iter().zip(&matches[port]) {
            if plan.alone[port].shows(*matches) {
                all.push(match port {
                    0 => format!("{} - -", shown(row)),
                    _ => format!("- - {}", shown(row)),
                });
            }
        }
    }
    all.sort();
    all
}

proptest! {
    #[test]
    fn a_join_gives_what_its_last_rows_ask_for(
        (pairs, alone) in prop::sample::select(vec![
            (true, [Alone::Never, Alone::Never]),
            (true, [Alone::Unmatched, Alone::Never]),
            (true, [Alone::Never, Alone::Unmatched]),
            (true, [Alone::Unmatched, Alone::Unmatched]),
            (false, [Alone::Matched, Alone::Never]),
            (false, [Alone::Unmatched, Alone::Never]),
        ]),
        (keyed, with_condition) in any::<(bool, bool)>(),
        // Which side, whether a row goes, which row, and whether the batch ends or a checkpoint is taken.
        changes in prop::collection::vec((0..2_usize, any::<bool>(), (prop::option::of(0..3_u8), 0..3_u8), 0..5_u8), 0..60),
        // Before which change a side ends.
        (end, ending) in (0..90_usize, 0..2_usize),
    ) {
        let lower: Arc<dyn PhysicalExpr> = Arc::new(BinaryExpr::new(
            Arc::new(Column::new("left", 1)),
            Comparison::Lt,
            Arc::new(Column::new("right", 3)),
        ));
        let plan = Join {
            pairs,
            alone,
            keys: if keyed { [vec![0], vec![0]] } else { [vec![], vec![]] },
            condition: with_condition.then_some(lower),
            ..plan(false, [None, None])
        };
        let whole = Subtask { index: 0, parallelism: 1 };
        let mut join = plan.create(whole).unwrap();
        let mut found = Table::default();
        let mut sides: [Vec<Row>; 2] = Default::default();
        let mut batch: Vec<(RowKind, Row)> = Vec::new();
        let mut of_batch = 0;
        for (number, (port, goes, row, then)) in changes.into_iter().enumerate() {
            if number == end {
                if !batch.is_empty() {
                    join.on_batch(of_batch, rows(of_batch, &std::mem::take(&mut batch)), &mut found).unwrap();
                }
                join.on_end_of_input(ending, &mut found).unwrap();
            }
            if number >= end && port == ending {
                continue;
            }
            if port != of_batch && !batch.is_empty() {
                join.on_batch(of_batch, rows(of_batch, &std::mem::take(&mut batch)), &mut found).unwrap();
            }
            of_batch = port;
            if !goes {
                sides[port].push(row);
                batch.push((RowKind::Insert, row));
            } else if let Some(at) = sides[port].iter().position(|known| *known == row) {
                sides[port].swap_remove(at);
                batch.push((RowKind::Delete, row));
            }
            if then < 2 && !batch.is_empty() {
                join.on_batch(port, rows(port, &std::mem::take(&mut batch)), &mut found).unwrap();
            }
            if then == 0 {
                let saved = join.snapshot(CheckpointId(1)).unwrap();
                join = plan.create(whole).unwrap();
                join.restore(saved).unwrap();
            }
        }
        if !batch.is_empty() {
            join.on_batch(of_batch, rows(of_batch, &batch), &mut found).unwrap();
        }
        found.0.sort();
        prop_assert_eq!(found.0, expected(&sides, &plan));
    }
}
