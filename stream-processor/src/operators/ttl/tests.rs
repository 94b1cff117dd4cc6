//! What is alive, and when it is swept.

use super::{TimeToLive, UNTIMED};

#[test]
fn writing_renews_and_the_last_millisecond_is_over() {
    let mut ttl = TimeToLive::new(Some(1000));
    ttl.tick(5000);
    assert_eq!(ttl.now(), 5000);
    assert!(ttl.is_alive(4001));
    assert!(!ttl.is_alive(4000));
}

#[test]
fn what_came_before_the_first_tick_counts_from_it() {
    let mut ttl = TimeToLive::new(Some(1000));
    assert!(ttl.is_alive(UNTIMED));
    ttl.tick(5000);
    ttl.tick(5999);
    assert!(ttl.is_alive(UNTIMED));
    ttl.tick(6000);
    assert!(!ttl.is_alive(UNTIMED));
}

#[test]
fn expired_entries_are_swept_four_times_a_life() {
    let mut ttl = TimeToLive::new(Some(1000));
    let due: Vec<i64> = (0..=10)
        .map(|step| 5000 + step * 100)
        .filter(|now| ttl.tick(*now))
        .collect();
    assert_eq!(due, [5300, 5600, 5900]);
}

#[test]
fn without_a_time_to_live_nothing_expires() {
    let mut ttl = TimeToLive::new(None);
    assert!(!ttl.tick(i64::MAX));
    assert!(ttl.is_alive(1));
    assert!(!ttl.expires());
}
