//! Casts, written and implicit, with Trino's rounding, ranges and spellings.

mod from_text;
mod json;
mod numbers;
mod times;

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, ListArray, MapArray, StringArray, StructArray,
};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Cast, Expr};

use super::datetime::text;
use super::kernel::{Args, Kernel, OnFailure};
use crate::failure::{Code, Failure, Result};
use crate::sql::analyze::Typed;
use crate::types::{Type, list_field, row_fields};

pub(crate) use json::text_for;
pub(crate) use times::{raw, rounded};

/// A conversion of whole arrays.
pub(crate) type Convert = Arc<dyn Fn(&ArrayRef) -> Result<ArrayRef> + Send + Sync>;

/// How one type becomes another.
enum Step {
    /// Same values, same shape.
    Same,
    /// Arrow's own cast gives Trino's answer.
    Arrow,
    Run(Convert),
}

/// Arrow's cast, for pairs where it cannot fail or round.
pub(crate) fn plain(expr: Expr, to: &Type) -> Expr {
    match expr {
        Expr::Literal(value, meta) => match value.cast_to(&to.arrow()) {
            Ok(value) => Expr::Literal(value, meta),
            Err(_) => Expr::Cast(Cast::new(Box::new(Expr::Literal(value, meta)), to.arrow())),
        },
        other => Expr::Cast(Cast::new(Box::new(other), to.arrow())),
    }
}

/// Converts without being asked, after the analyzer has found that Trino would.
pub(crate) fn to(value: Typed, to: &Type, on_failure: OnFailure, zone: &Arc<str>) -> Result<Typed> {
    explicit(value, to, on_failure, zone)
}

/// `CAST(value AS to)`.
pub(crate) fn explicit(
    value: Typed,
    to: &Type,
    on_failure: OnFailure,
    zone: &Arc<str>,
) -> Result<Typed> {
    // A timestamp with zone keeps its zone through a change of precision.
    let to = match (&value.ty, to) {
        (Type::TimestampTz(_, zone), Type::TimestampTz(precision, _)) => {
            Type::TimestampTz(*precision, Arc::clone(zone))
        }
        _ => to.clone(),
    };
    if value.ty == Type::Unknown {
        return Ok(match value.expr {
            Expr::Literal(..) => Typed::literal(ScalarValue::try_from(&to.arrow())?, to),
            other => Typed::new(Expr::Cast(Cast::new(Box::new(other), to.arrow())), to),
        });
    }
    let key = format!("{:?}>{to:?}", value.ty);
    match step(&value.ty, &to, zone)? {
        Step::Same => Ok(Typed::new(value.expr, to)),
        Step::Arrow => Ok(Typed::new(plain(value.expr, &to), to)),
        Step::Run(convert) => {
            if let Expr::Literal(scalar, _) = &value.expr
                && let Ok(converted) = convert(&scalar.to_array()?)
            {
                return Ok(Typed::literal(
                    ScalarValue::try_from_array(&converted, 0)?,
                    to,
                ));
            }
            let run = move |args: &Args| convert(args.array(0));
            let expr = Kernel::call(
                "cast",
                key,
                to.arrow(),
                on_failure,
                vec![value.expr],
                Arc::new(run),
            );
            Ok(Typed::new(expr, to))
        }
    }
}

/// Converts one constant now.
pub(crate) fn constant(
    from: &Type,
    value: ScalarValue,
    to: &Type,
    zone: &Arc<str>,
) -> Result<ScalarValue> {
    match step(from, to, zone)? {
        Step::Same => Ok(value),
        Step::Arrow => Ok(value.cast_to(&to.arrow())?),
        Step::Run(convert) => Ok(ScalarValue::try_from_array(
            &convert(&value.to_array()?)?,
            0,
        )?),
    }
}

fn refused(from: &Type, to: &Type) -> Failure {
    Failure::new(Code::TypeMismatch, format!("Cannot cast {from} to {to}"))
}

