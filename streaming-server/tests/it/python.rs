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

#[test]
fn two_librdkafka_consumers_share_a_group_and_resume_where_it_committed() {
    let directory = testkit::temp_dir();
    let broker = Broker::start(directory.path());
    let script = r#"
import os, time
from confluent_kafka import Producer, Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
bootstrap = os.environ["BOOTSTRAP"]
settings = {"bootstrap.servers": bootstrap, "group.id": "readers", "auto.offset.reset": "earliest",
            "enable.auto.commit": False, "session.timeout.ms": 6000,
            "partition.assignment.strategy": os.environ.get("STRATEGY", "range")}
def read(consumers, wanted):
    seen, deadline = [], time.time() + 60
    while len(seen) < wanted and time.time() < deadline:
        for consumer in consumers:
            for message in consumer.consume(500, 0.1):
                assert message.error() is None, message.error()
                seen.append((message.partition(), message.offset()))
    assert len(seen) == wanted, len(seen)
    return sorted(seen)
def assigned(consumers):
    deadline = time.time() + 60
    while time.time() < deadline:
        for consumer in consumers: consumer.poll(0.1)
        shares = [sorted(p.partition for p in consumer.assignment()) for consumer in consumers]
        if all(len(share) == 2 for share in shares): return sorted(shares)
    raise SystemExit(f"never shared: {shares}")
if os.environ["TURN"] == "1":
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.create_topics([NewTopic("shared", 4)]).values(): future.result(20)
    producer = Producer({"bootstrap.servers": bootstrap})
    consumers = [Consumer(settings), Consumer(settings)]
    for consumer in consumers: consumer.subscribe(["shared"])
    shares = assigned(consumers)
    for i in range(2000): producer.produce("shared", value=str(i), partition=i % 4)
    assert producer.flush(30) == 0
    assert read(consumers, 2000) == [(p, o) for p in range(4) for o in range(500)]
    for consumer in consumers: consumer.commit(asynchronous=False)
    described = admin.describe_consumer_groups(["readers"])["readers"].result(20)
    print(shares, described.state.name, len(described.members), described.partition_assignor)
    print([g.group_id for g in admin.list_consumer_groups().result(20).valid])
    for i in range(400): producer.produce("shared", value=str(i), partition=i % 4)
    assert producer.flush(30) == 0
    for consumer in consumers: consumer.close()
else:
    consumer = Consumer(settings)
    consumer.subscribe(["shared"])
    assert read([consumer], 400) == [(p, o) for p in range(4) for o in range(500, 600)]
    consumer.commit(asynchronous=False)
    offsets = consumer.committed([TopicPartition("shared", p) for p in range(4)], 20)
    print([o.offset for o in offsets])
    consumer.close()
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.delete_consumer_groups(["readers"]).values(): future.result(20)
    print([g.group_id for g in admin.list_consumer_groups().result(20).valid])
"#;
    let turn = |broker: &Broker, turn: &str| {
        testkit::python(
            script,
            &[("BOOTSTRAP", &broker.address.to_string()), ("TURN", turn)],
        )
    };
    assert_eq!(
        turn(&broker, "1"),
        "[[0, 1], [2, 3]] STABLE 2 range\n['readers']\n"
    );
    broker.stop().unwrap();
    let broker = Broker::start(directory.path());
    assert_eq!(turn(&broker, "2"), "[600, 600, 600, 600]\n[]\n");
}

#[test]
fn kafka_python_groups_and_administration_work() {
    let directory = testkit::temp_dir();
    let broker = Broker::start(directory.path());
    let printed = run(
        &broker,
        r#"
import os, time
from kafka import KafkaConsumer, KafkaProducer, KafkaAdminClient, TopicPartition
from kafka.admin import NewTopic, NewPartitions, ConfigResource, ConfigResourceType
bootstrap = os.environ["BOOTSTRAP"]
admin = KafkaAdminClient(bootstrap_servers=bootstrap)
admin.create_topics([NewTopic("t", 2, 1, topic_configs={"retention.ms": "1234567"})])
admin.create_partitions({"t": NewPartitions(3)})
producer = KafkaProducer(bootstrap_servers=bootstrap)
for i in range(30): producer.send("t", b"%d" % i, partition=i % 3)
producer.flush(20)
consumer = KafkaConsumer("t", bootstrap_servers=bootstrap, group_id="g", auto_offset_reset="earliest", enable_auto_commit=False, consumer_timeout_ms=20000)
seen = []
for record in consumer:
    seen.append((record.partition, record.offset))
    if len(seen) == 30: break
assert sorted(seen) == [(p, o) for p in range(3) for o in range(10)], seen
consumer.commit()
print([consumer.committed(TopicPartition("t", p)) for p in range(3)])
consumer.close()
admin.delete_topics(["t"])
print("t" in admin.list_topics())
"#,
    );
    assert_eq!(printed, "[10, 10, 10]\nFalse\n");
}

