//! What the parser makes of SQL text, before any name is resolved.
//!
//! Every node that can be refused carries its position. Made by [`crate::sql::parser`], read by [`crate::plan`].

use std::collections::BTreeMap;

use crate::error::Position;
use crate::table::SqlType;

/// A name as written and where.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ident {
    pub(crate) value: String,
    pub(crate) position: Position,
}

/// An expression and where it begins.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Expr {
    pub(crate) kind: ExprKind,
    pub(crate) position: Position,
}

/// Units of time in EXTRACT, FLOOR, TIMESTAMPADD and intervals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum TimeUnit {
    Millisecond,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
    DayOfWeek,
    DayOfYear,
    Decade,
    Century,
    Millennium,
    Epoch,
    Microsecond,
    Nanosecond,
    IsoYear,
    IsoDayOfWeek,
}

/// Operators with two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum BinaryOp {
    Or,
    And,
    Eq,
    NotEq,
    Lt,
    LtEq,
    Gt,
    GtEq,
    Plus,
    Minus,
    Multiply,
    Divide,
    Modulo,
    Concat,
}

/// A constant.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Literal {
    Null,
    Boolean(bool),
    Number(String),
    Text(String),
    Binary(Vec<u8>),
    Date(String),
    Time(String),
    Timestamp(String),
    TimestampLtz(String),
    /// Months.
    YearMonth(i32),
    /// Milliseconds.
    DayTime(i64),
}

/// The shapes of expressions.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ExprKind {
    Name(Vec<Ident>),
    Literal(Literal),
    Not(Box<Expr>),
    Negate(Box<Expr>),
    Binary(BinaryOp, Box<Expr>, Box<Expr>),
    IsNull(Box<Expr>, bool),
    /// `IS [NOT] TRUE|FALSE|UNKNOWN`; the middle is what is tested for, `None` is UNKNOWN.
    IsTruth(Box<Expr>, Option<bool>, bool),
    IsDistinct(Box<Expr>, Box<Expr>, bool),
    /// `IS [NOT] JSON [OBJECT|ARRAY|SCALAR]`
    IsJson(Box<Expr>, String, bool),
    Between(Box<Expr>, Box<Expr>, Box<Expr>, bool),
    InList(Box<Expr>, Vec<Expr>, bool),
    InQuery(Box<Expr>, Box<Query>, bool),
    Exists(Box<Query>),
    Scalar(Box<Query>),
    /// `LIKE` or `SIMILAR TO` with pattern and escape.
    Like {
        value: Box<Expr>,
        pattern: Box<Expr>,
        escape: Option<Box<Expr>>,
        negated: bool,
        similar: bool,
    },
    Case {
        operand: Option<Box<Expr>>,
        branches: Vec<(Expr, Expr)>,
        otherwise: Option<Box<Expr>>,
    },
    Cast {
        value: Box<Expr>,
        to: SqlType,
        attempt: bool,
    },
    Call(Box<Call>),
    Field(Box<Expr>, Ident),
    Index(Box<Expr>, Box<Expr>),
    Array(Vec<Expr>),
    Map(Vec<Expr>),
    Row(Vec<Expr>),
    Unit(TimeUnit),
    AtTimeZone(Box<Expr>, Box<Expr>),
}

/// A function call with all that may hang on it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Call {
    /// Upper case.
    pub(crate) name: String,
    pub(crate) args: Vec<Expr>,
    /// `COUNT(*)`
    pub(crate) star: bool,
    pub(crate) distinct: bool,
    pub(crate) filter: Option<Expr>,
    pub(crate) over: Option<Over>,
    /// Clauses of the JSON functions and TRIM, upper case, in order, as `RETURNING INT` or `NULL ON EMPTY`.
    pub(crate) clauses: Vec<Clause>,
}

/// A clause inside the parentheses of a call.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Clause {
    Word(String),
    Returning(SqlType),
    /// `DEFAULT value ON EMPTY|ERROR`
    Default(Expr, String),
}

/// `OVER (…)` or `OVER name`
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Over {
    /// What the WINDOW clause calls it; all else is there then.
    pub(crate) name: Option<Ident>,
    pub(crate) partition: Vec<Expr>,
    pub(crate) order: Vec<Order>,
    pub(crate) frame: Option<Frame>,
}

/// `ROWS BETWEEN … AND …` or `RANGE BETWEEN … AND …`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Frame {
    pub(crate) rows: bool,
    pub(crate) start: FrameBound,
    pub(crate) end: FrameBound,
    pub(crate) position: Position,
}

/// Where a frame begins or ends.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum FrameBound {
    CurrentRow,
    /// As much before; `None` is UNBOUNDED.
    Preceding(Option<Expr>),
    /// As much after; `None` is UNBOUNDED.
    Following(Option<Expr>),
}

/// An item of `ORDER BY`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Order {
    pub(crate) expr: Expr,
    pub(crate) descending: bool,
    pub(crate) nulls_first: Option<bool>,
}

/// A query with its WITH, ORDER BY and LIMIT.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Query {
    pub(crate) ctes: Vec<(Ident, Vec<Ident>, Query)>,
    pub(crate) body: SetExpr,
    pub(crate) order: Vec<Order>,
    pub(crate) limit: Option<Expr>,
    pub(crate) offset: Option<Expr>,
    pub(crate) position: Position,
}

/// The body of a query.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum SetExpr {
    Select(Box<Select>),
    Nested(Box<Query>),
    Values(Vec<Vec<Expr>>, Position),
    Set {
        operator: SetOperator,
        all: bool,
        left: Box<SetExpr>,
        right: Box<SetExpr>,
        position: Position,
    },
}

/// `UNION`, `INTERSECT`, `EXCEPT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SetOperator {
    Union,
    Intersect,
    Except,
}

