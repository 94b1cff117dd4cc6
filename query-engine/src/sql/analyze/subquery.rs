//! Subqueries inside expressions: scalar, IN, EXISTS and quantified comparisons.
//!
//! As a conjunct of a filter, IN and EXISTS become DataFusion's semi and anti joins. Anywhere else IN and quantified
//! comparisons run over the collected values of the subquery, which keeps three-valued logic in every position.

use std::sync::Arc;

use datafusion::common::Spans;
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::{
    Expr, JoinType, LogicalPlan, LogicalPlanBuilder, Subquery, Volatility, lit,
};

use super::Analyzer;
use super::expr::{Context, Typed};
use super::scope::{Field, Relation};
use crate::failure::{Code, Failure, Pos, Result};
use crate::functions::kernel::{Kernel, OnFailure};
use crate::functions::{aggregates, array};
use crate::sql::ast::{self, Compare, Query};
use crate::types::{Type, common};

impl Analyzer<'_> {
    fn inner_query(&mut self, query: &Query, cx: &Context<'_>) -> Result<(Relation, Vec<Expr>)> {
        if !cx.lambda.is_empty() {
            return Err(Failure::unsupported(query.pos, "a subquery in a lambda"));
        }
        // A scope between would hide the outer query's own; the subquery's scopes hang off the one they are in.
        let relation = self.query(query, Some(cx.scope))?;
        let outer = relation.plan.all_out_ref_exprs();
        let fields: Vec<Field> = relation
            .fields
            .iter()
            .filter(|field| !field.hidden)
            .cloned()
            .collect();
        let plan = self.visible(relation)?;
        Ok((Relation { plan, fields }, outer))
    }

    fn one_column(
        &mut self,
        pos: Pos,
        query: &Query,
        cx: &Context<'_>,
    ) -> Result<(LogicalPlan, Field, Vec<Expr>)> {
        let (relation, outer) = self.inner_query(query, cx)?;
        match relation.fields.as_slice() {
            [only] => Ok((relation.plan, only.clone(), outer)),
            many => Err(Failure::at(
                Code::TypeMismatch,
                pos,
                format!(
                    "Multiple columns returned by subquery are not yet supported. Found {}",
                    many.len()
                ),
            )),
        }
    }

    pub(super) fn scalar_subquery(
        &mut self,
        pos: Pos,
        query: &Query,
        cx: &mut Context<'_>,
    ) -> Result<Typed> {
        self.not_under_try(pos, "a subquery")?;
        let (plan, field, outer) = self.one_column(pos, query, cx)?;
        // One aggregate of all rows is the usual correlated subquery, and DataFusion knows its value without rows.
        correlation_above(pos, "a correlated subquery", &plan, 1)?;
        // A correlated one becomes an outer join, which knows that it may find nothing.
        let plan = if outer.is_empty() {
            self.perhaps_empty(plan)?
        } else {
            plan
        };
        Ok(Typed::new(
            Expr::ScalarSubquery(subquery(plan, outer)),
            field.ty,
        ))
    }

    /// `plan` with a column that says it can be NULL, as a scalar subquery without rows is. DataFusion asks the column
    /// alone, and would fold any expression of constants back into one that cannot.
    fn perhaps_empty(&mut self, plan: LogicalPlan) -> Result<LogicalPlan> {
        let field = plan.schema().field(0);
        if field.is_nullable() {
            return Ok(plan);
        }
        let (name, data_type) = (self.fresh("value"), field.data_type().clone());
        let column = Expr::Column(plan.schema().columns().swap_remove(0));
        let value = Kernel::call_with(
            "perhaps",
            data_type.to_string(),
            data_type,
            OnFailure::Raise,
            vec![column],
            Volatility::Volatile,
            Arc::new(|args| args.expanded(0)),
        );
        Ok(LogicalPlanBuilder::from(plan)
            .project([value.alias(name)])?
            .build()?)
    }

    pub(super) fn exists(
        &mut self,
        pos: Pos,
        query: &Query,
        conjunct: bool,
        negated: bool,
        cx: &mut Context<'_>,
    ) -> Result<Typed> {
        self.not_under_try(pos, "EXISTS")?;
        let (relation, outer) = self.inner_query(query, cx)?;
        if conjunct {
            let rows = any_rows(&relation.plan);
            correlation_above(pos, "a correlated EXISTS", rows, 0)?;
            return Ok(Typed::boolean(Expr::Exists(Exists::new(
                subquery(relation.plan, outer),
                negated,
            ))));
        }
        if !outer.is_empty() {
            return Err(Failure::unsupported(
                pos,
                "a correlated EXISTS anywhere but as a condition of WHERE",
            ));
        }
        let column = self.fresh("agg");
        let count = aggregates::plain("count", vec![lit(1_i64)], false, None, Vec::new())?
            .alias(column.clone());
        let plan = LogicalPlanBuilder::from(relation.plan)
            .limit(0, Some(1))?
            .aggregate(Vec::<Expr>::new(), vec![count])?
            .build()?;
        let found = Expr::ScalarSubquery(subquery(plan, Vec::new()));
        Ok(Typed::boolean(if negated {
            found.eq(lit(0_i64))
        } else {
            found.gt(lit(0_i64))
        }))
    }

    pub(super) fn in_query(
        &mut self,
        pos: Pos,
        left: &ast::Expr,
        query: &Query,
        conjunct: bool,
        negated: bool,
        cx: &mut Context<'_>,
    ) -> Result<Typed> {
        self.not_under_try(pos, "IN")?;
        let left = self.expr(left, cx)?;
        let (plan, field, outer) = self.one_column(pos, query, cx)?;
        let Some(ty) = common(&left.ty, &field.ty)
            .filter(|ty| !matches!(ty, Type::Row(_) | Type::Array(_) | Type::Map(..)))
        else {
            return Err(Failure::at(
                Code::TypeMismatch,
                pos,
                format!(
                    "Value expression and result of subquery must be of the same type: {} vs {}",
                    left.ty, field.ty
                ),
            ));
        };
        if ty == Type::Unknown {
            return Err(Failure::unsupported(pos, "IN with values of unknown type"));
        }
        let left = self.coerce(left, &ty)?;
        let (plan, column) = self.converted(plan, &field, &ty)?;
        if conjunct && !ty.has_float() {
            // The anti join of a NOT IN that knows of NULLs has no place for another condition.
            if negated && !outer.is_empty() {
                return Err(Failure::unsupported(pos, "a correlated NOT IN subquery"));
            }
            correlation_above(pos, "a correlated IN subquery", &plan, 0)?;
            let inner = subquery(plan, outer);
            return Ok(Typed::boolean(Expr::InSubquery(InSubquery::new(
                Box::new(left),
                inner,
                negated,
            ))));
        }
        if !outer.is_empty() {
            return Err(Failure::unsupported(
                pos,
                "a correlated IN subquery anywhere but as a condition of WHERE",
            ));
        }
        let values = self.collected(plan, column)?;
        let found = array::quantified(left, values, &ty, Compare::Eq, false);
        Ok(Typed::boolean(if negated {
            Expr::Not(Box::new(found))
        } else {
            found
        }))
    }

    pub(super) fn quantified(
        &mut self,
        pos: Pos,
        op: Compare,
        all: bool,
        left: &ast::Expr,
        query: &Query,
        cx: &mut Context<'_>,
    ) -> Result<Typed> {
        self.not_under_try(pos, "a quantified comparison")?;
        let left = self.expr(left, cx)?;
        let (plan, field, outer) = self.one_column(pos, query, cx)?;
        if !outer.is_empty() {
            return Err(Failure::unsupported(
                pos,
                "a correlated quantified comparison",
            ));
        }
        let ty = common(&left.ty, &field.ty).filter(|ty| {
            ty.is_orderable() && !matches!(ty, Type::Row(_) | Type::Array(_) | Type::Unknown)
        });
        let Some(ty) = ty else {
            return Err(Failure::at(
                Code::TypeMismatch,
                pos,
                format!(
                    "Cannot apply operator: {} {} {}",
                    left.ty,
                    op.symbol(),
                    field.ty
                ),
            ));
        };
        let left = self.coerce(left, &ty)?;
        let (plan, column) = self.converted(plan, &field, &ty)?;
        let values = self.collected(plan, column)?;
        Ok(Typed::boolean(array::quantified(
            left, values, &ty, op, all,
        )))
    }

    /// The subquery's only column in another type.
    fn converted(
        &mut self,
        plan: LogicalPlan,
        field: &Field,
        ty: &Type,
    ) -> Result<(LogicalPlan, String)> {
        let column = self.fresh("value");
        let value = self.coerce(field.typed(), ty)?.alias(column.clone());
        Ok((
            LogicalPlanBuilder::from(plan).project([value])?.build()?,
            column,
        ))
    }

    /// All values of a one-column plan as one array.
    fn collected(&mut self, plan: LogicalPlan, column: String) -> Result<Expr> {
        let made = self.fresh("agg");
        let value = Expr::Column(datafusion::common::Column::new_unqualified(column));
        let all = aggregates::plain("array_agg", vec![value], true, None, Vec::new())?.alias(made);
        let plan = LogicalPlanBuilder::from(plan)
            .aggregate(Vec::<Expr>::new(), vec![all])?
            .build()?;
        Ok(Expr::ScalarSubquery(subquery(plan, Vec::new())))
    }
}

