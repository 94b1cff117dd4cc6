//! What the expressions of a SELECT may aggregate.

use std::cell::RefCell;

use super::group_window::GroupWindow;
use super::over::Overs;
use super::typed::Typed;
use crate::operators::aggregate::AggregateCall;

/// What is grouped by and which aggregates have been asked for.
#[derive(Default)]
pub(crate) struct Grouping {
    pub(crate) groups: Vec<Typed>,
    /// What only other grouping sets have.
    pub(crate) absent: Vec<Typed>,
    /// The old group window among the groups.
    pub(crate) window: Option<GroupWindow>,
    /// Nothing is grouped: the calls are those with OVER.
    pub(crate) over: Option<Overs>,
    pub(crate) calls: RefCell<Vec<AggregateCall>>,
    /// Arguments of the calls, over the input.
    pub(crate) arguments: RefCell<Vec<Typed>>,
}
