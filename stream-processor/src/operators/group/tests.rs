//! What a grouping forgets, and what it does with retractions of what it does not know.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::GroupAggregate;
use crate::batch::{ChangeBatch, RowKind};
use crate::error::Error;
use crate::graph::OperatorFactory;
use crate::operator::{CheckpointId, EventTime, Operator, Output, Subtask};

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("k", DataType::Utf8, true)]))
}

/// DISTINCT of one text column.
fn distinct(ttl: Option<i64>) -> Box<dyn Operator> {
    let plan = GroupAggregate {
        input: schema(),
        keys: vec![0],
        calls: Vec::new(),
        ttl,
        output: schema(),
    };
    let subtask = Subtask {
        index: 0,
        parallelism: 1,
    };
    plan.create(subtask).unwrap()
}

fn changes(rows: &[(RowKind, &str)]) -> ChangeBatch {
    let keys: StringArray = rows.iter().map(|(_, key)| Some(*key)).collect();
    let kinds: Vec<RowKind> = rows.iter().map(|(kind, _)| *kind).collect();
    let rows = RecordBatch::try_new(schema(), vec![Arc::new(keys) as ArrayRef]).unwrap();
    ChangeBatch::changes(rows, kinds.into())
}

#[derive(Default)]
struct Seen(Vec<(RowKind, String)>);

impl Seen {
    fn take(&mut self) -> Vec<(RowKind, String)> {
        std::mem::take(&mut self.0)
    }
}

impl Output for Seen {
    fn emit(&mut self, batch: ChangeBatch) -> Result<(), Error> {
        let keys = batch.rows.column(0).as_string::<i32>();
        for at in 0..batch.num_rows() {
            self.0.push((batch.kind(at), keys.value(at).to_owned()));
        }
        Ok(())
    }

    fn watermark(&mut self, _: EventTime) -> Result<(), Error> {
        Ok(())
    }

    fn late(&mut self, _: RecordBatch) -> Result<(), Error> {
        Err(Error::failed(
            "a grouping without windows knows no late rows",
        ))
    }
}

fn seen(rows: &[(RowKind, &str)]) -> Vec<(RowKind, String)> {
    rows.iter()
        .map(|(kind, key)| (*kind, (*key).to_owned()))
        .collect()
}

#[test]
fn a_group_without_rows_for_its_time_to_live_begins_anew() {
    let insert = [(RowKind::Insert, "a")];
    let mut out = Seen::default();
    let mut groups = distinct(Some(1000));
    groups.on_processing_time(10_000, &mut out).unwrap();
    groups.on_batch(0, changes(&insert), &mut out).unwrap();
    groups.on_processing_time(10_900, &mut out).unwrap();
    // It is renewed by this one.
    groups.on_batch(0, changes(&insert), &mut out).unwrap();
    groups.on_processing_time(11_800, &mut out).unwrap();
    groups.on_batch(0, changes(&insert), &mut out).unwrap();
    assert_eq!(out.take(), seen(&insert));
    groups.on_processing_time(12_800, &mut out).unwrap();
    assert_eq!(groups.state_size(), 0);
    groups.on_batch(0, changes(&insert), &mut out).unwrap();
    assert_eq!(out.take(), seen(&insert));
}

#[test]
fn what_is_swept_leaves_the_other_groups_their_rows() {
    let mut out = Seen::default();
    let mut groups = distinct(Some(1000));
    groups.on_processing_time(10_000, &mut out).unwrap();
    groups
        .on_batch(0, changes(&[(RowKind::Insert, "a")]), &mut out)
        .unwrap();
    groups.on_processing_time(10_600, &mut out).unwrap();
    groups
        .on_batch(0, changes(&[(RowKind::Insert, "b")]), &mut out)
        .unwrap();
    groups.on_processing_time(11_200, &mut out).unwrap();
    out.take();
    let saved = groups.snapshot(CheckpointId(1)).unwrap();
    let mut restored = distinct(Some(1000));
    restored.restore(saved).unwrap();
    for groups in [&mut groups, &mut restored] {
        groups.on_processing_time(11_300, &mut out).unwrap();
        groups
            .on_batch(0, changes(&[(RowKind::Delete, "b")]), &mut out)
            .unwrap();
        assert_eq!(out.take(), seen(&[(RowKind::Delete, "b")]));
    }
}

#[test]
fn a_retraction_of_what_is_not_there_is_dropped() {
    let mut out = Seen::default();
    let mut groups = distinct(None);
    let rows = [
        (RowKind::Delete, "a"),
        (RowKind::Insert, "a"),
        (RowKind::UpdateBefore, "b"),
    ];
    groups.on_batch(0, changes(&rows), &mut out).unwrap();
    assert_eq!(out.take(), seen(&[(RowKind::Insert, "a")]));
    groups
        .on_batch(0, changes(&[(RowKind::Delete, "a")]), &mut out)
        .unwrap();
    assert_eq!(out.take(), seen(&[(RowKind::Delete, "a")]));
}
