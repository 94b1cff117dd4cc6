//! Flink's answers, in the two ways it writes numbers.

use super::*;

#[test]
fn edges_come_from_the_plan() {
    let plan = json!({"nodes": [
        {"id": "a"},
        {"id": "b", "inputs": [{"num": 0, "id": "a", "ship_strategy": "HASH"}]},
    ]});
    assert_eq!(edges(&plan), [("a".to_owned(), "b".to_owned())]);
}

#[test]
fn numbers_may_be_text() {
    assert_eq!(number(&json!(1.5)), Some(1.5));
    assert_eq!(number(&json!("2")), Some(2.0));
    assert_eq!(number(&json!("NaN")), None);
    assert_eq!(number(&Value::Null), None);
}