#[test]
fn only_users_with_the_right_password_get_in() {
    let directory = testkit::temp_dir();
    let files = testkit::tls();
    let broker = Broker::start_with(directory.path(), |config| {
        config.users.insert("alice".to_owned(), "secret".to_owned());
        config.tls = Some(streaming_server::Tls {
            certificate: files.certificate,
            key: files.key,
        });
    });
    let script = r#"
import os
from confluent_kafka import Producer
base = {"bootstrap.servers": os.environ["BOOTSTRAP"], "ssl.ca.location": os.environ["CA"]}
def enters(settings):
    delivered = []
    producer = Producer(base | settings | {"message.timeout.ms": 8000 if settings.get("sasl.password") == "secret" else 1500})
    producer.produce("t", b"x", on_delivery=lambda error, _: delivered.append(error is None))
    producer.flush(20)
    return "in" if delivered == [True] else "out"
for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]:
    sasl = {"security.protocol": "SASL_SSL", "sasl.mechanism": mechanism, "sasl.username": "alice"}
    print(mechanism, enters(sasl | {"sasl.password": "secret"}), enters(sasl | {"sasl.password": "guess"}))
print("without a password", enters({"security.protocol": "SSL"}))
failed = []
producer = Producer(base | {"security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-256", "sasl.username": "alice", "sasl.password": "secret"})
producer.produce("t", b"x" * 100000, on_delivery=lambda error, _: failed.append(error) if error else None)
print(producer.flush(20), failed)
"#;
    let environment = [
        ("BOOTSTRAP", broker.address.to_string()),
        ("CA", files.authority.to_string_lossy().into_owned()),
    ];
    let environment: Vec<_> = environment
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    assert_eq!(
        testkit::python(script, &environment),
        "PLAIN in out\nSCRAM-SHA-256 in out\nSCRAM-SHA-512 in out\nwithout a password out\n0 []\n"
    );
}

#[test]
fn confluent_administration_describes_and_alters() {
    let directory = testkit::temp_dir();
    let broker = Broker::start(directory.path());
    let printed = run(
        &broker,
        r#"
import os
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic, ConfigResource, ConfigEntry, AlterConfigOpType
admin = AdminClient({"bootstrap.servers": os.environ["BOOTSTRAP"]})
for future in admin.create_topics([NewTopic("t", 3, config={"retention.ms": "1000"})]).values(): future.result(20)
def describe(kind, name):
    return {k: v for k, v in list(admin.describe_configs([ConfigResource(kind, name)]).values())[0].result(20).items()}
topic = describe("topic", "t")
print(topic["retention.ms"].value, topic["retention.ms"].source, topic["cleanup.policy"].value, topic["cleanup.policy"].is_read_only)
change = ConfigResource("topic", "t", incremental_configs=[ConfigEntry("retention.ms", "2000", incremental_operation=AlterConfigOpType.SET)])
for future in admin.incremental_alter_configs([change]).values(): future.result(20)
print(describe("topic", "t")["retention.ms"].value)
change = ConfigResource("topic", "t", incremental_configs=[ConfigEntry("cleanup.policy", "compact", incremental_operation=AlterConfigOpType.SET)])
for future in admin.incremental_alter_configs([change]).values():
    try: future.result(20)
    except KafkaException as error: print(error.args[0].name())
print(describe("broker", "1")["num.partitions"].value)
cluster = admin.describe_cluster().result(20)
print(len(cluster.cluster_id), cluster.controller.id, [node.id for node in cluster.nodes])
print(sorted((name, len(topic.partitions)) for name, topic in admin.list_topics(timeout=20).topics.items()))
for future in admin.create_topics([NewTopic("t", 1)]).values():
    try: future.result(20)
    except KafkaException as error: print(error.args[0].name())
"#,
    );
    assert_eq!(
        printed,
        "1000 1 delete True\n2000\nINVALID_CONFIG\n4\n22 1 [1]\n[('__consumer_offsets', 4), ('t', 3)]\nTOPIC_ALREADY_EXISTS\n"
    );
}

