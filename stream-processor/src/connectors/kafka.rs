//! The `kafka` connector: a bounded or unbounded source over [`kafka_client`].

pub(crate) mod options;
pub(crate) mod source;

pub(crate) use options::share_key;
