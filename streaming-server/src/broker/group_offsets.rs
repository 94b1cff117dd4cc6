//! OffsetCommit, OffsetFetch and OffsetDelete.

use bytes::Buf;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{
    GroupId, OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse,
    OffsetFetchRequest, OffsetFetchResponse,
};

use super::groups::owned;
use super::{Broker, text, topic_name};
use crate::group::{Caller, Committed, Group, OffsetKey};

/// One offset asked for.
struct Fetched {
    partition: i32,
    committed: Option<Committed>,
}

impl Broker {
    pub(super) async fn offset_commit(&self, request: OffsetCommitRequest) -> OffsetCommitResponse {
        let now_ms = Self::now_ms();
        let caller = Caller {
            group: request.group_id.to_string(),
            member: request.member_id.to_string(),
            instance: owned(request.group_instance_id.as_ref()),
            generation: request.generation_id_or_member_epoch,
        };
        let max_metadata =
            usize::try_from(self.config.max_offset_metadata.as_u64()).unwrap_or(usize::MAX);
        let mut offsets = Vec::new();
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for wanted in &topic.partitions {
                let metadata = wanted.committed_metadata.as_deref().unwrap_or_default();
                let outcome = if self.partition(&topic.name, wanted.partition_index).is_err() {
                    Err(ResponseError::UnknownTopicOrPartition)
                } else if metadata.len() > max_metadata {
                    Err(ResponseError::OffsetMetadataTooLarge)
                } else {
                    let key = OffsetKey {
                        topic: topic.name.to_string(),
                        partition: wanted.partition_index,
                    };
                    let committed = Committed {
                        offset: wanted.committed_offset,
                        leader_epoch: wanted.committed_leader_epoch,
                        metadata: metadata.to_owned(),
                        commit_ms: now_ms,
                        log_offset: -1,
                    };
                    offsets.push((key, committed));
                    Ok(())
                };
                partitions.push((wanted.partition_index, outcome));
            }
            topics.push((topic.name.to_string(), partitions));
        }
        drop(request);
        let outcome = self.groups.commit(&caller, offsets, now_ms).await;
        let topics = topics.into_iter().map(|(name, partitions)| {
            let partitions = partitions.into_iter().map(|(index, checked)| {
                let error_code = checked.and(outcome).err().map_or(0, |error| error.code());
                OffsetCommitResponsePartition::default()
                    .with_partition_index(index)
                    .with_error_code(error_code)
            });
            OffsetCommitResponseTopic::default()
                .with_name(topic_name(&name))
                .with_partitions(partitions.collect())
        });
        OffsetCommitResponse::default().with_topics(topics.collect())
    }

    pub(super) fn offset_fetch(
        &self,
        request: &OffsetFetchRequest,
        version: i16,
    ) -> OffsetFetchResponse {
        if version >= 8 {
            let groups = request.groups.iter().map(|asked| {
                let topics = asked.topics.as_ref().map(|topics| {
                    topics
                        .iter()
                        .map(|topic| (topic.name.to_string(), topic.partition_indexes.as_slice()))
                        .collect()
                });
                let topics = self.fetch_offsets(&asked.group_id, topics).into_iter().map(
                    |(name, fetched)| {
                        let partitions = fetched.into_iter().map(|fetched| {
                            let (offset, epoch, metadata) = fetched.fields();
                            OffsetFetchResponsePartitions::default()
                                .with_partition_index(fetched.partition)
                                .with_committed_offset(offset)
                                .with_committed_leader_epoch(epoch)
                                .with_metadata(Some(text(metadata)))
                        });
                        let partitions = partitions.collect();
                        OffsetFetchResponseTopics::default()
                            .with_name(topic_name(&name))
                            .with_partitions(partitions)
                    },
                );
                let topics = topics.collect();
                OffsetFetchResponseGroup::default()
                    .with_group_id(GroupId(text(&asked.group_id)))
                    .with_topics(topics)
            });
            return OffsetFetchResponse::default().with_groups(groups.collect());
        }
        let topics = request.topics.as_ref().map(|topics| {
            topics
                .iter()
                .map(|topic| (topic.name.to_string(), topic.partition_indexes.as_slice()))
                .collect()
        });
        let topics = self
            .fetch_offsets(&request.group_id, topics)
            .into_iter()
            .map(|(name, fetched)| {
                let partitions = fetched.into_iter().map(|fetched| {
                    let (offset, epoch, metadata) = fetched.fields();
                    let partition = OffsetFetchResponsePartition::default()
                        .with_partition_index(fetched.partition)
                        .with_committed_offset(offset)
                        .with_metadata(Some(text(metadata)));
                    if version >= 5 {
                        partition.with_committed_leader_epoch(epoch)
                    } else {
                        partition
                    }
                });
                OffsetFetchResponseTopic::default()
                    .with_name(topic_name(&name))
                    .with_partitions(partitions.collect())
            });
        OffsetFetchResponse::default().with_topics(topics.collect())
    }

    /// The offsets of these partitions, or all there are.
    fn fetch_offsets(
        &self,
        group: &str,
        topics: Option<Vec<(String, &[i32])>>,
    ) -> Vec<(String, Vec<Fetched>)> {
        self.groups.look(|coordinator| {
            let group = coordinator.groups.get(group);
            if let Some(topics) = topics {
                let of = |(name, numbers): (String, &[i32])| {
                    let fetch = |number: &i32| {
                        let key = OffsetKey {
                            topic: name.clone(),
                            partition: *number,
                        };
                        let committed = group.and_then(|group| group.offsets.get(&key)).cloned();
                        Fetched {
                            partition: *number,
                            committed,
                        }
                    };
                    let fetched = numbers.iter().map(fetch).collect();
                    (name, fetched)
                };
                return topics.into_iter().map(of).collect();
            }
            let mut all: Vec<(String, Vec<Fetched>)> = Vec::new();
            for (key, committed) in group.into_iter().flat_map(|group| &group.offsets) {
                let fetched = Fetched {
                    partition: key.partition,
                    committed: Some(committed.clone()),
                };
                match all.last_mut().filter(|(name, _)| *name == key.topic) {
                    Some((_, partitions)) => partitions.push(fetched),
                    None => all.push((key.topic.clone(), vec![fetched])),
                }
            }
            all
        })
    }

    pub(super) async fn offset_delete(&self, request: OffsetDeleteRequest) -> OffsetDeleteResponse {
        let group = request.group_id.to_string();
        let subscribed = self
            .groups
            .look(|coordinator| coordinator.groups.get(&group).map(subscribed_topics));
        let Some(subscribed) = subscribed else {
            return OffsetDeleteResponse::default()
                .with_error_code(ResponseError::GroupIdNotFound.code());
        };
        let is_free = |topic: &str| match &subscribed {
            None => false,
            Some(topics) => !topics.iter().any(|subscribed| subscribed == topic),
        };
        let mut keys = Vec::new();
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for wanted in &topic.partitions {
                let response = OffsetDeleteResponsePartition::default()
                    .with_partition_index(wanted.partition_index);
                if is_free(&topic.name) {
                    keys.push(OffsetKey {
                        topic: topic.name.to_string(),
                        partition: wanted.partition_index,
                    });
                    partitions.push(response);
                } else {
                    partitions.push(
                        response.with_error_code(ResponseError::GroupSubscribedToTopic.code()),
                    );
                }
            }
            let response = OffsetDeleteResponseTopic::default().with_name(topic_name(&topic.name));
            topics.push(response.with_partitions(partitions));
        }
        match self
            .groups
            .delete_offsets(&group, &keys, Self::now_ms())
            .await
        {
            Ok(()) => OffsetDeleteResponse::default().with_topics(topics),
            Err(error) => OffsetDeleteResponse::default().with_error_code(error.code()),
        }
    }
}

