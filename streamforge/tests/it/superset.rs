//! Apache Superset in place of our dashboard: the asset bundle is imported as it is, and every chart has its data.

use std::process::Command;

use crate::newcomer::every_table_fills;
use crate::platform::Site;

/// Starts Superset, imports the bundle, compares every chart's data with its statement sent to the engine.
const SCRIPT: &str = include_str!("superset.py");

#[test]
fn superset_draws_the_bundle_from_our_engine() {
    if !testkit::peer("superset") {
        return;
    }
    let interpreter = testkit::superset();
    let site = Site::new();
    // A past of ten minutes, and then nothing more: what is compared must not change in between.
    let up = site.start(&[
        "up",
        "--set",
        "demo.events=false",
        "--without",
        "viz-dashboard",
    ]);
    let events = [
        "emit",
        "--count",
        "12000",
        "--rate",
        "20",
        "--backfill",
        "600",
    ];
    site.output(&[&events[..], &["--malformed", "0.01"]].concat());
    every_table_fills(&site);
    let home = testkit::temp_dir();
    let ports = testkit::Ports::new();
    let bundle = concat!(env!("CARGO_MANIFEST_DIR"), "/../dashboards");
    let output = Command::new(interpreter)
        .args(["-W", "ignore", "-c", SCRIPT])
        .envs(site.environment())
        .env("HOME_DIRECTORY", home.path())
        .env("PORT", ports.get(0).to_string())
        .env("BUNDLE", bundle)
        .current_dir(home.path())
        .output()
        .expect("the interpreter of Superset starts");
    let printed = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    eprintln!("{printed}");
    assert!(output.status.success(), "{errors}");
    assert_eq!(printed.matches("chart ").count(), 12, "{printed}");
    assert!(printed.ends_with("done\n"), "{printed}");
    assert!(up.stop().success());
}
