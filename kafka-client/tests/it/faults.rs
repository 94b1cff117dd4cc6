//! Lost connections and restarts: every record is stored once, in the order it was sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kafka_client::{
    BatchBuilder, Client, Config, Producer, ProducerConfig, Record, TopicPartition,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::broker::{Broker, read_all, topic};

/// Passes bytes between client and broker, and cuts each connection after some of the broker's answers.
struct Cutter {
    port: u16,
    cuts: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

/// Cuts connections until this many have been cut.
const CUTS: u64 = 25;

impl Cutter {
    async fn start(broker: u16, listener: TcpListener) -> Cutter {
        let port = listener.local_addr().unwrap().port();
        let cuts = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        let counter = Arc::clone(&cuts);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            for number in 0.. {
                let (client, _) = listener.accept().await.unwrap();
                // The first connection is the client's own, for metadata.
                connections.spawn(pass(client, broker, number, Arc::clone(&counter)));
            }
        });
        Cutter {
            port,
            cuts,
            _tasks: tasks,
        }
    }
}

async fn pass(client: TcpStream, broker: u16, number: u64, cuts: Arc<AtomicU64>) {
    let server = TcpStream::connect(("127.0.0.1", broker)).await.unwrap();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let mut forward = JoinSet::new();
    forward.spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
    let mut buffer = [0; 512];
    // Enough for the handshake; then the answer to some request is lost.
    let mut budget = 400 + (number * 97) % 700;
    loop {
        let Ok(read @ 1..) = from_server.read(&mut buffer).await else {
            return;
        };
        budget = budget.saturating_sub(read as u64);
        if budget == 0 && cuts.load(Ordering::Relaxed) < CUTS {
            cuts.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if to_client.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_connections_neither_lose_nor_repeat_nor_reorder() {
    // The broker advertises the proxy's port, so every connection passes through it.
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let broker = Broker::start_advertising(proxy.local_addr().unwrap().port()).await;
    let cutter = Cutter::start(broker.address.port(), proxy).await;
    let mut config = Config::new(&format!("127.0.0.1:{}", cutter.port));
    config.backoff = Duration::from_millis(1);
    let client = Client::connect(config).await.unwrap();
    let name = topic(&client, "cut", 2).await;
    let producer = Producer::new(&client, ProducerConfig::default()).unwrap();
    let mut deliveries = Vec::new();
    for number in 0..600_i64 {
        let mut batch = BatchBuilder::with_capacity(1024);
        for index in 0..5 {
            let value = (number * 5 + index).to_be_bytes();
            batch.append(0, None, Some(&value), &[]);
        }
        let partition = TopicPartition::new(name.clone(), (number % 2) as i32);
        deliveries.push(producer.send_batch(partition, batch).await.unwrap());
        // Let answers come in between, so that cuts fall on different batches.
        if number % 7 == 0 {
            producer.flush().await;
        }
    }
    producer.flush().await;
    for delivery in deliveries {
        delivery.wait().await.unwrap();
    }
    assert_eq!(
        cutter.cuts.load(Ordering::Relaxed),
        CUTS,
        "the proxy did its work"
    );
    assert!(producer.stats().retries > 0);
    for partition in 0..2 {
        let read: Vec<i64> = read_all(&client, &name)
            .await
            .iter()
            .filter(|read| read.partition == partition)
            .map(|read| i64::from_be_bytes(read.value.as_deref().unwrap().try_into().unwrap()))
            .collect();
        let expected: Vec<i64> = (0..3000)
            .filter(|value| value / 5 % 2 == i64::from(partition))
            .collect();
        assert_eq!(read, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_the_broker_is_survived_by_producer_and_reader() {
    let broker = Broker::start().await;
    let client = broker.client().await;
    let name = topic(&client, "restart", 1).await;
    let producer = Producer::new(&client, ProducerConfig::default()).unwrap();
    let send = async |range: std::ops::Range<u32>| {
        for index in range {
            let value = index.to_be_bytes();
            let record = Record {
                value: Some(&value),
                timestamp: 1,
                ..Record::default()
            };
            producer.send(&name, record).await.unwrap();
        }
    };
    send(0..1000).await;
    producer.flush().await;
    let stopped = broker.stop().await;
    send(1000..2000).await;
    let _broker = stopped.restart().await;
    send(2000..3000).await;
    producer.flush().await;
    assert_eq!(producer.stats().failed, 0);
    let read = read_all(&client, &name).await;
    let values: Vec<u32> = read
        .iter()
        .map(|read| u32::from_be_bytes(read.value.as_deref().unwrap().try_into().unwrap()))
        .collect();
    assert_eq!(values, (0..3000).collect::<Vec<u32>>());
}
