//! Beside librdkafka (confluent-kafka): each reads what the other wrote, with every codec, and keys meet in a partition.

use std::collections::BTreeMap;

use kafka_client::{Compression, Producer, ProducerConfig, Record};

use crate::broker::{Broker, read_all, topic};

const CODECS: [(&str, Compression); 5] = [
    ("none", Compression::None),
    ("gzip", Compression::Gzip),
    ("snappy", Compression::Snappy),
    ("lz4", Compression::Lz4),
    ("zstd", Compression::Zstd),
];

/// Value, partition, timestamp and headers, as the script prints them.
type Message = (String, i32, i64, Vec<(String, String)>);

const READ: &str = r#"
import json, os
from confluent_kafka import Consumer, TopicPartition
consumer = Consumer({"bootstrap.servers": os.environ["BROKER"], "group.id": "check", "enable.auto.commit": False,
                     "check.crcs": True})
for topic in os.environ["TOPICS"].split(","):
    found = {}
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(3)])
    while len(found) < 200:
        message = consumer.poll(10)
        assert message is not None, f"{topic}: {len(found)} records"
        assert not message.error(), message.error()
        headers = [[name, value.decode()] for name, value in message.headers() or []]
        found[message.key().decode()] = [message.value().decode(), message.partition(), message.timestamp()[1], headers]
    print(json.dumps(found))
"#;

const WRITE: &str = r#"
import os
from confluent_kafka import Producer
for codec in os.environ["CODECS"].split(","):
    producer = Producer({"bootstrap.servers": os.environ["BROKER"], "compression.type": codec,
                         "enable.idempotence": True, "linger.ms": 20, "partitioner": "murmur2_random"})
    for index in range(200):
        producer.produce("theirs-" + codec, key=f"key-{index}", value=f"value {index} " + "y" * index)
    assert producer.flush(20) == 0
"#;

async fn script(
    broker: &Broker,
    script: &'static str,
    name: &'static str,
    value: String,
) -> String {
    let address = broker.address.to_string();
    tokio::task::spawn_blocking(move || {
        testkit::python(script, &[("BROKER", &address), (name, &value)])
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn librdkafka_reads_what_we_write() {
    let broker = Broker::start().await;
    let client = broker.client().await;
    let mut topics = Vec::new();
    for (codec, compression) in CODECS {
        let name = topic(&client, &format!("ours-{codec}"), 3).await;
        let config = ProducerConfig {
            compression,
            ..ProducerConfig::default()
        };
        let producer = Producer::new(&client, config).unwrap();
        for index in 0..200_i64 {
            let key = format!("key-{index}");
            let value = format!("value {index} {}", "x".repeat(index as usize));
            let headers = [
                ("codec", Some(codec.as_bytes())),
                ("codec", Some(&b"again"[..])),
            ];
            let record = Record {
                key: Some(key.as_bytes()),
                value: Some(value.as_bytes()),
                timestamp: 1_700_000_000_000 + index,
                headers: &headers,
                ..Record::default()
            };
            producer.send(&name, record).await.unwrap();
        }
        producer.close().await;
        topics.push(name.to_string());
    }
    let printed = script(&broker, READ, "TOPICS", topics.join(",")).await;
    assert_eq!(printed.lines().count(), 5);
    for (line, (codec, _)) in printed.lines().zip(CODECS) {
        let found: BTreeMap<String, Message> = serde_json::from_str(line).unwrap();
        for index in 0..200_i64 {
            let key = format!("key-{index}");
            let expected = (
                format!("value {index} {}", "x".repeat(index as usize)),
                kafka_client::partition_for_key(key.as_bytes(), 3),
                1_700_000_000_000 + index,
                vec![
                    ("codec".to_owned(), codec.to_owned()),
                    ("codec".to_owned(), "again".to_owned()),
                ],
            );
            assert_eq!(found[&key], expected, "{codec}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn we_read_what_librdkafka_writes() {
    let broker = Broker::start().await;
    let client = broker.client().await;
    for (codec, _) in CODECS {
        topic(&client, &format!("theirs-{codec}"), 3).await;
    }
    let codecs = CODECS.map(|(codec, _)| codec).join(",");
    script(&broker, WRITE, "CODECS", codecs).await;
    for (codec, _) in CODECS {
        let read = read_all(&client, &format!("theirs-{codec}")).await;
        let found: BTreeMap<_, _> = read
            .iter()
            .map(|record| {
                (
                    record.key.clone().unwrap(),
                    (record.value.clone().unwrap(), record.partition),
                )
            })
            .collect();
        assert_eq!(found.len(), 200, "{codec}");
        for index in 0..200_usize {
            let key = format!("key-{index}");
            let partition = kafka_client::partition_for_key(key.as_bytes(), 3);
            let value = format!("value {index} {}", "y".repeat(index));
            assert_eq!(found[key.as_bytes()], (value.into(), partition), "{codec}");
        }
    }
}
