//! Facts about who may open a data directory.

use super::*;

#[test]
fn a_directory_serves_one_process_at_a_time() {
    let dir = testkit::temp_dir();
    let path = dir.path().join("store");
    let held = DirLock::take(&path).unwrap();
    let second = DirLock::take(&path).unwrap_err();
    assert!(matches!(second, Error::InUse { .. }), "{second}");
    drop(held);
    DirLock::take(&path).unwrap();
}

#[test]
fn a_directory_of_another_version_is_left_as_it_was() {
    let dir = testkit::temp_dir();
    fs::write(
        dir.path().join("VERSION"),
        "streamforge storage-service 7\n",
    )
    .unwrap();
    let error = DirLock::take(dir.path()).unwrap_err().to_string();
    assert!(
        error.contains("holds `streamforge storage-service 7`"),
        "{error}"
    );
    assert!(!fs::exists(dir.path().join("LOCK")).unwrap());
}

#[test]
fn a_directory_with_other_files_is_refused() {
    let dir = testkit::temp_dir();
    fs::write(dir.path().join("thesis.txt"), "precious").unwrap();
    let error = DirLock::take(dir.path()).unwrap_err().to_string();
    assert!(
        error.contains("no version file, but `thesis.txt`"),
        "{error}"
    );
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}
