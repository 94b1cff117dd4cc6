//! Rebalances replayed without a socket: every step is an event with its time.

use std::time::{Duration, Instant};

use super::*;

const SESSION: Duration = Duration::from_secs(10);

struct World {
    coordinator: Coordinator,
    start: Instant,
    now: Instant,
    last: u64,
    answers: HashMap<Ticket, Answer>,
    n_persisted: usize,
    persisted: Vec<OwnRecord>,
}

impl World {
    fn new() -> Self {
        let limits = Limits {
            initial_rebalance_delay: Duration::from_secs(3),
            min_session_timeout: Duration::from_secs(1),
            max_session_timeout: Duration::from_mins(1),
            max_members: 3,
            max_groups: 2,
            max_metadata_bytes: 1000,
        };
        let now = Instant::now();
        let coordinator = Coordinator::new(limits);
        Self {
            coordinator,
            start: now,
            now,
            last: 0,
            answers: HashMap::new(),
            n_persisted: 0,
            persisted: Vec::new(),
        }
    }

    /// The wall clock, which begins at a million.
    fn now_ms(&self) -> i64 {
        let passed = self.now.duration_since(self.start).as_millis();
        1_000_000 + i64::try_from(passed).unwrap()
    }

    fn at(&mut self, seconds: u64) -> &mut Self {
        self.now = self.start + Duration::from_secs(seconds);
        self.step(Event::Tick);
        self
    }

    fn step(&mut self, event: Event) {
        let now_ms = self.now_ms();
        for effect in self.coordinator.step(self.now, now_ms, event) {
            match effect {
                Effect::Answer { ticket, answer } => {
                    assert!(self.answers.insert(ticket, answer).is_none())
                }
                Effect::Persist {
                    records, answers, ..
                } => {
                    self.n_persisted += records.len();
                    self.persisted.extend(records);
                    for (ticket, answer) in answers {
                        assert!(self.answers.insert(ticket, answer).is_none());
                    }
                }
            }
        }
    }

    fn send(&mut self, event: impl FnOnce(Ticket) -> Event) -> Ticket {
        self.last += 1;
        let ticket = Ticket(self.last);
        self.step(event(ticket));
        ticket
    }

    fn join_as(&mut self, member: &str, change: impl FnOnce(&mut Join)) -> Ticket {
        let mut join = Join {
            caller: Caller {
                group: "g".into(),
                member: member.into(),
                instance: None,
                generation: -1,
            },
            client_id: "c".into(),
            client_host: "/h".into(),
            session_timeout: SESSION,
            rebalance_timeout: Duration::from_secs(20),
            protocol_type: "consumer".into(),
            protocols: vec![("range".into(), Bytes::from_static(b"m"))],
            knows_member_id_required: false,
            knows_skip_assignment: false,
            fresh: self.last.to_string(),
        };
        change(&mut join);
        self.send(|ticket| Event::Join {
            ticket,
            join: Box::new(join),
        })
    }

    fn joined(&self, ticket: Ticket) -> Joined {
        match self.answers.get(&ticket) {
            Some(Answer::Join(Ok(joined))) => joined.clone(),
            other => panic!("not joined: {other:?}"),
        }
    }

    fn refused(&self, ticket: Ticket) -> ResponseError {
        match self.answers.get(&ticket) {
            Some(Answer::Join(Err(refused))) => refused.error,
            Some(Answer::Sync(Err(error)) | Answer::Heartbeat(Err(error))) => *error,
            other => panic!("not refused: {other:?}"),
        }
    }

