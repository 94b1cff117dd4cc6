//! The group membership APIs: FindCoordinator, JoinGroup, SyncGroup, Heartbeat, LeaveGroup, and looking at groups.

use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::find_coordinator_response::Coordinator as Found;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{
    BrokerId, DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest,
    DescribeGroupsResponse, FindCoordinatorRequest, FindCoordinatorResponse, GroupId,
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    LeaveGroupResponse, ListGroupsRequest, ListGroupsResponse, SyncGroupRequest, SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::{Broker, text};
use crate::group::{Answer, Caller, Event, Group, Join, Joined, Phase, Refused};

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

/// Copies a string out of its request, whose bytes it would otherwise keep alive.
pub(super) fn owned(text: Option<&StrBytes>) -> Option<String> {
    text.map(|text| text.to_string())
}

fn bytes(bytes: &bytes::Bytes) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(bytes)
}

impl Broker {
    pub(super) fn find_coordinator(
        &self,
        request: &FindCoordinatorRequest,
        version: i16,
    ) -> FindCoordinatorResponse {
        let key_type = if version >= 1 {
            request.key_type
        } else {
            GROUP
        };
        let refusal = match key_type {
            GROUP => None,
            TRANSACTION => Some((
                ResponseError::TransactionalIdAuthorizationFailed,
                "transactions are not served",
            )),
            _ => Some((
                ResponseError::InvalidRequest,
                "only groups have a coordinator here",
            )),
        };
        if version >= 4 {
            let coordinators = request.coordinator_keys.iter().map(|key| {
                let found = Found::default().with_key(text(key));
                match refusal {
                    None => found
                        .with_node_id(self.node_id())
                        .with_host(text(&self.host))
                        .with_port(self.port.into()),
                    Some((error, why)) => found
                        .with_node_id(BrokerId(-1))
                        .with_port(-1)
                        .with_error_code(error.code())
                        .with_error_message(Some(text(why))),
                }
            });
            return FindCoordinatorResponse::default().with_coordinators(coordinators.collect());
        }
        match refusal {
            None => FindCoordinatorResponse::default()
                .with_node_id(self.node_id())
                .with_host(text(&self.host))
                .with_port(self.port.into()),
            Some((error, why)) => {
                let response = FindCoordinatorResponse::default()
                    .with_node_id(BrokerId(-1))
                    .with_port(-1)
                    .with_error_code(error.code());
                if version >= 1 {
                    response.with_error_message(Some(text(why)))
                } else {
                    response
                }
            }
        }
    }

    pub(super) async fn join_group(
        &self,
        request: JoinGroupRequest,
        client: (String, String),
        version: i16,
    ) -> JoinGroupResponse {
        let millis = |millis: i32| Duration::from_millis(u64::try_from(millis).unwrap_or(0));
        let session_timeout = millis(request.session_timeout_ms);
        let join = Join {
            caller: Caller {
                group: request.group_id.to_string(),
                member: request.member_id.to_string(),
                instance: owned(request.group_instance_id.as_ref()),
                generation: -1,
            },
            client_id: client.0,
            client_host: client.1,
            session_timeout,
            rebalance_timeout: if version >= 1 {
                millis(request.rebalance_timeout_ms)
            } else {
                session_timeout
            },
            protocol_type: request.protocol_type.to_string(),
            protocols: request
                .protocols
                .iter()
                .map(|protocol| (protocol.name.to_string(), bytes(&protocol.metadata)))
                .collect(),
            knows_member_id_required: version >= 4,
            knows_skip_assignment: version >= 9,
            fresh: Uuid::new_v4().to_string(),
        };
        drop(request);
        let answer = self
            .groups
            .ask(Self::now_ms(), |ticket| Event::Join {
                ticket,
                join: Box::new(join),
            })
            .await;
        match answer {
            Some(Answer::Join(Ok(joined))) => encode_joined(joined, version),
            Some(Answer::Join(Err(refused))) => encode_refused(&refused, version),
            _ => {
                let error = ResponseError::CoordinatorNotAvailable;
                encode_refused(
                    &Refused {
                        error,
                        member: String::new(),
                    },
                    version,
                )
            }
        }
    }

