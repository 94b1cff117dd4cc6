//! Each part in a process of its own, and one part at a time replaced by the real product.

use std::fs;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use testkit::ApacheKafka;

use crate::newcomer::{TABLES, every_table_fills};
use crate::platform::Site;

/// Closes windows at fixed times, reads all tables, compares two readings.
const SCRIPT: &str = include_str!("swap.py");
/// Compares all tables with a batch computation over the topic.
const BATCH: &str = include_str!("exactly_once.py");

const SERVICES: [&str; 5] = [
    "storage-service",
    "streaming-server",
    "iceberg-catalog",
    "stream-processor",
    "query-engine",
];

#[test]
fn every_service_as_a_process_of_its_own_gives_the_same_tables() {
    let site = Site::new();
    let processes: Vec<_> = SERVICES
        .iter()
        .map(|service| site.start(&["run", service]))
        .collect();
    let without: Vec<_> = SERVICES
        .iter()
        .flat_map(|service| ["--without", service])
        .collect();
    let up = site.start(&[&["up", "--rate", "200"], without.as_slice()].concat());
    every_table_fills(&site);
    assert!(up.stop().success());
    // The other way round: who asks goes before who answers.
    for process in processes.into_iter().rev() {
        assert!(process.stop().success());
    }
}

/// The same events through the real Kafka and through ours: all tables, compared row by row, and each run with a batch
/// computation over its topic.
#[test]
fn apache_kafka_in_place_of_the_broker_gives_the_same_tables() {
    if !testkit::peer("kafka") {
        return;
    }
    let kafka = ApacheKafka::start();
    let start = recent_minute();
    let (theirs, ours) = (Site::new(), Site::new());
    let (their_results, our_results) = (
        results(&theirs, Some(&kafka.address), start),
        results(&ours, None, start),
    );
    let printed = testkit::python(
        &script("compare"),
        &[("OURS", &our_results), ("THEIRS", &their_results)],
    );
    eprintln!("{printed}");
    assert_eq!(printed.lines().count(), TABLES.len(), "{printed}");
    assert!(printed.contains("bronze.clickstream 12008\n"), "{printed}");
}

/// A whole minute in the near past, in milliseconds since 1970, so that windows and the rule about the future fall the
/// same in two runs.
#[expect(
    clippy::disallowed_methods,
    reason = "the events of a demo lie in the present"
)]
fn recent_minute() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    (now.as_secs() / 60 - 20) * 60_000
}

/// Runs the demo's job over 12 000 events from `start` and gives the file with the rows of all tables.
fn results(site: &Site, kafka: Option<&str>, start: u64) -> String {
    let endpoint = kafka.map(|address| format!("endpoints.kafka={address}"));
    let mut swapped: Vec<&str> = vec!["--set", "demo.events=false"];
    if let Some(endpoint) = &endpoint {
        swapped.extend(["--set", endpoint, "--set", "endpoints.kafka_admin="]);
    }
    let mut up = vec!["up"];
    if kafka.is_some() {
        up.extend(["--without", "streaming-server"]);
    }
    let process = site.start(&[up.as_slice(), &swapped].concat());
    let text = start.to_string();
    let emit = [
        "emit",
        "--count",
        "12000",
        "--rate",
        "20",
        "--backfill",
        "600",
    ];
    let faults = [
        "--duplicate",
        "0.02",
        "--malformed",
        "0.01",
        "--out-of-order",
        "0.05",
    ];
    let sent = site.output(&[&emit, &faults[..], &["--start-time", &text], &swapped].concat());
    assert!(sent.contains("12000"), "{sent}");

    let mut environment = site.environment();
    if let Some(address) = kafka {
        environment.insert("KAFKA".to_owned(), address.to_owned());
    }
    let file = site
        .directory
        .path()
        .join("results.json")
        .display()
        .to_string();
    let inputs = site.data().join("demo").display().to_string();
    for (name, value) in [("START", &text), ("FILE", &file), ("INPUTS", &inputs)] {
        environment.insert(name.to_owned(), value.clone());
    }
    environment.insert("PARTITIONS".to_owned(), "4".to_owned());
    let environment: Vec<_> = environment
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let closed = testkit::python(&script("close"), &environment);
    wait_for_windows_after(site, closed.trim());
    let check = format!(
        "MODE, STRICT, INPUTS, EMITTED, COUNTED = 'check', True, {inputs:?}, {sent:?}, False\n{BATCH}"
    );
    let report = testkit::python(&check, &environment);
    assert!(report.ends_with("equal\n"), "{report}");
    testkit::python(&script("results"), &environment);
    assert!(process.stop().success());
    file
}

fn script(mode: &str) -> String {
    let tables: Vec<_> = TABLES.iter().map(|(table, _)| table).collect();
    format!("MODE, TABLES = {mode:?}, {tables:?}\n{SCRIPT}")
}

/// Waits until each gold table has a window that ends after `closing`: all rows before it are committed there then.
fn wait_for_windows_after(site: &Site, closing: &str) {
    let deadline = Instant::now() + Duration::from_secs(180);
    for (table, _) in TABLES
        .iter()
        .filter(|(table, _)| table.starts_with("gold."))
    {
        let sql = format!("SELECT count(*) FROM {table} WHERE window_end > TIMESTAMP '{closing}'");
        loop {
            let answer = site.try_query(&sql);
            if answer
                .as_ref()
                .is_ok_and(|rows| rows.first().is_some_and(|count| count != "0"))
            {
                break;
            }
            assert!(Instant::now() < deadline, "{sql} gave {answer:?}");
        }
    }
}

#[test]
fn the_list_of_tables_is_that_of_the_sql_file() {
    let sql = fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../sql/clickstream.sql"
    ))
    .expect("readable");
    for (table, _) in TABLES {
        let table = table.replace('.', "`.`");
        let plain = table.replace('`', "");
        assert!(
            sql.contains(&table) || sql.contains(&plain),
            "{plain} is not in sql/clickstream.sql"
        );
    }
}
