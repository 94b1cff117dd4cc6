//! Finds offsets: the first, the next, or the first at or after a time.

use std::collections::BTreeMap;

use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, ListOffsetsRequest, TopicName};
use kafka_protocol::protocol::StrBytes;

use crate::client::{Client, is_stale};
use crate::consumer::Isolation;
use crate::error::{Error, ErrorCode};
use crate::metadata::TopicPartition;

/// Above this version come the specs of tiered storage, which we do not ask for.
const LIST_OFFSETS_CAP: i16 = 7;

/// Which offset is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetSpec {
    /// The first offset kept.
    Earliest,
    /// The offset the next record gets (with [`Isolation::ReadCommitted`], the first not yet decided).
    Latest,
    /// The first record at or after this time, in milliseconds since 1970.
    AtTime(i64),
    /// The record with the highest timestamp.
    MaxTimestamp,
}

/// An answer to an [`OffsetSpec`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedOffset {
    /// Partition.
    pub partition: i32,
    /// The offset; `None` when no record is that young.
    pub offset: Option<i64>,
    /// Timestamp of the record, −1 for [`OffsetSpec::Earliest`] and [`OffsetSpec::Latest`].
    pub timestamp: i64,
}

impl Client {
    /// Offsets of `partitions` of `topic`, in the order of the partitions.
    pub async fn list_offsets(
        &self,
        topic: &str,
        partitions: &[i32],
        spec: OffsetSpec,
        isolation: Isolation,
    ) -> Result<Vec<ListedOffset>, Error> {
        let mut found = self
            .retry(|| {
                let client = self.clone();
                let topic = topic.to_owned();
                let partitions = partitions.to_vec();
                async move {
                    client
                        .list_offsets_once(&topic, &partitions, spec, isolation)
                        .await
                }
            })
            .await?;
        found.sort_by_key(|listed| listed.partition);
        Ok(found)
    }

    /// One attempt of [`Client::list_offsets`].
    pub(crate) async fn list_offsets_once(
        &self,
        topic: &str,
        partitions: &[i32],
        spec: OffsetSpec,
        isolation: Isolation,
    ) -> Result<Vec<ListedOffset>, Error> {
        let mut by_leader: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        for partition in partitions {
            let leader = self.leader(&TopicPartition::new(topic, *partition)).await?;
            by_leader.entry(leader).or_default().push(*partition);
        }
        let mut found = Vec::with_capacity(partitions.len());
        for (leader, partitions) in by_leader {
            let asked = ListOffsetsTopic::default()
                .with_name(TopicName(StrBytes::from_string(topic.to_owned())))
                .with_partitions(
                    partitions
                        .iter()
                        .map(|partition| {
                            ListOffsetsPartition::default()
                                .with_partition_index(*partition)
                                .with_current_leader_epoch(-1)
                                .with_timestamp(spec.wire())
                        })
                        .collect(),
                );
            let request = ListOffsetsRequest::default()
                .with_replica_id(BrokerId(-1))
                .with_isolation_level(isolation.wire())
                .with_topics(vec![asked]);
            let (response, _) = self
                .broker(leader)
                .await?
                .call(&request, LIST_OFFSETS_CAP)
                .await?;
            for partition in response.topics.iter().flat_map(|topic| &topic.partitions) {
                self.note_code(topic, partition.error_code);
                let index = partition.partition_index;
                Error::check(
                    partition.error_code,
                    || format!("offset of `{topic}`-{index}"),
                    None,
                )?;
                found.push(ListedOffset {
                    partition: index,
                    offset: (partition.offset >= 0).then_some(partition.offset),
                    timestamp: partition.timestamp,
                });
            }
        }
        if found.len() == partitions.len() {
            Ok(found)
        } else {
            Err(Error::NotFound {
                what: format!("offset for every partition of `{topic}`"),
            })
        }
    }

    /// Forgets the topic when `code` says that what we know of it is out of date.
    pub(crate) fn note_code(&self, topic: &str, code: i16) {
        if ErrorCode::try_from_code(code).is_some_and(is_stale) {
            self.forget(topic);
        }
    }
}

impl OffsetSpec {
    fn wire(self) -> i64 {
        match self {
            OffsetSpec::Latest => -1,
            OffsetSpec::Earliest => -2,
            OffsetSpec::MaxTimestamp => -3,
            OffsetSpec::AtTime(timestamp) => timestamp,
        }
    }
}
