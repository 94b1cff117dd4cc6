//! The same calls against a real Apache Kafka, which somebody started.
//!
//! `STREAMFORGE_PEERS=kafka` turns it on; `STREAMFORGE_KAFKA` is its plain listener. With `STREAMFORGE_KAFKA_SASL_SSL`,
//! a listener with TLS and passwords, and `STREAMFORGE_KAFKA_CA`, the PEM file of its authority, encryption and all
//! three mechanisms are shown, too; its user is `alice` with the password `secret`.

use std::time::Duration;

use data_emitter::Codec;
use kafka_client::{
    Client, CommittedOffset, Compression, Config, ConfigResource, Error, Isolation, NewTopic,
    OffsetSpec, Producer, ProducerConfig, Record, Sasl, SaslMechanism, Tls, TopicPartition,
};
use tokio_util::sync::CancellationToken;

use crate::broker::{read_all, topic};

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// A name that no earlier run used.
fn unique(name: &str) -> String {
    format!("{name}-{}", uuid::Uuid::new_v4())
}

async fn round_trip(client: &Client, compression: Compression) {
    let name = topic(client, &unique("round-trip"), 3).await;
    let producer = Producer::new(
        client,
        ProducerConfig {
            compression,
            ..Default::default()
        },
    );
    let producer = producer.unwrap();
    for index in 0..300_u32 {
        let key = index.to_be_bytes();
        let value = vec![b'v'; index as usize];
        let record = Record {
            key: Some(&key),
            value: Some(&value),
            timestamp: 1,
            ..Record::default()
        };
        producer.send(&name, record).await.unwrap();
    }
    producer.flush().await;
    assert_eq!(
        (producer.stats().records, producer.stats().failed),
        (300, 0)
    );
    let mut lengths: Vec<usize> = read_all(client, &name)
        .await
        .iter()
        .map(|read| read.value.as_ref().unwrap().len())
        .collect();
    lengths.sort_unstable();
    assert_eq!(lengths, (0..300).collect::<Vec<usize>>());
    client.delete_topic(&name).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apache_kafka_is_served_the_same() {
    if !testkit::peer("kafka") {
        return;
    }
    let Some(address) = variable("STREAMFORGE_KAFKA") else {
        return;
    };
    let client = Client::connect(Config::new(&address)).await.unwrap();
    for compression in [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ] {
        round_trip(&client, compression).await;
    }
    let name = unique("admin");
    client.ensure_topic(&NewTopic::new(&name, 1)).await.unwrap();
    client.create_partitions(&name, 2).await.unwrap();
    assert_eq!(client.await_topic(&name).await.unwrap().partitions.len(), 2);
    let resource = ConfigResource::Topic(name.clone());
    client
        .alter_configs(&resource, &[("retention.ms", Some("7200000"))])
        .await
        .unwrap();
    let entries = client.describe_configs(&resource).await.unwrap();
    let entry = entries
        .iter()
        .find(|entry| entry.name == "retention.ms")
        .unwrap();
    assert_eq!(
        (entry.value.as_deref(), entry.is_default),
        (Some("7200000"), false)
    );
    let committed = [CommittedOffset {
        partition: TopicPartition::new(name.as_str(), 1),
        offset: 17,
        metadata: "checkpoint 3".to_owned(),
    }];
    client.commit_offsets(&name, &committed).await.unwrap();
    let partitions = [0, 1].map(|partition| TopicPartition::new(name.as_str(), partition));
    assert_eq!(
        client.committed_offsets(&name, &partitions).await.unwrap(),
        committed
    );
    assert!(
        client
            .list_groups()
            .await
            .unwrap()
            .iter()
            .any(|group| group.group == name)
    );
    let ends = client
        .list_offsets(&name, &[0, 1], OffsetSpec::Latest, Isolation::ReadCommitted)
        .await
        .unwrap();
    assert_eq!(
        ends.iter().map(|listed| listed.offset).collect::<Vec<_>>(),
        [Some(0); 2]
    );
    client.delete_topic(&name).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_emitter_fills_apache_kafka() {
    if !testkit::peer("kafka") {
        return;
    }
    let Some(bootstrap) = variable("STREAMFORGE_KAFKA") else {
        return;
    };
    let client = Client::connect(Config::new(&bootstrap)).await.unwrap();
    let name = topic(&client, &unique("emitter"), 4).await;
    let config = data_emitter::Config {
        bootstrap,
        topic: name.to_string(),
        rate: 0,
        count: Some(100_000),
        compression: Codec::Lz4,
        ..data_emitter::Config::default()
    };
    let summary = data_emitter::run(config, CancellationToken::new())
        .await
        .unwrap();
    assert_eq!(
        (summary.acknowledged, summary.failed),
        (100_000, 0),
        "{summary}"
    );
    assert_eq!(read_all(&client, &name).await.len(), 100_000);
    client.delete_topic(&name).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passwords_are_proven_over_tls() {
    if !testkit::peer("kafka") {
        return;
    }
    let (Some(address), Some(ca)) = (
        variable("STREAMFORGE_KAFKA_SASL_SSL"),
        variable("STREAMFORGE_KAFKA_CA"),
    ) else {
        return;
    };
    for mechanism in [
        SaslMechanism::Plain,
        SaslMechanism::ScramSha256,
        SaslMechanism::ScramSha512,
    ] {
        let mut config = Config::new(&address);
        config.retry_timeout = Duration::from_secs(20);
        config.tls = Some(Tls {
            ca_file: Some(ca.clone().into()),
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
        round_trip(&client, Compression::Zstd).await;
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
