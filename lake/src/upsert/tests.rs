//! Facts about upserts.
