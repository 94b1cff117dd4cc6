//! The resolved, typed plan of a query: a tree of relational steps over named, typed columns.

use std::sync::Arc;

use arrow::datatypes::{Field as ArrowField, Schema, SchemaRef};

use crate::error::Position;
use crate::graph::ChangelogMode;
use crate::operators::aggregate::AggregateCall;
use crate::operators::over::OverFrame;
use crate::operators::top_n::{RankRange, SortColumn};
use crate::operators::unnest::Collection;
use crate::plan::typed::Typed;
use crate::sql::ast::JoinKind;
use crate::table::{SqlType, TableDefinition};

/// What a column means for time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Plain,
    /// Event time: the watermark speaks about it.
    Rowtime,
    /// Processing time.
    Proctime,
    WindowStart,
    /// The end of a window; `true` if it is the wall clock of a TIMESTAMP_LTZ.
    WindowEnd(bool),
}

/// A column of a step's result.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) ty: SqlType,
    pub(crate) role: Role,
}

impl Field {
    pub(crate) fn plain(name: impl Into<String>, ty: SqlType) -> Self {
        Field {
            name: name.into(),
            ty,
            role: Role::Plain,
        }
    }
}

/// How a window function assigns windows; milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WindowKind {
    Tumble { size: i64, offset: i64 },
    Hop { slide: i64, size: i64, offset: i64 },
    Cumulate { step: i64, size: i64, offset: i64 },
    Session { gap: i64 },
}

impl WindowKind {
    /// As Flink's plans print it.
    pub(crate) fn shown(&self, time: &str) -> String {
        let span = |key: &str, millis: i64| format!(", {key}=[{}]", shown_duration(millis));
        let moved = |offset: i64| match offset {
            0 => String::new(),
            _ => span("offset", offset),
        };
        let (function, rest) = match *self {
            WindowKind::Tumble { size, offset } => ("TUMBLE", span("size", size) + &moved(offset)),
            WindowKind::Hop {
                slide,
                size,
                offset,
            } => (
                "HOP",
                span("size", size) + &span("slide", slide) + &moved(offset),
            ),
            WindowKind::Cumulate { step, size, offset } => (
                "CUMULATE",
                span("max_size", size) + &span("step", step) + &moved(offset),
            ),
            WindowKind::Session { gap } => ("SESSION", span("gap", gap)),
        };
        format!("{function}(time_col=[{time}]{rest})")
    }
}

/// Milliseconds in the largest unit that has no fraction, as Flink writes durations.
pub(crate) fn shown_duration(millis: i64) -> String {
    let units = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "min"),
        (1000, "s"),
    ];
    let unit = units
        .into_iter()
        .find(|(unit, _)| millis != 0 && millis % unit == 0);
    let (unit, name) = unit.unwrap_or((1, "ms"));
    format!("{} {name}", millis / unit)
}

/// A step of a plan, without its inputs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Op {
    /// Every column of the table; pruned later.
    Scan(Arc<TableDefinition>),
    /// Filter, then project.
    Calc {
        filter: Option<Typed>,
        exprs: Vec<Typed>,
    },
    /// Appends window_start, window_end and window_time.
    Window {
        kind: WindowKind,
        time: usize,
        partition: Vec<usize>,
    },
    /// Groups by `keys` within the window that ends at column `end`.
    WindowAggregate {
        end: usize,
        keys: Vec<usize>,
        calls: Vec<AggregateCall>,
    },
    /// Session windows over `time`; the keys at `windows` are window columns, filled in when the session closes.
    SessionAggregate {
        gap: i64,
        time: usize,
        keys: Vec<usize>,
        windows: Vec<SessionColumn>,
        calls: Vec<AggregateCall>,
    },
    /// Updating aggregation.
    GroupAggregate {
        keys: Vec<usize>,
        calls: Vec<AggregateCall>,
    },
    /// Appends a row number; becomes one of the three below when a condition says which numbers are asked for.
    RowNumber {
        partition: Vec<usize>,
        order: Vec<SortColumn>,
        at: Position,
    },
    /// Appends a row number and keeps those of `range`.
    Rank {
        partition: Vec<usize>,
        order: Vec<SortColumn>,
        range: RankRange,
        /// Whether nothing is taken back from the input.
        appends: bool,
        /// Whether an update that is no better than the row before it takes its place among equals.
        in_place: bool,
    },
    /// The same in the windows that end at column `end`, once they are over.
    WindowRank {
        partition: Vec<usize>,
        order: Vec<SortColumn>,
        range: RankRange,
        end: usize,
        /// Whether of equal rows the later one is the better.
        later_first: bool,
    },
    /// Orders inserts by event time, then by `order`.
    TemporalSort {
        time: usize,
        order: Vec<SortColumn>,
    },
    /// One row a key.
    Dedup {
        keys: Vec<usize>,
        /// The row-time column, or `None` for processing time.
        order: Option<usize>,
        keep_last: bool,
    },
    Join {
        kind: JoinKind,
        left_keys: Vec<usize>,
        right_keys: Vec<usize>,
        /// Over the columns of both sides.
        condition: Option<Typed>,
        /// What a `STATE_TTL` hint says of each side, in milliseconds; 0 keeps for ever.
        ttl: [Option<i64>; 2],
    },
    /// Within equal windows, whose ends are at `ends` of the sides.
    WindowJoin {
        kind: JoinKind,
        left_keys: Vec<usize>,
        right_keys: Vec<usize>,
        ends: [usize; 2],
        condition: Option<Typed>,
    },
    /// Within an interval of event time; `reach` as in [`crate::operators::interval_join::IntervalJoin`].
    IntervalJoin {
        kind: JoinKind,
        left_keys: Vec<usize>,
        right_keys: Vec<usize>,
        times: [usize; 2],
        reach: [i64; 2],
        condition: Option<Typed>,
    },
    TemporalJoin {
        outer: bool,
        left_keys: Vec<usize>,
        right_keys: Vec<usize>,
        left_time: usize,
        right_time: usize,
        condition: Option<Typed>,
    },
    Union,
    /// Appends what aggregates give over the rows before each row, in the order of event time.
    Over {
        partition: Vec<usize>,
        time: usize,
        frame: OverFrame,
        calls: Vec<AggregateCall>,
    },
    /// The rows of the input, each with the elements of a collection in it.
    Unnest {
        column: usize,
        collection: Collection,
        ordinality: bool,
        outer: bool,
        /// Of an outer one, over the columns of both sides.
        condition: Option<Typed>,
    },
    /// Turns row numbers into these rows.
    Values(Vec<Vec<Typed>>),
}

