//! Top-N against sorting all rows anew, and what it forgets.

use std::collections::BTreeMap;

use arrow::array::{Array, BooleanArray, StringArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema};
use proptest::prelude::*;

use super::*;
use crate::key_group::key_groups;
use crate::operator::EventTime;
use crate::operators::kept::Kept;

/// A partition, what it is ordered by, and something else.
type Values = (Option<String>, Option<i64>, i64);

fn fields() -> Vec<Field> {
    [
        ("k", DataType::Utf8),
        ("a", DataType::Int64),
        ("v", DataType::Int64),
    ]
    .map(|(name, data_type)| Field::new(name, data_type, true))
    .to_vec()
}

fn plan(order: SortColumn, range: RankRange, appends: bool, numbered: bool) -> TopN {
    let mut output = fields();
    if numbered {
        output.push(Field::new("rn", DataType::Int64, false));
    }
    TopN {
        input: Arc::new(Schema::new(fields())),
        partition: vec![0],
        order: vec![order],
        range,
        appends,
        in_place: false,
        numbered,
        ttl: None,
        output: Arc::new(Schema::new(output)),
    }
}

fn batch(rows: &[(RowKind, Values)]) -> ChangeBatch {
    let keys: StringArray = rows.iter().map(|(_, row)| row.0.as_deref()).collect();
    let a: Int64Array = rows.iter().map(|(_, row)| row.1).collect();
    let v: Int64Array = rows.iter().map(|(_, row)| Some(row.2)).collect();
    let columns: Vec<ArrayRef> = vec![Arc::new(keys), Arc::new(a), Arc::new(v)];
    let kinds: Vec<RowKind> = rows.iter().map(|(kind, _)| *kind).collect();
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields())), columns).unwrap();
    ChangeBatch::changes(rows, kinds.into())
}

/// The changes as they came, and the table that they describe; without numbers all are 0.
#[derive(Default)]
struct Seen {
    changes: Vec<(RowKind, Values, i64)>,
    table: BTreeMap<(Values, i64), usize>,
}

impl Output for Seen {
    fn emit(&mut self, batch: ChangeBatch) -> Result<(), Error> {
        let (keys, numbers) = (batch.rows.column(0).as_string::<i32>(), &batch.rows);
        let number = |column: usize, at: usize| {
            let column = numbers.column(column).as_primitive::<Int64Type>();
            column.is_valid(at).then(|| column.value(at))
        };
        for at in 0..batch.num_rows() {
            let key = keys.is_valid(at).then(|| keys.value(at).to_owned());
            let values = (key, number(1, at), number(2, at).unwrap());
            let rank = match batch.rows.num_columns() {
                4 => number(3, at).unwrap(),
                _ => 0,
            };
            let entry = (values.clone(), rank);
            if batch.kind(at).is_addition() {
                *self.table.entry(entry).or_default() += 1;
            } else {
                let count = self.table.get_mut(&entry).expect("was there");
                *count -= 1;
                if *count == 0 {
                    self.table.remove(&entry);
                }
            }
            self.changes.push((batch.kind(at), values, rank));
        }
        Ok(())
    }

    fn watermark(&mut self, _: EventTime) -> Result<(), Error> {
        Ok(())
    }

    fn late(&mut self, _: RecordBatch) -> Result<(), Error> {
        Err(Error::failed("without windows no row is late"))
    }
}

fn instances(plan: &TopN, count: usize) -> Vec<Box<dyn Operator>> {
    let subtask = |index| Subtask {
        index,
        parallelism: count,
    };
    (0..count)
        .map(|index| plan.create(subtask(index)).unwrap())
        .collect()
}

/// The rows that belong to each of `count` instances.
fn shares(rows: &RecordBatch, groups: &[u16], count: usize) -> Vec<BooleanArray> {
    let of = |index| Subtask {
        index,
        parallelism: count,
    };
    assert_eq!(rows.num_rows(), groups.len());
    (0..count)
        .map(|index| {
            let own = of(index).key_groups();
            groups
                .iter()
                .map(|group| Some(own.contains(group)))
                .collect()
        })
        .collect()
}

/// Goes on with `count` instances from what `before` have.
fn rescaled(plan: &TopN, before: &mut [Box<dyn Operator>], count: usize) -> Vec<Box<dyn Operator>> {
    let mut tables: Vec<Vec<StateTable>> = vec![Vec::new(); count];
    for operator in before {
        let saved = operator.snapshot(CheckpointId(1)).unwrap();
        for table in Kept::default().cut(saved) {
            let name = table.name.clone();
            for rows in table.into_batches() {
                let groups = rows
                    .column(0)
                    .as_primitive::<arrow::datatypes::UInt16Type>();
                let own = shares(&rows, groups.values(), count);
                for (own, tables) in own.iter().zip(&mut tables) {
                    tables.push(StateTable {
                        name: name.clone(),
                        rows: vec![filter_record_batch(&rows, own).unwrap().into()],
                    });
                }
            }
        }
    }
    let mut after = instances(plan, count);
    for (operator, tables) in after.iter_mut().zip(tables) {
        operator.restore(tables).unwrap();
    }
    after
}