    pub(super) async fn sync_group(
        &self,
        request: SyncGroupRequest,
        version: i16,
    ) -> SyncGroupResponse {
        let caller = Caller {
            group: request.group_id.to_string(),
            member: request.member_id.to_string(),
            instance: owned(request.group_instance_id.as_ref()),
            generation: request.generation_id,
        };
        let protocol =
            owned(request.protocol_type.as_ref()).zip(owned(request.protocol_name.as_ref()));
        let assignments = request
            .assignments
            .iter()
            .map(|share| (share.member_id.to_string(), bytes(&share.assignment)))
            .collect();
        drop(request);
        let event = |ticket| Event::Sync {
            ticket,
            caller,
            protocol,
            assignments,
        };
        match self.groups.ask(Self::now_ms(), event).await {
            Some(Answer::Sync(Ok(synced))) => {
                let response = SyncGroupResponse::default().with_assignment(synced.assignment);
                if version >= 5 {
                    response
                        .with_protocol_type(Some(text(&synced.protocol_type)))
                        .with_protocol_name(Some(text(&synced.protocol)))
                } else {
                    response
                }
            }
            Some(Answer::Sync(Err(error))) => {
                SyncGroupResponse::default().with_error_code(error.code())
            }
            _ => SyncGroupResponse::default()
                .with_error_code(ResponseError::CoordinatorNotAvailable.code()),
        }
    }

    pub(super) async fn heartbeat(&self, request: HeartbeatRequest) -> HeartbeatResponse {
        let caller = Caller {
            group: request.group_id.to_string(),
            member: request.member_id.to_string(),
            instance: owned(request.group_instance_id.as_ref()),
            generation: request.generation_id,
        };
        let answer = self
            .groups
            .ask(Self::now_ms(), |ticket| Event::Heartbeat { ticket, caller })
            .await;
        let error_code = match answer {
            Some(Answer::Heartbeat(Ok(()))) => 0,
            Some(Answer::Heartbeat(Err(error))) => error.code(),
            _ => ResponseError::CoordinatorNotAvailable.code(),
        };
        HeartbeatResponse::default().with_error_code(error_code)
    }

    pub(super) async fn leave_group(
        &self,
        request: LeaveGroupRequest,
        version: i16,
    ) -> LeaveGroupResponse {
        let leavers: Vec<(String, Option<String>)> = if version >= 3 {
            let named = request.members.iter();
            named
                .map(|member| {
                    (
                        member.member_id.to_string(),
                        owned(member.group_instance_id.as_ref()),
                    )
                })
                .collect()
        } else {
            vec![(request.member_id.to_string(), None)]
        };
        let (group, named) = (request.group_id.to_string(), leavers.clone());
        match self
            .groups
            .ask(Self::now_ms(), |ticket| Event::Leave {
                ticket,
                group,
                leavers,
            })
            .await
        {
            Some(Answer::Leave(Ok(outcomes))) => {
                let code = |outcome: &Result<(), ResponseError>| {
                    outcome.as_ref().err().map_or(0, ResponseError::code)
                };
                if version < 3 {
                    return LeaveGroupResponse::default()
                        .with_error_code(outcomes.first().map_or(0, code));
                }
                let members =
                    named
                        .into_iter()
                        .zip(&outcomes)
                        .map(|((member, instance), outcome)| {
                            MemberResponse::default()
                                .with_member_id(text(&member))
                                .with_group_instance_id(instance.map(StrBytes::from_string))
                                .with_error_code(code(outcome))
                        });
                LeaveGroupResponse::default().with_members(members.collect())
            }
            Some(Answer::Leave(Err(error))) => {
                LeaveGroupResponse::default().with_error_code(error.code())
            }
            _ => LeaveGroupResponse::default()
                .with_error_code(ResponseError::CoordinatorNotAvailable.code()),
        }
    }

