//! Answers requests: typed Kafka messages in, typed Kafka messages out.
//!
//! Each file below serves one family of APIs and is the only place that knows its messages; what happens to records,
//! topics and groups is decided by the domain half. Nothing here touches a socket.

mod cluster;
mod configs;
mod coordination;
mod fetch;
mod group_offsets;
mod groups;
mod metadata;
mod offsets;
mod produce;
mod sessions;
mod topic_admin;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use kafka_protocol::messages::{BrokerId, RequestKind, ResponseKind, TopicName};
use kafka_protocol::protocol::StrBytes;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::Config;
use crate::log::pool::Pool;
use crate::log::{Env, Memory};
use crate::sasl::Users;
use crate::topics::Topics;
use crate::wire::{FetchReply, Request};
pub(crate) use cluster::api_versions;
pub(crate) use coordination::{Groups, replay};
pub(crate) use produce::OFFSETS_TOPIC;
pub(crate) use sessions::Sessions;

/// The answer to one request.
pub(crate) enum Reply {
    /// A produce request that wants no answer.
    Silent,
    /// The connection ends: the client cannot be told otherwise.
    Hangup,
    Message(ResponseKind),
    Fetch(FetchReply),
    /// To be awaited when all earlier replies of the connection are sent: what it takes nobody else can have meanwhile.
    InTurn(Answer),
}

/// A reply to come.
pub(crate) type Answer = Pin<Box<dyn Future<Output = Reply> + Send>>;

/// Everything the APIs work on.
pub(crate) struct Broker {
    pub(crate) config: Config,
    pub(crate) env: Arc<Env>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) groups: Arc<Groups>,
    pub(crate) users: Users,
    /// One thread for changes of topics, one after the other.
    pub(crate) chores: Pool,
    /// What clients are told to connect to.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) sessions: Mutex<Sessions>,
    /// A permit for each KiB of records read from disk.
    pub(crate) fetch_memory: Arc<Semaphore>,
    /// Cancelled when the broker begins to stop: long polls end, connections finish what they began.
    pub(crate) stopping: tokio_util::sync::CancellationToken,
}

impl Broker {
    /// Begins to answer `request`. Appends happen before this returns, so pipelined batches keep their order; the rest
    /// happens when the answer is polled.
    pub(crate) fn begin(self: &Arc<Self>, request: Request, peer: &str, memory: &Memory) -> Answer {
        let broker = Arc::clone(self);
        let version = request.version;
        match request.kind {
            RequestKind::Produce(produce) => self.produce(produce, version, memory),
            RequestKind::Fetch(fetch) => Box::pin(broker.fetch(fetch, version)),
            RequestKind::ListOffsets(list) => {
                answer(async move { broker.list_offsets(list, version).await })
            }
            RequestKind::Metadata(metadata) => {
                answer(async move { broker.metadata(metadata, version).await })
            }
            RequestKind::ApiVersions(_) => ready(api_versions(0, !self.users.is_empty()).into()),
            RequestKind::DescribeCluster(describe) => {
                ready(self.describe_cluster(&describe, version).into())
            }
            RequestKind::DescribeLogDirs(describe) => {
                ready(self.describe_log_dirs(describe).into())
            }
            RequestKind::CreateTopics(create) => {
                answer(async move { broker.create_topics(create, version).await })
            }
            RequestKind::DeleteTopics(delete) => {
                answer(async move { broker.delete_topics(delete, version).await })
            }
            RequestKind::DeleteRecords(delete) => {
                answer(async move { broker.delete_records(delete).await })
            }
            RequestKind::CreatePartitions(create) => {
                answer(async move { broker.create_partitions(create).await })
            }
            RequestKind::InitProducerId(init) => {
                answer(async move { broker.init_producer_id(init).await })
            }
            RequestKind::DescribeConfigs(describe) => {
                ready(self.describe_configs(describe, version).into())
            }
            RequestKind::AlterConfigs(alter) => {
                answer(async move { broker.alter_configs(alter).await })
            }
            RequestKind::IncrementalAlterConfigs(alter) => {
                answer(async move { broker.incremental_alter_configs(alter).await })
            }
            kind => self.begin_group(kind, version, request.client_id, peer),
        }
    }

    fn begin_group(
        self: &Arc<Self>,
        kind: RequestKind,
        version: i16,
        client_id: String,
        peer: &str,
    ) -> Answer {
        let broker = Arc::clone(self);
        match kind {
            RequestKind::FindCoordinator(find) => {
                ready(self.find_coordinator(&find, version).into())
            }
            RequestKind::JoinGroup(join) => {
                // Kafka writes hosts with a slash before them.
                let client = (client_id, format!("/{peer}"));
                answer(async move { broker.join_group(join, client, version).await })
            }
            RequestKind::SyncGroup(sync) => {
                answer(async move { broker.sync_group(sync, version).await })
            }
            RequestKind::Heartbeat(heartbeat) => {
                answer(async move { broker.heartbeat(heartbeat).await })
            }
            RequestKind::LeaveGroup(leave) => {
                answer(async move { broker.leave_group(leave, version).await })
            }
            RequestKind::OffsetCommit(commit) => {
                answer(async move { broker.offset_commit(commit).await })
            }
            RequestKind::OffsetFetch(fetch) => ready(self.offset_fetch(&fetch, version).into()),
            RequestKind::OffsetDelete(delete) => {
                answer(async move { broker.offset_delete(delete).await })
            }
            RequestKind::DescribeGroups(describe) => {
                ready(self.describe_groups(&describe, version).into())
            }
            RequestKind::ListGroups(list) => ready(self.list_groups(&list, version).into()),
            RequestKind::DeleteGroups(delete) => {
                answer(async move { broker.delete_groups(delete).await })
            }
            // The table in `wire` lists no other API; a frame of one does not get here.
            _ => Box::pin(async { Reply::Hangup }),
        }
    }

    pub(crate) fn node_id(&self) -> BrokerId {
        BrokerId(self.config.node_id)
    }

    /// The wall clock, read here for the whole domain half.
    #[expect(
        clippy::disallowed_methods,
        reason = "the seam at which time enters the broker"
    )]
    pub(crate) fn now_ms() -> i64 {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
    }

    /// Runs a change of topics on its thread. `None` only while the broker stops.
    async fn change<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Topics) -> T + Send + 'static,
    ) -> Option<T> {
        let topics = Arc::clone(&self.topics);
        self.chores.run(move || job(&topics)).await
    }
}

fn answer<R: Into<ResponseKind>>(response: impl Future<Output = R> + Send + 'static) -> Answer {
    Box::pin(async move { Reply::Message(response.await.into()) })
}

fn ready(response: ResponseKind) -> Answer {
    Box::pin(std::future::ready(Reply::Message(response)))
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}
