//! ROW_NUMBER with a condition on the number: deduplication, Top-N, and both in windows.

mod sides;

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion_expr_common::operator::Operator;

pub(super) use self::sides::to_sides;
use super::Planner;
use super::condition::conjuncts;
use super::expr::{Analyzer, whole};
use super::rel::{Field, Op, Rel, Role};
use super::scope::Scope;
use super::typed::{Typed, TypedKind};
use crate::error::{Error, Position};
use crate::graph::ChangelogMode;
use crate::operators::aggregate::Function;
use crate::operators::top_n::{RankRange, SortColumn};
use crate::sql::ast::{Expr, ExprKind, Order, Over, Select, SelectItem};
use crate::table::{SqlType, TypeRoot};

/// The window of a ROW_NUMBER that is a whole item.
pub(super) fn row_number(expr: &Expr) -> Option<&Over> {
    match &expr.kind {
        ExprKind::Call(call) if call.name == "ROW_NUMBER" => call.over.as_ref(),
        _ => None,
    }
}

/// A ROW_NUMBER among the items of a SELECT.
pub(super) struct Numbering<'s> {
    partition: Vec<Typed>,
    order: Vec<(&'s Order, Typed)>,
    at: Position,
}

impl<'s> Numbering<'s> {
    /// That of `select`, if it has one.
    pub(super) fn of(select: &'s Select, analyzer: &Analyzer<'_>) -> Result<Option<Self>, Error> {
        let Some((over, at)) = numbering(select)? else {
            return Ok(None);
        };
        let partition = over.partition.iter().map(|expr| analyzer.expr(expr));
        let order = over.order.iter();
        let order = order.map(|item| Ok((item, analyzer.expr(&item.expr)?)));
        Ok(Some(Numbering {
            partition: partition.collect::<Result<_, _>>()?,
            order: order.collect::<Result<_, Error>>()?,
            at,
        }))
    }

    /// `rel` under `filter`, with the number as its last column.
    pub(super) fn above(self, rel: Arc<Rel>, filter: Option<Typed>) -> Result<Arc<Rel>, Error> {
        let mut items = rel.all();
        let partition = self.partition.into_iter();
        let partition = partition.map(|typed| place(typed, "partition", &mut items));
        let partition = partition.collect();
        let mut order = Vec::new();
        for (item, typed) in self.order {
            order.push(sort_column(item, typed, &mut items)?);
        }
        let input = if items.len() > rel.fields.len() || filter.is_some() {
            Rel::calc(rel, filter, items)
        } else {
            rel
        };
        let op = Op::RowNumber {
            partition,
            order,
            at: self.at,
        };
        let changes = input.changes;
        Ok(with_number(op, input, changes))
    }
}

impl Planner<'_> {
    /// Puts a row number below the projection if an item asks for one; gives its column.
    pub(super) fn row_numbers(
        &self,
        select: &Select,
        rel: &mut Arc<Rel>,
        scope: &mut Scope,
    ) -> Result<Option<usize>, Error> {
        let Some(numbering) = Numbering::of(select, &self.analyzer(scope, None))? else {
            return Ok(None);
        };
        let width = rel.fields.len();
        *rel = numbering.above(rel.clone(), None)?;
        for field in &rel.fields[width..] {
            scope.columns.push((Some("$".to_owned()), field.clone()));
        }
        Ok(Some(rel.fields.len() - 1))
    }
}