    pub(super) fn describe_groups(
        &self,
        request: &DescribeGroupsRequest,
        version: i16,
    ) -> DescribeGroupsResponse {
        let describe = |id: &GroupId| {
            let described = DescribedGroup::default().with_group_id(GroupId(text(id)));
            self.groups
                .look(|coordinator| match coordinator.groups.get(&***id) {
                    Some(group) => describe_group(group, described, version),
                    None => {
                        let described = described.with_group_state(text("Dead"));
                        if version < 6 {
                            return described;
                        }
                        let error = ResponseError::GroupIdNotFound;
                        let why = text("there is no such group");
                        described
                            .with_error_code(error.code())
                            .with_error_message(Some(why))
                    }
                })
        };
        DescribeGroupsResponse::default().with_groups(request.groups.iter().map(describe).collect())
    }

    pub(super) fn list_groups(
        &self,
        request: &ListGroupsRequest,
        version: i16,
    ) -> ListGroupsResponse {
        let is_wanted = |filter: &[StrBytes], value: &str| {
            filter.is_empty()
                || filter
                    .iter()
                    .any(|wanted| wanted.eq_ignore_ascii_case(value))
        };
        let groups = self.groups.look(|coordinator| {
            let wanted = coordinator.groups.values().filter(|group| {
                is_wanted(&request.states_filter, group.state())
                    && is_wanted(&request.types_filter, "classic")
            });
            let list = |group: &Group| {
                let mut listed = ListedGroup::default()
                    .with_group_id(GroupId(text(&group.id)))
                    .with_protocol_type(text(group.protocol_type.as_deref().unwrap_or_default()));
                if version >= 4 {
                    listed = listed.with_group_state(text(group.state()));
                }
                if version >= 5 {
                    listed.with_group_type(text("classic"))
                } else {
                    listed
                }
            };
            wanted.map(list).collect()
        });
        ListGroupsResponse::default().with_groups(groups)
    }

    pub(super) async fn delete_groups(&self, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
        let mut results = Vec::with_capacity(request.groups_names.len());
        for group in request.groups_names {
            let outcome = self.groups.delete(&group, Self::now_ms()).await;
            let error_code = outcome.err().map_or(0, |error| error.code());
            results.push(
                DeletableGroupResult::default()
                    .with_group_id(group)
                    .with_error_code(error_code),
            );
        }
        DeleteGroupsResponse::default().with_results(results)
    }
}

fn encode_joined(joined: Joined, version: i16) -> JoinGroupResponse {
    let members = joined.members.into_iter().map(|(id, instance, metadata)| {
        let member = JoinGroupResponseMember::default()
            .with_member_id(text(&id))
            .with_metadata(metadata);
        if version >= 5 {
            member.with_group_instance_id(instance.map(StrBytes::from_string))
        } else {
            member
        }
    });
    let mut response = JoinGroupResponse::default()
        .with_generation_id(joined.generation)
        .with_protocol_name(Some(text(&joined.protocol)))
        .with_leader(text(&joined.leader))
        .with_member_id(text(&joined.member))
        .with_members(members.collect());
    if version >= 7 {
        response.protocol_type = Some(text(&joined.protocol_type));
    }
    response.skip_assignment = version >= 9 && joined.skip_assignment;
    response
}

fn encode_refused(refused: &Refused, version: i16) -> JoinGroupResponse {
    let response = JoinGroupResponse::default()
        .with_error_code(refused.error.code())
        .with_generation_id(-1)
        .with_member_id(text(&refused.member));
    // Before version 7 the name could not be null.
    response.with_protocol_name((version < 7).then(|| text("")))
}

fn describe_group(group: &Group, described: DescribedGroup, version: i16) -> DescribedGroup {
    let protocol = if group.phase == Phase::Stable {
        group.protocol.as_deref().unwrap_or_default()
    } else {
        ""
    };
    let members = group.members.values().map(|member| {
        let described = DescribedGroupMember::default()
            .with_member_id(text(&member.id))
            .with_client_id(text(&member.client_id))
            .with_client_host(text(&member.client_host))
            .with_member_metadata(member.metadata(protocol).cloned().unwrap_or_default())
            .with_member_assignment(member.assignment.clone());
        if version >= 4 {
            described.with_group_instance_id(member.instance.as_deref().map(text))
        } else {
            described
        }
    });
    described
        .with_group_state(text(group.state()))
        .with_protocol_type(text(group.protocol_type.as_deref().unwrap_or_default()))
        .with_protocol_data(text(protocol))
        .with_members(members.collect())
}