/// What went wrong with one value.
pub(crate) fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(Code::InvalidCastArgument, message)
}

fn step(from: &Type, to: &Type, zone: &Arc<str>) -> Result<Step> {
    if from == to {
        return Ok(Step::Same);
    }
    match (from, to) {
        (Type::Unknown, _) => Ok(Step::Arrow),
        (Type::Varchar(_), Type::Varchar(None)) => Ok(Step::Same),
        (Type::Varchar(Some(a)), Type::Varchar(Some(b))) if a <= b => Ok(Step::Same),
        (Type::Varchar(_), Type::Varchar(Some(n))) => Ok(truncated(*n)),
        (_, Type::Json) => json::encode(from),
        (Type::Json, _) => json::decode(to, zone),
        (Type::Varchar(_), _) => from_text::step(to, zone).ok_or_else(|| refused(from, to)),
        (_, Type::Varchar(length)) => as_text(from, *length).ok_or_else(|| refused(from, to)),
        (Type::Array(a), Type::Array(b)) => array(a, b, zone),
        (Type::Map(ak, av), Type::Map(bk, bv)) => map((ak, av), (bk, bv), to, zone),
        (Type::Row(a), Type::Row(b)) if a.len() == b.len() => row(a, b, zone),
        (Type::Uuid, Type::Varbinary) => Ok(Step::Arrow),
        _ => numbers::step(from, to)
            .or_else(|| times::step(from, to, zone))
            .ok_or_else(|| refused(from, to)),
    }
}

/// The conversion of element arrays, wherever it comes from.
fn converter(from: &Type, to: &Type, zone: &Arc<str>) -> Result<Convert> {
    let shape = to.arrow();
    Ok(match step(from, to, zone)? {
        Step::Same => Arc::new(|array| Ok(Arc::clone(array))),
        Step::Arrow => Arc::new(move |array| Ok(arrow::compute::cast(array, &shape)?)),
        Step::Run(convert) => convert,
    })
}

fn truncated(length: u32) -> Step {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    Step::Run(Arc::new(move |array| {
        let texts: &StringArray = array.as_string();
        let cut = texts.iter().map(|text| {
            text.map(|text| {
                text.char_indices()
                    .nth(length)
                    .map_or(text, |(end, _)| &text[..end])
            })
        });
        Ok(Arc::new(cut.collect::<StringArray>()))
    }))
}

fn as_text(from: &Type, length: Option<u32>) -> Option<Step> {
    if matches!(
        from,
        Type::Array(_) | Type::Map(..) | Type::Row(_) | Type::Varbinary
    ) {
        return None;
    }
    let from = from.clone();
    Some(Step::Run(Arc::new(move |array| {
        let mut texts = Vec::with_capacity(array.len());
        for row in 0..array.len() {
            let text = array.is_valid(row).then(|| scalar_text(&from, array, row));
            if let (Some(text), Some(limit)) = (&text, length)
                && text.chars().count() > limit as usize
            {
                return Err(invalid(format!(
                    "Value {text} cannot be represented as varchar({limit})"
                )));
            }
            texts.push(text);
        }
        Ok(Arc::new(StringArray::from(texts)))
    })))
}

