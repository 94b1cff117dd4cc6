//! Aggregate calls: each becomes one or two DataFusion aggregates and an expression over their results.
//!
//! `sum(bigint)` runs in decimal(38,0) so that overflow is an error instead of a wrap; `avg(decimal)` is a sum and a
//! count, because DataFusion's has another scale. The same building blocks serve windows ([`super::window`]).

use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::Sort;
use datafusion::logical_expr::{Expr, Operator, binary_expr, lit};

use super::Analyzer;
use super::calls::wrong_arguments;
use super::expr::{Context, Typed};
use crate::failure::{Code, Failure, Pos, Result};
use crate::functions::{aggregates, cast};
use crate::sql::ast::{Call, SortItem};
use crate::types::Type;

/// One aggregate to compute, and the column that will hold it.
#[derive(Debug, Clone)]
pub(crate) struct AggregateSpec {
    pub(crate) column: String,
    pub(crate) expr: Expr,
}

/// One DataFusion aggregate that a Trino aggregate is made of.
pub(crate) struct Part {
    pub(crate) function: &'static str,
    pub(crate) args: Vec<Expr>,
    /// An order the function needs, or `None` for the one written in the call.
    pub(crate) order_by: Option<Vec<Sort>>,
    /// Rows it takes beside those that FILTER lets through.
    pub(crate) filter: Option<Expr>,
}

impl Part {
    fn new(function: &'static str, args: Vec<Expr>) -> Part {
        Part {
            function,
            args,
            order_by: None,
            filter: None,
        }
    }
}

/// Takes a part and gives the expression that stands for its result.
pub(crate) type Emit<'e> = dyn FnMut(&mut Analyzer<'_>, Part) -> Result<Expr> + 'e;

