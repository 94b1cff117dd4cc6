//! Starts the broker of this platform on a free port, and stops and restarts it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_client::{
    Client, Config, ConsumerConfig, Isolation, NewTopic, OffsetSpec, PartitionConsumer, StartAt,
    TopicPartition,
};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What a broker keeps while it is stopped: its directory and its port.
struct Place {
    directory: TempDir,
    ports: testkit::Ports,
}

/// A running broker and its place.
pub(crate) struct Broker {
    pub(crate) address: SocketAddr,
    data_dir: PathBuf,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), streaming_server::Error>>,
    place: Arc<Place>,
}

impl Broker {
    pub(crate) async fn start() -> Broker {
        Broker::start_with(|_| {}).await
    }

    /// A broker that tells clients another port than its own.
    pub(crate) async fn start_advertising(port: u16) -> Broker {
        Broker::start_with(|config| config.advertised_port = Some(port)).await
    }

    /// A broker with a configuration of the test's own.
    pub(crate) async fn start_with(change: impl FnOnce(&mut streaming_server::Config)) -> Broker {
        let place = Place {
            directory: testkit::temp_dir(),
            ports: testkit::Ports::new(),
        };
        let mut config = streaming_server::Config {
            listen: place.ports.address(0).parse().unwrap(),
            data_dir: place.directory.path().join("log"),
            ..streaming_server::Config::default()
        };
        change(&mut config);
        Broker::serve(config, Arc::new(place)).await
    }

    async fn serve(mut config: streaming_server::Config, place: Arc<Place>) -> Broker {
        // The port of a broker just stopped may be held for a moment.
        let listener = testkit::wait_until("the port", Duration::from_secs(10), async || {
            TcpListener::bind(config.listen).await.ok()
        })
        .await;
        let admin = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        config.listen = address;
        let data_dir = config.data_dir.clone();
        let shutdown = CancellationToken::new();
        let task = Broker::spawn(streaming_server::serve(
            config,
            listener,
            admin,
            shutdown.clone(),
        ));
        Broker {
            address,
            data_dir,
            shutdown,
            task,
            place,
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the broker awaits its own task in `stop`"
    )]
    fn spawn(
        serving: impl Future<Output = Result<(), streaming_server::Error>> + Send + 'static,
    ) -> JoinHandle<Result<(), streaming_server::Error>> {
        tokio::spawn(serving)
    }

    pub(crate) async fn stop(self) -> Stopped {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
        Stopped {
            address: self.address,
            data_dir: self.data_dir,
            place: self.place,
        }
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(Config::new(&self.address.to_string()))
            .await
            .unwrap()
    }
}

/// A broker that can be started again where it was.
pub(crate) struct Stopped {
    address: SocketAddr,
    data_dir: PathBuf,
    place: Arc<Place>,
}

impl Stopped {
    pub(crate) async fn restart(self) -> Broker {
        assert!(Path::new(&self.data_dir).is_dir());
        let config = streaming_server::Config {
            listen: self.address,
            data_dir: self.data_dir,
            ..streaming_server::Config::default()
        };
        Broker::serve(config, self.place).await
    }
}

/// Makes a topic that keeps records of any age, as tests use fixed times, and returns its name.
pub(crate) async fn topic(client: &Client, name: &str, partitions: i32) -> Arc<str> {
    let mut topic = NewTopic::new(name, partitions);
    topic
        .config
        .insert("retention.ms".to_owned(), "-1".to_owned());
    client.ensure_topic(&topic).await.unwrap();
    name.into()
}

/// One record as a test compares it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Read {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) key: Option<Bytes>,
    pub(crate) value: Option<Bytes>,
}

/// Everything that is in the topic now, by partition and offset.
pub(crate) async fn read_all(client: &Client, name: &str) -> Vec<Read> {
    let topic = client.refresh_topic(name).await.unwrap();
    let partitions: Vec<i32> = topic.partitions.iter().map(|info| info.partition).collect();
    let ends = client
        .list_offsets(
            name,
            &partitions,
            OffsetSpec::Latest,
            Isolation::ReadCommitted,
        )
        .await
        .unwrap();
    let mut consumer = PartitionConsumer::new(client, ConsumerConfig::default());
    let mut open: Vec<(TopicPartition, i64)> = ends
        .iter()
        .map(|listed| {
            (
                TopicPartition::new(name, listed.partition),
                listed.offset.unwrap(),
            )
        })
        .filter(|(_, end)| *end > 0)
        .collect();
    consumer.assign(
        open.iter()
            .map(|(partition, _)| (partition.clone(), StartAt::Earliest)),
    );
    let mut read = Vec::new();
    while !open.is_empty() {
        let fetched = tokio::time::timeout(Duration::from_secs(30), consumer.next())
            .await
            .expect("records within 30 s")
            .unwrap();
        let records = fetched.decode().unwrap();
        for index in 0..records.len() {
            read.push(Read {
                partition: records.partition,
                offset: records.offsets[index],
                key: records.key(index).map(Bytes::copy_from_slice),
                value: records.value(index).map(Bytes::copy_from_slice),
            });
        }
        let position = consumer.position(&fetched.partition).unwrap();
        open.retain(|(partition, end)| *partition != fetched.partition || position < *end);
    }
    read.sort();
    read
}
