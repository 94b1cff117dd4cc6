//! The pages of the running demo in headless Chromium (`STREAMFORGE_PEERS=chromium`), compared with the Trino protocol.

use crate::newcomer::every_table_fills;
use crate::platform::Site;

/// The browser is the one that the dashboard's own tests use.
const SCRIPT: &str = concat!(
    include_str!("../../../viz-dashboard/tests/it/chromium.py"),
    "\n\n",
    include_str!("pages.py")
);
const CHROMIUM: &str = "/usr/bin/chromium";

#[test]
fn charts_move_without_a_reload_and_the_sql_page_downloads_what_it_shows() {
    if !testkit::peer("chromium") {
        return;
    }
    assert!(
        std::path::Path::new(CHROMIUM).is_file(),
        "STREAMFORGE_PEERS names chromium, but {CHROMIUM} is missing"
    );
    let site = Site::new();
    let up = site.start(&["up", "--rate", "100"]);
    every_table_fills(&site);
    let environment = site.environment();
    let printed = testkit::python(
        SCRIPT,
        &[
            ("URL", environment["DASHBOARD"].as_str()),
            ("TRINO_PORT", environment["TRINO_PORT"].as_str()),
            ("CHROMIUM", CHROMIUM),
        ],
    );
    assert_eq!(printed.trim(), "ok");
    assert!(up.stop().success());
}
