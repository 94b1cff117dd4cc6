//! One DataFusion scalar function for every Trino function and operator that DataFusion does not have, or has with
//! another meaning.
//!
//! A [`Kernel`] is a name, a result type and a closure over the evaluated arguments. Argument types are settled by the
//! analyzer before a kernel is made, so nothing is coerced here. Failures are [`Failure`]s, which DataFusion carries
//! to the client unchanged; a kernel made under `TRY` turns them into NULL row by row.

use std::any::Any;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, Date32Array, Decimal128Array, Float32Array,
    Float64Array, Int64Array, ListArray, MapArray, PrimitiveArray, StringArray, new_null_array,
};
use datafusion::arrow::compute::concat;
use datafusion::arrow::datatypes::{ArrowPrimitiveType, DataType};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::failure::{Code, Failure, Result};

/// Bytes that one function may make of one batch of rows; past it the query needs too much memory.
pub(super) const MAX_RESULT: usize = 256 << 20;
/// Rows that a function whose values may grow is evaluated for at once.
const ROWS_AT_ONCE: usize = 256;

/// A value grew beyond [`MAX_RESULT`].
pub(super) fn too_large() -> Failure {
    let limit = bytesize::ByteSize(MAX_RESULT as u64);
    Failure::new(
        Code::ExceededLocalMemoryLimit,
        format!(
            "Query exceeded per-node memory limit: a function made more than {limit} of one batch"
        ),
    )
}

/// The closure of a kernel.
pub(crate) type Run = Arc<dyn Fn(&Args) -> Result<ArrayRef> + Send + Sync>;

/// Evaluated arguments. A constant is an array of one row, so `row` maps to its only row.
pub(crate) struct Args {
    arrays: Vec<ArrayRef>,
    constant: Vec<bool>,
    pub(crate) rows: usize,
}

impl Args {
    pub(crate) fn len(&self) -> usize {
        self.arrays.len()
    }

    pub(crate) fn array(&self, arg: usize) -> &ArrayRef {
        &self.arrays[arg]
    }

    /// Where row `row` of the batch is in argument `arg`.
    pub(crate) fn at(&self, arg: usize, row: usize) -> usize {
        if self.constant[arg] { 0 } else { row }
    }

    pub(crate) fn is_null(&self, arg: usize, row: usize) -> bool {
        let array = &self.arrays[arg];
        *array.data_type() == DataType::Null || array.is_null(self.at(arg, row))
    }

    pub(crate) fn str(&self, arg: usize, row: usize) -> Option<&str> {
        let array: &StringArray = self.arrays[arg].as_string();
        let at = self.at(arg, row);
        array.is_valid(at).then(|| array.value(at))
    }

    pub(crate) fn bytes(&self, arg: usize, row: usize) -> Option<&[u8]> {
        let array: &BinaryArray = self.arrays[arg].as_binary();
        let at = self.at(arg, row);
        array.is_valid(at).then(|| array.value(at))
    }

    pub(crate) fn primitive<T: ArrowPrimitiveType>(
        &self,
        arg: usize,
        row: usize,
    ) -> Option<T::Native> {
        let array: &PrimitiveArray<T> = self.arrays[arg].as_primitive();
        let at = self.at(arg, row);
        array.is_valid(at).then(|| array.value(at))
    }

    pub(crate) fn i64(&self, arg: usize, row: usize) -> Option<i64> {
        let array = self.arrays[arg].as_any().downcast_ref::<Int64Array>()?;
        let at = self.at(arg, row);
        array.is_valid(at).then(|| array.value(at))
    }

    pub(crate) fn f64(&self, arg: usize, row: usize) -> Option<f64> {
        let at = self.at(arg, row);
        if let Some(array) = self.arrays[arg].as_any().downcast_ref::<Float32Array>() {
            return array.is_valid(at).then(|| f64::from(array.value(at)));
        }
        let array = self.arrays[arg].as_any().downcast_ref::<Float64Array>()?;
        array.is_valid(at).then(|| array.value(at))
    }

    pub(crate) fn i128(&self, arg: usize, row: usize) -> Option<i128> {
        let array = self.arrays[arg]
            .as_any()
            .downcast_ref::<Decimal128Array>()?;
        let at = self.at(arg, row);
        array.is_valid(at).then(|| array.value(at))
    }

    pub(crate) fn date(&self, arg: usize, row: usize) -> Option<i32> {
        let array = self.arrays[arg].as_any().downcast_ref::<Date32Array>()?;
        let at = self.at(arg, row);
        array.is_valid(at).then(|| array.value(at))
    }

