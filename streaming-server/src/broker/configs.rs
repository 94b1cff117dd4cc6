//! DescribeConfigs, AlterConfigs and IncrementalAlterConfigs, for topics and, read-only, for the broker.

use std::collections::BTreeMap;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, DescribeConfigsRequest, DescribeConfigsResponse,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, alter_configs_response,
    incremental_alter_configs_response,
};

use super::{Broker, text};
use crate::topics::settings::{Kind, SETTINGS};
use crate::wire::topic_code;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const FROM_TOPIC: i8 = 1;
const FROM_BROKER: i8 = 4;
const FROM_DEFAULT: i8 = 5;

type Refusal = (ResponseError, String);

/// One configuration entry on its way to a client.
struct Entry {
    name: &'static str,
    value: String,
    kind: Kind,
    is_read_only: bool,
    source: i8,
    synonyms: Vec<(&'static str, String, i8)>,
}

/// One change of one setting.
struct Change {
    name: String,
    operation: Operation,
    value: Option<String>,
}

#[derive(Clone, Copy)]
enum Operation {
    Set,
    Delete,
    /// Lists only; this broker has no list that can be changed.
    Other,
}

impl Broker {
    pub(super) fn describe_configs(
        &self,
        request: DescribeConfigsRequest,
        version: i16,
    ) -> DescribeConfigsResponse {
        let with_synonyms = request.include_synonyms;
        let results = request.resources.into_iter().map(|resource| {
            let result = DescribeConfigsResult::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(text(&resource.resource_name));
            match self.entries(&resource) {
                Err((error, message)) => result
                    .with_error_code(error.code())
                    .with_error_message(Some(text(&message))),
                Ok(entries) => {
                    let is_asked = |name: &str| {
                        let keys = resource
                            .configuration_keys
                            .as_ref()
                            .filter(|keys| !keys.is_empty());
                        keys.is_none_or(|keys| keys.iter().any(|key| **key == *name))
                    };
                    let asked = entries.into_iter().filter(|entry| is_asked(entry.name));
                    result.with_configs(
                        asked
                            .map(|entry| entry.encode(with_synonyms, version))
                            .collect(),
                    )
                }
            }
        });
        DescribeConfigsResponse::default().with_results(results.collect())
    }

    fn entries(&self, resource: &DescribeConfigsResource) -> Result<Vec<Entry>, Refusal> {
        match resource.resource_type {
            TOPIC => self.topic_entries(&resource.resource_name),
            BROKER if *resource.resource_name == *self.config.node_id.to_string() => {
                Ok(self.broker_entries())
            }
            BROKER if resource.resource_name.is_empty() => Ok(Vec::new()),
            BROKER => Err((
                ResponseError::InvalidRequest,
                "the only broker is this one".to_owned(),
            )),
            other => Err((
                ResponseError::InvalidRequest,
                format!("resources of type {other} have no configuration"),
            )),
        }
    }

    fn topic_entries(&self, name: &str) -> Result<Vec<Entry>, Refusal> {
        let unknown = || {
            (
                ResponseError::UnknownTopicOrPartition,
                format!("no topic named `{name}`"),
            )
        };
        let topic = self.topics.get(name).ok_or_else(unknown)?;
        let defaults = self.topics.defaults();
        let settings = defaults
            .apply(&topic.overrides)
            .unwrap_or_else(|_| defaults.settings().clone());
        let entries = SETTINGS.iter().map(|setting| {
            let value = setting.value(&settings);
            let is_own = topic.overrides.contains_key(setting.name);
            let mut synonyms = Vec::new();
            if is_own {
                synonyms.push((setting.name, value.clone(), FROM_TOPIC));
            }
            synonyms.push((
                setting.synonym,
                setting.value(defaults.settings()),
                FROM_DEFAULT,
            ));
            Entry {
                name: setting.name,
                value,
                kind: setting.kind,
                is_read_only: setting.is_read_only(),
                source: if is_own { FROM_TOPIC } else { FROM_DEFAULT },
                synonyms,
            }
        });
        Ok(entries.collect())
    }

    fn broker_entries(&self) -> Vec<Entry> {
        let config = &self.config;
        let settings = self.topics.defaults().settings();
        let own = |name, value: String, kind| Entry {
            name,
            synonyms: vec![(name, value.clone(), FROM_BROKER)],
            value,
            kind,
            is_read_only: true,
            source: FROM_BROKER,
        };
        let mut entries = vec![
            own(
                "advertised.listeners",
                format!("PLAINTEXT://{}:{}", self.host, self.port),
                Kind::String,
            ),
            own(
                "auto.create.topics.enable",
                config.auto_create_topics.to_string(),
                Kind::Boolean,
            ),
            own("broker.id", config.node_id.to_string(), Kind::Int),
            own("default.replication.factor", "1".to_owned(), Kind::Int),
            own("delete.topic.enable", "true".to_owned(), Kind::Boolean),
            own(
                "log.dirs",
                self.topics.data_path().to_string_lossy().into_owned(),
                Kind::String,
            ),
            own("node.id", config.node_id.to_string(), Kind::Int),
            own(
                "num.partitions",
                config.default_partitions.to_string(),
                Kind::Int,
            ),
            own(
                "socket.request.max.bytes",
                config.max_request_size.as_u64().to_string(),
                Kind::Int,
            ),
        ];
        entries.extend(
            SETTINGS
                .iter()
                .map(|setting| own(setting.synonym, setting.value(settings), setting.kind)),
        );
        entries.sort_by_key(|entry| entry.name);
        entries
    }

