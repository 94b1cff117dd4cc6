//! Flink's answers about time.

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::TimestampMicrosecondType;
use chrono_tz::Tz;

use super::{
    Moment, add_months, convert, extract, floor, format_pieces, java_pattern, moments,
    parse_pieces, parse_timestamp, timestamp_text, timestamps, zone_named,
};
use crate::sql::ast::TimeUnit;
use crate::table::TypeRoot;

fn at(text: &str) -> Moment {
    parse_timestamp(text).unwrap()
}

#[test]
fn impossible_days_are_clamped() {
    assert_eq!(at("2026-02-29"), at("2026-02-28 00:00:00"));
    assert_eq!(parse_timestamp("2026-01-32"), None);
    let january = at("2026-01-31 10:00:00").millis;
    assert_eq!(
        Moment::of_millis(add_months(january, 1)),
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

/// Java's `DateTimeFormatter` reads those, and no others.
#[test]
fn offsets_are_read_over() {
    for (pattern, offsets) in [
        ("X", &["Z", "+02", "+0230", "-08"][..]),
        ("XX", &["Z", "+0230"]),
        ("XXX", &["Z", "+02:30"]),
    ] {
        let pieces = java_pattern(&format!("yyyy-MM-dd HH:mm:ss{pattern}")).unwrap();
        let all = [
            "Z", "+02", "+0230", "+02:30", "-08", "Z12", "", "+2", "+0299",
        ];
        for offset in all {
            let read = parse_pieces(&pieces, &format!("2026-03-01 10:00:03{offset}"));
            let expected = offsets.contains(&offset).then(|| at("2026-03-01 10:00:03"));
            assert_eq!(read, expected, "{pattern} {offset}");
        }
    }
}

#[test]
fn weeks_begin_on_sunday() {
    let wednesday = at("2026-03-04 10:00:00").millis;
    let sunday = Moment::of_millis(floor(TimeUnit::Week, wednesday).unwrap());
    assert_eq!(timestamp_text(sunday, 0), "2026-03-01 00:00:00");
}

#[test]
fn zones_know_summer() {
    let zone = zone_named("America/New_York").unwrap();
    let hour = |text| extract(TimeUnit::Hour, at(text).local_in(zone));
    assert_eq!(hour("2026-03-08 06:30:00"), 1);
    assert_eq!(hour("2026-03-08 07:30:00"), 3);
}

fn column(texts: &[&str], precision: u8) -> ArrayRef {
    timestamps(texts.iter().map(|text| Some(at(text))), precision, false).unwrap()
}

fn texts(array: &ArrayRef, precision: u8) -> Vec<String> {
    let moments = moments(array).unwrap().into_iter().flatten();
    moments
        .map(|moment| timestamp_text(moment, precision))
        .collect()
}

#[test]
fn all_years_are_exact() {
    let all = ["0001-01-01 00:00:00.000", "9999-12-31 23:59:59.999"];
    let millis = column(&all, 3);
    assert_eq!(texts(&millis, 3), all);
    let to = |root| convert(&millis, &TypeRoot::Timestamp(3), &root, Tz::UTC).unwrap();
    let micros = to(TypeRoot::Timestamp(6));
    let value = micros.as_primitive::<TimestampMicrosecondType>().value(1);
    assert_eq!(value, 253_402_300_799_999_000);
    let days = to(TypeRoot::Date);
    let back = convert(&days, &TypeRoot::Date, &TypeRoot::Timestamp(3), Tz::UTC).unwrap();
    assert_eq!(
        texts(&back, 0),
        ["0001-01-01 00:00:00", "9999-12-31 00:00:00"]
    );
    let pieces = java_pattern("yyyy-MM-dd").unwrap();
    let parsed = parse_pieces(&pieces, "9999-12-31").unwrap();
    assert_eq!(timestamp_text(parsed, 3), "9999-12-31 00:00:00.000");
}

#[test]
fn what_nanoseconds_cannot_count_fails() {
    let far = std::iter::once(Some(at("9999-12-31 00:00:00")));
    let error = timestamps(far, 9, false).unwrap_err();
    assert!(error.to_string().contains("TIMESTAMP(9)"), "{error}");
    assert_eq!(
        texts(&column(&["2026-03-01 10:00:00.123456789"], 9), 9),
        ["2026-03-01 10:00:00.123456789"]
    );
    for (precision, text) in [
        (1, "2026-03-01 10:00:00.1"),
        (5, "2026-03-01 10:00:00.12345"),
    ] {
        let cut = column(&["2026-03-01 10:00:00.123456789"], precision);
        assert_eq!(texts(&cut, precision), [text]);
    }
    let before = column(&["1969-12-31 23:59:59.999"], 0);
    assert_eq!(texts(&before, 0), ["1970-01-01 00:00:00"]);
}

#[test]
fn months_are_counted_as_in_flink() {
    let at = |text| parse_timestamp(text).unwrap().millis;
    for (from, to, months) in [
        ("2026-01-31 00:00:00", "2026-02-28 00:00:00", 1),
        ("2026-01-31 00:00:00", "2026-02-27 00:00:00", 0),
        ("2026-01-31 10:00:00", "2026-02-28 09:00:00", 0),
        ("2026-01-15 00:00:00", "2026-03-15 00:00:00", 2),
        ("2026-01-15 10:00:00", "2026-03-15 09:59:59", 1),
        ("2026-03-15 00:00:00", "2026-01-15 00:00:00", -2),
        ("2026-03-01 10:00:00", "2026-02-01 09:00:00", -2),
        ("2026-03-01 10:00:00", "2026-02-01 11:00:00", -1),
        ("2024-02-29 00:00:00", "2025-02-28 00:00:00", 12),
    ] {
        assert_eq!(
            super::months_between(at(from), at(to)),
            months,
            "{from} {to}"
        );
    }
}
