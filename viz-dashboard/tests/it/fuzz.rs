//! Input that nobody meant: requests to the pages, and answers of an engine that is not one.
//!
//! Each runs for a second, or for `STREAMFORGE_FUZZ_SECONDS`.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::server::Server;

fn requests() -> Vec<Vec<u8>> {
    let get =
        |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let body = r#"{"sql": "SELECT 1"}"#;
    let post = format!(
        "POST /api/queries HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nOrigin: http://localhost\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let id = "/api/queries/12151fd2-7586-11e9-8f9e-2a86e4085a59";
    let mut requests = vec![post, get(id), get(id).replace("GET", "DELETE")];
    requests.extend(
        [
            "/",
            "/dashboards/clickstream?range=Last%20hour&Country=PL",
            "/sql?q=SELECT%201",
            "/platform",
            "/assets/js/lib.js",
            "/api/dashboards/clickstream/filters/NATIVE_FILTER-country",
            "/api/dashboards/clickstream/charts/0/sql?range=now",
            "/api/dashboards/clickstream/charts/0/data.csv",
            "/api/names",
            "/metrics",
        ]
        .map(get),
    );
    requests.into_iter().map(String::into_bytes).collect()
}

#[test]
fn no_request_brings_the_pages_down() {
    let runtime = Runtime::new().unwrap();
    let server = runtime.block_on(Server::start());
    let address = server.url.trim_start_matches("http://").to_owned();
    testkit::fuzz_http(
        &address,
        &requests(),
        |status, answer| assert_ne!(status, "500", "{}", String::from_utf8_lossy(answer)),
        || assert_eq!(runtime.block_on(server.text("/sql")).0, 200),
    );
    runtime.block_on(server.stop());
}

#[test]
fn an_engine_that_answers_anything_is_survived() {
    let runtime = Runtime::new().unwrap();
    let answer = Arc::new(Mutex::new(Vec::new()));
    let given = Arc::clone(&answer);
    let (engine, mut serving) = runtime.block_on(async move {
        let router = Router::new().fallback(move || {
            let body = given.lock().unwrap().clone();
            async move { ([("content-type", "application/json")], body) }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        (url, serving)
    });
    let trino = engine.parse().unwrap();
    let server = runtime.block_on(Server::start_with(|config| config.trino_url = trino));
    let page = json!({
        "id": "20260101_000000_00000_aaaaa", "infoUri": engine, "nextUri": format!("{engine}/v1/statement/executing/1"),
        "columns": [{"name": "a", "type": "bigint"}, {"name": "b", "type": "varchar"}], "data": [[1, "x"], [null, "y"]],
        "stats": {"state": "RUNNING", "progressPercentage": 1.5, "elapsedTimeMillis": 3, "totalSplits": 2}, "warnings": [],
    });
    let failed = json!({
        "id": "1", "stats": {"state": "FAILED"},
        "error": {"message": "no", "errorName": "X", "errorLocation": {"lineNumber": 1, "columnNumber": 2}},
    });
    let corpus = [page, failed].map(|answer| answer.to_string().into_bytes());
    let mut n_ended = 0_u64;
    testkit::fuzz(&corpus, |bytes| {
        *answer.lock().unwrap() = bytes.to_vec();
        runtime.block_on(async {
            let id = server.begin("SELECT 1").await;
            let path = format!("/api/queries/{id}");
            // What keeps saying that there is more is cancelled; all else has come to its end by itself.
            server
                .client
                .delete(format!("{}{path}", server.url))
                .send()
                .await
                .unwrap();
            let report: Value =
                testkit::wait_until("the statement's end", Duration::from_secs(20), async || {
                    let report = server.json(&path).await;
                    (report["state"] != "running").then_some(report)
                })
                .await;
            n_ended += 1;
            if report["state"] == "failed" {
                assert!(report["error"]["message"].is_string(), "{report}");
            }
        });
    });
    assert!(n_ended > 0);
    runtime.block_on(async {
        server.stop().await;
        serving.abort_all();
        while serving.join_next().await.is_some() {}
    });
}
