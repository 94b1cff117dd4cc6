//! The syntax tree of the dialect: only what the parser accepts exists here, and every node knows its place.

use crate::failure::Pos;

/// A name as written; `value` is what is looked up (lower case), `written` is what labels a column.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Ident {
    pub(crate) value: String,
    pub(crate) written: String,
    pub(crate) quoted: bool,
    pub(crate) pos: Pos,
}

/// A dotted name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Name {
    pub(crate) parts: Vec<Ident>,
}

impl Name {
    pub(crate) fn pos(&self) -> Pos {
        self.parts
            .first()
            .map_or(Pos { line: 1, column: 1 }, |part| part.pos)
    }

    pub(crate) fn text(&self) -> String {
        self.parts
            .iter()
            .map(|part| part.value.as_str())
            .collect::<Vec<_>>()
            .join(".")
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct TypeName {
    pub(crate) pos: Pos,
    pub(crate) kind: TypeKind,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum TypeKind {
    /// Name in lower case and numeric parameters.
    Plain(String, Vec<i64>),
    Array(Box<TypeName>),
    Map(Box<TypeName>, Box<TypeName>),
    Row(Vec<(Option<Ident>, TypeName)>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Arith {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulus,
}

impl Arith {
    pub(crate) fn symbol(self) -> &'static str {
        match self {
            Arith::Add => "+",
            Arith::Subtract => "-",
            Arith::Multiply => "*",
            Arith::Divide => "/",
            Arith::Modulus => "%",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Compare {
    Eq,
    NotEq,
    Lt,
    LtEq,
    Gt,
    GtEq,
}

impl Compare {
    pub(crate) fn symbol(self) -> &'static str {
        match self {
            Compare::Eq => "=",
            Compare::NotEq => "<>",
            Compare::Lt => "<",
            Compare::LtEq => "<=",
            Compare::Gt => ">",
            Compare::GtEq => ">=",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Unit {
    Year,
    Month,
    Week,
    Day,
    Hour,
    Minute,
    Second,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Expr {
    pub(crate) pos: Pos,
    pub(crate) kind: Box<Kind>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Null,
    Boolean(bool),
    Text(String),
    Bytes(Vec<u8>),
    Integer(String),
    Decimal(String),
    Double(String),
    /// `DATE '…'`, `BIGINT '5'`, …
    Typed(TypeName, String),
    Interval {
        negative: bool,
        value: String,
        from: Unit,
        to: Option<Unit>,
    },
    Parameter(usize),
    Ident(Ident),
    Dereference(Expr, Ident),
    Negate(Expr),
    Arith(Arith, Expr, Expr),
    Concat(Vec<Expr>),
    AtTimeZone(Expr, Expr),
    Compare(Compare, Expr, Expr),
    Quantified {
        op: Compare,
        all: bool,
        left: Expr,
        query: Query,
    },
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Not(Expr),
    IsNull(Expr),
    Distinct(Expr, Expr),
    /// `x IS TRUE`, `x IS FALSE`; `None` is `IS UNKNOWN`.
    IsTruth(Expr, Option<bool>),
    Between {
        expr: Expr,
        low: Expr,
        high: Expr,
        symmetric: bool,
    },
    InList(Expr, Vec<Expr>),
    InQuery(Expr, Query),
    Exists(Query),
    Like {
        expr: Expr,
        pattern: Expr,
        escape: Option<Expr>,
    },
    Subquery(Query),
    Case {
        operand: Option<Expr>,
        whens: Vec<(Expr, Expr)>,
        otherwise: Option<Expr>,
    },
    Cast {
        expr: Expr,
        ty: TypeName,
        try_cast: bool,
    },
    Call(Call),
    Lambda(Vec<Ident>, Expr),
    Array(Vec<Expr>),
    Row(Vec<Expr>),
    Subscript(Expr, Expr),
    Extract(Ident, Expr),
    /// `current_timestamp(3)`, `localtime`, `current_user`, …: the word in lower case.
    Special(String, Option<u8>),
    /// A JSON function with its own grammar: `json_value('…', 'lax $.a' …)`.
    Json {
        function: String,
        input: Expr,
        path: String,
        returning: Option<TypeName>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Call {
    pub(crate) name: Name,
    pub(crate) args: Vec<Expr>,
    pub(crate) star: bool,
    pub(crate) distinct: bool,
    pub(crate) order_by: Vec<SortItem>,
    pub(crate) filter: Option<Expr>,
    pub(crate) ignore_nulls: Option<bool>,
    pub(crate) over: Option<Over>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Over {
    Named(Ident),
    Spec(Window),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Window {
    pub(crate) pos: Pos,
    pub(crate) base: Option<Ident>,
    pub(crate) partition_by: Vec<Expr>,
    pub(crate) order_by: Vec<SortItem>,
    pub(crate) frame: Option<Frame>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum FrameUnit {
    Rows,
    Range,
    Groups,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Frame {
    pub(crate) pos: Pos,
    pub(crate) unit: FrameUnit,
    pub(crate) start: Bound,
    pub(crate) end: Option<Bound>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Bound {
    UnboundedPreceding,
    Preceding(Expr),
    CurrentRow,
    Following(Expr),
    UnboundedFollowing,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct SortItem {
    pub(crate) expr: Expr,
    pub(crate) descending: bool,
    /// Trino puts NULL last both ways unless told.
    pub(crate) nulls_first: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Query {
    pub(crate) pos: Pos,
    pub(crate) with: Vec<Cte>,
    pub(crate) recursive: bool,
    pub(crate) body: Body,
    pub(crate) order_by: Vec<SortItem>,
    pub(crate) offset: Option<Expr>,
    pub(crate) limit: Option<Expr>,
    pub(crate) with_ties: Option<Pos>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Cte {
    pub(crate) name: Ident,
    pub(crate) columns: Vec<Ident>,
    pub(crate) query: Query,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum SetKind {
    Union,
    Intersect,
    Except,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Body {
    Select(Box<Select>),
    Values(Vec<Expr>),
    Table(Name),
    Query(Box<Query>),
    Set {
        kind: SetKind,
        all: bool,
        left: Box<Body>,
        right: Box<Body>,
        pos: Pos,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Item {
    Expr(Expr, Option<Ident>),
    Star(Pos),
    /// `t.*` or `(row).*`, with column aliases.
    Qualified(Expr, Vec<Ident>),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Select {
    pub(crate) pos: Pos,
    pub(crate) distinct: bool,
    pub(crate) items: Vec<Item>,
    pub(crate) from: Option<Relation>,
    pub(crate) filter: Option<Expr>,
    pub(crate) group_by: Option<GroupBy>,
    pub(crate) having: Option<Expr>,
    pub(crate) windows: Vec<(Ident, Window)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct GroupBy {
    pub(crate) pos: Pos,
    pub(crate) distinct: bool,
    pub(crate) elements: Vec<Grouping>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Grouping {
    Simple(Vec<Expr>),
    Rollup(Vec<Vec<Expr>>),
    Cube(Vec<Vec<Expr>>),
    Sets(Vec<Vec<Expr>>),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Relation {
    pub(crate) pos: Pos,
    pub(crate) kind: Box<RelationKind>,
    pub(crate) alias: Option<Alias>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Alias {
    pub(crate) name: Ident,
    pub(crate) columns: Vec<Ident>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum RelationKind {
    Table {
        name: Name,
        version: Option<Version>,
    },
    Subquery(Query),
    Lateral(Query),
    Unnest {
        exprs: Vec<Expr>,
        ordinality: bool,
    },
    Nested(Relation),
    Join {
        kind: JoinKind,
        left: Relation,
        right: Relation,
        on: On,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Version {
    Version(Expr),
    Timestamp(Expr),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum JoinKind {
    Inner,
    Left,
    Right,
    Full,
    Cross,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum On {
    None,
    Expr(Expr),
    Using(Vec<Ident>),
    Natural,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Like {
    pub(crate) pattern: String,
    pub(crate) escape: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExplainKind {
    Logical,
    Distributed,
    Validate,
    Io,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Statement {
    Query(Query),
    Explain {
        kind: ExplainKind,
        json: bool,
        analyze: bool,
        statement: Box<Statement>,
    },
    ShowCatalogs(Option<Like>),
    ShowSchemas {
        catalog: Option<Ident>,
        like: Option<Like>,
    },
    ShowTables {
        schema: Option<Name>,
        like: Option<Like>,
    },
    ShowColumns {
        table: Name,
        like: Option<Like>,
    },
    ShowCreateTable(Name),
    ShowCreateView(Name),
    ShowCreateSchema(Name),
    ShowFunctions(Option<Like>),
    ShowSession(Option<Like>),
    ShowStats(Name),
    /// `SHOW ROLES`, `SHOW CURRENT ROLES`, `SHOW ROLE GRANTS`, `SHOW GRANTS`: the words after SHOW.
    ShowRoles(String),
    DescribeInput(Ident),
    DescribeOutput(Ident),
    Use {
        catalog: Option<Ident>,
        schema: Ident,
    },
    SetSession(Name, Expr),
    ResetSession(Name),
    SetTimeZone(Option<Expr>),
    SetRole(String),
    Prepare {
        name: Ident,
        sql: String,
    },
    Execute {
        name: Ident,
        args: Vec<Expr>,
    },
    ExecuteImmediate {
        sql: String,
        pos: Pos,
        args: Vec<Expr>,
    },
    Deallocate(Ident),
    StartTransaction {
        isolation: Option<String>,
        pos: Pos,
    },
    Commit,
    Rollback,
    Call {
        name: Name,
        args: Vec<(Option<Ident>, Expr)>,
    },
    /// A statement of Trino's that this engine does not run.
    Refused {
        construct: String,
        pos: Pos,
    },
}
