//! Analyses expressions: resolves names, finds types by Flink's rules, refuses what is not offered.

use arrow::datatypes::DataType;
use chrono_tz::Tz;
use datafusion_common::ScalarValue;
use datafusion_expr_common::operator::Operator;

use super::coerce::{self, is_numeric, is_text};
use super::group_window::bound;
use super::grouping::Grouping;
use super::literal::literal;
use super::rel::Role;
use super::scope::Scope;
use super::typed::{Kernel, Typed, TypedKind};
use crate::error::{Error, Position};
use crate::functions::{self, Invocation, arithmetic, cast, construct, time};
use crate::sql::ast::{BinaryOp, Call, Clause, Expr, ExprKind, Ident, Literal};
use crate::table::{SqlType, TypeRoot};

/// Analyses expressions over one scope.
pub(crate) struct Analyzer<'a> {
    pub(crate) scope: &'a Scope,
    pub(crate) grouping: Option<&'a Grouping>,
    pub(crate) zone: Tz,
}

impl Analyzer<'_> {
    fn plain(&self) -> Analyzer<'_> {
        Analyzer {
            scope: self.scope,
            grouping: None,
            zone: self.zone,
        }
    }

    /// The typed form of `expr`.
    pub(crate) fn expr(&self, expr: &Expr) -> Result<Typed, Error> {
        if let Some(grouping) = self.grouping {
            if let Some(overs) = &grouping.over {
                return match &expr.kind {
                    ExprKind::Call(call) if overs.takes(call) => {
                        overs.register(self, grouping, call, expr.position)
                    }
                    _ => self.step(expr),
                };
            }
            if let ExprKind::Call(call) = &expr.kind
                && let Some(bound) = bound(self, grouping, call, expr.position)?
            {
                return Ok(bound);
            }
            if let ExprKind::Call(call) = &expr.kind
                && super::is_aggregate(&call.name)
                && call.over.is_none()
            {
                return super::aggregate::register(self, grouping, call, expr.position);
            }
            if let Ok(typed) = self.plain().expr(expr) {
                if let Some(group) = grouping.groups.iter().position(|group| *group == typed) {
                    return Ok(Typed::column(group, typed.ty));
                }
                if grouping.absent.contains(&typed) {
                    return Typed::null(&typed.ty);
                }
                if let TypedKind::Literal(_) = typed.kind {
                    return Ok(typed);
                }
            }
            if let ExprKind::Name(path) = &expr.kind {
                self.name(path)?;
                return Err(Error::validation(
                    format!(
                        "column `{}` is neither grouped nor aggregated",
                        path[path.len() - 1].value
                    ),
                    expr.position,
                ));
            }
        }
        self.step(expr)
    }

    #[expect(clippy::too_many_lines, reason = "one arm a kind of expression")]
    fn step(&self, expr: &Expr) -> Result<Typed, Error> {
        let at = expr.position;
        match &expr.kind {
            ExprKind::Name(path) => self.name(path),
            ExprKind::Literal(value) => literal(value, self.zone, at),
            ExprKind::Not(inner) => {
                let inner = self.boolean(inner)?;
                let ty = inner.ty.clone();
                Ok(Typed {
                    kind: TypedKind::Not(Box::new(inner)),
                    ty,
                })
            }
            ExprKind::Negate(inner) => self.negate(inner, at),
            ExprKind::Binary(op, left, right) => self.binary(*op, left, right, at),
            ExprKind::IsNull(inner, negated) => Ok(is_null(self.expr(inner)?, *negated)),
            ExprKind::IsTruth(inner, truth, negated) => self.is_truth(inner, *truth, *negated),
            ExprKind::IsDistinct(left, right, same) => {
                let (left, right) = self.sides(self.expr(left)?, self.expr(right)?, at)?;
                let op = if *same {
                    Operator::IsNotDistinctFrom
                } else {
                    Operator::IsDistinctFrom
                };
                Ok(compare(op, left, right))
            }
            ExprKind::IsJson(inner, kind, negated) => self.is_json(inner, kind, *negated, at),
            ExprKind::Between(value, low, high, negated) => {
                let value = self.expr(value)?;
                let (left, low) = self.sides(value.clone(), self.expr(low)?, at)?;
                let (right, high) = self.sides(value, self.expr(high)?, at)?;
                let both =
                    compare(Operator::GtEq, left, low).and(compare(Operator::LtEq, right, high));
                Ok(negate_if(both, *negated))
            }
            ExprKind::InList(value, list, negated) => {
                let value = self.expr(value)?;
                let mut any: Option<Typed> = None;
                for item in list {
                    let (left, item) = self.sides(value.clone(), self.expr(item)?, at)?;
                    let same = compare(Operator::Eq, left, item);
                    any = Some(match any {
                        None => same,
                        Some(before) => either(before, same),
                    });
                }
                let any = any.ok_or_else(|| Error::syntax("an empty list after IN", at))?;
                Ok(negate_if(any, *negated))
            }
            ExprKind::InQuery(..) | ExprKind::Exists(_) | ExprKind::Scalar(_) => Err(
                Error::unsupported("a subquery in an expression", at, "; write it as a join"),
            ),
            ExprKind::Like {
                value,
                pattern,
                escape,
                negated,
                similar,
            } => {
                let like = self.like(value, pattern, escape.as_deref(), *similar, at)?;
                Ok(negate_if(like, *negated))
            }
            ExprKind::Case {
                operand,
                branches,
                otherwise,
            } => self.case(operand.as_deref(), branches, otherwise.as_deref(), at),
            ExprKind::Cast { value, to, attempt } => {
                let cast = cast::explicit(self.expr(value)?, to, *attempt, self.zone, at)?;
                Ok(self.no_time_attribute(cast))
            }
            ExprKind::Call(call) => self.call(call, at),
            ExprKind::Field(inner, name) => functions::field(self.expr(inner)?, &name.value, at),
            ExprKind::Index(inner, index) => {
                functions::index(self.expr(inner)?, self.expr(index)?, at)
            }
            ExprKind::Array(items) => construct::array(self.list(items)?, self.zone, at),
            ExprKind::Map(items) => construct::map(self.list(items)?, self.zone, at),
            ExprKind::Row(fields) => Ok(construct::row(self.list(fields)?)),
            ExprKind::Unit(_) => Err(Error::syntax("a unit of time is no value", at)),
            ExprKind::AtTimeZone(..) => Err(Error::unsupported(
                "AT TIME ZONE",
                at,
                "; use CONVERT_TZ or SET 'table.local-time-zone'",
            )),
        }
    }

    fn list(&self, exprs: &[Expr]) -> Result<Vec<Typed>, Error> {
        exprs.iter().map(|expr| self.expr(expr)).collect()
    }

    /// An expression that must be true, false or unknown.
    pub(crate) fn boolean(&self, expr: &Expr) -> Result<Typed, Error> {
        let typed = self.expr(expr)?;
        if typed.is_null_literal() {
            return Typed::null(&SqlType::of(TypeRoot::Boolean));
        }
        if typed.ty.root == TypeRoot::Boolean {
            return Ok(typed);
        }
        Err(Error::validation(
            format!("a condition cannot be {}", typed.ty),
            expr.position,
        ))
    }

    /// A CAST is no row time, even one to the type that the column has.
    fn no_time_attribute(&self, cast: Typed) -> Typed {
        let is_time = match cast.kind {
            TypedKind::Column(column) => {
                let columns = &self.scope.columns;
                columns
                    .get(column)
                    .is_some_and(|(_, field)| field.role == Role::Rowtime)
            }
            _ => false,
        };
        if !is_time {
            return cast;
        }
        let same = Kernel::new("CAST[of a row time]", |args, _| Ok(args[0].clone())).total();
        Typed {
            ty: cast.ty.clone(),
            kind: TypedKind::Call(same, vec![cast]),
        }
    }

    fn name(&self, path: &[Ident]) -> Result<Typed, Error> {
        // A column, or a table's column; what remains are fields of rows.
        let at = path[0].position;
        let by_column = self.scope.find(None, &path[0].value, at)?;
        let (found, used) = match by_column {
            Some(found) => (Some(found), 1),
            None if path.len() > 1 => (
                self.scope.find(Some(&path[0].value), &path[1].value, at)?,
                2,
            ),
            None => (None, 1),
        };
        let Some(index) = found else {
            let name = path
                .iter()
                .map(|part| part.value.as_str())
                .collect::<Vec<_>>()
                .join(".");
            return Err(Error::validation(
                self.unknown(&name, &path[path.len() - 1].value),
                at,
            ));
        };
        let mut typed = Typed::column(index, self.scope.columns[index].1.ty.clone());
        for field in &path[used..] {
            typed = functions::field(typed, &field.value, field.position)?;
        }
        Ok(typed)
    }

    fn unknown(&self, name: &str, column: &str) -> String {
        let near = self
            .scope
            .columns
            .iter()
            .map(|(_, field)| field.name.as_str())
            .find(|known| known.eq_ignore_ascii_case(column) || super::near(known, column));
        match near {
            Some(near) => format!("unknown column `{name}`; did you mean `{near}`?"),
            None => format!("unknown column `{name}`"),
        }
    }

    /// Both sides of a comparison in one type.
    fn sides(&self, left: Typed, right: Typed, at: Position) -> Result<(Typed, Typed), Error> {
        coerce::for_comparison(left, right, self.zone, at)
    }

    fn negate(&self, inner: &Expr, at: Position) -> Result<Typed, Error> {
        if let ExprKind::Literal(Literal::Number(number)) = &inner.kind {
            return literal(&Literal::Number(format!("-{number}")), self.zone, at);
        }
        arithmetic::negate(self.expr(inner)?, at)
    }

    fn binary(
        &self,
        op: BinaryOp,
        left: &Expr,
        right: &Expr,
        at: Position,
    ) -> Result<Typed, Error> {
        let operator = match op {
            BinaryOp::And => return Ok(self.boolean(left)?.and(self.boolean(right)?)),
            BinaryOp::Or => return Ok(either(self.boolean(left)?, self.boolean(right)?)),
            BinaryOp::Eq => Operator::Eq,
            BinaryOp::NotEq => Operator::NotEq,
            BinaryOp::Lt => Operator::Lt,
            BinaryOp::LtEq => Operator::LtEq,
            BinaryOp::Gt => Operator::Gt,
            BinaryOp::GtEq => Operator::GtEq,
            BinaryOp::Concat => {
                let args = vec![self.expr(left)?, self.expr(right)?];
                return self.invoke("CONCAT", args, at);
            }
            _ => return self.arithmetic(op, self.expr(left)?, self.expr(right)?, at),
        };
        let (left, right) = self.sides(self.expr(left)?, self.expr(right)?, at)?;
        if matches!(left.ty.root, TypeRoot::Map(..) | TypeRoot::Multiset(_)) {
            return Err(Error::unsupported(format!("comparing {}", left.ty), at, ""));
        }
        Ok(compare(operator, left, right))
    }

    fn arithmetic(
        &self,
        op: BinaryOp,
        left: Typed,
        right: Typed,
        at: Position,
    ) -> Result<Typed, Error> {
        use TypeRoot::{Date, IntervalDayTime, IntervalYearMonth, Timestamp, TimestampLtz};
        let is_time = |ty: &SqlType| matches!(ty.root, Timestamp(_) | TimestampLtz(_) | Date);
        let is_interval = |ty: &SqlType| matches!(ty.root, IntervalDayTime | IntervalYearMonth);
        if op == BinaryOp::Plus && is_interval(&left.ty) && is_time(&right.ty) {
            return self.arithmetic(op, right, left, at);
        }
        if matches!(op, BinaryOp::Plus | BinaryOp::Minus)
            && is_time(&left.ty)
            && is_interval(&right.ty)
        {
            let months = right.ty.root == IntervalYearMonth;
            let TypedKind::Literal(value) = &right.kind else {
                return Err(Error::unsupported(
                    "an interval that is no literal",
                    at,
                    "; use TIMESTAMPADD",
                ));
            };
            let amount = match value {
                ScalarValue::DurationMillisecond(Some(amount)) => *amount,
                ScalarValue::IntervalYearMonth(Some(amount)) => i64::from(*amount),
                _ => return Typed::null(&left.ty),
            };
            let mut left = left;
            let mut amount = if op == BinaryOp::Minus {
                -amount
            } else {
                amount
            };
            if left.ty.root == Date && !months {
                if amount % time::DAY != 0 {
                    return Err(Error::unsupported(
                        "DATE with an interval of less than a day",
                        at,
                        "; CAST it to TIMESTAMP(3)",
                    ));
                }
                let days = amount / time::DAY;
                amount = days * time::DAY;
            }
            let amount = Typed::literal(amount.into(), SqlType::required(TypeRoot::BigInt));
            left = functions::clock::shift(left, months, amount, at)?;
            return Ok(left);
        }
        // NULL takes the other side's type.
        let (left, right) = match (left.is_null_literal(), right.is_null_literal()) {
            (true, false) => (Typed::null(&right.ty)?, right),
            (false, true) => {
                let null = Typed::null(&left.ty)?;
                (left, null)
            }
            _ => (left, right),
        };
        let described = format!("{} {op:?} {}", left.ty, right.ty);
        arithmetic::arithmetic(op, left, right, at)?
            .ok_or_else(|| Error::unsupported(described, at, "; CAST to numbers"))
    }

    fn is_truth(&self, inner: &Expr, truth: Option<bool>, negated: bool) -> Result<Typed, Error> {
        let inner = self.boolean(inner)?;
        Ok(match truth {
            None => is_null(inner, negated),
            Some(truth) => {
                let op = if negated {
                    Operator::IsDistinctFrom
                } else {
                    Operator::IsNotDistinctFrom
                };
                compare(op, inner, Typed::boolean(truth))
            }
        })
    }

    fn is_json(
        &self,
        inner: &Expr,
        kind: &str,
        negated: bool,
        at: Position,
    ) -> Result<Typed, Error> {
        functions::is_json(self.expr(inner)?, kind, negated, at)
    }

    fn like(
        &self,
        value: &Expr,
        pattern: &Expr,
        escape: Option<&Expr>,
        similar: bool,
        at: Position,
    ) -> Result<Typed, Error> {
        let (value, pattern) = (self.expr(value)?, self.expr(pattern)?);
        let escape = match escape {
            None => None,
            Some(escape) => self
                .expr(escape)?
                .literal_text()
                .and_then(|text| text.chars().next()),
        };
        let Some(text) = pattern.literal_text() else {
            return Err(Error::unsupported(
                "LIKE with a pattern that is no literal",
                at,
                "",
            ));
        };
        let Some(regex) = functions::string::like(text, escape, similar) else {
            return Err(Error::validation(format!("'{text}' is no pattern"), at));
        };
        if !is_text(&value.ty.root) {
            return Err(Error::validation(
                format!("LIKE needs a string, not {}", value.ty),
                at,
            ));
        }
        let ty = SqlType::of(TypeRoot::Boolean).with_nullable(value.ty.nullable);
        let kernel = Kernel::new(
            format!("LIKE[{text},{escape:?},{similar}]"),
            move |args, _| {
                let texts = arrow::array::AsArray::as_string::<i32>(&args[0]);
                let values: arrow::array::BooleanArray = texts
                    .iter()
                    .map(|text| text.map(|text| regex.is_match(text)))
                    .collect();
                Ok(std::sync::Arc::new(values))
            },
        );
        Ok(Typed::call(kernel, vec![value], ty))
    }

    fn case(
        &self,
        operand: Option<&Expr>,
        branches: &[(Expr, Expr)],
        otherwise: Option<&Expr>,
        at: Position,
    ) -> Result<Typed, Error> {
        let operand = operand.map(|operand| self.expr(operand)).transpose()?;
        let mut whens = Vec::new();
        let mut values = Vec::new();
        for (when, then) in branches {
            whens.push(match &operand {
                None => self.boolean(when)?,
                Some(operand) => {
                    let (left, right) =
                        self.sides(operand.clone(), self.expr(when)?, when.position)?;
                    compare(Operator::Eq, left, right)
                }
            });
            values.push(self.expr(then)?);
        }
        if let Some(otherwise) = otherwise {
            values.push(self.expr(otherwise)?);
        }
        let mut ty = coerce::common_of(&values.iter().collect::<Vec<_>>(), "CASE", at)?;
        ty.nullable |= otherwise.is_none();
        let mut values = values
            .into_iter()
            .map(|value| coerce::to(value, &ty, self.zone))
            .collect::<Result<Vec<_>, _>>()?;
        let otherwise = match otherwise {
            Some(_) => values.pop().map(Box::new),
            None => None,
        };
        Ok(Typed {
            kind: TypedKind::Case(whens.into_iter().zip(values).collect(), otherwise),
            ty,
        })
    }

    fn invoke(&self, name: &str, args: Vec<Typed>, at: Position) -> Result<Typed, Error> {
        functions::resolve(Invocation {
            name,
            args,
            unit: None,
            clauses: &[],
            defaults: Vec::new(),
            zone: self.zone,
            at,
        })
    }

    fn call(&self, call: &Call, at: Position) -> Result<Typed, Error> {
        if call.over.is_some() {
            return Err(Error::unsupported(
                format!("{} OVER (…) here", call.name),
                at,
                "; aggregates OVER stand in SELECT, and ROW_NUMBER() with a condition around it",
            ));
        }
        if super::is_aggregate(&call.name) {
            return Err(Error::validation(
                format!("{} is not allowed here", call.name),
                at,
            ));
        }
        if call.star || call.distinct || call.filter.is_some() {
            return Err(Error::validation(
                format!("{} takes no *, DISTINCT or FILTER", call.name),
                at,
            ));
        }
        if call.name == "CURRENT_WATERMARK" {
            return super::watermark::current(self.scope, call, at);
        }
        let mut unit = None;
        let mut args = Vec::with_capacity(call.args.len());
        for arg in &call.args {
            match arg.kind {
                ExprKind::Unit(found) => unit = Some(found),
                _ => args.push(self.expr(arg)?),
            }
        }
        let mut defaults = Vec::new();
        for clause in &call.clauses {
            if let Clause::Default(value, _) = clause {
                defaults.push(self.expr(value)?);
            }
        }
        functions::resolve(Invocation {
            name: &call.name,
            args,
            unit,
            clauses: &call.clauses,
            defaults,
            zone: self.zone,
            at,
        })
    }
}

