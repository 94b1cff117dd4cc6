//! Flink's functions with Flink's types and results.
//!
//! [`resolve`] finds a function by name, checks its arguments and gives the call its type; the kernels themselves are
//! in the submodules, one for each family. Called by [`crate::plan`].

pub(crate) mod arithmetic;
mod arrays;
pub(crate) mod cast;
mod cast_nested;
mod choice;
pub(crate) mod clock;
pub(crate) mod construct;
pub(crate) mod decimal;
mod digest;
mod edit;
mod java_regex;
pub(crate) mod json;
mod json_call;
mod json_query;
mod math;
mod nested;
pub(crate) mod string;
pub(crate) mod text;
pub(crate) mod time;
mod url;

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Float64Array, Int32Array, Int64Array,
    StringArray,
};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use chrono_tz::Tz;
use datafusion_common::{DataFusionError, Result as DfResult};

use crate::error::{Error, Position};
use crate::plan::coerce::{is_binary, is_numeric, is_text};
use crate::plan::typed::{Kernel, Typed};
use crate::sql::ast::{Clause, TimeUnit};
use crate::table::{SqlType, TypeRoot};

pub(crate) use json_call::is_json;
pub(crate) use nested::{field, index};

/// A call as the analyzer hands it over.
pub(crate) struct Invocation<'a> {
    /// Upper case.
    pub(crate) name: &'a str,
    pub(crate) args: Vec<Typed>,
    /// The unit of EXTRACT, FLOOR … TO, TIMESTAMPADD, TIMESTAMPDIFF.
    pub(crate) unit: Option<TimeUnit>,
    pub(crate) clauses: &'a [Clause],
    /// The values of `DEFAULT` clauses, in order.
    pub(crate) defaults: Vec<Typed>,
    pub(crate) zone: Tz,
    pub(crate) at: Position,
}

impl Invocation<'_> {
    fn arity(&self, range: std::ops::RangeInclusive<usize>) -> Result<(), Error> {
        if range.contains(&self.args.len()) {
            return Ok(());
        }
        Err(Error::validation(
            format!("{} does not take {} arguments", self.name, self.args.len()),
            self.at,
        ))
    }

    fn nullable(&self) -> bool {
        self.args.iter().any(|arg| arg.ty.nullable)
    }

    fn wrong(&self, why: impl std::fmt::Display) -> Error {
        Error::validation(format!("{}: {why}", self.name), self.at)
    }

    /// The arguments as the kinds a kernel wants.
    fn take(&mut self, kinds: &[Kind]) -> Result<Vec<Typed>, Error> {
        let (name, at, zone) = (self.name, self.at, self.zone);
        std::mem::take(&mut self.args)
            .into_iter()
            .enumerate()
            .map(|(position, arg)| {
                let kind = kinds[position.min(kinds.len() - 1)];
                kind.coerce(arg, zone, at, name)
            })
            .collect()
    }
}

/// What a kernel wants an argument to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Text,
    /// Anything simple, as text.
    AnyText,
    Int,
    Double,
    Bytes,
}

impl Kind {
    fn coerce(self, arg: Typed, zone: Tz, at: Position, name: &str) -> Result<Typed, Error> {
        let (root, fits) = match self {
            Kind::Text => (SqlType::string().root, is_text(&arg.ty.root)),
            Kind::AnyText => (SqlType::string().root, true),
            Kind::Int => (TypeRoot::BigInt, is_numeric(&arg.ty.root)),
            Kind::Double => (TypeRoot::Double, is_numeric(&arg.ty.root)),
            Kind::Bytes => (<Vec<u8> as Outcome>::TYPE(), is_binary(&arg.ty.root)),
        };
        let ty = SqlType {
            root,
            nullable: arg.ty.nullable,
        };
        if arg.is_null_literal() {
            return Typed::null(&ty);
        }
        if !fits {
            return Err(Error::validation(
                format!("{name} does not take an argument of type {}", arg.ty),
                at,
            ));
        }
        let same = |is: fn(&TypeRoot) -> bool| is(&arg.ty.root) && is(&ty.root);
        if same(is_text) || same(is_binary) {
            return Ok(arg);
        }
        cast::explicit(arg, &ty, false, zone, at)
    }
}

/// An argument column, already downcast.
pub(crate) enum Cells {
    Text(StringArray),
    Int(Int64Array),
    Double(Float64Array),
    Bytes(BinaryArray),
}

impl Cells {
    fn of(array: &ArrayRef) -> DfResult<Self> {
        Ok(match array.data_type() {
            DataType::Utf8 => Cells::Text(array.as_string::<i32>().clone()),
            DataType::Int64 => Cells::Int(array.as_primitive::<Int64Type>().clone()),
            DataType::Float64 => Cells::Double(array.as_primitive::<Float64Type>().clone()),
            DataType::Binary => Cells::Bytes(array.as_binary::<i32>().clone()),
            other => return Err(failed(format!("no argument of {other}"))),
        })
    }

    fn is_null(&self, row: usize) -> bool {
        match self {
            Cells::Text(cells) => cells.is_null(row),
            Cells::Int(cells) => cells.is_null(row),
            Cells::Double(cells) => cells.is_null(row),
            Cells::Bytes(cells) => cells.is_null(row),
        }
    }

    pub(crate) fn text(&self, row: usize) -> &str {
        match self {
            Cells::Text(cells) => cells.value(row),
            _ => "",
        }
    }

    pub(crate) fn int(&self, row: usize) -> i64 {
        match self {
            Cells::Int(cells) => cells.value(row),
            _ => 0,
        }
    }

