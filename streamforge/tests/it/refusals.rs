//! What `up` refuses before anything is written.

use std::net::TcpListener;

use testkit::SmallDisk;

use crate::platform::Site;

#[test]
fn a_taken_port_names_the_service_and_the_key() {
    let site = Site::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let setting = format!(
        "query_engine.listen={}",
        taken.local_addr().expect("a bound socket")
    );
    let output = site.run(&["up", "--set", &setting]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(
        error.contains("query-engine could not listen on")
            && error.contains("--set query_engine.listen="),
        "{error}"
    );
    assert!(
        !site.data().try_exists().expect("readable"),
        "something was written"
    );
}

#[test]
fn a_directory_in_use_is_refused() {
    let site = Site::new();
    let first = site.start(&["run", "storage-service"]);
    let other = Site::new();
    let data = site.data().display().to_string();
    let output = other.run(&["run", "storage-service", "--data-dir", &data]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(
        error.contains("is in use: another process runs storage-service on it"),
        "{error}"
    );
    assert!(first.stop().success());
}

#[test]
fn a_directory_of_another_format_is_refused() {
    let site = Site::new();
    std::fs::create_dir_all(site.data()).expect("made");
    std::fs::write(site.data().join("VERSION"), "99\n").expect("written");
    let output = site.run(&["up"]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(error.contains("has format 99"), "{error}");
}

#[test]
fn listening_beyond_loopback_without_authentication_is_refused() {
    for (key, remedy) in [
        (
            "streaming_server.listen",
            "needs authentication: set `users`",
        ),
        (
            "iceberg_catalog.listen",
            "`iceberg_catalog.token` (a default) listening on 0.0.0.0:0 is open to others and needs a token",
        ),
        ("query_engine.listen", "must be a loopback address"),
        (
            "viz_dashboard.listen",
            "0.0.0.0:0 is open to others and needs a password",
        ),
    ] {
        let site = Site::new();
        let output = site.run(&["up", "--set", &format!("{key}=0.0.0.0:0")]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{key} was accepted");
        assert!(error.contains(remedy), "{key}: {error}");
        assert!(
            !site.data().try_exists().expect("readable"),
            "something was written"
        );
    }
}

#[test]
fn a_value_that_cannot_work_is_named_with_key_and_place_before_anything_is_written() {
    let site = Site::new();
    let file = site.directory.path().join("streamforge.toml");
    std::fs::write(&file, "# Mine.\n[storage_service]\nio_threads = 0\n").expect("written");
    let refused = |arguments: &[&str]| {
        let output = site.run(&[&["up"], arguments].concat());
        assert!(!output.status.success());
        assert!(
            !site.data().try_exists().expect("readable"),
            "something was written"
        );
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let error = refused(&[]);
    assert!(
        error.contains(
            "storage-service cannot start: `storage_service.io_threads` (from streamforge.toml:3)"
        ),
        "{error}"
    );
    std::fs::remove_file(&file).expect("removed");
    let setting = ["--set", "maintenance.policy.keep_snapshots=0"];
    let error = refused(&setting);
    assert!(
        error.contains("maintenance `keep_snapshots` must be at least 1"),
        "{error}"
    );
    let error = refused(&["--rate", "0"]);
    assert!(error.contains("--rate <N>"), "{error}");
}

#[test]
fn a_disk_that_is_full_or_read_only_is_named_and_used_once_it_is_not() {
    let Some(disk) = SmallDisk::new(64) else {
        return;
    };
    let site = Site::new();
    let data = disk.path().join("data").display().to_string();
    let refused = || {
        let output = site.run(&["up", "--no-demo", "--data-dir", &data]);
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    disk.make_read_only();
    let error = refused();
    let read_only = format!("could not make the data directory {data}: Read-only file system");
    assert!(error.contains(&read_only), "{error}");
    disk.make_writable();
    let rest = disk.fill();
    let error = refused();
    assert!(error.contains("No space left on device"), "{error}");
    assert!(error.contains(&data), "{error}");
    drop(rest);
    let up = site.start(&["up", "--no-demo", "--data-dir", &data]);
    assert!(up.stop().success());
}
