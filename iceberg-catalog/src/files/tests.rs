//! Which locations are under a root, and what happens to files there.

use super::*;

fn files(directory: &Path) -> Files {
    Files::new(&Config {
        warehouse: format!("file://{}/warehouse", directory.display()),
        allowed_locations: vec!["s3://bucket/tables/".to_owned()],
        ..Config::default()
    })
    .unwrap()
}

#[test]
fn only_locations_under_a_root_are_accepted() {
    let directory = testkit::temp_dir();
    let files = files(directory.path());
    let inside = format!("file://{}/warehouse", directory.path().display());
    for good in [
        format!("{inside}/a/b"),
        format!("{inside}/a..b"),
        inside.replace("file://", "file:") + "/a",
        "s3://bucket/tables/x".to_owned(),
        "s3a://bucket/tables/x".to_owned(),
    ] {
        files.check(&good).unwrap();
    }
    for bad in [
        inside.clone(),
        format!("{inside}/"),
        format!("{inside}/../x"),
        format!("{inside}-other/x"),
        "s3://bucket/x".to_owned(),
        "s3://bucket/tables/../x".to_owned(),
        "s3://bucket2/tables/x".to_owned(),
        "https://bucket/tables/x".to_owned(),
        String::new(),
    ] {
        assert!(files.check(&bad).is_err(), "{bad}");
    }
}

#[test]
fn a_table_lies_below_a_root() {
    let directory = testkit::temp_dir();
    let files = files(directory.path());
    files.check_table("s3://bucket/tables/t/").unwrap();
    for root in [
        "s3://bucket/tables",
        "s3://bucket/tables/",
        "s3a://bucket/tables//",
    ] {
        assert!(files.check_table(root).is_err(), "{root}");
    }
}

#[test]
fn locations_overlap_however_they_are_spelled() {
    for (one, other) in [
        ("s3://b/t", "s3a://b/t/"),
        ("s3n://b/t/x", "s3://b/t"),
        ("file:/a", "file:///a/b"),
    ] {
        assert!(overlap(one, other) && overlap(other, one), "{one} {other}");
        let spelled = spellings(other);
        assert!(spelled.contains(&other.trim_end_matches('/').to_owned()));
    }
    assert!(!overlap("s3://b/t", "s3://b/t2"));
    assert_eq!(
        spellings("s3a://b/t/"),
        ["s3://b/t", "s3a://b/t", "s3n://b/t"]
    );
}

#[tokio::test]
async fn files_are_written_read_and_deleted() {
    let directory = testkit::temp_dir();
    let files = files(directory.path());
    let root = format!("file://{}/warehouse/t", directory.path().display());
    let one = format!("{root}/metadata/1.json");
    assert_eq!(files.get(&one, 10).await.unwrap(), None);
    files.put(&one, Bytes::from_static(b"abc")).await.unwrap();
    files
        .put(&format!("{root}/data/2"), Bytes::from_static(b"d"))
        .await
        .unwrap();
    assert_eq!(
        files.get(&one, 10).await.unwrap(),
        Some(Bytes::from_static(b"abc"))
    );
    assert!(files.get(&one, 2).await.is_err(), "larger than the limit");
    files.delete(&one).await.unwrap();
    files.delete(&one).await.unwrap();
    assert_eq!(files.delete_all(&root).await.unwrap(), 1);
    assert_eq!(files.delete_all(&root).await.unwrap(), 0);
}