/// `SELECT … FROM … WHERE … GROUP BY … HAVING …`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Select {
    pub(crate) distinct: bool,
    pub(crate) items: Vec<SelectItem>,
    pub(crate) from: Option<TableRef>,
    pub(crate) filter: Option<Expr>,
    /// All that is grouped by.
    pub(crate) group: Vec<Expr>,
    /// With GROUPING SETS, CUBE or ROLLUP: the sets, as places in `group`.
    pub(crate) grouping_sets: Option<Vec<Vec<usize>>>,
    pub(crate) having: Option<Expr>,
    /// `WINDOW name AS (…)`
    pub(crate) windows: Vec<(Ident, Over)>,
    pub(crate) hints: Vec<Hint>,
    pub(crate) position: Position,
}

/// An item of the select list.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum SelectItem {
    Expr(Expr, Option<Ident>),
    Star(Position),
    QualifiedStar(Ident),
}

/// `NAME('k'='v', …)` between `/*+` and `*/`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Hint {
    pub(crate) name: String,
    pub(crate) options: BTreeMap<String, String>,
    pub(crate) position: Position,
}

/// What stands in FROM.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TableRef {
    pub(crate) kind: TableKind,
    pub(crate) alias: Option<Ident>,
    pub(crate) columns: Vec<Ident>,
    pub(crate) position: Position,
}

/// The shapes of tables in FROM.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum TableKind {
    Named {
        path: Vec<Ident>,
        hints: Vec<Hint>,
        /// `FOR SYSTEM_TIME AS OF`
        as_of: Option<Expr>,
    },
    Query(Box<Query>),
    Window(Box<WindowCall>),
    Unnest {
        expr: Expr,
        ordinality: bool,
    },
    Join {
        left: Box<TableRef>,
        right: Box<TableRef>,
        kind: JoinKind,
        on: Option<Expr>,
        using: Vec<Ident>,
    },
}

/// Kinds of join.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum JoinKind {
    Inner,
    Left,
    Right,
    Full,
    Cross,
    /// Left rows that have a match; planned for IN and EXISTS.
    Semi,
    /// Left rows that have none; planned for NOT IN and NOT EXISTS.
    Anti,
}

impl JoinKind {
    /// As Flink's plans print it.
    pub(crate) fn shown(self) -> &'static str {
        match self {
            JoinKind::Inner | JoinKind::Cross => "InnerJoin",
            JoinKind::Left => "LeftOuterJoin",
            JoinKind::Right => "RightOuterJoin",
            JoinKind::Full => "FullOuterJoin",
            JoinKind::Semi => "LeftSemiJoin",
            JoinKind::Anti => "LeftAntiJoin",
        }
    }
}

/// `TABLE(TUMBLE(TABLE t, DESCRIPTOR(c), …))`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WindowCall {
    /// TUMBLE, HOP, CUMULATE or SESSION.
    pub(crate) name: String,
    pub(crate) input: TableRef,
    pub(crate) partition: Vec<Ident>,
    pub(crate) time_column: Ident,
    /// The intervals in Flink's positional order: (slide or step, size, offset) / (size, offset) / (gap).
    pub(crate) intervals: Vec<(Option<String>, Expr)>,
    pub(crate) position: Position,
}

/// Options in order of key.
pub(crate) type Options = BTreeMap<String, String>;

/// A statement.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Command {
    CreateCatalog {
        name: Ident,
        if_not_exists: bool,
        options: Options,
    },
    DropCatalog {
        name: Ident,
        if_exists: bool,
    },
    CreateDatabase {
        path: Vec<Ident>,
        if_not_exists: bool,
        options: Options,
    },
    DropDatabase {
        path: Vec<Ident>,
        if_exists: bool,
    },
    CreateTable(Box<CreateTable>),
    DropTable {
        path: Vec<Ident>,
        if_exists: bool,
        view: bool,
    },
    CreateView {
        path: Vec<Ident>,
        columns: Vec<Ident>,
        if_not_exists: bool,
        or_replace: bool,
        /// The query's own text and where it begins.
        text: String,
        query: Query,
        position: Position,
    },
    UseCatalog(Ident),
    UseDatabase(Vec<Ident>),
    Set(Option<(String, String)>),
    Reset(Option<String>),
    Insert(Box<Insert>),
    StatementSet(Vec<Insert>),
    Select(Query),
    Explain(Vec<Insert>, Option<Query>),
    Show(Show),
    Describe(Vec<Ident>),
}

/// `SHOW …`
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Show {
    Catalogs,
    CurrentCatalog,
    Databases,
    CurrentDatabase,
    Tables,
    Views,
    Functions,
    Columns(Vec<Ident>),
    CreateTable(Vec<Ident>),
    Jobs,
    Modules,
}

/// `INSERT INTO …`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Insert {
    pub(crate) path: Vec<Ident>,
    pub(crate) hints: Vec<Hint>,
    pub(crate) columns: Vec<Ident>,
    pub(crate) partition: Vec<(Ident, Expr)>,
    pub(crate) overwrite: bool,
    pub(crate) query: Query,
    pub(crate) position: Position,
}

/// `CREATE TABLE …`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CreateTable {
    pub(crate) path: Vec<Ident>,
    pub(crate) temporary: bool,
    pub(crate) if_not_exists: bool,
    pub(crate) columns: Vec<crate::table::Column>,
    pub(crate) watermark: Option<(String, String)>,
    pub(crate) primary_key: Vec<String>,
    pub(crate) partitioned_by: Vec<String>,
    pub(crate) options: Options,
    pub(crate) like: Option<(Vec<Ident>, Vec<String>)>,
    pub(crate) position: Position,
}