impl Fetched {
    fn fields(&self) -> (i64, i32, &str) {
        match &self.committed {
            None => (-1, -1, ""),
            Some(committed) => (
                committed.offset,
                committed.leader_epoch,
                &committed.metadata,
            ),
        }
    }
}

/// The topics that members of the group read; `None` when their protocol does not say.
fn subscribed_topics(group: &Group) -> Option<Vec<String>> {
    let mut topics = Vec::new();
    for member in group.members.values() {
        if group.protocol_type.as_deref() != Some("consumer") {
            return None;
        }
        for (_, metadata) in &member.protocols {
            topics.extend(subscription(metadata)?);
        }
    }
    Some(topics)
}

/// The topics in a consumer's subscription: a version, then an array of strings.
fn subscription(metadata: &[u8]) -> Option<Vec<String>> {
    let mut rest = metadata;
    let _version = rest.try_get_i16().ok()?;
    let n_topics = rest.try_get_i32().ok()?;
    let mut topics = Vec::new();
    for _ in 0..n_topics {
        let len = usize::try_from(rest.try_get_i16().ok()?).ok()?;
        let (topic, tail) = rest.split_at_checked(len)?;
        rest = tail;
        topics.push(String::from_utf8_lossy(topic).into_owned());
    }
    Some(topics)
}
