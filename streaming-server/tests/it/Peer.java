// The Java client as programs use it: every codec, groups, administration, and what this broker refuses.
import java.time.Duration;
import java.util.*;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.config.*;
import org.apache.kafka.common.serialization.*;

public class Peer {
    static Map<String, Object> base = new HashMap<>();
    static Admin admin;

    public static void main(String[] arguments) throws Exception {
        base.put("bootstrap.servers", arguments[0]);
        if (arguments[1].equals("secure")) {
            secure(arguments[2]);
            return;
        }
        admin = Admin.create(base);
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) codec(codec);
        cooperative();
        staticMember();
        administration();
        transactions();
        admin.close();
    }

    static KafkaProducer<String, String> producer(Object... more) {
        return new KafkaProducer<>(with(more), new StringSerializer(), new StringSerializer());
    }

    static KafkaConsumer<String, String> consumer(Object... more) {
        return new KafkaConsumer<>(with(more), new StringDeserializer(), new StringDeserializer());
    }

    static Map<String, Object> with(Object... more) {
        Map<String, Object> config = new HashMap<>(base);
        for (int i = 0; i < more.length; i += 2) config.put((String) more[i], more[i + 1]);
        return config;
    }

    static void require(boolean condition, Object what) {
        if (!condition) throw new IllegalStateException(String.valueOf(what));
    }

    static long deadline() {
        return System.currentTimeMillis() + 60_000;
    }

    static void create(String topic, int partitions) throws Exception {
        admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 1).configs(Map.of("retention.ms", "-1")))).all().get();
    }

    // 1000 records with keys, times and headers, by an idempotent producer; read by a group and compared.
    static void codec(String codec) throws Exception {
        String topic = "java-" + codec;
        create(topic, 3);
        try (var producer = producer("enable.idempotence", true, "acks", "all", "compression.type", codec, "linger.ms", 20)) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (int i = 0; i < 1000; i++) {
                var record = new ProducerRecord<>(topic, i % 3, 1_700_000_000_000L + i, "k" + i, "value " + i + " " + "x".repeat(i % 200));
                record.headers().add("h", ("" + i).getBytes()).add("h", null);
                sent.add(producer.send(record));
            }
            for (int i = 0; i < 1000; i++) {
                var metadata = sent.get(i).get();
                require(metadata.partition() == i % 3 && metadata.offset() == i / 3, metadata);
            }
        }
        BitSet seen = new BitSet();
        try (var consumer = consumer("group.id", "g-" + codec, "auto.offset.reset", "earliest")) {
            consumer.subscribe(List.of(topic));
            for (long end = deadline(); seen.cardinality() < 1000 && System.currentTimeMillis() < end;)
                for (var record : consumer.poll(Duration.ofMillis(300))) {
                    int i = Integer.parseInt(record.key().substring(1));
                    require(!seen.get(i), "twice: " + record);
                    seen.set(i);
                    require(record.value().equals("value " + i + " " + "x".repeat(i % 200)), record);
                    require(record.timestamp() == 1_700_000_000_000L + i && record.timestampType().id == 0, record);
                    require(record.partition() == i % 3 && record.offset() == i / 3, record);
                    var headers = record.headers().toArray();
                    require(headers.length == 2 && new String(headers[0].value()).equals("" + i) && headers[1].value() == null, record);
                }
            consumer.commitSync();
        }
        var committed = new TreeMap<Integer, Long>();
        admin.listConsumerGroupOffsets("g-" + codec).partitionsToOffsetAndMetadata().get()
            .forEach((partition, offset) -> committed.put(partition.partition(), offset.offset()));
        System.out.println(codec + " " + seen.cardinality() + " " + committed);
    }

    // Two members share four partitions cooperatively; when one leaves, the other takes all.
    static void cooperative() throws Exception {
        create("shared", 4);
        Object[] config = {"group.id", "cooperative", "partition.assignment.strategy", CooperativeStickyAssignor.class.getName()};
        try (var one = consumer(config)) {
            one.subscribe(List.of("shared"));
            try (var two = consumer(config)) {
                two.subscribe(List.of("shared"));
                for (long end = deadline(); one.assignment().size() != 2 || two.assignment().size() != 2;) {
                    one.poll(Duration.ofMillis(100));
                    two.poll(Duration.ofMillis(100));
                    require(System.currentTimeMillis() < end, one.assignment() + " " + two.assignment());
                }
                require(Collections.disjoint(one.assignment(), two.assignment()), "both read the same");
                var group = admin.describeConsumerGroups(List.of("cooperative")).all().get().get("cooperative");
                System.out.println("shared by " + group.members().size() + " " + group.groupState() + " " + group.partitionAssignor());
            }
            for (long end = deadline(); one.assignment().size() != 4;) {
                one.poll(Duration.ofMillis(100));
                require(System.currentTimeMillis() < end, one.assignment());
            }
        }
    }

    // A member with a name of its own goes and comes back without a rebalance.
    static void staticMember() throws Exception {
        Object[] config = {"group.id", "static", "group.instance.id", "worker-1", "session.timeout.ms", 30_000};
        Set<Integer> generations = new HashSet<>();
        for (int turn = 0; turn < 2; turn++)
            try (var consumer = consumer(config)) {
                consumer.subscribe(List.of("shared"));
                for (long end = deadline(); consumer.assignment().size() != 4;) {
                    consumer.poll(Duration.ofMillis(100));
                    require(System.currentTimeMillis() < end, consumer.assignment());
                }
                generations.add(consumer.groupMetadata().generationId());
            }
        var members = admin.describeConsumerGroups(List.of("static")).all().get().get("static").members();
        System.out.println("static " + generations.size() + " " + members.iterator().next().groupInstanceId().get());
        admin.removeMembersFromConsumerGroup("static",
            new RemoveMembersFromConsumerGroupOptions(List.of(new MemberToRemove("worker-1")))).all().get();
        admin.deleteConsumerGroups(List.of("static")).all().get();
    }

    static void administration() throws Exception {
        var topic = new ConfigResource(ConfigResource.Type.TOPIC, "java-none");
        admin.incrementalAlterConfigs(Map.of(topic, List.of(
            new AlterConfigOp(new ConfigEntry("retention.ms", "7200000"), AlterConfigOp.OpType.SET)))).all().get();
        var entry = admin.describeConfigs(List.of(topic)).all().get().get(topic).get("retention.ms");
        System.out.println("retention " + entry.value() + " " + entry.source());
        admin.createPartitions(Map.of("java-none", NewPartitions.increaseTo(5))).all().get();
        var described = admin.describeTopics(List.of("java-none")).allTopicNames().get().get("java-none");
        System.out.println("partitions " + described.partitions().size());
        var partition = new TopicPartition("java-gzip", 1);
        for (var spec : List.of(OffsetSpec.earliest(), OffsetSpec.latest(), OffsetSpec.maxTimestamp(), OffsetSpec.forTimestamp(1_700_000_000_400L))) {
            var found = admin.listOffsets(Map.of(partition, spec)).partitionResult(partition).get();
            System.out.println(spec.getClass().getSimpleName() + " " + found.offset() + " " + found.timestamp());
        }
        long low = admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(100))).lowWatermarks().get(partition).get().lowWatermark();
        System.out.println("low watermark " + low);
        System.out.println("brokers " + admin.describeCluster().nodes().get().size());
        System.out.println("bytes of log " + (admin.describeLogDirs(List.of(1)).allDescriptions().get().get(1).values().iterator().next()
            .replicaInfos().get(partition).size() > 0));
        admin.deleteConsumerGroups(List.of("g-zstd")).all().get();
        var groups = new TreeSet<String>();
        for (var group : admin.listConsumerGroups().all().get()) groups.add(group.groupId());
        System.out.println("groups " + groups);
        admin.deleteTopics(List.of("java-none", "shared")).all().get();
        System.out.println("topics " + new TreeSet<>(admin.listTopics().names().get()));
    }

    static void transactions() {
        try (var producer = producer("transactional.id", "t", "max.block.ms", 30_000)) {
            producer.initTransactions();
        } catch (KafkaException error) {
            System.out.println("transactions: " + error.getClass().getSimpleName());
        }
    }

    static void secure(String authority) throws Exception {
        base.putAll(Map.of("security.protocol", "SASL_SSL", "ssl.truststore.type", "PEM", "ssl.truststore.location", authority));
        for (String mechanism : List.of("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"))
            for (String password : List.of("secret", "guess")) {
                String module = mechanism.equals("PLAIN") ? "plain.PlainLoginModule" : "scram.ScramLoginModule";
                base.put("sasl.mechanism", mechanism);
                base.put("sasl.jaas.config", "org.apache.kafka.common.security." + module
                    + " required username=\"alice\" password=\"" + password + "\";");
                try (var producer = producer("max.block.ms", 60_000)) {
                    long offset = producer.send(new ProducerRecord<>("t", 0, "k", "v")).get().offset();
                    System.out.println(mechanism + " wrote " + offset);
                } catch (ExecutionException error) {
                    System.out.println(mechanism + " " + error.getCause().getClass().getSimpleName());
                }
            }
    }
}
