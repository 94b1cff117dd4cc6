//! The old group windows: `GROUP BY TUMBLE(time, size)` or `HOP(time, slide, size)`, and `TUMBLE_START(…)` and the like
//! for their bounds. They are the window table functions, aggregated by all their columns.

use super::Planner;
use super::expr::Analyzer;
use super::from::Source;
use super::grouping::Grouping;
use super::typed::{Typed, TypedKind};
use crate::error::{Error, Position};
use crate::sql::ast::{Call, Expr, ExprKind, Ident, Select, WindowCall};

/// The columns of a window as the scope names them, which no query can, and as the step has them.
pub(super) const COLUMNS: [(&str, &str); 3] = [
    ("$window_start", "window_start"),
    ("$window_end", "window_end"),
    ("$window_time", "window_time"),
];

/// The window that is grouped by, as it was asked for.
#[derive(Clone)]
pub(crate) struct GroupWindow {
    name: String,
    args: Vec<Typed>,
}

/// The call of an old group window.
pub(super) fn call_of(expr: &Expr) -> Option<&Call> {
    match &expr.kind {
        ExprKind::Call(call) if matches!(call.name.as_str(), "TUMBLE" | "HOP" | "SESSION") => {
            Some(call)
        }
        _ => None,
    }
}

/// A column by its name in the scope.
pub(super) fn column(name: &str, position: Position) -> Expr {
    let value = name.to_owned();
    Expr {
        kind: ExprKind::Name(vec![Ident { value, position }]),
        position,
    }
}

impl Planner<'_> {
    /// The rows of `source` with the columns of the window that `select` groups by, if it does.
    pub(super) fn group_window(
        &self,
        source: Source,
        select: &Select,
    ) -> Result<(Source, Option<GroupWindow>), Error> {
        let mut calls = select
            .group
            .iter()
            .filter_map(|expr| Some((call_of(expr)?, expr.position)));
        let (Some((call, at)), Some(from)) = (calls.next(), &select.from) else {
            return Ok((source, None));
        };
        if let Some((_, second)) = calls.next() {
            return Err(Error::unsupported(
                "a second window in GROUP BY",
                second,
                "",
            ));
        }
        if call.name == "SESSION" {
            return Err(Error::unsupported(
                "GROUP BY SESSION(…)",
                at,
                "; write TABLE(SESSION(TABLE t PARTITION BY k, DESCRIPTOR(time), gap))",
            ));
        }
        let (rel, mut scope) = source;
        let analyzer = self.analyzer(&scope, None);
        let args = call.args.iter().map(|arg| analyzer.expr(arg));
        let args = args.collect::<Result<Vec<Typed>, Error>>()?;
        let time = match args.first().map(|time| &time.kind) {
            Some(TypedKind::Column(time)) => *time,
            _ => {
                let why = format!("{} is over a time attribute", call.name);
                return Err(Error::validation(why, at));
            }
        };
        let mut intervals = call.args[1..].iter().map(|arg| (None, arg.clone()));
        let assigning = WindowCall {
            name: call.name.clone(),
            input: from.clone(),
            partition: Vec::new(),
            time_column: Ident {
                value: rel.fields[time].name.clone(),
                position: call.args[0].position,
            },
            intervals: intervals.by_ref().collect(),
            position: at,
        };
        let rel = self.windowed(&assigning, rel, time, Vec::new())?;
        let added = rel.fields.iter().rev().take(COLUMNS.len()).rev();
        for ((name, _), field) in COLUMNS.iter().zip(added) {
            let mut field = field.clone();
            (*name).clone_into(&mut field.name);
            scope.columns.push((Some("$".to_owned()), field));
        }
        let name = call.name.clone();
        Ok(((rel, scope), Some(GroupWindow { name, args })))
    }
}

/// What `call` asks of the window that is grouped by: its start, its end or its time.
pub(super) fn bound(
    analyzer: &Analyzer<'_>,
    grouping: &Grouping,
    call: &Call,
    at: Position,
) -> Result<Option<Typed>, Error> {
    let Some((window, bound)) = call.name.split_once('_') else {
        return Ok(None);
    };
    let index = match bound {
        "START" => 0,
        "END" => 1,
        "ROWTIME" => 2,
        _ => return Ok(None),
    };
    if !matches!(window, "TUMBLE" | "HOP" | "SESSION") {
        return Ok(None);
    }
    let plain = Analyzer {
        grouping: None,
        ..*analyzer
    };
    let args = call.args.iter().map(|arg| plain.expr(arg));
    let args = args.collect::<Result<Vec<Typed>, Error>>()?;
    let grouped = grouping.window.as_ref();
    if !grouped.is_some_and(|grouped| grouped.name == window && grouped.args == args) {
        return Err(Error::validation(
            format!("{} needs the same window in GROUP BY", call.name),
            at,
        ));
    }
    analyzer.expr(&column(COLUMNS[index].0, at)).map(Some)
}
