//! Everything that is tested from outside of the crate.

mod golden;