/// The one ROW_NUMBER among the items, and where it stands.
fn numbering(select: &Select) -> Result<Option<(&Over, Position)>, Error> {
    let mut found: Option<(&Over, Position)> = None;
    for item in &select.items {
        let SelectItem::Expr(expr, _) = item else {
            continue;
        };
        if let ExprKind::Call(call) = &expr.kind
            && call.over.is_some()
            && matches!(call.name.as_str(), "RANK" | "DENSE_RANK")
        {
            return Err(Error::unsupported(
                format!("{}() OVER", call.name),
                expr.position,
                "; like Flink's streaming jobs, this one has ROW_NUMBER() only",
            ));
        }
        let Some(over) = row_number(expr) else {
            continue;
        };
        let over = super::over::resolved(&select.windows, over)?;
        if found.is_some() {
            return Err(Error::unsupported("a second ROW_NUMBER", expr.position, ""));
        }
        if over.frame.is_some() {
            return Err(Error::validation(
                "ROW_NUMBER takes no ROWS or RANGE",
                expr.position,
            ));
        }
        if over.order.is_empty() {
            return Err(Error::validation(
                "ROW_NUMBER needs an ORDER BY",
                expr.position,
            ));
        }
        found = Some((over, expr.position));
    }
    Ok(found)
}

/// The column by which `item` sorts, whose expression is `typed`; if that is none yet, it is added to `items`. NULL is the
/// smallest, as in Flink.
pub(super) fn sort_column(
    item: &Order,
    typed: Typed,
    items: &mut Vec<(String, Typed)>,
) -> Result<SortColumn, Error> {
    if matches!(
        typed.ty.root,
        TypeRoot::Array(_) | TypeRoot::Map(..) | TypeRoot::Multiset(_) | TypeRoot::Row(_)
    ) {
        return Err(Error::unsupported(
            format!("ORDER BY of {}", typed.ty),
            item.expr.position,
            "",
        ));
    }
    Ok(SortColumn {
        column: place(typed, "order", items),
        descending: item.descending,
        nulls_first: item.nulls_first.unwrap_or(!item.descending),
    })
}

/// Where `typed` is among `items`, of which it becomes one if it is no column.
fn place(typed: Typed, what: &str, items: &mut Vec<(String, Typed)>) -> usize {
    match typed.kind {
        TypedKind::Column(column) => column,
        _ => {
            items.push((format!("${what}{}", items.len()), typed));
            items.len() - 1
        }
    }
}

/// `input` with a number behind its columns.
pub(super) fn with_number(op: Op, input: Arc<Rel>, changes: ChangelogMode) -> Arc<Rel> {
    let mut fields = input.fields.clone();
    if let Op::Rank { .. } = op {
        // Its windows are not over when its rows come.
        for field in &mut fields {
            if matches!(field.role, Role::WindowStart | Role::WindowEnd(_)) {
                field.role = Role::Plain;
            }
        }
    }
    let number = SqlType::required(TypeRoot::BigInt);
    fields.push(Field::plain("$row_number", number));
    Arc::new(Rel {
        op,
        inputs: vec![input],
        fields,
        changes,
    })
}

/// What conditions say about a row number.
#[derive(Default)]
struct Bounds {
    start: Option<i64>,
    end: Option<i64>,
}

impl Bounds {
    /// Takes in what `filter` says about the columns that are the number; gives the rest of it.
    fn take(&mut self, filter: Typed, numbers: &BTreeSet<usize>) -> Option<Typed> {
        let mut parts = Vec::new();
        conjuncts(filter, &mut parts);
        parts.retain(|part| !self.takes(part, numbers));
        parts.into_iter().reduce(Typed::and)
    }

    fn takes(&mut self, part: &Typed, numbers: &BTreeSet<usize>) -> bool {
        let is_number =
            |expr: &Typed| matches!(expr.kind, TypedKind::Column(at) if numbers.contains(&at));
        let TypedKind::Binary(op, left, right) = &part.kind else {
            return false;
        };
        let (op, bound) = match (is_number(left), is_number(right)) {
            (true, false) => (*op, whole(right)),
            (false, true) => match op.swap() {
                Some(op) => (op, whole(left)),
                None => return false,
            },
            _ => return false,
        };
        let Some(bound) = bound else {
            return false;
        };
        let (start, end) = match op {
            Operator::Eq => (Some(bound), Some(bound)),
            Operator::LtEq => (None, Some(bound)),
            Operator::Lt => (None, Some(bound.saturating_sub(1))),
            Operator::GtEq => (Some(bound), None),
            Operator::Gt => (Some(bound.saturating_add(1)), None),
            _ => return false,
        };
        self.start = self.start.max(start);
        self.end = match (self.end, end) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        true
    }

