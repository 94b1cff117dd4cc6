//! ListOffsets and DeleteRecords: where a partition begins and ends, and which offset belongs to a time.

use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::{
    DeleteRecordsRequest, DeleteRecordsResponse, ListOffsetsRequest, ListOffsetsResponse,
};

use super::fetch::check_epoch;
use super::{Broker, topic_name};
use crate::log::{Found, Partition};
use crate::wire::code;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;

impl Broker {
    pub(super) async fn list_offsets(
        &self,
        request: ListOffsetsRequest,
        version: i16,
    ) -> ListOffsetsResponse {
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in request.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for asked in topic.partitions {
                let found = self
                    .list_one(
                        &topic.name,
                        asked.partition_index,
                        asked.current_leader_epoch,
                        asked.timestamp,
                    )
                    .await;
                let response = ListOffsetsPartitionResponse::default()
                    .with_partition_index(asked.partition_index);
                partitions.push(match found {
                    Err(error) => response
                        .with_error_code(error.code())
                        .with_offset(-1)
                        .with_timestamp(-1),
                    Ok((found, leader_epoch)) => {
                        let response = response
                            .with_offset(found.offset)
                            .with_timestamp(found.timestamp);
                        let is_known = version >= 4 && found.offset >= 0;
                        if is_known {
                            response.with_leader_epoch(leader_epoch)
                        } else {
                            response
                        }
                    }
                });
            }
            let response = ListOffsetsTopicResponse::default().with_name(topic_name(&topic.name));
            topics.push(response.with_partitions(partitions));
        }
        ListOffsetsResponse::default().with_topics(topics)
    }

    async fn list_one(
        &self,
        topic: &str,
        number: i32,
        leader_epoch: i32,
        timestamp: i64,
    ) -> Result<(Found, i32), ResponseError> {
        let partition = self.partition(topic, number)?;
        let ours = partition.leader_epoch();
        check_epoch(leader_epoch, ours)?;
        let position = partition.position();
        let at = |offset| {
            Ok(Some(Found {
                offset,
                timestamp: -1,
            }))
        };
        let found = match timestamp {
            LATEST => at(position.high_watermark),
            EARLIEST | EARLIEST_LOCAL => at(position.log_start),
            LATEST_TIERED => Ok(None),
            MAX_TIMESTAMP => self.look(move || partition.find_max_timestamp()).await,
            timestamp if timestamp < 0 => return Err(ResponseError::InvalidRequest),
            timestamp => self.look(move || partition.find_by_time(timestamp)).await,
        };
        Ok((
            found?.unwrap_or(Found {
                offset: -1,
                timestamp: -1,
            }),
            ours,
        ))
    }

    async fn look(
        &self,
        job: impl FnOnce() -> Result<Option<Found>, crate::log::Error> + Send + 'static,
    ) -> Result<Option<Found>, ResponseError> {
        match self.env.readers.run(job).await {
            Some(Ok(found)) => Ok(found),
            Some(Err(error)) => {
                tracing::error!(error = %telemetry::chain(&error), "log could not be searched");
                Err(code(&error))
            }
            None => Err(ResponseError::NotLeaderOrFollower),
        }
    }

    pub(super) async fn delete_records(
        &self,
        request: DeleteRecordsRequest,
    ) -> DeleteRecordsResponse {
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in request.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for asked in topic.partitions {
                let number = asked.partition_index;
                let outcome = self.delete_up_to(&topic.name, number, asked.offset).await;
                let result = DeleteRecordsPartitionResult::default().with_partition_index(number);
                partitions.push(match outcome {
                    Ok(log_start) => result.with_low_watermark(log_start),
                    Err(error) => result.with_low_watermark(-1).with_error_code(error.code()),
                });
            }
            let result = DeleteRecordsTopicResult::default().with_name(topic_name(&topic.name));
            topics.push(result.with_partitions(partitions));
        }
        DeleteRecordsResponse::default().with_topics(topics)
    }

    async fn delete_up_to(
        &self,
        topic: &str,
        number: i32,
        offset: i64,
    ) -> Result<i64, ResponseError> {
        let partition = self.partition(topic, number)?;
        let delete = move || {
            let log_start = partition.delete_before(offset)?;
            partition.persist_start().map(|()| log_start)
        };
        match self.chores.run(delete).await {
            Some(outcome) => outcome.map_err(|error| code(&error)),
            None => Err(ResponseError::NotLeaderOrFollower),
        }
    }

    pub(super) fn partition(
        &self,
        topic: &str,
        number: i32,
    ) -> Result<Arc<Partition>, ResponseError> {
        let topic = self
            .topics
            .get(topic)
            .ok_or(ResponseError::UnknownTopicOrPartition)?;
        let partition = usize::try_from(number)
            .ok()
            .and_then(|number| topic.partitions.get(number));
        partition
            .cloned()
            .ok_or(ResponseError::UnknownTopicOrPartition)
    }
}