    fn sync(&mut self, joined: &Joined, shares: &[(&str, &'static str)]) -> Ticket {
        let caller = caller(&joined.member, joined.generation);
        let assignments = shares
            .iter()
            .map(|(member, share)| ((*member).to_owned(), Bytes::from_static(share.as_bytes())))
            .collect();
        self.send(|ticket| Event::Sync {
            ticket,
            caller,
            protocol: None,
            assignments,
        })
    }

    fn heartbeat(&mut self, member: &str, generation: i32) -> Result<(), ResponseError> {
        let caller = caller(member, generation);
        let ticket = self.send(|ticket| Event::Heartbeat { ticket, caller });
        match self.answers.remove(&ticket) {
            Some(Answer::Heartbeat(outcome)) => outcome,
            other => panic!("no heartbeat answer: {other:?}"),
        }
    }

    fn group(&self) -> &Group {
        &self.coordinator.groups["g"]
    }

    /// A stable group of one or two dynamic members.
    fn stable(&mut self, n_members: usize) -> Vec<Joined> {
        let tickets: Vec<_> = (0..n_members).map(|_| self.join_as("", |_| {})).collect();
        let begin = self.now.duration_since(self.start).as_secs();
        self.at(begin + 3).at(begin + 6);
        let joined: Vec<_> = tickets.iter().map(|ticket| self.joined(*ticket)).collect();
        for joined in joined
            .iter()
            .filter(|joined| joined.leader != joined.member)
        {
            self.sync(joined, &[]);
        }
        let leader = joined
            .iter()
            .find(|joined| joined.leader == joined.member)
            .unwrap();
        self.sync(leader, &[(&joined[0].member, "share")]);
        assert_eq!(self.group().phase, Phase::Stable);
        joined
    }
}

fn caller(member: &str, generation: i32) -> Caller {
    Caller {
        group: "g".into(),
        member: member.into(),
        instance: None,
        generation,
    }
}

#[test]
fn the_first_rebalance_waits_for_members_that_keep_coming() {
    let mut world = World::new();
    let first = world.join_as("", |_| {});
    world.at(2);
    let second = world.join_as("", |_| {});
    world.at(3);
    assert!(world.answers.is_empty(), "a newcomer extends the wait");
    world.at(6);
    let (first, second) = (world.joined(first), world.joined(second));
    assert_eq!((first.generation, second.generation), (1, 1));
    assert_eq!(first.leader, second.leader);
    let leader = if first.leader == first.member {
        &first
    } else {
        &second
    };
    assert_eq!(
        leader.members.len(),
        2,
        "the leader gets everyone's metadata"
    );
    assert_eq!(
        first.members.len() + second.members.len(),
        2,
        "nobody else does"
    );
}

#[test]
fn the_leaders_assignment_reaches_everyone_once_it_is_written() {
    let mut world = World::new();
    let tickets = [world.join_as("", |_| {}), world.join_as("", |_| {})];
    world.at(3).at(6);
    let mut joined = tickets.map(|ticket| world.joined(ticket));
    joined.sort_by_key(|joined| joined.leader != joined.member);
    let [leader, follower] = joined;
    let waiting = world.sync(&follower, &[]);
    assert!(!world.answers.contains_key(&waiting));
    let leading = world.sync(
        &leader,
        &[(&leader.member, "left"), (&follower.member, "right")],
    );
    let share = |ticket: &Ticket| match &world.answers[ticket] {
        Answer::Sync(Ok(synced)) => synced.assignment.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        (share(&leading), share(&waiting)),
        ("left".into(), "right".into())
    );
    assert_eq!(world.n_persisted, 1);
}

#[test]
fn a_member_that_falls_silent_is_dropped_and_the_others_share_anew() {
    let mut world = World::new();
    let joined = world.stable(2);
    world.at(12);
    assert_eq!(world.heartbeat(&joined[0].member, 1), Ok(()));
    world.at(17);
    assert_eq!(
        world.group().members.len(),
        1,
        "the other one's session ended"
    );
    assert_eq!(
        world.heartbeat(&joined[0].member, 1),
        Err(ResponseError::RebalanceInProgress)
    );
    let again = world.join_as(&joined[0].member, |_| {});
    assert_eq!(world.joined(again).generation, 2);
    assert_eq!(
        world.heartbeat(&joined[1].member, 1),
        Err(ResponseError::UnknownMemberId)
    );
}

#[test]
fn a_member_that_does_not_join_again_in_time_is_left_behind() {
    let mut world = World::new();
    let joined = world.stable(2);
    let newcomer = world.join_as("", |_| {});
    let again = world.join_as(&joined[0].member, |_| {});
    for seconds in [10, 14, 18, 22, 25] {
        world.at(seconds);
        // It is alive but never joins.
        let _ = world.heartbeat(&joined[1].member, 1);
    }
    world.at(30);
    assert_eq!(world.joined(newcomer).generation, 2);
    assert_eq!(world.joined(again).generation, 2);
    assert_eq!(world.group().members.len(), 2);
}

#[test]
fn a_leader_that_never_assigns_does_not_stop_the_group() {
    let mut world = World::new();
    let tickets = [world.join_as("", |_| {}), world.join_as("", |_| {})];
    world.at(3).at(6);
    let mut joined = tickets.map(|ticket| world.joined(ticket));
    joined.sort_by_key(|joined| joined.leader != joined.member);
    let waiting = world.sync(&joined[1], &[]);
    world.at(30);
    assert_eq!(world.refused(waiting), ResponseError::RebalanceInProgress);
    let again = world.join_as(&joined[1].member, |_| {});
    assert_eq!(world.joined(again).leader, joined[1].member);
}

#[test]
fn leaving_starts_a_rebalance_at_once() {
    let mut world = World::new();
    let joined = world.stable(2);
    let leavers = vec![
        (joined[0].member.clone(), None),
        ("stranger".to_owned(), None),
    ];
    let ticket = world.send(|ticket| Event::Leave {
        ticket,
        group: "g".into(),
        leavers,
    });
    let wanted = Answer::Leave(Ok(vec![Ok(()), Err(ResponseError::UnknownMemberId)]));
    assert_eq!(world.answers[&ticket], wanted);
    assert_eq!(
        world.heartbeat(&joined[1].member, 1),
        Err(ResponseError::RebalanceInProgress)
    );
    let leavers = vec![(joined[1].member.clone(), None)];
    world.send(|ticket| Event::Leave {
        ticket,
        group: "g".into(),
        leavers,
    });
    assert_eq!(world.group().phase, Phase::Empty);
}

#[test]
fn a_new_client_is_told_its_id_before_it_may_enter() {
    let mut world = World::new();
    let told = world.join_as("", |join| join.knows_member_id_required = true);
    let Some(Answer::Join(Err(Refused {
        error: ResponseError::MemberIdRequired,
        member,
    }))) = world.answers.get(&told)
    else {
        panic!("{:?}", world.answers)
    };
    let member = member.clone();
    let entered = world.join_as(&member, |_| {});
    world.at(3).at(6);
    assert_eq!(world.joined(entered).member, member);
    let invented = world.join_as("c-invented", |_| {});
    assert_eq!(world.refused(invented), ResponseError::UnknownMemberId);
}

#[test]
fn an_id_that_nobody_comes_back_with_is_forgotten() {
    let mut world = World::new();
    world.join_as("", |join| join.knows_member_id_required = true);
    world.at(11);
    assert!(world.coordinator.groups.is_empty());
}

#[test]
fn a_static_member_comes_back_without_a_rebalance() {
    let mut world = World::new();
    let first = world.join_as("", |join| join.caller.instance = Some("i".into()));
    world.at(3).at(6);
    let joined = world.joined(first);
    let caller_of = |member: &str| Caller {
        instance: Some("i".into()),
        ..caller(member, 1)
    };
    let (old, shares) = (
        caller_of(&joined.member),
        vec![(joined.member.clone(), Bytes::from_static(b"share"))],
    );
    world.send(|ticket| Event::Sync {
        ticket,
        caller: old.clone(),
        protocol: None,
        assignments: shares,
    });
    let back = world.join_as("", |join| join.caller.instance = Some("i".into()));
    let back = world.joined(back);
    assert_eq!(back.generation, 1);
    assert_ne!(back.member, joined.member);
    assert_eq!(
        back.leader, joined.member,
        "an old client must not assign anew"
    );
    let new = caller_of(&back.member);
    let synced = world.send(|ticket| Event::Sync {
        ticket,
        caller: new,
        protocol: None,
        assignments: Vec::new(),
    });
    assert!(
        matches!(&world.answers[&synced], Answer::Sync(Ok(synced)) if synced.assignment == "share")
    );
    let fenced = world.send(|ticket| Event::Heartbeat {
        ticket,
        caller: old,
    });
    assert_eq!(world.refused(fenced), ResponseError::FencedInstanceId);
    world.at(15);
    assert_eq!(world.group().members.len(), 1);
    world.at(17);
    assert!(
        world.coordinator.groups.is_empty(),
        "unless it stays away too long"
    );
}

#[test]
fn what_cannot_work_together_is_refused() {
    let mut world = World::new();
    world.stable(1);
    let other_protocol = world.join_as("", |join| {
        join.protocols = vec![("sticky".into(), Bytes::new())]
    });
    let other_type = world.join_as("", |join| join.protocol_type = "connect".into());
    let no_group = world.join_as("", |join| join.caller.group = String::new());
    let too_short = world.join_as("", |join| join.session_timeout = Duration::from_millis(1));
    let too_much = world.join_as("", |join| {
        join.protocols = vec![("range".into(), vec![0; 2000].into())]
    });
    assert_eq!(
        [other_protocol, other_type, no_group, too_short, too_much]
            .map(|ticket| world.refused(ticket)),
        [
            ResponseError::InconsistentGroupProtocol,
            ResponseError::InconsistentGroupProtocol,
            ResponseError::InvalidGroupId,
            ResponseError::InvalidSessionTimeout,
            ResponseError::InvalidRequest
        ]
    );
}

#[test]
fn members_and_groups_are_bounded() {
    let mut world = World::new();
    for _ in 0..3 {
        world.join_as("", |_| {});
    }
    let fourth = world.join_as("", |_| {});
    assert_eq!(world.refused(fourth), ResponseError::GroupMaxSizeReached);
    world.join_as("", |join| join.caller.group = "h".into());
    let third_group = world.join_as("", |join| join.caller.group = "i".into());
    assert_eq!(
        world.refused(third_group),
        ResponseError::GroupMaxSizeReached
    );
}

#[test]
fn only_members_of_this_generation_may_commit() {
    let mut world = World::new();
    let joined = world.stable(1);
    let (now, member) = (world.now, joined[0].member.clone());
    let coordinator = &mut world.coordinator;
    assert_eq!(coordinator.begin_commit(now, &caller(&member, 1)), Ok(()));
    coordinator.commit_ended("g");
    assert_eq!(
        coordinator.begin_commit(now, &caller(&member, 0)),
        Err(ResponseError::IllegalGeneration)
    );
    assert_eq!(
        coordinator.begin_commit(now, &caller("x", 1)),
        Err(ResponseError::UnknownMemberId)
    );
    assert_eq!(
        coordinator.begin_commit(now, &caller("", -1)),
        Err(ResponseError::UnknownMemberId)
    );
    let stranger = Caller {
        group: "alone".into(),
        ..caller("", -1)
    };
    assert_eq!(
        coordinator.begin_commit(now, &stranger),
        Ok(()),
        "without members anyone may"
    );
}

#[test]
fn the_later_record_wins_whichever_is_reported_first() {
    let mut world = World::new();
    let simple = caller("", -1);
    let key = || OffsetKey {
        topic: "t".into(),
        partition: 0,
    };
    let commit = |offset, log_offset| Committed {
        offset,
        leader_epoch: -1,
        metadata: "m".into(),
        commit_ms: 1,
        log_offset,
    };
    for _ in 0..2 {
        world.coordinator.begin_commit(world.now, &simple).unwrap();
    }
    world
        .coordinator
        .committed("g", vec![(key(), commit(20, 2))]);
    world.coordinator.commit_ended("g");
    world
        .coordinator
        .committed("g", vec![(key(), commit(10, 1))]);
    world.coordinator.commit_ended("g");
    assert_eq!(world.group().offsets[&key()].offset, 20);
    assert!(world.coordinator.check_delete("g").is_ok());
    let expired = world.coordinator.expire_offsets(2);
    assert_eq!(expired["g"].len(), 1);
    assert!(world.group().is_forgotten());
}

#[test]
fn offsets_expire_from_when_the_group_became_empty() {
    for leaves in [true, false] {
        let mut world = World::new();
        let joined = world.stable(1);
        let key = OffsetKey {
            topic: "t".into(),
            partition: 0,
        };
        let committed = Committed {
            offset: 7,
            leader_epoch: -1,
            metadata: String::new(),
            commit_ms: world.now_ms(),
            log_offset: 1,
        };
        let member = caller(&joined[0].member, 1);
        world.coordinator.begin_commit(world.now, &member).unwrap();
        world.coordinator.committed("g", vec![(key, committed)]);
        world.coordinator.commit_ended("g");
        for seconds in (10..=1000).step_by(5) {
            world.at(seconds);
            assert_eq!(world.heartbeat(&joined[0].member, 1), Ok(()));
        }
        if leaves {
            let leavers = vec![(joined[0].member.clone(), None)];
            world.send(|ticket| Event::Leave {
                ticket,
                group: "g".into(),
                leavers,
            });
        } else {
            world.at(1010);
        }
        assert_eq!(world.group().phase, Phase::Empty);
        let emptied = world.now_ms();
        // A restart does not make them older.
        let mut replayed = Coordinator::new(world.coordinator.limits.clone());
        let record = world.persisted.last().unwrap();
        replayed.replay(world.now, 2, &record.key, record.value.as_deref());
        assert_eq!(replayed.groups["g"].empty_since_ms, emptied);
        assert!(world.coordinator.expire_offsets(emptied).is_empty());
        let expired = world.coordinator.expire_offsets(emptied + 1);
        assert_eq!(expired["g"].len(), 1);
    }
}

#[test]
fn a_group_replayed_from_its_records_is_the_same_group() {
    let mut world = World::new();
    world.stable(2);
    let key = OffsetKey {
        topic: "t".into(),
        partition: 3,
    };
    let committed = Committed {
        offset: 42,
        leader_epoch: 5,
        metadata: "note".into(),
        commit_ms: 77,
        log_offset: 9,
    };
    let group_record = records::group_record(world.group());
    let offset_record = records::offset_record("g", &key, &committed);
    let mut replayed = Coordinator::new(world.coordinator.limits.clone());
    for (offset, record) in [(8, &group_record), (9, &offset_record)] {
        replayed
            .replay(world.now, offset, &record.key, record.value.as_deref())
            .unwrap();
    }
    let (before, after) = (world.group(), &replayed.groups["g"]);
    assert_eq!(after.offsets[&key], committed);
    assert_eq!(
        (
            &after.phase,
            after.generation,
            &after.leader,
            &after.protocol
        ),
        (
            &before.phase,
            before.generation,
            &before.leader,
            &before.protocol
        )
    );
    let shares = |group: &Group| {
        group
            .members
            .values()
            .map(|member| (member.id.clone(), member.assignment.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(shares(after), shares(before));
    let gone = records::offset_tombstone("g", &key);
    replayed.replay(world.now, 10, &gone.key, None).unwrap();
    assert!(replayed.groups["g"].offsets.is_empty());
    let gone = records::group_tombstone("g");
    replayed.replay(world.now, 11, &gone.key, None).unwrap();
    assert!(replayed.groups.is_empty());
    assert_eq!(
        replayed.replay(world.now, 12, &group_record.key, Some(b"\0\x03cut")),
        None
    );
}
