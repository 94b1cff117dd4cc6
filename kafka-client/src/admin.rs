//! Administration: topics, partitions, configuration, groups.

use std::collections::BTreeMap;

use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, DescribeConfigsRequest,
    IncrementalAlterConfigsRequest, ListGroupsRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use crate::client::Client;
use crate::error::{Error, ErrorCode};

/// A topic to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// Number of partitions, −1 for the broker's default.
    pub partitions: i32,
    /// Number of replicas, −1 for the broker's default.
    pub replication: i16,
    /// Its configuration, where it is not the broker's default.
    pub config: BTreeMap<String, String>,
}

/// Whose configuration is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigResource {
    /// A topic's.
    Topic(String),
    /// A broker's.
    Broker(i32),
}

/// One configuration value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Its key.
    pub name: String,
    /// Its value; `None` where the broker keeps it secret.
    pub value: Option<String>,
    /// Whether it is the default.
    pub is_default: bool,
    /// Whether it can only be read.
    pub read_only: bool,
}

/// One consumer group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupListing {
    /// Group id.
    pub group: String,
    /// Protocol of its members, empty when only offsets are kept.
    pub protocol: String,
    /// Its state; empty from brokers that do not say.
    pub state: String,
}

impl NewTopic {
    /// A topic with the broker's replication and configuration.
    #[must_use]
    pub fn new(name: impl Into<String>, partitions: i32) -> NewTopic {
        NewTopic {
            name: name.into(),
            partitions,
            replication: -1,
            config: BTreeMap::new(),
        }
    }
}

impl Client {
    /// Creates a topic. One that exists is [`ErrorCode::TopicAlreadyExists`].
    pub async fn create_topic(&self, topic: &NewTopic) -> Result<(), Error> {
        let text = |text: &str| StrBytes::from_string(text.to_owned());
        let configs = topic.config.iter().map(|(name, value)| {
            CreatableTopicConfig::default()
                .with_name(text(name))
                .with_value(Some(text(value)))
        });
        let wanted = CreatableTopic::default()
            .with_name(TopicName(text(&topic.name)))
            .with_num_partitions(topic.partitions)
            .with_replication_factor(topic.replication)
            .with_configs(configs.collect());
        let request = CreateTopicsRequest::default()
            .with_topics(vec![wanted])
            .with_timeout_ms(self.timeout_ms());
        let (response, _) = self.controller().await?.call(&request, 7).await?;
        let what = || format!("creation of topic `{}`", topic.name);
        let result = response
            .topics
            .first()
            .ok_or_else(|| Error::NotFound { what: what() })?;
        Error::check(result.error_code, what, result.error_message.as_deref())
    }

    /// Creates the topic unless it exists, and waits until every partition has a leader. Says whether it was created.
    pub async fn ensure_topic(&self, topic: &NewTopic) -> Result<bool, Error> {
        let created = self
            .retry(|| {
                let client = self.clone();
                let topic = topic.clone();
                async move {
                    match client.create_topic(&topic).await {
                        Ok(()) => Ok(true),
                        Err(error) if error.code() == Some(ErrorCode::TopicAlreadyExists) => {
                            Ok(false)
                        }
                        Err(error) => Err(error),
                    }
                }
            })
            .await?;
        self.await_topic(&topic.name).await?;
        Ok(created)
    }

    /// Deletes a topic with all its records.
    pub async fn delete_topic(&self, name: &str) -> Result<(), Error> {
        let topic = TopicName(StrBytes::from_string(name.to_owned()));
        // Up to version 5 topics are a list of names, from 6 on a list of names or ids.
        let request = DeleteTopicsRequest::default().with_timeout_ms(self.timeout_ms());
        let connection = self.controller().await?;
        let version = connection.version::<DeleteTopicsRequest>(6)?;
        let request = if version >= 6 {
            request.with_topics(vec![DeleteTopicState::default().with_name(Some(topic))])
        } else {
            request.with_topic_names(vec![topic])
        };
        let (response, _) = connection.call(&request, 6).await?;
        self.forget(name);
        let what = || format!("deletion of topic `{name}`");
        let result = response
            .responses
            .first()
            .ok_or_else(|| Error::NotFound { what: what() })?;
        Error::check(result.error_code, what, result.error_message.as_deref())
    }

