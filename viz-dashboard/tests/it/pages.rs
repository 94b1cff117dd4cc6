//! Pages, the live stream, statements and the platform's parts, by HTTP.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::server::Server;

/// The newest event of each chart, once `wanted` charts have one.
async fn charts(server: &Server, query: &str, wanted: usize) -> BTreeMap<String, Value> {
    let url = format!("{}/api/dashboards/clickstream/live{query}", server.url);
    let mut response = server.client.get(url).send().await.unwrap();
    let mut text = String::new();
    let mut found = BTreeMap::new();
    while found.len() < wanted {
        let part = response.chunk().await.unwrap().expect("the stream goes on");
        text.push_str(std::str::from_utf8(&part).unwrap());
        while let Some((event, rest)) = text.split_once("\n\n") {
            let data = event.lines().find_map(|line| line.strip_prefix("data: "));
            if event.contains("event: chart") {
                let body: Value = serde_json::from_str(data.unwrap()).unwrap();
                found.insert(body["chart"].as_str().unwrap().to_owned(), body);
            }
            text = rest.to_owned();
        }
    }
    found
}

const EVENTS: &str = "5f0e0000-0000-4000-8000-000000000101";
const ACTIVITY: &str = "5f0e0000-0000-4000-8000-000000000105";
const COUNTRIES: &str = "5f0e0000-0000-4000-8000-000000000108";
const ALL: &str = "?time=No+filter";

#[tokio::test]
async fn every_chart_of_the_bundle_gets_its_rows() {
    let server = Server::start().await;
    let charts = charts(&server, ALL, 12).await;
    for (id, chart) in &charts {
        assert_eq!(chart["error"], Value::Null, "{id}");
        assert!(
            !chart["result"]["rows"].as_array().unwrap().is_empty(),
            "{id}"
        );
    }
    // 3,000 events and nine copies of each.
    assert_eq!(charts[EVENTS]["result"]["rows"], json!([[30_000]]));
    let columns = charts[ACTIVITY]["result"]["columns"].as_array().unwrap();
    let names: Vec<&Value> = columns.iter().map(|column| &column["name"]).collect();
    assert_eq!(names, ["window_start", "action_name", "events"]);
    server.stop().await;
}

#[tokio::test]
async fn a_filter_reaches_the_charts_that_have_its_column() {
    let server = Server::start().await;
    let some = charts(&server, &format!("{ALL}&f.country=PL&f.country=DE"), 12).await;
    let rows = some[COUNTRIES]["result"]["rows"].as_array().unwrap();
    let mut countries: Vec<&str> = rows.iter().map(|row| row[0].as_str().unwrap()).collect();
    countries.sort_unstable();
    assert_eq!(countries, ["DE", "PL"]);
    assert_ne!(some[EVENTS]["result"]["rows"], json!([[30_000]]));
    let activity = some[ACTIVITY]["result"]["rows"].as_array().unwrap();
    let n_events: u64 = activity.iter().map(|row| row[2].as_u64().unwrap()).sum();
    assert_eq!(n_events, 30_000, "activity has no country and stays whole");
    server.stop().await;
}

#[tokio::test]
async fn a_number_is_compared_only_with_a_span_that_the_data_fill() {
    let server = Server::start().await;
    let last = |time: &str| format!("?time=DATEADD(DATETIME(%22now%22),-{time})+:+now");
    // The events span a little more than two hours.
    let hour = charts(&server, &last("45,minute"), 12).await;
    assert!(hour[EVENTS]["before"]["rows"][0][0].as_u64().unwrap() > 0);
    assert_eq!(hour[EVENTS]["young"], false);
    let day = charts(&server, &last("2,hour"), 12).await;
    assert_eq!(day[EVENTS]["before"], Value::Null);
    assert_eq!(day[EVENTS]["young"], true);
    let all = charts(&server, ALL, 12).await;
    assert_eq!(all[EVENTS]["young"], false, "nothing was to be compared");
    server.stop().await;
}

