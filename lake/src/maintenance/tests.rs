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
