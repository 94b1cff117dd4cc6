//! Keeps AND and OR from failing on rows that their left side has decided.
//!
//! Trino goes from left to right, so `x <> 0 AND 10 / x > 5` never divides by zero; DataFusion moves and reorders the
//! terms as it likes. So what can fail in a later term is computed only where the earlier ones leave the answer open:
//! it becomes the branch of a CASE. Earlier terms count only as far as they look at no other relation than the call
//! that can fail, so that filters still sink below joins.

use std::any::Any;
use std::collections::BTreeSet;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Case, Expr, Operator};

use super::logic::balanced;
use super::scope::Field;
use crate::failure::Result;
use crate::functions::kernel::Kernel;

/// How many earlier terms guard a later one: without a bound a long chain grows with its square.
const GUARDS: usize = 16;

/// The relations an expression looks at.
type Relations<'f> = BTreeSet<&'f [String]>;

/// The terms of `op`, each safe to compute in any order.
pub(super) fn left_to_right(op: Operator, terms: Vec<Expr>, fields: &[Field]) -> Result<Vec<Expr>> {
    let mut guards: Vec<(Expr, Relations<'_>)> = Vec::new();
    let mut safe = Vec::with_capacity(terms.len());
    for term in terms {
        let guarded = term.transform_down(|expr| Ok(guard(op, expr, &guards, fields)))?;
        if !guarded.transformed && guards.len() < GUARDS && can_guard(&guarded.data)? {
            guards.push((guarded.data.clone(), relations(&guarded.data, fields)));
        }
        safe.push(guarded.data);
    }
    Ok(safe)
}

fn guard(
    op: Operator,
    expr: Expr,
    guards: &[(Expr, Relations<'_>)],
    fields: &[Field],
) -> Transformed<Expr> {
    let unchanged = |expr, next| Transformed::new(expr, false, next);
    let Expr::ScalarFunction(call) = &expr else {
        // The body of a lambda looks at elements, about which the earlier terms say nothing.
        let next = match &expr {
            Expr::HigherOrderFunction(_) | Expr::Lambda(_) => TreeNodeRecursion::Jump,
            _ => TreeNodeRecursion::Continue,
        };
        return unchanged(expr, next);
    };
    let Some(kernel) = (call.func.inner().as_ref() as &dyn Any)
        .downcast_ref::<Kernel>()
        .filter(|kernel| kernel.raises())
    else {
        return unchanged(expr, TreeNodeRecursion::Continue);
    };
    let seen = relations(&expr, fields);
    let open: Vec<Expr> = guards
        .iter()
        .filter(|(_, looks_at)| looks_at.is_subset(&seen))
        .map(|(guard, _)| guard.clone())
        .collect();
    if seen.is_empty() || open.is_empty() || !can_guard(&expr).unwrap_or(false) {
        return unchanged(expr, TreeNodeRecursion::Continue);
    }
    let open = Box::new(balanced(op, open));
    let open = match op {
        Operator::Or => Expr::IsNotTrue(open),
        _ => Expr::IsNotFalse(open),
    };
    let guarded = if kernel.is_predicate() {
        // DataFusion would turn a CASE of truth values back into AND and OR.
        let args = call.args.iter();
        let args = args.map(|arg| match arg {
            Expr::Literal(..) => arg.clone(),
            _ => only_where(&open, arg.clone()),
        });
        Expr::ScalarFunction(ScalarFunction::new_udf(call.func.clone(), args.collect()))
    } else {
        only_where(&open, expr)
    };
    Transformed::new(guarded, true, TreeNodeRecursion::Jump)
}

fn only_where(open: &Expr, expr: Expr) -> Expr {
    let branch = (Box::new(open.clone()), Box::new(expr));
    Expr::Case(Case::new(None, vec![branch], None))
}

/// May it be computed twice, and inside a CASE?
fn can_guard(expr: &Expr) -> Result<bool> {
    let odd = expr.exists(|expr| {
        Ok(matches!(
            expr,
            Expr::ScalarSubquery(_)
                | Expr::InSubquery(_)
                | Expr::Exists(_)
                | Expr::OuterReferenceColumn(..)
                | Expr::LambdaVariable(_)
        ))
    })?;
    Ok(!odd && !expr.is_volatile())
}

fn relations<'f>(expr: &Expr, fields: &'f [Field]) -> Relations<'f> {
    expr.column_refs()
        .into_iter()
        .map(|column| {
            fields
                .iter()
                .find(|field| field.column == column.name)
                .map_or(&[][..], |field| field.qualifier.as_slice())
        })
        .collect()
}
