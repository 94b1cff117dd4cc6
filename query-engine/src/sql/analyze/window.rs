//! Window functions.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{NullTreatment, Sort, WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::{
    Expr, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition,
};

use super::Analyzer;
use super::aggregate::{Part, both};
use super::calls::{not_found, wrong_arguments};
use super::expr::{Context, Typed};
use crate::failure::{Code, Failure, Pos, Result};
use crate::functions::{self, aggregates, cast};
use crate::sql::ast::{self, Bound, Call, FrameUnit, Kind, Over};
use crate::types::Type;

/// One window function to compute, and the column that will hold it.
#[derive(Debug, Clone)]
pub(crate) struct WindowSpec {
    pub(crate) column: String,
    pub(crate) expr: Expr,
}

/// The parts of an OVER clause.
struct Analyzed {
    partition_by: Vec<Expr>,
    order_by: Vec<Sort>,
    frame: WindowFrame,
}

impl Analyzer<'_> {
    pub(super) fn window_call(
        &mut self,
        pos: Pos,
        name: &str,
        call: &Call,
        cx: &mut Context<'_>,
    ) -> Result<Typed> {
        let Some(windows) = cx.windows.take() else {
            let (code, message) = if cx.place == "window" {
                (Code::NestedWindow, "Cannot nest window functions or row pattern measures inside window specification".to_owned())
            } else {
                (
                    Code::ExpressionNotScalar,
                    format!(
                        "{} cannot contain aggregations, window functions or grouping operations: [{name}(...)]",
                        cx.place
                    ),
                )
            };
            return Err(Failure::at(code, pos, message));
        };
        let result = self.window_in(pos, name, call, cx, windows);
        cx.windows = Some(windows);
        result
    }

    fn window_in(
        &mut self,
        pos: Pos,
        name: &str,
        call: &Call,
        cx: &mut Context<'_>,
        windows: &mut Vec<WindowSpec>,
    ) -> Result<Typed> {
        if call.distinct {
            return Err(Failure::unsupported(pos, "DISTINCT in a window function"));
        }
        if !call.order_by.is_empty() {
            return Err(Failure::unsupported(
                pos,
                "ORDER BY in the arguments of a window function",
            ));
        }
        let over = self.over(call, cx)?;
        let args = self.aggregate_args(call, cx)?;
        let filter = call
            .filter
            .as_ref()
            .map(|filter| self.expr_as(filter, &Type::Boolean, "FILTER expression", cx))
            .transpose()?;
        let treatment = call.ignore_nulls.map(|ignore| {
            if ignore {
                NullTreatment::IgnoreNulls
            } else {
                NullTreatment::RespectNulls
            }
        });
        if functions::is_aggregate(name) {
            if treatment.is_some() {
                return Err(Failure::unsupported(pos, "null treatment on an aggregate"));
            }
            let mut emit = |analyzer: &mut Analyzer<'_>, part: Part| {
                if part.order_by.is_some() {
                    return Err(Failure::unsupported(
                        pos,
                        format!("{name} as a window function"),
                    ));
                }
                let function =
                    WindowFunctionDefinition::AggregateUDF(aggregates::find(part.function)?);
                let filter = both(filter.clone(), part.filter);
                Ok(analyzer.push_window(windows, function, part.args, &over, filter, None))
            };
            return self.compute_aggregate(pos, name, call, args, &mut emit);
        }
        if !functions::is_window(name) {
            let known = functions::is_scalar(name);
            let message = format!("Function '{name}' is not a window function");
            return Err(if known {
                Failure::at(Code::FunctionNotAggregate, pos, message)
            } else {
                not_found(pos, name, &[])
            });
        }
        if filter.is_some() {
            return Err(Failure::unsupported(pos, "FILTER on a window function"));
        }
        self.ranking(pos, name, args, &over, treatment, windows)
    }

    fn push_window(
        &mut self,
        windows: &mut Vec<WindowSpec>,
        fun: WindowFunctionDefinition,
        args: Vec<Expr>,
        over: &Analyzed,
        filter: Option<Box<Expr>>,
        null_treatment: Option<NullTreatment>,
    ) -> Expr {
        let params = WindowFunctionParams {
            args,
            partition_by: over.partition_by.clone(),
            order_by: over.order_by.clone(),
            window_frame: over.frame.clone(),
            filter,
            null_treatment,
            distinct: false,
        };
        let expr = Expr::WindowFunction(Box::new(WindowFunction { fun, params }));
        let known = windows
            .iter()
            .find(|spec| spec.expr == expr)
            .map(|spec| spec.column.clone());
        let column = known.unwrap_or_else(|| {
            let column = self.fresh("window");
            windows.push(WindowSpec {
                column: column.clone(),
                expr,
            });
            column
        });
        Expr::Column(datafusion::common::Column::new_unqualified(column))
    }

    fn ranking(
        &mut self,
        pos: Pos,
        name: &str,
        args: Vec<(Pos, Typed)>,
        over: &Analyzed,
        treatment: Option<NullTreatment>,
        windows: &mut Vec<WindowSpec>,
    ) -> Result<Typed> {
        let types: Vec<Type> = args.iter().map(|(_, arg)| arg.ty.clone()).collect();
        let values: Vec<Typed> = args.into_iter().map(|(_, arg)| arg).collect();
        let (exprs, ty, count) = match (name, values.as_slice()) {
            ("row_number" | "rank" | "dense_rank", []) => (vec![], Type::Bigint, true),
            ("percent_rank" | "cume_dist", []) => (vec![], Type::Double, false),
            ("ntile", [n]) if n.ty.is_integer() => (
                vec![constant(pos, cast::plain(n.expr.clone(), &Type::Bigint))?],
                Type::Bigint,
                true,
            ),
            ("first_value" | "last_value", [value]) => {
                (vec![value.expr.clone()], value.ty.clone(), false)
            }
            ("nth_value", [value, n]) if n.ty.is_integer() => {
                let n = constant(pos, cast::plain(n.expr.clone(), &Type::Bigint))?;
                // DataFusion would count from the end.
                if matches!(n, Expr::Literal(ScalarValue::Int64(Some(n)), _) if n < 1) {
                    return Err(offset_below(pos, 1));
                }
                (vec![value.expr.clone(), n], value.ty.clone(), false)
            }
            ("lag" | "lead", [value, rest @ ..]) if rest.len() <= 2 => {
                if over.order_by.is_empty() {
                    return Err(Failure::at(
                        Code::MissingOrderBy,
                        pos,
                        format!("{name} function requires an ORDER BY window clause"),
                    ));
                }
                (self.offset_args(pos, value, rest)?, value.ty.clone(), false)
            }
            _ => return Err(wrong_arguments(pos, name, &types)),
        };
        let function = WindowFunctionDefinition::WindowUDF(aggregates::find_window(name)?);
        let column = self.push_window(windows, function, exprs, over, None, treatment);
        Ok(Typed::new(
            if count {
                cast::plain(column, &Type::Bigint)
            } else {
                column
            },
            ty,
        ))
    }

    fn offset_args(&mut self, pos: Pos, value: &Typed, rest: &[Typed]) -> Result<Vec<Expr>> {
        let mut args = vec![value.expr.clone()];
        if let Some(offset) = rest.first() {
            if !offset.ty.is_integer() {
                return Err(Failure::at(
                    Code::TypeMismatch,
                    pos,
                    "Offset must be an integer",
                ));
            }
            let offset = constant(pos, cast::plain(offset.expr.clone(), &Type::Bigint))?;
            if matches!(offset, Expr::Literal(ScalarValue::Int64(Some(n)), _) if n < 0) {
                return Err(offset_below(pos, 0));
            }
            args.push(offset);
        }
        if let Some(default) = rest.get(1) {
            if !crate::types::coerces(&default.ty, &value.ty) {
                return Err(Failure::at(
                    Code::TypeMismatch,
                    pos,
                    format!(
                        "The default value must be a {} (actual: {})",
                        value.ty, default.ty
                    ),
                ));
            }
            let default = self
                .coerce_value(default.clone(), &value.ty)
                .map_err(|failure| failure.or_at(pos))?;
            args.push(constant(pos, default)?);
        }
        Ok(args)
    }

    fn over(&mut self, call: &Call, cx: &mut Context<'_>) -> Result<Analyzed> {
        let window = match &call.over {
            Some(Over::Spec(window)) => window.clone(),
            Some(Over::Named(name)) => named(cx.named_windows, name)?,
            None => return Err(Failure::new(Code::MissingOver, "no OVER clause")),
        };
        let window = match &window.base {
            Some(base) => {
                let base = named(cx.named_windows, base)?;
                if !window.partition_by.is_empty()
                    || (!base.order_by.is_empty() && !window.order_by.is_empty())
                    || base.frame.is_some()
                {
                    return Err(Failure::at(
                        Code::InvalidWindowReference,
                        window.pos,
                        "WINDOW specification redefines what it refers to",
                    ));
                }
                let order_by = if window.order_by.is_empty() {
                    base.order_by
                } else {
                    window.order_by
                };
                ast::Window {
                    partition_by: base.partition_by,
                    order_by,
                    ..window
                }
            }
            None => window,
        };
        let place = std::mem::replace(&mut cx.place, "window");
        let aliases = cx.aliases.take();
        let result = self.window_parts(&window, cx);
        cx.place = place;
        cx.aliases = aliases;
        result
    }

    fn window_parts(&mut self, window: &ast::Window, cx: &mut Context<'_>) -> Result<Analyzed> {
        let mut partition_by = Vec::new();
        for expr in &window.partition_by {
            partition_by.push(self.expr(expr, cx)?.expr);
        }
        let order_by = self.sort_keys(&window.order_by, cx)?;
        let frame = match &window.frame {
            None => WindowFrame::new(if order_by.is_empty() {
                None
            } else {
                Some(false)
            }),
            Some(frame) => self.frame(frame, &order_by)?,
        };
        Ok(Analyzed {
            partition_by,
            order_by,
            frame,
        })
    }

    fn frame(&mut self, frame: &ast::Frame, order_by: &[Sort]) -> Result<WindowFrame> {
        let offset = |bound: &Bound| matches!(bound, Bound::Preceding(_) | Bound::Following(_));
        let (units, error) = match frame.unit {
            FrameUnit::Rows => (WindowFrameUnits::Rows, None),
            FrameUnit::Range if offset(&frame.start) || frame.end.as_ref().is_some_and(offset) => {
                return Err(Failure::unsupported(
                    frame.pos,
                    "a RANGE frame with an offset",
                ));
            }
            FrameUnit::Range => (WindowFrameUnits::Range, None),
            FrameUnit::Groups if order_by.is_empty() => (
                WindowFrameUnits::Groups,
                Some("Window frame of type GROUPS requires ORDER BY"),
            ),
            FrameUnit::Groups => (WindowFrameUnits::Groups, None),
        };
        if let Some(message) = error {
            return Err(Failure::at(Code::MissingOrderBy, frame.pos, message));
        }
        let start = self.bound(&frame.start)?;
        let end = match &frame.end {
            Some(end) => self.bound(end)?,
            None => WindowFrameBound::CurrentRow,
        };
        let invalid =
            |message: &str| Err(Failure::at(Code::InvalidWindowFrame, frame.pos, message));
        if matches!(frame.start, Bound::UnboundedFollowing) {
            return invalid("Window frame start cannot be UNBOUNDED FOLLOWING");
        }
        if matches!(frame.end, Some(Bound::UnboundedPreceding)) {
            return invalid("Window frame end cannot be UNBOUNDED PRECEDING");
        }
        let rank = |bound: &Bound| match bound {
            Bound::UnboundedPreceding | Bound::Preceding(_) => 0,
            Bound::CurrentRow => 1,
            Bound::Following(_) | Bound::UnboundedFollowing => 2,
        };
        if rank(&frame.start) > frame.end.as_ref().map_or(1, rank) {
            return invalid("Window frame starting later than it ends");
        }
        Ok(WindowFrame::new_bounds(units, start, end))
    }

    fn bound(&mut self, bound: &Bound) -> Result<WindowFrameBound> {
        let count = |expr: &ast::Expr| match expr.kind.as_ref() {
            Kind::Integer(digits) => digits
                .parse::<u64>()
                .map(|n| ScalarValue::UInt64(Some(n)))
                .map_err(|_| {
                    Failure::at(
                        Code::InvalidWindowFrame,
                        expr.pos,
                        "Window frame offset is out of range",
                    )
                }),
            _ => Err(Failure::unsupported(
                expr.pos,
                "a window frame offset that is not an integer literal",
            )),
        };
        Ok(match bound {
            Bound::UnboundedPreceding => WindowFrameBound::Preceding(ScalarValue::UInt64(None)),
            Bound::UnboundedFollowing => WindowFrameBound::Following(ScalarValue::UInt64(None)),
            Bound::CurrentRow => WindowFrameBound::CurrentRow,
            Bound::Preceding(expr) => WindowFrameBound::Preceding(count(expr)?),
            Bound::Following(expr) => WindowFrameBound::Following(count(expr)?),
        })
    }
}

fn offset_below(pos: Pos, least: i64) -> Failure {
    Failure::at(
        Code::InvalidFunctionArgument,
        pos,
        format!("Offset must be at least {least}"),
    )
}

fn constant(pos: Pos, expr: Expr) -> Result<Expr> {
    aggregates::constant(expr).map_err(|failure| failure.or_at(pos))
}

fn named(windows: &[(ast::Ident, ast::Window)], name: &ast::Ident) -> Result<ast::Window> {
    windows
        .iter()
        .find(|(known, _)| known.value == name.value)
        .map(|(_, window)| window.clone())
        .ok_or_else(|| {
            Failure::at(
                Code::InvalidWindowReference,
                name.pos,
                format!("Cannot resolve WINDOW name {}", name.written),
            )
        })
}
