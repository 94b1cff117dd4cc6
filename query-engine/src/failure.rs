//! A query's failure in Trino's words: error name, code, kind, message and place in the statement.
//!
//! It is apart from [`crate::Error`] (why the service could not start or go on) because it is data: every layer that
//! looks at a statement makes one, DataFusion carries it through as an external error, and [`crate::http`] prints it.

use std::fmt;

use datafusion::arrow::error::ArrowError;
use datafusion::common::DataFusionError;
use parquet::errors::ParquetError;

/// A place in the statement text: both counted from one, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Pos {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

impl fmt::Display for Pos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}:{}", self.line, self.column)
    }
}

/// Trino's classes of failure; the Python client maps them to exception types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    User,
    Internal,
    Resources,
    External,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::User => "USER_ERROR",
            Kind::Internal => "INTERNAL_ERROR",
            Kind::Resources => "INSUFFICIENT_RESOURCES",
            Kind::External => "EXTERNAL",
        }
    }
}

macro_rules! codes {
    ($($variant:ident = $name:literal, $number:literal, $kind:ident;)*) => {
        /// Trino's `StandardErrorCode`, as far as this engine raises it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Code { $($variant),* }
        impl Code {
            pub(crate) fn name(self) -> &'static str { match self { $(Code::$variant => $name),* } }
            pub(crate) fn number(self) -> i64 { match self { $(Code::$variant => $number),* } }
            pub(crate) fn kind(self) -> Kind { match self { $(Code::$variant => Kind::$kind),* } }
        }
    };
}

codes! {
    SyntaxError = "SYNTAX_ERROR", 1, User;
    AbandonedQuery = "ABANDONED_QUERY", 2, User;
    UserCanceled = "USER_CANCELED", 3, User;
    NotFound = "NOT_FOUND", 5, User;
    FunctionNotFound = "FUNCTION_NOT_FOUND", 6, User;
    InvalidFunctionArgument = "INVALID_FUNCTION_ARGUMENT", 7, User;
    DivisionByZero = "DIVISION_BY_ZERO", 8, User;
    InvalidCastArgument = "INVALID_CAST_ARGUMENT", 9, User;
    NotSupported = "NOT_SUPPORTED", 13, User;
    InvalidSessionProperty = "INVALID_SESSION_PROPERTY", 14, User;
    InvalidWindowFrame = "INVALID_WINDOW_FRAME", 15, User;
    NumericValueOutOfRange = "NUMERIC_VALUE_OUT_OF_RANGE", 19, User;
    NotInTransaction = "NOT_IN_TRANSACTION", 21, User;
    SubqueryMultipleRows = "SUBQUERY_MULTIPLE_ROWS", 28, User;
    ProcedureNotFound = "PROCEDURE_NOT_FOUND", 29, User;
    InvalidProcedureArgument = "INVALID_PROCEDURE_ARGUMENT", 30, User;
    QueryTextTooLarge = "QUERY_TEXT_TOO_LARGE", 35, User;
    AdministrativelyKilled = "ADMINISTRATIVELY_KILLED", 38, User;
    TypeNotFound = "TYPE_NOT_FOUND", 43, User;
    CatalogNotFound = "CATALOG_NOT_FOUND", 44, User;
    SchemaNotFound = "SCHEMA_NOT_FOUND", 45, User;
    TableNotFound = "TABLE_NOT_FOUND", 46, User;
    ColumnNotFound = "COLUMN_NOT_FOUND", 47, User;
    MissingCatalogName = "MISSING_CATALOG_NAME", 56, User;
    MissingSchemaName = "MISSING_SCHEMA_NAME", 57, User;
    TypeMismatch = "TYPE_MISMATCH", 58, User;
    InvalidLiteral = "INVALID_LITERAL", 59, User;
    MismatchedColumnAliases = "MISMATCHED_COLUMN_ALIASES", 61, User;
    AmbiguousName = "AMBIGUOUS_NAME", 62, User;
    InvalidColumnReference = "INVALID_COLUMN_REFERENCE", 63, User;
    MissingOrderBy = "MISSING_ORDER_BY", 65, User;
    MissingOver = "MISSING_OVER", 66, User;
    NestedAggregation = "NESTED_AGGREGATION", 67, User;
    NestedWindow = "NESTED_WINDOW", 68, User;
    ExpressionNotInDistinct = "EXPRESSION_NOT_IN_DISTINCT", 69, User;
    TooManyGroupingSets = "TOO_MANY_GROUPING_SETS", 70, User;
    FunctionNotAggregate = "FUNCTION_NOT_AGGREGATE", 72, User;
    ExpressionNotAggregate = "EXPRESSION_NOT_AGGREGATE", 73, User;
    ExpressionNotScalar = "EXPRESSION_NOT_SCALAR", 74, User;
    ExpressionNotConstant = "EXPRESSION_NOT_CONSTANT", 75, User;
    InvalidArguments = "INVALID_ARGUMENTS", 76, User;
    InvalidParameterUsage = "INVALID_PARAMETER_USAGE", 80, User;
    DuplicateNamedQuery = "DUPLICATE_NAMED_QUERY", 53, User;
    InvalidWindowReference = "INVALID_WINDOW_REFERENCE", 93, User;
    GenericInternalError = "GENERIC_INTERNAL_ERROR", 65536, Internal;
    ServerShuttingDown = "SERVER_SHUTTING_DOWN", 65541, Internal;
    QueryQueueFull = "QUERY_QUEUE_FULL", 131_074, Resources;
    ExceededTimeLimit = "EXCEEDED_TIME_LIMIT", 131_075, Resources;
    ExceededLocalMemoryLimit = "EXCEEDED_LOCAL_MEMORY_LIMIT", 131_079, Resources;
    IcebergInvalidMetadata = "ICEBERG_INVALID_METADATA", 84_148_225, External;
    IcebergBadData = "ICEBERG_BAD_DATA", 84_148_228, External;
    IcebergCannotOpenSplit = "ICEBERG_CANNOT_OPEN_SPLIT", 84_148_230, External;
    IcebergFilesystemError = "ICEBERG_FILESYSTEM_ERROR", 84_148_232, External;
    IcebergCatalogError = "ICEBERG_CATALOG_ERROR", 84_148_237, External;
}

