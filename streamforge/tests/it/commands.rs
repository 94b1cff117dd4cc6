//! The commands that need no running service.

use std::process::Command;

use crate::platform::Site;

fn streamforge(arguments: &[&str], environment: &[(&str, &str)]) -> (bool, String, String) {
    let directory = testkit::temp_dir();
    let output = Command::new(env!("CARGO_BIN_EXE_streamforge"))
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(directory.path())
        .output()
        .expect("the binary starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.success(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn the_configuration_says_where_each_value_came_from() {
    let (ok, printed, _) = streamforge(
        &[
            "config",
            "--set",
            "query_engine.listen=127.0.0.1:1",
            "--data-dir",
            "/elsewhere",
        ],
        &[("STREAMFORGE__VIZ_DASHBOARD__LISTEN", "127.0.0.1:2")],
    );
    assert!(ok);
    for line in [
        "listen = \"127.0.0.1:1\" # --set query_engine.listen",
        "listen = \"127.0.0.1:2\" # STREAMFORGE__VIZ_DASHBOARD__LISTEN",
        "data_dir = \"/elsewhere\" # --data-dir",
        "data_dir = \"/elsewhere/storage-service\"",
    ] {
        assert!(
            printed.lines().any(|found| found == line),
            "`{line}` is missing in\n{printed}"
        );
    }
}

#[test]
fn settings_before_and_after_the_command_both_count() {
    let (ok, printed, errors) = streamforge(
        &[
            "--set",
            "query_engine.listen=127.0.0.1:1",
            "config",
            "--set=viz_dashboard.listen=127.0.0.1:2",
        ],
        &[],
    );
    assert!(ok, "{errors}");
    for line in [
        "listen = \"127.0.0.1:1\" # --set query_engine.listen",
        "listen = \"127.0.0.1:2\" # --set viz_dashboard.listen",
    ] {
        assert!(
            printed.lines().any(|found| found == line),
            "`{line}` is missing in\n{printed}"
        );
    }
}

#[test]
fn secrets_are_masked() {
    let (ok, printed, _) =
        streamforge(&["config", "--set", "storage_service.secret_key=hush"], &[]);
    assert!(ok);
    assert!(!printed.contains("hush"), "{printed}");
    assert!(
        printed.contains("secret_key = \"********\" # --set storage_service.secret_key"),
        "{printed}"
    );
}

#[test]
fn the_printed_defaults_are_a_file_that_can_be_read() {
    let (ok, defaults, _) = streamforge(&["config", "--defaults"], &[]);
    assert!(ok);
    let site = Site::new();
    let file = site.directory.path().join("all.toml");
    std::fs::write(&file, defaults).expect("the file can be written");
    let (ok, _, error) = streamforge(&["config", "--config", &file.display().to_string()], &[]);
    assert!(ok, "{error}");
}

#[test]
fn an_unknown_key_in_a_file_is_refused_with_its_line() {
    let directory = testkit::temp_dir();
    let file = directory.path().join("bad.toml");
    std::fs::write(
        &file,
        "[query_engine]\nlisten = \"127.0.0.1:8080\"\nlissen = 1\n",
    )
    .expect("written");
    let (ok, _, error) = streamforge(&["config", "--config", &file.display().to_string()], &[]);
    assert!(!ok);
    assert!(
        error.contains("bad.toml") && error.contains("line 3") && error.contains("`lissen`"),
        "{error}"
    );
}

#[test]
fn a_bad_value_is_refused_with_its_origin() {
    let (ok, _, error) = streamforge(
        &["config"],
        &[("STREAMFORGE__QUERY_ENGINE__LISTEN", "nowhere")],
    );
    assert!(!ok);
    assert!(
        error.contains("STREAMFORGE__QUERY_ENGINE__LISTEN")
            && error.contains("query_engine.listen"),
        "{error}"
    );
}

#[test]
fn a_mistake_in_a_name_is_told_with_what_was_meant() {
    let refused = |arguments: &[&str], environment: &[(&str, &str)]| {
        let (ok, printed, error) = streamforge(arguments, environment);
        assert!(!ok, "{arguments:?}: {printed}");
        error
    };
    let variable = [("STREAMFORGE_QUERY_ENGINE_LISTEN", "127.0.0.1:1")];
    let error = refused(&["config"], &variable);
    assert!(
        error.contains("STREAMFORGE_QUERY_ENGINE_LISTEN: two underscores"),
        "{error}"
    );
    assert!(
        error.contains("STREAMFORGE__QUERY_ENGINE__LISTEN"),
        "{error}"
    );
    let error = refused(&["config"], &[("STREAMFORGE__QUERY_ENGINE__LISSEN", "x")]);
    assert!(
        error.contains("STREAMFORGE__QUERY_ENGINE__LISSEN"),
        "{error}"
    );
    assert!(
        error.contains("unknown field `lissen`, expected one of `listen`"),
        "{error}"
    );
    let error = refused(&["config"], &[("STREAMFORGE__QUERYENGINE__LISTEN", "x")]);
    assert!(error.contains("unknown field `queryengine`"), "{error}");
    let error = refused(&["run", "query-engin"], &[]);
    assert!(
        error.contains("there is no service `query-engin`"),
        "{error}"
    );
    assert!(
        error.contains("streaming-server, iceberg-catalog"),
        "{error}"
    );
    let error = refused(&["up", "--without", "kafka"], &[]);
    assert!(error.contains("there is no service `kafka`"), "{error}");
    let error = refused(&["config", "--set", "query_engine.listen"], &[]);
    assert!(error.contains("a setting is written KEY=VALUE"), "{error}");
    let error = refused(&["config", "--config", "nowhere.toml"], &[]);
    assert!(error.contains("could not read nowhere.toml"), "{error}");
    let error = refused(&["emit", "--profile", "clicks"], &[]);
    assert!(
        error.contains("--profile") && error.contains("`clickstream`, `weblog`, `nexmark`"),
        "{error}"
    );
    for (option, value, form) in [
        ("--burst", "10", "FACTOR:LENGTH:EVERY"),
        ("--burst", "10:soon:1m", "FACTOR:LENGTH:EVERY"),
        ("--ramp", "100", "FROM:OVER"),
    ] {
        let error = refused(&["emit", option, value], &[]);
        assert!(
            error.contains(&format!("{option} `{value}` needs the form {form}")),
            "{error}"
        );
    }
}

#[test]
fn a_closed_server_is_named() {
    let (ok, _, error) = streamforge(
        &["sql", "--server", "http://127.0.0.1:9", "-e", "SELECT 1"],
        &[],
    );
    assert!(!ok);
    assert!(
        error.contains("could not reach Trino at http://127.0.0.1:9"),
        "{error}"
    );
}
