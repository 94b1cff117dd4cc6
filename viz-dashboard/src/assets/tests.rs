//! The vendored files are the ones that were looked at, and none is missing or empty.

use super::*;

#[test]
fn vendored_files_have_the_committed_hashes() {
    let sums = Assets::get("vendor/SHA256SUMS").unwrap();
    let sums = String::from_utf8(sums.data.into_owned()).unwrap();
    assert_eq!(sums.lines().count(), 8);
    for line in sums.lines() {
        let (sum, name) = line.split_once("  ").unwrap();
        let file = Assets::get(&format!("vendor/{name}")).unwrap();
        assert_eq!(hex(&file.metadata.sha256_hash()), sum, "{name}");
    }
}

#[test]
fn no_file_is_empty_and_every_kind_is_known() {
    let names: Vec<_> = Assets::iter().collect();
    assert!(names.len() >= 10, "{names:?}");
    for name in names {
        assert!(!Assets::get(&name).unwrap().data.is_empty(), "{name}");
    }
    assert_eq!(content_type("js/app.js"), "text/javascript; charset=utf-8");
}
