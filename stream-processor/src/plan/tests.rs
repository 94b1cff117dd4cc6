//! Whole scripts planned.
