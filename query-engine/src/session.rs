//! What a client says about itself with a statement, and what a statement changes about it.
//!
//! The server keeps no sessions: everything arrives in headers and goes back in headers, so any request can be served
//! by any process.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::functions::datetime::parse::Zone;
use crate::types::UTC;

/// The state of a client, read from request headers.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) user: String,
    pub(crate) source: Option<String>,
    pub(crate) catalog: Option<String>,
    pub(crate) schema: Option<String>,
    pub(crate) zone: Arc<str>,
    pub(crate) properties: BTreeMap<String, String>,
    pub(crate) prepared: BTreeMap<String, String>,
    pub(crate) transaction: Option<String>,
    /// May the client be sent `timestamp(6)`, or only what old drivers know?
    pub(crate) parametric_datetime: bool,
}

impl Session {
    pub(crate) fn new(user: String) -> Session {
        Session {
            user,
            source: None,
            catalog: None,
            schema: None,
            zone: UTC.into(),
            properties: BTreeMap::new(),
            prepared: BTreeMap::new(),
            transaction: None,
            parametric_datetime: true,
        }
    }

    /// Takes a zone by name if there is such a zone.
    pub(crate) fn set_zone(&mut self, name: &str) -> bool {
        let zone = Zone::parse(name);
        if let Some(zone) = &zone {
            self.zone = zone.name().into();
        }
        zone.is_some()
    }
}

/// What a statement changes in the session; the client is told by headers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) catalog: Option<String>,
    pub(crate) schema: Option<String>,
    pub(crate) set: Option<(String, String)>,
    pub(crate) clear: Option<String>,
    pub(crate) role: Option<(String, String)>,
    pub(crate) prepared: Option<(String, String)>,
    pub(crate) deallocated: Option<String>,
    pub(crate) started_transaction: Option<String>,
    pub(crate) cleared_transaction: bool,
}

/// A session property that Trino has: accepted, with what it does here.
pub(crate) struct Property {
    pub(crate) name: &'static str,
    pub(crate) default: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) description: &'static str,
}

/// The session properties; those that have no effect here say so.
pub(crate) const PROPERTIES: [Property; 7] = [
    Property {
        name: "query_max_run_time",
        default: "1.00h",
        kind: "varchar",
        description: "Maximum run time of a query",
    },
    Property {
        name: "query_max_execution_time",
        default: "1.00h",
        kind: "varchar",
        description: "Maximum run time of a query",
    },
    Property {
        name: "query_priority",
        default: "1",
        kind: "integer",
        description: "No effect: queries start in order of arrival",
    },
    Property {
        name: "join_distribution_type",
        default: "AUTOMATIC",
        kind: "varchar",
        description: "No effect: the engine is one node",
    },
    Property {
        name: "join_reordering_strategy",
        default: "AUTOMATIC",
        kind: "varchar",
        description: "No effect: joins are ordered by statistics",
    },
    Property {
        name: "time_zone_id",
        default: "",
        kind: "varchar",
        description: "Time zone of the session",
    },
    Property {
        name: "task_concurrency",
        default: "0",
        kind: "integer",
        description: "Partitions of a query, 0 for one per thread",
    },
];
