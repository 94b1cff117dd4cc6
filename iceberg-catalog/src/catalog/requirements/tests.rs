//! What only metadata with tags can show; the other texts are tested over the wire.

use serde_json::json;

use super::*;

#[test]
fn a_moved_tag_is_called_a_tag() {
    let table: TableMetadata = serde_json::from_value(json!({
        "format-version": 2,
        "table-uuid": "9c12d441-03fe-4693-9a96-a0705ddf69c1",
        "location": "s3://bucket/t",
        "last-sequence-number": 1,
        "last-updated-ms": 10,
        "last-column-id": 1,
        "schemas": [{"type": "struct", "schema-id": 0, "fields": [
            {"id": 1, "name": "x", "required": true, "type": "long"},
        ]}],
        "current-schema-id": 0,
        "partition-specs": [{"spec-id": 0, "fields": []}],
        "default-spec-id": 0,
        "last-partition-id": 999,
        "sort-orders": [{"order-id": 0, "fields": []}],
        "default-sort-order-id": 0,
        "snapshots": [{
            "snapshot-id": 5,
            "sequence-number": 1,
            "timestamp-ms": 10,
            "manifest-list": "s3://bucket/t/l.avro",
            "summary": {"operation": "append"},
            "schema-id": 0,
        }],
        "refs": {"v1": {"type": "tag", "snapshot-id": 5}},
    }))
    .unwrap();
    let moved = TableRequirement::RefSnapshotIdMatch {
        r#ref: "v1".to_owned(),
        snapshot_id: Some(4),
    };
    assert_eq!(
        check(&[moved], &table).unwrap_err().to_string(),
        "Requirement failed: tag v1 has changed: expected id 4 != 5"
    );
    let absent = TableRequirement::RefSnapshotIdMatch {
        r#ref: "main".to_owned(),
        snapshot_id: None,
    };
    check(&[absent], &table).unwrap();
}
