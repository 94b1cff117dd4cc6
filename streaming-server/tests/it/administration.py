import os, time
from confluent_kafka import Producer, Consumer, TopicPartition, TopicCollection, ConsumerGroupTopicPartitions, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic, NewPartitions, OffsetSpec, ConfigResource, ConfigEntry, AlterConfigOpType
bootstrap = os.environ["BOOTSTRAP"]
admin = AdminClient({"bootstrap.servers": bootstrap})
def all_of(futures): return {key: future.result(20) for key, future in futures.items()}
def refused(futures):
    for future in futures.values():
        try: return future.result(20)
        except KafkaException as error: return error.args[0].name()
all_of(admin.create_topics([NewTopic("t", 2, config={"retention.ms": "-1", "max.message.bytes": "100000"})]))
producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5})
# The largest time is not the last one.
for i in range(100): producer.produce("t", b"%d" % i, partition=0, timestamp=1_700_000_000_000 + (i * 37) % 100)
assert producer.flush(20) == 0
partition, empty = TopicPartition("t", 0), TopicPartition("t", 1)
for spec in [OffsetSpec.earliest(), OffsetSpec.latest(), OffsetSpec.max_timestamp(), OffsetSpec.for_timestamp(1_700_000_000_098), OffsetSpec.for_timestamp(1_800_000_000_000)]:
    print(type(spec).__name__, *[found.offset for found in all_of(admin.list_offsets({partition: spec, empty: spec})).values()])
print("low", all_of(admin.delete_records([TopicPartition("t", 0, 40)]))[partition].low_watermark, refused(admin.delete_records([TopicPartition("t", 0, 400)])))

settings = {"bootstrap.servers": bootstrap, "group.id": "g", "enable.auto.commit": False, "auto.offset.reset": "earliest", "session.timeout.ms": 6000, "group.instance.id": "worker-1"}
consumer = Consumer(settings)
consumer.subscribe(["t"])
seen = []
while len(seen) < 60:
    for message in consumer.consume(100, 1):
        assert message.error() is None, message.error()
        seen.append(message.offset())
print(seen == list(range(40, 100)))
consumer.commit(offsets=[TopicPartition("t", 0, 77, metadata="half way")], asynchronous=False)
group = all_of(admin.describe_consumer_groups(["g"]))["g"]
print(group.state.name, group.members[0].group_instance_id, sorted(p.partition for p in group.members[0].assignment.topic_partitions))
print(refused(admin.delete_consumer_groups(["g"])))
change = [ConsumerGroupTopicPartitions("g", [TopicPartition("t", 0, 50)])]
print([p.error.name() for p in all_of(admin.alter_consumer_group_offsets(change))["g"].topic_partitions])
# A static member that goes comes back to what it had; a second one of its name puts the first out.
consumer.close()
group = all_of(admin.describe_consumer_groups(["g"]))["g"]
print(group.state.name, len(group.members))
consumer = Consumer(settings)
print([(p.offset, p.metadata) for p in consumer.committed([partition], 20)])
consumer.subscribe(["t"])
message = None
while message is None: message = consumer.poll(1)
print("goes on at", message.offset())
consumer.close()
# The session of a member that says no goodbye has to run out.
deadline = time.time() + 30
while all_of(admin.describe_consumer_groups(["g"]))["g"].state.name != "EMPTY":
    assert time.time() < deadline
    time.sleep(0.2)
all_of(admin.alter_consumer_group_offsets(change))
print([p.offset for p in all_of(admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions("g")]))["g"].topic_partitions])
print(sorted((g.group_id, g.state.name) for g in admin.list_consumer_groups().result(20).valid))
all_of(admin.delete_consumer_groups(["g"]))
print(refused(admin.delete_consumer_groups(["g"])))

def value(name):
    entry = all_of(admin.describe_configs([ConfigResource("topic", "t")]))[ConfigResource("topic", "t")][name]
    return entry.value, entry.is_default, [(s.name, s.value) for s in entry.synonyms.values()]
print(value("retention.ms"))
# The old call says all settings at once: what it leaves out goes back to its default.
all_of(admin.alter_configs([ConfigResource("topic", "t", set_config={"retention.ms": "5000"})]))
print(value("retention.ms")[0], value("max.message.bytes")[0])
def alter(name, new, operation):
    entry = ConfigEntry(name, new, incremental_operation=operation)
    return refused(admin.incremental_alter_configs([ConfigResource("topic", "t", incremental_configs=[entry])]))
print(alter("retention.ms", None, AlterConfigOpType.DELETE), value("retention.ms")[:2])
print(alter("retention.ms", "soon", AlterConfigOpType.SET), alter("cleanup.policy", "compact", AlterConfigOpType.APPEND), alter("no.such", "1", AlterConfigOpType.SET))
print(refused(admin.create_partitions([NewPartitions("t", 1)])), refused(admin.create_partitions([NewPartitions("t", 4)])))
print(len(all_of(admin.describe_topics(TopicCollection(["t"])))["t"].partitions), refused(admin.describe_topics(TopicCollection(["none"]))))
all_of(admin.delete_topics(["t"]))
print(refused(admin.delete_topics(["t"])))
