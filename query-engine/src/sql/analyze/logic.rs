//! Three-valued logic: AND, OR, NOT and the truth tests.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, Operator, binary_expr};

use super::Analyzer;
use super::expr::{Context, Typed};
use super::guard::left_to_right;
use crate::failure::Result;
use crate::sql::ast::{self, Kind};
use crate::types::Type;

impl Analyzer<'_> {
    pub(super) fn conjunction(
        &mut self,
        terms: &[ast::Expr],
        conjunct: bool,
        cx: &mut Context<'_>,
    ) -> Result<Typed> {
        if !conjunct {
            return self.logical(Operator::And, terms, cx);
        }
        let mut exprs = Vec::with_capacity(terms.len());
        for term in terms {
            cx.conjunct = true;
            exprs.push(self.expr_as(term, &Type::Boolean, "Logical expression term", cx)?);
            cx.conjunct = false;
        }
        let exprs = left_to_right(Operator::And, exprs, &cx.scope.fields)?;
        Ok(Typed::boolean(balanced(Operator::And, exprs)))
    }

    pub(super) fn logical(
        &mut self,
        op: Operator,
        terms: &[ast::Expr],
        cx: &mut Context<'_>,
    ) -> Result<Typed> {
        if let Some(first) = terms.first() {
            self.not_under_try(first.pos, "AND or OR")?;
        }
        let mut exprs = Vec::with_capacity(terms.len());
        for term in terms {
            exprs.push(self.expr_as(term, &Type::Boolean, "Logical expression term", cx)?);
        }
        let exprs = left_to_right(op, exprs, &cx.scope.fields)?;
        Ok(Typed::boolean(balanced(op, exprs)))
    }

    pub(super) fn not(
        &mut self,
        inner: &ast::Expr,
        conjunct: bool,
        cx: &mut Context<'_>,
    ) -> Result<Typed> {
        match inner.kind.as_ref() {
            Kind::InQuery(left, query) => self.in_query(inner.pos, left, query, conjunct, true, cx),
            Kind::Exists(query) => self.exists(inner.pos, query, conjunct, true, cx),
            _ => {
                let inner =
                    self.expr_as(inner, &Type::Boolean, "Value of logical NOT expression", cx)?;
                Ok(Typed::boolean(Expr::Not(Box::new(inner))))
            }
        }
    }

    pub(super) fn truth(
        &mut self,
        inner: &ast::Expr,
        truth: Option<bool>,
        cx: &mut Context<'_>,
    ) -> Result<Typed> {
        self.not_under_try(inner.pos, "IS TRUE")?;
        let inner = Box::new(self.expr_as(inner, &Type::Boolean, "Value of IS predicate", cx)?);
        Ok(Typed::boolean(match truth {
            Some(true) => Expr::IsTrue(inner),
            Some(false) => Expr::IsFalse(inner),
            None => Expr::IsUnknown(inner),
        }))
    }
}

/// A balanced tree of one operator: deep chains cost stack in every later pass.
pub(crate) fn balanced(op: Operator, mut exprs: Vec<Expr>) -> Expr {
    match exprs.len() {
        0 => Expr::Literal(ScalarValue::Boolean(Some(op == Operator::And)), None),
        1 => exprs.swap_remove(0),
        n => {
            let right = exprs.split_off(n / 2);
            binary_expr(balanced(op, exprs), op, balanced(op, right))
        }
    }
}
