//! The consumer-group coordinator: decides which member reads which partition, and remembers committed offsets.
//!
//! It exists apart from the network so that every rebalance can be replayed in a test: [`Coordinator::step`] takes an
//! [`Event`] and the time it came, and gives the [`Effect`]s, which are answers and records to be written.
//! Committed offsets leave through [`crate::log`] to the topic `__consumer_offsets` in Kafka's own record format.

mod join;
mod membership;
mod offsets;
pub(crate) mod records;
mod sync;

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::ResponseError;

pub(crate) use membership::{Group, Member, Phase};
pub(crate) use offsets::{Committed, OffsetKey};

use crate::log::records::OwnRecord;

/// Marks who waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Ticket(pub(crate) u64);

/// A member as it names itself in a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) group: String,
    /// Empty before the coordinator has given one.
    pub(crate) member: String,
    pub(crate) instance: Option<String>,
    pub(crate) generation: i32,
}

/// A wish to take part in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Join {
    pub(crate) caller: Caller,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) session_timeout: Duration,
    pub(crate) rebalance_timeout: Duration,
    pub(crate) protocol_type: String,
    pub(crate) protocols: Vec<(String, Bytes)>,
    /// Whether the client can be told its id and asked to come again.
    pub(crate) knows_member_id_required: bool,
    /// Whether the client can be told that it leads but need not assign.
    pub(crate) knows_skip_assignment: bool,
    /// Part of a new member id; random.
    pub(crate) fresh: String,
}

/// Something that happens to the coordinator.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    Join {
        ticket: Ticket,
        join: Box<Join>,
    },
    Sync {
        ticket: Ticket,
        caller: Caller,
        protocol: Option<(String, String)>,
        assignments: Vec<(String, Bytes)>,
    },
    Heartbeat {
        ticket: Ticket,
        caller: Caller,
    },
    Leave {
        ticket: Ticket,
        group: String,
        leavers: Vec<(String, Option<String>)>,
    },
    /// Time has passed.
    Tick,
}

/// What the coordinator wants done.
#[derive(Debug)]
pub(crate) enum Effect {
    Answer {
        ticket: Ticket,
        answer: Answer,
    },
    /// Write these records of the group, then give the answers; if that fails give their `failure` instead.
    Persist {
        group: String,
        records: Vec<OwnRecord>,
        answers: Vec<(Ticket, Answer)>,
    },
}

/// The answer to one ticket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Join(Result<Joined, Refused>),
    Sync(Result<Synced, ResponseError>),
    Heartbeat(Result<(), ResponseError>),
    Leave(Result<Vec<Result<(), ResponseError>>, ResponseError>),
}

/// A join refused; the id is given with `MemberIdRequired`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) error: ResponseError,
    pub(crate) member: String,
}

/// A place in a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Joined {
    pub(crate) generation: i32,
    pub(crate) protocol_type: String,
    pub(crate) protocol: String,
    pub(crate) leader: String,
    pub(crate) skip_assignment: bool,
    pub(crate) member: String,
    /// Everyone's metadata, for the leader only.
    pub(crate) members: Vec<(String, Option<String>, Bytes)>,
}

/// A member's share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Synced {
    pub(crate) protocol_type: String,
    pub(crate) protocol: String,
    pub(crate) assignment: Bytes,
}

/// Bounds and delays.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) initial_rebalance_delay: Duration,
    pub(crate) min_session_timeout: Duration,
    pub(crate) max_session_timeout: Duration,
    pub(crate) max_members: usize,
    pub(crate) max_groups: usize,
    pub(crate) max_metadata_bytes: usize,
}

/// All groups.
#[derive(Debug)]
pub(crate) struct Coordinator {
    pub(crate) limits: Limits,
    pub(crate) groups: BTreeMap<String, Group>,
}

// === impl Coordinator ===

