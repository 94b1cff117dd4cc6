//! Facts about data files.
