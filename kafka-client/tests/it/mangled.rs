//! A broker whose answers are changed on the way: an error in time, or records that were really stored.

use std::sync::Arc;
use std::time::Duration;

use kafka_client::{
    Client, Config, ConsumerConfig, Error, Isolation, OffsetSpec, PartitionConsumer, Producer,
    ProducerConfig, Record, StartAt, TopicPartition,
};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::broker::{Broker, topic};

/// Which bytes of all that the broker answers are changed, counted from the last change of this plan.
#[derive(Debug, Default)]
struct Plan {
    /// Position, and what is laid over the byte there.
    changes: Vec<(usize, u8)>,
    passed: usize,
}

impl Plan {
    /// Three bytes for a change each: position in two of them, and the bits to flip.
    fn of(input: &[u8]) -> Plan {
        let change = |three: &[u8]| {
            let position = usize::from(three[0]) << 4 | usize::from(three[1] & 15);
            (position, three[2] | 1)
        };
        Plan {
            changes: input.chunks_exact(3).map(change).collect(),
            passed: 0,
        }
    }

    fn change(&mut self, bytes: &mut [u8]) {
        for (position, bits) in &self.changes {
            let at = position.checked_sub(self.passed);
            if let Some(byte) = at.and_then(|at| bytes.get_mut(at)) {
                *byte ^= bits;
            }
        }
        self.passed += bytes.len();
    }
}

async fn mangle(listener: TcpListener, broker: u16, plan: Arc<Mutex<Plan>>) {
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        let plan = Arc::clone(&plan);
        connections.spawn(async move {
            let server = TcpStream::connect(("127.0.0.1", broker)).await.unwrap();
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            let mut forward = JoinSet::new();
            forward.spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
                plan.lock().change(&mut buffer[..read]);
                if to_client.write_all(&buffer[..read]).await.is_err() {
                    return;
                }
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

fn value(number: u32) -> String {
    format!("value {number}")
}

/// Asks for everything the client can ask for; what it reads is what was stored.
async fn use_it(address: &str, name: &Arc<str>) -> Result<usize, Error> {
    let mut config = Config::new(address);
    config.connect_timeout = Duration::from_millis(300);
    config.request_timeout = Duration::from_millis(150);
    config.retry_timeout = Duration::from_millis(100);
    config.backoff = Duration::from_millis(1);
    config.max_response = 1 << 20;
    let client = Client::connect(config).await?;
    client
        .list_offsets(name, &[0], OffsetSpec::Latest, Isolation::ReadCommitted)
        .await?;
    let config = ProducerConfig {
        delivery_timeout: Duration::from_millis(300),
        ..ProducerConfig::default()
    };
    let producer = Producer::new(&client, config)?;
    let text = value(u32::MAX);
    let record = Record {
        value: Some(text.as_bytes()),
        partition: Some(0),
        ..Record::default()
    };
    producer.send(name, record).await?.wait().await?;
    let mut consumer = PartitionConsumer::new(&client, ConsumerConfig::default());
    consumer.assign([(TopicPartition::new(Arc::clone(name), 0), StartAt::Earliest)]);
    let next = tokio::time::timeout(Duration::from_millis(300), consumer.next()).await;
    let Ok(next) = next else { return Ok(0) };
    let records = next.map_err(|(_, error)| error)?.decode()?;
    for index in 0..records.len() {
        let read = String::from_utf8(records.value(index).unwrap().to_vec()).unwrap();
        let number = read.trim_start_matches("value ").parse().unwrap();
        assert_eq!(read, value(number));
        assert!(number < 100 || number == u32::MAX, "{read}");
    }
    Ok(records.len())
}

#[test]
fn answers_changed_on_the_way_do_no_harm() {
    let panics = testkit::Panics::count();
    let name: Arc<str> = "t".into();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (mut tasks, plan) = (JoinSet::new(), Arc::new(Mutex::new(Plan::default())));
    let (broker, address) = runtime.block_on(async {
        let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = proxy.local_addr().unwrap();
        let broker = Broker::start_advertising(address.port()).await;
        tasks.spawn(mangle(proxy, broker.address.port(), Arc::clone(&plan)));
        let client = Client::connect(Config::new(&address.to_string())).await;
        let client = client.unwrap();
        let name = topic(&client, "t", 1).await;
        let producer = Producer::new(&client, ProducerConfig::default()).unwrap();
        for number in 0..100 {
            let text = value(number);
            let record = Record {
                value: Some(text.as_bytes()),
                ..Record::default()
            };
            producer.send(&name, record).await.unwrap();
        }
        producer.flush().await;
        (broker, address.to_string())
    });
    assert!(runtime.block_on(use_it(&address, &name)).unwrap() >= 100);
    let corpus: Vec<Vec<u8>> = (0..=u8::MAX)
        .map(|position| vec![position, position.wrapping_mul(7), 0x80])
        .collect();
    let (mut n_whole, mut n_refused) = (0, 0);
    testkit::fuzz(&corpus, |input| {
        *plan.lock() = Plan::of(input);
        let used = use_it(&address, &name);
        let limit = Duration::from_secs(10);
        match runtime.block_on(async { tokio::time::timeout(limit, used).await }) {
            Err(_) => panic!("no end within {limit:?}"),
            Ok(Ok(_)) => n_whole += 1,
            Ok(Err(_)) => n_refused += 1,
        }
    });
    assert!(
        n_whole + n_refused > 0 && n_refused > 0,
        "{n_whole} {n_refused}"
    );
    assert_eq!(panics.so_far(), 0);
    runtime.block_on(async {
        tasks.shutdown().await;
        broker.stop().await;
    });
    // Names of brokers were changed too, and may still be looked up.
    runtime.shutdown_background();
}
