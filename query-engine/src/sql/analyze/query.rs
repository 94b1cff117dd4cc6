//! Queries as a whole: WITH, the body, ORDER BY, OFFSET and LIMIT.

use std::collections::HashMap;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};

use super::Analyzer;
use super::expr::{Context, Typed};
use super::scope::{Relation, Scope};
use crate::failure::{Code, Failure, Result};
use crate::sql::ast::{Body, Expr as AstExpr, Kind, Query, SortItem};

impl Analyzer<'_> {
    pub(crate) fn query(&mut self, query: &Query, outer: Option<&Scope<'_>>) -> Result<Relation> {
        self.count_relation(query.pos)?;
        if query.recursive
            && query
                .with
                .iter()
                .any(|cte| mentions(&cte.query, &cte.name.value))
        {
            return Err(Failure::unsupported(query.pos, "a recursive query"));
        }
        let depth = self.ctes.len();
        for cte in &query.with {
            let level = HashMap::from([(cte.name.value.clone(), cte.clone())]);
            if self.ctes[depth..]
                .iter()
                .any(|known| known.contains_key(&cte.name.value))
            {
                return Err(Failure::at(
                    Code::DuplicateNamedQuery,
                    cte.name.pos,
                    format!(
                        "WITH query name '{}' specified more than once",
                        cte.name.value
                    ),
                ));
            }
            self.ctes.push(level);
        }
        let result = self.query_body(query, outer);
        self.ctes.truncate(depth);
        result
    }

    fn query_body(&mut self, query: &Query, outer: Option<&Scope<'_>>) -> Result<Relation> {
        if let Some(pos) = query.with_ties {
            return Err(Failure::unsupported(pos, "FETCH FIRST … WITH TIES"));
        }
        let mut relation = match &query.body {
            Body::Select(select) => self.select(select, &query.order_by, outer)?,
            other => {
                let relation = self.body(other, outer)?;
                self.sorted(relation, &query.order_by)?
            }
        };
        relation.plan = self.limited(relation.plan, query)?;
        Ok(relation)
    }

    /// ORDER BY of anything but a SELECT sees only the output columns.
    fn sorted(&mut self, relation: Relation, order_by: &[SortItem]) -> Result<Relation> {
        if order_by.is_empty() {
            return Ok(relation);
        }
        let scope = Scope::new(relation.fields.clone(), None);
        let outputs: Vec<Typed> = relation
            .fields
            .iter()
            .map(super::scope::Field::typed)
            .collect();
        let mut sorts = Vec::with_capacity(order_by.len());
        for item in order_by {
            let key = match ordinal(&item.expr, outputs.len())? {
                Some(index) => outputs[index].clone(),
                None => self.expr(&item.expr, &mut Context::plain(&scope, "ORDER BY clause"))?,
            };
            sorts.push(self.sort(item, key)?);
        }
        let plan = LogicalPlanBuilder::from(relation.plan)
            .sort(sorts)?
            .build()?;
        Ok(Relation {
            plan,
            fields: relation.fields,
        })
    }

    pub(super) fn sort(
        &mut self,
        item: &SortItem,
        key: Typed,
    ) -> Result<datafusion::logical_expr::SortExpr> {
        if !key.ty.is_orderable() {
            return Err(Failure::at(
                Code::TypeMismatch,
                item.expr.pos,
                format!(
                    "Type {} is not orderable, and therefore cannot be used in ORDER BY",
                    key.ty
                ),
            ));
        }
        Ok(key.expr.sort(!item.descending, item.nulls_first))
    }

    fn limited(&mut self, plan: LogicalPlan, query: &Query) -> Result<LogicalPlan> {
        let skip = query
            .offset
            .as_ref()
            .map(|expr| self.row_count(expr, "OFFSET"))
            .transpose()?
            .unwrap_or(0);
        let fetch = query
            .limit
            .as_ref()
            .map(|expr| self.row_count(expr, "LIMIT"))
            .transpose()?;
        if skip == 0 && fetch.is_none() {
            return Ok(plan);
        }
        Ok(LogicalPlanBuilder::from(plan).limit(skip, fetch)?.build()?)
    }

    fn row_count(&mut self, expr: &AstExpr, clause: &str) -> Result<usize> {
        let scope = Scope::empty(None);
        let value = self.expr(expr, &mut Context::plain(&scope, clause))?;
        let count = match value.expr {
            Expr::Literal(ScalarValue::Int32(Some(n)), _) => usize::try_from(n).ok(),
            Expr::Literal(ScalarValue::Int64(Some(n)), _) => usize::try_from(n).ok(),
            _ => None,
        };
        count.ok_or_else(|| {
            Failure::at(
                Code::TypeMismatch,
                expr.pos,
                format!("{clause} row count must be a non-negative bigint"),
            )
        })
    }

    /// The plan with exactly the visible columns, in order.
    pub(crate) fn visible(&mut self, relation: Relation) -> Result<LogicalPlan> {
        let exprs: Vec<Expr> = relation
            .fields
            .iter()
            .filter(|field| !field.hidden)
            .map(super::scope::Field::expr)
            .collect();
        Ok(LogicalPlanBuilder::from(relation.plan)
            .project(exprs)?
            .build()?)
    }
}

/// `ORDER BY 2`: the index meant, checked against the number of outputs.
pub(super) fn ordinal(expr: &AstExpr, n_outputs: usize) -> Result<Option<usize>> {
    let Kind::Integer(digits) = expr.kind.as_ref() else {
        return Ok(None);
    };
    match digits.parse::<usize>() {
        Ok(at) if (1..=n_outputs).contains(&at) => Ok(Some(at - 1)),
        _ => Err(Failure::at(
            Code::InvalidColumnReference,
            expr.pos,
            format!("ORDER BY position {digits} is not in select list"),
        )),
    }
}

fn mentions(query: &Query, name: &str) -> bool {
    let mut found = false;
    super::tables::walk(query, &mut |table, _| {
        found |= table.parts.len() == 1 && table.parts[0].value == name
    });
    found
}
