//! Fetch sessions as a consumer of many partitions drives them.

use super::*;

fn wanted(partition: i32, offset: i64) -> Wanted {
    let topic = "t".into();
    Wanted {
        topic,
        topic_id: Uuid::nil(),
        partition,
        leader_epoch: -1,
        offset,
        max_bytes: 100,
    }
}

#[test]
fn a_session_remembers_what_is_not_named_again() {
    let mut sessions = Sessions::new(10, 100);
    let first = sessions
        .turn(0, 0, vec![wanted(0, 5), wanted(1, 6)], &[])
        .unwrap();
    assert!(!first.is_incremental);
    let id = first.session_id;
    assert!(id > 0);
    let second = sessions.turn(id, 1, vec![wanted(0, 7)], &[]).unwrap();
    assert_eq!(second.wanted, [wanted(0, 7), wanted(1, 6)]);
    let third = sessions
        .turn(id, 2, vec![wanted(2, 0)], &[wanted(1, 0)])
        .unwrap();
    assert_eq!(third.wanted, [wanted(0, 7), wanted(2, 0)]);
}

#[test]
fn only_news_is_told() {
    let mut sessions = Sessions::new(10, 100);
    let id = sessions
        .turn(0, 0, vec![wanted(0, 0), wanted(1, 0)], &[])
        .unwrap()
        .session_id;
    assert!(
        sessions.tell(id, &wanted(0, 0), (10, 0), false),
        "the first time everything is"
    );
    assert!(!sessions.tell(id, &wanted(0, 0), (10, 0), false));
    assert!(
        sessions.tell(id, &wanted(0, 0), (11, 0), false),
        "a moved high watermark is"
    );
    assert!(
        sessions.tell(id, &wanted(0, 0), (11, 0), true),
        "records are"
    );
    let next = sessions.turn(id, 1, Vec::new(), &[]).unwrap();
    assert_eq!(
        next.wanted,
        [wanted(1, 0), wanted(0, 0)],
        "who had records is served last next time"
    );
}

#[test]
fn wrong_epochs_and_unknown_sessions_are_refused() {
    let mut sessions = Sessions::new(10, 100);
    let id = sessions
        .turn(0, 0, vec![wanted(0, 0)], &[])
        .unwrap()
        .session_id;
    assert_eq!(
        sessions.turn(id, 2, Vec::new(), &[]),
        Err(SessionError::WrongEpoch)
    );
    assert_eq!(
        sessions.turn(id + 1, 1, Vec::new(), &[]),
        Err(SessionError::NotFound)
    );
    let closed = sessions.turn(id, -1, vec![wanted(0, 0)], &[]).unwrap();
    assert_eq!(closed.session_id, 0);
    assert_eq!(
        sessions.turn(id, 1, Vec::new(), &[]),
        Err(SessionError::NotFound)
    );
}

#[test]
fn the_session_unused_for_longest_gives_way() {
    let mut sessions = Sessions::new(2, 100);
    let mut open = || {
        sessions
            .turn(0, 0, vec![wanted(0, 0)], &[])
            .unwrap()
            .session_id
    };
    let (first, second) = (open(), open());
    sessions.turn(first, 1, Vec::new(), &[]).unwrap();
    sessions.turn(0, 0, vec![wanted(0, 0)], &[]).unwrap();
    assert!(sessions.turn(first, 2, Vec::new(), &[]).is_ok());
    assert_eq!(
        sessions.turn(second, 1, Vec::new(), &[]),
        Err(SessionError::NotFound)
    );
}

#[test]
fn all_sessions_together_keep_a_bounded_number_of_partitions() {
    let half = i32::try_from(MAX_KEPT / 2).unwrap();
    let mut sessions = Sessions::new(10, MAX_KEPT);
    let mut open = |n| {
        let added = (0..n).map(|partition| wanted(partition, 0)).collect();
        sessions.turn(0, 0, added, &[]).unwrap().session_id
    };
    let (first, second, third) = (open(half), open(half), open(1));
    assert_eq!(
        sessions.turn(first, 1, Vec::new(), &[]),
        Err(SessionError::NotFound)
    );
    // With as many as these a search from the front would take minutes.
    for partition in (0..half).rev() {
        assert!(sessions.tell(second, &wanted(partition, 0), (1, 0), true));
    }
    let next = sessions.turn(second, 1, Vec::new(), &[]).unwrap();
    assert_eq!(next.wanted[0], wanted(half - 1, 0));
    let added = (0..=half).map(|partition| wanted(partition, 0)).collect();
    sessions.turn(third, 1, added, &[]).unwrap();
    assert_eq!(
        sessions.turn(second, 2, Vec::new(), &[]),
        Err(SessionError::NotFound)
    );
}

#[test]
fn a_session_of_more_partitions_than_there_can_be_is_not_kept() {
    let mut sessions = Sessions::new(10, 2);
    let three = || (0..3).map(|partition| wanted(partition, 0)).collect();
    assert_eq!(sessions.turn(0, 0, three(), &[]).unwrap().session_id, 0);
    let id = sessions
        .turn(0, 0, vec![wanted(0, 0)], &[])
        .unwrap()
        .session_id;
    assert_eq!(
        sessions.turn(id, 1, three(), &[]),
        Err(SessionError::NotFound)
    );
}
