//! GROUP BY: its keys, and the sets that GROUPING SETS, ROLLUP and CUBE expand to.

use std::collections::HashMap;

use datafusion::common::Column;
use datafusion::logical_expr::{Expr, GroupingSet, LogicalPlan, LogicalPlanBuilder, lit};

use super::Analyzer;
use super::aggregate::AggregateSpec;
use super::expr::{Context, Typed};
use super::scope::Scope;
use crate::failure::{Code, Failure, Pos, Result};
use crate::functions::compare;
use crate::sql::ast::{self, GroupBy, Grouping, Kind};
use crate::types::Type;

/// How many grouping sets one query may have.
const MAX_SETS: usize = 2048;

/// The grouping keys of a query and which of them each set uses.
#[derive(Debug, Default)]
pub(super) struct Grouped {
    keys: Vec<Typed>,
    sets: Vec<Vec<usize>>,
}

/// Which expression of the input has become which column of the aggregation.
#[derive(Debug, Default)]
pub(super) struct Keys {
    columns: Vec<(Expr, String)>,
}

impl Keys {
    pub(super) fn column(&self, expr: &Expr) -> Option<String> {
        self.columns
            .iter()
            .find(|(key, _)| key == expr)
            .map(|(_, column)| column.clone())
    }
}

impl Analyzer<'_> {
    pub(super) fn grouping_keys(
        &mut self,
        group_by: Option<&GroupBy>,
        scope: &Scope<'_>,
        outputs: &[(Pos, Typed)],
    ) -> Result<Grouped> {
        let mut grouped = Grouped {
            keys: Vec::new(),
            sets: vec![Vec::new()],
        };
        let Some(group_by) = group_by else {
            return Ok(grouped);
        };
        for element in &group_by.elements {
            let choices = match element {
                Grouping::Simple(exprs) => {
                    let mut all = Vec::new();
                    for expr in exprs {
                        all.push(self.group_key(expr, scope, outputs, &mut grouped)?);
                    }
                    vec![all]
                }
                Grouping::Sets(sets) => self.group_sets(sets, scope, outputs, &mut grouped)?,
                Grouping::Rollup(sets) => {
                    let parts = self.group_sets(sets, scope, outputs, &mut grouped)?;
                    (0..=parts.len())
                        .rev()
                        .map(|n| parts[..n].concat())
                        .collect()
                }
                Grouping::Cube(sets) => {
                    let parts = self.group_sets(sets, scope, outputs, &mut grouped)?;
                    if parts.len() > 11 {
                        return Err(too_many(group_by.pos));
                    }
                    cube(&parts)
                }
            };
            if grouped.sets.len().saturating_mul(choices.len()) > MAX_SETS {
                return Err(too_many(group_by.pos));
            }
            grouped.sets = grouped
                .sets
                .iter()
                .flat_map(|set| {
                    choices
                        .iter()
                        .map(move |choice| [set.as_slice(), choice].concat())
                })
                .collect();
        }
        for set in &mut grouped.sets {
            set.sort_unstable();
            set.dedup();
        }
        let mut distinct = grouped.sets.clone();
        distinct.sort();
        distinct.dedup();
        if distinct.len() < grouped.sets.len() {
            if !group_by.distinct {
                return Err(Failure::unsupported(
                    group_by.pos,
                    "a grouping set given twice",
                ));
            }
            grouped.sets = distinct;
        }
        Ok(grouped)
    }

    fn group_sets(
        &mut self,
        sets: &[Vec<ast::Expr>],
        scope: &Scope<'_>,
        outputs: &[(Pos, Typed)],
        grouped: &mut Grouped,
    ) -> Result<Vec<Vec<usize>>> {
        let mut all = Vec::with_capacity(sets.len());
        for set in sets {
            let mut keys = Vec::with_capacity(set.len());
            for expr in set {
                keys.push(self.group_key(expr, scope, outputs, grouped)?);
            }
            all.push(keys);
        }
        Ok(all)
    }

    fn group_key(
        &mut self,
        expr: &ast::Expr,
        scope: &Scope<'_>,
        outputs: &[(Pos, Typed)],
        grouped: &mut Grouped,
    ) -> Result<usize> {
        let key = match expr.kind.as_ref() {
            Kind::Integer(digits) => {
                let at = digits
                    .parse::<usize>()
                    .ok()
                    .filter(|at| (1..=outputs.len()).contains(at))
                    .ok_or_else(|| {
                        Failure::at(
                            Code::InvalidColumnReference,
                            expr.pos,
                            format!("GROUP BY position {digits} is not in select list"),
                        )
                    })?;
                outputs[at - 1].1.clone()
            }
            _ => self.expr(expr, &mut Context::plain(scope, "GROUP BY clause"))?,
        };
        if matches!(key.ty, Type::Json | Type::Map(..)) {
            return Err(Failure::unsupported(
                expr.pos,
                format!("grouping by {}", key.ty),
            ));
        }
        if let Some(index) = grouped.keys.iter().position(|known| known.expr == key.expr) {
            return Ok(index);
        }
        grouped.keys.push(key);
        Ok(grouped.keys.len() - 1)
    }

    /// Plans the aggregation: keys become columns first, so that they have one name below and above it.
    pub(super) fn aggregated(
        &mut self,
        plan: LogicalPlan,
        grouped: &Grouped,
        aggregates: &[AggregateSpec],
    ) -> Result<(LogicalPlan, Keys)> {
        let mut input: Vec<Expr> = plan
            .schema()
            .columns()
            .into_iter()
            .map(Expr::Column)
            .collect();
        let n_input = input.len();
        let mut columns = Vec::new();
        for key in &grouped.keys {
            let column = self.fresh("key");
            input.push(compare::groupable(key.clone()).expr.alias(column.clone()));
            columns.push((key.expr.clone(), column));
        }
        let plan = if input.len() > n_input {
            LogicalPlanBuilder::from(plan).project(input)?.build()?
        } else {
            plan
        };
        let keys = Keys { columns };
        let key =
            |index: usize| Expr::Column(Column::new_unqualified(keys.columns[index].1.clone()));
        let group: Vec<Expr> = match grouped.sets.as_slice() {
            [only] => only.iter().map(|index| key(*index)).collect(),
            sets => {
                let sets = sets
                    .iter()
                    .map(|set| set.iter().map(|index| key(*index)).collect())
                    .collect();
                vec![Expr::GroupingSet(GroupingSet::GroupingSets(sets))]
            }
        };
        let columns_of: HashMap<&Expr, Expr> = keys
            .columns
            .iter()
            .map(|(expr, column)| (expr, Expr::Column(Column::new_unqualified(column.clone()))))
            .collect();
        let mut made: Vec<Expr> = Vec::with_capacity(aggregates.len());
        for spec in aggregates {
            made.push(
                grouping_argument(spec.expr.clone(), &columns_of, group.is_empty())
                    .alias(spec.column.clone()),
            );
        }
        if group.is_empty() && made.is_empty() {
            let column = self.fresh("agg");
            made.push(count_all()?.alias(column));
        }
        Ok((
            LogicalPlanBuilder::from(plan)
                .aggregate(group, made)?
                .build()?,
            keys,
        ))
    }
}

fn count_all() -> Result<Expr> {
    crate::functions::aggregates::plain("count", vec![lit(1_i64)], false, None, Vec::new())
}

/// `grouping(x)` is about keys, so its arguments are the key columns.
fn grouping_argument(expr: Expr, columns: &HashMap<&Expr, Expr>, ungrouped: bool) -> Expr {
    match expr {
        Expr::AggregateFunction(mut call) if call.func.name() == "grouping" && !ungrouped => {
            call.params.args = call
                .params
                .args
                .into_iter()
                .map(|arg| columns.get(&arg).cloned().unwrap_or(arg))
                .collect();
            Expr::AggregateFunction(call)
        }
        other => other,
    }
}

fn cube(parts: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut sets = Vec::with_capacity(1 << parts.len());
    for mask in (0..1_usize << parts.len()).rev() {
        let set = parts
            .iter()
            .enumerate()
            .filter(|(index, _)| mask & (1 << index) != 0)
            .flat_map(|(_, part)| part.clone());
        sets.push(set.collect());
    }
    sets
}

fn too_many(pos: Pos) -> Failure {
    Failure::at(
        Code::TooManyGroupingSets,
        pos,
        format!("GROUP BY has more than {MAX_SETS} grouping sets"),
    )
}
