//! The pages over real sockets, with a stand-in for the services behind them that runs every statement for real.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod browser;
mod fuzz;
mod pages;
mod server;
