//! Aggregates OVER the rows before each row.

use std::cell::RefCell;
use std::sync::Arc;

use datafusion_common::ScalarValue;

use super::Planner;
use super::aggregate::register;
use super::expr::{Analyzer, whole};
use super::grouping::Grouping;
use super::rel::{Field, Op, Rel, Role};
use super::scope::Scope;
use super::typed::{Typed, TypedKind};
use crate::error::{Error, Position};
use crate::graph::ChangelogMode;
use crate::operators::over::OverFrame;
use crate::sql::ast::{Call, Frame, FrameBound, Ident, Over, Select};

/// The window that the calls of a SELECT share, and its named ones.
pub(crate) struct Overs {
    named: Vec<(Ident, Over)>,
    /// How many columns are there before the results.
    width: usize,
    shared: RefCell<Option<(Over, Position)>>,
}

/// The window that `over` names, or itself.
pub(super) fn resolved<'s>(
    windows: &'s [(Ident, Over)],
    over: &'s Over,
) -> Result<&'s Over, Error> {
    let Some(name) = &over.name else {
        return Ok(over);
    };
    let mut windows = windows.iter();
    let found = windows.find(|(known, _)| known.value == name.value);
    found
        .map(|(_, over)| over)
        .ok_or_else(|| Error::validation(format!("unknown window `{}`", name.value), name.position))
}

/// Takes the aggregates OVER in a SELECT whose rows have `width` columns.
pub(super) fn grouping(select: &Select, width: usize) -> Grouping {
    Grouping {
        over: Some(Overs {
            named: select.windows.clone(),
            width,
            shared: RefCell::new(None),
        }),
        ..Grouping::default()
    }
}

impl Overs {
    /// Whether `call` is one of an aggregate OVER.
    pub(super) fn takes(&self, call: &Call) -> bool {
        call.over.is_some() && super::is_aggregate(&call.name)
    }

    /// Notes the call and gives the column of its result.
    pub(super) fn register(
        &self,
        analyzer: &Analyzer<'_>,
        grouping: &Grouping,
        call: &Call,
        at: Position,
    ) -> Result<Typed, Error> {
        if let Some(over) = &call.over {
            let over = resolved(&self.named, over)?;
            let mut shared = self.shared.borrow_mut();
            match &*shared {
                Some((known, _)) if !self.is_same(analyzer, known, over)? => {
                    return Err(Error::unsupported(
                        "OVER of another window than that of the aggregate before",
                        at,
                        "; as in Flink, all aggregates are computed on the same window",
                    ));
                }
                Some(_) => {}
                None => *shared = Some((over.clone(), at)),
            }
        }
        let call = Call {
            over: None,
            ..call.clone()
        };
        let result = register(analyzer, grouping, &call, at)?;
        Ok(result.remap(&|column| column + self.width))
    }

    /// Whether two windows are the same, wherever they are written.
    fn is_same(&self, analyzer: &Analyzer<'_>, one: &Over, other: &Over) -> Result<bool, Error> {
        let plain = Analyzer {
            grouping: None,
            ..*analyzer
        };
        let shown = |over: &Over| -> Result<String, Error> {
            let partition = over.partition.iter().map(|expr| plain.expr(expr));
            let partition = partition.collect::<Result<Vec<_>, _>>()?;
            let order = over.order.iter();
            let order = order.map(|order| Ok((plain.expr(&order.expr)?, order.descending)));
            let order = order.collect::<Result<Vec<_>, Error>>()?;
            let frame = over.frame.as_ref().map(|frame| frame_of(frame, &plain));
            Ok(format!("{partition:?} {order:?} {:?}", frame.transpose()?))
        };
        Ok(shown(one)? == shown(other)?)
    }
}

