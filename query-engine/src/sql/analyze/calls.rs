//! Function calls: special forms, lambdas, aggregates, windows, and everything in the function table.

use std::sync::Arc;

use datafusion::arrow::datatypes::Field;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{HigherOrderFunction, Lambda, LambdaVariable};
use datafusion::logical_expr::{Case, Expr};

use super::Analyzer;
use super::expr::{Context, Typed};
use crate::failure::{Code, Failure, Pos, Result};
use crate::functions::kernel::OnFailure;
use crate::functions::{self, Invocation, array, datetime, json, session};
use crate::sql::ast::{self, Call, Kind};
use crate::types::{Type, coerces};

impl Analyzer<'_> {
    pub(super) fn call(&mut self, pos: Pos, call: &Call, cx: &mut Context<'_>) -> Result<Typed> {
        let name = match call.name.parts.as_slice() {
            [only] => only.value.as_str(),
            [a, b, last] if a.value == "system" && b.value == "builtin" => last.value.as_str(),
            _ => return Err(not_found(pos, &call.name.text(), &[])),
        };
        if call.over.is_some() {
            return self.window_call(pos, name, call, cx);
        }
        if functions::is_aggregate(name) {
            return self.aggregate_call(pos, name, call, cx);
        }
        if functions::is_window(name) {
            return Err(Failure::at(
                Code::MissingOver,
                pos,
                format!("Window function {name} requires an OVER clause"),
            ));
        }
        self.only_plain(pos, name, call)?;
        match name {
            "if" => self.if_call(pos, &call.args, cx),
            "coalesce" => self.coalesce(pos, &call.args, cx),
            "nullif" => self.nullif(pos, &call.args, cx),
            "try" => self.try_call(pos, &call.args, cx),
            "typeof" => self.type_of(pos, &call.args, cx),
            "transform" | "filter" | "any_match" | "all_match" | "none_match" => {
                self.lambda_call(pos, name, &call.args, cx)
            }
            _ => {
                if let Some(lambda) = call
                    .args
                    .iter()
                    .find(|arg| matches!(*arg.kind, Kind::Lambda(..)))
                {
                    return Err(Failure::unsupported(
                        lambda.pos,
                        format!("the lambda function {name}"),
                    ));
                }
                let mut args = Vec::with_capacity(call.args.len());
                for arg in &call.args {
                    args.push((arg.pos, self.expr(arg, cx)?));
                }
                self.invoke(pos, name, args)
            }
        }
    }

    fn only_plain(&self, pos: Pos, name: &str, call: &Call) -> Result<()> {
        if call.star
            || call.distinct
            || call.filter.is_some()
            || !call.order_by.is_empty()
            || call.ignore_nulls.is_some()
        {
            if functions::is_scalar(name) {
                let message = format!(
                    "{name} is not an aggregate: DISTINCT, FILTER, ORDER BY and null treatment do not apply"
                );
                return Err(Failure::at(Code::FunctionNotAggregate, pos, message));
            }
            return Err(not_found(pos, name, &[]));
        }
        Ok(())
    }

    /// Calls a function of the table with arguments already analyzed.
    pub(crate) fn invoke(
        &mut self,
        pos: Pos,
        name: &str,
        args: Vec<(Pos, Typed)>,
    ) -> Result<Typed> {
        if let Some(special) = self.irregular(pos, name, &args)? {
            return Ok(special);
        }
        let types: Vec<Type> = args.iter().map(|(_, arg)| arg.ty.clone()).collect();
        let Some(found) = functions::resolve(name, &types) else {
            if functions::is_scalar(name) {
                return Err(wrong_arguments(pos, name, &types));
            }
            return Err(not_found(pos, name, &types));
        };
        if self.on_failure == OnFailure::Null && !found.function.strict {
            return Err(Failure::unsupported(pos, format!("{name} inside TRY")));
        }
        let mut exprs = Vec::with_capacity(args.len());
        for ((at, arg), want) in args.into_iter().zip(&found.types) {
            exprs.push(
                self.coerce_value(arg, want)
                    .map_err(|failure| failure.or_at(at))?,
            );
        }
        let invocation = Invocation {
            args: exprs,
            types: found.types,
            returns: found.returns,
            on_failure: self.on_failure,
            zone: Arc::clone(&self.environment.zone),
        };
        found
            .function
            .call(invocation)
            .map_err(|failure| failure.or_at(pos))
    }

    /// Functions whose result type no pattern says.
    fn irregular(&mut self, pos: Pos, name: &str, args: &[(Pos, Typed)]) -> Result<Option<Typed>> {
        let failed = |failure: Failure| failure.or_at(pos);
        let values: Vec<Typed> = args.iter().map(|(_, arg)| arg.clone()).collect();
        let zone = Arc::clone(&self.environment.zone);
        match name {
            "greatest" | "least" if !args.is_empty() => {
                let (ty, exprs) = self.same_type(
                    args.to_vec(),
                    &format!("All {name} arguments must be the same type"),
                )?;
                if !ty.is_orderable() || matches!(ty, Type::Array(_) | Type::Row(_)) {
                    return Err(Failure::unsupported(pos, format!("{name} of {ty}")));
                }
                Ok(Some(functions::compare::extreme(name, exprs, ty)))
            }
            "concat"
                if values
                    .iter()
                    .any(|value| matches!(value.ty, Type::Array(_))) =>
            {
                let (ty, exprs) =
                    self.same_type(args.to_vec(), "All concat arguments must be the same type")?;
                Ok(Some(array::concat(exprs, ty)))
            }
            "at_timezone" if values.len() == 2 => {
                datetime::at_time_zone(values[0].clone(), &values[1], self.on_failure, &zone)
                    .map(Some)
                    .map_err(failed)
            }
            "with_timezone" if values.len() == 2 => {
                datetime::with_timezone(values[0].clone(), &values[1], self.on_failure)
                    .map(Some)
                    .map_err(failed)
            }
            "from_unixtime" => datetime::from_unixtime(&values, self.on_failure, &zone)
                .map(Some)
                .map_err(failed),
            "now" if args.is_empty() => self.special(pos, "current_timestamp", None).map(Some),
            "version" | "current_timezone" | "current_user" | "query_id" if args.is_empty() => {
                Ok(Some(session::value(name, self.environment)))
            }
            "json_extract" | "json_extract_scalar" | "json_size" if values.len() == 2 => {
                json::path_call(name, values, self.on_failure)
                    .map(Some)
                    .map_err(failed)
            }
            "map" | "zip" | "map_from_entries" | "map_entries" => {
                let exprs = array::irregular(name, values, self.on_failure).map_err(failed)?;
                Ok(Some(exprs))
            }
            _ => Ok(None),
        }
    }

    pub(super) fn special(&mut self, pos: Pos, word: &str, precision: Option<u8>) -> Result<Typed> {
        session::special(word, precision, self.environment).map_err(|failure| failure.or_at(pos))
    }

    fn if_call(&mut self, pos: Pos, args: &[ast::Expr], cx: &mut Context<'_>) -> Result<Typed> {
        self.not_under_try(pos, "IF")?;
        let (condition, then, otherwise) = match args {
            [condition, then] => (condition, then, None),
            [condition, then, otherwise] => (condition, then, Some(otherwise)),
            _ => {
                return Err(Failure::at(
                    Code::InvalidFunctionArgument,
                    pos,
                    "Invalid number of arguments for 'if' function",
                ));
            }
        };
        let condition = self.expr_as(condition, &Type::Boolean, "IF condition", cx)?;
        let mut values = vec![(then.pos, self.expr(then, cx)?)];
        if let Some(otherwise) = otherwise {
            values.push((otherwise.pos, self.expr(otherwise, cx)?));
        }
        let (ty, mut values) = self.same_type(values, "Result types for IF must be the same")?;
        let otherwise = if otherwise.is_some() {
            values.pop().map(Box::new)
        } else {
            None
        };
        let whens = values
            .into_iter()
            .map(|then| (Box::new(condition.clone()), Box::new(then)))
            .collect();
        Ok(Typed::new(
            Expr::Case(Case::new(None, whens, otherwise)),
            ty,
        ))
    }

    fn coalesce(&mut self, pos: Pos, args: &[ast::Expr], cx: &mut Context<'_>) -> Result<Typed> {
        self.not_under_try(pos, "COALESCE")?;
        if args.len() < 2 {
            return Err(Failure::at(
                Code::InvalidFunctionArgument,
                pos,
                "The 'coalesce' function must have at least two arguments",
            ));
        }
        let values = args
            .iter()
            .map(|arg| Ok((arg.pos, self.expr(arg, cx)?)))
            .collect::<Result<Vec<_>>>()?;
        let (ty, values) = self.same_type(values, "All COALESCE operands must be the same type")?;
        Ok(Typed::new(
            datafusion::functions::core::expr_fn::coalesce(values),
            ty,
        ))
    }

    fn nullif(&mut self, pos: Pos, args: &[ast::Expr], cx: &mut Context<'_>) -> Result<Typed> {
        self.not_under_try(pos, "NULLIF")?;
        let [first, second] = args else {
            return Err(Failure::at(
                Code::InvalidFunctionArgument,
                pos,
                "Invalid number of arguments for 'nullif' function",
            ));
        };
        let first = self.expr(first, cx)?;
        let second = self.expr(second, cx)?;
        let equal = self
            .comparison(pos, ast::Compare::Eq, first.clone(), second)?
            .expr;
        let null = self.coerce(Typed::literal(ScalarValue::Null, Type::Unknown), &first.ty)?;
        let case = datafusion::logical_expr::when(equal, null).otherwise(first.expr)?;
        Ok(Typed::new(case, first.ty))
    }

    fn try_call(&mut self, pos: Pos, args: &[ast::Expr], cx: &mut Context<'_>) -> Result<Typed> {
        let [inner] = args else {
            return Err(Failure::at(
                Code::InvalidFunctionArgument,
                pos,
                "The 'try' function must have exactly one argument",
            ));
        };
        let before = std::mem::replace(&mut self.on_failure, OnFailure::Null);
        let result = self.expr(inner, cx);
        self.on_failure = before;
        result
    }

    fn type_of(&mut self, pos: Pos, args: &[ast::Expr], cx: &mut Context<'_>) -> Result<Typed> {
        let [inner] = args else {
            return Err(wrong_arguments(pos, "typeof", &[]));
        };
        let ty = self.expr(inner, cx)?.ty.to_string();
        Ok(super::literal::text_literal(&ty)).map(|typed| Typed::new(typed.expr, Type::VARCHAR))
    }

    /// `transform(a, x -> …)` and its kin, on DataFusion's higher-order functions.
    fn lambda_call(
        &mut self,
        pos: Pos,
        name: &str,
        args: &[ast::Expr],
        cx: &mut Context<'_>,
    ) -> Result<Typed> {
        self.not_under_try(pos, name)?;
        let (value, params, body) = match args {
            [value, lambda] => match lambda.kind.as_ref() {
                Kind::Lambda(params, body) if params.len() == 1 => (value, params, body),
                _ => {
                    return Err(Failure::at(
                        Code::TypeMismatch,
                        lambda.pos,
                        format!("{name} needs a lambda of one argument"),
                    ));
                }
            },
            _ => return Err(wrong_arguments(pos, name, &[])),
        };
        let value = self.expr(value, cx)?;
        let Type::Array(element) = value.ty.clone() else {
            return Err(wrong_arguments(pos, name, &[value.ty]));
        };
        let param = self.fresh(&params[0].value);
        let field = Arc::new(Field::new(&param, element.arrow(), true));
        let variable = LambdaVariable::new(param.clone(), Some(field));
        cx.lambda
            .push((params[0].value.clone(), variable, (*element).clone()));
        let (aggregates, windows) = (cx.aggregates.take(), cx.windows.take());
        let result = self.expr(body, cx);
        cx.aggregates = aggregates;
        cx.windows = windows;
        cx.lambda.pop();
        let mut result = result?;
        if name != "transform" {
            if !coerces(&result.ty, &Type::Boolean) {
                return Err(Failure::at(
                    Code::TypeMismatch,
                    body.pos,
                    format!(
                        "{name}: the lambda must return boolean (actual: {})",
                        result.ty
                    ),
                ));
            }
            result = Typed::boolean(self.coerce(result, &Type::Boolean)?);
        }
        array::higher_order(name, value, param, result).map_err(|failure| failure.or_at(pos))
    }

    pub(super) fn json_call(
        &mut self,
        pos: Pos,
        function: &str,
        input: Typed,
        path: &str,
        returning: Option<&ast::TypeName>,
    ) -> Result<Typed> {
        self.not_under_try(pos, function)?;
        let returning = match returning {
            Some(ty) => super::types::resolve(ty, &self.environment.zone)?,
            None => Type::VARCHAR,
        };
        json::standard_call(function, input, path, &returning, &self.environment.zone)
            .map_err(|failure| failure.or_at(pos))
    }
}

/// Builds a call of one of DataFusion's higher-order functions.
pub(crate) fn higher_order(
    function: Arc<datafusion::logical_expr::HigherOrderUDF>,
    value: Expr,
    param: String,
    body: Expr,
) -> Expr {
    let lambda = Expr::Lambda(Lambda::new(vec![param], body));
    Expr::HigherOrderFunction(HigherOrderFunction::new(function, vec![value, lambda]))
}

fn list(types: &[Type]) -> String {
    types
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

pub(super) fn not_found(pos: Pos, name: &str, _types: &[Type]) -> Failure {
    Failure::at(
        Code::FunctionNotFound,
        pos,
        format!("Function '{name}' not registered"),
    )
}

pub(super) fn wrong_arguments(pos: Pos, name: &str, types: &[Type]) -> Failure {
    let expected = functions::signatures(name).join(", ");
    let message = format!(
        "Unexpected parameters ({}) for function {name}. Expected: {expected}",
        list(types)
    );
    Failure::at(Code::FunctionNotFound, pos, message)
}
