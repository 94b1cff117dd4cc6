//! Operators without the runtime.
