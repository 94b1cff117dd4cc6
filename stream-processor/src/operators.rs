//! The steps of a job: synchronous, columnar, without clock or IO.
//!
//! Each factory is made by [`crate::plan`] and knows its schemas; the runtime makes the instances and calls them.

pub(crate) mod aggregate;
pub(crate) mod calc;
pub(crate) mod cell;
pub(crate) mod dedup;
pub(crate) mod fingerprint;
pub(crate) mod group;
pub(crate) mod interval_join;
pub(crate) mod join;
#[cfg(test)]
pub(crate) mod kept;
pub(crate) mod keys;
pub(crate) mod over;
pub(crate) mod pieces;
pub(crate) mod rows;
pub(crate) mod saved;
pub(crate) mod session;
pub(crate) mod temporal;
pub(crate) mod temporal_sort;
mod text;
pub(crate) mod top_n;
pub(crate) mod ttl;
pub(crate) mod unnest;
pub(crate) mod values;
pub(crate) mod window;
pub(crate) mod window_join;
