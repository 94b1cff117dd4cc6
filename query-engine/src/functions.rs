//! The functions of the dialect: what they are called, which types they take, and how they run.
//!
//! One table per theme lists functions as `name(types) result` beside their code. The analyzer asks [`resolve`] for
//! an overload; `SHOW FUNCTIONS` prints the same table, so neither can know a function the other does not.

pub(crate) mod aggregates;
pub(crate) mod arith;
pub(crate) mod array;
pub(crate) mod binary;
pub(crate) mod cast;
pub(crate) mod compare;
pub(crate) mod datetime;
pub(crate) mod interval;
pub(crate) mod json;
pub(crate) mod kernel;
mod lambda;
pub(crate) mod map;
mod math;
pub(crate) mod pattern;
mod regexp;
pub(crate) mod row;
pub(crate) mod session;
pub(crate) mod string;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::ArrayRef;
use datafusion::logical_expr::{Expr, Volatility};

use crate::failure::Result;
use crate::functions::kernel::{Args, Kernel, OnFailure, Run};
use crate::functions::pattern::Signature;
use crate::sql::analyze::Typed;
use crate::types::{Type, coerces};

/// A call whose overload is chosen and whose arguments are converted.
pub(crate) struct Invocation {
    pub(crate) args: Vec<Expr>,
    pub(crate) types: Vec<Type>,
    pub(crate) returns: Type,
    pub(crate) on_failure: OnFailure,
    pub(crate) zone: Arc<str>,
}

/// How a function runs.
enum Body {
    /// A closure over evaluated arguments; its result has the signature's type.
    Run(fn(&Args) -> Result<ArrayRef>),
    /// A closure made for the argument types at hand.
    Made(fn(&Invocation) -> Result<Run>),
    /// An expression over the arguments.
    Expr(fn(Invocation) -> Result<Typed>),
}

/// One overload of a function.
pub(crate) struct Function {
    pub(crate) signature: Signature,
    pub(crate) description: &'static str,
    pub(crate) deterministic: bool,
    /// Is the result NULL whenever an argument is?
    pub(crate) strict: bool,
    body: Body,
}

impl Function {
    pub(crate) fn call(&self, invocation: Invocation) -> Result<Typed> {
        let run: Run = match &self.body {
            Body::Expr(make) => return make(invocation),
            Body::Made(make) => make(&invocation)?,
            Body::Run(run) => Arc::new(*run),
        };
        let key = format!("{:?}", invocation.types);
        let volatility = if self.deterministic {
            Volatility::Immutable
        } else {
            Volatility::Volatile
        };
        let expr = Kernel::call_with(
            &self.signature.name,
            key,
            invocation.returns.arrow(),
            invocation.on_failure,
            invocation.args,
            volatility,
            run,
        );
        Ok(Typed::new(expr, invocation.returns))
    }
}

/// A table under construction.
#[derive(Default)]
pub(crate) struct Table {
    functions: Vec<Function>,
}

impl Table {
    /// A function of its arguments, row by row or at once.
    fn run(
        &mut self,
        signature: &str,
        description: &'static str,
        run: fn(&Args) -> Result<ArrayRef>,
    ) {
        self.push(signature, description, Body::Run(run));
    }

    fn made(
        &mut self,
        signature: &str,
        description: &'static str,
        make: fn(&Invocation) -> Result<Run>,
    ) {
        self.push(signature, description, Body::Made(make));
    }

    fn expr(
        &mut self,
        signature: &str,
        description: &'static str,
        make: fn(Invocation) -> Result<Typed>,
    ) {
        self.push(signature, description, Body::Expr(make));
    }

    fn push(&mut self, signature: &str, description: &'static str, body: Body) {
        let signature = Signature::parse(signature);
        self.functions.push(Function {
            signature,
            description,
            deterministic: true,
            strict: true,
            body,
        });
    }

    /// The last function may give another answer each time.
    fn random(&mut self) {
        if let Some(last) = self.functions.last_mut() {
            last.deterministic = false;
        }
    }

    /// The last function gives values for NULL arguments too.
    fn lenient(&mut self) {
        if let Some(last) = self.functions.last_mut() {
            last.strict = false;
        }
    }
}

static FUNCTIONS: LazyLock<BTreeMap<String, Vec<Function>>> = LazyLock::new(|| {
    let mut table = Table::default();
    math::register(&mut table);
    string::register(&mut table);
    binary::register(&mut table);
    regexp::register(&mut table);
    datetime::register(&mut table);
    json::register(&mut table);
    array::register(&mut table);
    map::register(&mut table);
    let mut functions: BTreeMap<String, Vec<Function>> = BTreeMap::new();
    for function in table.functions {
        functions
            .entry(function.signature.name.clone())
            .or_default()
            .push(function);
    }
    functions
});

/// An overload that takes the given arguments, with what they must be converted to.
pub(crate) struct Resolved {
    pub(crate) function: &'static Function,
    pub(crate) types: Vec<Type>,
    pub(crate) returns: Type,
}

