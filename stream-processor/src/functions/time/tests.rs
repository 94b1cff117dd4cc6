//! Flink's answers about time.

use super::{
    add_months, floor, format_pieces, hour_of, java_pattern, parse_pieces, parse_timestamp,
    timestamp_text, to_local, zone_named,
};
use crate::sql::ast::TimeUnit;

fn at(text: &str) -> i64 {
    parse_timestamp(text).unwrap()
}

#[test]
fn impossible_days_are_clamped() {
    assert_eq!(at("2026-02-29"), at("2026-02-28 00:00:00"));
    assert_eq!(parse_timestamp("2026-01-32"), None);
    let january = at("2026-01-31 10:00:00") / 1_000_000;
    assert_eq!(
        add_months(january, 1) * 1_000_000,
        at("2026-02-28 10:00:00")
    );
}

#[test]
fn java_patterns_read_and_write() {
    let iso = java_pattern("yyyy-MM-dd'T'HH:mm:ss.SSSX").unwrap();
    let parsed = parse_pieces(&iso, "2026-03-01T10:00:03.250Z").unwrap();
    assert_eq!(timestamp_text(parsed, 3), "2026-03-01 10:00:03.250");
    assert_eq!(parse_pieces(&iso, "2026-03-01T10:00:03.250+02:00"), None);
    assert_eq!(parse_pieces(&iso, "2026-03-01"), None);
    let mut text = String::new();
    format_pieces(
        &java_pattern("yyyyMMdd 'at' HH").unwrap(),
        parsed,
        &mut text,
    );
    assert_eq!(text, "20260301 at 10");
    assert!(java_pattern("QQ").is_err());
}

#[test]
fn weeks_begin_on_sunday() {
    let wednesday = at("2026-03-04 10:00:00") / 1_000_000;
    let sunday = floor(TimeUnit::Week, wednesday).unwrap();
    assert_eq!(timestamp_text(sunday * 1_000_000, 0), "2026-03-01 00:00:00");
}

#[test]
fn zones_know_summer() {
    let zone = zone_named("America/New_York").unwrap();
    assert_eq!(hour_of(to_local(at("2026-03-08 06:30:00"), zone)), 1);
    assert_eq!(hour_of(to_local(at("2026-03-08 07:30:00"), zone)), 3);
}
