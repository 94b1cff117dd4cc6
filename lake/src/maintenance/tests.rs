//! Facts about policies.

use super::*;

#[test]
fn the_default_policy_is_valid_and_a_zero_is_named() {
    Policy::default().validate().unwrap();
    let policy = Policy {
        keep_snapshots: 0,
        ..Policy::default()
    };
    assert_eq!(
        policy.validate().unwrap_err().to_string(),
        "maintenance `keep_snapshots` must be at least 1"
    );
}

#[test]
fn an_orphan_is_never_young() {
    let policy = Policy {
        orphan_age: Duration::from_secs(60),
        ..Policy::default()
    };
    let refused = policy.validate().unwrap_err().to_string();
    assert!(
        refused.contains("`orphan_age` must be at least 1h"),
        "{refused}"
    );
}

#[test]
fn places_overlap_whatever_the_scheme_and_the_slash_at_the_end() {
    for (one, other, overlapping) in [
        ("s3://b/t", "s3://b/t", true),
        ("s3://b/t/", "s3a://b/t", true),
        ("s3://b/t", "s3://b/t/inner", true),
        ("s3://b/t/inner", "s3://b", true),
        ("s3://b/t", "s3://b/t2", false),
        ("s3://b/t", "s3://c/t", false),
        ("s3://b/t", "file://b/t", false),
        ("file:///a/b", "file:///a/b/c", true),
    ] {
        assert_eq!(orphans::overlap(one, other), overlapping, "{one} {other}");
    }
}
