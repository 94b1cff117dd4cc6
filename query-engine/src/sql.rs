//! From text to plan: lexer, parser and analyzer of the Trino dialect.
//!
//! The dialect is ours from the first character to the typed plan, because DataFusion's own SQL front end gives other
//! answers than Trino in dozens of places (docs/protocols/trino.md lists them). Text comes in from [`crate::query`];
//! a typed DataFusion plan goes back.

pub(crate) mod analyze;
pub(crate) mod ast;
pub(crate) mod lexer;
pub(crate) mod parser;