    /// The elements of a list at a row.
    pub(crate) fn list(&self, arg: usize, row: usize) -> Option<ArrayRef> {
        let array: &ListArray = self.arrays[arg].as_list();
        let at = self.at(arg, row);
        array.is_valid(at).then(|| array.value(at))
    }

    /// Keys and values of a map at a row.
    pub(crate) fn map(&self, arg: usize, row: usize) -> Option<(ArrayRef, ArrayRef)> {
        let array: &MapArray = self.arrays[arg].as_map();
        let at = self.at(arg, row);
        array.is_valid(at).then(|| {
            let entries = array.value(at);
            (Arc::clone(entries.column(0)), Arc::clone(entries.column(1)))
        })
    }

    /// No arguments, one row.
    pub(crate) fn none() -> Args {
        Args {
            arrays: Vec::new(),
            constant: Vec::new(),
            rows: 1,
        }
    }

    /// The arguments of one row alone.
    pub(crate) fn row(&self, row: usize) -> Args {
        let arrays = (0..self.arrays.len())
            .map(|arg| self.arrays[arg].slice(self.at(arg, row), 1))
            .collect();
        Args {
            arrays,
            constant: vec![true; self.arrays.len()],
            rows: 1,
        }
    }

    /// Is there a column of arrays, maps or rows, whose slices would each be worked on as a whole?
    fn has_nested(&self) -> bool {
        let columns = self.arrays.iter().zip(&self.constant);
        columns
            .filter(|(_, constant)| !**constant)
            .any(|(array, _)| array.data_type().is_nested())
    }

    /// The arguments of some rows.
    fn slice(&self, first: usize, rows: usize) -> Args {
        let slice = |(array, constant): (&ArrayRef, &bool)| match constant {
            true => Arc::clone(array),
            false => array.slice(first, rows),
        };
        Args {
            arrays: self.arrays.iter().zip(&self.constant).map(slice).collect(),
            constant: self.constant.clone(),
            rows,
        }
    }

    /// An argument with as many rows as the batch.
    pub(crate) fn expanded(&self, arg: usize) -> Result<ArrayRef> {
        if !self.constant[arg] {
            return Ok(Arc::clone(&self.arrays[arg]));
        }
        Ok(ScalarValue::try_from_array(&self.arrays[arg], 0)?.to_array_of_size(self.rows)?)
    }
}

/// What happens with a failure in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum OnFailure {
    Raise,
    /// Under `TRY`.
    Null,
}

/// A Trino function as DataFusion sees it.
pub(crate) struct Kernel {
    name: String,
    /// Tells apart kernels of one name: argument types and constants baked into the closure.
    key: String,
    returns: DataType,
    signature: Signature,
    on_failure: OnFailure,
    run: Run,
}

impl Kernel {
    /// Makes the call expression.
    pub(crate) fn call(
        name: &str,
        key: String,
        returns: DataType,
        on_failure: OnFailure,
        args: Vec<Expr>,
        run: Run,
    ) -> Expr {
        Kernel::call_with(
            name,
            key,
            returns,
            on_failure,
            args,
            Volatility::Immutable,
            run,
        )
    }

    pub(crate) fn call_with(
        name: &str,
        key: String,
        returns: DataType,
        on_failure: OnFailure,
        args: Vec<Expr>,
        volatility: Volatility,
        run: Run,
    ) -> Expr {
        let signature = if args.is_empty() {
            Signature::nullary(volatility)
        } else {
            Signature::any(args.len(), volatility)
        };
        let kernel = Kernel {
            name: name.to_owned(),
            key,
            returns,
            signature,
            on_failure,
            run,
        };
        Expr::ScalarFunction(ScalarFunction::new_udf(
            Arc::new(ScalarUDF::new_from_impl(kernel)),
            args,
        ))
    }

    /// Does a failure in a row fail the query?
    pub(crate) fn raises(&self) -> bool {
        self.on_failure == OnFailure::Raise
    }

    pub(crate) fn is_predicate(&self) -> bool {
        self.returns == DataType::Boolean
    }