/// What the rows, in the order of their arrival, come to.
fn recomputed(plan: &TopN, rows: &[Values]) -> BTreeMap<(Values, i64), usize> {
    let mut partitions: BTreeMap<Option<String>, Vec<Values>> = BTreeMap::new();
    for row in rows {
        partitions
            .entry(row.0.clone())
            .or_default()
            .push(row.clone());
    }
    let order = plan.order[0];
    let mut table: BTreeMap<(Values, i64), usize> = BTreeMap::new();
    for mut rows in partitions.into_values() {
        rows.sort_by_key(|row| {
            let nulls = row.1.is_none() != order.nulls_first;
            let value = row.1.unwrap_or_default();
            (nulls, if order.descending { -value } else { value })
        });
        let numbered = (1..).zip(rows).skip(plan.range.start - 1);
        for (number, row) in numbered.take(plan.range.end + 1 - plan.range.start) {
            let number = if plan.numbered { number } else { 0 };
            *table.entry((row, number)).or_default() += 1;
        }
    }
    table
}

/// Additions of rows, and retractions of one of those that are there.
#[derive(Debug, Clone)]
enum Step {
    Add(Values),
    Take(prop::sample::Index),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = prop::option::weighted(
        0.8,
        prop::sample::select(vec!["a".to_owned(), "b".to_owned()]),
    );
    let values = (key, prop::option::weighted(0.8, 0..4_i64), 0..2_i64);
    let step = prop_oneof![
        3 => values.prop_map(Step::Add),
        2 => any::<prop::sample::Index>().prop_map(Step::Take),
    ];
    prop::collection::vec(step, 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changes_add_up_to_the_best_rows(
        batches in prop::collection::vec((steps(), 0..4_usize), 1..12),
        (descending, nulls_first, appends, numbered) in any::<(bool, bool, bool, bool)>(),
        (start, more) in (1..3_usize, 0..3_usize),
    ) {
        let order = SortColumn { column: 1, descending, nulls_first };
        let plan = plan(order, RankRange { start, end: start + more }, appends, numbered);
        let mut operators = instances(&plan, 1);
        let (mut rows, mut seen): (Vec<Values>, Seen) = (Vec::new(), Seen::default());
        for (steps, instances) in batches {
            let mut changes = Vec::new();
            for step in steps {
                match step {
                    Step::Add(row) => {
                        changes.push((RowKind::UpdateAfter, row.clone()));
                        rows.push(row);
                    }
                    Step::Take(index) if !appends && !rows.is_empty() => {
                        let row = rows[index.index(rows.len())].clone();
                        let first = rows.iter().position(|known| *known == row).unwrap();
                        rows.remove(first);
                        changes.push((RowKind::UpdateBefore, row));
                    }
                    Step::Take(_) => {}
                }
            }
            if instances > 0 {
                operators = rescaled(&plan, &mut operators, instances);
            }
            let batch = batch(&changes);
            let groups = key_groups(&[batch.rows.column(0).clone()], changes.len()).unwrap();
            let shares = shares(&batch.rows, &groups, operators.len());
            for (operator, share) in operators.iter_mut().zip(shares) {
                let part = super::super::calc::keep_rows(batch.clone(), &share).unwrap();
                operator.on_batch(0, part, &mut seen).unwrap();
            }
            prop_assert_eq!(&seen.table, &recomputed(&plan, &rows));
        }
    }
}

fn best_two(numbered: bool) -> TopN {
    let order = SortColumn {
        column: 1,
        descending: true,
        nulls_first: false,
    };
    plan(order, RankRange { start: 1, end: 2 }, true, numbered)
}

fn inserts(values: &[(i64, i64)]) -> ChangeBatch {
    let rows = values.iter().map(|(a, v)| (RowKind::Insert, ("k", a, v)));
    let rows: Vec<_> = rows
        .map(|(kind, (key, a, v))| (kind, (Some(key.to_owned()), Some(*a), *v)))
        .collect();
    batch(&rows)
}

fn shown(changes: Vec<(RowKind, Values, i64)>) -> Vec<String> {
    let show = |(kind, (_, a, v), number): (RowKind, Values, i64)| {
        format!("{} {} {v} {number}", kind.short(), a.unwrap_or_default())
    };
    changes.into_iter().map(show).collect()
}

#[test]
fn with_numbers_every_row_that_moves_is_updated() {
    let mut seen = Seen::default();
    let mut best = best_two(true).create(whole()).unwrap();
    best.on_batch(0, inserts(&[(1, 0)]), &mut seen).unwrap();
    best.on_batch(0, inserts(&[(2, 0)]), &mut seen).unwrap();
    // No better than the second, and later.
    best.on_batch(0, inserts(&[(1, 1)]), &mut seen).unwrap();
    best.on_batch(0, inserts(&[(2, 1)]), &mut seen).unwrap();
    assert_eq!(
        shown(seen.changes),
        [
            "+I 1 0 1", "-U 1 0 1", "+U 2 0 1", "+I 1 0 2", "-U 1 0 2", "+U 2 1 2"
        ]
    );
}

#[test]
fn without_numbers_rows_only_enter_and_leave() {
    let mut seen = Seen::default();
    let mut best = best_two(false).create(whole()).unwrap();
    for row in [(1, 0), (2, 0), (1, 1), (2, 1)] {
        best.on_batch(0, inserts(&[row]), &mut seen).unwrap();
    }
    assert_eq!(
        shown(seen.changes),
        ["+I 1 0 0", "+I 2 0 0", "-D 1 0 0", "+I 2 1 0"]
    );
}

#[test]
fn a_partition_without_rows_for_its_time_to_live_begins_anew() {
    let mut seen = Seen::default();
    let mut plan = best_two(true);
    plan.ttl = Some(1000);
    let mut best = plan.create(whole()).unwrap();
    best.on_processing_time(10_000, &mut seen).unwrap();
    best.on_batch(0, inserts(&[(5, 0), (4, 0)]), &mut seen)
        .unwrap();
    best.on_processing_time(10_999, &mut seen).unwrap();
    // What does not enter is not written.
    best.on_batch(0, inserts(&[(3, 0)]), &mut seen).unwrap();
    let saved = best.snapshot(CheckpointId(1)).unwrap();
    let mut best = plan.create(whole()).unwrap();
    best.restore(saved).unwrap();
    best.on_processing_time(11_000, &mut seen).unwrap();
    best.on_batch(0, inserts(&[(3, 1)]), &mut seen).unwrap();
    assert_eq!(shown(seen.changes), ["+I 5 0 1", "+I 4 0 2", "+I 3 1 1"]);
}

#[test]
fn a_retraction_of_an_unknown_row_is_dropped() {
    let mut seen = Seen::default();
    let mut plan = best_two(true);
    plan.appends = false;
    let mut best = plan.create(whole()).unwrap();
    best.on_batch(0, inserts(&[(5, 0)]), &mut seen).unwrap();
    let unknown = [
        (RowKind::Delete, (Some("k".to_owned()), Some(5), 1)),
        (RowKind::Delete, (None, Some(5), 0)),
    ];
    best.on_batch(0, batch(&unknown), &mut seen).unwrap();
    assert_eq!(shown(seen.changes), ["+I 5 0 1"]);
}

#[test]
fn an_update_that_is_no_better_keeps_its_place_or_goes_behind_its_equals() {
    for (in_place, expected) in [
        (
            true,
            ["+I 5 0 1", "+I 5 1 2", "-U 5 0 1", "+U 5 9 1"].as_slice(),
        ),
        (
            false,
            &[
                "+I 5 0 1", "+I 5 1 2", "-U 5 0 1", "-U 5 1 2", "+U 5 1 1", "+U 5 9 2",
            ],
        ),
    ] {
        let mut seen = Seen::default();
        let mut plan = best_two(true);
        (plan.appends, plan.in_place) = (false, in_place);
        let mut best = plan.create(whole()).unwrap();
        best.on_batch(0, inserts(&[(5, 0), (5, 1)]), &mut seen)
            .unwrap();
        let row = |v| (Some("k".to_owned()), Some(5), v);
        let update = [
            (RowKind::UpdateBefore, row(0)),
            (RowKind::UpdateAfter, row(9)),
        ];
        best.on_batch(0, batch(&update), &mut seen).unwrap();
        assert_eq!(shown(seen.changes), expected);
    }
}

#[test]
fn zeros_are_equal_and_nan_is_the_greatest() {
    let floats =
        arrow::array::Float64Array::from(vec![0.0, -0.0, f64::NAN, -f64::NAN, f64::INFINITY]);
    let rows = RecordBatch::try_from_iter([("x", Arc::new(floats) as ArrayRef)]).unwrap();
    let order = SortColumn {
        column: 0,
        descending: false,
        nulls_first: true,
    };
    let sorter = Sorter::new(&rows.schema(), &[order]).unwrap();
    let places = sorter.encode(&rows).unwrap();
    assert_eq!(places.row(0), places.row(1));
    assert_eq!(places.row(2), places.row(3));
    assert!(places.row(4) < places.row(2));
}

fn whole() -> Subtask {
    Subtask {
        index: 0,
        parallelism: 1,
    }
}
