//! What the cache holds, at which version, and when it lets go.

use std::collections::BTreeMap;

use super::*;
use crate::catalog::metadata;

fn table(id: &str, version: i64) -> Arc<Table> {
    let request = serde_json::from_value(serde_json::json!({
        "name": "t",
        "schema": {"type": "struct", "fields": []},
    }))
    .unwrap();
    let metadata = metadata::create(request, "s3://b/t".to_owned(), &BTreeMap::new()).unwrap();
    Arc::new(Table {
        id: id.to_owned(),
        version,
        metadata_location: String::new(),
        json: serde_json::value::to_raw_value(&metadata).unwrap(),
        metadata,
    })
}

#[test]
fn only_the_wanted_version_is_given() {
    let cache = Cache::new(1 << 20);
    cache.put(&table("a", 2));
    assert!(cache.get("a", 2).is_some());
    assert!(cache.get("a", 3).is_none());
    cache.put(&table("a", 1));
    assert!(
        cache.get("a", 2).is_some(),
        "an older version does not replace"
    );
}

#[test]
fn the_least_recently_used_leaves_first() {
    let one = u64::try_from(size(&table("a", 1))).unwrap();
    let cache = Cache::new(one * 2 + 1);
    cache.put(&table("a", 1));
    cache.put(&table("b", 1));
    assert!(cache.get("a", 1).is_some());
    cache.put(&table("c", 1));
    assert!(cache.get("b", 1).is_none());
    assert!(cache.get("a", 1).is_some());
    assert!(cache.get("c", 1).is_some());
    assert!(cache.held.lock().size <= usize::try_from(one).unwrap() * 2);
}