impl Coordinator {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            groups: BTreeMap::new(),
        }
    }

    /// Takes one event, with its time by both clocks; the effects are to be carried out in order.
    pub(crate) fn step(&mut self, now: Instant, now_ms: i64, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        // Noted before the event takes the last member away, for that is when the group becomes empty.
        match &event {
            Event::Leave { group, .. } => {
                if let Some(group) = self.groups.get_mut(group) {
                    group.note_members(now_ms);
                }
            }
            Event::Tick => {
                for group in self.groups.values_mut() {
                    group.note_members(now_ms);
                }
            }
            Event::Join { .. } | Event::Sync { .. } | Event::Heartbeat { .. } => {}
        }
        match event {
            Event::Join { ticket, join } => self.join(now, ticket, &join, &mut effects),
            Event::Sync {
                ticket,
                caller,
                protocol,
                assignments,
            } => {
                self.sync(
                    now,
                    ticket,
                    &caller,
                    protocol.as_ref(),
                    assignments,
                    &mut effects,
                );
            }
            Event::Heartbeat { ticket, caller } => {
                let answer = Answer::Heartbeat(self.heartbeat(now, &caller));
                effects.push(Effect::Answer { ticket, answer });
            }
            Event::Leave {
                ticket,
                group,
                leavers,
            } => self.leave(now, ticket, &group, leavers, &mut effects),
            Event::Tick => self.tick(now, &mut effects),
        }
        effects
    }

    /// When [`Event::Tick`] is next worth sending.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.groups.values().filter_map(Group::next_deadline).min()
    }

    fn heartbeat(&mut self, now: Instant, caller: &Caller) -> Result<(), ResponseError> {
        let group = self
            .groups
            .get_mut(&caller.group)
            .ok_or(ResponseError::UnknownMemberId)?;
        group.check_member(caller)?;
        if caller.generation != group.generation {
            return Err(ResponseError::IllegalGeneration);
        }
        group.touch(&caller.member, now);
        match group.phase {
            Phase::Preparing { .. } => Err(ResponseError::RebalanceInProgress),
            Phase::Empty | Phase::Completing { .. } | Phase::Stable => Ok(()),
        }
    }

    fn leave(
        &mut self,
        now: Instant,
        ticket: Ticket,
        group: &str,
        leavers: Vec<(String, Option<String>)>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(group) = self.groups.get_mut(group) else {
            let outcome = Err(ResponseError::UnknownMemberId);
            let answer = Answer::Leave(Ok(leavers.iter().map(|_| outcome).collect()));
            effects.push(Effect::Answer { ticket, answer });
            return;
        };
        let mut outcomes = Vec::with_capacity(leavers.len());
        let mut has_left = false;
        for (member, instance) in leavers {
            let outcome = group.leaver(&member, instance.as_deref());
            if let Ok(member) = &outcome {
                has_left = true;
                group.remove(member, ResponseError::UnknownMemberId, effects);
            }
            outcomes.push(outcome.map(|_| ()));
        }
        if has_left {
            group.after_departure(now, &self.limits, effects);
        }
        effects.push(Effect::Answer {
            ticket,
            answer: Answer::Leave(Ok(outcomes)),
        });
    }

    fn tick(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        for group in self.groups.values_mut() {
            group.tick(now, &self.limits, effects);
        }
        self.groups.retain(|_, group| !group.is_forgotten());
    }
}

/// Counts the votes of all members; ties go to the protocol that the first member prefers.
fn elect(members: &[&Member]) -> Option<String> {
    let first = members.first()?;
    let is_common = |name: &str| members.iter().all(|member| member.metadata(name).is_some());
    let mut votes: HashMap<&str, usize> = HashMap::new();
    for member in members {
        let choice = member
            .protocols
            .iter()
            .map(|(name, _)| name.as_str())
            .find(|name| is_common(name))?;
        *votes.entry(choice).or_default() += 1;
    }
    let most = votes.values().copied().max()?;
    let winner = first
        .protocols
        .iter()
        .map(|(name, _)| name.as_str())
        .find(|name| votes.get(name) == Some(&most));
    winner.map(str::to_owned)
}

#[cfg(test)]
mod tests;