/// What all kinds of joins have.
pub(crate) struct JoinParts<'o> {
    pub(crate) keys: [&'o [usize]; 2],
    pub(crate) condition: Option<&'o Typed>,
    /// Columns of the sides by which it knows when rows are over.
    pub(crate) times: Option<[usize; 2]>,
}

impl Op {
    /// The parts of a join.
    pub(crate) fn join(&self) -> Option<JoinParts<'_>> {
        let (left, right, condition, times) = match self {
            Op::Join {
                left_keys,
                right_keys,
                condition,
                ..
            } => (left_keys, right_keys, condition, None),
            Op::WindowJoin {
                left_keys,
                right_keys,
                condition,
                ends: times,
                ..
            }
            | Op::IntervalJoin {
                left_keys,
                right_keys,
                condition,
                times,
                ..
            } => (left_keys, right_keys, condition, Some(*times)),
            Op::TemporalJoin {
                left_keys,
                right_keys,
                left_time,
                right_time,
                condition,
                ..
            } => (
                left_keys,
                right_keys,
                condition,
                Some([*left_time, *right_time]),
            ),
            _ => return None,
        };
        Some(JoinParts {
            keys: [left, right],
            condition: condition.as_ref(),
            times,
        })
    }
}

/// A column that a session window adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionColumn {
    Start,
    End,
    Time,
}

/// A step with its inputs and result.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rel {
    pub(crate) op: Op,
    pub(crate) inputs: Vec<Arc<Rel>>,
    pub(crate) fields: Vec<Field>,
    pub(crate) changes: ChangelogMode,
}

impl Rel {
    /// A projection of `input`; columns that pass through keep their role.
    pub(crate) fn calc(
        input: Arc<Rel>,
        filter: Option<Typed>,
        items: Vec<(String, Typed)>,
    ) -> Arc<Rel> {
        let mut fields = Vec::with_capacity(items.len());
        let mut exprs = Vec::with_capacity(items.len());
        for (name, expr) in items {
            let role = match &expr.kind {
                super::typed::TypedKind::Column(index) => input.fields[*index].role,
                super::typed::TypedKind::Call(kernel, _) if &*kernel.name == "PROCTIME" => {
                    Role::Proctime
                }
                _ => Role::Plain,
            };
            fields.push(Field {
                name,
                ty: expr.ty.clone(),
                role,
            });
            exprs.push(expr);
        }
        let changes = input.changes;
        Arc::new(Rel {
            op: Op::Calc { filter, exprs },
            inputs: vec![input],
            fields,
            changes,
        })
    }

    /// `input` with the rows that `filter` accepts.
    pub(crate) fn filter(input: Arc<Rel>, filter: Typed) -> Arc<Rel> {
        let items = input.all();
        Rel::calc(input, Some(filter), items)
    }

    /// Every column as an expression under its name.
    pub(crate) fn all(&self) -> Vec<(String, Typed)> {
        self.fields
            .iter()
            .enumerate()
            .map(|(index, field)| (field.name.clone(), Typed::column(index, field.ty.clone())))
            .collect()
    }

    /// Whether only inserts come out.
    pub(crate) fn is_append(&self) -> bool {
        self.changes == ChangelogMode::InsertOnly
    }
}

/// The Arrow schema of `fields`.
pub(crate) fn schema(fields: &[Field]) -> SchemaRef {
    let fields: Vec<ArrowField> = fields
        .iter()
        .map(|field| ArrowField::new(&field.name, field.ty.arrow(), true))
        .collect();
    Arc::new(Schema::new(fields))
}
