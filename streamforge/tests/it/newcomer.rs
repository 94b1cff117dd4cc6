//! What a newcomer sees: one command, every table filled, a stop that keeps everything.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::platform::{LISTEN_KEYS, Site};

/// Every table of the demo, and a query that is true of it once it works.
pub(crate) const TABLES: [(&str, &str); 8] = [
    ("bronze.clickstream", "count(*) > 0"),
    (
        "silver.clickstream",
        "count(*) > 0 AND count(*) = count(DISTINCT event_identifier)",
    ),
    (
        "silver.clickstream_rejected",
        "count(*) > 0 AND count(*) = count(reason)",
    ),
    (
        "silver.conversions",
        "count(*) > 0 AND min(monetary_value) > 50",
    ),
    (
        "gold.activity_per_minute",
        "count(*) > 0 AND min(events) > 0",
    ),
    ("gold.sessions", "count(*) > 0 AND min(events) > 0"),
    (
        "gold.revenue_by_country",
        "count(*) > 0 AND min(revenue) > 0",
    ),
    ("gold.funnel", "count(*) > 0"),
];

/// Within 30 s of the ready line, on a debug build and a busy machine within twice that.
const FILL: Duration = Duration::from_secs(60);

/// Waits until every table of the demo holds what it must.
pub(crate) fn every_table_fills(site: &Site) {
    let deadline = Instant::now() + FILL;
    for (table, condition) in TABLES {
        let sql = format!("SELECT {condition} FROM {table}");
        loop {
            let answer = site.try_query(&sql);
            if answer
                .as_ref()
                .is_ok_and(|rows| rows.first().is_some_and(|value| value == "true"))
            {
                break;
            }
            assert!(
                Instant::now() < deadline,
                "{table} is not filled: {condition} gave {answer:?}"
            );
        }
    }
}

/// The nice value of each thread called `name` of a process: the nineteenth field of its `stat` (proc(5)), whose second
/// is the name in parentheses.
#[cfg(target_os = "linux")]
fn nice_values(process: u32, name: &str) -> Vec<i32> {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).expect("it still runs");
    let stats =
        threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("stat")).ok());
    stats
        .filter(|stat| stat.contains(&format!("({name})")))
        .filter_map(|stat| {
            stat.rsplit(')')
                .next()?
                .split_whitespace()
                .nth(16)?
                .parse()
                .ok()
        })
        .collect()
}

#[test]
fn one_command_fills_every_table_and_a_second_continues() {
    let site = Site::new();
    let up = site.start(&["up", "--rate", "200"]);
    every_table_fills(&site);
    let status = site.run(&["status"]);
    let screen = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.status.success(), "{screen}");
    assert!(screen.contains("gold.funnel"), "{screen}");
    let jobs = site.output(&["job", "list"]);
    assert!(
        jobs.contains("clickstream") && jobs.contains("RUNNING"),
        "{jobs}"
    );
    let complaints = up.complaints();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    #[cfg(target_os = "linux")]
    assert_eq!(nice_values(up.id(), "upkeep"), [10]);
    let begun = Instant::now();
    assert!(up.stop().success());
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "the drain took {:?}",
        begun.elapsed()
    );

    let again = site.start(&["up", "--rate", "200"]);
    let sql = "SELECT count(*) FROM bronze.clickstream";
    let before = site.number(sql);
    let deadline = Instant::now() + FILL;
    while site.number(sql) <= before {
        assert!(
            Instant::now() < deadline,
            "nothing arrives after the second start"
        );
    }
    let twice = "SELECT count(*) FROM (SELECT \"partition\", \"offset\" FROM bronze.clickstream \
                 GROUP BY 1, 2 HAVING count(*) > 1)";
    assert_eq!(site.number(twice), 0, "records stand twice in bronze");
    assert!(again.stop().success());
}

/// The SQL Gateway's own listener is not among them: its health is that of the job REST beside it.
#[test]
fn every_http_service_says_how_it_is() {
    let site = Site::new();
    let up = site.start(&["up", "--no-demo"]);
    for key in LISTEN_KEYS {
        if key == "streaming_server.listen" {
            continue;
        }
        for (path, part) in [
            ("/healthz", "ok\n"),
            ("/readyz", "ready\n"),
            ("/metrics", "# EOF"),
        ] {
            let answer = get(&site.address(key), path);
            assert!(
                answer.starts_with("HTTP/1.1 200 "),
                "{key} {path}: {answer}"
            );
            assert!(answer.contains(part), "{key} {path}: {answer}");
        }
    }
    assert!(up.stop().success());
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the service listens");
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}