#[test]
fn retention_by_time_and_by_size_moves_the_start_and_keeps_what_is_young() {
    let directory = testkit::temp_dir();
    let broker = Broker::start(directory.path());
    let script = r#"
import os, time
from confluent_kafka import Producer, Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, ConfigResource, ConfigEntry, AlterConfigOpType
bootstrap = os.environ["BOOTSTRAP"]
consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "none", "enable.auto.commit": False})
def bounds(topic):
    return consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=20)
def until(condition, topic):
    deadline = time.time() + 60
    while not condition(*bounds(topic)):
        assert time.time() < deadline, bounds(topic)
if os.environ["TURN"] == "1":
    admin = AdminClient({"bootstrap.servers": bootstrap})
    topics = [NewTopic("time", 1, config={"retention.ms": "-1"}),
              NewTopic("size", 1, config={"retention.bytes": str(2 << 20), "segment.bytes": str(1 << 20)})]
    for future in admin.create_topics(topics).values(): future.result(20)
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5, "batch.size": 100_000})
    now = int(time.time() * 1000)
    for i in range(100): producer.produce("time", b"old", partition=0, timestamp=now - 3_600_000)
    assert producer.flush(30) == 0
    print(bounds("time"))
    change = ConfigResource("topic", "time", incremental_configs=[ConfigEntry("retention.ms", "60000", incremental_operation=AlterConfigOpType.SET)])
    for future in admin.incremental_alter_configs([change]).values(): future.result(20)
    until(lambda low, high: low == high == 100, "time")
    for i in range(100): producer.produce("time", b"young", partition=0, timestamp=now)
    for i in range(800): producer.produce("size", i.to_bytes(4, "big") * 2500, partition=0)
    assert producer.flush(30) == 0
    # Between what is promised and one segment more.
    until(lambda low, high: high == 800 and 2 << 20 <= (high - low) * 10_000 <= 3.2 * (1 << 20), "size")
low, high = bounds("size")
for topic, begin, end in [("time", 100, 200), ("size", low, 800)]:
    assert bounds(topic) == (begin, end), bounds(topic)
    consumer.assign([TopicPartition(topic, 0, begin)])
    seen = []
    while len(seen) < end - begin:
        for message in consumer.consume(500, 1):
            assert message.error() is None, message.error()
            seen.append((message.offset(), message.value()))
    expected = [(i, b"young" if topic == "time" else i.to_bytes(4, "big") * 2500) for i in range(begin, end)]
    assert seen == expected, (topic, len(seen))
print(low > 0)
"#;
    let turn = |broker: &Broker, turn: &str| {
        testkit::python(
            script,
            &[("BOOTSTRAP", &broker.address.to_string()), ("TURN", turn)],
        )
    };
    assert_eq!(turn(&broker, "1"), "(0, 100)\nTrue\n");
    broker.stop().unwrap();
    let broker = Broker::start(directory.path());
    assert_eq!(turn(&broker, "2"), "True\n");
}

#[test]
fn confluent_administration_of_offsets_groups_and_records() {
    let directory = testkit::temp_dir();
    let broker = Broker::start(directory.path());
    let printed = run(&broker, include_str!("administration.py"));
    expect_test::expect![[r#"
        EarliestSpec 0 0
        LatestSpec 100 0
        MaxTimestampSpec 27 -1
        TimestampSpec 27 -1
        TimestampSpec -1 -1
        low 40 OFFSET_OUT_OF_RANGE
        True
        STABLE worker-1 [0, 1]
        NON_EMPTY_GROUP
        ['UNKNOWN_MEMBER_ID']
        STABLE 1
        [(77, 'half way')]
        goes on at 77
        [50]
        [('g', 'EMPTY')]
        GROUP_ID_NOT_FOUND
        ('-1', False, [('retention.ms', '-1'), ('log.retention.ms', '604800000')])
        5000 1048588
        None ('604800000', True)
        INVALID_CONFIG INVALID_CONFIG INVALID_CONFIG
        INVALID_PARTITIONS None
        4 UNKNOWN_TOPIC_OR_PART
        UNKNOWN_TOPIC_OR_PART
    "#]]
    .assert_eq(&printed);
}
