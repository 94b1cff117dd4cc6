//! Facts about bounds kept in manifests.

use proptest::prelude::*;

use super::*;

#[test]
fn long_text_is_cut_down_and_up() {
    let text = Datum::string("abcdefghijklmnopqrstuvwxyz");
    assert_eq!(
        cut_down(text.clone(), 16),
        Some(Datum::string("abcdefghijklmnop"))
    );
    assert_eq!(cut_up(text, 16), Some(Datum::string("abcdefghijklmnoq")));
}

#[test]
fn short_text_is_kept() {
    assert_eq!(cut_up(Datum::string("abc"), 16), Some(Datum::string("abc")));
}

#[test]
fn text_without_a_successor_has_no_upper_bound() {
    assert_eq!(cut_up(Datum::string("\u{10FFFF}".repeat(17)), 16), None);
}

proptest! {
    #[test]
    fn cut_bounds_stay_bounds(text in "\\PC{0,40}") {
        let datum = Datum::string(&text);
        prop_assert!(cut_down(datum.clone(), 16).unwrap() <= datum);
        if let Some(upper) = cut_up(datum.clone(), 16) {
            prop_assert!(upper >= datum);
        }
    }
}
