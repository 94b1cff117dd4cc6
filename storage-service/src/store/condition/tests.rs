//! The table of conditions.

use super::*;
use crate::store::record::{Attributes, Content};

fn object() -> Object {
    Object {
        size: 0,
        etag: "a".into(),
        modified: UnixMillis(10_500),
        content: Content::Empty,
        checksum: None,
        attributes: Attributes::default(),
    }
}

fn is(etag: &str) -> Option<Tag> {
    Some(Tag::Is(etag.into()))
}

fn write(condition: &WriteCondition, there: bool) -> &'static str {
    match condition.check("k", there.then(object).as_ref()) {
        Ok(()) => "written",
        Err(Error::PreconditionFailed) => "412",
        Err(Error::NoSuchKey { .. }) => "404",
        Err(_) => "other",
    }
}

#[test]
fn writes_are_judged_by_what_is_there() {
    let create = WriteCondition {
        none_match: Some(Tag::Any),
        ..WriteCondition::default()
    };
    assert_eq!(
        (write(&create, false), write(&create, true)),
        ("written", "412")
    );
    let swap = WriteCondition {
        matches: is("a"),
        ..WriteCondition::default()
    };
    assert_eq!(
        (write(&swap, false), write(&swap, true)),
        ("404", "written")
    );
    let stale = WriteCondition {
        matches: is("b"),
        ..WriteCondition::default()
    };
    assert_eq!((write(&stale, false), write(&stale, true)), ("404", "412"));
    let unless = WriteCondition {
        none_match: is("a"),
        ..WriteCondition::default()
    };
    assert_eq!(
        (write(&unless, false), write(&unless, true)),
        ("written", "412")
    );
    let exists = WriteCondition {
        matches: Some(Tag::Any),
        ..WriteCondition::default()
    };
    assert_eq!(
        (write(&exists, false), write(&exists, true)),
        ("404", "written")
    );
}

fn read(condition: &ReadCondition) -> u16 {
    match condition.check(&object()) {
        Ok(()) => 200,
        Err(Error::NotModified) => 304,
        Err(Error::PreconditionFailed) => 412,
        Err(_) => 0,
    }
}

#[test]
fn reads_are_judged_by_tag_before_date() {
    let none = ReadCondition::default();
    assert_eq!(
        read(&ReadCondition {
            matches: is("b"),
            ..none.clone()
        }),
        412
    );
    assert_eq!(
        read(&ReadCondition {
            none_match: is("a"),
            ..none.clone()
        }),
        304
    );
    let since = |seconds: i64| Some(UnixMillis(seconds * 1000));
    assert_eq!(
        read(&ReadCondition {
            modified_since: since(10),
            ..none.clone()
        }),
        304
    );
    assert_eq!(
        read(&ReadCondition {
            modified_since: since(9),
            ..none.clone()
        }),
        200
    );
    assert_eq!(
        read(&ReadCondition {
            unmodified_since: since(9),
            ..none.clone()
        }),
        412
    );
    assert_eq!(
        read(&ReadCondition {
            unmodified_since: since(10),
            ..none.clone()
        }),
        200
    );
    let both = ReadCondition {
        matches: is("a"),
        unmodified_since: since(1),
        ..none.clone()
    };
    assert_eq!(read(&both), 200);
    let changed = ReadCondition {
        none_match: is("b"),
        modified_since: since(99),
        ..none
    };
    assert_eq!(read(&changed), 200);
}