impl Analyzer<'_> {
    pub(super) fn aggregate_call(
        &mut self,
        pos: Pos,
        name: &str,
        call: &Call,
        cx: &mut Context<'_>,
    ) -> Result<Typed> {
        let Some(aggregates) = cx.aggregates.take() else {
            let (code, message) = if cx.place == "aggregate" {
                (
                    Code::NestedAggregation,
                    format!("Cannot nest aggregations inside aggregation '{name}'"),
                )
            } else {
                let message = format!(
                    "{} cannot contain aggregations, window functions or grouping operations: [{name}(...)]",
                    cx.place
                );
                (Code::ExpressionNotScalar, message)
            };
            return Err(Failure::at(code, pos, message));
        };
        let result = self.aggregate_in(pos, name, call, cx, aggregates);
        cx.aggregates = Some(aggregates);
        result
    }

    fn aggregate_in(
        &mut self,
        pos: Pos,
        name: &str,
        call: &Call,
        cx: &mut Context<'_>,
        aggregates: &mut Vec<AggregateSpec>,
    ) -> Result<Typed> {
        let mut inner = Context::plain(cx.scope, "aggregate");
        inner.lambda.clone_from(&cx.lambda);
        let args = self.aggregate_args(call, &mut inner)?;
        let filter = call
            .filter
            .as_ref()
            .map(|filter| self.expr_as(filter, &Type::Boolean, "FILTER expression", &mut inner))
            .transpose()?;
        let order_by = self.sort_keys(&call.order_by, &mut inner)?;
        if name == "grouping" {
            let exprs = args.into_iter().map(|(_, arg)| arg.expr).collect();
            let expr = aggregates::plain("grouping", exprs, false, None, Vec::new())?;
            return Ok(Typed::new(self.collect(aggregates, expr), Type::Integer));
        }
        if call.ignore_nulls.is_some() {
            return Err(Failure::unsupported(pos, "null treatment on an aggregate"));
        }
        let distinct = call.distinct;
        let mut emit = |analyzer: &mut Analyzer<'_>, part: Part| {
            let filter = both(filter.clone(), part.filter);
            let order = part.order_by.unwrap_or_else(|| order_by.clone());
            let expr = aggregates::plain(part.function, part.args, distinct, filter, order)?;
            Ok(analyzer.collect(aggregates, expr))
        };
        self.compute_aggregate(pos, name, call, args, &mut emit)
    }

    fn collect(&mut self, aggregates: &mut Vec<AggregateSpec>, expr: Expr) -> Expr {
        let known = aggregates
            .iter()
            .find(|spec| spec.expr == expr)
            .map(|spec| spec.column.clone());
        let column = known.unwrap_or_else(|| {
            let column = self.fresh("agg");
            aggregates.push(AggregateSpec {
                column: column.clone(),
                expr,
            });
            column
        });
        Expr::Column(datafusion::common::Column::new_unqualified(column))
    }

    pub(super) fn aggregate_args(
        &mut self,
        call: &Call,
        cx: &mut Context<'_>,
    ) -> Result<Vec<(Pos, Typed)>> {
        call.args
            .iter()
            .map(|arg| Ok((arg.pos, self.expr(arg, cx)?)))
            .collect()
    }

    pub(super) fn sort_keys(
        &mut self,
        items: &[SortItem],
        cx: &mut Context<'_>,
    ) -> Result<Vec<Sort>> {
        items
            .iter()
            .map(|item| {
                let key = self.expr(&item.expr, cx)?;
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
                Ok(Sort::new(key.expr, !item.descending, item.nulls_first))
            })
            .collect()
    }

    /// Takes a Trino aggregate apart.
    #[expect(
        clippy::too_many_lines,
        reason = "one arm a case of the dialect, each a plain construction"
    )]
    pub(super) fn compute_aggregate(
        &mut self,
        pos: Pos,
        name: &str,
        call: &Call,
        args: Vec<(Pos, Typed)>,
        emit: &mut Emit<'_>,
    ) -> Result<Typed> {
        if call.star && name != "count" {
            return Err(wrong_arguments(pos, name, &[]));
        }
        let types: Vec<Type> = args.iter().map(|(_, arg)| arg.ty.clone()).collect();
        let values: Vec<Typed> = args.into_iter().map(|(_, arg)| arg).collect();
        let unfit = || wrong_arguments(pos, name, &types);
        match (name, values.as_slice()) {
            ("count", []) => Ok(Typed::new(
                emit(self, Part::new("count", vec![lit(1_i64)]))?,
                Type::Bigint,
            )),
            ("count", [value]) => {
                let value = if value.ty == Type::Unknown {
                    Expr::Literal(ScalarValue::Boolean(None), None)
                } else {
                    value.expr.clone()
                };
                Ok(Typed::new(
                    emit(self, Part::new("count", vec![value]))?,
                    Type::Bigint,
                ))
            }
            ("count_if", [value]) => {
                let filter = Some(
                    self.coerce_checked(value, &Type::Boolean)
                        .ok_or_else(unfit)?,
                );
                if call.distinct {
                    return Err(Failure::unsupported(pos, "count_if(DISTINCT)"));
                }
                let part = Part {
                    filter,
                    ..Part::new("count", vec![lit(1_i64)])
                };
                Ok(Typed::new(emit(self, part)?, Type::Bigint))
            }
            ("sum", [value]) => self.sum(value, emit)?.ok_or_else(unfit),
            ("avg", [value]) => self.average(value, emit)?.ok_or_else(unfit),
            ("min" | "max", [value]) => self.extreme(pos, name, value, emit),
            ("min" | "max", [_, _]) => {
                Err(Failure::unsupported(pos, format!("{name} with a count")))
            }
            ("bool_and" | "every" | "bool_or", [value]) => {
                let value = self
                    .coerce_checked(value, &Type::Boolean)
                    .ok_or_else(unfit)?;
                let function = if name == "bool_or" {
                    "bool_or"
                } else {
                    "bool_and"
                };
                Ok(Typed::boolean(emit(
                    self,
                    Part::new(function, vec![value]),
                )?))
            }
            ("arbitrary" | "any_value", [value]) => {
                let filter = Some(Expr::IsNotNull(Box::new(value.expr.clone())));
                let part = Part {
                    filter,
                    ..Part::new("first_value", vec![value.expr.clone()])
                };
                Ok(Typed::new(emit(self, part)?, value.ty.clone()))
            }
            ("max_by" | "min_by", [value, by]) => self.extreme_by(pos, name, value, by, emit),
            ("array_agg", [value]) => {
                if value.ty == Type::Unknown {
                    return Err(Failure::unsupported(pos, "array_agg of NULL"));
                }
                Ok(Typed::new(
                    emit(self, Part::new("array_agg", vec![value.expr.clone()]))?,
                    Type::array(value.ty.clone()),
                ))
            }
            ("map_agg" | "multimap_agg" | "histogram", _) => {
                self.map_aggregate(pos, name, values, emit)
            }
            ("listagg", [value]) | ("listagg", [value, _]) => {
                self.listagg(value, values.get(1), emit)?.ok_or_else(unfit)
            }
            ("approx_distinct", [value]) | ("approx_distinct", [value, _]) => {
                if let Some(error) = values.get(1) {
                    let error = self
                        .coerce_checked(error, &Type::Double)
                        .ok_or_else(unfit)?;
                    standard_error(pos, error)?;
                }
                let result = emit(self, Part::new("approx_distinct", vec![value.expr.clone()]))?;
                Ok(Typed::new(cast::plain(result, &Type::Bigint), Type::Bigint))
            }
            ("approx_percentile", _) => self.percentile(pos, &values, emit)?.ok_or_else(unfit),
            ("bitwise_and_agg" | "bitwise_or_agg" | "bitwise_xor_agg", [value]) => {
                let function = match name {
                    "bitwise_and_agg" => "bit_and",
                    "bitwise_or_agg" => "bit_or",
                    _ => "bit_xor",
                };
                let value = self
                    .coerce_checked(value, &Type::Bigint)
                    .ok_or_else(unfit)?;
                Ok(Typed::new(
                    emit(self, Part::new(function, vec![value]))?,
                    Type::Bigint,
                ))
            }
            _ => self.statistics(pos, name, &values, emit)?.ok_or_else(unfit),
        }
    }

    fn coerce_checked(&mut self, value: &Typed, ty: &Type) -> Option<Expr> {
        if !crate::types::coerces(&value.ty, ty) {
            return None;
        }
        self.coerce(value.clone(), ty).ok()
    }

    fn sum(&mut self, value: &Typed, emit: &mut Emit<'_>) -> Result<Option<Typed>> {
        let arg = |to: Type| cast::plain(value.expr.clone(), &to);
        Ok(Some(match &value.ty {
            Type::Bigint | Type::Unknown => {
                let sum = emit(self, Part::new("sum", vec![arg(Type::Decimal(38, 0))]))?;
                Typed::new(aggregates::checked_bigint(sum), Type::Bigint)
            }
            Type::Tinyint | Type::Smallint | Type::Integer => Typed::new(
                emit(self, Part::new("sum", vec![arg(Type::Bigint)]))?,
                Type::Bigint,
            ),
            Type::Double => Typed::new(
                emit(self, Part::new("sum", vec![value.expr.clone()]))?,
                Type::Double,
            ),
            Type::Real => {
                let sum = emit(self, Part::new("sum", vec![arg(Type::Double)]))?;
                Typed::new(cast::plain(sum, &Type::Real), Type::Real)
            }
            Type::Decimal(_, scale) => {
                let ty = Type::Decimal(38, *scale);
                let sum = emit(self, Part::new("sum", vec![arg(ty.clone())]))?;
                Typed::new(aggregates::checked_decimal(sum, &ty), ty)
            }
            _ => return Ok(None),
        }))
    }

    fn average(&mut self, value: &Typed, emit: &mut Emit<'_>) -> Result<Option<Typed>> {
        let double = || cast::plain(value.expr.clone(), &Type::Double);
        Ok(Some(match &value.ty {
            Type::Tinyint
            | Type::Smallint
            | Type::Integer
            | Type::Bigint
            | Type::Double
            | Type::Unknown => {
                Typed::new(emit(self, Part::new("avg", vec![double()]))?, Type::Double)
            }
            Type::Real => {
                let avg = emit(self, Part::new("avg", vec![double()]))?;
                Typed::new(cast::plain(avg, &Type::Real), Type::Real)
            }
            Type::Decimal(_, scale) => {
                let wide = Type::Decimal(38, *scale);
                let sum = emit(
                    self,
                    Part::new("sum", vec![cast::plain(value.expr.clone(), &wide)]),
                )?;
                let count = emit(self, Part::new("count", vec![value.expr.clone()]))?;
                Typed::new(
                    aggregates::decimal_average(sum, count, &value.ty),
                    value.ty.clone(),
                )
            }
            _ => return Ok(None),
        }))
    }

    fn extreme(
        &mut self,
        pos: Pos,
        name: &str,
        value: &Typed,
        emit: &mut Emit<'_>,
    ) -> Result<Typed> {
        if matches!(
            value.ty,
            Type::Array(_) | Type::Row(_) | Type::Map(..) | Type::Json | Type::Uuid
        ) {
            return Err(Failure::unsupported(pos, format!("{name} of {}", value.ty)));
        }
        let function = if name == "min" { "min" } else { "max" };
        Ok(Typed::new(
            emit(self, Part::new(function, vec![value.expr.clone()]))?,
            value.ty.clone(),
        ))
    }

    fn extreme_by(
        &mut self,
        pos: Pos,
        name: &str,
        value: &Typed,
        by: &Typed,
        emit: &mut Emit<'_>,
    ) -> Result<Typed> {
        if !by.ty.is_orderable() {
            return Err(Failure::unsupported(pos, format!("{name} by {}", by.ty)));
        }
        let part = Part {
            function: "first_value",
            args: vec![value.expr.clone()],
            order_by: Some(vec![Sort::new(by.expr.clone(), name == "min_by", false)]),
            filter: Some(Expr::IsNotNull(Box::new(by.expr.clone()))),
        };
        Ok(Typed::new(emit(self, part)?, value.ty.clone()))
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "the caller has no further use for it"
    )]
    fn map_aggregate(
        &mut self,
        pos: Pos,
        name: &str,
        values: Vec<Typed>,
        emit: &mut Emit<'_>,
    ) -> Result<Typed> {
        let n = values.len();
        let Some(key) = values.first().cloned() else {
            return Err(wrong_arguments(pos, name, &[]));
        };
        let expected = if name == "histogram" { 1 } else { 2 };
        if n != expected || key.ty.has_float() {
            return Err(Failure::unsupported(
                pos,
                format!("{name} with these arguments"),
            ));
        }
        let filter = Some(Expr::IsNotNull(Box::new(key.expr.clone())));
        let keys = crate::functions::row::make(values.clone());
        let part = Part {
            filter,
            ..Part::new("array_agg", vec![keys.expr])
        };
        let rows = emit(self, part)?;
        aggregates::to_map(name, rows, &values)
    }

    fn listagg(
        &mut self,
        value: &Typed,
        separator: Option<&Typed>,
        emit: &mut Emit<'_>,
    ) -> Result<Option<Typed>> {
        let Some(value) = self.coerce_checked(value, &Type::VARCHAR) else {
            return Ok(None);
        };
        let separator = separator.map_or_else(|| lit(""), |separator| separator.expr.clone());
        let joined = emit(self, Part::new("string_agg", vec![value, separator]))?;
        // DataFusion joins into a large string; texts have one shape here.
        Ok(Some(Typed::new(
            cast::plain(joined, &Type::VARCHAR),
            Type::VARCHAR,
        )))
    }

    fn percentile(
        &mut self,
        pos: Pos,
        values: &[Typed],
        emit: &mut Emit<'_>,
    ) -> Result<Option<Typed>> {
        let [value, fraction] = values else {
            return Err(Failure::unsupported(
                pos,
                "approx_percentile with weights or accuracy",
            ));
        };
        if matches!(fraction.ty, Type::Array(_)) {
            return Err(Failure::unsupported(
                pos,
                "approx_percentile with several fractions",
            ));
        }
        if !value.ty.is_numeric() {
            return Ok(None);
        }
        let Some(fraction) = self.coerce_checked(fraction, &Type::Double) else {
            return Ok(None);
        };
        let fraction = aggregates::constant(fraction).map_err(|failure| failure.or_at(pos))?;
        let part = Part::new(
            "approx_percentile_cont",
            vec![cast::plain(value.expr.clone(), &Type::Double), fraction],
        );
        let result = Typed::new(emit(self, part)?, Type::Double);
        Ok(Some(cast::explicit(
            result,
            &value.ty,
            self.on_failure,
            &self.environment.zone,
        )?))
    }

    fn statistics(
        &mut self,
        pos: Pos,
        name: &str,
        values: &[Typed],
        emit: &mut Emit<'_>,
    ) -> Result<Option<Typed>> {
        let function = match name {
            "stddev" | "stddev_samp" => "stddev",
            "stddev_pop" => "stddev_pop",
            "variance" | "var_samp" => "var",
            "var_pop" => "var_pop",
            "covar_pop" => "covar_pop",
            "covar_samp" => "covar_samp",
            "corr" => "corr",
            "regr_slope" => "regr_slope",
            "regr_intercept" => "regr_intercept",
            "geometric_mean" => "avg",
            _ => return Err(Failure::unsupported(pos, format!("the aggregate {name}"))),
        };
        let two = matches!(
            name,
            "covar_pop" | "covar_samp" | "corr" | "regr_slope" | "regr_intercept"
        );
        if values.len() != 1 + usize::from(two) || !values.iter().all(|value| value.ty.is_numeric())
        {
            return Ok(None);
        }
        let mut args: Vec<Expr> = values
            .iter()
            .map(|value| cast::plain(value.expr.clone(), &Type::Double))
            .collect();
        if name == "geometric_mean" {
            args = args
                .into_iter()
                .map(datafusion::functions::math::expr_fn::ln)
                .collect();
        }
        let result = emit(self, Part::new(function, args))?;
        let result = if name == "geometric_mean" {
            datafusion::functions::math::expr_fn::exp(result)
        } else {
            result
        };
        Ok(Some(Typed::new(result, Type::Double)))
    }
}

