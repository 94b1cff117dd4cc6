//! One group: its members, the phase of its rebalance, and the moves between phases.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::ResponseError;

use super::records::group_record;
use super::{
    Answer, Caller, Committed, Effect, Join, Joined, Limits, OffsetKey, Refused, Ticket, elect,
};

/// A consumer in a group.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) id: String,
    pub(crate) instance: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) session_timeout: Duration,
    pub(crate) rebalance_timeout: Duration,
    pub(crate) protocols: Vec<(String, Bytes)>,
    pub(crate) assignment: Bytes,
    pub(super) expires: Instant,
    pub(super) joining: Option<Ticket>,
    pub(super) syncing: Option<Ticket>,
}

/// Where a group is in its rebalance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    Empty,
    /// Waiting for members to join until `deadline`.
    Preparing {
        deadline: Instant,
        first: Option<FirstDelay>,
    },
    /// Waiting for the leader's assignment until `deadline`.
    Completing {
        deadline: Instant,
    },
    Stable,
}

/// The first rebalance of a group waits for more members as long as they keep coming.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FirstDelay {
    pub(super) remaining: Duration,
    pub(super) has_newcomer: bool,
}

/// A consumer group.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) id: String,
    pub(crate) phase: Phase,
    pub(crate) generation: i32,
    pub(crate) protocol_type: Option<String>,
    pub(crate) protocol: Option<String>,
    pub(crate) leader: Option<String>,
    pub(crate) members: BTreeMap<String, Member>,
    /// Member of each static instance.
    pub(crate) instances: HashMap<String, String>,
    /// Ids given out to clients that are to come again with them.
    pub(super) promised: HashMap<String, Instant>,
    pub(crate) offsets: BTreeMap<OffsetKey, Committed>,
    /// Commits being written.
    pub(crate) n_committing: usize,
    /// When it last was known to have members or got an offset, by the wall clock; decides when its offsets expire.
    pub(crate) empty_since_ms: i64,
}

// === impl Member ===

impl Member {
    pub(crate) fn metadata(&self, protocol: &str) -> Option<&Bytes> {
        self.protocols
            .iter()
            .find(|(name, _)| name == protocol)
            .map(|(_, metadata)| metadata)
    }

    pub(super) fn update(&mut self, join: &Join) {
        self.protocols.clone_from(&join.protocols);
        self.session_timeout = join.session_timeout;
        self.rebalance_timeout = join.rebalance_timeout;
        self.client_id.clone_from(&join.client_id);
        self.client_host.clone_from(&join.client_host);
    }
}

// === impl Group ===

