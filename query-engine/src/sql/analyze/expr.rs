//! Scalar expressions: each becomes a DataFusion expression together with its Trino type.

use std::collections::HashMap;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::LambdaVariable;
use datafusion::logical_expr::{Case, Expr, Operator};

use super::Analyzer;
use super::aggregate::AggregateSpec;
use super::scope::Scope;
use super::window::WindowSpec;
use crate::failure::{Code, Failure, Pos, Result};
use crate::functions::kernel::OnFailure;
use crate::functions::{cast, row};
use crate::sql::ast::{self, Ident, Kind};
use crate::types::{Type, changes_zone, coerces, common};

/// An expression and its type.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Typed {
    pub(crate) expr: Expr,
    pub(crate) ty: Type,
}

impl Typed {
    pub(crate) fn new(expr: Expr, ty: Type) -> Typed {
        Typed { expr, ty }
    }

    pub(crate) fn literal(value: ScalarValue, ty: Type) -> Typed {
        Typed::new(Expr::Literal(value, None), ty)
    }

    pub(crate) fn boolean(expr: Expr) -> Typed {
        Typed::new(expr, Type::Boolean)
    }
}

/// What an expression may contain, and where its aggregates and windows are collected.
pub(crate) struct Context<'s> {
    pub(crate) scope: &'s Scope<'s>,
    /// Where aggregates go; `None` where they are not allowed.
    pub(crate) aggregates: Option<&'s mut Vec<AggregateSpec>>,
    pub(crate) windows: Option<&'s mut Vec<WindowSpec>>,
    pub(crate) named_windows: &'s [(Ident, ast::Window)],
    /// Output names that ORDER BY may use.
    pub(crate) aliases: Option<&'s HashMap<String, Vec<Typed>>>,
    pub(crate) lambda: Vec<(String, LambdaVariable, Type)>,
    /// How errors name this place: "WHERE clause".
    pub(crate) place: &'s str,
    /// Is the expression itself (not something inside it) a conjunct of a filter?
    pub(crate) conjunct: bool,
}

