//! Requests that nobody meant, metadata that nobody wrote, clients that stall: an error of the right kind, and the
//! catalog lives.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::server::{Server, append, error, file, new_table, schema};

/// What stands in for words of a request: other types, numbers at the edge, and what a path might be tricked with.
const WORDS: [&str; 40] = [
    "null",
    "true",
    "0",
    "-1",
    "1",
    "2",
    "3",
    "999",
    "1000",
    "2147483647",
    "2147483648",
    "4294967296",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551616",
    "1e308",
    "1.5",
    "\"\"",
    "\"x\"",
    "{}",
    "[]",
    "[[]]",
    "{\"a\":\"b\"}",
    "main",
    "demo",
    "events",
    "..",
    "/",
    "%2e%2e",
    "%1F",
    "%00",
    "%",
    "\\u0000",
    "\\ud800",
    "file:///etc/passwd",
    "s3://other/x",
    "day",
    "bucket[0]",
    "truncate[4294967295]",
    "decimal(99,99)",
];

/// The address behind a server's URL.
fn address(server: &Server) -> String {
    server.url.replace("http://", "")
}

/// The status of the answer to `METHOD PATH` on the first line and a body behind it, and the answer.
fn send(address: &str, input: &str) -> (u16, String) {
    let (line, body) = input.split_once('\n').unwrap_or((input, ""));
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "{line} HTTP/1.1\r\nhost: catalog\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    // It may have been refused before all was read.
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(body.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.get(9..12).and_then(|status| status.parse().ok());
    (status.unwrap_or(0), answer)
}

/// One request for every endpoint, and a commit for every update.
fn requests(table: &Value) -> Vec<String> {
    let path = "/v1/namespaces/demo/tables";
    let events = format!("{path}/events");
    let ident = json!({"namespace": ["demo"], "name": "events"});
    let other = json!({"namespace": ["demo"], "name": "other"});
    let location = table["metadata-location"].as_str().unwrap();
    let mut requests = vec![
        "GET /v1/config?warehouse=\n".to_owned(),
        "GET /v1/namespaces?parent=demo&pageToken=&pageSize=1\n".to_owned(),
        "HEAD /v1/namespaces/demo\n".to_owned(),
        format!("GET {path}?pageToken=a&pageSize=2\n"),
        format!("GET {events}?snapshots=refs\n"),
        format!("DELETE {path}/other?purgeRequested=true\n"),
        format!(
            "POST /v1/namespaces\n{}",
            json!({"namespace": ["demo", "sub"], "properties": {"location": "x"}})
        ),
        format!(
            "POST /v1/namespaces/demo/properties\n{}",
            json!({"removals": ["a"], "updates": {"b": "c"}})
        ),
        format!(
            "POST /v1/tables/rename\n{}",
            json!({"source": other, "destination": {"namespace": ["demo"], "name": "third"}})
        ),
        format!(
            "POST /v1/namespaces/demo/register\n{}",
            json!({"name": "again", "metadata-location": location})
        ),
        format!(
            "POST {events}/metrics\n{}",
            json!({"report-type": "scan-report"})
        ),
        format!(
            "POST /v1/transactions/commit\n{}",
            json!({"table-changes": [{"identifier": ident, "requirements": [], "updates": []}]})
        ),
    ];
    let mut wanted = new_table("other");
    wanted["partition-spec"] = json!({"spec-id": 0, "fields": [
        {"source-id": 2, "field-id": 1000, "name": "day", "transform": "day"}]});
    wanted["write-order"] = json!({"order-id": 1, "fields": [
        {"transform": "identity", "source-id": 1, "direction": "asc", "null-order": "nulls-first"}]});
    requests.push(format!("POST {path}\n{wanted}"));
    for update in updates(table) {
        let commit = json!({"identifier": ident, "requirements": [], "updates": [update]});
        requests.push(format!("POST {events}\n{commit}"));
    }
    for mut requirement in append(table, 1, 1, None)["requirements"]
        .as_array()
        .unwrap()
        .clone()
    {
        requirement["snapshot-id"] = json!(1);
        let commit = json!({"requirements": [requirement], "updates": []});
        requests.push(format!("POST {events}\n{commit}"));
    }
    requests
}

fn updates(table: &Value) -> Vec<Value> {
    let mut wider = schema();
    wider["schema-id"] = json!(1);
    let more = json!({"id": 3, "name": "more", "required": false, "type": {
        "type": "map", "key-id": 4, "key": "string", "value-id": 5, "value": "double", "value-required": false}});
    wider["fields"].as_array_mut().unwrap().push(more);
    let mut updates = append(table, 1, 1, None)["updates"]
        .as_array()
        .unwrap()
        .clone();
    updates.extend(
        append(table, 2, 2, Some(1))["updates"]
            .as_array()
            .unwrap()
            .clone(),
    );
    updates.extend([
        json!({"action": "assign-uuid", "uuid": table["metadata"]["table-uuid"]}),
        json!({"action": "upgrade-format-version", "format-version": 3}),
        json!({"action": "add-schema", "schema": wider, "last-column-id": 5}),
        json!({"action": "set-current-schema", "schema-id": -1}),
        json!({"action": "add-spec", "spec": {"spec-id": 1, "fields": [
            {"source-id": 1, "field-id": 1001, "name": "b", "transform": "bucket[16]"}]}}),
        json!({"action": "set-default-spec", "spec-id": -1}),
        json!({"action": "add-sort-order", "sort-order": {"order-id": 1, "fields": [
            {"transform": "identity", "source-id": 1, "direction": "desc", "null-order": "nulls-last"}]}}),
        json!({"action": "set-default-sort-order", "sort-order-id": -1}),
        json!({"action": "remove-snapshots", "snapshot-ids": [2]}),
        json!({"action": "remove-snapshot-ref", "ref-name": "main"}),
        json!({"action": "set-location", "location": table["metadata"]["location"]}),
        json!({"action": "set-properties", "updates": {"write.metadata.previous-versions-max": "1"}}),
        json!({"action": "set-properties", "updates": {"write.metadata.path": "x", "format-version": "2"}}),
        json!({"action": "remove-properties", "removals": ["owner"]}),
        json!({"action": "remove-schemas", "schema-ids": [1]}),
        json!({"action": "remove-partition-specs", "spec-ids": [1]}),
        json!({"action": "set-statistics", "snapshot-id": 1, "statistics": {
            "snapshot-id": 1, "statistics-path": "p", "file-size-in-bytes": 1, "file-footer-size-in-bytes": 1,
            "blob-metadata": []}}),
        json!({"action": "remove-statistics", "snapshot-id": 1}),
    ]);
    updates
}

#[test]
fn no_request_brings_the_catalog_down() {
    let panics = testkit::Panics::count();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(async { Server::start().await.with_namespace().await });
    let table = runtime.block_on(server.table("events"));
    let address = address(&server);
    let corpus = requests(&table);
    for request in &corpus {
        let (status, answer) = send(&address, request);
        assert!((200..500).contains(&status), "{request}\n{answer}");
    }
    let mut statuses = std::collections::BTreeMap::<u16, u64>::new();
    testkit::fuzz_text(&corpus, &WORDS, |input| {
        let (status, answer) = send(&address, input);
        *statuses.entry(status).or_default() += 1;
        assert!((200..500).contains(&status), "{input}\n{answer}");
    });
    let (status, listed) = send(&address, "GET /v1/namespaces/demo/tables\n");
    assert_eq!(status, 200, "{listed}");
    assert!(
        statuses.contains_key(&200) && statuses.contains_key(&400),
        "{statuses:?}"
    );
    assert_eq!(panics.so_far(), 0);
    runtime.block_on(server.stop());
}

#[test]
fn no_metadata_file_brings_the_catalog_down() {
    let panics = testkit::Panics::count();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(async { Server::start().await.with_namespace().await });
    let address = address(&server);
    let table = runtime.block_on(server.table("events"));
    let mut corpus = Vec::new();
    let mut keep = |location: &Value| {
        corpus.push(std::fs::read_to_string(file(location.as_str().unwrap())).unwrap());
    };
    keep(&table["metadata-location"]);
    for update in updates(&table) {
        let commit = json!({"requirements": [], "updates": [update]});
        let path = "/v1/namespaces/demo/tables/events";
        let (status, made) = runtime.block_on(server.post(path, commit));
        if status == 200 {
            keep(&made["metadata-location"]);
        }
    }
    assert!(corpus.len() > 10, "{}", corpus.len());
    let path = server.warehouse().join("odd.metadata.json");
    let location = format!("file://{}", path.display());
    let register = json!({"name": "odd", "metadata-location": location});
    let change = json!({"requirements": [], "updates": [
        {"action": "set-properties", "updates": {"a": "b"}}]});
    let (mut n_taken, mut n_refused) = (0, 0);
    testkit::fuzz_text(&corpus, &WORDS, |input| {
        std::fs::write(&path, input).unwrap();
        let (status, answer) = send(
            &address,
            &format!("POST /v1/namespaces/demo/register\n{register}"),
        );
        if status == 400 {
            n_refused += 1;
            return;
        }
        assert_eq!(status, 200, "{answer}");
        n_taken += 1;
        // What was taken can be read, and changed or refused, and dropped.
        let odd = "/v1/namespaces/demo/tables/odd";
        let (status, answer) = send(&address, &format!("GET {odd}\n"));
        assert_eq!(status, 200, "{answer}");
        let (status, answer) = send(&address, &format!("POST {odd}\n{change}"));
        assert!((200..500).contains(&status), "{answer}");
        let (status, answer) = send(&address, &format!("DELETE {odd}\n"));
        assert_eq!(status, 204, "{answer}");
    });
    assert!(n_taken > 0 && n_refused > 0, "{n_taken} {n_refused}");
    assert_eq!(panics.so_far(), 0);
    runtime.block_on(server.stop());
}

/// What a stalled connection gets before it is closed.
async fn until_closed(stream: &mut tokio::net::TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset is an end too.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

async fn begin(server: &Server, bytes: &[u8]) -> tokio::net::TcpStream {
    let mut stream = tokio::net::TcpStream::connect(address(server))
        .await
        .unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

const HALF: &[u8] =
    b"POST /v1/namespaces HTTP/1.1\r\nhost: catalog\r\ncontent-length: 4000\r\n\r\n{\"namespace\"";

#[tokio::test]
async fn a_client_that_stalls_is_let_go() {
    let server = Server::start_with(|config| {
        config.header_timeout = Duration::from_millis(200);
        config.stall_timeout = Duration::from_millis(200);
        config.max_connections = 4;
    })
    .await;
    let mut silent = begin(&server, b"").await;
    let mut in_head = begin(&server, b"GET /v1/config HTTP/1.1\r\nhos").await;
    let mut in_body = begin(&server, HALF).await;
    let mut idle = begin(&server, b"GET /healthz HTTP/1.1\r\nhost: catalog\r\n\r\n").await;
    // All connections there may be are taken; the next one is served once they are let go.
    assert_eq!(server.get("/v1/config").await.0, 200);
    assert_eq!(until_closed(&mut silent).await, "");
    let answer = until_closed(&mut in_head).await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 408"),
        "{answer}"
    );
    let answer = until_closed(&mut in_body).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(
        answer.contains("the request body stopped coming"),
        "{answer}"
    );
    let answer = until_closed(&mut idle).await;
    assert!(answer.ends_with("ok\n"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn bodies_wait_for_the_memory_they_need_and_other_requests_do_not() {
    let server = Server::start_with(|config| {
        config.stall_timeout = Duration::from_secs(2);
        config.max_request_size = bytesize::ByteSize::kib(4);
        config.request_memory = bytesize::ByteSize::kib(4);
    })
    .await;
    let begun = Instant::now();
    let mut half = begin(&server, HALF).await;
    testkit::wait_until("the body to be read", Duration::from_secs(10), async || {
        let (_, metrics) = server.get("/v1/namespaces").await;
        metrics["namespaces"].as_array().map(|_| ())
    })
    .await;
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "a request without a body waited"
    );
    let made = server
        .post("/v1/namespaces", json!({"namespace": ["a"]}))
        .await;
    assert_eq!(made.0, 200, "{made:?}");
    let large = server
        .post("/v1/namespaces", json!({"namespace": ["x".repeat(5000)]}))
        .await;
    assert_eq!(error(&large).0, 413);
    assert!(until_closed(&mut half).await.starts_with("HTTP/1.1 408"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_no_answer_is_let_go() {
    let server = Server::start_with(|config| {
        config.stall_timeout = Duration::from_millis(200);
    })
    .await
    .with_namespace()
    .await;
    let mut wide = new_table("wide");
    wide["properties"] = json!({"text": "x".repeat(1 << 20)});
    assert_eq!(server.post("/v1/namespaces/demo/tables", wide).await.0, 200);
    let address = address(&server);
    let cut = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        let request = b"GET /v1/namespaces/demo/tables/wide HTTP/1.1\r\nhost: catalog\r\n\r\n";
        // The answers fill every buffer on the way, then the requests do, and then the connection is cut.
        let cut = (0..1_000_000).find_map(|_| stream.write_all(request).err());
        // It may be closed already.
        let _ = stream.shutdown(Shutdown::Both);
        cut
    });
    assert!(cut.await.unwrap().is_some());
    assert_eq!(server.get("/v1/config").await.0, 200);
    server.stop().await;
}
