//! Syncing: the leader brings the assignment, everyone takes its share.

use std::time::Instant;

use bytes::Bytes;
use kafka_protocol::ResponseError;

use super::records::group_record;
use super::{Answer, Caller, Coordinator, Effect, Group, Phase, Synced, Ticket};

impl Coordinator {
    pub(super) fn sync(
        &mut self,
        now: Instant,
        ticket: Ticket,
        caller: &Caller,
        protocol: Option<&(String, String)>,
        assignments: Vec<(String, Bytes)>,
        effects: &mut Vec<Effect>,
    ) {
        let outcome = match self.groups.get_mut(&caller.group) {
            None => Err(ResponseError::UnknownMemberId),
            Some(group) => {
                let checked = group.check_sync(caller, protocol);
                checked.and_then(|()| group.sync(now, ticket, caller, assignments, effects))
            }
        };
        match outcome {
            // Parked: the leader's assignment answers.
            Ok(None) => {}
            Ok(Some(synced)) => effects.push(Effect::Answer {
                ticket,
                answer: Answer::Sync(Ok(synced)),
            }),
            Err(error) => effects.push(Effect::Answer {
                ticket,
                answer: Answer::Sync(Err(error)),
            }),
        }
    }
}

impl Group {
    fn check_sync(
        &self,
        caller: &Caller,
        protocol: Option<&(String, String)>,
    ) -> Result<(), ResponseError> {
        self.check_member(caller)?;
        if caller.generation != self.generation {
            return Err(ResponseError::IllegalGeneration);
        }
        let differs = |known: &Option<String>, named: &String| {
            known.as_ref().is_some_and(|known| known != named)
        };
        match protocol {
            Some((kind, name))
                if differs(&self.protocol_type, kind) || differs(&self.protocol, name) =>
            {
                Err(ResponseError::InconsistentGroupProtocol)
            }
            _ => Ok(()),
        }
    }

    fn sync(
        &mut self,
        now: Instant,
        ticket: Ticket,
        caller: &Caller,
        assignments: Vec<(String, Bytes)>,
        effects: &mut Vec<Effect>,
    ) -> Result<Option<Synced>, ResponseError> {
        self.touch(&caller.member, now);
        match self.phase {
            Phase::Empty => Err(ResponseError::UnknownMemberId),
            Phase::Preparing { .. } => Err(ResponseError::RebalanceInProgress),
            Phase::Stable => Ok(Some(self.share(&caller.member))),
            Phase::Completing { .. } => {
                if let Some(member) = self.members.get_mut(&caller.member)
                    && let Some(old) = member.syncing.replace(ticket)
                {
                    let answer = Answer::Sync(Err(ResponseError::RebalanceInProgress));
                    effects.push(Effect::Answer {
                        ticket: old,
                        answer,
                    });
                }
                if self.leader.as_ref() == Some(&caller.member) {
                    self.assign(now, assignments, effects);
                }
                Ok(None)
            }
        }
    }

    fn assign(
        &mut self,
        now: Instant,
        assignments: Vec<(String, Bytes)>,
        effects: &mut Vec<Effect>,
    ) {
        for member in self.members.values_mut() {
            member.assignment = Bytes::new();
        }
        for (id, assignment) in assignments {
            if let Some(member) = self.members.get_mut(&id) {
                member.assignment = assignment;
            }
        }
        self.phase = Phase::Stable;
        let mut waiting = Vec::new();
        for member in self.members.values_mut() {
            member.expires = now + member.session_timeout;
            waiting.extend(
                member
                    .syncing
                    .take()
                    .map(|ticket| (ticket, member.id.clone())),
            );
        }
        let answers = waiting
            .into_iter()
            .map(|(ticket, id)| (ticket, Answer::Sync(Ok(self.share(&id)))))
            .collect();
        let records = vec![group_record(self)];
        effects.push(Effect::Persist {
            group: self.id.clone(),
            records,
            answers,
        });
    }

    fn share(&self, member: &str) -> Synced {
        Synced {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol: self.protocol.clone().unwrap_or_default(),
            assignment: self
                .members
                .get(member)
                .map(|member| member.assignment.clone())
                .unwrap_or_default(),
        }
    }
}