impl Group {
    pub(crate) fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            phase: Phase::Empty,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            instances: HashMap::new(),
            promised: HashMap::new(),
            offsets: BTreeMap::new(),
            n_committing: 0,
            empty_since_ms: 0,
        }
    }

    /// Kafka's name of the phase.
    pub(crate) fn state(&self) -> &'static str {
        match self.phase {
            Phase::Empty => "Empty",
            Phase::Preparing { .. } => "PreparingRebalance",
            Phase::Completing { .. } => "CompletingRebalance",
            Phase::Stable => "Stable",
        }
    }

    /// Nothing is left of it.
    pub(crate) fn is_forgotten(&self) -> bool {
        self.phase == Phase::Empty
            && self.members.is_empty()
            && self.promised.is_empty()
            && self.offsets.is_empty()
            && self.n_committing == 0
    }

    pub(super) fn note_members(&mut self, now_ms: i64) {
        if !self.members.is_empty() {
            self.empty_since_ms = self.empty_since_ms.max(now_ms);
        }
    }

    /// Whether `caller` is a member, and the one that its instance id stands for.
    pub(super) fn check_member(&self, caller: &Caller) -> Result<(), ResponseError> {
        if let Some(instance) = &caller.instance {
            match self.instances.get(instance) {
                None => return Err(ResponseError::UnknownMemberId),
                Some(member) if *member != caller.member => {
                    return Err(ResponseError::FencedInstanceId);
                }
                Some(_) => {}
            }
        }
        if self.members.contains_key(&caller.member) {
            Ok(())
        } else {
            Err(ResponseError::UnknownMemberId)
        }
    }

    pub(super) fn touch(&mut self, member: &str, now: Instant) {
        if let Some(member) = self.members.get_mut(member) {
            member.expires = now + member.session_timeout;
        }
    }

    /// The member that a leave request means.
    pub(super) fn leaver(
        &mut self,
        member: &str,
        instance: Option<&str>,
    ) -> Result<String, ResponseError> {
        if let Some(instance) = instance {
            let known = self
                .instances
                .get(instance)
                .ok_or(ResponseError::UnknownMemberId)?;
            // An administrator removes an instance without knowing its member id.
            return if member.is_empty() || member == known {
                Ok(known.clone())
            } else {
                Err(ResponseError::FencedInstanceId)
            };
        }
        if self.promised.remove(member).is_some() || self.members.contains_key(member) {
            Ok(member.to_owned())
        } else {
            Err(ResponseError::UnknownMemberId)
        }
    }

    pub(super) fn add(&mut self, id: String, join: &Join, ticket: Ticket, now: Instant) {
        if let Some(instance) = &join.caller.instance {
            self.instances.insert(instance.clone(), id.clone());
        }
        if self.protocol_type.is_none() || self.members.is_empty() {
            self.protocol_type = Some(join.protocol_type.clone());
        }
        self.leader.get_or_insert_with(|| id.clone());
        if let Phase::Preparing {
            first: Some(first), ..
        } = &mut self.phase
        {
            first.has_newcomer = true;
        }
        let member = Member {
            id: id.clone(),
            instance: join.caller.instance.clone(),
            client_id: join.client_id.clone(),
            client_host: join.client_host.clone(),
            session_timeout: join.session_timeout,
            rebalance_timeout: join.rebalance_timeout,
            protocols: join.protocols.clone(),
            assignment: Bytes::new(),
            expires: now + join.session_timeout,
            joining: Some(ticket),
            syncing: None,
        };
        self.members.insert(id, member);
    }

    /// Takes a member out, telling it `error` if it waits for something.
    pub(super) fn remove(&mut self, id: &str, error: ResponseError, effects: &mut Vec<Effect>) {
        let Some(member) = self.members.remove(id) else {
            return;
        };
        if let Some(instance) = &member.instance
            && self
                .instances
                .get(instance)
                .is_some_and(|known| known == id)
        {
            self.instances.remove(instance);
        }
        if let Some(ticket) = member.joining {
            let answer = Answer::Join(Err(Refused {
                error,
                member: id.to_owned(),
            }));
            effects.push(Effect::Answer { ticket, answer });
        }
        if let Some(ticket) = member.syncing {
            effects.push(Effect::Answer {
                ticket,
                answer: Answer::Sync(Err(error)),
            });
        }
        if self.leader.as_deref() == Some(id) {
            self.leader = self.members.keys().next().cloned();
        }
    }

    /// After one or more members are gone: the rest share anew.
    pub(super) fn after_departure(
        &mut self,
        now: Instant,
        limits: &Limits,
        effects: &mut Vec<Effect>,
    ) {
        match self.phase {
            Phase::Stable | Phase::Completing { .. } => self.prepare(now, limits, effects),
            Phase::Preparing { .. } => self.complete_if_all_joined(now, effects),
            Phase::Empty => {}
        }
    }

    /// Begins a rebalance.
    pub(super) fn prepare(&mut self, now: Instant, limits: &Limits, effects: &mut Vec<Effect>) {
        for member in self.members.values_mut() {
            if let Some(ticket) = member.syncing.take() {
                let answer = Answer::Sync(Err(ResponseError::RebalanceInProgress));
                effects.push(Effect::Answer { ticket, answer });
            }
        }
        let patience = self.patience();
        if self.phase == Phase::Empty && !limits.initial_rebalance_delay.is_zero() {
            let delay = limits.initial_rebalance_delay.min(patience);
            let first = FirstDelay {
                remaining: patience - delay,
                has_newcomer: false,
            };
            self.phase = Phase::Preparing {
                deadline: now + delay,
                first: Some(first),
            };
        } else {
            self.phase = Phase::Preparing {
                deadline: now + patience,
                first: None,
            };
            self.complete_if_all_joined(now, effects);
        }
    }

    pub(super) fn complete_if_all_joined(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let has_all = self.promised.is_empty()
            && self.members.values().all(|member| member.joining.is_some());
        if matches!(self.phase, Phase::Preparing { first: None, .. }) && has_all {
            self.complete(now, effects);
        }
    }

    /// Ends the joining: everyone who came is in the new generation.
    fn complete(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let absent: Vec<String> = self
            .members
            .values()
            .filter(|member| member.joining.is_none() && member.instance.is_none())
            .map(|member| member.id.clone())
            .collect();
        for id in absent {
            self.remove(&id, ResponseError::UnknownMemberId, effects);
        }
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        if self.members.is_empty() {
            self.phase = Phase::Empty;
            (self.protocol, self.leader) = (None, None);
            let records = vec![group_record(self)];
            effects.push(Effect::Persist {
                group: self.id.clone(),
                records,
                answers: Vec::new(),
            });
            return;
        }
        let leader_is_here = self
            .leader
            .as_ref()
            .and_then(|leader| self.members.get(leader))
            .is_some_and(|leader| leader.joining.is_some());
        if !leader_is_here {
            let here = self
                .members
                .values()
                .find(|member| member.joining.is_some());
            self.leader = here
                .or(self.members.values().next())
                .map(|member| member.id.clone());
        }
        self.protocol = elect(&self.members.values().collect::<Vec<_>>());
        self.phase = Phase::Completing {
            deadline: now + self.patience(),
        };
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            let joined = self.joined(&id);
            if let Some(member) = self.members.get_mut(&id) {
                member.expires = now + member.session_timeout;
                if let Some(ticket) = member.joining.take() {
                    effects.push(Effect::Answer {
                        ticket,
                        answer: Answer::Join(Ok(joined)),
                    });
                }
            }
        }
    }

    /// What `id` is told of the generation it is in.
    pub(super) fn joined(&self, id: &str) -> Joined {
        let leader = self.leader.clone().unwrap_or_default();
        let protocol = self.protocol.clone().unwrap_or_default();
        let members = if leader == id {
            self.everyone(&protocol)
        } else {
            Vec::new()
        };
        Joined {
            generation: self.generation,
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol,
            leader,
            skip_assignment: false,
            member: id.to_owned(),
            members,
        }
    }

    pub(super) fn everyone(&self, protocol: &str) -> Vec<(String, Option<String>, Bytes)> {
        let of = |member: &Member| {
            let metadata = member.metadata(protocol).cloned().unwrap_or_default();
            (member.id.clone(), member.instance.clone(), metadata)
        };
        self.members.values().map(of).collect()
    }

    pub(super) fn tick(&mut self, now: Instant, limits: &Limits, effects: &mut Vec<Effect>) {
        let n_promised = self.promised.len();
        self.promised.retain(|_, expires| *expires > now);
        let has_broken_promise = self.promised.len() < n_promised;
        // Who waits for an answer from us cannot send heartbeats.
        let is_expired = |member: &&Member| {
            member.expires <= now && member.joining.is_none() && member.syncing.is_none()
        };
        let mut gone: Vec<String> = self
            .members
            .values()
            .filter(is_expired)
            .map(|member| member.id.clone())
            .collect();
        if let Phase::Completing { deadline } = self.phase
            && deadline <= now
        {
            // Who joined and then asked for no share is gone, and with it perhaps the leader all others wait for.
            let silent = self
                .members
                .values()
                .filter(|member| member.syncing.is_none());
            gone.extend(silent.map(|member| member.id.clone()));
        }
        gone.sort_unstable();
        gone.dedup();
        for id in &gone {
            tracing::info!(
                group = self.id,
                member = id,
                "member dropped after its timeout"
            );
            self.remove(id, ResponseError::UnknownMemberId, effects);
        }
        if !gone.is_empty() || has_broken_promise {
            self.after_loss(&gone, now, limits, effects);
        }
        if let Phase::Preparing { deadline, first } = &mut self.phase
            && *deadline <= now
        {
            match first {
                Some(first) if first.has_newcomer && !first.remaining.is_zero() => {
                    let more = limits.initial_rebalance_delay.min(first.remaining);
                    first.remaining -= more;
                    first.has_newcomer = false;
                    *deadline = now + more;
                }
                _ => self.complete(now, effects),
            }
        }
    }

    fn after_loss(
        &mut self,
        gone: &[String],
        now: Instant,
        limits: &Limits,
        effects: &mut Vec<Effect>,
    ) {
        if gone.is_empty() {
            self.complete_if_all_joined(now, effects);
        } else {
            self.after_departure(now, limits, effects);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let phase = match self.phase {
            Phase::Preparing { deadline, .. } | Phase::Completing { deadline } => Some(deadline),
            Phase::Empty | Phase::Stable => None,
        };
        let members = self
            .members
            .values()
            .filter(|member| member.joining.is_none() && member.syncing.is_none());
        members
            .map(|member| member.expires)
            .chain(self.promised.values().copied())
            .chain(phase)
            .min()
    }

    /// The longest time any member may take to join again.
    fn patience(&self) -> Duration {
        self.members
            .values()
            .map(|member| member.rebalance_timeout)
            .max()
            .unwrap_or_default()
    }
}
