//! Test support: temporary directories, waiting without sleeping, pinned Python clients, house rules.
