//! Offsets kept under a group's name without being a member of it, so that Kafka's tools see how far a job has read.

use std::collections::BTreeMap;

use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::{
    FindCoordinatorRequest, GroupId, OffsetCommitRequest, OffsetFetchRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use crate::client::Client;
use crate::connection::Connection;
use crate::error::{Error, ErrorCode};
use crate::metadata::TopicPartition;

/// From version 4 on several coordinators are asked for at once; we need one.
const FIND_COORDINATOR_CAP: i16 = 3;
/// From version 9 on the epoch belongs to the new group protocol; 10 needs topic ids.
const OFFSET_COMMIT_CAP: i16 = 8;
/// From version 8 on several groups are asked for at once; we need one.
const OFFSET_FETCH_CAP: i16 = 7;

/// A committed offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The partition.
    pub partition: TopicPartition,
    /// The next offset to read.
    pub offset: i64,
    /// What was stored with it.
    pub metadata: String,
}

impl Client {
    /// Stores offsets under the name of `group`. A group that has members refuses it.
    pub async fn commit_offsets(
        &self,
        group: &str,
        offsets: &[CommittedOffset],
    ) -> Result<(), Error> {
        self.retry(|| {
            let client = self.clone();
            let group = group.to_owned();
            let offsets = offsets.to_vec();
            async move { client.commit_once(&group, &offsets).await }
        })
        .await
    }

    /// The offsets stored under the name of `group` for these partitions; those without one are left out.
    pub async fn committed_offsets(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<CommittedOffset>, Error> {
        self.retry(|| {
            let client = self.clone();
            let group = group.to_owned();
            let partitions = partitions.to_vec();
            async move { client.fetch_committed_once(&group, &partitions).await }
        })
        .await
    }

    async fn commit_once(&self, group: &str, offsets: &[CommittedOffset]) -> Result<(), Error> {
        let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
        for committed in offsets {
            topics.entry(&committed.partition.topic).or_default().push(
                OffsetCommitRequestPartition::default()
                    .with_partition_index(committed.partition.partition)
                    .with_committed_offset(committed.offset)
                    .with_committed_leader_epoch(-1)
                    .with_committed_metadata(Some(StrBytes::from_string(
                        committed.metadata.clone(),
                    ))),
            );
        }
        let topics = topics.into_iter().map(|(topic, partitions)| {
            OffsetCommitRequestTopic::default()
                .with_name(TopicName(StrBytes::from_string(topic.to_owned())))
                .with_partitions(partitions)
        });
        let request = OffsetCommitRequest::default()
            .with_group_id(GroupId(StrBytes::from_string(group.to_owned())))
            .with_generation_id_or_member_epoch(-1)
            .with_retention_time_ms(-1)
            .with_topics(topics.collect());
        let connection = self.coordinator(group).await?;
        let (response, _) = connection.call(&request, OFFSET_COMMIT_CAP).await?;
        for partition in response.topics.iter().flat_map(|topic| &topic.partitions) {
            Error::check(
                partition.error_code,
                || format!("offset commit of `{group}`"),
                None,
            )?;
        }
        Ok(())
    }

    async fn fetch_committed_once(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<CommittedOffset>, Error> {
        let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for partition in partitions {
            topics
                .entry(&partition.topic)
                .or_default()
                .push(partition.partition);
        }
        let topics = topics.into_iter().map(|(topic, partitions)| {
            OffsetFetchRequestTopic::default()
                .with_name(TopicName(StrBytes::from_string(topic.to_owned())))
                .with_partition_indexes(partitions)
        });
        let request = OffsetFetchRequest::default()
            .with_group_id(GroupId(StrBytes::from_string(group.to_owned())))
            .with_topics(Some(topics.collect()));
        let connection = self.coordinator(group).await?;
        let (response, _) = connection.call(&request, OFFSET_FETCH_CAP).await?;
        let what = || format!("offsets of `{group}`");
        Error::check(response.error_code, what, None)?;
        let mut found = Vec::new();
        for topic in &response.topics {
            for partition in &topic.partitions {
                Error::check(partition.error_code, what, None)?;
                if partition.committed_offset < 0 {
                    continue;
                }
                let name = topic.name.0.as_str();
                found.push(CommittedOffset {
                    partition: TopicPartition::new(name, partition.partition_index),
                    offset: partition.committed_offset,
                    metadata: partition.metadata.as_deref().unwrap_or_default().to_owned(),
                });
            }
        }
        found.sort_by(|left, right| left.partition.cmp(&right.partition));
        Ok(found)
    }

    async fn coordinator(&self, group: &str) -> Result<std::sync::Arc<Connection>, Error> {
        let request = FindCoordinatorRequest::default()
            .with_key(StrBytes::from_string(group.to_owned()))
            .with_key_type(0);
        let (response, _) = self
            .any()
            .await?
            .call(&request, FIND_COORDINATOR_CAP)
            .await?;
        let message = response.error_message.as_deref();
        Error::check(
            response.error_code,
            || format!("coordinator of `{group}`"),
            message,
        )?;
        match self.broker(response.node_id.0).await {
            // A broker that joined after our metadata was read.
            Err(Error::NotFound { .. }) => {
                self.cluster().await?;
                self.broker(response.node_id.0).await
            }
            other => other,
        }
    }
}

/// Kept here so that callers match the code without the codec crate.
impl Error {
    /// Whether the group has members, and so refuses offsets from outside.
    #[must_use]
    pub fn is_group_in_use(&self) -> bool {
        matches!(
            self.code(),
            Some(ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration)
        )
    }
}