    /// Evaluates some rows at a time where values may grow, so that a batch cannot make more than memory holds.
    fn evaluate(&self, args: &Args) -> Result<ArrayRef> {
        let fixed = self.returns.primitive_width().is_some() || self.returns == DataType::Boolean;
        if args.rows <= ROWS_AT_ONCE || fixed || args.has_nested() {
            return self.evaluate_rows(args);
        }
        let mut parts = Vec::with_capacity(args.rows.div_ceil(ROWS_AT_ONCE));
        let mut bytes = 0;
        for first in (0..args.rows).step_by(ROWS_AT_ONCE) {
            let part =
                self.evaluate_rows(&args.slice(first, ROWS_AT_ONCE.min(args.rows - first)))?;
            bytes += part.to_data().get_slice_memory_size()?;
            if bytes > MAX_RESULT {
                return Err(too_large());
            }
            parts.push(part);
        }
        let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
        Ok(concat(&parts)?)
    }

    fn evaluate_rows(&self, args: &Args) -> Result<ArrayRef> {
        let whole = (self.run)(args);
        match whole {
            Err(failure) if self.on_failure == OnFailure::Null && is_tried(failure.code) => {
                self.row_by_row(args)
            }
            other => other,
        }
    }

    fn row_by_row(&self, args: &Args) -> Result<ArrayRef> {
        let mut rows = Vec::with_capacity(args.rows);
        for row in 0..args.rows {
            rows.push(match (self.run)(&args.row(row)) {
                Ok(value) => value,
                Err(failure) if is_tried(failure.code) => new_null_array(&self.returns, 1),
                Err(failure) => return Err(failure),
            });
        }
        let rows: Vec<&dyn Array> = rows.iter().map(AsRef::as_ref).collect();
        if rows.is_empty() {
            return Ok(new_null_array(&self.returns, 0));
        }
        Ok(concat(&rows)?)
    }
}

/// The failures `TRY` catches.
fn is_tried(code: Code) -> bool {
    matches!(
        code,
        Code::DivisionByZero
            | Code::InvalidCastArgument
            | Code::InvalidFunctionArgument
            | Code::NumericValueOutOfRange
    )
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.name, self.key)
    }
}

impl PartialEq for Kernel {
    fn eq(&self, other: &Kernel) -> bool {
        self.name == other.name
            && self.key == other.key
            && self.returns == other.returns
            && self.on_failure == other.on_failure
    }
}

impl Eq for Kernel {}

impl Hash for Kernel {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
        self.key.hash(state);
        self.returns.hash(state);
    }
}

impl ScalarUDFImpl for Kernel {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _args: &[DataType]) -> DfResult<DataType> {
        Ok(self.returns.clone())
    }

    /// The name must tell kernels apart: DataFusion names columns by it.
    fn schema_name(&self, args: &[Expr]) -> DfResult<String> {
        // A hash, for the text of nested calls would be built again at every level of every pass.
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        args.hash(&mut hasher);
        Ok(format!("{}#{:016x}", self.name, hasher.finish()))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let mut arrays = Vec::with_capacity(args.args.len());
        let mut constant = Vec::with_capacity(args.args.len());
        for arg in args.args {
            constant.push(matches!(arg, ColumnarValue::Scalar(_)));
            arrays.push(match arg {
                ColumnarValue::Array(array) => array,
                ColumnarValue::Scalar(scalar) => scalar.to_array()?,
            });
        }
        // Without arguments each row still needs its own value (`random()`).
        let all_constant = !constant.is_empty() && constant.iter().all(|constant| *constant);
        let rows = if all_constant { 1 } else { args.number_rows };
        let args = Args {
            arrays,
            constant,
            rows,
        };
        let result = self
            .evaluate(&args)
            .map_err(datafusion::error::DataFusionError::from)?;
        if *result.data_type() != self.returns || result.len() != rows {
            let message = format!(
                "{self:?} made {} rows of {}, expected {rows} of {}",
                result.len(),
                result.data_type(),
                self.returns
            );
            return Err(Failure::new(Code::GenericInternalError, message).into());
        }
        if all_constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(
                &result, 0,
            )?));
        }
        Ok(ColumnarValue::Array(result))
    }
}

/// Anything is a closure's array.
pub(crate) fn done(array: impl Array + 'static) -> Result<ArrayRef> {
    Ok(Arc::new(array))
}

/// Downcasts for code that holds a `dyn Any` array by another name.
pub(crate) fn downcast<T: Any>(array: &ArrayRef) -> Result<&T> {
    array.as_any().downcast_ref::<T>().ok_or_else(|| {
        Failure::new(
            Code::GenericInternalError,
            format!("unexpected array of {}", array.data_type()),
        )
    })
}
