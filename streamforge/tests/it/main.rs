//! The platform through its binary: what a newcomer does, what real clients see, what survives a kill.
//!
//! Nothing of ours is linked here but `testkit`: every test starts the program and speaks to it over its protocols.

mod platform;

mod clients;
mod commands;
mod exactly_once;
mod growing_topic;
mod newcomer;
mod pages;
mod refusals;
mod secure;
mod spark;
mod superset;
mod swap;
