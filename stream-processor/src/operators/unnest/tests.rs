//! Facts about UNNEST that goldens cannot show: retractions, NULLs among rows, multisets, and conditions.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int32Array, ListArray, MapArray, StringArray, StructArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Fields, Int32Type, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion_expr_common::operator::Operator as Compare;

use super::{Collection, Part, Unnest};
use crate::batch::{ChangeBatch, RowKind};
use crate::error::Error;
use crate::graph::OperatorFactory;
use crate::operator::{EventTime, Output, Subtask};
use crate::plan::typed::{Typed, TypedKind};
use crate::table::{SqlType, TypeRoot};

#[derive(Default)]
struct Rows(Vec<String>);

impl Output for Rows {
    fn emit(&mut self, batch: ChangeBatch) -> Result<(), Error> {
        for row in 0..batch.num_rows() {
            let mut line = batch.kind(row).short().to_owned();
            for column in batch.rows.columns() {
                let number = column.as_primitive_opt::<Int32Type>();
                line += &match number {
                    _ if column.is_null(row) => " null".to_owned(),
                    Some(numbers) => format!(" {}", numbers.value(row)),
                    None => format!(" {}", column.as_string::<i32>().value(row)),
                };
            }
            self.0.push(line);
        }
        Ok(())
    }

    fn watermark(&mut self, _: EventTime) -> Result<(), Error> {
        Ok(())
    }

    fn late(&mut self, _: RecordBatch) -> Result<(), Error> {
        Ok(())
    }
}

/// `a`: [(x, 1), NULL, (y, 2)], `b`: [], `c`: NULL
fn orders() -> RecordBatch {
    let fields = Fields::from(vec![
        Field::new("sku", DataType::Utf8, true),
        Field::new("qty", DataType::Int32, true),
    ]);
    let items = StructArray::new(
        fields.clone(),
        vec![
            Arc::new(StringArray::from(vec!["x", "hidden", "y"])),
            Arc::new(Int32Array::from(vec![1, 9, 2])),
        ],
        Some(NullBuffer::from(vec![true, false, true])),
    );
    let element = Arc::new(Field::new("element", DataType::Struct(fields), true));
    let lists = ListArray::new(
        element,
        OffsetBuffer::from_lengths([3, 0, 0]),
        Arc::new(items),
        Some(NullBuffer::from(vec![true, true, false])),
    );
    batch(
        Arc::new(StringArray::from(vec!["a", "b", "c"])),
        Arc::new(lists),
    )
}

fn batch(keys: ArrayRef, collections: ArrayRef) -> RecordBatch {
    let schema = Schema::new(vec![
        Field::new("k", DataType::Utf8, true),
        Field::new("items", collections.data_type().clone(), true),
    ]);
    RecordBatch::try_new(Arc::new(schema), vec![keys, collections]).unwrap()
}

fn output(columns: &[(&str, DataType)]) -> SchemaRef {
    let field = |(name, ty): &(&str, DataType)| Field::new(*name, ty.clone(), true);
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

fn plan() -> Unnest {
    Unnest {
        column: 1,
        collection: Collection::Array,
        ordinality: false,
        outer: false,
        parts: vec![Part::Left(0), Part::Element(0), Part::Element(1)],
        condition: None,
        output: output(&[
            ("k", DataType::Utf8),
            ("sku", DataType::Utf8),
            ("qty", DataType::Int32),
        ]),
    }
}

fn run(plan: &Unnest, batch: ChangeBatch) -> Vec<String> {
    let subtask = Subtask {
        index: 0,
        parallelism: 1,
    };
    let mut rows = Rows::default();
    plan.create(subtask)
        .unwrap()
        .on_batch(0, batch, &mut rows)
        .unwrap();
    rows.0
}

#[test]
fn a_null_among_rows_is_no_row() {
    let rows = run(&plan(), ChangeBatch::inserts(orders()));
    assert_eq!(rows, ["+I a x 1", "+I a y 2"]);
}

#[test]
fn a_left_join_keeps_empty_and_null_collections_with_their_kinds() {
    let kinds = [RowKind::Delete, RowKind::UpdateBefore, RowKind::UpdateAfter];
    let plan = Unnest {
        outer: true,
        ..plan()
    };
    let rows = run(&plan, ChangeBatch::changes(orders(), kinds.into()));
    let expected = ["-D a x 1", "-D a y 2", "-U b null null", "+U c null null"];
    assert_eq!(rows, expected);
}

#[test]
fn a_left_join_keeps_rows_whose_elements_are_not_accepted() {
    let two = Typed::literal(2.into(), SqlType::required(TypeRoot::Int));
    let qty = Typed::column(2, SqlType::of(TypeRoot::Int));
    let is_two = Typed {
        kind: TypedKind::Binary(Compare::Eq, Box::new(qty), Box::new(two)),
        ty: SqlType::of(TypeRoot::Boolean),
    };
    let outer = Unnest {
        outer: true,
        condition: Some(is_two.compile(&plan().output).unwrap()),
        ..plan()
    };
    let rows = run(&outer, ChangeBatch::inserts(orders()));
    assert_eq!(rows, ["+I a y 2", "+I b null null", "+I c null null"]);
    let none = Unnest {
        parts: vec![Part::Left(0), Part::Element(0), Part::Ordinal],
        ordinality: true,
        ..outer
    };
    let first = orders().slice(0, 1);
    assert_eq!(run(&none, ChangeBatch::inserts(first)), ["+I a null 2"]);
}

#[test]
fn ordinals_count_nulls_too() {
    let plan = Unnest {
        ordinality: true,
        parts: vec![Part::Element(0), Part::Ordinal],
        output: output(&[("sku", DataType::Utf8), ("n", DataType::Int32)]),
        ..plan()
    };
    let rows = run(&plan, ChangeBatch::inserts(orders()));
    assert_eq!(rows, ["+I x 1", "+I null 2", "+I y 3"]);
}

#[test]
fn a_multiset_gives_each_element_as_often_as_it_has_it() {
    let entries = Fields::from(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", DataType::Int32, false),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec!["x", "y"])),
        Arc::new(Int32Array::from(vec![2, 1])),
    ];
    let map = MapArray::new(
        Arc::new(Field::new(
            "entries",
            DataType::Struct(entries.clone()),
            false,
        )),
        OffsetBuffer::from_lengths([2]),
        StructArray::new(entries, columns, None),
        None,
        false,
    );
    let rows = batch(Arc::new(StringArray::from(vec!["a"])), Arc::new(map));
    let plan = Unnest {
        collection: Collection::Multiset,
        ordinality: true,
        parts: vec![Part::Element(0), Part::Ordinal],
        output: output(&[("e", DataType::Utf8), ("n", DataType::Int32)]),
        ..plan()
    };
    assert_eq!(
        run(&plan, ChangeBatch::inserts(rows)),
        ["+I x 1", "+I x 2", "+I y 3"]
    );
}