/// Why a query failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) pos: Option<Pos>,
}

/// Result of anything that looks at or runs a statement.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Failure {
        Failure {
            code,
            message: message.into(),
            pos: None,
        }
    }

    pub(crate) fn at(code: Code, pos: Pos, message: impl Into<String>) -> Failure {
        Failure {
            code,
            message: message.into(),
            pos: Some(pos),
        }
    }

    pub(crate) fn unsupported(pos: Pos, what: impl fmt::Display) -> Failure {
        Failure::at(Code::NotSupported, pos, format!("{what} is not supported"))
    }

    /// The message with its place in front, as Trino prints it.
    pub(crate) fn text(&self) -> String {
        match self.pos {
            Some(pos) => format!("{pos}: {}", self.message),
            None => self.message.clone(),
        }
    }

    /// Gives a failure found without a place the place of the construct that was looked at.
    pub(crate) fn or_at(mut self, pos: Pos) -> Failure {
        self.pos.get_or_insert(pos);
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl std::error::Error for Failure {}

impl From<Failure> for DataFusionError {
    fn from(failure: Failure) -> DataFusionError {
        DataFusionError::External(Box::new(failure))
    }
}

impl From<ArrowError> for Failure {
    fn from(error: ArrowError) -> Failure {
        from_arrow(&error)
    }
}

impl From<DataFusionError> for Failure {
    fn from(error: DataFusionError) -> Failure {
        from_datafusion(&error)
    }
}

fn from_arrow(error: &ArrowError) -> Failure {
    match error {
        ArrowError::DivideByZero => Failure::new(Code::DivisionByZero, "Division by zero"),
        ArrowError::ArithmeticOverflow(text) => {
            Failure::new(Code::NumericValueOutOfRange, format!("overflow: {text}"))
        }
        ArrowError::ExternalError(inner) => from_dyn(inner.as_ref()),
        ArrowError::ParquetError(text) => Failure::new(Code::IcebergBadData, text.clone()),
        other => Failure::new(Code::GenericInternalError, other.to_string()),
    }
}

fn from_dyn(error: &(dyn std::error::Error + 'static)) -> Failure {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return failure.clone();
    }
    if let Some(inner) = error.downcast_ref::<DataFusionError>() {
        return from_datafusion(inner);
    }
    if let Some(inner) = error.downcast_ref::<ArrowError>() {
        return from_arrow(inner);
    }
    if let Some(inner) = error.downcast_ref::<ParquetError>() {
        return from_parquet(inner);
    }
    if let Some(inner) = error.downcast_ref::<lake::Error>() {
        return crate::catalog::failure(inner);
    }
    Failure::new(
        Code::IcebergFilesystemError,
        telemetry::chain(error).to_string(),
    )
}

fn from_parquet(error: &ParquetError) -> Failure {
    match error {
        ParquetError::External(inner) => from_dyn(inner.as_ref()),
        other => Failure::new(Code::IcebergBadData, other.to_string()),
    }
}

fn from_datafusion(error: &DataFusionError) -> Failure {
    match error {
        DataFusionError::External(inner) => from_dyn(inner.as_ref()),
        DataFusionError::ArrowError(inner, _) => from_arrow(inner),
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => {
            from_datafusion(inner)
        }
        DataFusionError::Shared(inner) => from_datafusion(inner),
        DataFusionError::Collection(all) => match all.first() {
            Some(first) => from_datafusion(first),
            None => Failure::new(Code::GenericInternalError, error.to_string()),
        },
        DataFusionError::NotImplemented(what) => {
            Failure::new(Code::NotSupported, format!("{what} is not supported"))
        }
        DataFusionError::ResourcesExhausted(what) => {
            Failure::new(Code::ExceededLocalMemoryLimit, memory_message(what))
        }
        DataFusionError::ParquetError(inner) => from_parquet(inner),
        DataFusionError::ObjectStore(_) | DataFusionError::IoError(_) => Failure::new(
            Code::IcebergFilesystemError,
            telemetry::chain(error).to_string(),
        ),
        other => {
            let text = other.strip_backtrace();
            if text.contains("Scalar subquery returned more than one row") {
                return Failure::new(
                    Code::SubqueryMultipleRows,
                    "Scalar sub-query has returned multiple rows",
                );
            }
            Failure::new(Code::GenericInternalError, text)
        }
    }
}

fn memory_message(what: &str) -> String {
    if what.starts_with("Query exceeded") {
        what.to_owned()
    } else if what.contains("DiskManager is disabled") {
        "Query exceeded per-node memory limit".to_owned()
    } else {
        format!("Query exceeded per-node memory limit: {what}")
    }
}