    pub(super) async fn alter_configs(&self, request: AlterConfigsRequest) -> AlterConfigsResponse {
        let mut responses = Vec::with_capacity(request.resources.len());
        for resource in request.resources {
            let wanted = resource.configs.iter().map(|config| Change {
                name: config.name.to_string(),
                operation: Operation::Set,
                value: config.value.as_ref().map(ToString::to_string),
            });
            let name = resource.resource_name.to_string();
            let outcome = self
                .alter(
                    resource.resource_type,
                    &name,
                    wanted.collect(),
                    true,
                    request.validate_only,
                )
                .await;
            let mut response = alter_configs_response::AlterConfigsResourceResponse::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(text(&name));
            if let Err((error, message)) = outcome {
                response = response
                    .with_error_code(error.code())
                    .with_error_message(Some(text(&message)));
            }
            responses.push(response);
        }
        AlterConfigsResponse::default().with_responses(responses)
    }

    pub(super) async fn incremental_alter_configs(
        &self,
        request: IncrementalAlterConfigsRequest,
    ) -> IncrementalAlterConfigsResponse {
        let mut responses = Vec::with_capacity(request.resources.len());
        for resource in request.resources {
            let wanted = resource.configs.iter().map(|config| Change {
                name: config.name.to_string(),
                operation: match config.config_operation {
                    0 => Operation::Set,
                    1 => Operation::Delete,
                    _ => Operation::Other,
                },
                value: config.value.as_ref().map(ToString::to_string),
            });
            let name = resource.resource_name.to_string();
            let outcome = self
                .alter(
                    resource.resource_type,
                    &name,
                    wanted.collect(),
                    false,
                    request.validate_only,
                )
                .await;
            let mut response =
                incremental_alter_configs_response::AlterConfigsResourceResponse::default()
                    .with_resource_type(resource.resource_type)
                    .with_resource_name(text(&name));
            if let Err((error, message)) = outcome {
                response = response
                    .with_error_code(error.code())
                    .with_error_message(Some(text(&message)));
            }
            responses.push(response);
        }
        IncrementalAlterConfigsResponse::default().with_responses(responses)
    }

    async fn alter(
        &self,
        resource_type: i8,
        name: &str,
        changes: Vec<Change>,
        replaces_all: bool,
        validate_only: bool,
    ) -> Result<(), Refusal> {
        if resource_type != TOPIC {
            let why =
                "only the configuration of topics can be altered; the broker's is in its file"
                    .to_owned();
            return Err((ResponseError::InvalidRequest, why));
        }
        let unknown = || {
            (
                ResponseError::UnknownTopicOrPartition,
                format!("no topic named `{name}`"),
            )
        };
        let topic = self.topics.get(name).ok_or_else(unknown)?;
        let mut overrides = if replaces_all {
            BTreeMap::new()
        } else {
            topic.overrides.clone()
        };
        for change in changes {
            match (change.operation, change.value) {
                (Operation::Set, Some(value)) => {
                    overrides.insert(change.name, value);
                }
                (Operation::Delete, _) => {
                    overrides.remove(&change.name);
                }
                (Operation::Set, None) => {
                    let why = format!("topic setting `{}` needs a value", change.name);
                    return Err((ResponseError::InvalidConfig, why));
                }
                (Operation::Other, _) => {
                    let why = format!("topic setting `{}` can only be set or deleted", change.name);
                    return Err((ResponseError::InvalidConfig, why));
                }
            }
        }
        let name = name.to_owned();
        let outcome = self
            .change(move |topics| {
                if validate_only {
                    topics
                        .defaults()
                        .apply(&overrides)
                        .map(|_| ())
                        .map_err(Into::into)
                } else {
                    topics.configure(&name, overrides)
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

impl Entry {
    fn encode(self, with_synonyms: bool, version: i16) -> DescribeConfigsResourceResult {
        let synonyms =
            self.synonyms
                .into_iter()
                .filter(|_| with_synonyms)
                .map(|(name, value, source)| {
                    DescribeConfigsSynonym::default()
                        .with_name(text(name))
                        .with_value(Some(text(&value)))
                        .with_source(source)
                });
        let result = DescribeConfigsResourceResult::default()
            .with_name(text(self.name))
            .with_value(Some(text(&self.value)))
            .with_read_only(self.is_read_only)
            .with_config_source(self.source)
            .with_synonyms(synonyms.collect());
        if version >= 3 {
            result.with_config_type(self.kind as i8)
        } else {
            result
        }
    }
}