#[tokio::test]
async fn a_new_snapshot_is_pushed_and_viewers_share_one_query() {
    let server = Server::start().await;
    let commit = server
        .client
        .post(format!("{}/test/commit", server.stand_in.url));
    let statements = async || -> usize {
        let url = format!("{}/test/statements", server.stand_in.url);
        let all: Vec<String> = server
            .client
            .get(url)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        all.iter()
            .filter(|sql| sql.contains("LIMIT 50\n") || sql.ends_with("LIMIT 50"))
            .count()
    };
    let (first, second) = tokio::join!(charts(&server, ALL, 12), charts(&server, ALL, 12));
    assert_eq!(first.len(), second.len());
    assert_eq!(statements().await, 1, "one query for two viewers");
    let waiting = async {
        let url = format!("{}/api/dashboards/clickstream/live{ALL}", server.url);
        let mut response = server.client.get(url).send().await.unwrap();
        let mut text = String::new();
        // Twelve events of what is known, then one per changed chart.
        while text.matches("event: chart").count() < 24 {
            text.push_str(std::str::from_utf8(&response.chunk().await.unwrap().unwrap()).unwrap());
            if text.matches("event: chart").count() == 12 {
                commit.try_clone().unwrap().send().await.unwrap();
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting)
        .await
        .unwrap();
    server.stop().await;
}

#[tokio::test]
async fn a_statement_is_followed_to_its_rows_and_downloaded() {
    let server = Server::start_with(|config| config.max_result_rows = 600).await;
    let id = server
        .begin("SELECT event_identifier, country FROM silver.clickstream ORDER BY 1;")
        .await;
    let path = format!("/api/queries/{id}");
    let report = testkit::wait_until(
        "the statement to end",
        Duration::from_secs(10),
        async || {
            let report = server.json(&path).await;
            (report["state"] != "running").then_some(report)
        },
    )
    .await;
    assert_eq!(report["state"], "finished", "{report}");
    assert_eq!(report["n_rows"], 600);
    assert_eq!(report["truncated"], true);
    let rest = server.json(&format!("{path}?after=590")).await;
    assert_eq!(rest["rows"].as_array().unwrap().len(), 10);
    let (status, csv) = server.text(&format!("{path}/data.csv")).await;
    assert_eq!(status, 200);
    assert_eq!(csv.lines().next(), Some("event_identifier,country"));
    assert_eq!(
        csv.lines().count(),
        30_001,
        "all rows, not only the kept ones"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_mistake_comes_with_its_place_and_a_cancel_reaches_the_engine() {
    let server = Server::start().await;
    let id = server.begin("SELECT nothing FROM nowhere").await;
    let failed = testkit::wait_until("the failure", Duration::from_secs(10), async || {
        let report = server.json(&format!("/api/queries/{id}")).await;
        (report["state"] == "failed").then_some(report)
    })
    .await;
    assert_eq!(failed["error"]["error_name"], "SYNTAX_ERROR");
    assert_eq!(
        failed["error"]["error_location"],
        json!({"line_number": 1, "column_number": 8})
    );

    let id = server.begin("SELECT 'slow'").await;
    let running = format!("{}/test/running", server.stand_in.url);
    let n_running = async || -> usize {
        let all: Vec<String> = server
            .client
            .get(&running)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        all.len()
    };
    testkit::wait_until("the query to run", Duration::from_secs(10), async || {
        (n_running().await == 1).then_some(())
    })
    .await;
    let url = format!("{}/api/queries/{id}", server.url);
    assert_eq!(
        server.client.delete(url).send().await.unwrap().status(),
        StatusCode::NO_CONTENT
    );
    testkit::wait_until(
        "the query to be gone",
        Duration::from_secs(10),
        async || (n_running().await == 0).then_some(()),
    )
    .await;
    assert_eq!(
        server.json(&format!("/api/queries/{id}")).await["state"],
        "cancelled"
    );
    server.stop().await;
}

#[tokio::test]
async fn the_platform_is_told_part_by_part() {
    let server = Server::start().await;
    let services = server.json("/api/platform/services").await;
    let states: Vec<&Value> = services["services"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["state"])
        .collect();
    assert_eq!(states, ["ready"; 6]);
    assert_eq!(services["services"][2]["detail"], "Stand-in 2.1");
    let jobs = server.json("/api/platform/jobs").await;
    let job = &jobs["jobs"][0];
    assert_eq!(job["name"], "clickstream");
    assert_eq!(job["operators"].as_array().unwrap().len(), 6);
    assert_eq!(job["edges"].as_array().unwrap().len(), 5);
    assert_eq!(job["operators"][0]["metrics"]["pendingRecords"], 412.0);
    assert_eq!(job["checkpoints"]["counts"]["completed"], 720);
    let tables = server.json("/api/platform/tables").await;
    let funnel = tables["tables"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["name"] == "funnel")
        .unwrap();
    assert_eq!(
        (
            &funnel["snapshots"],
            &funnel["files"],
            &funnel["delete_files"]
        ),
        (&json!(20), &json!(16), &json!(3))
    );
    let (status, topics) = server.text("/api/platform/topics").await;
    assert_eq!(status, 502, "{topics}");
    server.stop().await;
}

#[tokio::test]
async fn pages_and_files_are_served_with_their_guards() {
    let server = Server::start().await;
    for (path, wanted) in [
        ("/dashboards/clickstream", "Activity per minute"),
        ("/sql", "Run"),
        ("/platform", "Topics"),
    ] {
        let response = server
            .client
            .get(format!("{}{path}", server.url))
            .send()
            .await
            .unwrap();
        let policy = response.headers()["content-security-policy"]
            .to_str()
            .unwrap();
        assert!(policy.contains("script-src 'self';"), "{policy}");
        assert!(response.text().await.unwrap().contains(wanted), "{path}");
    }
    assert_eq!(server.text("/dashboards/none").await.0, 404);
    assert_eq!(server.text("/assets/none.js").await.0, 404);
    assert_eq!(server.text("/assets/../Cargo.toml").await.0, 404);
    let file = format!("{}/assets/vendor/echarts.min.js", server.url);
    let tag = server.client.get(&file).send().await.unwrap().headers()["etag"].clone();
    let again = server
        .client
        .get(&file)
        .header("if-none-match", tag)
        .send()
        .await
        .unwrap();
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(server.text("/readyz").await.0, 200);
    server.stop().await;
}

#[tokio::test]
async fn other_sites_cannot_make_a_browser_ask() {
    let server = Server::start().await;
    let ask = |method: Method, name: &'static str, value: &'static str| {
        let url = format!("{}/api/queries", server.url);
        let body = json!({"sql": "SELECT 1"});
        server
            .client
            .request(method, url)
            .header(name, value)
            .json(&body)
            .send()
    };
    assert_eq!(
        ask(Method::POST, "origin", "http://evil.example")
            .await
            .unwrap()
            .status(),
        403
    );
    assert_eq!(
        ask(Method::POST, "host", "evil.example")
            .await
            .unwrap()
            .status(),
        403
    );
    assert_eq!(
        ask(Method::POST, "x-none", "x").await.unwrap().status(),
        200
    );
    server.stop().await;
}

#[tokio::test]
async fn a_password_is_asked_for_where_one_is_set() {
    let server = Server::start_with(|config| config.password = "s3cret".to_owned()).await;
    let page = || server.client.get(format!("{}/sql", server.url));
    assert_eq!(page().send().await.unwrap().status(), 401);
    assert_eq!(
        page()
            .basic_auth("admin", Some("wrong"))
            .send()
            .await
            .unwrap()
            .status(),
        401
    );
    assert_eq!(
        page()
            .basic_auth("admin", Some("s3cret"))
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    server.stop().await;
}
