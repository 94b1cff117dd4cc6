//! CSV as RFC 4180 has it.

use super::*;

#[test]
fn values_are_quoted_where_they_must_be() {
    let mut text = String::new();
    let row = [
        json!("a"),
        json!(1.5),
        Value::Null,
        json!(""),
        json!("x,\"y\"\nz"),
        json!([1, 2]),
    ];
    line(&row, &mut text);
    assert_eq!(text, "a,1.5,,\"\",\"x,\"\"y\"\"\nz\",\"[1,2]\"\r\n");
}
