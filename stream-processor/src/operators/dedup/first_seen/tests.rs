//! Keys are passed once in their time to live, also by an operator that goes on from a checkpoint.

use std::collections::HashMap;

use arrow::array::StringArray;
use arrow::datatypes::{DataType, Field, Schema};
use proptest::prelude::*;

use super::*;
use crate::graph::OperatorFactory;
use crate::operator::{EventTime, Subtask};
use crate::operators::kept::Kept;

const TTL: i64 = 40;

struct Passed(Vec<Option<String>>);

impl Output for Passed {
    fn emit(&mut self, batch: ChangeBatch) -> Result<(), Error> {
        let keys = batch.rows.column(0).as_string::<i32>();
        self.0.extend(keys.iter().map(|key| key.map(str::to_owned)));
        Ok(())
    }

    fn watermark(&mut self, _: EventTime) -> Result<(), Error> {
        Ok(())
    }

    fn late(&mut self, _: RecordBatch) -> Result<(), Error> {
        Err(Error::failed("nothing is late by processing time"))
    }
}

fn operator(tables: Vec<StateTable>) -> Box<dyn Operator> {
    let plan = Dedup {
        schema: Arc::new(Schema::new(vec![Field::new("k", DataType::Utf8, true)])),
        keys: vec![0],
        order: None,
        keep_last: false,
        ttl: Some(TTL),
    };
    let whole = Subtask {
        index: 0,
        parallelism: 1,
    };
    let mut operator = plan.create(whole).unwrap();
    operator.restore(tables).unwrap();
    operator
}

proptest! {
    #[test]
    fn a_key_passes_once_in_its_time(
        steps in proptest::collection::vec(
            (proptest::collection::vec(0u16..400, 0..200), 0i64..15, 0u8..4),
            1..30,
        ),
    ) {
        let mut operator_now = operator(Vec::new());
        let mut kept = Kept::default();
        let mut now = 1000;
        let mut last: HashMap<Option<String>, i64> = HashMap::new();
        for (n, (keys, advance, what)) in steps.iter().enumerate() {
            now += advance;
            let mut passed = Passed(Vec::new());
            operator_now.on_processing_time(now, &mut passed).unwrap();
            let name = |key: &u16| match key {
                0 => None,
                1 => Some(String::new()),
                _ => Some(format!("key {key}")),
            };
            let names: Vec<Option<String>> = keys.iter().map(name).collect();
            let column: ArrayRef = Arc::new(StringArray::from(names.clone()));
            let rows = RecordBatch::try_from_iter_with_nullable([("k", column, true)]).unwrap();
            operator_now.on_batch(0, ChangeBatch::inserts(rows), &mut passed).unwrap();
            for key in &passed.0 {
                let before = last.insert(key.clone(), now);
                prop_assert!(before.is_none_or(|before| now - before >= TTL), "{key:?} came twice");
            }
            for key in &names {
                // An eighth of the time to live and a step may be added to it.
                prop_assert!(now - last[key] <= TTL + TTL / 8 + 15, "{key:?} was held for too long");
            }
            let checkpoint = CheckpointId(n as u64 + 1);
            match what {
                0 => {}
                1 | 2 => {
                    kept.take(operator_now.snapshot(checkpoint).unwrap());
                }
                _ => operator_now = operator(kept.cut(operator_now.snapshot(checkpoint).unwrap())),
            }
        }
    }
}
