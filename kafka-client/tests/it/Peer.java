// Writes with every codec and in transactions, or prints what another client wrote.
import java.time.Duration;
import java.util.*;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.serialization.*;

public class Peer {
    static String bootstrap;

    public static void main(String[] arguments) throws Exception {
        bootstrap = arguments[0];
        if (arguments[1].equals("write")) write(arguments[2].split(","));
        else read(arguments[2].split(","));
    }

    static KafkaProducer<String, String> producer(Map<String, Object> more) {
        // One batch at a time: when a new partition refuses the first, Kafka's client and broker can go on with the second
        // and never agree on their sequence again.
        Map<String, Object> config = new HashMap<>(Map.of("bootstrap.servers", bootstrap, "linger.ms", 20,
            "max.in.flight.requests.per.connection", 1));
        config.putAll(more);
        return new KafkaProducer<>(config, new StringSerializer(), new StringSerializer());
    }

    static void write(String[] codecs) throws Exception {
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            List<NewTopic> topics = new ArrayList<>();
            for (String codec : codecs)
                topics.add(new NewTopic("java-" + codec, 3, (short) 1).configs(Map.of("retention.ms", "-1")));
            topics.add(new NewTopic("java-transactions", 1, (short) 1));
            admin.createTopics(topics).all().get();
        }
        for (String codec : codecs) {
            try (var producer = producer(Map.of("compression.type", codec))) {
                List<Future<RecordMetadata>> sent = new ArrayList<>();
                for (int i = 0; i < 500; i++) {
                    var record = new ProducerRecord<>("java-" + codec, null, 1_700_000_000_000L + i, "key-" + i,
                        "value " + i + " " + "y".repeat(i));
                    record.headers().add("codec", codec.getBytes()).add("codec", null);
                    sent.add(producer.send(record));
                }
                for (var future : sent) future.get();
            }
        }
        try (var producer = producer(Map.of("transactional.id", "t"))) {
            producer.initTransactions();
            for (String value : List.of("first", "aborted", "second", "aborted too", "third")) {
                producer.beginTransaction();
                producer.send(new ProducerRecord<>("java-transactions", null, value)).get();
                if (value.startsWith("aborted")) producer.abortTransaction();
                else producer.commitTransaction();
            }
        }
        System.out.println("written");
    }

    static void read(String[] topics) {
        Map<String, Object> config = Map.of("bootstrap.servers", bootstrap, "check.crcs", true);
        try (var consumer = new KafkaConsumer<>(config, new StringDeserializer(), new StringDeserializer())) {
            for (String topic : topics) {
                List<TopicPartition> partitions = new ArrayList<>();
                for (var info : consumer.partitionsFor(topic)) partitions.add(new TopicPartition(topic, info.partition()));
                consumer.assign(partitions);
                consumer.seekToBeginning(partitions);
                long left = consumer.endOffsets(partitions).values().stream().mapToLong(Long::longValue).sum();
                long deadline = System.currentTimeMillis() + 60_000;
                while (left > 0 && System.currentTimeMillis() < deadline) {
                    for (var record : consumer.poll(Duration.ofMillis(500))) {
                        List<String> headers = new ArrayList<>();
                        for (var header : record.headers())
                            headers.add(header.key() + "=" + (header.value() == null ? null : new String(header.value())));
                        System.out.println(String.join("\t", topic, "" + record.partition(), "" + record.timestamp(),
                            record.key(), record.value(), String.join(",", headers)));
                        left--;
                    }
                }
                if (left > 0) throw new IllegalStateException(topic + ": " + left + " records did not come");
            }
        }
    }
}
