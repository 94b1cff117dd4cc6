//! The client: one cluster's metadata and a pool of connections to its brokers.
//!
//! Clones share both. [`Client::dedicated`] shares the metadata but has connections of its own, because a broker answers
//! in order: a long poll must not hold up a produce request behind it.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{MetadataRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use parking_lot::Mutex;
use tokio::sync::Mutex as AsyncMutex;
use tracing::debug;

use crate::config::Config;
use crate::connection::Connection;
use crate::error::{Error, ErrorCode};
use crate::metadata::{Cache, ClusterInfo, TopicInfo, TopicPartition};
use crate::tls;

/// Metadata version in use: 13 adds nothing we read.
const METADATA_CAP: i16 = 12;

/// A client of one Kafka cluster; cheap to clone.
#[derive(Clone)]
pub struct Client {
    cluster: Arc<Cluster>,
    pool: Arc<Pool>,
}

struct Cluster {
    config: Config,
    tls: Option<tls::Connector>,
    cache: Mutex<Cache>,
}

/// The slot of an address is locked while a connection is made, so it is made once.
type Slot = Arc<AsyncMutex<Option<Arc<Connection>>>>;

#[derive(Default)]
struct Pool {
    slots: Mutex<HashMap<String, Slot>>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Client")
            .field("bootstrap", &self.config().bootstrap)
            .finish()
    }
}

impl Client {
    /// Connects to the cluster; fails after `retry_timeout` when no bootstrap broker answers.
    pub async fn connect(config: Config) -> Result<Client, Error> {
        config.validate()?;
        let tls = config.tls.as_ref().map(tls::Connector::new).transpose()?;
        let cluster = Cluster {
            config,
            tls,
            cache: Mutex::default(),
        };
        let client = Client {
            cluster: Arc::new(cluster),
            pool: Arc::default(),
        };
        client
            .retry(|| {
                let client = client.clone();
                async move { client.request_metadata(Some(&[])).await }
            })
            .await?;
        Ok(client)
    }

