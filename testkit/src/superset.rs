//! Apache Superset with the packages it was released with, in a Python environment of its own.

use std::path::PathBuf;

use crate::python::environment;

/// Every package pinned: the newest ones that Superset allows give an installation that does not start.
const REQUIREMENTS: &str = include_str!("../python/superset-6.1.0.txt");

/// The interpreter of an environment with Superset 6.1.0 and the Trino client, made at the first call on this machine;
/// `superset` and `gunicorn` lie beside it.
///
/// # Panics
/// If python3 is missing or the packages cannot be installed.
pub fn superset() -> PathBuf {
    environment("superset-6.1.0", REQUIREMENTS)
}
