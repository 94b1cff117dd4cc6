//! What a statement may take of time and memory, and how soon it lets go.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Client, Server};

/// Ten thousand numbers, a million, all of one key, and far more pairs than anyone waits for.
const WITH: &str = "with n(x) as (select x from unnest(sequence(1, 10000)) t(x)), \
                    m(k, x) as (select 1, a.x * 10000 + b.x from n a, n b where b.x <= 100) ";

/// Statements that would run for hours, each busy in another operator and without a row to show.
const ENDLESS: [&str; 6] = [
    "select count(*) from n a, n b, n c, n d where a.x + b.x + c.x + d.x < 0",
    "select count(*) from m a join m b on a.k = b.k and a.x + b.x < 0",
    "select count(*) from m a left join m b on a.x < -b.x",
    "select sum(a.x * b.x % 7) from m a, m b",
    "select a.x from m a, m b where a.x > 0 order by a.x + b.x limit 3",
    "select max(y) from m a cross join m b cross join unnest(sequence(a.x, a.x + 5)) u(y)",
];

async fn state(client: &Client, id: &str) -> Value {
    let url = format!("{}/v1/query/{id}", client.url);
    client
        .http
        .get(url)
        .send()
        .await
        .expect("the server answers with JSON")
        .json()
        .await
        .expect("the server answers with JSON")
}

/// A statement once it runs: its id, and where its next page is.
async fn running(client: &Client, sql: &str) -> (String, String) {
    let first = client.post(sql).await.json::<Value>().await;
    let first = first.expect("the server answers with JSON");
    let text = |member: &str| first[member].as_str().expect("it is a text").to_owned();
    let id = text("id");
    testkit::wait_until(
        "the statement to run",
        Duration::from_secs(20),
        async || {
            let found = state(client, &id).await;
            assert_eq!(found["errorCode"], Value::Null, "{sql}: {found}");
            (found["state"] == "RUNNING").then_some(())
        },
    )
    .await;
    (id, text("nextUri"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_statement_is_cancelled_at_once() {
    // One thread and one slot: whatever still runs keeps everybody else waiting.
    let server = Server::start_with(|config| {
        config.threads = 1;
        config.max_running = 1;
    })
    .await;
    let client = server.client();
    for sql in ENDLESS {
        let sql = format!("{WITH}{sql}");
        let (id, next) = running(&client, &sql).await;
        let cancelled = Instant::now();
        let answer = client.http.delete(next).send().await.unwrap();
        assert_eq!(answer.status(), 204);
        let found = state(&client, &id).await;
        assert_eq!(found["state"], "FAILED");
        assert_eq!(found["errorCode"]["name"], "USER_CANCELED", "{sql}");
        assert_eq!(found["errorCode"]["type"], "USER_ERROR");
        assert_eq!(client.text("select 1").await, "1");
        let took = cancelled.elapsed();
        assert!(took < Duration::from_secs(5), "{sql}: {took:?}");
        assert_eq!(
            client
                .text(&format!("select state, error_type, error_code from system.runtime.queries where query_id = '{id}'"))
                .await,
            "FAILED | USER_ERROR | USER_CANCELED"
        );
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_statement_keeps_nobody_waiting() {
    let server = Server::start_with(|config| config.threads = 1).await;
    let client = server.client();
    for sql in ENDLESS {
        let sql = format!("{WITH}{sql}");
        let (id, next) = running(&client, &sql).await;
        // Twice: what has run before may still hold the thread when the first begins.
        for _ in 0..2 {
            let find = format!("select state from system.runtime.queries where query_id = '{id}'");
            let state = tokio::time::timeout(Duration::from_secs(60), client.text(&find)).await;
            assert_eq!(state.as_deref(), Ok("RUNNING"), "{sql}");
        }
        assert_eq!(client.http.delete(next).send().await.unwrap().status(), 204);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_can_be_killed_from_another_connection() {
    let server = Server::start().await;
    let client = server.client();
    let sql = format!("{WITH}{}", ENDLESS[0]);
    let first: Value = client.post(&sql).await.json().await.unwrap();
    let id = first["id"].as_str().unwrap().to_owned();
    let kill = format!("call system.runtime.kill_query(query_id => '{id}', message => 'enough')");
    assert_eq!(client.text(&kill).await, "true");
    let page = client
        .http
        .get(first["nextUri"].as_str().unwrap())
        .send()
        .await
        .unwrap();
    let answer = client.follow(&sql, page).await;
    let error = answer.error.unwrap();
    assert_eq!(error["errorName"], "ADMINISTRATIVELY_KILLED");
    assert_eq!(error["message"], "Query killed. Message: enough");
    server.stop().await;
}

/// Statements of which one function makes gigabytes of one batch: as texts, as arrays, and in a lambda.
const GREEDY: [&str; 3] = [
    "select max(length(lpad('x', 1000000, cast(x as varchar)))) from n",
    "select max(cardinality(sequence(x, x + 9999))) from n",
    "select max(cardinality(transform(sequence(1, 10000), y -> y + x))) from n",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_makes_too_much_of_a_batch_is_stopped() {
    let server = Server::start().await;
    let client = server.client();
    for sql in GREEDY {
        let answer = client.run(&format!("{WITH}{sql}")).await;
        let error = answer
            .error
            .unwrap_or_else(|| panic!("{sql}: {:?}", answer.rows));
        assert_eq!(
            error["errorName"], "EXCEEDED_LOCAL_MEMORY_LIMIT",
            "{sql}: {error}"
        );
        assert_eq!(error["errorType"], "INSUFFICIENT_RESOURCES");
        assert_eq!(client.text("select 1").await, "1");
    }
    // The same of fewer rows is well.
    let few = "select sum(cardinality(sequence(x, x + 9999))) from n where x <= 100";
    assert_eq!(client.text(&format!("{WITH}{few}")).await, "1000000");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn arrays_go_into_unnest_a_few_rows_at_a_time() {
    let server = Server::start().await;
    let client = server.client();
    let few = format!("{WITH}, few as (select x from n where x <= 3600) ");
    // 288 MB in one batch are more than a function may make of it ...
    let whole = format!("{few} select max(cardinality(sequence(x, x + 9999))) from few");
    let refused = client.run(&whole).await.error;
    let refused = refused.expect("that is too much for a batch");
    assert_eq!(refused["errorName"], "EXCEEDED_LOCAL_MEMORY_LIMIT");
    // ... and none too many where their elements become rows.
    let opened = format!(
        "{few} select count(*), max(y) from few cross join unnest(sequence(x, x + 9999)) u(y)"
    );
    let answer = client.run(&opened).await;
    assert_eq!(answer.error, None);
    assert_eq!(answer.rows, [[json!(36_000_000), json!(13_599)]]);
    server.stop().await;
}
