//! Input that nobody meant: requests, statements and files changed at random, sent to a running server.
//!
//! Each runs for a second, or for `STREAMFORGE_FUZZ_SECONDS`. The server answers as the protocol says, and lives.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;
use tokio::runtime::Runtime;

use crate::client::{Client, Server};
use crate::lake::Lake;

/// Counts panics of the threads that serve requests. A query that panics says so in its answer, and a damaged file may
/// make the decoder panic, which is caught.
fn count_panics() -> Arc<AtomicU64> {
    let count = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&count);
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let thread = std::thread::current();
        if thread.name() == Some("tokio-rt-worker") {
            counter.fetch_add(1, Ordering::SeqCst);
        }
        before(info);
    }));
    count
}

/// A request as its bytes are.
fn request(start: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut text = format!("{start} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    text.push_str(body);
    text.into_bytes()
}

fn requests() -> Vec<Vec<u8>> {
    let user = ("X-Trino-User", "u");
    let statement = "POST /v1/statement";
    vec![
        request(statement, &[user], "select 1"),
        request(
            statement,
            &[
                user,
                ("X-Trino-Session", "query_max_run_time=1s,query_priority=2"),
                ("X-Trino-Catalog", "iceberg"),
                ("X-Trino-Schema", "s"),
                ("X-Trino-Time-Zone", "America/New_York"),
                ("X-Trino-Client-Capabilities", "PARAMETRIC_DATETIME,PATH"),
                ("X-Trino-Client-Tags", "a,b"),
                ("X-Trino-Transaction-Id", "NONE"),
            ],
            "select current_timezone(), now()",
        ),
        request(
            statement,
            &[
                user,
                (
                    "X-Trino-Prepared-Statement",
                    "p=SELECT+%3F+%2B+1,q=select+1",
                ),
            ],
            "EXECUTE p USING 41",
        ),
        request(
            statement,
            &[
                ("X-Presto-User", "u"),
                ("X-Trino-Role", "system=ROLE%7Badmin%7D"),
                ("X-Trino-Extra-Credential", "a=b"),
                ("X-Forwarded-Host", "h:1"),
                ("X-Forwarded-Proto", "https"),
                ("Accept-Encoding", "gzip"),
            ],
            "SET SESSION query_priority = 3",
        ),
        request(
            "GET /v1/statement/executing/20260101_000000_00000_aaaaa/y123/1",
            &[user],
            "",
        ),
        request(
            "DELETE /v1/statement/queued/20260101_000000_00000_aaaaa/y123/0",
            &[user],
            "",
        ),
        request("GET /v1/query/20260101_000000_00000_aaaaa", &[user], ""),
        request(
            "PUT /v1/query/20260101_000000_00000_aaaaa/killed",
            &[user],
            "because",
        ),
        request("GET /ui/query.html?20260101_000000_00000_aaaaa", &[], ""),
        request("HEAD /v1/statement", &[], ""),
        request("GET /v1/info", &[], ""),
    ]
}

#[test]
fn no_request_brings_the_server_down() {
    let panics = count_panics();
    let runtime = Runtime::new().unwrap();
    let server = runtime.block_on(Server::start());
    let client = server.client();
    let address = server.url.trim_start_matches("http://").to_owned();
    testkit::fuzz_http(
        &address,
        &requests(),
        |status, answer| {
            let answer = String::from_utf8_lossy(answer);
            assert!(!status.starts_with('5'), "{answer}");
        },
        || assert_eq!(runtime.block_on(client.text("select 1")), "1"),
    );
    assert_eq!(runtime.block_on(client.text("select 1")), "1");
    assert_eq!(panics.load(Ordering::SeqCst), 0);
    runtime.block_on(server.stop());
}

/// What the words of a statement are exchanged for.
const WORDS: [&str; 64] = [
    " ",
    ",",
    "(",
    ")",
    "*",
    "+",
    "-",
    "/",
    "%",
    "||",
    "=",
    "<>",
    "<",
    "null",
    "0",
    "1",
    "-1",
    "1.5",
    "1e300",
    "9223372036854775807",
    "''",
    "'a'",
    "'2024-02-29'",
    "x",
    "y",
    "t",
    "true",
    "not",
    "and",
    "or",
    "in",
    "is",
    "between",
    "like",
    "case",
    "when",
    "then",
    "else",
    "end",
    "cast",
    "try",
    "as",
    "bigint",
    "varchar",
    "decimal(38,2)",
    "double",
    "date",
    "timestamp",
    "array",
    "map",
    "row",
    "interval",
    "day",
    "select",
    "from",
    "where",
    "group by",
    "order by",
    "limit",
    "distinct",
    "count",
    "sum",
    "over",
    "unnest",
];

/// The statements of `tests/slt`.
fn statements() -> Vec<String> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/slt");
    let mut statements = Vec::new();
    for entry in std::fs::read_dir(directory).expect("the files of the test are there") {
        let text = std::fs::read_to_string(entry.expect("the files of the test are there").path())
            .expect("the files of the test are there");
        let mut sql: Option<String> = None;
        for line in text.lines() {
            match (&mut sql, line) {
                (None, line) if line.starts_with("query") => sql = Some(String::new()),
                (Some(_), "----") => statements.extend(sql.take()),
                (Some(sql), line) => {
                    sql.push_str(line);
                    sql.push('\n');
                }
                _ => {}
            }
        }
    }
    let others = [
        "show tables from iceberg.a like 'x%' escape '\\'",
        "show schemas",
        "show functions like 'a%'",
        "show session",
        "show stats for a.b",
        "describe system.runtime.queries",
        "explain (type validate, format json) select 1",
        "prepare p from select ?",
        "execute immediate 'select ?' using 1",
        "use iceberg.a",
        "set time zone 'UTC'",
        "start transaction isolation level read committed, read only",
        "call system.runtime.kill_query(query_id => 'x', message => 'y')",
        "select * from iceberg.a.b for version as of 1",
        "select * from system.jdbc.columns where table_schem = 'a'",
    ];
    statements.extend(others.map(str::to_owned));
    statements
}

