//! Each part in a process of its own, and one part at a time replaced by the real product.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::newcomer::{TABLES, every_table_fills};
use crate::platform::Site;

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

#[test]
fn apache_kafka_in_place_of_the_broker_gives_the_same_tables() {
    if !testkit::peer("kafka") {
        return;
    }
    let kafka = ApacheKafka::start();
    let site = Site::new();
    let endpoint = format!("endpoints.kafka={}", kafka.address);
    let up = site.start(&[
        "up",
        "--rate",
        "200",
        "--without",
        "streaming-server",
        "--set",
        &endpoint,
        "--set",
        "endpoints.kafka_admin=",
    ]);
    every_table_fills(&site);
    assert!(up.stop().success());
    let bronze = site_after_stop(&site, &kafka.address);
    assert_eq!(
        bronze.0, bronze.1,
        "bronze and the real Kafka disagree about what was accepted"
    );
}

/// Rows of bronze, and records in the topic, once nothing is sent any more.
fn site_after_stop(site: &Site, kafka: &str) -> (i64, i64) {
    let endpoint = format!("endpoints.kafka={kafka}");
    let up = site.start(&[
        "up",
        "--without",
        "streaming-server",
        "--set",
        &endpoint,
        "--set",
        "endpoints.kafka_admin=",
        "--set",
        "demo.events=false",
    ]);
    let records = records_in(kafka);
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut rows = 0;
    while rows < records && Instant::now() < deadline {
        rows = site.number("SELECT count(*) FROM bronze.clickstream");
    }
    assert!(up.stop().success());
    (rows, records)
}

/// The sum of the end offsets of `clickstream`, asked by librdkafka.
fn records_in(kafka: &str) -> i64 {
    let script = r#"
import os
from confluent_kafka import Consumer, TopicPartition
consumer = Consumer({"bootstrap.servers": os.environ["KAFKA"], "group.id": "count"})
topic = consumer.list_topics("clickstream").topics["clickstream"]
ends = [consumer.get_watermark_offsets(TopicPartition("clickstream", p)) for p in topic.partitions]
print(sum(high - low for low, high in ends))
"#;
    testkit::python(script, &[("KAFKA", kafka)])
        .trim()
        .parse()
        .expect("a number")
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

/// Apache Kafka 4 in KRaft mode from Maven Central, in a directory of its own.
struct ApacheKafka {
    server: Child,
    address: String,
    _directory: tempfile::TempDir,
}

const POM: &str = r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>peer</groupId><artifactId>kafka</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>4.1.0</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>"#;

impl ApacheKafka {
    fn start() -> Self {
        let libraries = libraries();
        let directory = testkit::temp_dir();
        let (broker, controller) = (free_port(), free_port());
        let address = format!("127.0.0.1:{broker}");
        let properties = directory.path().join("server.properties");
        let text = format!(
            "process.roles=broker,controller\nnode.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://{address},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://{address}\ncontroller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n\
             log.dirs={}\noffsets.topic.replication.factor=1\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n",
            directory.path().join("logs").display()
        );
        fs::write(&properties, text).expect("the properties can be written");
        let java = |main: &str| {
            let mut command = Command::new("java");
            command
                .args(["-Xmx512m", "-cp"])
                .arg(libraries.join("*"))
                .arg(main);
            command
        };
        let mut format = java("kafka.tools.StorageTool");
        format
            .args(["format", "-t", "MkU3OEVBNTcwNTJENDM2Qg", "-c"])
            .arg(&properties);
        let formatted = format.output().expect("java starts");
        assert!(
            formatted.status.success(),
            "{}",
            String::from_utf8_lossy(&formatted.stderr)
        );
        let log =
            fs::File::create(directory.path().join("kafka.log")).expect("the log can be made");
        let mut run = java("kafka.Kafka");
        run.arg(&properties).stdout(Stdio::null()).stderr(log);
        let server = run.spawn().expect("java starts");
        let deadline = Instant::now() + Duration::from_secs(60);
        let started = || {
            let log = fs::read_to_string(directory.path().join("kafka.log")).unwrap_or_default();
            log.contains("Kafka Server started")
        };
        while !started() {
            assert!(Instant::now() < deadline, "Apache Kafka did not start");
            std::thread::yield_now();
        }
        ApacheKafka {
            server,
            address,
            _directory: directory,
        }
    }
}

impl Drop for ApacheKafka {
    fn drop(&mut self) {
        // Both fail when it has ended already, which is what is wanted.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .expect("a free port")
        .local_addr()
        .expect("bound")
        .port()
}

/// The jars, fetched once into the cache.
fn libraries() -> PathBuf {
    let cache = testkit::interpreter()
        .ancestors()
        .nth(3)
        .expect("the environment lies in the cache");
    let directory = cache.join("kafka-4.1.0");
    let libraries = directory.join("libs");
    if !directory.join("complete").is_file() {
        fs::create_dir_all(&directory).expect("the cache can be written");
        fs::write(directory.join("pom.xml"), POM).expect("the cache can be written");
        let output = maven(&directory, &libraries);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
        fs::write(directory.join("complete"), "").expect("the cache can be written");
    }
    libraries
}

fn maven(directory: &Path, libraries: &Path) -> std::process::Output {
    Command::new("mvn")
        .args([
            "-q",
            "-B",
            "dependency:copy-dependencies",
            "-DincludeScope=runtime",
        ])
        .arg(format!("-DoutputDirectory={}", libraries.display()))
        .current_dir(directory)
        .output()
        .expect("mvn starts")
}
