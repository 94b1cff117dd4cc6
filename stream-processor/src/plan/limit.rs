//! ORDER BY and LIMIT of a whole query: Top-N without partitions, or rows in the order of their time.

use std::sync::Arc;

use super::Planner;
use super::expr::whole;
use super::query::Env;
use super::rel::{Op, Rel, Role};
use super::scope::Scope;
use super::top_n::{is_monotonic, sort_column, with_number};
use super::typed::Typed;
use crate::error::Error;
use crate::graph::ChangelogMode;
use crate::operators::top_n::{RankRange, SortColumn};
use crate::sql::ast::{Expr, ExprKind, Literal, Order, Query, Select, SelectItem, SetExpr};

impl Planner<'_> {
    /// The body of `query` with its ORDER BY and LIMIT.
    pub(super) fn limited(&self, query: &Query, env: &Env) -> Result<Arc<Rel>, Error> {
        let body = self.set(&query.body, env)?;
        let Some(limit) = &query.limit else {
            return match (&query.offset, query.order.first()) {
                (None, None) => Ok(body),
                (None, Some(first)) => self.sorted(query, first, body, env),
                (Some(offset), _) => Err(Error::unsupported(
                    "OFFSET without LIMIT",
                    offset.position,
                    "",
                )),
            };
        };
        let limit = self.count(limit)?;
        let skipped = query.offset.as_ref().map_or(Ok(0), |it| self.count(it))?;
        if limit == 0 {
            return Ok(Rel::filter(body, Typed::boolean(false)));
        }
        let n_columns = body.fields.len();
        let (input, order) = self.ordered(query, body, env)?;
        let appends = input.is_append();
        let changes = if appends && order.is_empty() {
            // The first rows stay the first.
            ChangelogMode::InsertOnly
        } else {
            ChangelogMode::Retract
        };
        let op = Op::Rank {
            in_place: is_monotonic(&input, &[], &order),
            partition: Vec::new(),
            order,
            range: RankRange {
                start: skipped.saturating_add(1),
                end: skipped.saturating_add(limit),
            },
            appends,
        };
        let ranked = with_number(op, input, changes);
        let mut items = ranked.all();
        items.truncate(n_columns);
        Ok(Rel::calc(ranked, None, items))
    }

    /// ORDER BY without an end: by event time, as in Flink.
    fn sorted(
        &self,
        query: &Query,
        first: &Order,
        body: Arc<Rel>,
        env: &Env,
    ) -> Result<Arc<Rel>, Error> {
        let n_columns = body.fields.len();
        let (input, mut order) = self.ordered(query, body, env)?;
        let time = order.remove(0);
        let is_time = input.fields[time.column].role == Role::Rowtime;
        if !is_time || time.descending || !input.is_append() {
            return Err(Error::unsupported(
                "ORDER BY of a whole query",
                first.expr.position,
                "; first the event time of inserts, ascending, or with a LIMIT",
            ));
        }
        let sorted = Arc::new(Rel {
            op: Op::TemporalSort {
                time: time.column,
                order,
            },
            fields: input.fields.clone(),
            changes: ChangelogMode::InsertOnly,
            inputs: vec![input],
        });
        let mut items = sorted.all();
        items.truncate(n_columns);
        Ok(Rel::calc(sorted, None, items))
    }

    fn count(&self, expr: &Expr) -> Result<usize, Error> {
        let scope = Scope::default();
        let typed = self.analyzer(&scope, None).expr(expr)?;
        let count = whole(&typed).and_then(|count| usize::try_from(count).ok());
        count
            .ok_or_else(|| Error::validation("LIMIT and OFFSET take a whole number", expr.position))
    }

    /// The rows with what they are sorted by behind their columns, and the columns to sort by.
    fn ordered(
        &self,
        query: &Query,
        body: Arc<Rel>,
        env: &Env,
    ) -> Result<(Arc<Rel>, Vec<SortColumn>), Error> {
        let columns = body.fields.iter().map(|field| (None, field.clone()));
        let scope = Scope::of(columns.collect());
        let analyzer = self.analyzer(&scope, None);
        let n_columns = body.fields.len();
        // What is no column of the result may be one of those it is made of.
        let mut hidden = Vec::new();
        let mut sorted = Vec::new();
        for item in &query.order {
            let typed = match ordinal(&item.expr) {
                Some(at) if (1..=n_columns).contains(&at) => {
                    Ok(Typed::column(at - 1, body.fields[at - 1].ty.clone()))
                }
                _ => analyzer.expr(&item.expr),
            };
            sorted.push(match (typed, &query.body) {
                (Ok(typed), _) => Ok(typed),
                (Err(_), SetExpr::Select(select)) if !select.distinct => {
                    hidden.push(SelectItem::Expr(item.expr.clone(), None));
                    Err(n_columns + hidden.len() - 1)
                }
                (Err(error), _) => return Err(error),
            });
        }
        let input = match &query.body {
            SetExpr::Select(select) if !hidden.is_empty() => {
                let mut select = Select::clone(select);
                select.items.extend(hidden);
                self.select(&select, env)?
            }
            _ => body,
        };
        let mut items = input.all();
        let mut order = Vec::new();
        for (item, typed) in query.order.iter().zip(sorted) {
            let column = |at: usize| Typed::column(at, input.fields[at].ty.clone());
            let typed = typed.unwrap_or_else(column);
            order.push(sort_column(item, typed, &mut items)?);
        }
        if items.len() == input.fields.len() {
            return Ok((input, order));
        }
        Ok((Rel::calc(input, None, items), order))
    }
}

/// `ORDER BY 2`: the second column.
fn ordinal(expr: &Expr) -> Option<usize> {
    match &expr.kind {
        ExprKind::Literal(Literal::Number(text)) => text.parse().ok(),
        _ => None,
    }
}
