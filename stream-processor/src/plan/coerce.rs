//! Flink's rules for the types of operators and for bringing sides to a common type.

use chrono_tz::Tz;

use crate::error::{Error, Position};
use crate::functions::cast;
use crate::plan::typed::Typed;
use crate::sql::ast::BinaryOp;
use crate::table::{SqlType, TypeRoot};

use TypeRoot::{
    BigInt, Char, Date, Decimal, Double, Float, Int, SmallInt, Time, Timestamp, TimestampLtz,
    TinyInt, Varchar,
};

/// Whether values are numbers.
pub(crate) fn is_numeric(root: &TypeRoot) -> bool {
    is_integer(root) || matches!(root, Float | Double | Decimal(..))
}

/// Whether values are whole numbers.
pub(crate) fn is_integer(root: &TypeRoot) -> bool {
    matches!(root, TinyInt | SmallInt | Int | BigInt)
}

/// Whether values are character strings.
pub(crate) fn is_text(root: &TypeRoot) -> bool {
    matches!(root, Char(_) | Varchar(_))
}

/// Whether values are bytes.
pub(crate) fn is_binary(root: &TypeRoot) -> bool {
    matches!(root, TypeRoot::Binary(_) | TypeRoot::Varbinary(_))
}

/// The DECIMAL that holds every value of an integer type.
pub(crate) fn as_decimal(root: &TypeRoot) -> Option<(u8, i8)> {
    Some(match root {
        TinyInt => (3, 0),
        SmallInt => (5, 0),
        Int => (10, 0),
        BigInt => (19, 0),
        Decimal(precision, scale) => (*precision, *scale),
        _ => return None,
    })
}

fn integer_rank(root: &TypeRoot) -> u8 {
    match root {
        TinyInt => 0,
        SmallInt => 1,
        Int => 2,
        _ => 3,
    }
}

/// The least type that holds values of both, or `None` if Flink would refuse.
pub(crate) fn common(left: &SqlType, right: &SqlType) -> Option<SqlType> {
    let nullable = left.nullable || right.nullable;
    let root = match (&left.root, &right.root) {
        (a, b) if a == b => a.clone(),
        (Char(a) | Varchar(a), Char(b) | Varchar(b)) => match (&left.root, &right.root) {
            (Char(_), Char(_)) if a == b => Char(*a),
            _ => Varchar(*a.max(b)),
        },
        (a, b) if is_integer(a) && is_integer(b) => {
            if integer_rank(a) >= integer_rank(b) {
                a.clone()
            } else {
                b.clone()
            }
        }
        (a, b) if is_numeric(a) && is_numeric(b) => match (as_decimal(a), as_decimal(b)) {
            (Some((p1, s1)), Some((p2, s2))) => {
                let scale = s1.max(s2);
                let whole = (p1 as i8 - s1).max(p2 as i8 - s2);
                let (precision, scale) =
                    adjust(i32::from(whole) + i32::from(scale), i32::from(scale));
                Decimal(precision, scale)
            }
            _ => {
                if *a == Float && *b == Float {
                    Float
                } else {
                    Double
                }
            }
        },
        (Timestamp(a), Timestamp(b)) => Timestamp(*a.max(b)),
        (TimestampLtz(a), TimestampLtz(b)) => TimestampLtz(*a.max(b)),
        (Timestamp(a), TimestampLtz(b)) | (TimestampLtz(b), Timestamp(a)) => {
            TimestampLtz(*a.max(b))
        }
        (Date, Timestamp(p)) | (Timestamp(p), Date) => Timestamp(*p),
        (Time(a), Time(b)) => Time(*a.max(b)),
        (
            TypeRoot::Binary(a) | TypeRoot::Varbinary(a),
            TypeRoot::Binary(b) | TypeRoot::Varbinary(b),
        ) => TypeRoot::Varbinary(*a.max(b)),
        (TypeRoot::Array(a), TypeRoot::Array(b)) => TypeRoot::Array(Box::new(common(a, b)?)),
        (TypeRoot::Map(k1, v1), TypeRoot::Map(k2, v2)) => {
            TypeRoot::Map(Box::new(common(k1, k2)?), Box::new(common(v1, v2)?))
        }
        (TypeRoot::Row(a), TypeRoot::Row(b)) if a.len() == b.len() => TypeRoot::Row(
            a.iter()
                .zip(b)
                .map(|((name, a), (_, b))| Some((name.clone(), common(a, b)?)))
                .collect::<Option<_>>()?,
        ),
        _ => return None,
    };
    Some(SqlType { root, nullable })
}

/// The type of a column whose rows are of both types, as Calcite finds it: of two approximate numbers the first counts,
/// and whole numbers become what they stand beside.
pub(crate) fn least_restrictive(left: &SqlType, right: &SqlType) -> Option<SqlType> {
    let is_approximate = |root: &TypeRoot| matches!(root, Float | Double);
    let root = match (&left.root, &right.root) {
        (a, b) if is_approximate(a) && (is_approximate(b) || is_integer(b)) => a,
        (a, b) if is_integer(a) && is_approximate(b) => b,
        _ => return common(left, right),
    };
    let nullable = left.nullable || right.nullable;
    Some(SqlType::of(root.clone()).with_nullable(nullable))
}

