//! Operators: which types they take, and where DataFusion's own would answer otherwise.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{InList, Like};
use datafusion::logical_expr::{Expr, Operator, binary_expr};

use super::Analyzer;
use super::expr::{Context, Typed};
use super::logic::balanced;
use crate::failure::{Code, Failure, Pos, Result};
use crate::functions::{arith, compare, datetime, interval, row, string};
use crate::sql::ast::{self, Arith, Compare, Ident};
use crate::types::{Type, coerces, common};

impl Analyzer<'_> {
    pub(super) fn arithmetic(
        &mut self,
        pos: Pos,
        op: Arith,
        left: Typed,
        right: Typed,
    ) -> Result<Typed> {
        let failed = cannot_apply(pos, op.symbol(), &left.ty, &right.ty);
        if left.ty == Type::Unknown && right.ty == Type::Unknown {
            return Err(failed);
        }
        let (left, right) = self.typed_nulls(left, right)?;
        if left.ty.is_numeric() && right.ty.is_numeric() {
            return self.numbers(pos, op, left, right);
        }
        let on_failure = self.on_failure;
        interval::arithmetic(op, left, right, on_failure, &self.environment.zone)
            .map_err(|failure| failure.or_at(pos))?
            .ok_or(failed)
    }

    /// A bare NULL beside an operator takes the other side's type.
    fn typed_nulls(&mut self, left: Typed, right: Typed) -> Result<(Typed, Typed)> {
        if left.ty == Type::Unknown {
            let ty = right.ty.clone();
            return Ok((Typed::new(self.coerce(left, &ty)?, ty), right));
        }
        if right.ty == Type::Unknown {
            let ty = left.ty.clone();
            return Ok((left, Typed::new(self.coerce(right, &ty)?, ty)));
        }
        Ok((left, right))
    }

    fn numbers(&mut self, pos: Pos, op: Arith, left: Typed, right: Typed) -> Result<Typed> {
        let Some(ty) = common(&left.ty, &right.ty) else {
            return Err(cannot_apply(pos, op.symbol(), &left.ty, &right.ty));
        };
        if ty.is_float() {
            let left = self.coerce(left, &ty)?;
            let right = self.coerce(right, &ty)?;
            return Ok(Typed::new(binary_expr(left, float_operator(op), right), ty));
        }
        if ty.is_integer() {
            let left = self.coerce(left, &ty)?;
            let right = self.coerce(right, &ty)?;
            return Ok(Typed::new(
                arith::integers(op, left, right, &ty, self.on_failure),
                ty,
            ));
        }
        let as_decimal = |typed: Typed, analyzer: &mut Self| -> Result<Typed> {
            let (precision, scale) = typed.ty.as_decimal().unwrap_or((38, 0));
            let ty = Type::Decimal(precision, scale);
            Ok(Typed::new(analyzer.coerce(typed, &ty)?, ty))
        };
        let left = as_decimal(left, self)?;
        let right = as_decimal(right, self)?;
        arith::decimals(op, left, right, self.on_failure).map_err(|failure| failure.or_at(pos))
    }

    pub(super) fn negate(
        &mut self,
        pos: Pos,
        inner: &ast::Expr,
        cx: &mut Context<'_>,
    ) -> Result<Typed> {
        let value = self.expr(inner, cx)?;
        arith::negate(value.clone(), self.on_failure).ok_or_else(|| {
            Failure::at(
                Code::TypeMismatch,
                pos,
                format!("Cannot negate {}", value.ty),
            )
        })
    }

    pub(super) fn concatenation(
        &mut self,
        pos: Pos,
        parts: &[ast::Expr],
        cx: &mut Context<'_>,
    ) -> Result<Typed> {
        let mut values = Vec::with_capacity(parts.len());
        for part in parts {
            values.push(self.expr(part, cx)?);
        }
        let mut values = values.into_iter();
        let Some(mut all) = values.next() else {
            return Err(Failure::unsupported(pos, "this concatenation"));
        };
        if all.ty.is_varchar() || all.ty == Type::Unknown {
            // Text is joined in one step: a chain of || would copy quadratically.
            let rest: Vec<Typed> = values.clone().collect();
            if rest
                .iter()
                .all(|value| value.ty.is_varchar() || value.ty == Type::Unknown)
            {
                let mut args = vec![self.coerce(all, &Type::VARCHAR)?];
                for value in rest {
                    args.push(self.coerce(value, &Type::VARCHAR)?);
                }
                return Ok(string::concat(args));
            }
        }
        for value in values {
            all = self.concatenate_two(pos, all, value)?;
        }
        Ok(all)
    }

    fn concatenate_two(&mut self, pos: Pos, left: Typed, right: Typed) -> Result<Typed> {
        let failed = cannot_apply(pos, "||", &left.ty, &right.ty);
        let at = |failure: Failure| failure.or_at(pos);
        let ty = match (&left.ty, &right.ty) {
            (Type::Array(a), Type::Array(b)) => {
                Type::array(common(a, b).ok_or_else(|| failed.clone())?)
            }
            (Type::Array(a), b) if coerces(b, a) => {
                let (array, element) = (left.ty.clone(), (**a).clone());
                let item = self.coerce_value(right, &element).map_err(at)?;
                return Ok(crate::functions::array::concat(
                    vec![
                        left.expr,
                        crate::functions::array::make(vec![item], &element).expr,
                    ],
                    array,
                ));
            }
            (a, Type::Array(b)) if coerces(a, b) => {
                let (array, element) = (right.ty.clone(), (**b).clone());
                let item = self.coerce_value(left, &element).map_err(at)?;
                return Ok(crate::functions::array::concat(
                    vec![
                        crate::functions::array::make(vec![item], &element).expr,
                        right.expr,
                    ],
                    array,
                ));
            }
            (Type::Varbinary, Type::Varbinary) => {
                return Ok(crate::functions::binary::concat(left.expr, right.expr));
            }
            (Type::Varchar(_), Type::Varchar(_)) => {
                return Ok(string::concat(vec![left.expr, right.expr]));
            }
            _ => return Err(failed),
        };
        let left = self.coerce_value(left, &ty).map_err(at)?;
        let right = self.coerce_value(right, &ty).map_err(at)?;
        Ok(crate::functions::array::concat(vec![left, right], ty))
    }

    pub(super) fn comparison(
        &mut self,
        pos: Pos,
        op: Compare,
        left: Typed,
        right: Typed,
    ) -> Result<Typed> {
        if let (Type::Row(a), Type::Row(b)) = (&left.ty, &right.ty) {
            return self.compare_rows(pos, op, &left, &right, a.len(), b.len());
        }
        let (left, right) = self.comparable(pos, op.symbol(), left, right)?;
        let ordered = !matches!(op, Compare::Eq | Compare::NotEq);
        match &left.ty {
            Type::Array(_) | Type::Map(..) => Err(Failure::unsupported(
                pos,
                format!("comparing values of type {}", left.ty),
            )),
            ty if ordered && !ty.is_orderable() => Err(cannot_apply(pos, op.symbol(), ty, ty)),
            ty if ty.is_float() => Ok(Typed::boolean(compare::floats(op, left.expr, right.expr))),
            _ => Ok(Typed::boolean(binary_expr(
                left.expr,
                operator(op),
                right.expr,
            ))),
        }
    }

    /// Both sides in one type, or "Cannot apply operator".
    fn comparable(
        &mut self,
        pos: Pos,
        symbol: &str,
        left: Typed,
        right: Typed,
    ) -> Result<(Typed, Typed)> {
        if let (Type::TimestampTz(a, _), Type::TimestampTz(b, _)) = (&left.ty, &right.ty) {
            // Instants compare whatever zone they are shown in.
            let zone = crate::types::UTC.into();
            let ty = Type::TimestampTz(*a.max(b), zone);
            let at = |typed: Typed| {
                let shape = ty.arrow();
                if typed.ty.arrow() == shape {
                    typed.expr
                } else {
                    Expr::Cast(datafusion::logical_expr::Cast::new(
                        Box::new(typed.expr),
                        shape,
                    ))
                }
            };
            return Ok((
                Typed::new(at(left), ty.clone()),
                Typed::new(at(right), ty.clone()),
            ));
        }
        let Some(ty) = common(&left.ty, &right.ty) else {
            return Err(cannot_apply(pos, symbol, &left.ty, &right.ty));
        };
        if ty == Type::Unknown {
            let null = || Typed::literal(ScalarValue::Boolean(None), Type::Boolean);
            return Ok((null(), null()));
        }
        Ok((
            Typed::new(self.coerce(left, &ty)?, ty.clone()),
            Typed::new(self.coerce(right, &ty)?, ty),
        ))
    }

    fn compare_rows(
        &mut self,
        pos: Pos,
        op: Compare,
        left: &Typed,
        right: &Typed,
        n: usize,
        m: usize,
    ) -> Result<Typed> {
        if n != m {
            return Err(cannot_apply(pos, op.symbol(), &left.ty, &right.ty));
        }
        if !matches!(op, Compare::Eq | Compare::NotEq) {
            return Err(Failure::unsupported(pos, "ordering rows"));
        }
        let mut fields = Vec::with_capacity(n);
        for index in 0..n {
            let a = row::typed_field(left, index);
            let b = row::typed_field(right, index);
            fields.push(self.comparison(pos, Compare::Eq, a, b)?.expr);
        }
        let equal = balanced(Operator::And, fields);
        // A row that is NULL itself has no equality.
        let either_null = binary_expr(
            Expr::IsNull(Box::new(left.expr.clone())),
            Operator::Or,
            Expr::IsNull(Box::new(right.expr.clone())),
        );
        let null = Expr::Literal(ScalarValue::Boolean(None), None);
        let equal = datafusion::logical_expr::when(either_null, null).otherwise(equal)?;
        Ok(Typed::boolean(if op == Compare::Eq {
            equal
        } else {
            Expr::Not(Box::new(equal))
        }))
    }

    pub(super) fn is_distinct(&mut self, pos: Pos, left: Typed, right: Typed) -> Result<Typed> {
        self.not_under_try(pos, "IS DISTINCT FROM")?;
        let (left, right) = self.comparable(pos, "IS DISTINCT FROM", left, right)?;
        if matches!(left.ty, Type::Array(_) | Type::Map(..) | Type::Row(_)) {
            return Err(Failure::unsupported(
                pos,
                format!("comparing values of type {}", left.ty),
            ));
        }
        Ok(Typed::boolean(binary_expr(
            left.expr,
            Operator::IsDistinctFrom,
            right.expr,
        )))
    }

    pub(super) fn between(
        &mut self,
        pos: Pos,
        value: &ast::Expr,
        low: &ast::Expr,
        high: &ast::Expr,
        symmetric: bool,
        cx: &mut Context<'_>,
    ) -> Result<Typed> {
        self.not_under_try(pos, "BETWEEN")?;
        let value = self.expr(value, cx)?;
        let low = self.expr(low, cx)?;
        let high = self.expr(high, cx)?;
        let mut within = |low: Typed, high: Typed| -> Result<Expr> {
            let above = self
                .comparison(pos, Compare::GtEq, value.clone(), low)?
                .expr;
            let below = self
                .comparison(pos, Compare::LtEq, value.clone(), high)?
                .expr;
            Ok(binary_expr(above, Operator::And, below))
        };
        let straight = within(low.clone(), high.clone())?;
        if !symmetric {
            return Ok(Typed::boolean(straight));
        }
        let reversed = within(high, low)?;
        Ok(Typed::boolean(binary_expr(
            straight,
            Operator::Or,
            reversed,
        )))
    }

    pub(super) fn in_list(
        &mut self,
        pos: Pos,
        left: &ast::Expr,
        items: &[ast::Expr],
        cx: &mut Context<'_>,
    ) -> Result<Typed> {
        self.not_under_try(pos, "IN")?;
        let left = self.expr(left, cx)?;
        let items = items
            .iter()
            .map(|item| Ok((item.pos, self.expr(item, cx)?)))
            .collect::<Result<Vec<_>>>()?;
        let mut types = vec![left.ty.clone()];
        types.extend(items.iter().map(|(_, item)| item.ty.clone()));
        let same = self.unify(types);
        let simple = matches!(&same, Ok(ty) if !ty.has_float() && !matches!(ty, Type::Row(_) | Type::Array(_) | Type::Map(..) | Type::Unknown));
        if let (Ok(ty), true) = (&same, simple) {
            let list = items
                .into_iter()
                .map(|(_, item)| self.coerce(item, ty))
                .collect::<Result<_>>()?;
            let left = self.coerce(left, ty)?;
            return Ok(Typed::boolean(Expr::InList(InList::new(
                Box::new(left),
                list,
                false,
            ))));
        }
        if let Err((all, odd)) = &same
            && !matches!((all, odd), (Type::TimestampTz(..), Type::TimestampTz(..)))
        {
            let message = format!(
                "IN value and list items must be the same type or coercible to a common type. Cannot find common type between {} and {odd}, all types (without duplicates): [{all}, {odd}]",
                left.ty
            );
            return Err(Failure::at(Code::TypeMismatch, pos, message));
        }
        let mut equals = Vec::with_capacity(items.len());
        for (at, item) in items {
            equals.push(self.comparison(at, Compare::Eq, left.clone(), item)?.expr);
        }
        Ok(Typed::boolean(balanced(Operator::Or, equals)))
    }

    pub(super) fn like(
        &mut self,
        pos: Pos,
        value: &ast::Expr,
        pattern: &ast::Expr,
        escape: Option<&ast::Expr>,
        cx: &mut Context<'_>,
    ) -> Result<Typed> {
        let value = self.expr_as(value, &Type::VARCHAR, "Left side of LIKE expression", cx)?;
        let pattern = self.expr_as(pattern, &Type::VARCHAR, "Pattern for LIKE expression", cx)?;
        let escape = match escape {
            Some(escape) => match self.expr(escape, cx)?.expr {
                Expr::Literal(ScalarValue::Utf8(Some(text)), _) if text.chars().count() == 1 => {
                    text.chars().next()
                }
                _ => {
                    return Err(Failure::at(
                        Code::InvalidFunctionArgument,
                        escape.pos,
                        "Escape string must be a single character",
                    ));
                }
            },
            None => None,
        };
        let pattern = match pattern {
            Expr::Literal(ScalarValue::Utf8(Some(text)), meta) => {
                let text =
                    string::arrow_like(&text, escape).map_err(|failure| failure.or_at(pos))?;
                Expr::Literal(ScalarValue::Utf8(Some(text)), meta)
            }
            other => string::like_pattern(other, escape),
        };
        Ok(Typed::boolean(Expr::Like(Like::new(
            false,
            Box::new(value),
            Box::new(pattern),
            None,
            false,
        ))))
    }

    pub(super) fn extract(
        &mut self,
        pos: Pos,
        field: &Ident,
        value: &ast::Expr,
        cx: &mut Context<'_>,
    ) -> Result<Typed> {
        let name = match field.value.as_str() {
            "year" | "quarter" | "month" | "week" | "day" | "hour" | "minute" | "second" => {
                field.value.as_str()
            }
            "day_of_month" => "day",
            "day_of_week" | "dow" => "day_of_week",
            "day_of_year" | "doy" => "day_of_year",
            "year_of_week" | "yow" => "year_of_week",
            _ => {
                return Err(Failure::at(
                    Code::SyntaxError,
                    pos,
                    format!("Invalid EXTRACT field: {}", field.written),
                ));
            }
        };
        let value_at = value.pos;
        let value = self.expr(value, cx)?;
        self.invoke(value_at, name, vec![(value_at, value)])
    }

    pub(super) fn at_time_zone(
        &mut self,
        pos: Pos,
        value: &ast::Expr,
        zone: &ast::Expr,
        cx: &mut Context<'_>,
    ) -> Result<Typed> {
        let value = self.expr(value, cx)?;
        let at = zone.pos;
        let zone = self.expr(zone, cx)?;
        datetime::at_time_zone(value, &zone, self.on_failure, &self.environment.zone)
            .map_err(|failure| failure.or_at(if failure_is_zone(&zone) { at } else { pos }))
    }
}

fn failure_is_zone(zone: &Typed) -> bool {
    !matches!(zone.expr, Expr::Literal(..))
}

pub(crate) fn operator(op: Compare) -> Operator {
    match op {
        Compare::Eq => Operator::Eq,
        Compare::NotEq => Operator::NotEq,
        Compare::Lt => Operator::Lt,
        Compare::LtEq => Operator::LtEq,
        Compare::Gt => Operator::Gt,
        Compare::GtEq => Operator::GtEq,
    }
}

fn float_operator(op: Arith) -> Operator {
    match op {
        Arith::Add => Operator::Plus,
        Arith::Subtract => Operator::Minus,
        Arith::Multiply => Operator::Multiply,
        Arith::Divide => Operator::Divide,
        Arith::Modulus => Operator::Modulo,
    }
}

fn cannot_apply(pos: Pos, symbol: &str, left: &Type, right: &Type) -> Failure {
    Failure::at(
        Code::TypeMismatch,
        pos,
        format!("Cannot apply operator: {left} {symbol} {right}"),
    )
}
