//! The pages as a person uses them, in headless Chromium (`STREAMFORGE_PEERS=chromium`).

use crate::server::Server;

const SCRIPT: &str = concat!(
    include_str!("chromium.py"),
    "\n\n",
    include_str!("browser.py")
);
const CHROMIUM: &str = "/usr/bin/chromium";

#[tokio::test]
async fn the_pages_work_in_chromium() {
    if !testkit::peer("chromium") {
        return;
    }
    assert!(
        std::path::Path::new(CHROMIUM).is_file(),
        "STREAMFORGE_PEERS names chromium, but {CHROMIUM} is missing"
    );
    let server = Server::start().await;
    let (url, stand_in) = (server.url.clone(), server.stand_in.url.clone());
    let printed = tokio::task::spawn_blocking(move || {
        let environment = [
            ("URL", url.as_str()),
            ("STAND_IN", stand_in.as_str()),
            ("CHROMIUM", CHROMIUM),
        ];
        testkit::python(SCRIPT, &environment)
    })
    .await
    .unwrap();
    assert_eq!(printed.trim(), "ok");
    server.stop().await;
}
