//! Apache Spark with Iceberg's own runtime: the same tables as every other client, read and written.

use crate::newcomer::{TABLES, every_table_fills};
use crate::platform::Site;

/// Reads the demo's tables, then makes, changes and drops tables; each step is compared with the other clients.
const SCRIPT: &str = include_str!("spark.py");

#[test]
fn spark_reads_and_writes_the_same_tables() {
    if !testkit::peer("spark") {
        return;
    }
    let spark = testkit::spark();
    let site = Site::new();
    let up = site.start(&["up", "--rate", "20"]);
    every_table_fills(&site);
    let mut environment = site.environment();
    let scratch = testkit::temp_dir();
    for (name, value) in [
        ("PYTHONPATH", spark.python.as_path()),
        ("JARS", &spark.jars),
        ("SCRATCH", scratch.path()),
    ] {
        environment.insert(name.to_owned(), value.display().to_string());
    }
    // Spark's Python gives times in the zone of its process.
    environment.insert("TZ".to_owned(), "UTC".to_owned());
    let environment: Vec<_> = environment
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let tables: Vec<_> = TABLES.iter().map(|(table, _)| table).collect();
    let printed = testkit::python(&format!("DEMO = {tables:?}\n{SCRIPT}"), &environment);
    eprintln!("{printed}");
    assert_eq!(printed.matches("read ").count(), TABLES.len(), "{printed}");
    assert!(printed.ends_with("done\n"), "{printed}");
    let complaints = up.complaints();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    assert!(up.stop().success());
}
