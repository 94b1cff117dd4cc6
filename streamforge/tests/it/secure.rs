//! A broker with TLS and passwords: the emitter, a SQL job and librdkafka get in, each with its own way to say so.

use std::fs;

use crate::platform::Site;

const CHECK: &str = r#"
import json, os, pathlib
from confluent_kafka import Consumer, TopicPartition
consumer = Consumer({"bootstrap.servers": os.environ["KAFKA"], "group.id": "check", "enable.auto.commit": False,
                     "security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN", "sasl.username": "alice",
                     "sasl.password": "secret", "ssl.ca.location": os.environ["AUTHORITY"]})
partitions = sorted(consumer.list_topics("secured", timeout=30).topics["secured"].partitions)
ends = {p: consumer.get_watermark_offsets(TopicPartition("secured", p), timeout=30)[1] for p in partitions}
consumer.assign([TopicPartition("secured", p, 0) for p in partitions])
sent = []
while len(sent) < sum(ends.values()):
    for message in consumer.consume(1000, 1):
        assert message.error() is None, message.error()
        sent.append((message.partition(), message.offset(), message.value().decode("utf-8", "replace")))
files = [path for path in pathlib.Path(os.environ["OUT"]).rglob("*") if path.is_file()]
rows = [json.loads(line) for path in files for line in path.read_text().splitlines()]
read = [(row["partition"], row["offset"], row["payload"]) for row in rows]
assert sorted(read) == sorted(sent), (len(read), len(sent))
print(len(sent))
"#;

#[test]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
fn the_emitter_and_a_sql_job_prove_their_password_over_tls() {
    let site = Site::new();
    let files = testkit::tls();
    let path = |name: &str| site.directory.path().join(name);
    let config = path("secure.toml");
    let text = format!(
        "[streaming_server]\ntls = {{ certificate = {:?}, key = {:?} }}\nusers = {{ alice = \"secret\" }}\n",
        files.certificate, files.key
    );
    fs::write(&config, text).expect("the configuration can be written");
    let config = config.display().to_string();
    let broker = site.start(&["run", "streaming-server", "--config", &config]);

    let authority = files.authority.display().to_string();
    let jaas = |password: &str| {
        format!(
            "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"alice\" password=\"{password}\";"
        )
    };
    let properties = [
        ("security.protocol", "SASL_SSL"),
        ("sasl.mechanism", "SCRAM-SHA-256"),
        ("sasl.jaas.config", &jaas("secret")),
        ("ssl.truststore.type", "PEM"),
        ("ssl.truststore.location", &authority),
    ];
    let client = path("client.properties");
    let lines = properties.map(|(name, value)| format!("{name}={value}\n"));
    fs::write(&client, lines.concat()).expect("the properties can be written");
    let client = client.display().to_string();
    let emit = [
        "emit",
        "--topic",
        "secured",
        "--rate",
        "0",
        "--count",
        "3000",
        "--client-config",
        &client,
    ];
    let sent = site.output(&emit);
    assert!(
        sent.contains("3000 records") && sent.contains(" 0 failed"),
        "{sent}"
    );
    let wrong = format!("sasl.jaas.config={}", jaas("guess"));
    let denied = site.run(&[&emit[..], &["--client-property", &wrong]].concat());
    let error = String::from_utf8_lossy(&denied.stderr).into_owned();
    assert!(
        !denied.status.success() && error.contains("authentication"),
        "{error}"
    );
    assert!(
        !error.contains("guess"),
        "the password is in the log: {error}"
    );

    let out = path("out");
    let options = properties.map(|(name, value)| format!("'properties.{name}' = '{value}', "));
    let sql = format!(
        "CREATE TABLE events (`partition` INT METADATA VIRTUAL, `offset` BIGINT METADATA VIRTUAL, payload STRING) \
         WITH ('connector' = 'kafka', 'topic' = 'secured', 'properties.bootstrap.servers' = '{}', {}\
         'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset', 'format' = 'raw');\n\
         CREATE TABLE copy (`partition` INT, `offset` BIGINT, payload STRING) \
         WITH ('connector' = 'filesystem', 'path' = 'file://{}', 'format' = 'json');\n\
         INSERT INTO copy SELECT `partition`, `offset`, payload FROM events;\n",
        site.address("streaming_server.listen"),
        options.concat(),
        out.display()
    );
    let file = path("copy.sql");
    fs::write(&file, sql).expect("the SQL can be written");
    site.output(&["job", "run", &file.display().to_string()]);

    let address = site.address("streaming_server.listen");
    let out = out.display().to_string();
    let environment = [
        ("KAFKA", address.as_str()),
        ("AUTHORITY", &authority),
        ("OUT", &out),
    ];
    assert_eq!(testkit::python(CHECK, &environment), "3000\n");
    assert!(broker.stop().success());
}