/// A comparison, AND or OR of two sides of one type.
pub(crate) fn compare(op: Operator, left: Typed, right: Typed) -> Typed {
    let total = matches!(op, Operator::IsDistinctFrom | Operator::IsNotDistinctFrom);
    let nullable = !total && (left.ty.nullable || right.ty.nullable);
    Typed {
        kind: TypedKind::Binary(op, Box::new(left), Box::new(right)),
        ty: SqlType::of(TypeRoot::Boolean).with_nullable(nullable),
    }
}

pub(crate) fn either(left: Typed, right: Typed) -> Typed {
    compare(Operator::Or, left, right)
}

fn negate_if(expr: Typed, negated: bool) -> Typed {
    if !negated {
        return expr;
    }
    let ty = expr.ty.clone();
    Typed {
        kind: TypedKind::Not(Box::new(expr)),
        ty,
    }
}

pub(crate) fn is_null(expr: Typed, negated: bool) -> Typed {
    let inner = Box::new(expr);
    Typed {
        kind: if negated {
            TypedKind::IsNotNull(inner)
        } else {
            TypedKind::IsNull(inner)
        },
        ty: SqlType::required(TypeRoot::Boolean),
    }
}

/// Whether SUM and AVG take the type.
pub(crate) fn can_sum(ty: &SqlType) -> bool {
    is_numeric(&ty.root)
}

/// The whole number a literal stands for.
pub(crate) fn whole(expr: &Typed) -> Option<i64> {
    match &expr.kind {
        TypedKind::Literal(value) => match value.cast_to(&DataType::Int64) {
            Ok(ScalarValue::Int64(value)) => value,
            _ => None,
        },
        _ => None,
    }
}
