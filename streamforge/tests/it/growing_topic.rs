//! A topic gets partitions while a job reads it, and the program is killed: every record is in the table once, though
//! the job's script begins by dropping the table.

use std::fs;
use std::time::{Duration, Instant};

use crate::platform::Site;

/// Makes the topic as large as `PARTITIONS` and sends `RECORDS` to each partition.
const SEND: &str = r#"
import os
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic
kafka, wanted = {"bootstrap.servers": os.environ["KAFKA"]}, PARTITIONS
admin = AdminClient(kafka)
topics = admin.list_topics(timeout=30).topics
if "grows" not in topics:
    done = admin.create_topics([NewTopic("grows", wanted, 1)])
elif len(topics["grows"].partitions) < wanted:
    done = admin.create_partitions([NewPartitions("grows", wanted)])
else:
    done = {}
for future in done.values():
    future.result(30)
producer = Producer({**kafka, "acks": "all", "enable.idempotence": True})
for partition in range(wanted):
    for record in range(RECORDS):
        producer.produce("grows", value=f"{partition} {record}", partition=partition)
assert producer.flush(60) == 0
"#;

const SETTLE: Duration = Duration::from_secs(90);

fn send(site: &Site, partitions: u32, records: u32) {
    site.python(&format!(
        "PARTITIONS, RECORDS = {partitions}, {records}\n{SEND}"
    ));
}

/// Waits until the table holds so many rows, all of different records, and says from how many partitions.
fn settles(site: &Site, rows: i64) -> i64 {
    let deadline = Instant::now() + SETTLE;
    let sql = "SELECT count(*), count(DISTINCT \"partition\" * 1000000 + \"offset\"), count(DISTINCT \"partition\") \
               FROM bronze.grown";
    loop {
        let answer = site.try_query(sql);
        if let Ok(found) = &answer {
            let counts: Vec<i64> = found[0]
                .split(',')
                .map(|count| count.parse().expect("a count"))
                .collect();
            assert_eq!(counts[0], counts[1], "rows stand twice");
            if counts[0] == rows {
                return counts[2];
            }
        }
        assert!(Instant::now() < deadline, "{rows} rows wanted: {answer:?}");
    }
}

#[test]
fn partitions_that_come_up_are_read_from_their_beginning_and_once() {
    let site = Site::new();
    let up = site.start(&["up", "--no-demo"]);
    send(&site, 2, 100);
    let sql = format!(
        "SET 'pipeline.name' = 'grown';\n\
         SET 'execution.checkpointing.interval' = '500 ms';\n\
         CREATE TABLE events (`partition` INT METADATA VIRTUAL, `offset` BIGINT METADATA VIRTUAL, payload STRING) \
         WITH ('connector' = 'kafka', 'topic' = 'grows', 'properties.bootstrap.servers' = '{}', \
         'scan.startup.mode' = 'earliest-offset', 'scan.topic-partition-discovery.interval' = '200 ms', \
         'format' = 'raw');\n\
         CREATE CATALOG lake WITH ('type' = 'iceberg', 'catalog-type' = 'rest', 'uri' = 'http://{}', \
         'warehouse' = 's3://lakehouse/');\n\
         CREATE DATABASE IF NOT EXISTS lake.bronze;\n\
         DROP TABLE IF EXISTS lake.bronze.grown;\n\
         CREATE TABLE lake.bronze.grown (`partition` INT, `offset` BIGINT, payload STRING);\n\
         INSERT INTO lake.bronze.grown SELECT `partition`, `offset`, payload FROM events;\n",
        site.address("streaming_server.listen"),
        site.address("iceberg_catalog.listen"),
    );
    let file = site.directory.path().join("grown.sql");
    fs::write(&file, sql).expect("the SQL can be written");
    site.output(&["job", "submit", &file.display().to_string()]);
    assert_eq!(settles(&site, 200), 2);

    send(&site, 4, 50);
    assert_eq!(settles(&site, 400), 4);

    up.kill();
    let up = site.start(&["up", "--no-demo"]);
    send(&site, 5, 20);
    assert_eq!(settles(&site, 500), 5);
    assert!(up.stop().success());
}
