//! What the client knows of the cluster: brokers, topics and who leads each partition.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use kafka_protocol::messages::MetadataResponse;
use uuid::Uuid;

use crate::error::{Error, ErrorCode};

/// One partition of one topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// Topic name.
    pub topic: Arc<str>,
    /// Partition number.
    pub partition: i32,
}

/// A broker's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// Node id.
    pub id: i32,
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// What the cluster says of one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicInfo {
    /// Topic name.
    pub name: Arc<str>,
    /// Topic id, nil when the broker sends none.
    pub id: Uuid,
    /// Whether it belongs to the cluster itself.
    pub internal: bool,
    /// Its partitions, ordered by number.
    pub partitions: Vec<PartitionInfo>,
}

/// Where one partition lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionInfo {
    /// Partition number.
    pub partition: i32,
    /// Node id of the leader; `None` while there is none.
    pub leader: Option<i32>,
    /// Epoch of the leader, −1 when unknown.
    pub leader_epoch: i32,
    /// Node ids of all replicas.
    pub replicas: Vec<i32>,
    /// Node ids of the replicas in sync.
    pub in_sync: Vec<i32>,
}

/// What the cluster says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterInfo {
    /// Cluster id.
    pub id: Option<String>,
    /// Node id of the controller.
    pub controller: Option<i32>,
    /// All brokers.
    pub brokers: Vec<Broker>,
}

/// The client's copy of the cluster's metadata.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    pub(crate) cluster_id: Option<String>,
    pub(crate) controller: Option<i32>,
    pub(crate) brokers: HashMap<i32, Broker>,
    topics: HashMap<Arc<str>, Known>,
}

/// What was last said of a topic.
#[derive(Debug)]
struct Known {
    at: Instant,
    /// A broker denied it since.
    denied: bool,
    info: Arc<TopicInfo>,
}

impl TopicPartition {
    /// The partition `partition` of `topic`.
    #[must_use]
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> TopicPartition {
        TopicPartition {
            topic: topic.into(),
            partition,
        }
    }
}

impl std::fmt::Display for TopicPartition {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "`{}`-{}", self.topic, self.partition)
    }
}

impl Broker {
    /// The address as `host:port`.
    #[must_use]
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl Cache {
    /// The topic, if it was asked for after `not_before` and no broker has denied it since.
    pub(crate) fn topic(&self, name: &str, not_before: Option<Instant>) -> Option<Arc<TopicInfo>> {
        let known = self.topics.get(name)?;
        let fresh = !known.denied && not_before.is_none_or(|limit| known.at >= limit);
        fresh.then(|| Arc::clone(&known.info))
    }

    /// The topic, if it was asked for after `not_before`; its leaders may be out of date.
    pub(crate) fn shape(&self, name: &str, not_before: Option<Instant>) -> Option<Arc<TopicInfo>> {
        let known = self.topics.get(name)?;
        not_before
            .is_none_or(|limit| known.at >= limit)
            .then(|| Arc::clone(&known.info))
    }

    /// Notes that a broker denied what is known of the topic.
    pub(crate) fn forget(&mut self, name: &str) {
        if let Some(known) = self.topics.get_mut(name) {
            known.denied = true;
        }
    }

    /// Takes over a response; returns the error of each topic that has one.
    pub(crate) fn absorb(&mut self, now: Instant, response: &MetadataResponse) -> Vec<TopicError> {
        if let Some(id) = &response.cluster_id {
            self.cluster_id = Some(id.as_str().to_owned());
        }
        self.controller = (response.controller_id.0 >= 0).then_some(response.controller_id.0);
        self.brokers = response.brokers.iter().filter_map(broker).collect();
        let mut errors = Vec::new();
        for topic in &response.topics {
            let Some(name) = &topic.name else { continue };
            let name: Arc<str> = name.0.as_str().into();
            if let Some(code) = ErrorCode::try_from_code(topic.error_code) {
                self.topics.remove(&name);
                errors.push(TopicError { topic: name, code });
                continue;
            }
            let mut partitions: Vec<PartitionInfo> = topic
                .partitions
                .iter()
                .map(|partition| PartitionInfo {
                    partition: partition.partition_index,
                    leader: (partition.leader_id.0 >= 0).then_some(partition.leader_id.0),
                    leader_epoch: partition.leader_epoch,
                    replicas: partition.replica_nodes.iter().map(|node| node.0).collect(),
                    in_sync: partition.isr_nodes.iter().map(|node| node.0).collect(),
                })
                .collect();
            partitions.sort_by_key(|partition| partition.partition);
            let info = TopicInfo {
                name: Arc::clone(&name),
                id: topic.topic_id,
                internal: topic.is_internal,
                partitions,
            };
            self.topics.insert(
                name,
                Known {
                    at: now,
                    denied: false,
                    info: Arc::new(info),
                },
            );
        }
        errors
    }
}

/// A topic the cluster answered with an error for.
#[derive(Debug)]
pub(crate) struct TopicError {
    pub(crate) topic: Arc<str>,
    pub(crate) code: ErrorCode,
}

impl From<TopicError> for Error {
    fn from(error: TopicError) -> Error {
        let what = format!("metadata of `{}`", error.topic);
        Error::Broker {
            what,
            code: error.code,
            message: None,
        }
    }
}

fn broker(
    broker: &kafka_protocol::messages::metadata_response::MetadataResponseBroker,
) -> Option<(i32, Broker)> {
    let port = u16::try_from(broker.port).ok()?;
    let id = broker.node_id.0;
    Some((
        id,
        Broker {
            id,
            host: broker.host.as_str().to_owned(),
            port,
        },
    ))
}