/// Chooses the overload: one that fits exactly, else the first that the arguments convert to.
pub(crate) fn resolve(name: &str, args: &[Type]) -> Option<Resolved> {
    let overloads = FUNCTIONS.get(name)?;
    let fitting = |exact: bool| {
        overloads.iter().find_map(|function| {
            let (types, returns) = function.signature.bind(args)?;
            let fits = args.iter().zip(&types).all(|(arg, want)| {
                if exact {
                    arg == want
                } else {
                    coerces(arg, want)
                }
            });
            fits.then_some(Resolved {
                function,
                types,
                returns,
            })
        })
    };
    fitting(true).or_else(|| fitting(false))
}

/// Is this a scalar function of the table, or one the analyzer treats itself?
pub(crate) fn is_scalar(name: &str) -> bool {
    FUNCTIONS.contains_key(name) || SPECIAL.iter().any(|(special, ..)| *special == name)
}

pub(crate) fn is_aggregate(name: &str) -> bool {
    AGGREGATES.iter().any(|(known, ..)| *known == name)
}

pub(crate) fn is_window(name: &str) -> bool {
    WINDOWS.iter().any(|(known, ..)| *known == name)
}

/// How a function's overloads are written in errors.
pub(crate) fn signatures(name: &str) -> Vec<String> {
    match FUNCTIONS.get(name) {
        Some(overloads) => overloads
            .iter()
            .map(|function| function.signature.text())
            .collect(),
        None => listing()
            .into_iter()
            .filter(|row| row.name == name)
            .map(|row| format!("{name}({})", row.arguments))
            .collect(),
    }
}

/// One row of `SHOW FUNCTIONS`.
pub(crate) struct Listed {
    pub(crate) name: String,
    pub(crate) returns: String,
    pub(crate) arguments: String,
    pub(crate) kind: &'static str,
    pub(crate) deterministic: bool,
    pub(crate) description: &'static str,
}

/// Every function there is.
pub(crate) fn listing() -> Vec<Listed> {
    let mut rows: Vec<Listed> = FUNCTIONS
        .values()
        .flatten()
        .map(|function| Listed {
            name: function.signature.name.clone(),
            returns: function.signature.returns.clone(),
            arguments: function.signature.arguments(),
            kind: "scalar",
            deterministic: function.deterministic,
            description: function.description,
        })
        .collect();
    for (table, kind) in [
        (SPECIAL, "scalar"),
        (AGGREGATES, "aggregate"),
        (WINDOWS, "window"),
    ] {
        rows.extend(
            table
                .iter()
                .map(|(name, arguments, returns, description)| Listed {
                    name: (*name).to_owned(),
                    returns: (*returns).to_owned(),
                    arguments: (*arguments).to_owned(),
                    kind,
                    deterministic: true,
                    description,
                }),
        );
    }
    rows.sort_by(|a, b| (&a.name, &a.arguments).cmp(&(&b.name, &b.arguments)));
    rows
}

type Names = &'static [(&'static str, &'static str, &'static str, &'static str)];

/// Functions whose types no signature says: the analyzer builds them.
const SPECIAL: Names = &[
    ("if", "boolean, T, T", "T", "Chooses by a condition"),
    ("coalesce", "T, ...", "T", "First argument that is not NULL"),
    ("nullif", "T, T", "T", "NULL when both are equal"),
    ("try", "T", "T", "NULL where evaluation fails"),
    ("typeof", "T", "varchar", "Name of the argument's type"),
    ("greatest", "E, ...", "E", "Largest of the arguments"),
    ("least", "E, ...", "E", "Smallest of the arguments"),
    (
        "transform",
        "array(T), function(T,U)",
        "array(U)",
        "Applies a lambda to each element",
    ),
    (
        "filter",
        "array(T), function(T,boolean)",
        "array(T)",
        "Elements a lambda accepts",
    ),
    (
        "any_match",
        "array(T), function(T,boolean)",
        "boolean",
        "Does a lambda accept any element?",
    ),
    (
        "all_match",
        "array(T), function(T,boolean)",
        "boolean",
        "Does a lambda accept every element?",
    ),
    (
        "none_match",
        "array(T), function(T,boolean)",
        "boolean",
        "Does a lambda accept no element?",
    ),
    (
        "at_timezone",
        "timestamp(p) with time zone, varchar",
        "timestamp(p) with time zone",
        "The same instant in another zone",
    ),
    (
        "with_timezone",
        "timestamp(p), varchar",
        "timestamp(p) with time zone",
        "A local time in a zone",
    ),
    (
        "from_unixtime",
        "double",
        "timestamp(3) with time zone",
        "The instant of a Unix time",
    ),
    (
        "now",
        "",
        "timestamp(3) with time zone",
        "Start of the query",
    ),
    ("version", "", "varchar", "Version of the server"),
    ("current_timezone", "", "varchar", "Zone of the session"),
    ("query_id", "", "varchar", "Id of the query"),
    (
        "json_extract",
        "json, varchar",
        "json",
        "Value at a JSON path",
    ),
    (
        "json_extract_scalar",
        "json, varchar",
        "varchar",
        "Text of the scalar at a JSON path",
    ),
    (
        "json_size",
        "json, varchar",
        "bigint",
        "Size of the value at a JSON path",
    ),
    (
        "map",
        "array(K), array(V)",
        "map(K,V)",
        "Makes a map of keys and values",
    ),
    (
        "map_entries",
        "map(K,V)",
        "array(row(K,V))",
        "Entries of a map",
    ),
    (
        "map_from_entries",
        "array(row(K,V))",
        "map(K,V)",
        "Makes a map of entries",
    ),
    (
        "zip",
        "array(T), array(U), ...",
        "array(row(T,U))",
        "Pairs elements by position",
    ),
];