/// Standard error of DataFusion's sketch, which has 2^14 registers.
const SKETCH_ERROR: f64 = 1.04 / 128.0;

/// Checks the second argument of `approx_distinct`: the sketch here has one accuracy, and is not asked for a better one.
fn standard_error(pos: Pos, error: Expr) -> Result<()> {
    match aggregates::constant(error).map_err(|failure| failure.or_at(pos))? {
        Expr::Literal(ScalarValue::Float64(Some(error)), _)
            if !(0.0040625..=0.26).contains(&error) =>
        {
            Err(Failure::at(
                Code::InvalidFunctionArgument,
                pos,
                format!("Standard error must be in [0.0040625, 0.26]: {error}"),
            ))
        }
        Expr::Literal(ScalarValue::Float64(Some(error)), _) if error < SKETCH_ERROR => Err(
            Failure::unsupported(pos, format!("a standard error below {SKETCH_ERROR}")),
        ),
        _ => Ok(()),
    }
}

/// Both conditions, where there are two.
pub(super) fn both(left: Option<Expr>, right: Option<Expr>) -> Option<Box<Expr>> {
    match (left, right) {
        (Some(left), Some(right)) => Some(Box::new(binary_expr(left, Operator::And, right))),
        (one, other) => one.or(other).map(Box::new),
    }
}
