//! The rules that are ours and not the iceberg crate's: ids kept, defaults, versions, late snapshots, size.

use serde_json::json;

use super::*;

fn request(properties: &Value) -> CreateTable {
    serde_json::from_value(json!({
        "name": "t",
        "schema": {"type": "struct", "fields": [
            {"id": 7, "name": "x", "required": true, "type": "long"},
        ]},
        "properties": properties,
    }))
    .unwrap()
}

fn defaults() -> BTreeMap<String, String> {
    BTreeMap::from([("d".to_owned(), "1".to_owned())])
}

#[test]
fn a_default_yields_to_the_creator() {
    let location = || "s3://b/t".to_owned();
    let plain = create(request(&json!({})), location(), &defaults()).unwrap();
    assert_eq!(plain.properties()["d"], "1");
    let own = create(request(&json!({"d": "2"})), location(), &defaults()).unwrap();
    assert_eq!(own.properties()["d"], "2");
}

#[test]
fn the_format_version_is_a_property_only_on_the_way_in() {
    let made = create(
        request(&json!({"format-version": "3"})),
        "s3://b/t".to_owned(),
        &BTreeMap::new(),
    )
    .unwrap();
    assert_eq!(made.format_version(), FormatVersion::V3);
    assert!(made.properties().is_empty());
    let odd = create(
        request(&json!({"format-version": "9"})),
        "s3://b/t".to_owned(),
        &BTreeMap::new(),
    );
    assert_eq!(
        odd.unwrap_err().to_string(),
        "Unsupported format version: 9"
    );
}

#[test]
fn a_table_made_by_its_commit_keeps_its_writers_ids() {
    for version in [1, 2, 3] {
        let updates: Vec<TableUpdate> = serde_json::from_value(json!([
            {"action": "upgrade-format-version", "format-version": version},
            {"action": "add-schema", "schema": {"type": "struct", "schema-id": 0, "fields": [
                {"id": 7, "name": "x", "required": true, "type": "long"},
                {"id": 9, "name": "day", "required": true, "type": "date"},
            ]}},
            {"action": "set-current-schema", "schema-id": -1},
            {"action": "add-spec", "spec": {"fields": [
                {"source-id": 9, "field-id": 1000, "name": "d", "transform": "identity"},
            ]}},
            {"action": "set-default-spec", "spec-id": -1},
            {"action": "add-sort-order", "sort-order": {"order-id": 1, "fields": [
                {"source-id": 7, "transform": "identity", "direction": "asc", "null-order": "nulls-first"},
            ]}},
            {"action": "set-default-sort-order", "sort-order-id": -1},
        ]))
        .unwrap();
        let made = create_from_updates(updates, "s3://b/t".to_owned(), &defaults()).unwrap();
        assert_eq!(made.format_version() as u8, version);
        assert_eq!(made.last_column_id(), 9);
        assert_eq!(made.current_schema_id(), 0);
        assert_eq!(made.schemas_iter().len(), 1);
        assert_eq!(made.current_schema().field_id_by_name("day"), Some(9));
        assert_eq!(made.partition_specs_iter().len(), 1);
        assert_eq!(made.default_partition_spec().fields()[0].field_id, 1000);
        assert_eq!(made.last_partition_id(), 1000);
        assert_eq!(made.default_sort_order_id(), 1);
        assert_eq!(made.location(), "s3://b/t");
        assert_eq!(made.properties()["d"], "1");
    }
}

#[test]
fn a_used_row_id_is_a_conflict() {
    let base = create(
        request(&json!({"format-version": "3"})),
        "s3://b/t".to_owned(),
        &BTreeMap::new(),
    )
    .unwrap();
    let snapshot = |id: i64, sequence: i64, first_row: u64| -> Vec<TableUpdate> {
        serde_json::from_value(json!([{"action": "add-snapshot", "snapshot": {
            "snapshot-id": id,
            "sequence-number": sequence,
            "timestamp-ms": base.last_updated_ms() + id,
            "manifest-list": "s3://b/t/l.avro",
            "summary": {"operation": "append"},
            "first-row-id": first_row,
            "added-rows": 10,
        }}]))
        .unwrap()
    };
    let next = apply(&base, "s3://b/t/m".to_owned(), snapshot(1, 1, 0))
        .unwrap()
        .unwrap()
        .metadata;
    assert_eq!(next.next_row_id(), 10);
    let late = apply(&next, "s3://b/t/m".to_owned(), snapshot(2, 2, 5)).unwrap_err();
    assert!(matches!(&late, Error::CommitFailed(_)), "{late}");
}

#[test]
fn a_file_that_unpacks_to_more_than_the_limit_is_refused() {
    use std::io::Write;
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(&vec![b' '; 1_000_000]).unwrap();
    let refused = parse(&packed.finish().unwrap(), 1000).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the metadata file is larger than 1000 bytes"
    );
}

#[test]
fn a_snapshot_that_a_tag_names_is_removed_only_with_the_tag() {
    let updates = |updates: Value| -> Vec<TableUpdate> { serde_json::from_value(updates).unwrap() };
    let new = create(request(&json!({})), "s3://b/t".to_owned(), &BTreeMap::new()).unwrap();
    let snapshot = |id: i64| {
        json!({"action": "add-snapshot", "snapshot": {
            "snapshot-id": id,
            "sequence-number": id,
            "timestamp-ms": new.last_updated_ms() + id,
            "manifest-list": "s3://b/t/l.avro",
            "summary": {"operation": "append"},
        }})
    };
    let tag = |id: i64| json!({"action": "set-snapshot-ref", "ref-name": "kept", "type": "tag", "snapshot-id": id});
    let main = json!({"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": 2});
    let made = updates(json!([snapshot(1), snapshot(2), main, tag(1)]));
    let file = || "s3://b/t/m".to_owned();
    let base = apply(&new, file(), made).unwrap().unwrap().metadata;
    let remove = json!({"action": "remove-snapshots", "snapshot-ids": [1]});
    let untag = json!({"action": "remove-snapshot-ref", "ref-name": "kept"});
    let refused = apply(&base, file(), updates(json!([remove]))).unwrap_err();
    assert!(matches!(&refused, Error::CommitFailed(_)), "{refused}");
    assert_eq!(
        refused.to_string(),
        "Cannot remove snapshot 1: still referenced by kept"
    );
    for known in [
        json!([untag, remove]),
        json!([remove, untag]),
        json!([tag(2), remove]),
    ] {
        let next = apply(&base, file(), updates(known.clone()))
            .unwrap()
            .unwrap();
        assert_eq!(next.metadata.snapshots().len(), 1, "{known}");
    }
}