    /// The configuration it was made with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.cluster.config
    }

    /// A client of the same cluster with connections of its own.
    #[must_use]
    pub fn dedicated(&self) -> Client {
        Client {
            cluster: Arc::clone(&self.cluster),
            pool: Arc::default(),
        }
    }

    /// What the cluster says of itself, asked now.
    pub async fn cluster(&self) -> Result<ClusterInfo, Error> {
        self.request_metadata(Some(&[])).await?;
        let cache = self.cluster.cache.lock();
        let mut brokers: Vec<_> = cache.brokers.values().cloned().collect();
        brokers.sort_by_key(|broker| broker.id);
        Ok(ClusterInfo {
            id: cache.cluster_id.clone(),
            controller: cache.controller,
            brokers,
        })
    }

    /// The names of all topics, asked now, in order.
    pub async fn topic_names(&self) -> Result<Vec<Arc<str>>, Error> {
        self.request_metadata(None).await
    }

    /// The topic, from memory if it is known well enough. A topic that does not exist is
    /// [`ErrorCode::UnknownTopicOrPartition`].
    pub async fn topic(&self, name: &str) -> Result<Arc<TopicInfo>, Error> {
        let limit = Instant::now().checked_sub(self.config().metadata_max_age);
        if let Some(topic) = self.cluster.cache.lock().topic(name, limit) {
            return Ok(topic);
        }
        self.refresh_topic(name).await
    }

    /// The topic, asked now.
    pub async fn refresh_topic(&self, name: &str) -> Result<Arc<TopicInfo>, Error> {
        self.request_metadata(Some(&[name])).await?;
        self.cluster
            .cache
            .lock()
            .topic(name, None)
            .ok_or_else(|| Error::NotFound {
                what: format!("topic `{name}` in the metadata"),
            })
    }

    /// The topic once it exists and every partition has a leader.
    pub async fn await_topic(&self, name: &str) -> Result<Arc<TopicInfo>, Error> {
        self.retry(|| {
            let client = self.clone();
            let name = name.to_owned();
            async move {
                let topic = client.refresh_topic(&name).await?;
                if topic.partitions.is_empty()
                    || topic.partitions.iter().any(|p| p.leader.is_none())
                {
                    return Err(Error::NotFound {
                        what: format!("leader of `{name}`"),
                    });
                }
                Ok(topic)
            }
        })
        .await
    }

    // === For the other modules ===

    /// The leader of a partition by the metadata at hand.
    pub(crate) async fn leader(&self, partition: &TopicPartition) -> Result<i32, Error> {
        let topic = self.topic(&partition.topic).await?;
        topic
            .partitions
            .iter()
            .find(|info| info.partition == partition.partition)
            .and_then(|info| info.leader)
            .ok_or_else(|| {
                self.forget(&partition.topic);
                Error::NotFound {
                    what: format!("leader of {partition}"),
                }
            })
    }

    /// How many partitions the topic has; while the cluster is away, what it had, or waits.
    pub(crate) async fn partition_count(&self, name: &str) -> Result<usize, Error> {
        let limit = Instant::now().checked_sub(self.config().metadata_max_age);
        if let Some(topic) = self.cluster.cache.lock().shape(name, limit) {
            return Ok(topic.partitions.len());
        }
        let topic = self.retry(|| {
            let client = self.clone();
            let name = name.to_owned();
            async move { client.topic(&name).await }
        });
        Ok(topic.await?.partitions.len())
    }

    /// Forgets the topic; the next question about it goes to the cluster.
    pub(crate) fn forget(&self, topic: &str) {
        self.cluster.cache.lock().forget(topic);
    }

    /// An open connection to the broker of this node id.
    pub(crate) async fn broker(&self, node: i32) -> Result<Arc<Connection>, Error> {
        let address = self
            .cluster
            .cache
            .lock()
            .brokers
            .get(&node)
            .map(|broker| broker.address());
        let address = address.ok_or_else(|| Error::NotFound {
            what: format!("broker with id {node}"),
        })?;
        self.connection(&address).await
    }

    /// An open connection to the controller, or to any broker of a cluster that names none.
    pub(crate) async fn controller(&self) -> Result<Arc<Connection>, Error> {
        let node = self.cluster.cache.lock().controller;
        match node {
            Some(node) => self.broker(node).await,
            None => self.any().await,
        }
    }

    /// An open connection to some broker: known ones first, then the bootstrap list.
    pub(crate) async fn any(&self) -> Result<Arc<Connection>, Error> {
        let known: Vec<String> = self
            .cluster
            .cache
            .lock()
            .brokers
            .values()
            .map(|broker| broker.address())
            .collect();
        let mut last = Error::Closed;
        for address in known.iter().chain(&self.config().bootstrap) {
            match self.connection(address).await {
                Ok(connection) => return Ok(connection),
                // Refused credentials are refused everywhere; the next address would hide the reason.
                Err(error @ Error::Authentication { .. }) => return Err(error),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn connection(&self, address: &str) -> Result<Arc<Connection>, Error> {
        let slot = Arc::clone(
            self.pool
                .slots
                .lock()
                .entry(address.to_owned())
                .or_default(),
        );
        let mut slot = slot.lock().await;
        if let Some(connection) = slot.as_ref().filter(|connection| connection.is_open()) {
            return Ok(Arc::clone(connection));
        }
        let tls = self.cluster.tls.as_ref();
        let connection = Arc::new(Connection::open(self.config(), tls, address).await?);
        debug!(address, "connected");
        *slot = Some(Arc::clone(&connection));
        Ok(connection)
    }

    /// Runs `attempt` until it succeeds, fails for good, or `retry_timeout` is over.
    pub(crate) async fn retry<T, F, A>(&self, mut attempt: A) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>> + Send,
        A: FnMut() -> F,
    {
        let deadline = Instant::now() + self.config().retry_timeout;
        let mut failures = 0;
        loop {
            let error = match attempt().await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let pause = self.config().pause(failures);
            if !error.is_retriable() || Instant::now() + pause >= deadline {
                return Err(error);
            }
            debug!(%error, "trying again");
            tokio::time::sleep(pause).await;
            failures += 1;
        }
    }

    /// Asks for the topics (`None` = all), keeps the answer, and returns the names of those without error.
    async fn request_metadata(&self, topics: Option<&[&str]>) -> Result<Vec<Arc<str>>, Error> {
        let request = MetadataRequest::default()
            .with_topics(topics.map(|names| {
                names
                    .iter()
                    .map(|name| {
                        let name = TopicName(StrBytes::from_string((*name).to_owned()));
                        MetadataRequestTopic::default().with_name(Some(name))
                    })
                    .collect()
            }))
            .with_allow_auto_topic_creation(false);
        let connection = self.any().await?;
        let (response, _) = connection.call(&request, METADATA_CAP).await?;
        Error::check(response.error_code, || "metadata".to_owned(), None)?;
        let errors = self.cluster.cache.lock().absorb(Instant::now(), &response);
        // Of all topics, those with an error are only missing; a topic asked for by name is an error.
        if topics.is_some()
            && let Some(error) = errors.into_iter().next()
        {
            return Err(error.into());
        }
        let mut names: Vec<Arc<str>> = response
            .topics
            .iter()
            .filter(|topic| topic.error_code == 0)
            .filter_map(|topic| Some(topic.name.as_ref()?.0.as_str().into()))
            .collect();
        names.sort();
        Ok(names)
    }
}

/// Whether the code says that the metadata at hand is out of date.
pub(crate) fn is_stale(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::NotLeaderOrFollower
            | ErrorCode::LeaderNotAvailable
            | ErrorCode::UnknownTopicOrPartition
            | ErrorCode::FencedLeaderEpoch
            | ErrorCode::UnknownLeaderEpoch
            | ErrorCode::KafkaStorageError
            | ErrorCode::ReplicaNotAvailable
            | ErrorCode::BrokerNotAvailable
    )
}
