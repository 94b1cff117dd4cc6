//! Dashboards, SQL page and service views over the Trino protocol.
