//! The same calls against a real Apache Kafka 4 from Maven Central, and the Java client on the other side of it.
//!
//! `STREAMFORGE_PEERS=kafka` turns it on; Java 17 and Maven must be installed, the rest is fetched into the cache.

use std::collections::BTreeMap;
use std::time::Duration;

use data_emitter::Codec;
use kafka_client::{
    Client, CommittedOffset, Compression, Config, ConfigResource, Error, Isolation, NewTopic,
    OffsetSpec, Producer, ProducerConfig, Record, Sasl, SaslMechanism, Tls, TopicPartition,
};
use testkit::ApacheKafka;
use tokio_util::sync::CancellationToken;

use crate::broker::{Broker, read_all, topic};

const CODECS: [(&str, Compression); 5] = [
    ("none", Compression::None),
    ("gzip", Compression::Gzip),
    ("snappy", Compression::Snappy),
    ("lz4", Compression::Lz4),
    ("zstd", Compression::Zstd),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apache_kafka_is_served_the_same() {
    if !testkit::peer("kafka") {
        return;
    }
    // One server for all, as starting it takes longer than everything else.
    let kafka = ApacheKafka::start();
    let client = Client::connect(Config::new(&kafka.address)).await.unwrap();
    administration_answers(&client).await;
    java_reads_what_we_write(&kafka, &client).await;
    we_read_what_java_writes(&kafka, &client).await;
    the_emitter_fills_both_brokers_with_the_same_records(&kafka, &client).await;
    passwords_are_proven_over_tls(&kafka).await;
    a_certificate_is_proven(&kafka).await;
}

async fn administration_answers(client: &Client) {
    let name = "administration";
    client.ensure_topic(&NewTopic::new(name, 1)).await.unwrap();
    client.create_partitions(name, 2).await.unwrap();
    testkit::wait_until(
        "the second partition",
        Duration::from_secs(60),
        async || {
            let topic = client.refresh_topic(name).await.ok()?;
            (topic.partitions.len() == 2).then_some(())
        },
    )
    .await;
    client.await_topic(name).await.unwrap();
    let resource = ConfigResource::Topic(name.to_owned());
    client
        .alter_configs(&resource, &[("retention.ms", Some("7200000"))])
        .await
        .unwrap();
    testkit::wait_until("the new setting", Duration::from_secs(60), async || {
        let entries = client.describe_configs(&resource).await.unwrap();
        let entry = entries.iter().find(|entry| entry.name == "retention.ms")?;
        let expected = (Some("7200000"), false);
        ((entry.value.as_deref(), entry.is_default) == expected).then_some(())
    })
    .await;
    let committed = [CommittedOffset {
        partition: TopicPartition::new(name, 1),
        offset: 17,
        metadata: "checkpoint 3".to_owned(),
    }];
    client.commit_offsets(name, &committed).await.unwrap();
    let partitions = [0, 1].map(|partition| TopicPartition::new(name, partition));
    assert_eq!(
        client.committed_offsets(name, &partitions).await.unwrap(),
        committed
    );
    let groups = client.list_groups().await.unwrap();
    assert!(groups.iter().any(|group| group.group == name), "{groups:?}");
    let ends = client
        .list_offsets(name, &[0, 1], OffsetSpec::Latest, Isolation::ReadCommitted)
        .await
        .unwrap();
    let ends: Vec<_> = ends.iter().map(|listed| listed.offset).collect();
    assert_eq!(ends, [Some(0); 2]);
    client.delete_topic(name).await.unwrap();
}

async fn java(kafka: &ApacheKafka, mode: &'static str, names: String) -> String {
    let address = kafka.address.clone();
    tokio::task::spawn_blocking(move || {
        let libraries = testkit::kafka_libraries();
        let source = include_str!("Peer.java");
        testkit::java(&libraries, source, &[&address, mode, &names])
    })
    .await
    .unwrap()
}

async fn java_reads_what_we_write(kafka: &ApacheKafka, client: &Client) {
    let mut expected = Vec::new();
    for (codec, compression) in CODECS {
        let name = topic(client, &format!("ours-{codec}"), 3).await;
        let config = ProducerConfig {
            compression,
            ..ProducerConfig::default()
        };
        let producer = Producer::new(client, config).unwrap();
        for index in 0..500_i64 {
            let key = format!("key-{index}");
            let value = format!("value {index} {}", "x".repeat(index as usize));
            let headers = [("codec", Some(codec.as_bytes())), ("codec", None)];
            let timestamp = 1_700_000_000_000 + index;
            let record = Record {
                key: Some(key.as_bytes()),
                value: Some(value.as_bytes()),
                timestamp,
                headers: &headers,
                ..Record::default()
            };
            producer.send(&name, record).await.unwrap();
            let partition = kafka_client::partition_for_key(key.as_bytes(), 3);
            expected.push(format!(
                "{name}\t{partition}\t{timestamp}\t{key}\t{value}\tcodec={codec},codec=null"
            ));
        }
        producer.flush().await;
        let stats = producer.stats();
        assert_eq!((stats.records, stats.failed), (500, 0), "{codec}");
    }
    let names = CODECS.map(|(codec, _)| format!("ours-{codec}")).join(",");
    let printed = java(kafka, "read", names).await;
    let mut found: Vec<&str> = printed.lines().collect();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
}

async fn we_read_what_java_writes(kafka: &ApacheKafka, client: &Client) {
    let codecs = CODECS.map(|(codec, _)| codec).join(",");
    assert_eq!(java(kafka, "write", codecs).await, "written\n");
    for (codec, _) in CODECS {
        let read = read_all(client, &format!("java-{codec}")).await;
        let found: BTreeMap<_, _> = read
            .iter()
            .map(|record| (record.key.clone().unwrap(), record))
            .collect();
        assert_eq!((read.len(), found.len()), (500, 500), "{codec}");
        for index in 0..500_usize {
            let key = format!("key-{index}");
            let record = found[key.as_bytes()];
            let value = format!("value {index} {}", "y".repeat(index));
            assert_eq!(record.value.as_deref(), Some(value.as_bytes()), "{codec}");
            let partition = kafka_client::partition_for_key(key.as_bytes(), 3);
            assert_eq!(record.partition, partition, "{codec}");
        }
    }
    let read = read_all(client, "java-transactions").await;
    let values: Vec<_> = read
        .iter()
        .map(|record| record.value.as_deref().unwrap())
        .collect();
    assert_eq!(values, [&b"first"[..], b"second", b"third"]);
}

async fn the_emitter_fills_both_brokers_with_the_same_records(
    kafka: &ApacheKafka,
    client: &Client,
) {
    let ours = Broker::start().await;
    let our_client = ours.client().await;
    let mut contents = Vec::new();
    for (bootstrap, client) in [
        (kafka.address.clone(), client),
        (ours.address.to_string(), &our_client),
    ] {
        let name = topic(client, "emitter", 4).await;
        let config = data_emitter::Config {
            bootstrap,
            topic: name.to_string(),
            rate: 0,
            count: Some(50_000),
            start_time: Some(1_795_000_000_000),
            compression: Codec::Lz4,
            ..data_emitter::Config::default()
        };
        let summary = data_emitter::run(config, CancellationToken::new())
            .await
            .unwrap();
        assert_eq!((summary.acknowledged, summary.failed), (50_000, 0));
        contents.push(read_all(client, &name).await);
    }
    assert_eq!(contents[0].len(), 50_000);
    assert!(contents[0] == contents[1], "the same seed, other records");
}

async fn round_trip(client: &Client, name: &str) {
    let name = topic(client, name, 2).await;
    let producer = Producer::new(client, ProducerConfig::default()).unwrap();
    let record = Record {
        key: Some(b"k"),
        value: Some(b"secret words"),
        timestamp: 1,
        ..Record::default()
    };
    producer.send(&name, record).await.unwrap();
    producer.close().await;
    let read = read_all(client, &name).await;
    assert_eq!(read[0].value.as_deref(), Some(&b"secret words"[..]));
    assert_eq!(read.len(), 1);
}

async fn passwords_are_proven_over_tls(kafka: &ApacheKafka) {
    let authority = testkit::tls().authority;
    for mechanism in [
        SaslMechanism::Plain,
        SaslMechanism::ScramSha256,
        SaslMechanism::ScramSha512,
    ] {
        let mut config = Config::new(&kafka.sasl_ssl);
        config.retry_timeout = Duration::from_secs(60);
        config.tls = Some(Tls {
            ca_file: Some(authority.clone()),
            ..Tls::default()
        });
        let sasl = |password: &str| {
            let (username, password) = ("alice".to_owned(), password.to_owned());
            Some(Sasl {
                mechanism,
                username,
                password,
            })
        };
        config.sasl = sasl("secret");
        let client = Client::connect(config.clone()).await.unwrap();
        round_trip(&client, mechanism.name()).await;
        config.sasl = sasl("wrong");
        let error = Client::connect(config.clone()).await.unwrap_err();
        assert!(
            matches!(error, Error::Authentication { .. }),
            "{mechanism:?}: {error}"
        );
        // An authority that is not the peer's.
        config.retry_timeout = Duration::from_millis(200);
        config.tls = Some(Tls::default());
        let error = Client::connect(config).await.unwrap_err();
        assert!(
            matches!(error, Error::Connect { .. } | Error::Config { .. }),
            "{error}"
        );
    }
}

async fn a_certificate_is_proven(kafka: &ApacheKafka) {
    let files = testkit::tls();
    let mut config = Config::new(&kafka.mutual_tls);
    config.tls = Some(Tls {
        ca_file: Some(files.authority),
        cert_file: Some(files.certificate),
        key_file: Some(files.key),
    });
    let client = Client::connect(config.clone()).await.unwrap();
    round_trip(&client, "mutual").await;
    config.retry_timeout = Duration::from_millis(200);
    if let Some(tls) = &mut config.tls {
        (tls.cert_file, tls.key_file) = (None, None);
    }
    let error = Client::connect(config).await.unwrap_err();
    assert!(error.is_retriable(), "{error}");
}
