//! The crate against our own catalog and store, with other engines reading what it wrote.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod commits;
mod hostile;
mod lakehouse;
mod maintenance;
mod orphans;
mod upserts;
