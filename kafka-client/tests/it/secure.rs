//! Encryption and passwords against the broker of this platform, for the client and for the emitter.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_client::{Client, Config, Error, Producer, ProducerConfig, Record};
use tokio_util::sync::CancellationToken;

use crate::broker::{Broker, read_all, topic};

/// A broker that speaks only TLS and asks everyone for a password.
async fn broker() -> Broker {
    Broker::start_with(|config| {
        let files = testkit::tls();
        config.tls = Some(streaming_server::Tls {
            certificate: files.certificate,
            key: files.key,
        });
        config.users.insert("alice".to_owned(), "secret".to_owned());
    })
    .await
}

/// The properties a user of the Java client would write.
fn properties(mechanism: &str, password: &str) -> BTreeMap<String, String> {
    let module = if mechanism == "PLAIN" {
        "plain.PlainLoginModule"
    } else {
        "scram.ScramLoginModule"
    };
    let text = format!(
        "security.protocol=SASL_SSL\nsasl.mechanism={mechanism}\nssl.truststore.type=PEM\n\
         ssl.truststore.location={}\n\
         sasl.jaas.config=org.apache.kafka.common.security.{module} required username=\"alice\" password=\"{password}\";",
        testkit::tls().authority.display()
    );
    kafka_client::parse_properties(&text).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_mechanism_lets_the_right_password_in_and_no_other() {
    let broker = broker().await;
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let mut config = Config::new(&broker.address.to_string());
        config.retry_timeout = Duration::from_secs(60);
        let right = config
            .clone()
            .with_properties(&properties(mechanism, "secret"));
        let client = Client::connect(right.unwrap()).await.unwrap();
        let name = topic(&client, mechanism, 1).await;
        let producer = Producer::new(&client, ProducerConfig::default()).unwrap();
        let record = Record {
            value: Some(mechanism.as_bytes()),
            timestamp: 1,
            ..Record::default()
        };
        producer.send(&name, record).await.unwrap();
        producer.close().await;
        let read = read_all(&client, &name).await;
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].value.as_deref(), Some(mechanism.as_bytes()));
        let wrong = config.with_properties(&properties(mechanism, "guess"));
        let error = Client::connect(wrong.unwrap()).await.unwrap_err();
        assert!(matches!(error, Error::Authentication { .. }), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_authority_and_plain_text_are_refused() {
    let broker = broker().await;
    let mut config = Config::new(&broker.address.to_string());
    config.retry_timeout = Duration::from_millis(300);
    config.request_timeout = Duration::from_secs(5);
    let mut properties = properties("PLAIN", "secret");
    // The certificate of somebody else as the authority.
    properties.insert(
        "ssl.truststore.location".to_owned(),
        testkit::tls().certificate.display().to_string(),
    );
    let stranger = config.clone().with_properties(&properties).unwrap();
    let error = Client::connect(stranger).await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error}");
    let error = Client::connect(config).await.unwrap_err();
    assert!(error.is_retriable(), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_emitter_sends_with_a_password_over_tls() {
    let broker = broker().await;
    let config = data_emitter::Config {
        bootstrap: broker.address.to_string(),
        properties: properties("SCRAM-SHA-512", "secret"),
        rate: 0,
        count: Some(5_000),
        ..data_emitter::Config::default()
    };
    let summary = data_emitter::run(config.clone(), CancellationToken::new())
        .await
        .unwrap();
    assert_eq!((summary.acknowledged, summary.failed), (5_000, 0));
    let reader = Config::new(&broker.address.to_string()).with_properties(&config.properties);
    let client = Client::connect(reader.unwrap()).await.unwrap();
    assert_eq!(read_all(&client, &config.topic).await.len(), 5_000);
    let denied = data_emitter::Config {
        properties: properties("SCRAM-SHA-512", "guess"),
        ..config
    };
    let error = data_emitter::run(denied, CancellationToken::new())
        .await
        .unwrap_err();
    let data_emitter::Error::Kafka { source, .. } = error else {
        panic!("{error}")
    };
    assert!(matches!(source, Error::Authentication { .. }), "{source}");
}
