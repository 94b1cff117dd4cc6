//! A disk that fills up, or can only be read: the right error, nothing lost, and work goes on when it can.

use bytes::Bytes;
use kafka_protocol::messages::*;
use testkit::SmallDisk;

use crate::broker::Broker;
use crate::client::{Client, batch, commit_offset, fetch, name, produce, produced, wait_until};

const KAFKA_STORAGE_ERROR: i16 = 56;
const COORDINATOR_NOT_AVAILABLE: i16 = 15;

/// 400 records of 50 000 bytes by an idempotent producer, which waits for room as long as it takes.
const WRITE: &str = r#"
import os
from confluent_kafka import Producer
failed = []
producer = Producer({"bootstrap.servers": os.environ["BOOTSTRAP"], "enable.idempotence": True,
                     "message.timeout.ms": 300_000, "batch.size": 400_000, "queue.buffering.max.kbytes": 100_000})
for i in range(400):
    producer.produce("t", i.to_bytes(4, "big") * 12_500, partition=0,
                     on_delivery=lambda error, _: failed.append(error) if error else None)
left = producer.flush(300)
print(left, failed)
"#;

const READ: &str = r#"
import os
from confluent_kafka import Consumer, TopicPartition
consumer = Consumer({"bootstrap.servers": os.environ["BOOTSTRAP"], "group.id": "check", "enable.auto.commit": False})
consumer.assign([TopicPartition("t", 0, 0)])
end = consumer.get_watermark_offsets(TopicPartition("t", 0), timeout=30)[1]
seen = []
while len(seen) < end:
    for message in consumer.consume(100, 30):
        assert message.error() is None, message.error()
        seen.append(message.value())
print(end, seen == [i.to_bytes(4, "big") * 12_500 for i in range(400)])
"#;

fn run(broker: &Broker, script: &str) -> String {
    testkit::python(script, &[("BOOTSTRAP", &broker.address.to_string())])
}

fn create_topic(client: &mut Client, topic: &'static str) -> i16 {
    let topic = create_topics_request::CreatableTopic::default()
        .with_name(name(topic))
        .with_num_partitions(1)
        .with_replication_factor(1);
    let request = CreateTopicsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(5000);
    client.ask(&request, 7).topics[0].error_code
}

#[test]
fn a_full_disk_is_waited_out_and_loses_nothing() {
    let Some(disk) = SmallDisk::new(64) else {
        return;
    };
    let directory = disk.path().join("log");
    let broker = Broker::start(&directory);
    let mut client = Client::connect(&broker);
    client.create("t");
    let ballast = disk.take(56);
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| run(&broker, WRITE));
        wait_until("the disk to be full", || {
            broker.metric("storage_errors_total").filter(|n| *n > 0)
        });
        let rest = disk.fill();
        let one = batch(4, 1, b"x");
        assert_eq!(
            produced(&client.ask(&produce("t", -1, one), 9)).0,
            KAFKA_STORAGE_ERROR
        );
        assert_eq!(create_topic(&mut client, "u"), KAFKA_STORAGE_ERROR);
        assert_eq!(commit_offset(&mut client), COORDINATOR_NOT_AVAILABLE);
        let response = client.ask(&fetch("t", 0, 0), 12);
        assert_eq!(response.responses[0].partitions[0].error_code, 0);
        drop((ballast, rest));
        assert_eq!(writing.join().unwrap(), "0 []\n");
    });
    assert_eq!(run(&broker, READ), "400 True\n");
    wait_until("room for a topic", || {
        (create_topic(&mut client, "u") == 0).then_some(())
    });
    wait_until("room for an offset", || {
        (commit_offset(&mut client) == 0).then_some(())
    });
    broker.stop().unwrap();
    let broker = Broker::start(&directory);
    assert_eq!(run(&broker, READ), "400 True\n");
}

#[test]
fn retention_by_size_makes_room_on_a_small_disk() {
    let Some(disk) = SmallDisk::new(24) else {
        return;
    };
    let broker = Broker::start_with(disk.path(), |config| {
        config.data_dir = disk.path().join("log");
        config.segment_size = bytesize::ByteSize::mib(1);
        config.retention_size = Some(bytesize::ByteSize::mib(4));
    });
    let mut client = Client::connect(&broker);
    client.create("t");
    // Four times the size of the disk; the producer repeats what found no room.
    let body = Bytes::from(vec![7; 250_000]);
    for offset in 0..400 {
        wait_until("room for a batch", || {
            let response = client.ask(&produce("t", -1, batch(4, 1, &body)), 9);
            let (code, found) = produced(&response);
            assert!(code == 0 || code == KAFKA_STORAGE_ERROR, "{code}");
            (code == 0).then(|| assert_eq!(found, offset))
        });
    }
    let response = client.ask(&fetch("t", 399, 0), 12);
    let partition = &response.responses[0].partitions[0];
    assert_eq!((partition.error_code, partition.high_watermark), (0, 400));
    // At least the 4 MiB that are promised are there.
    assert!(
        (1..=384).contains(&partition.log_start_offset),
        "{partition:?}"
    );
}

#[test]
fn a_disk_that_can_only_be_read_is_refused_at_the_start_and_keeps_everything() {
    let Some(disk) = SmallDisk::new(16) else {
        return;
    };
    let directory = disk.path().join("log");
    let broker = Broker::start(&directory);
    let mut client = Client::connect(&broker);
    client.create("t");
    let sent = batch(4, 3, b"kept");
    assert_eq!(
        produced(&client.ask(&produce("t", -1, sent.clone()), 9)),
        (0, 0)
    );
    broker.stop().unwrap();
    disk.make_read_only();
    let error = telemetry::chain(&Broker::start(&directory).stop().unwrap_err()).to_string();
    assert!(
        error.contains("LOCK") && error.contains("Read-only file system"),
        "{error}"
    );
    disk.make_writable();
    let broker = Broker::start(&directory);
    let response = Client::connect(&broker).ask(&fetch("t", 0, 0), 12);
    let partition = &response.responses[0].partitions[0];
    let stored = partition.records.clone().unwrap();
    assert_eq!(partition.high_watermark, 3);
    assert_eq!(stored[16..], sent[16..]);
}
