//! Metadata: who leads what, which here is always this broker; creates topics that are asked for, if configured.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{MetadataRequest, MetadataResponse};
use uuid::Uuid;

use super::produce::OFFSETS_TOPIC;
use super::{Broker, text, topic_name};
use crate::topics::{self, Topic};
use crate::wire::topic_code;

impl Broker {
    pub(super) async fn metadata(
        &self,
        request: MetadataRequest,
        version: i16,
    ) -> MetadataResponse {
        let may_create =
            self.config.auto_create_topics && (version < 4 || request.allow_auto_topic_creation);
        let described = match request.topics {
            // Version 0 has no null: there an empty list asks for everything.
            Some(topics) if version > 0 || !topics.is_empty() => {
                let mut described = Vec::with_capacity(topics.len());
                for topic in topics {
                    described.push(match topic.name {
                        Some(name) => self.describe_named(&name, may_create, version).await,
                        None => self.describe_by_id(topic.topic_id, version),
                    });
                }
                described
            }
            _ => self
                .topics
                .all()
                .iter()
                .map(|topic| self.describe(topic, version))
                .collect(),
        };
        let broker = MetadataResponseBroker::default()
            .with_node_id(self.node_id())
            .with_host(text(&self.host))
            .with_port(i32::from(self.port));
        MetadataResponse::default()
            .with_brokers(vec![broker])
            .with_cluster_id(Some(text(self.topics.cluster_id())))
            .with_controller_id(self.node_id())
            .with_topics(described)
    }

    async fn describe_named(
        &self,
        name: &str,
        may_create: bool,
        version: i16,
    ) -> MetadataResponseTopic {
        if let Some(topic) = self.topics.get(name) {
            return self.describe(&topic, version);
        }
        let outcome = if may_create {
            self.create_on_demand(name).await
        } else {
            Err(unknown_or_invalid(name))
        };
        match outcome {
            Ok(topic) => self.describe(&topic, version),
            Err(error) => MetadataResponseTopic::default()
                .with_name(Some(topic_name(name)))
                .with_error_code(error.code()),
        }
    }

    fn describe_by_id(&self, id: Uuid, version: i16) -> MetadataResponseTopic {
        match self.topics.get_by_id(id) {
            Some(topic) => self.describe(&topic, version),
            None => MetadataResponseTopic::default()
                .with_name((version < 12).then(|| topic_name("")))
                .with_topic_id(id)
                .with_error_code(ResponseError::UnknownTopicId.code()),
        }
    }

    async fn create_on_demand(&self, name: &str) -> Result<Arc<Topic>, ResponseError> {
        let (owned, n_partitions, now_ms) = (
            name.to_owned(),
            self.config.default_partitions,
            Self::now_ms(),
        );
        let outcome = self
            .change(move |topics| topics.create(&owned, n_partitions, BTreeMap::new(), now_ms))
            .await;
        match outcome {
            Some(Ok(topic)) => Ok(topic),
            // Someone else was faster.
            Some(Err(topics::Error::Exists { .. })) => self
                .topics
                .get(name)
                .ok_or(ResponseError::LeaderNotAvailable),
            Some(Err(error)) => {
                tracing::warn!(topic = name, error = %telemetry::chain(&error), "topic could not be created on demand");
                Err(topic_code(&error))
            }
            None => Err(ResponseError::LeaderNotAvailable),
        }
    }

    fn describe(&self, topic: &Topic, version: i16) -> MetadataResponseTopic {
        let partitions = (0..).zip(&topic.partitions).map(|(number, partition)| {
            let described = MetadataResponsePartition::default()
                .with_partition_index(number)
                .with_leader_id(self.node_id())
                .with_replica_nodes(vec![self.node_id()])
                .with_isr_nodes(vec![self.node_id()]);
            if version >= 7 {
                described.with_leader_epoch(partition.leader_epoch())
            } else {
                described
            }
        });
        let described = MetadataResponseTopic::default()
            .with_name(Some(topic_name(&topic.name)))
            .with_is_internal(&*topic.name == OFFSETS_TOPIC)
            .with_partitions(partitions.collect());
        if version >= 10 {
            described.with_topic_id(topic.id)
        } else {
            described
        }
    }
}

fn unknown_or_invalid(name: &str) -> ResponseError {
    match topics::check_name(name) {
        Ok(()) => ResponseError::UnknownTopicOrPartition,
        Err(_) => ResponseError::InvalidTopicException,
    }
}