/// The plan that has rows whenever this one has: neither what is selected nor how many rows are kept matters to EXISTS.
fn any_rows(plan: &LogicalPlan) -> &LogicalPlan {
    match plan {
        LogicalPlan::Projection(projection) => any_rows(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => any_rows(&alias.input),
        LogicalPlan::Limit(limit) if limit.skip.is_none() => any_rows(&limit.input),
        other => other,
    }
}

/// Refuses what DataFusion's joins would answer otherwise: they take the correlated conditions out of the subquery,
/// past nodes that then see rows which the conditions would have kept from them. `aggregates` of all rows are allowed.
fn correlation_above(pos: Pos, what: &str, plan: &LogicalPlan, aggregates: usize) -> Result<()> {
    let mut obstacles = Vec::new();
    let mut found = 0;
    correlated(plan, &mut |node| match node {
        LogicalPlan::Aggregate(aggregate) if counts_nothing(&aggregate.group_expr) => {
            found += 1;
            if found > aggregates {
                obstacles.push("an aggregate without GROUP BY");
            }
        }
        LogicalPlan::Limit(_) => obstacles.push("LIMIT or OFFSET"),
        LogicalPlan::Window(_) => obstacles.push("a window function"),
        LogicalPlan::Join(join) if join.join_type != JoinType::Inner => {
            obstacles.push("an outer join, INTERSECT or EXCEPT");
        }
        _ => {}
    });
    match obstacles.first() {
        Some(obstacle) => Err(Failure::unsupported(pos, format!("{what} over {obstacle}"))),
        None => Ok(()),
    }
}

/// Is there a group of all rows, which is one also where there are none?
fn counts_nothing(group_by: &[Expr]) -> bool {
    group_by.is_empty() || matches!(group_by, [Expr::GroupingSet(_)])
}

/// Visits the nodes with a reference to the outer query in them or below; are there any?
fn correlated<'p>(plan: &'p LogicalPlan, visit: &mut impl FnMut(&'p LogicalPlan)) -> bool {
    let mut outer = plan.contains_outer_reference();
    for input in plan.inputs() {
        outer |= correlated(input, visit);
    }
    if outer {
        visit(plan);
    }
    outer
}

fn subquery(plan: LogicalPlan, outer_ref_columns: Vec<Expr>) -> Subquery {
    Subquery {
        subquery: Arc::new(plan),
        outer_ref_columns,
        spans: Spans::new(),
    }
}