    /// `None` without an end: then it is no Top-N.
    fn range(&self, at: Position) -> Result<Option<RankRange>, Error> {
        let Some(end) = self.end else {
            return Ok(None);
        };
        let start = self.start.unwrap_or(1).max(1);
        let number = |value: i64| usize::try_from(value).ok();
        match (number(start), number(end)) {
            (Some(start), Some(end)) if start <= end => Ok(Some(RankRange { start, end })),
            _ => Err(Error::validation(
                format!("no row has a ROW_NUMBER from {start} to {end}"),
                at,
            )),
        }
    }
}

/// `rel` under `filter`, if below its projections there is a row number and the conditions give it an end.
pub(super) fn ranked(rel: &Arc<Rel>, filter: &Typed) -> Result<Option<Arc<Rel>>, Error> {
    let (mut above, mut numbered) = (Vec::new(), rel);
    while let Op::Calc { filter, exprs } = &numbered.op {
        above.push((filter, exprs, &numbered.fields));
        numbered = &numbered.inputs[0];
    }
    let Op::RowNumber { at, .. } = numbered.op else {
        return Ok(None);
    };
    let number = numbered.fields.len() - 1;
    let mut numbers = BTreeSet::from([number]);
    let mut bounds = Bounds::default();
    let mut levels = Vec::new();
    for (filter, exprs, fields) in above.into_iter().rev() {
        let rest = filter
            .as_ref()
            .and_then(|filter| bounds.take(filter.clone(), &numbers));
        let is_number =
            |expr: &Typed| matches!(expr.kind, TypedKind::Column(at) if numbers.contains(&at));
        let places = (0..exprs.len()).filter(|column| is_number(&exprs[*column]));
        numbers = places.collect();
        let names = fields.iter().map(|field| field.name.clone());
        let items: Vec<_> = names.zip(exprs.iter().cloned()).collect();
        levels.push((rest, items));
    }
    let rest = bounds.take(filter.clone(), &numbers);
    let Some(range) = bounds.range(at)? else {
        return Ok(None);
    };
    if let (true, Some((filter, items))) = (range.start == range.end, levels.first_mut()) {
        // There is but one number, so nothing has to count.
        let one = Typed::literal(
            (range.start as i64).into(),
            SqlType::required(TypeRoot::BigInt),
        );
        let fixed = |typed: &Typed| {
            typed.rewrite(&mut |inner| match inner.kind {
                TypedKind::Column(column) if column == number => Some(one.clone()),
                _ => None,
            })
        };
        *filter = filter.as_ref().map(fixed);
        for (_, item) in items {
            *item = fixed(item);
        }
    }
    let mut result = best(numbered, range)?;
    for (filter, items) in levels {
        result = Rel::calc(result, filter, items);
    }
    Ok(Some(match rest {
        None => result,
        Some(rest) => Rel::filter(result, rest),
    }))
}

