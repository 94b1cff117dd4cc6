//! From queries to jobs: names and types resolved by Flink's rules, then operators and edges.
//!
//! Own analyzer instead of DataFusion's, whose coercions give other answers than Flink's. Queries come from
//! [`crate::sql`]; [`query`] makes a tree of [`rel::Rel`]s of each, [`build`] shares their common parts, drops unread
//! columns and makes the [`StreamGraph`].

mod aggregate;
mod build;
pub(crate) mod coerce;
mod condition;
pub(crate) mod expr;
mod from;
mod group;
mod group_window;
mod grouping;
mod hints;
mod interval;
mod joined;
mod limit;
mod literal;
mod lookup;
mod over;
mod query;
pub(crate) mod rel;
mod scope;
mod sink;
mod source;
mod subquery;
mod top_n;
pub(crate) mod typed;
mod unnest;
mod values;
pub(crate) mod watermark;

pub(crate) use aggregate::{AGGREGATES, is_aggregate};
pub(crate) use lookup::Lookup;
pub(crate) use source::check_table;

use std::sync::Arc;

use chrono_tz::Tz;

use crate::error::Error;
use crate::graph::StreamGraph;
use crate::sql::Settings;
use crate::sql::ast::{Insert, Query};

/// Plans the statements of one session.
pub(crate) struct Planner<'a> {
    lookup: &'a Lookup<'a>,
    settings: &'a Settings,
    zone: Tz,
}

impl<'a> Planner<'a> {
    pub(crate) fn new(lookup: &'a Lookup<'a>, settings: &'a Settings) -> Result<Self, Error> {
        Ok(Planner {
            lookup,
            settings,
            zone: settings.zone()?,
        })
    }

    /// The job of one INSERT or of a statement set.
    pub(crate) fn inserts(&self, inserts: &[Insert]) -> Result<StreamGraph, Error> {
        let mut builder = build::Builder::new(self.settings, self.zone)?;
        for insert in inserts {
            let (rel, table, overwrite) = self.insert(insert)?;
            builder.sink(&rel, table, overwrite)?;
        }
        if let Some(name) = self.settings.late_table() {
            builder.late(self.late_table(name)?)?;
        }
        builder.finish()
    }

    /// The job of a top-level query: it ends in a sink of connector `collect`.
    pub(crate) fn collect(&self, query: &Query) -> Result<StreamGraph, Error> {
        let rel = self.query(query, &query::Env::here(self.lookup))?;
        let mut builder = build::Builder::new(self.settings, self.zone)?;
        let table = Arc::new(sink::collect_table(&rel));
        builder.sink(&rel, table, false)?;
        builder.finish()
    }
}

/// Whether two names differ in one letter.
fn near(known: &str, asked: &str) -> bool {
    let (known, asked): (Vec<char>, Vec<char>) = (known.chars().collect(), asked.chars().collect());
    if known.len().abs_diff(asked.len()) > 1 {
        return false;
    }
    let front = known.iter().zip(&asked).take_while(|(a, b)| a == b).count();
    let back = known
        .iter()
        .rev()
        .zip(asked.iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    front + back + 1 >= known.len().max(asked.len())
}

#[cfg(test)]
mod tests;
