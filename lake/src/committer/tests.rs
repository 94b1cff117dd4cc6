//! Facts about commits.