/// The step that gives the rows of `range`.
fn best(numbered: &Rel, range: RankRange) -> Result<Arc<Rel>, Error> {
    let input = &numbered.inputs[0];
    let Op::RowNumber {
        partition,
        order,
        at,
    } = &numbered.op
    else {
        return Err(Error::failed("a step that is no row number"));
    };
    let (partition, order) = (partition.clone(), order.clone());
    let is_first = range == RankRange { start: 1, end: 1 };
    if let Some(end) = window_end(input, &partition) {
        if !input.is_append() {
            return Err(Error::unsupported(
                "Top-N in windows over rows that are updated or deleted",
                *at,
                "",
            ));
        }
        // Flink deduplicates here: of two rows of one time the later is the last.
        let later_first = is_first
            && matches!(&order[..], [item] if item.descending && is_time(input, item.column));
        let op = Op::WindowRank {
            partition,
            order,
            range,
            end,
            later_first,
        };
        return Ok(with_number(op, input.clone(), ChangelogMode::InsertOnly));
    }
    if let [item] = order[..]
        && matches!(
            input.fields[item.column].role,
            Role::Rowtime | Role::Proctime
        )
        && is_first
        && input.is_append()
    {
        return Ok(deduplicated(input, partition, item));
    }
    let op = Op::Rank {
        in_place: is_monotonic(input, &partition, &order),
        partition,
        order,
        range,
        appends: input.is_append(),
    };
    Ok(with_number(op, input.clone(), ChangelogMode::Retract))
}

/// Whether each row is the newest result of a group, and can only become better in `order`. Flink chooses its
/// `UpdateFastStrategy` then, by which a row keeps its place among equals when it is updated and is no better.
pub(super) fn is_monotonic(input: &Rel, partition: &[usize], order: &[SortColumn]) -> bool {
    let (mut below, mut columns) = (input, (0..input.fields.len()).map(Some).collect::<Vec<_>>());
    while let Op::Calc {
        filter: None,
        exprs,
    } = &below.op
    {
        let from = |column: usize| match exprs[column].kind {
            TypedKind::Column(from) => Some(from),
            _ => None,
        };
        columns = columns
            .into_iter()
            .map(|column| column.and_then(from))
            .collect();
        below = &below.inputs[0];
    }
    let Op::GroupAggregate { keys, calls } = &below.op else {
        return false;
    };
    let is_key = |column: Option<usize>| column.is_some_and(|column| column < keys.len());
    let improves = |item: &SortColumn| {
        let call =
            columns[item.column].and_then(|column| calls.get(column.checked_sub(keys.len())?));
        call.is_some_and(|call| match call.function {
            _ if call.retracts => false,
            Function::Count | Function::Max => item.descending,
            Function::Min => !item.descending,
            _ => false,
        })
    };
    (0..keys.len()).all(|key| columns.contains(&Some(key)))
        && partition.iter().all(|column| is_key(columns[*column]))
        && order
            .iter()
            .all(|item| is_key(columns[item.column]) || improves(item))
}

/// One row a key, the first or the last by a time attribute.
fn deduplicated(input: &Arc<Rel>, keys: Vec<usize>, order: SortColumn) -> Arc<Rel> {
    let is_rowtime = input.fields[order.column].role == Role::Rowtime;
    let changes = if order.descending {
        ChangelogMode::Retract
    } else {
        ChangelogMode::InsertOnly
    };
    Arc::new(Rel {
        op: Op::Dedup {
            keys,
            order: is_rowtime.then_some(order.column),
            keep_last: order.descending,
        },
        inputs: vec![input.clone()],
        fields: input.fields.clone(),
        changes,
    })
}

/// The end of the window by which `partition` groups.
fn window_end(input: &Rel, partition: &[usize]) -> Option<usize> {
    let find = |is: fn(Role) -> bool| {
        let mut columns = partition.iter().copied();
        columns.find(|column| is(input.fields[*column].role))
    };
    find(|role| role == Role::WindowStart)?;
    find(|role| matches!(role, Role::WindowEnd(_)))
}

/// Whether a column is a time attribute, or was one before windows were assigned by it.
fn is_time(rel: &Rel, column: usize) -> bool {
    if matches!(rel.fields[column].role, Role::Rowtime | Role::Proctime) {
        return true;
    }
    match &rel.op {
        Op::Calc { exprs, .. } => {
            matches!(exprs[column].kind, TypedKind::Column(from) if is_time(&rel.inputs[0], from))
        }
        Op::Window { .. } => column < rel.inputs[0].fields.len() && is_time(&rel.inputs[0], column),
        _ => false,
    }
}