/// A scalar that is not NULL, as `CAST(x AS varchar)` spells it.
pub(crate) fn scalar_text(ty: &Type, array: &ArrayRef, row: usize) -> String {
    use datafusion::arrow::datatypes as arrow;
    match ty {
        Type::Boolean => array.as_boolean().value(row).to_string(),
        Type::Tinyint => array
            .as_primitive::<arrow::Int8Type>()
            .value(row)
            .to_string(),
        Type::Smallint => array
            .as_primitive::<arrow::Int16Type>()
            .value(row)
            .to_string(),
        Type::Integer => array
            .as_primitive::<arrow::Int32Type>()
            .value(row)
            .to_string(),
        Type::Bigint => array
            .as_primitive::<arrow::Int64Type>()
            .value(row)
            .to_string(),
        Type::Real => text::real(array.as_primitive::<arrow::Float32Type>().value(row)),
        Type::Double => text::double(array.as_primitive::<arrow::Float64Type>().value(row)),
        Type::Decimal(_, scale) => text::decimal(
            array.as_primitive::<arrow::Decimal128Type>().value(row),
            *scale,
        ),
        Type::Varchar(_) | Type::Json => array.as_string::<i32>().value(row).to_owned(),
        Type::Date => text::date(array.as_primitive::<arrow::Date32Type>().value(row)),
        Type::Time(precision) => text::time(
            array
                .as_primitive::<arrow::Time64MicrosecondType>()
                .value(row),
            *precision,
        ),
        Type::Timestamp(precision) => text::timestamp(raw(array, row), *precision),
        Type::TimestampTz(precision, zone) => {
            let zone = super::datetime::parse::Zone::parse(zone)
                .unwrap_or_else(super::datetime::parse::Zone::utc);
            text::timestamp_tz(raw(array, row), *precision, &zone)
        }
        Type::DayTime => text::day_time(
            array
                .as_primitive::<arrow::DurationMillisecondType>()
                .value(row),
        ),
        Type::YearMonth => text::year_month(
            array
                .as_primitive::<arrow::IntervalYearMonthType>()
                .value(row),
        ),
        Type::Uuid => uuid_text(array.as_fixed_size_binary().value(row)),
        Type::Unknown | Type::Varbinary | Type::Array(_) | Type::Map(..) | Type::Row(_) => {
            String::new()
        }
    }
}

pub(crate) fn uuid_text(bytes: &[u8]) -> String {
    uuid::Uuid::from_slice(bytes)
        .map(|id| id.to_string())
        .unwrap_or_default()
}

fn array(from: &Type, to: &Type, zone: &Arc<str>) -> Result<Step> {
    let convert = converter(from, to, zone)?;
    let field = list_field(to);
    Ok(Step::Run(Arc::new(move |array| {
        let list: &ListArray = array.as_list();
        let values = convert(list.values())?;
        Ok(Arc::new(ListArray::try_new(
            Arc::clone(&field),
            list.offsets().clone(),
            values,
            list.nulls().cloned(),
        )?))
    })))
}

fn map(from: (&Type, &Type), to: (&Type, &Type), whole: &Type, zone: &Arc<str>) -> Result<Step> {
    let key = converter(from.0, to.0, zone)?;
    let value = converter(from.1, to.1, zone)?;
    let DataType::Map(field, _) = whole.arrow() else {
        return Err(refused(whole, whole));
    };
    let DataType::Struct(fields) = field.data_type().clone() else {
        return Err(refused(whole, whole));
    };
    Ok(Step::Run(Arc::new(move |array| {
        let map: &MapArray = array.as_map();
        let columns = vec![key(map.keys())?, value(map.values())?];
        let entries = StructArray::try_new(fields.clone(), columns, None)?;
        Ok(Arc::new(MapArray::try_new(
            Arc::clone(&field),
            map.offsets().clone(),
            entries,
            map.nulls().cloned(),
            false,
        )?))
    })))
}

fn row(
    from: &[(Option<String>, Type)],
    to: &[(Option<String>, Type)],
    zone: &Arc<str>,
) -> Result<Step> {
    let converts = from
        .iter()
        .zip(to)
        .map(|((_, from), (_, to))| converter(from, to, zone))
        .collect::<Result<Vec<_>>>()?;
    let fields = row_fields(to);
    Ok(Step::Run(Arc::new(move |array| {
        let row: &StructArray = array.as_struct();
        let columns = converts
            .iter()
            .zip(row.columns())
            .map(|(convert, column)| convert(column))
            .collect::<Result<Vec<_>>>()?;
        Ok(Arc::new(StructArray::try_new_with_length(
            fields.clone(),
            columns,
            row.nulls().cloned(),
            row.len(),
        )?))
    })))
}
