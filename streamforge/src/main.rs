//! The streaming lakehouse in one binary.

fn main() {}