    /// Raises the number of partitions of a topic to `count`.
    pub async fn create_partitions(&self, name: &str, count: i32) -> Result<(), Error> {
        let topic = CreatePartitionsTopic::default()
            .with_name(TopicName(StrBytes::from_string(name.to_owned())))
            .with_count(count)
            .with_assignments(None);
        let request = CreatePartitionsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(self.timeout_ms());
        let (response, _) = self.controller().await?.call(&request, 3).await?;
        self.forget(name);
        let what = || format!("new partitions of topic `{name}`");
        let result = response
            .results
            .first()
            .ok_or_else(|| Error::NotFound { what: what() })?;
        Error::check(result.error_code, what, result.error_message.as_deref())
    }

    /// All configuration values of a topic or broker.
    pub async fn describe_configs(
        &self,
        resource: &ConfigResource,
    ) -> Result<Vec<ConfigEntry>, Error> {
        let (kind, name) = resource.wire();
        let asked = DescribeConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(name)
            .with_configuration_keys(None);
        let request = DescribeConfigsRequest::default().with_resources(vec![asked]);
        let connection = self.connection_for(resource).await?;
        let (response, _) = connection.call(&request, 4).await?;
        let what = || format!("configuration of {resource}");
        let result = response
            .results
            .first()
            .ok_or_else(|| Error::NotFound { what: what() })?;
        Error::check(result.error_code, what, result.error_message.as_deref())?;
        Ok(result
            .configs
            .iter()
            .map(|entry| ConfigEntry {
                name: entry.name.as_str().to_owned(),
                value: entry.value.as_ref().map(|value| value.as_str().to_owned()),
                // 5 is the source DEFAULT_CONFIG.
                is_default: entry.config_source == 5,
                read_only: entry.read_only,
            })
            .collect())
    }

    /// Sets configuration values; `None` restores the default.
    pub async fn alter_configs(
        &self,
        resource: &ConfigResource,
        changes: &[(&str, Option<&str>)],
    ) -> Result<(), Error> {
        let text = |text: &str| StrBytes::from_string(text.to_owned());
        let configs = changes.iter().map(|(name, value)| {
            AlterableConfig::default()
                .with_name(text(name))
                .with_config_operation(i8::from(value.is_none()))
                .with_value(value.map(text))
        });
        let (kind, name) = resource.wire();
        let asked = AlterConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(name)
            .with_configs(configs.collect());
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![asked]);
        let connection = self.connection_for(resource).await?;
        let (response, _) = connection.call(&request, 1).await?;
        let what = || format!("configuration of {resource}");
        let result = response
            .responses
            .first()
            .ok_or_else(|| Error::NotFound { what: what() })?;
        Error::check(result.error_code, what, result.error_message.as_deref())
    }

    /// The groups that every broker coordinates.
    pub async fn list_groups(&self) -> Result<Vec<GroupListing>, Error> {
        let mut groups = Vec::new();
        for broker in self.cluster().await?.brokers {
            let connection = self.broker(broker.id).await?;
            let (response, _) = connection.call(&ListGroupsRequest::default(), 4).await?;
            Error::check(response.error_code, || "list of groups".to_owned(), None)?;
            groups.extend(response.groups.iter().map(|group| GroupListing {
                group: group.group_id.0.as_str().to_owned(),
                protocol: group.protocol_type.as_str().to_owned(),
                state: group.group_state.as_str().to_owned(),
            }));
        }
        groups.sort_by(|left, right| left.group.cmp(&right.group));
        Ok(groups)
    }

    async fn connection_for(
        &self,
        resource: &ConfigResource,
    ) -> Result<std::sync::Arc<crate::connection::Connection>, Error> {
        match resource {
            ConfigResource::Topic(_) => self.any().await,
            // A broker answers only for itself.
            ConfigResource::Broker(node) => self.broker(*node).await,
        }
    }

    fn timeout_ms(&self) -> i32 {
        self.config()
            .request_timeout
            .as_millis()
            .try_into()
            .unwrap_or(i32::MAX)
    }
}

impl ConfigResource {
    fn wire(&self) -> (i8, StrBytes) {
        match self {
            ConfigResource::Topic(name) => (2, StrBytes::from_string(name.clone())),
            ConfigResource::Broker(node) => (4, StrBytes::from_string(node.to_string())),
        }
    }
}

impl std::fmt::Display for ConfigResource {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ConfigResource::Topic(name) => write!(formatter, "topic `{name}`"),
            ConfigResource::Broker(node) => write!(formatter, "broker {node}"),
        }
    }
}
