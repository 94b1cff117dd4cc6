//! CreateTopics, DeleteTopics and CreatePartitions.

use std::collections::{BTreeMap, HashMap};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{
    CreatableTopicConfigs, CreatableTopicResult,
};
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{
    BrokerId, CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest,
    CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse,
};
use uuid::Uuid;

use super::produce::OFFSETS_TOPIC;
use super::{Broker, text, topic_name};
use crate::topics::settings::SETTINGS;
use crate::wire::topic_code;

type Refusal = (ResponseError, String);

impl Broker {
    pub(super) async fn create_topics(
        &self,
        request: CreateTopicsRequest,
        version: i16,
    ) -> CreateTopicsResponse {
        let mut n_named: HashMap<String, usize> = HashMap::new();
        for topic in &request.topics {
            *n_named.entry(topic.name.to_string()).or_default() += 1;
        }
        let mut results = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            let outcome = if n_named.get(&*topic.name.0).is_some_and(|n| *n > 1) {
                Err((
                    ResponseError::InvalidRequest,
                    "the request names this topic twice".to_owned(),
                ))
            } else {
                self.create_topic(topic, request.validate_only, version)
                    .await
            };
            results.push(outcome.unwrap_or_else(|(error, message)| {
                CreatableTopicResult::default()
                    .with_name(topic_name(&topic.name))
                    .with_error_code(error.code())
                    .with_error_message(Some(text(&message)))
            }));
        }
        CreateTopicsResponse::default().with_topics(results)
    }

    async fn create_topic(
        &self,
        topic: &CreatableTopic,
        validate_only: bool,
        version: i16,
    ) -> Result<CreatableTopicResult, Refusal> {
        let n_partitions = self.count_partitions(topic)?;
        let mut overrides = BTreeMap::new();
        for config in &topic.configs {
            let value = config.value.as_ref().ok_or_else(|| {
                (
                    ResponseError::InvalidConfig,
                    format!("topic setting `{}` needs a value", config.name),
                )
            })?;
            overrides.insert(config.name.to_string(), value.to_string());
        }
        let (name, now_ms) = (topic.name.to_string(), Self::now_ms());
        let wanted = overrides.clone();
        let outcome = self
            .change(move |topics| {
                if validate_only {
                    topics
                        .check_create(&name, n_partitions, &wanted)
                        .map(|_| Uuid::nil())
                } else {
                    topics
                        .create(&name, n_partitions, wanted, now_ms)
                        .map(|topic| topic.id)
                }
            })
            .await;
        let id = match outcome {
            None => {
                return Err((
                    ResponseError::NotController,
                    "the broker is stopping".to_owned(),
                ));
            }
            Some(outcome) => outcome
                .map_err(|error| (topic_code(&error), telemetry::chain(&error).to_string()))?,
        };
        let mut result = CreatableTopicResult::default().with_name(topic_name(&topic.name));
        if version >= 5 {
            result = result
                .with_num_partitions(n_partitions)
                .with_replication_factor(1)
                .with_configs(Some(self.created_configs(&overrides)));
        }
        Ok(if version >= 7 {
            result.with_topic_id(id)
        } else {
            result
        })
    }

    fn count_partitions(&self, topic: &CreatableTopic) -> Result<i32, Refusal> {
        if !topic.assignments.is_empty() {
            let nodes: Vec<_> = topic
                .assignments
                .iter()
                .map(|assignment| assignment.broker_ids.as_slice())
                .collect();
            let mut numbers: Vec<_> = topic
                .assignments
                .iter()
                .map(|assignment| assignment.partition_index)
                .collect();
            numbers.sort_unstable();
            let n_partitions = i32::try_from(numbers.len()).unwrap_or(i32::MAX);
            if topic.num_partitions != -1 || topic.replication_factor != -1 {
                let why = "assignments exclude a number of partitions and a replication factor"
                    .to_owned();
                return Err((ResponseError::InvalidRequest, why));
            }
            if !numbers.iter().copied().eq(0..n_partitions) || !self.are_mine(&nodes) {
                let why = format!(
                    "partitions must count from 0 and live on broker {}",
                    self.config.node_id
                );
                return Err((ResponseError::InvalidReplicaAssignment, why));
            }
            return Ok(n_partitions);
        }
        if !matches!(topic.replication_factor, -1 | 1) {
            let why = format!(
                "replication factor {} needs more than this one broker",
                topic.replication_factor
            );
            return Err((ResponseError::InvalidReplicationFactor, why));
        }
        Ok(if topic.num_partitions == -1 {
            self.config.default_partitions
        } else {
            topic.num_partitions
        })
    }

    fn are_mine(&self, assignments: &[&[BrokerId]]) -> bool {
        assignments
            .iter()
            .all(|brokers| **brokers == [self.node_id()])
    }

    fn created_configs(&self, overrides: &BTreeMap<String, String>) -> Vec<CreatableTopicConfigs> {
        let defaults = self.topics.defaults();
        let settings = defaults
            .apply(overrides)
            .unwrap_or_else(|_| defaults.settings().clone());
        let configs = SETTINGS.iter().map(|setting| {
            // Source 1 is the topic's own configuration, 5 the broker's default.
            let source = if overrides.contains_key(setting.name) {
                1
            } else {
                5
            };
            CreatableTopicConfigs::default()
                .with_name(text(setting.name))
                .with_value(Some(text(&setting.value(&settings))))
                .with_read_only(setting.is_read_only())
                .with_config_source(source)
        });
        configs.collect()
    }

    pub(super) async fn delete_topics(
        &self,
        request: DeleteTopicsRequest,
        version: i16,
    ) -> DeleteTopicsResponse {
        let mut wanted: Vec<(Option<String>, Uuid)> = Vec::new();
        wanted.extend(
            request
                .topic_names
                .iter()
                .map(|name| (Some(name.to_string()), Uuid::nil())),
        );
        wanted.extend(request.topics.iter().map(|topic| {
            (
                topic.name.as_ref().map(|name| name.to_string()),
                topic.topic_id,
            )
        }));
        let mut responses = Vec::with_capacity(wanted.len());
        for (name, id) in wanted {
            let found = match &name {
                Some(name) => self.topics.get(name),
                None => self.topics.get_by_id(id),
            };
            let unknown = if name.is_some() {
                ResponseError::UnknownTopicOrPartition
            } else {
                ResponseError::UnknownTopicId
            };
            let mut result = DeletableTopicResult::default();
            if version >= 6 {
                result.topic_id = found.as_ref().map_or(id, |topic| topic.id);
            }
            result.name = found
                .as_ref()
                .map(|topic| topic.name.to_string())
                .or(name)
                .map(|name| topic_name(&name));
            let outcome = match found {
                None => Err((unknown, "there is no such topic".to_owned())),
                Some(topic) => self.delete_topic(topic.name.to_string()).await,
            };
            if let Err((error, message)) = outcome {
                result.error_code = error.code();
                result.error_message = (version >= 5).then(|| text(&message));
            }
            responses.push(result);
        }
        DeleteTopicsResponse::default().with_responses(responses)
    }

    async fn delete_topic(&self, name: String) -> Result<(), Refusal> {
        if name == OFFSETS_TOPIC {
            return Err((
                ResponseError::InvalidTopicException,
                "the broker needs this topic itself".to_owned(),
            ));
        }
        let deleted = name.clone();
        match self.change(move |topics| topics.delete(&deleted)).await {
            None => Err((
                ResponseError::NotController,
                "the broker is stopping".to_owned(),
            )),
            Some(Ok(())) => {
                let is_gone = |topic: &str| topic == name;
                self.groups.forget_topics(is_gone, Self::now_ms()).await;
                Ok(())
            }
            Some(Err(error)) => Err((topic_code(&error), telemetry::chain(&error).to_string())),
        }
    }

    pub(super) async fn create_partitions(
        &self,
        request: CreatePartitionsRequest,
    ) -> CreatePartitionsResponse {
        let mut results = Vec::with_capacity(request.topics.len());
        for topic in request.topics {
            let name = topic.name.clone();
            let mut result = CreatePartitionsTopicResult::default().with_name(name);
            if let Err((error, message)) = self.create_partition(topic, request.validate_only).await
            {
                result.error_code = error.code();
                result.error_message = Some(text(&message));
            }
            results.push(result);
        }
        CreatePartitionsResponse::default().with_results(results)
    }

    async fn create_partition(
        &self,
        topic: CreatePartitionsTopic,
        validate_only: bool,
    ) -> Result<(), Refusal> {
        let (name, total, now_ms) = (topic.name.to_string(), topic.count, Self::now_ms());
        if name == OFFSETS_TOPIC {
            return Err((
                ResponseError::InvalidTopicException,
                "the broker needs this topic itself".to_owned(),
            ));
        }
        if let Some(assignments) = &topic.assignments {
            let nodes: Vec<_> = assignments
                .iter()
                .map(|assignment| assignment.broker_ids.as_slice())
                .collect();
            if !self.are_mine(&nodes) {
                let why = format!("partitions must live on broker {}", self.config.node_id);
                return Err((ResponseError::InvalidReplicaAssignment, why));
            }
        }
        let outcome = self
            .change(move |topics| {
                if validate_only {
                    topics.check_grow(&name, total).map(|_| ())
                } else {
                    topics.grow(&name, total, now_ms)
                }
            })
            .await;
        match outcome {
            None => Err((
                ResponseError::NotController,
                "the broker is stopping".to_owned(),
            )),
            Some(outcome) => {
                outcome.map_err(|error| (topic_code(&error), telemetry::chain(&error).to_string()))
            }
        }
    }
}
