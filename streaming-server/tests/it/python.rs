//! librdkafka through confluent-kafka, and kafka-python, unmodified.

use crate::broker::Broker;

fn run(broker: &Broker, script: &str) -> String {
    testkit::python(script, &[("BOOTSTRAP", &broker.address.to_string())])
}

#[test]
fn librdkafka_reads_back_what_it_wrote_with_every_compression() {
    let directory = testkit::temp_dir();
    let broker = Broker::start(directory.path());
    let printed = run(
        &broker,
        r#"
import os
from confluent_kafka import Producer, Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
bootstrap = os.environ["BOOTSTRAP"]
admin = AdminClient({"bootstrap.servers": bootstrap})
for codec in ["none", "gzip", "snappy", "lz4", "zstd"]:
    topic = f"codec-{codec}"
    for future in admin.create_topics([NewTopic(topic, 2)]).values():
        future.result(20)
    failed = []
    producer = Producer({"bootstrap.servers": bootstrap, "compression.type": codec, "enable.idempotence": True, "linger.ms": 20})
    for i in range(5000):
        producer.produce(topic, key=str(i), value=f"value {i} " * 5, headers=[("a", b"1"), ("a", b"2")], partition=i % 2,
                         on_delivery=lambda error, _: failed.append(error) if error else None)
        producer.poll(0)
    assert producer.flush(30) == 0
    assert not failed, failed
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "none", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, p, 0) for p in range(2)])
    seen = []
    while len(seen) < 5000:
        for message in consumer.consume(1000, 20):
            assert message.error() is None, message.error()
            assert message.headers() == [("a", b"1"), ("a", b"2")]
            seen.append((message.partition(), message.offset(), message.key(), message.value()))
    wanted = [(i % 2, i // 2, str(i).encode(), (f"value {i} " * 5).encode()) for i in range(5000)]
    assert sorted(seen) == sorted(wanted)
    print(codec, consumer.get_watermark_offsets(TopicPartition(topic, 0)))
    consumer.close()
"#,
    );
    assert_eq!(
        printed,
        "none (0, 2500)\ngzip (0, 2500)\nsnappy (0, 2500)\nlz4 (0, 2500)\nzstd (0, 2500)\n"
    );
}

#[test]
fn kafka_python_reads_back_what_it_wrote() {
    let directory = testkit::temp_dir();
    let broker = Broker::start(directory.path());
    let printed = run(
        &broker,
        r#"
import os, logging, time
t0 = int(time.time() * 1000) - 5000
logging.basicConfig(level=os.environ.get('LOG', 'WARNING'))
from kafka import KafkaProducer, KafkaConsumer, TopicPartition
bootstrap = os.environ["BOOTSTRAP"]
producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all")
futures = [producer.send("made-on-demand", key=b"k", value=b"v%d" % i, partition=i % 4, timestamp_ms=t0 + i) for i in range(1000)]
offsets = [f.get(20).offset for f in futures]
assert offsets == [i // 4 for i in range(1000)], offsets[:20]
consumer = KafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest", consumer_timeout_ms=20000)
parts = [TopicPartition("made-on-demand", p) for p in range(4)]
consumer.assign(parts)
seen = []
for record in consumer:
    seen.append((record.partition, record.offset, record.value, record.timestamp))
    if len(seen) == 1000: break
wanted = sorted((i % 4, i // 4, b"v%d" % i, t0 + i) for i in range(1000))
assert sorted(seen) == wanted, (len(seen), len(set(seen)), [(a, b) for a, b in zip(sorted(seen), wanted) if a != b][:3])
print(consumer.beginning_offsets(parts)[parts[0]], consumer.end_offsets(parts)[parts[3]])
print(consumer.offsets_for_times({parts[1]: t0 + 500})[parts[1]].offset)
"#,
    );
    assert_eq!(printed, "0 250\n125\n");
}