impl<'s> Context<'s> {
    pub(crate) fn plain(scope: &'s Scope<'s>, place: &'s str) -> Context<'s> {
        Context {
            scope,
            aggregates: None,
            windows: None,
            named_windows: &[],
            aliases: None,
            lambda: Vec::new(),
            place,
            conjunct: false,
        }
    }

    pub(crate) fn filter(scope: &'s Scope<'s>, place: &'s str) -> Context<'s> {
        Context {
            conjunct: true,
            ..Context::plain(scope, place)
        }
    }
}

fn zones_mixed() -> Failure {
    Failure::new(
        Code::NotSupported,
        "mixing time zones in one column is not supported",
    )
}

impl Analyzer<'_> {
    #[expect(
        clippy::too_many_lines,
        reason = "one arm a case of the dialect, each a plain construction"
    )]
    pub(crate) fn expr(&mut self, expr: &ast::Expr, cx: &mut Context<'_>) -> Result<Typed> {
        let conjunct = std::mem::replace(&mut cx.conjunct, false);
        let pos = expr.pos;
        match expr.kind.as_ref() {
            Kind::And(terms) => self.conjunction(terms, conjunct, cx),
            Kind::Or(terms) => self.logical(Operator::Or, terms, cx),
            Kind::Not(inner) => self.not(inner, conjunct, cx),
            Kind::InQuery(left, query) => self.in_query(pos, left, query, conjunct, false, cx),
            Kind::Exists(query) => self.exists(pos, query, conjunct, false, cx),
            Kind::Quantified {
                op,
                all,
                left,
                query,
            } => self.quantified(pos, *op, *all, left, query, cx),
            Kind::Subquery(query) => self.scalar_subquery(pos, query, cx),
            Kind::Ident(name) => self.identifier(name, cx),
            Kind::Dereference(base, name) => self.dereference(base, name, cx),
            Kind::Parameter(index) => self.parameter(*index, pos, cx),
            Kind::Negate(inner) => self.negate(pos, inner, cx),
            Kind::Arith(op, left, right) => {
                let left = self.expr(left, cx)?;
                let right = self.expr(right, cx)?;
                self.arithmetic(pos, *op, left, right)
            }
            Kind::Concat(parts) => self.concatenation(pos, parts, cx),
            Kind::Compare(op, left, right) => {
                let left = self.expr(left, cx)?;
                let right = self.expr(right, cx)?;
                self.comparison(pos, *op, left, right)
            }
            Kind::Distinct(left, right) => {
                let left = self.expr(left, cx)?;
                let right = self.expr(right, cx)?;
                self.is_distinct(pos, left, right)
            }
            Kind::IsNull(inner) => {
                let inner = self.expr(inner, cx)?;
                self.not_under_try(pos, "IS NULL")?;
                Ok(Typed::boolean(Expr::IsNull(Box::new(inner.expr))))
            }
            Kind::IsTruth(inner, truth) => self.truth(inner, *truth, cx),
            Kind::Between {
                expr,
                low,
                high,
                symmetric,
            } => self.between(pos, expr, low, high, *symmetric, cx),
            Kind::InList(left, items) => self.in_list(pos, left, items, cx),
            Kind::Like {
                expr,
                pattern,
                escape,
            } => self.like(pos, expr, pattern, escape.as_ref(), cx),
            Kind::Case {
                operand,
                whens,
                otherwise,
            } => self.case(pos, operand.as_ref(), whens, otherwise.as_ref(), cx),
            Kind::Cast { expr, ty, try_cast } => self.cast_expr(expr, ty, *try_cast, cx),
            Kind::Call(call) => self.call(pos, call, cx),
            Kind::Lambda(..) => Err(Failure::at(
                Code::TypeMismatch,
                pos,
                "Lambda expression should always be used inside a function",
            )),
            Kind::Array(items) => self.array(pos, items, cx),
            Kind::Row(items) => self.row(items, cx),
            Kind::Subscript(base, index) => self.subscript(pos, base, index, cx),
            Kind::Extract(field, value) => self.extract(pos, field, value, cx),
            Kind::AtTimeZone(value, zone) => self.at_time_zone(pos, value, zone, cx),
            Kind::Special(word, precision) => self.special(pos, word, *precision),
            Kind::Json {
                function,
                input,
                path,
                returning,
            } => {
                let input = self.expr(input, cx)?;
                self.json_call(pos, function, input, path, returning.as_ref())
            }
            _ => self.literal(expr),
        }
    }

    /// Analyzes and converts to a wanted type, or says what was found instead.
    pub(crate) fn expr_as(
        &mut self,
        expr: &ast::Expr,
        want: &Type,
        what: &str,
        cx: &mut Context<'_>,
    ) -> Result<Expr> {
        let typed = self.expr(expr, cx)?;
        if !coerces(&typed.ty, want) {
            return Err(Failure::at(
                Code::TypeMismatch,
                expr.pos,
                format!("{what} must evaluate to a {want} (actual: {})", typed.ty),
            ));
        }
        self.coerce(typed, want)
            .map_err(|failure| failure.or_at(expr.pos))
    }

    /// Converts without being asked; the caller has checked that Trino would.
    pub(crate) fn coerce(&mut self, typed: Typed, to: &Type) -> Result<Expr> {
        Ok(cast::to(typed, to, self.on_failure, &self.environment.zone)?.expr)
    }

    /// Converts without being asked where the value itself comes out: Trino's would keep the session's zone beside
    /// others of the column, and a column has one zone here. (In a comparison only instants count.)
    pub(crate) fn coerce_value(&mut self, typed: Typed, to: &Type) -> Result<Expr> {
        if changes_zone(&typed.ty, to, &self.environment.zone) {
            return Err(zones_mixed());
        }
        self.coerce(typed, to)
    }

    /// The common type of several expressions.
    pub(crate) fn unify(
        &self,
        types: impl IntoIterator<Item = Type>,
    ) -> std::result::Result<Type, (Type, Type)> {
        let mut all = Type::Unknown;
        for ty in types {
            all = common(&all, &ty).ok_or((all, ty))?;
        }
        Ok(all)
    }

    /// `TRY` yields NULL for the whole expression, and nulls pushed up from inside are the same thing only while every
    /// operation on the way is NULL when an argument is.
    pub(crate) fn not_under_try(&self, pos: Pos, what: &str) -> Result<()> {
        if self.on_failure == OnFailure::Null {
            return Err(Failure::unsupported(pos, format!("{what} inside TRY")));
        }
        Ok(())
    }

    fn case(
        &mut self,
        pos: Pos,
        operand: Option<&ast::Expr>,
        whens: &[(ast::Expr, ast::Expr)],
        otherwise: Option<&ast::Expr>,
        cx: &mut Context<'_>,
    ) -> Result<Typed> {
        self.not_under_try(pos, "CASE")?;
        let operand = operand.map(|operand| self.expr(operand, cx)).transpose()?;
        let mut conditions = Vec::new();
        let mut results = Vec::new();
        for (when, then) in whens {
            conditions.push(match &operand {
                Some(operand) => {
                    let value = self.expr(when, cx)?;
                    self.comparison(when.pos, ast::Compare::Eq, operand.clone(), value)?
                        .expr
                }
                None => self.expr_as(when, &Type::Boolean, "CASE WHEN clause", cx)?,
            });
            results.push((then.pos, self.expr(then, cx)?));
        }
        if let Some(otherwise) = otherwise {
            results.push((otherwise.pos, self.expr(otherwise, cx)?));
        }
        let (ty, mut results) =
            self.same_type(results, "All CASE results must be the same type")?;
        let otherwise = if otherwise.is_some() {
            results.pop().map(Box::new)
        } else {
            None
        };
        let whens = conditions
            .into_iter()
            .zip(results)
            .map(|(when, then)| (Box::new(when), Box::new(then)))
            .collect();
        Ok(Typed::new(
            Expr::Case(Case::new(None, whens, otherwise)),
            ty,
        ))
    }

    /// Brings expressions to their common type.
    pub(crate) fn same_type(
        &mut self,
        values: Vec<(Pos, Typed)>,
        what: &str,
    ) -> Result<(Type, Vec<Expr>)> {
        let ty = self
            .unify(values.iter().map(|(_, value)| value.ty.clone()))
            .map_err(|(all, odd)| {
                let pos = values
                    .iter()
                    .find(|(_, value)| value.ty == odd)
                    .map(|(pos, _)| *pos);
                let failure = match (&all, &odd) {
                    (Type::TimestampTz(..), Type::TimestampTz(..)) => zones_mixed(),
                    _ => Failure::new(Code::TypeMismatch, format!("{what}: {all} vs {odd}")),
                };
                Failure { pos, ..failure }
            })?;
        let values = values
            .into_iter()
            .map(|(pos, value)| {
                self.coerce_value(value, &ty)
                    .map_err(|failure| failure.or_at(pos))
            })
            .collect::<Result<_>>()?;
        Ok((ty, values))
    }

    fn cast_expr(
        &mut self,
        inner: &ast::Expr,
        ty: &ast::TypeName,
        try_cast: bool,
        cx: &mut Context<'_>,
    ) -> Result<Typed> {
        let to = super::types::resolve(ty, &self.environment.zone)?;
        let on_failure = if try_cast {
            OnFailure::Null
        } else {
            self.on_failure
        };
        let value = self.expr(inner, cx)?;
        cast::explicit(value, &to, on_failure, &self.environment.zone)
            .map_err(|failure| failure.or_at(inner.pos))
    }

    fn array(&mut self, pos: Pos, items: &[ast::Expr], cx: &mut Context<'_>) -> Result<Typed> {
        self.not_under_try(pos, "an array constructor")?;
        let items = items
            .iter()
            .map(|item| Ok((item.pos, self.expr(item, cx)?)))
            .collect::<Result<Vec<_>>>()?;
        let (ty, items) = self.same_type(items, "All ARRAY elements must be the same type")?;
        Ok(crate::functions::array::make(items, &ty))
    }

    fn row(&mut self, items: &[ast::Expr], cx: &mut Context<'_>) -> Result<Typed> {
        if let Some(first) = items.first() {
            self.not_under_try(first.pos, "a row constructor")?;
        }
        let items = items
            .iter()
            .map(|item| self.expr(item, cx))
            .collect::<Result<Vec<_>>>()?;
        Ok(row::make(items))
    }

    fn subscript(
        &mut self,
        pos: Pos,
        base: &ast::Expr,
        index: &ast::Expr,
        cx: &mut Context<'_>,
    ) -> Result<Typed> {
        let value = self.expr(base, cx)?;
        match value.ty.clone() {
            Type::Row(fields) => {
                let Kind::Integer(digits) = index.kind.as_ref() else {
                    return Err(Failure::at(
                        Code::ExpressionNotConstant,
                        index.pos,
                        "Subscript expression on ROW requires a constant index",
                    ));
                };
                let at = digits
                    .parse::<usize>()
                    .ok()
                    .filter(|at| (1..=fields.len()).contains(at))
                    .ok_or_else(|| {
                        Failure::at(
                            Code::InvalidFunctionArgument,
                            index.pos,
                            format!(
                                "Subscript index out of bounds {digits}: max value is {}",
                                fields.len()
                            ),
                        )
                    })?;
                let ty = fields[at - 1].1.clone();
                Ok(Typed::new(row::field(value.expr, at - 1, &ty), ty))
            }
            Type::Array(element) => {
                let index = self.expr_as(index, &Type::Bigint, "Array subscript", cx)?;
                Ok(crate::functions::array::subscript(
                    value.expr,
                    index,
                    &element,
                    self.on_failure,
                ))
            }
            Type::Map(key, item) => {
                // The length of a text does not matter for finding it.
                let wanted = if key.is_varchar() {
                    Type::VARCHAR
                } else {
                    (*key).clone()
                };
                let index = self.expr_as(index, &wanted, "Map subscript", cx)?;
                Ok(crate::functions::map::subscript(
                    value.expr,
                    index,
                    (&key, &item),
                    self.on_failure,
                ))
            }
            other => Err(Failure::at(
                Code::TypeMismatch,
                pos,
                format!("Cannot subscript {other}"),
            )),
        }
    }
}