    pub(crate) fn bytes(&self, row: usize) -> &[u8] {
        match self {
            Cells::Bytes(cells) => cells.value(row),
            _ => &[],
        }
    }

    pub(crate) fn double(&self, row: usize) -> f64 {
        match self {
            Cells::Double(cells) => cells.value(row),
            _ => 0.0,
        }
    }
}

/// The results of a row kernel as a column.
pub(crate) trait Outcome: Sized + Send + Sync + 'static {
    const TYPE: fn() -> TypeRoot;
    fn column(values: Vec<Option<Self>>) -> ArrayRef;
}

impl Outcome for String {
    const TYPE: fn() -> TypeRoot = || SqlType::string().root;
    fn column(values: Vec<Option<Self>>) -> ArrayRef {
        Arc::new(StringArray::from_iter(values))
    }
}

impl Outcome for i64 {
    const TYPE: fn() -> TypeRoot = || TypeRoot::BigInt;
    fn column(values: Vec<Option<Self>>) -> ArrayRef {
        Arc::new(Int64Array::from_iter(values))
    }
}

impl Outcome for i32 {
    const TYPE: fn() -> TypeRoot = || TypeRoot::Int;
    fn column(values: Vec<Option<Self>>) -> ArrayRef {
        Arc::new(Int32Array::from_iter(values))
    }
}

impl Outcome for f64 {
    const TYPE: fn() -> TypeRoot = || TypeRoot::Double;
    fn column(values: Vec<Option<Self>>) -> ArrayRef {
        Arc::new(Float64Array::from_iter(values))
    }
}

impl Outcome for bool {
    const TYPE: fn() -> TypeRoot = || TypeRoot::Boolean;
    fn column(values: Vec<Option<Self>>) -> ArrayRef {
        Arc::new(BooleanArray::from_iter(values))
    }
}

impl Outcome for Vec<u8> {
    const TYPE: fn() -> TypeRoot = || TypeRoot::Varbinary(i32::MAX as u32);
    fn column(values: Vec<Option<Self>>) -> ArrayRef {
        Arc::new(BinaryArray::from_iter(values))
    }
}

/// A call computed row by row that can fail the job, NULL where any argument is.
pub(crate) fn by_row_or_fail<T: Outcome>(
    call: &mut Invocation<'_>,
    kinds: &[Kind],
    compute: impl Fn(&[Cells], usize) -> DfResult<Option<T>> + Send + Sync + 'static,
) -> Result<Typed, Error> {
    let name = call.name.to_owned();
    let args = call.take(kinds)?;
    let kernel = Kernel::new(name, move |arrays, n_rows| {
        let cells = arrays.iter().map(Cells::of).collect::<DfResult<Vec<_>>>()?;
        let mut values = Vec::with_capacity(n_rows);
        for row in 0..n_rows {
            let null = cells.iter().any(|cell| cell.is_null(row));
            values.push(if null { None } else { compute(&cells, row)? });
        }
        Ok(T::column(values))
    });
    Typed::call(kernel, args, SqlType::of(T::TYPE())).fold()
}

/// A call computed row by row, NULL where any argument is.
pub(crate) fn by_row<T: Outcome>(
    call: &mut Invocation<'_>,
    kinds: &[Kind],
    compute: impl Fn(&[Cells], usize) -> Option<T> + Send + Sync + 'static,
) -> Result<Typed, Error> {
    let name = call.name.to_owned();
    by_row_named(name, call, kinds, compute)
}

/// [`by_row`] under a name that tells what was fixed when it was planned.
pub(crate) fn by_row_named<T: Outcome>(
    name: String,
    call: &mut Invocation<'_>,
    kinds: &[Kind],
    compute: impl Fn(&[Cells], usize) -> Option<T> + Send + Sync + 'static,
) -> Result<Typed, Error> {
    let args = call.take(kinds)?;
    let kernel = Kernel::new(name, move |arrays, n_rows| {
        let cells = arrays.iter().map(Cells::of).collect::<DfResult<Vec<_>>>()?;
        let values = (0..n_rows)
            .map(|row| {
                if cells.iter().any(|cell| cell.is_null(row)) {
                    None
                } else {
                    compute(&cells, row)
                }
            })
            .collect();
        Ok(T::column(values))
    });
    Typed::call(kernel.total(), args, SqlType::of(T::TYPE())).fold()
}

/// The call `call`, typed.
pub(crate) fn resolve(mut call: Invocation<'_>) -> Result<Typed, Error> {
    for family in [
        string::resolve,
        math::resolve,
        clock::resolve,
        choice::resolve,
        json_call::resolve,
        nested::resolve,
        arrays::resolve,
        edit::resolve,
        digest::resolve,
        url::resolve,
    ] {
        if let Some(typed) = family(&mut call)? {
            return Ok(typed);
        }
    }
    Err(Error::unsupported(
        format!("the function {}", call.name),
        call.at,
        "",
    ))
}

/// The names of all functions, for `SHOW FUNCTIONS`.
pub(crate) fn names() -> Vec<String> {
    let mut names: Vec<String> = [
        string::NAMES,
        math::NAMES,
        clock::NAMES,
        choice::NAMES,
        json_call::NAMES,
        nested::NAMES,
        arrays::NAMES,
        edit::NAMES,
        digest::NAMES,
        url::NAMES,
        crate::plan::AGGREGATES,
    ]
    .concat()
    .into_iter()
    .map(str::to_lowercase)
    .collect();
    names.sort();
    names.dedup();
    names
}

/// A failure of a kernel: it fails the job.
pub(crate) fn failed(message: impl Into<String>) -> DataFusionError {
    DataFusionError::Execution(message.into())
}
