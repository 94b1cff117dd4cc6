//! Joining: newcomers, members that come again, and static members that come back under a new id.

use std::time::Instant;

use kafka_protocol::ResponseError;

use super::records::group_record;
use super::{Answer, Coordinator, Effect, Group, Join, Joined, Limits, Phase, Refused, Ticket};

impl Coordinator {
    pub(super) fn join(
        &mut self,
        now: Instant,
        ticket: Ticket,
        join: &Join,
        effects: &mut Vec<Effect>,
    ) {
        let member = join.caller.member.clone();
        let outcome = self.admit(now, ticket, join, effects);
        let answer = match outcome {
            // Parked: the rebalance answers.
            Ok(None) => return,
            Ok(Some(joined)) => Answer::Join(Ok(joined)),
            Err((error, given)) => Answer::Join(Err(Refused {
                error,
                member: given.unwrap_or(member),
            })),
        };
        effects.push(Effect::Answer { ticket, answer });
    }

    fn admit(
        &mut self,
        now: Instant,
        ticket: Ticket,
        join: &Join,
        effects: &mut Vec<Effect>,
    ) -> Result<Option<Joined>, (ResponseError, Option<String>)> {
        let limits = &self.limits;
        check(join, limits).map_err(|error| (error, None))?;
        let caller = &join.caller;
        if !self.groups.contains_key(&caller.group) {
            if !caller.member.is_empty() {
                return Err((ResponseError::UnknownMemberId, None));
            }
            if self.groups.len() >= limits.max_groups {
                return Err((ResponseError::GroupMaxSizeReached, None));
            }
        }
        let group = self
            .groups
            .entry(caller.group.clone())
            .or_insert_with(|| Group::new(&caller.group));
        group.check_protocols(join).map_err(|error| (error, None))?;
        if caller.member.is_empty() {
            return group.newcomer(now, ticket, join, limits, effects);
        }
        if group.promised.remove(&caller.member).is_some() {
            if caller.instance.is_some() {
                return Err((ResponseError::InvalidRequest, None));
            }
            group.enter(caller.member.clone(), now, ticket, join, limits, effects);
            return Ok(None);
        }
        group.check_member(caller).map_err(|error| (error, None))?;
        Ok(group.rejoin(now, ticket, join, limits, effects))
    }
}

fn check(join: &Join, limits: &Limits) -> Result<(), ResponseError> {
    let n_bytes: usize = join
        .protocols
        .iter()
        .map(|(name, metadata)| name.len() + metadata.len())
        .sum();
    if join.caller.group.is_empty() {
        Err(ResponseError::InvalidGroupId)
    } else if !(limits.min_session_timeout..=limits.max_session_timeout)
        .contains(&join.session_timeout)
    {
        Err(ResponseError::InvalidSessionTimeout)
    } else if join.protocol_type.is_empty() || join.protocols.is_empty() {
        Err(ResponseError::InconsistentGroupProtocol)
    } else if n_bytes > limits.max_metadata_bytes {
        Err(ResponseError::InvalidRequest)
    } else {
        Ok(())
    }
}

impl Group {
    /// Whether the member can work together with the others.
    fn check_protocols(&self, join: &Join) -> Result<(), ResponseError> {
        let mut others = self.members.values().filter(|member| {
            member.id != join.caller.member
                && (join.caller.instance.is_none() || member.instance != join.caller.instance)
        });
        let first = others.next();
        if first.is_none() {
            return Ok(());
        }
        let same_type = self
            .protocol_type
            .as_ref()
            .is_none_or(|known| *known == join.protocol_type);
        let others: Vec<_> = first.into_iter().chain(others).collect();
        let has_common = join
            .protocols
            .iter()
            .any(|(name, _)| others.iter().all(|member| member.metadata(name).is_some()));
        if same_type && has_common {
            Ok(())
        } else {
            Err(ResponseError::InconsistentGroupProtocol)
        }
    }

    fn newcomer(
        &mut self,
        now: Instant,
        ticket: Ticket,
        join: &Join,
        limits: &Limits,
        effects: &mut Vec<Effect>,
    ) -> Result<Option<Joined>, (ResponseError, Option<String>)> {
        let caller = &join.caller;
        if let Some(instance) = &caller.instance {
            let id = format!("{instance}-{}", join.fresh);
            if let Some(old) = self.instances.get(instance).cloned() {
                return Ok(self.replace(&old, id, now, ticket, join, limits, effects));
            }
            if self.members.len() >= limits.max_members {
                return Err((ResponseError::GroupMaxSizeReached, None));
            }
            self.enter(id, now, ticket, join, limits, effects);
            return Ok(None);
        }
        if self.members.len() + self.promised.len() >= limits.max_members {
            return Err((ResponseError::GroupMaxSizeReached, None));
        }
        let id = format!("{}-{}", join.client_id, join.fresh);
        if join.knows_member_id_required {
            self.promised.insert(id.clone(), now + join.session_timeout);
            return Err((ResponseError::MemberIdRequired, Some(id)));
        }
        self.enter(id, now, ticket, join, limits, effects);
        Ok(None)
    }

