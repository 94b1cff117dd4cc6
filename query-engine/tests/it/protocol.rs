//! The protocol's own rules: paging, replay, cancellation, headers, bad input.

use serde_json::Value;

use crate::client::Server;

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_replayed_and_skipping_is_gone() {
    let server = Server::start_with(|config| config.page_size = bytesize::ByteSize::kib(1)).await;
    let client = server.client();
    let sql = "select x, 'some text to fill the page' from unnest(sequence(1, 2000)) t(x)";
    let answer = client.run(sql).await;
    assert_eq!(answer.rows.len(), 2000);
    assert!(answer.pages > 10, "{} pages", answer.pages);
    let first: Value = client.post(sql).await.json().await.unwrap();
    let next = first["nextUri"].as_str().unwrap().to_owned();
    let get = |uri: String| {
        let http = client.http.clone();
        async move { http.get(uri).send().await.unwrap() }
    };
    let once = get(next.clone()).await.text().await.unwrap();
    let again = get(next.clone()).await.text().await.unwrap();
    assert_eq!(once, again);
    let (base, token) = next.rsplit_once('/').unwrap();
    let beyond = format!("{base}/{}", token.parse::<u64>().unwrap() + 7);
    assert_eq!(get(beyond).await.status(), 410);
    let id = first["id"].as_str().unwrap();
    assert_eq!(
        get(next.replace(id, "20260101_000000_00000_aaaaa"))
            .await
            .status(),
        404
    );
    let cancelled = client.http.delete(next.clone()).send().await.unwrap();
    assert_eq!(cancelled.status(), 204);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_live_in_headers() {
    let server = Server::start().await;
    let client = server.client();
    let header = |answer: &crate::client::Answer, name: &str| {
        answer
            .headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.clone())
    };
    let prepared = client.run("PREPARE p FROM SELECT ? + 1 AS n").await;
    assert_eq!(
        header(&prepared, "x-trino-added-prepare").unwrap(),
        "p=SELECT+%3F+%2B+1+AS+n"
    );
    let with = client
        .clone()
        .with("x-trino-prepared-statement", "p=SELECT+%3F+%2B+1+AS+n");
    assert_eq!(with.text("EXECUTE p USING 41").await, "42");
    assert_eq!(with.text("DESCRIBE INPUT p").await, "0 | unknown");
    assert_eq!(
        with.text("DESCRIBE OUTPUT p").await,
        "n | (empty) | (empty) | (empty) | integer | 4 | true"
    );
    assert_eq!(
        client
            .text("EXECUTE IMMEDIATE 'SELECT ?, ?' USING 'a', DATE '2020-01-01'")
            .await,
        "a | 2020-01-01"
    );
    assert!(
        client
            .text("EXECUTE IMMEDIATE 'SELECT ?' USING 1, 2")
            .await
            .starts_with("INVALID_PARAMETER_USAGE")
    );
    let set = client.run("SET SESSION query_max_run_time = '1h'").await;
    assert_eq!(
        header(&set, "x-trino-set-session").unwrap(),
        "query_max_run_time=1h"
    );
    assert!(
        client
            .text("SET SESSION nope = 1")
            .await
            .starts_with("INVALID_SESSION_PROPERTY")
    );
    let begun = client.run("START TRANSACTION").await;
    let id = header(&begun, "x-trino-started-transaction-id").unwrap();
    let ended = client
        .clone()
        .with("x-trino-transaction-id", &id)
        .run("COMMIT")
        .await;
    assert_eq!(
        header(&ended, "x-trino-clear-transaction-id").unwrap(),
        "true"
    );
    assert_eq!(
        client
            .clone()
            .with("x-trino-time-zone", "America/New_York")
            .text("select current_timezone()")
            .await,
        "America/New_York"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_zone_is_in_the_sessions() {
    let server = Server::start().await;
    let berlin = server.client().with("x-trino-time-zone", "Europe/Berlin");
    let utc = "(timestamp '2026-01-01 00:00:00.000000 UTC' at time zone 'UTC')";
    let same = format!("select {utc} = timestamp '2026-01-01 01:00:00'");
    assert_eq!(berlin.text(&same).await, "true");
    let before =
        format!("select date '2026-01-01' < {utc}, {utc} - timestamp '2026-01-01 00:30:00'");
    assert_eq!(berlin.text(&before).await, "true | 0 00:30:00.000");
    let angeles = server
        .client()
        .with("x-trino-time-zone", "America/Los_Angeles");
    let day = "select date_diff('day', timestamp '2026-01-01 00:00:00.000000 UTC', cast(timestamp '2026-01-01 16:00:00' as timestamp(3) with time zone))";
    assert_eq!(angeles.text(day).await, "1");
    let mixed = format!("select if(true, {utc}, date '2026-01-01')");
    assert!(angeles.text(&mixed).await.contains("mixing time zones"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_gets_the_right_error_and_the_server_lives() {
    let server = Server::start().await;
    let client = server.client();
    assert_eq!(client.post("").await.status(), 400);
    let nobody = client
        .http
        .post(format!("{}/v1/statement", client.url))
        .body("select 1")
        .send()
        .await
        .unwrap();
    assert_eq!(nobody.status(), 400);
    let bytes = client
        .http
        .post(format!("{}/v1/statement", client.url))
        .header("x-trino-user", "u")
        .body(vec![0xff, 0xfe])
        .send()
        .await
        .unwrap();
    assert_eq!(bytes.status(), 400);
    assert!(
        client
            .text(&format!("select '{}'", "x".repeat(1_100_000)))
            .await
            .starts_with("QUERY_TEXT_TOO_LARGE")
    );
    // The server answers 413 without reading on, so the client may see the answer or a closed connection.
    let huge = reqwest::Client::new()
        .post(format!("{}/v1/statement", client.url))
        .header("x-trino-user", "u")
        .body("x".repeat(3_000_000))
        .send()
        .await;
    assert!(huge.is_err() || huge.is_ok_and(|answer| answer.status() == 413));
    let deep = format!("select {}1{}", "(".repeat(50_000), ")".repeat(50_000));
    assert!(client.text(&deep).await.contains("nested too deeply"));
    let chain = format!("select 1{}", " + 1".repeat(60));
    assert_eq!(client.text(&chain).await, "61");
    let nested = format!("select {}1{}", "abs(".repeat(40), ")".repeat(40));
    assert_eq!(client.text(&nested).await, "1");
    let conditions = format!(
        "select count(*) from (values 1) t(x) where {} x = 1",
        "x < 9 and ".repeat(300)
    );
    assert_eq!(client.text(&conditions).await, "1");
    assert!(
        client
            .text("selec 1")
            .await
            .starts_with("SYNTAX_ERROR: line 1:1: mismatched input 'selec'")
    );
    assert_eq!(client.text("select 1;").await, "1");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_and_time_are_bounded() {
    let server = Server::start_with(|config| {
        config.query_max_memory = bytesize::ByteSize::mib(8);
        config.max_running = 1;
        config.max_queued = 1;
    })
    .await;
    let client = server.client();
    let sorted = "select a.x, b.x, c.x, count(*) from unnest(sequence(1, 3000)) a(x), unnest(sequence(1, 3000)) b(x), unnest(sequence(1, 100)) c(x) group by 1, 2, 3";
    let found = client.text(sorted).await;
    assert!(
        found.starts_with("EXCEEDED_LOCAL_MEMORY_LIMIT: Query exceeded per-node memory limit"),
        "{found}"
    );
    let endless = "select count(*) from unnest(sequence(1, 10000)) a(x), unnest(sequence(1, 10000)) b(x), unnest(sequence(1, 10000)) c(x) where a.x + b.x + c.x < 0";
    let limited = client
        .clone()
        .with("x-trino-session", "query_max_run_time=1s");
    assert!(
        limited
            .text(endless)
            .await
            .starts_with("EXCEEDED_TIME_LIMIT")
    );
    let running: Value = client.post(endless).await.json().await.unwrap();
    let waiting: Value = client.post("select 1").await.json().await.unwrap();
    assert!(
        client
            .text("select 1")
            .await
            .starts_with("QUERY_QUEUE_FULL")
    );
    let stop = |body: &Value| client.http.delete(body["nextUri"].as_str().unwrap()).send();
    assert_eq!(stop(&running).await.unwrap().status(), 204);
    // The slot is free when the cancelled query has ended, which may be later than one long poll.
    let next = waiting["nextUri"].as_str().unwrap();
    let page = client.http.get(next).send().await.unwrap();
    let answer = client.follow("select 1", page).await;
    assert_eq!(answer.error, None);
    assert_eq!(answer.rows, [[1]]);
    server.stop().await;
}
