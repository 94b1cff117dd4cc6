//! Produce: appends at once, answers when the batches are durable.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::produce_request::{PartitionProduceData, ProduceRequest};
use kafka_protocol::messages::produce_response::{
    PartitionProduceResponse, ProduceResponse, TopicProduceResponse,
};
use uuid::Uuid;

use super::{Answer, Broker, Reply, text, topic_name};
use crate::log::batch::{BatchHeader, Compression};
use crate::log::{self, Appended, Memory};
use crate::topics::Topic;
use crate::wire::code;

/// The topic that only the group coordinator writes.
pub(crate) const OFFSETS_TOPIC: &str = "__consumer_offsets";

struct TopicAppends {
    name: String,
    id: Uuid,
    partitions: Vec<(i32, Result<Appended, Refused>)>,
}

struct Refused {
    error: ResponseError,
    message: Option<String>,
}

impl Broker {
    pub(super) fn produce(
        self: &Arc<Self>,
        request: ProduceRequest,
        version: i16,
        memory: &Memory,
    ) -> Answer {
        let started = Instant::now();
        let acks = request.acks;
        let timeout = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
        let appends = self.append_all(request, version, memory);
        if acks == 0 {
            // A client that wants no answer is still held to what the disk takes, and learns of a failure by losing its
            // connection, as with Kafka.
            return Box::pin(async move {
                if are_durable(appends).await {
                    Reply::Silent
                } else {
                    Reply::Hangup
                }
            });
        }
        let metrics = self.env.metrics.clone();
        Box::pin(async move {
            let response = settle(
                appends,
                tokio::time::Instant::from_std(started) + timeout,
                version,
            )
            .await;
            metrics
                .produce_seconds
                .observe(started.elapsed().as_secs_f64());
            Reply::Message(response.into())
        })
    }

    fn append_all(
        &self,
        request: ProduceRequest,
        version: i16,
        memory: &Memory,
    ) -> Vec<TopicAppends> {
        let refusal = if !(-1..=1).contains(&request.acks) {
            Some(ResponseError::InvalidRequiredAcks)
        } else if request.transactional_id.is_some() {
            Some(ResponseError::TransactionalIdAuthorizationFailed)
        } else {
            None
        };
        let now_ms = Self::now_ms();
        let mut appends = Vec::with_capacity(request.topic_data.len());
        for data in request.topic_data {
            let (topic, unknown) = if version >= 13 {
                (
                    self.topics.get_by_id(data.topic_id),
                    ResponseError::UnknownTopicId,
                )
            } else {
                (
                    self.topics.get(&data.name),
                    ResponseError::UnknownTopicOrPartition,
                )
            };
            let target = match (refusal, &topic) {
                (Some(error), _) => Err(error),
                (None, None) => Err(unknown),
                (None, Some(topic)) if &*topic.name == OFFSETS_TOPIC => {
                    Err(ResponseError::InvalidTopicException)
                }
                (None, Some(topic)) => Ok(topic),
            };
            let partitions = data.partition_data.into_iter().map(|partition| {
                let outcome = match target {
                    Ok(topic) => self.append_one(topic, &partition, (version, now_ms), memory),
                    Err(error) => Err(Refused {
                        error,
                        message: None,
                    }),
                };
                (partition.index, outcome)
            });
            let partitions = partitions.collect();
            appends.push(TopicAppends {
                name: data.name.to_string(),
                id: data.topic_id,
                partitions,
            });
        }
        appends
    }

    fn append_one(
        &self,
        topic: &Topic,
        data: &PartitionProduceData,
        (version, now_ms): (i16, i64),
        memory: &Memory,
    ) -> Result<Appended, Refused> {
        let partition = usize::try_from(data.index)
            .ok()
            .and_then(|index| topic.partitions.get(index));
        let partition = partition.ok_or(Refused {
            error: ResponseError::UnknownTopicOrPartition,
            message: None,
        })?;
        let Some(batch) = data.records.as_ref().filter(|records| !records.is_empty()) else {
            let message =
                Some("a produce request holds exactly one batch per partition".to_owned());
            return Err(Refused {
                error: ResponseError::InvalidRecord,
                message,
            });
        };
        let header = BatchHeader::parse(batch).map_err(|error| refused(&error.into()))?;
        if version < 7 && header.compression() == Some(Compression::Zstd) {
            let message = Some("zstd needs Produce version 7".to_owned());
            return Err(Refused {
                error: ResponseError::UnsupportedCompressionType,
                message,
            });
        }
        let appended = partition
            .append_holding(batch, now_ms, Some(Arc::clone(memory)))
            .map_err(|error| refused(&error))?;
        self.env.metrics.appended_bytes.inc_by(batch.len() as u64);
        self.env
            .metrics
            .appended_records
            .inc_by(u64::try_from(header.count).unwrap_or(0));
        Ok(appended)
    }
}

fn refused(error: &log::Error) -> Refused {
    Refused {
        error: code(error),
        message: Some(telemetry::chain(error).to_string()),
    }
}

async fn are_durable(appends: Vec<TopicAppends>) -> bool {
    for (_, outcome) in appends.into_iter().flat_map(|topic| topic.partitions) {
        match outcome {
            Ok(appended) => {
                if appended.durable.wait().await.is_err() {
                    return false;
                }
            }
            Err(_) => return false,
        }
    }
    true
}

async fn settle(
    appends: Vec<TopicAppends>,
    deadline: tokio::time::Instant,
    version: i16,
) -> ProduceResponse {
    let mut responses = Vec::with_capacity(appends.len());
    for topic in appends {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for (index, outcome) in topic.partitions {
            partitions.push(settle_one(index, outcome, deadline, version).await);
        }
        let response = TopicProduceResponse::default().with_partition_responses(partitions);
        responses.push(if version >= 13 {
            response.with_topic_id(topic.id)
        } else {
            response.with_name(topic_name(&topic.name))
        });
    }
    ProduceResponse::default().with_responses(responses)
}

async fn settle_one(
    index: i32,
    outcome: Result<Appended, Refused>,
    deadline: tokio::time::Instant,
    version: i16,
) -> PartitionProduceResponse {
    let response = PartitionProduceResponse::default().with_index(index);
    let refused = match outcome {
        Err(refused) => refused,
        Ok(appended) => match tokio::time::timeout_at(deadline, appended.durable.wait()).await {
            Ok(Ok(())) => {
                let response = response
                    .with_base_offset(appended.base_offset)
                    .with_log_append_time_ms(appended.log_append_time);
                return if version >= 5 {
                    response.with_log_start_offset(appended.log_start)
                } else {
                    response
                };
            }
            Ok(Err(error)) => refused(&error),
            Err(_) => Refused {
                error: ResponseError::RequestTimedOut,
                message: None,
            },
        },
    };
    let response = response
        .with_error_code(refused.error.code())
        .with_base_offset(-1)
        .with_log_append_time_ms(-1);
    match refused.message {
        Some(message) if version >= 8 => response.with_error_message(Some(text(&message))),
        _ => response,
    }
}