impl Planner<'_> {
    /// `rel` with the arguments and results of the calls that were noted in `grouping`, and `items`, which were analysed
    /// before, over its columns.
    pub(super) fn with_overs(
        &self,
        rel: Arc<Rel>,
        scope: &Scope,
        grouping: &Grouping,
        items: &mut [(String, Typed)],
    ) -> Result<Arc<Rel>, Error> {
        let shared = grouping
            .over
            .as_ref()
            .and_then(|overs| overs.shared.borrow().clone());
        let Some((over, at)) = shared else {
            return Ok(rel);
        };
        if !rel.is_append() {
            return Err(Error::unsupported(
                "an aggregate OVER rows that are updated or deleted",
                at,
                "",
            ));
        }
        let analyzer = self.analyzer(scope, None);
        let width = rel.fields.len();
        let mut columns = rel.all();
        for (index, argument) in grouping.arguments.borrow().iter().enumerate() {
            columns.push((format!("$argument{index}"), argument.clone()));
        }
        let mut partition = Vec::new();
        for expr in &over.partition {
            let typed = analyzer.expr(expr)?;
            partition.push(match typed.kind {
                TypedKind::Column(column) => column,
                _ => {
                    columns.push((format!("$partition{}", columns.len()), typed));
                    columns.len() - 1
                }
            });
        }
        let time = time_of(&over, &analyzer, &rel, at)?;
        let frame = match &over.frame {
            Some(frame) => frame_of(frame, &analyzer)?,
            None => OverFrame::Range(None),
        };
        let input = Rel::calc(rel, None, columns);
        let mut fields = input.fields.clone();
        let mut calls = grouping.calls.borrow().clone();
        for (index, call) in calls.iter_mut().enumerate() {
            if let Some((column, _)) = &mut call.argument {
                *column += width;
            }
            call.filter = call.filter.map(|filter| filter + width);
            call.retracts = call.distinct || frame.is_bounded();
            fields.push(Field::plain(format!("$over{index}"), call.result.clone()));
        }
        let first = input.fields.len();
        for (_, item) in items {
            *item = item.remap(&|column| match column.checked_sub(width) {
                None => column,
                Some(call) => first + call,
            });
        }
        Ok(Arc::new(Rel {
            op: Op::Over {
                partition,
                time,
                frame,
                calls,
            },
            inputs: vec![input],
            fields,
            changes: ChangelogMode::InsertOnly,
        }))
    }
}

/// The event time by which the rows are ordered.
fn time_of(over: &Over, analyzer: &Analyzer<'_>, rel: &Rel, at: Position) -> Result<usize, Error> {
    let refuse = |what: &str, hint: &str| Err(Error::unsupported(what, at, hint));
    let [order] = &over.order[..] else {
        return refuse("OVER without ORDER BY one time attribute", "");
    };
    let role = match analyzer.expr(&order.expr)?.kind {
        TypedKind::Column(column) => Some((column, rel.fields[column].role)),
        _ => None,
    };
    match role {
        Some((_, Role::Proctime)) => refuse(
            "an aggregate OVER processing time",
            "; ORDER BY a column with a WATERMARK",
        ),
        Some((column, Role::Rowtime)) if !order.descending => Ok(column),
        _ => refuse(
            "OVER ordered by anything but a time attribute, ascending",
            "",
        ),
    }
}

fn frame_of(frame: &Frame, analyzer: &Analyzer<'_>) -> Result<OverFrame, Error> {
    if frame.end != FrameBound::CurrentRow {
        return Err(Error::unsupported(
            "OVER a frame that does not end at CURRENT ROW",
            frame.position,
            "",
        ));
    }
    let wrong = |what: &str| Err(Error::validation(format!("OVER: {what}"), frame.position));
    let by = match &frame.start {
        FrameBound::Preceding(None) => None,
        FrameBound::Preceding(Some(by)) => Some(analyzer.expr(by)?),
        FrameBound::CurrentRow if frame.rows => return Ok(OverFrame::Rows(Some(0))),
        FrameBound::CurrentRow => return Ok(OverFrame::Range(Some(0))),
        FrameBound::Following(_) => return wrong("a frame begins at or before CURRENT ROW"),
    };
    match (by, frame.rows) {
        (None, true) => Ok(OverFrame::Rows(None)),
        (None, false) => Ok(OverFrame::Range(None)),
        (Some(by), true) => match whole(&by).and_then(|by| u64::try_from(by).ok()) {
            Some(by) => Ok(OverFrame::Rows(Some(by))),
            None => wrong("ROWS needs a number of rows"),
        },
        (Some(by), false) => match by.kind {
            TypedKind::Literal(ScalarValue::DurationMillisecond(Some(by))) if by >= 0 => {
                Ok(OverFrame::Range(Some(by)))
            }
            _ => wrong("RANGE needs an interval of days or less"),
        },
    }
}
