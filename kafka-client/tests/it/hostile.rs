//! Peers that send nonsense, too much, or nothing: the right error, in time, and bounded memory.

use std::time::Duration;

use kafka_client::{Client, Config, Error, Producer, ProducerConfig, Record};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::broker::{Broker, topic};

/// Connects to a peer that answers every connection with `answer` and then waits.
async fn connect_to(answer: &'static [u8]) -> Error {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut peer = JoinSet::new();
    peer.spawn(async move {
        let mut open = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 64];
            let _ = stream.read(&mut request).await;
            stream.write_all(answer).await.unwrap();
            open.push(stream);
        }
    });
    let mut config = Config::new(&address);
    config.request_timeout = Duration::from_millis(200);
    config.retry_timeout = Duration::from_millis(300);
    config.max_response = 1 << 20;
    Client::connect(config).await.unwrap_err()
}

#[tokio::test]
async fn a_frame_over_the_limit_ends_the_connection() {
    let error = connect_to(b"\x7f\xff\xff\xff\0\0\0\0").await;
    assert!(error.to_string().contains("at most 1048576"), "{error}");
}

#[tokio::test]
async fn an_answer_to_another_question_is_malformed() {
    let error = connect_to(b"\0\0\0\x08\0\0\0\x63\0\0\0\0").await;
    assert!(error.to_string().contains("correlation id 99"), "{error}");
}

#[tokio::test]
async fn a_body_cut_short_is_malformed() {
    let error = connect_to(b"\0\0\0\x06\0\0\0\0\0\0").await;
    assert!(matches!(error, Error::Malformed { .. }), "{error}");
}

#[tokio::test]
async fn a_count_that_no_frame_holds_reserves_no_memory() {
    // Version 0, no error, and two thousand million APIs.
    let error = connect_to(b"\0\0\0\x0a\0\0\0\0\0\x23\x7f\xff\xff\xff").await;
    assert!(matches!(error, Error::Malformed { .. }), "{error}");
}

#[tokio::test]
async fn a_silent_peer_is_given_up_in_time() {
    let error = connect_to(b"").await;
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
}

#[tokio::test]
async fn nobody_there_is_a_connect_error_that_names_the_address() {
    let ports = testkit::Ports::new();
    let free = ports.address(0);
    let mut config = Config::new(&free);
    config.retry_timeout = Duration::from_millis(100);
    let error = Client::connect(config).await.unwrap_err();
    assert!(matches!(&error, Error::Connect { address, .. } if *address == free));
    assert!(error.is_retriable());
}

#[tokio::test]
async fn what_is_too_large_is_refused_before_it_waits_for_memory() {
    let broker = Broker::start().await;
    let client = broker.client().await;
    let name = topic(&client, "large", 1).await;
    let config = ProducerConfig {
        memory: 1 << 20,
        batch_bytes: 64 << 10,
        ..ProducerConfig::default()
    };
    let producer = Producer::new(&client, config).unwrap();
    let value = vec![0; 2 << 20];
    let record = Record {
        value: Some(&value),
        ..Record::default()
    };
    let error = producer.send(&name, record).await.unwrap_err();
    assert!(
        matches!(error, Error::TooLarge { limit, .. } if limit == 1 << 20),
        "{error}"
    );
    // Over the broker's limit, under ours: the broker's answer fails this batch and no other.
    let config = ProducerConfig {
        memory: 8 << 20,
        ..ProducerConfig::default()
    };
    let producer = Producer::new(&client, config).unwrap();
    let large = producer.send(&name, record).await.unwrap();
    let small = Record {
        value: Some(b"small"),
        ..Record::default()
    };
    let small = producer.send(&name, small).await.unwrap();
    producer.flush().await;
    let error = large.wait().await.unwrap_err();
    assert_eq!(
        error.code(),
        Some(kafka_client::ErrorCode::MessageTooLarge),
        "{error}"
    );
    assert_eq!(small.wait().await.unwrap().offset, 0);
}