/// An error as the protocol wants it; a syntax error has its place.
fn assert_well_formed(sql: &str, error: &Value) {
    let text = |name: &str| {
        error[name]
            .as_str()
            .unwrap_or_else(|| panic!("no {name}: {sql}: {error}"))
            .to_owned()
    };
    let (name, message) = (text("errorName"), text("message"));
    assert!(error["errorCode"].is_i64(), "{error}");
    let kinds = [
        "USER_ERROR",
        "INTERNAL_ERROR",
        "INSUFFICIENT_RESOURCES",
        "EXTERNAL",
    ];
    assert!(kinds.contains(&text("errorType").as_str()), "{error}");
    // What nobody foresaw, a caught panic among it.
    assert_ne!(name, "GENERIC_INTERNAL_ERROR", "{sql}: {error}");
    assert_eq!(error["failureInfo"]["message"], error["message"], "{error}");
    if name == "SYNTAX_ERROR" || error["errorLocation"].is_object() {
        let place = &error["errorLocation"];
        let start = format!("line {}:{}: ", place["lineNumber"], place["columnNumber"]);
        assert!(message.starts_with(&start), "{sql}: {error}");
    }
}

#[test]
fn no_statement_brings_the_engine_down() {
    let runtime = Runtime::new().unwrap();
    let server = runtime.block_on(Server::start());
    let client = server
        .client()
        .with("x-trino-session", "query_max_run_time=2s");
    let (mut n_statements, mut n_refused, mut n_syntax) = (0_u64, 0_u64, 0_u64);
    let mut run = |sql: &str| {
        if sql.trim().is_empty() {
            return;
        }
        n_statements += 1;
        let answer = runtime.block_on(client.run(sql));
        if let Some(error) = answer.error {
            n_refused += 1;
            n_syntax += u64::from(error["errorName"] == "SYNTAX_ERROR");
            assert_well_formed(sql, &error);
        }
    };
    let statements = statements();
    testkit::fuzz_text(&statements, &WORDS, &mut run);
    let bytes: Vec<_> = statements.into_iter().map(String::into_bytes).collect();
    testkit::fuzz(&bytes, |bytes| run(&String::from_utf8_lossy(bytes)));
    assert!(n_syntax > 0, "{n_refused} of {n_statements} were refused");
    assert_eq!(runtime.block_on(client.text("select 1")), "1");
    runtime.block_on(server.stop());
}

/// Two tables, one of which is partitioned and has several files.
const TABLES: &str = r#"
from pyiceberg.partitioning import PartitionSpec, PartitionField
from pyiceberg.transforms import IdentityTransform
from pyiceberg.schema import Schema
from pyiceberg.types import LongType, StringType, NestedField, DoubleType
schema = Schema(NestedField(1, "id", LongType()), NestedField(2, "kind", StringType()), NestedField(3, "v", DoubleType()))
spec = PartitionSpec(PartitionField(source_id=2, field_id=1000, transform=IdentityTransform(), name="kind"))
table = catalog.create_table("n.t", schema=schema, partition_spec=spec)
for first in (0, 100):
    ids = list(range(first, first + 100))
    table.append(pa.table({"id": ids, "kind": [f"k{i % 2}" for i in ids], "v": [i / 2 for i in ids]}))
"#;

const WHOLE: &str =
    "SELECT count(*), sum(id), count(DISTINCT kind), sum(v), min(v), max(kind) FROM t";
const TRUTH: &str = "200 | 19900 | 2 | 9950.0 | 0.0 | k1";
const SOME: &str = "SELECT count(*) FROM t WHERE kind = 'k0' AND v > 10 AND \"$path\" <> ''";

