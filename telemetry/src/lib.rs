//! Tracing, metrics and the health endpoints of every service.
