//! What the broker says of itself: API versions, the cluster of one, its log directory, producer ids.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsResponse, DescribeClusterRequest, DescribeClusterResponse,
    DescribeLogDirsRequest, DescribeLogDirsResponse, InitProducerIdRequest, InitProducerIdResponse,
    ProducerId,
};

use super::{Broker, text, topic_name};
use crate::wire::APIS;

/// The table of what is served, as clients ask for it first of all. Authentication is offered where it is asked for.
pub(crate) fn api_versions(error_code: i16, has_users: bool) -> ApiVersionsResponse {
    let is_sasl = |key| matches!(key, ApiKey::SaslHandshake | ApiKey::SaslAuthenticate);
    let versions = APIS
        .iter()
        .filter(|api| has_users || !is_sasl(api.key))
        .map(|api| {
            ApiVersion::default()
                .with_api_key(api.key as i16)
                .with_min_version(api.advertised_min)
                .with_max_version(api.max)
        });
    ApiVersionsResponse::default()
        .with_error_code(error_code)
        .with_api_keys(versions.collect())
}

impl Broker {
    pub(super) fn describe_cluster(
        &self,
        request: &DescribeClusterRequest,
        version: i16,
    ) -> DescribeClusterResponse {
        // Type 2 asks for controllers, of which this broker is one but not at an address of its own.
        if version >= 1 && request.endpoint_type != 1 {
            return DescribeClusterResponse::default()
                .with_error_code(ResponseError::UnsupportedEndpointType.code())
                .with_error_message(Some(text("only endpoint type 1, brokers, is served")));
        }
        let broker = DescribeClusterBroker::default()
            .with_broker_id(self.node_id())
            .with_host(text(&self.host))
            .with_port(i32::from(self.port));
        DescribeClusterResponse::default()
            .with_cluster_id(text(self.topics.cluster_id()))
            .with_controller_id(self.node_id())
            .with_brokers(vec![broker])
    }

    pub(super) fn describe_log_dirs(
        &self,
        request: DescribeLogDirsRequest,
    ) -> DescribeLogDirsResponse {
        let wanted = request.topics.map(|topics| {
            topics
                .into_iter()
                .map(|topic| (topic.topic.to_string(), topic.partitions))
                .collect::<Vec<_>>()
        });
        let mut result = DescribeLogDirsResult::default()
            .with_log_dir(text(&self.topics.data_path().to_string_lossy()));
        for topic in self.topics.all() {
            let numbers = match &wanted {
                None => None,
                Some(wanted) => match wanted.iter().find(|(name, _)| **name == *topic.name) {
                    None => continue,
                    Some((_, numbers)) => Some(numbers),
                },
            };
            let mut partitions = Vec::new();
            for (number, partition) in (0..).zip(&topic.partitions) {
                if numbers.is_none_or(|numbers| numbers.contains(&number)) {
                    let size = i64::try_from(partition.size()).unwrap_or(i64::MAX);
                    let described =
                        DescribeLogDirsPartition::default().with_partition_index(number);
                    partitions.push(described.with_partition_size(size));
                }
            }
            let described = DescribeLogDirsTopic::default().with_name(topic_name(&topic.name));
            result.topics.push(described.with_partitions(partitions));
        }
        DescribeLogDirsResponse::default().with_results(vec![result])
    }

    pub(super) async fn init_producer_id(
        &self,
        request: InitProducerIdRequest,
    ) -> InitProducerIdResponse {
        let refuse = |error: ResponseError| {
            InitProducerIdResponse::default()
                .with_error_code(error.code())
                .with_producer_id(ProducerId(-1))
                .with_producer_epoch(-1)
        };
        if request.transactional_id.is_some() {
            // The one error that every client takes as final instead of trying again for ever.
            return refuse(ResponseError::TransactionalIdAuthorizationFailed);
        }
        match self.change(|topics| topics.next_producer_id()).await {
            Some(Ok(id)) => InitProducerIdResponse::default()
                .with_producer_id(ProducerId(id))
                .with_producer_epoch(0),
            Some(Err(error)) => {
                tracing::error!(error = %telemetry::chain(&error), "no producer id could be given out");
                refuse(ResponseError::KafkaStorageError)
            }
            None => refuse(ResponseError::CoordinatorNotAvailable),
        }
    }
}