/// A lake with [`TABLES`] and an engine that forgets what it reads.
async fn damageable() -> (Lake, Server, Client) {
    let lake = Lake::start().await;
    lake.python(TABLES).await;
    let catalog = lake.url.parse().expect("the files of the test are there");
    let server = Server::start_with(|config| {
        config.catalog_uri = catalog;
        config.manifest_cache = bytesize::ByteSize::b(0);
        config.footer_cache = bytesize::ByteSize::b(0);
    })
    .await;
    let client = server
        .client()
        .with("x-trino-catalog", "iceberg")
        .with("x-trino-schema", "n")
        .with("x-trino-session", "query_max_run_time=20s");
    assert_eq!(client.text(WHOLE).await, TRUTH);
    (lake, server, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_named_and_nothing_is_answered_from_it() {
    let (lake, server, client) = damageable().await;
    let files = lake.files();
    let kinds = ["snap-", "-m0.avro", ".parquet"];
    for kind in kinds {
        let n_files = files
            .iter()
            .filter(|file| file.to_str().unwrap().contains(kind))
            .count();
        assert!(n_files > 0, "{kind}: {files:?}");
    }
    let current = client
        .text("SELECT manifest_list FROM \"t$snapshots\" ORDER BY committed_at DESC LIMIT 1")
        .await;
    for file in &files {
        let name = file.file_name().unwrap().to_str().unwrap();
        // Manifest lists of earlier snapshots are of no concern.
        if name.starts_with("snap-") && !current.ends_with(name) {
            continue;
        }
        let whole = std::fs::read(file).unwrap();
        let other = files
            .iter()
            .find(|other| other != &file && other.extension() == file.extension());
        let mut damaged: Vec<Option<Vec<u8>>> = [0, 1, 4, whole.len() / 2, whole.len() - 1]
            .map(|length| Some(whole[..length].to_vec()))
            .to_vec();
        damaged.push(None);
        damaged.push(Some(vec![b'x'; whole.len()]));
        damaged.push(other.map(|other| {
            // Another file in its place, or what of it has room.
            let mut bytes = std::fs::read(other).unwrap();
            bytes.resize(whole.len() / 2, 0);
            bytes
        }));
        for bytes in damaged {
            match &bytes {
                Some(bytes) => std::fs::write(file, bytes).unwrap(),
                None => std::fs::remove_file(file).unwrap(),
            }
            let found = client.text(WHOLE).await;
            let length = bytes.map_or(-1, |bytes| i64::try_from(bytes.len()).unwrap());
            assert!(
                found.starts_with("ICEBERG_"),
                "{name}, {length} bytes: {found}"
            );
            assert!(found.contains(name), "{name}, {length} bytes: {found}");
            std::fs::write(file, &whole).unwrap();
        }
        assert_eq!(client.text(WHOLE).await, TRUTH, "{name}");
    }
    server.stop().await;
}

#[test]
fn no_damage_to_a_lake_brings_the_engine_down() {
    let runtime = Runtime::new().unwrap();
    let (lake, server, client) = runtime.block_on(damageable());
    let files = lake.files();
    // Which file it is goes in front; behind the files comes the answer of the catalog.
    let mut corpus: Vec<Vec<u8>> = Vec::new();
    for (number, file) in files.iter().enumerate() {
        let number = [u8::try_from(number).unwrap()];
        corpus.push([&number, std::fs::read(file).unwrap().as_slice()].concat());
    }
    let number = [u8::try_from(files.len()).unwrap()];
    corpus.push([&number, lake.answer("n", "t").as_slice()].concat());
    let (mut n_cases, mut n_failed) = (0_u64, 0_u64);
    testkit::fuzz(&corpus, |bytes| {
        let Some((number, bytes)) = bytes.split_first() else {
            return;
        };
        n_cases += 1;
        let file = files.get(usize::from(*number) % (files.len() + 1));
        let whole = file.map(|file| std::fs::read(file).unwrap());
        match file {
            Some(file) => std::fs::write(file, bytes).unwrap(),
            None => lake.answer_instead(Some(bytes.to_vec())),
        }
        let looks = [
            WHOLE,
            SOME,
            "SELECT count(*) FROM \"t$files\"",
            "SHOW STATS FOR t",
        ];
        let sql = looks[usize::try_from(n_cases).unwrap() % looks.len()];
        let answer = runtime.block_on(client.run(sql));
        if let Some(error) = answer.error {
            n_failed += 1;
            let name = file.map(|file| file.file_name().unwrap().to_str().unwrap());
            let what = format!("{sql} with damaged {name:?}");
            assert_well_formed(&what, &error);
        }
        match (file, whole) {
            (Some(file), Some(whole)) => std::fs::write(file, whole).unwrap(),
            _ => lake.answer_instead(None),
        }
    });
    assert!(n_failed > 0, "nothing failed in {n_cases} cases");
    assert_eq!(runtime.block_on(client.text(WHOLE)), TRUTH);
    runtime.block_on(server.stop());
}
