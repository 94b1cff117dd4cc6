//! Time ranges as Superset writes them.

use super::*;

#[track_caller]
fn check(text: &str, since: &str, until: &str) {
    let now = "2026-11-22T10:57:05".parse().unwrap();
    let show = |end: Option<NaiveDateTime>| end.map_or("open".to_owned(), |end| end.to_string());
    let range = Range::parse(text, now).unwrap();
    assert_eq!(
        (show(range.since), show(range.until)),
        (since.to_owned(), until.to_owned()),
        "{text}"
    );
}

#[test]
fn ranges_mean_what_superset_means() {
    check(
        "DATEADD(DATETIME(\"now\"), -15, minute) : now",
        "2026-11-22 10:42:05",
        "2026-11-22 10:57:05",
    );
    check("today : now", "2026-11-22 00:00:00", "2026-11-22 10:57:05");
    check("Last day", "2026-11-21 00:00:00", "2026-11-22 00:00:00");
    check("Last month", "2026-10-22 00:00:00", "2026-11-22 00:00:00");
    check(
        "Last 15 minutes",
        "2026-11-22 10:42:05",
        "2026-11-22 10:57:05",
    );
    check(
        "7 days ago : now",
        "2026-11-15 10:57:05",
        "2026-11-22 10:57:05",
    );
    check(
        "2026-11-01 : 2026-11-22T06:00:00",
        "2026-11-01 00:00:00",
        "2026-11-22 06:00:00",
    );
    check(
        "DATETRUNC(DATETIME(\"now\"), hour) : ",
        "2026-11-22 10:00:00",
        "open",
    );
    check(
        "DATETRUNC(DATETIME(\"today\"), week) : now",
        "2026-11-16 00:00:00",
        "2026-11-22 10:57:05",
    );
    check("No filter", "open", "open");
}

#[test]
fn others_are_refused_by_name() {
    let now = "2026-11-22T10:57:05".parse().unwrap();
    assert_eq!(
        Range::parse("the other day", now).unwrap_err(),
        "time range `the other day` is not supported"
    );
    assert_eq!(
        Range::parse("yesterday-ish : now", now).unwrap_err(),
        "time `yesterday-ish` is not supported"
    );
    for odd in [
        "DATEADD(DATETIME(\"now\"), 99999999999999, year) : now",
        "DATEADD( : now",
        "é : now",
    ] {
        assert!(Range::parse(odd, now).is_err(), "{odd}");
    }
}

#[test]
fn the_span_before_has_the_same_length() {
    let now = "2026-11-22T10:00:00".parse().unwrap();
    let range = Range::parse("Last 15 minutes", now).unwrap();
    assert_eq!(
        range.before(),
        Some(Range {
            since: Some("2026-11-22T09:30:00".parse().unwrap()),
            until: Some("2026-11-22T09:45:00".parse().unwrap()),
        })
    );
    assert_eq!(Range::default().before(), None);
}