const AGGREGATES: Names = &[
    (
        "count",
        "T",
        "bigint",
        "Counts the values that are not NULL",
    ),
    ("count_if", "boolean", "bigint", "Counts the true values"),
    ("sum", "N", "N", "Sum, failing on overflow"),
    ("avg", "N", "N", "Average"),
    ("min", "E", "E", "Smallest value"),
    ("max", "E", "E", "Largest value"),
    (
        "min_by",
        "T, E",
        "T",
        "Value of the row with the smallest key",
    ),
    (
        "max_by",
        "T, E",
        "T",
        "Value of the row with the largest key",
    ),
    ("arbitrary", "T", "T", "Any value that is not NULL"),
    ("any_value", "T", "T", "Any value that is not NULL"),
    ("array_agg", "T", "array(T)", "All values as an array"),
    ("map_agg", "K, V", "map(K,V)", "A map of keys and values"),
    (
        "multimap_agg",
        "K, V",
        "map(K,array(V))",
        "A map of keys and all their values",
    ),
    (
        "histogram",
        "K",
        "map(K,bigint)",
        "How often each value occurs",
    ),
    (
        "listagg",
        "varchar, varchar",
        "varchar",
        "Values joined with a separator",
    ),
    ("bool_and", "boolean", "boolean", "Are all true?"),
    ("every", "boolean", "boolean", "Are all true?"),
    ("bool_or", "boolean", "boolean", "Is any true?"),
    (
        "approx_distinct",
        "T",
        "bigint",
        "Approximate number of distinct values",
    ),
    (
        "approx_percentile",
        "N, double",
        "N",
        "Approximate percentile",
    ),
    (
        "bitwise_and_agg",
        "bigint",
        "bigint",
        "Bitwise and of all values",
    ),
    (
        "bitwise_or_agg",
        "bigint",
        "bigint",
        "Bitwise or of all values",
    ),
    (
        "bitwise_xor_agg",
        "bigint",
        "bigint",
        "Bitwise xor of all values",
    ),
    ("stddev", "double", "double", "Sample standard deviation"),
    (
        "stddev_samp",
        "double",
        "double",
        "Sample standard deviation",
    ),
    (
        "stddev_pop",
        "double",
        "double",
        "Population standard deviation",
    ),
    ("variance", "double", "double", "Sample variance"),
    ("var_samp", "double", "double", "Sample variance"),
    ("var_pop", "double", "double", "Population variance"),
    (
        "covar_samp",
        "double, double",
        "double",
        "Sample covariance",
    ),
    (
        "covar_pop",
        "double, double",
        "double",
        "Population covariance",
    ),
    (
        "corr",
        "double, double",
        "double",
        "Correlation coefficient",
    ),
    (
        "regr_slope",
        "double, double",
        "double",
        "Slope of the regression line",
    ),
    (
        "regr_intercept",
        "double, double",
        "double",
        "Intercept of the regression line",
    ),
    ("geometric_mean", "double", "double", "Geometric mean"),
    (
        "grouping",
        "T, ...",
        "integer",
        "Which keys the grouping set leaves out, as bits",
    ),
];

const WINDOWS: Names = &[
    (
        "row_number",
        "",
        "bigint",
        "Number of the row in its partition",
    ),
    ("rank", "", "bigint", "Rank with gaps"),
    ("dense_rank", "", "bigint", "Rank without gaps"),
    ("percent_rank", "", "double", "Rank between 0 and 1"),
    ("cume_dist", "", "double", "Share of rows up to this one"),
    ("ntile", "bigint", "bigint", "Number of the bucket"),
    ("lag", "T, bigint, T", "T", "Value of an earlier row"),
    ("lead", "T, bigint, T", "T", "Value of a later row"),
    ("first_value", "T", "T", "Value of the frame's first row"),
    ("last_value", "T", "T", "Value of the frame's last row"),
    (
        "nth_value",
        "T, bigint",
        "T",
        "Value of the frame's n-th row",
    ),
];