    fn enter(
        &mut self,
        id: String,
        now: Instant,
        ticket: Ticket,
        join: &Join,
        limits: &Limits,
        effects: &mut Vec<Effect>,
    ) {
        self.add(id, join, ticket, now);
        if matches!(self.phase, Phase::Preparing { .. }) {
            self.complete_if_all_joined(now, effects);
        } else {
            self.prepare(now, limits, effects);
        }
    }

    /// A known member joins again; `Some` when nothing changes and it can be told at once.
    fn rejoin(
        &mut self,
        now: Instant,
        ticket: Ticket,
        join: &Join,
        limits: &Limits,
        effects: &mut Vec<Effect>,
    ) -> Option<Joined> {
        let id = &join.caller.member;
        let leads = self.leader.as_ref() == Some(id);
        let member = self.members.get_mut(id)?;
        member.expires = now + join.session_timeout;
        let is_same = member.protocols == join.protocols;
        let may_tell = match self.phase {
            Phase::Preparing { .. } | Phase::Empty => false,
            Phase::Completing { .. } => is_same,
            // The leader comes again because it wants a new assignment.
            Phase::Stable => is_same && !leads,
        };
        if may_tell {
            return Some(self.joined(id));
        }
        member.update(join);
        if let Some(old) = member.joining.replace(ticket) {
            let refused = Refused {
                error: ResponseError::RebalanceInProgress,
                member: id.clone(),
            };
            effects.push(Effect::Answer {
                ticket: old,
                answer: Answer::Join(Err(refused)),
            });
        }
        if matches!(self.phase, Phase::Preparing { .. }) {
            self.complete_if_all_joined(now, effects);
        } else {
            self.prepare(now, limits, effects);
        }
        None
    }

    /// A static member has restarted: it takes its old place under a new id, without a rebalance if nothing changed.
    #[expect(
        clippy::too_many_arguments,
        reason = "one call site; a struct would only rename the arguments"
    )]
    fn replace(
        &mut self,
        old: &str,
        id: String,
        now: Instant,
        ticket: Ticket,
        join: &Join,
        limits: &Limits,
        effects: &mut Vec<Effect>,
    ) -> Option<Joined> {
        let old_leader = self.leader.clone();
        let mut member = self.members.remove(old)?;
        if let Some(ticket) = member.joining.take() {
            let refused = Refused {
                error: ResponseError::FencedInstanceId,
                member: old.to_owned(),
            };
            effects.push(Effect::Answer {
                ticket,
                answer: Answer::Join(Err(refused)),
            });
        }
        if let Some(ticket) = member.syncing.take() {
            let answer = Answer::Sync(Err(ResponseError::FencedInstanceId));
            effects.push(Effect::Answer { ticket, answer });
        }
        let protocol = self.protocol.clone().unwrap_or_default();
        let new_metadata = join
            .protocols
            .iter()
            .find(|(name, _)| *name == protocol)
            .map(|(_, metadata)| metadata);
        let is_same = self.phase == Phase::Stable
            && new_metadata.is_some()
            && member.metadata(&protocol) == new_metadata;
        member.update(join);
        member.id.clone_from(&id);
        member.expires = now + join.session_timeout;
        if let Some(instance) = &join.caller.instance {
            self.instances.insert(instance.clone(), id.clone());
        }
        if old_leader.as_deref() == Some(old) {
            self.leader = Some(id.clone());
        }
        if is_same {
            self.members.insert(id.clone(), member);
            let records = vec![group_record(self)];
            effects.push(Effect::Persist {
                group: self.id.clone(),
                records,
                answers: Vec::new(),
            });
            let mut joined = self.joined(&id);
            if joined.leader == id {
                // Nothing is to be assigned anew: an old client is told that another leads.
                joined.skip_assignment = join.knows_skip_assignment;
                if !join.knows_skip_assignment {
                    old.clone_into(&mut joined.leader);
                    joined.members.clear();
                }
            }
            return Some(joined);
        }
        member.joining = Some(ticket);
        self.members.insert(id, member);
        if matches!(self.phase, Phase::Preparing { .. }) {
            self.complete_if_all_joined(now, effects);
        } else {
            self.prepare(now, limits, effects);
        }
        None
    }
}