/// The type that all of `types` share; literal NULLs do not count.
pub(crate) fn common_of(exprs: &[&Typed], what: &str, at: Position) -> Result<SqlType, Error> {
    let mut found: Option<SqlType> = None;
    let mut nullable = false;
    for expr in exprs {
        if expr.is_null_literal() {
            nullable = true;
            continue;
        }
        found = Some(match found {
            None => expr.ty.clone(),
            Some(before) => common(&before, &expr.ty).ok_or_else(|| {
                Error::validation(
                    format!("{what}: {before} and {} have no common type", expr.ty),
                    at,
                )
            })?,
        });
    }
    let mut found = found.unwrap_or_else(SqlType::string);
    found.nullable |= nullable;
    Ok(found)
}

/// Whether one is a wall clock and the other an instant.
fn crosses_zone(left: &SqlType, right: &SqlType) -> bool {
    matches!(
        (&left.root, &right.root),
        (Timestamp(_) | Date, TimestampLtz(_)) | (TimestampLtz(_), Timestamp(_) | Date)
    )
}

/// `expr` as `ty`, by a cast that Flink does unasked; the caller has checked that it does. Wall clocks and texts are
/// those of `zone`.
pub(crate) fn to(expr: Typed, ty: &SqlType, zone: Tz) -> Result<Typed, Error> {
    if expr.is_null_literal() {
        return Typed::null(ty);
    }
    if expr.ty.root == ty.root {
        return Ok(expr);
    }
    let ty = ty.with_nullable(expr.ty.nullable);
    cast::implicit(expr, &ty, zone)
}

/// Brings both sides of a comparison to one type; texts are instants by the clock of `zone`.
pub(crate) fn for_comparison(
    left: Typed,
    right: Typed,
    zone: Tz,
    at: Position,
) -> Result<(Typed, Typed), Error> {
    // Flink reads the string when it is compared with a number or a time.
    let reads = |text: &Typed, other: &Typed| {
        is_text(&text.ty.root)
            && (is_numeric(&other.ty.root)
                || matches!(
                    other.ty.root,
                    Date | Time(_) | Timestamp(_) | TimestampLtz(_) | TypeRoot::Boolean
                ))
    };
    if reads(&left, &right) && !left.is_null_literal() {
        let target = comparison_target(&right.ty);
        let left = cast::explicit(left, &target, false, zone, at)?;
        return for_comparison(left, right, zone, at);
    }
    if reads(&right, &left) && !right.is_null_literal() {
        let target = comparison_target(&left.ty);
        let right = cast::explicit(right, &target, false, zone, at)?;
        return for_comparison(left, right, zone, at);
    }
    if crosses_zone(&left.ty, &right.ty) {
        return Err(Error::unsupported(
            format!("the comparison of {} with {}", left.ty, right.ty),
            at,
            "; CAST one side",
        ));
    }
    let ty = common_of(&[&left, &right], "a comparison", at)?;
    Ok((to(left, &ty, zone)?, to(right, &ty, zone)?))
}

fn comparison_target(ty: &SqlType) -> SqlType {
    if is_numeric(&ty.root) && !matches!(ty.root, Double | Float) {
        // A string may hold a fraction.
        return if is_integer(&ty.root) {
            ty.with_nullable(true)
        } else {
            SqlType::of(Decimal(38, 18))
        };
    }
    ty.with_nullable(true)
}

/// The type of `left op right` for numbers.
pub(crate) fn arithmetic(op: BinaryOp, left: &SqlType, right: &SqlType) -> Option<SqlType> {
    let nullable = left.nullable || right.nullable;
    let (a, b) = (&left.root, &right.root);
    if !is_numeric(a) || !is_numeric(b) {
        return None;
    }
    let root = match (as_decimal(a), as_decimal(b)) {
        (Some(_), Some(_)) if is_integer(a) && is_integer(b) => {
            if op == BinaryOp::Modulo {
                // MOD has the type of its divisor.
                b.clone()
            } else {
                return common(left, right);
            }
        }
        (Some((p1, s1)), Some((p2, s2))) => {
            let (p1, s1, p2, s2) = (i32::from(p1), i32::from(s1), i32::from(p2), i32::from(s2));
            let (precision, scale) = match op {
                BinaryOp::Plus | BinaryOp::Minus => {
                    let scale = s1.max(s2);
                    adjust((p1 - s1).max(p2 - s2) + scale + 1, scale)
                }
                BinaryOp::Multiply => adjust(p1 + p2 + 1, s1 + s2),
                BinaryOp::Divide => {
                    let scale = 6.max(s1 + p2 + 1);
                    adjust(p1 - s1 + s2 + scale, scale)
                }
                _ => {
                    let scale = s1.max(s2);
                    adjust((p1 - s1).min(p2 - s2) + scale, scale)
                }
            };
            Decimal(precision, scale)
        }
        _ if *a == Float && *b == Float => Float,
        _ => Double,
    };
    Some(SqlType { root, nullable })
}

/// Cuts to 38 digits, keeping whole digits and at least 6 of the scale.
pub(crate) fn adjust(precision: i32, scale: i32) -> (u8, i8) {
    if precision <= 38 {
        return (precision as u8, scale as i8);
    }
    let whole = precision - scale;
    let kept = scale.min(6).max(38 - whole);
    (38, kept as i8)
}
