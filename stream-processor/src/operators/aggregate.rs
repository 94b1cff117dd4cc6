//! Aggregate functions: a state for each group, updated, retracted, merged, saved and turned into a result.

pub(crate) mod collect;
mod column;

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Float64Array, Int64Array, RecordBatch,
    StringArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};

use self::collect::Items;
pub(crate) use self::column::Argument;
use self::column::Column;
use super::cell::{Cell, Distinct, Seen};
use super::fingerprint::{Print, Prints};
use super::keys::AHEAD;
use crate::error::Error;
use crate::functions::decimal;
use crate::table::{SqlType, TypeRoot};

/// Which function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    Count,
    Sum,
    Avg,
    Min,
    Max,
    First,
    Last,
    ListAgg,
    ArrayAgg(Nulls),
    Collect,
    /// Over values that are JSON texts.
    JsonArrayAgg(Nulls),
    /// Over texts of a key, [`collect::MEMBER`] and a value.
    JsonObjectAgg,
}

/// What an aggregate does with NULLs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nulls {
    Kept,
    Skipped,
}

/// A call as planned.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AggregateCall {
    pub(crate) function: Function,
    pub(crate) distinct: bool,
    /// The argument's column and type; `COUNT(*)` has none.
    pub(crate) argument: Option<(usize, SqlType)>,
    /// A BOOLEAN column: only rows where it is true count.
    pub(crate) filter: Option<usize>,
    pub(crate) separator: String,
    pub(crate) result: SqlType,
    /// Rows may be taken back, so that MIN and MAX keep every value.
    pub(crate) retracts: bool,
}

/// What a group has seen.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::box_collection,
    reason = "what is rare must not make the others larger"
)]
pub(crate) enum State {
    Count(i64),
    Int {
        sum: i64,
        count: i64,
    },
    Double {
        sum: f64,
        count: i64,
    },
    Decimal(Box<DecimalSum>),
    /// The value that MIN, MAX, FIRST_VALUE or LAST_VALUE has chosen.
    Chosen(Option<Cell>),
    /// Every value and how often it is there, in order.
    Bag(Box<BTreeMap<Cell, i64>>),
    /// Every value and how often it is there, for counting and adding up.
    Distinct(Box<Distinct>),
    /// Every value, where they are only counted and none is taken back.
    Prints(Box<Prints>),
    List(Box<Vec<Box<str>>>),
    /// Every value in order, where some can be taken back or are no texts.
    Items(Box<Items>),
}

/// There is one of them for each group and call, so what is larger and rare lies elsewhere.
const _: () = assert!(size_of::<State>() == 24);

/// States by index.
pub(crate) trait StatesMut {
    /// Lets `change` change the one at `index`.
    fn change(&mut self, index: usize, change: impl FnOnce(&mut State));
}

impl StatesMut for Vec<State> {
    #[inline]
    fn change(&mut self, index: usize, change: impl FnOnce(&mut State)) {
        change(&mut self[index]);
    }
}

/// Puts fingerprints into the sets of their groups.
fn insert_all(states: &mut impl StatesMut, prints: &[(usize, Print)]) {
    let mut each = |prints: &[(usize, Print)], act: fn(&mut Prints, Print)| {
        for (group, print) in prints {
            states.change(*group, |state| {
                if let State::Prints(set) = state {
                    act(set, *print);
                }
            });
        }
    };
    for prints in prints.chunks(AHEAD) {
        each(prints, |set, print| set.fetch(&print));
        each(prints, |set, print| {
            set.insert(print);
        });
    }
}

/// What SUM and AVG have seen of a DECIMAL.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DecimalSum {
    /// `None` after an overflow.
    pub(crate) sum: Option<i128>,
    pub(crate) count: i64,
}

impl State {
    /// Bytes that a set or a list holds beyond the state itself; `None` if it is neither.
    fn collection_bytes(&self) -> Option<usize> {
        let cell = size_of::<(Cell, i64)>();
        match self {
            State::Prints(prints) => Some(prints.size()),
            State::Distinct(set) => Some(set.len() * cell),
            State::Bag(bag) => Some(bag.len() * cell),
            State::Items(items) => Some(items.0.len() * cell),
            State::List(list) => Some(list.iter().map(|item| item.len() + 16).sum()),
            _ => None,
        }
    }
}

/// Bytes of the states of groups, of which each call has a list.
pub(crate) fn states_size(states: &[Vec<State>]) -> usize {
    let of_call = |states: &Vec<State>| {
        // A call's states are of one kind.
        let collections = states.iter().map_while(State::collection_bytes);
        states.len() * size_of::<State>() + collections.sum::<usize>()
    };
    states.iter().map(of_call).sum()
}

impl AggregateCall {
    /// The state of an empty group.
    pub(crate) fn empty(&self) -> State {
        if self.distinct
            && matches!(
                self.function,
                Function::Count | Function::Sum | Function::Avg
            )
        {
            if self.counts_prints() {
                return State::Prints(Box::default());
            }
            return State::Distinct(Box::default());
        }
        match self.function {
            Function::Count => State::Count(0),
            Function::Sum | Function::Avg => self.empty_sum(),
            Function::Min | Function::Max if self.retracts => State::Bag(Box::default()),
            Function::First | Function::Last | Function::ListAgg if self.retracts => {
                State::Items(Box::default())
            }
            Function::Min | Function::Max | Function::First | Function::Last => State::Chosen(None),
            Function::ListAgg => State::List(Box::default()),
            Function::Collect => State::Bag(Box::default()),
            Function::ArrayAgg(_) | Function::JsonArrayAgg(_) | Function::JsonObjectAgg => {
                State::Items(Box::default())
            }
        }
    }

    /// Whether only how many different values there are matters, and none is taken back: its states are fingerprints.
    pub(crate) fn counts_prints(&self) -> bool {
        self.distinct && self.function == Function::Count && !self.retracts
    }

    fn empty_sum(&self) -> State {
        match self.argument.as_ref().map(|(_, ty)| &ty.root) {
            Some(TypeRoot::Decimal(..)) => State::Decimal(Box::new(DecimalSum {
                sum: Some(0),
                count: 0,
            })),
            Some(TypeRoot::Float | TypeRoot::Double) => State::Double { sum: 0.0, count: 0 },
            _ => State::Int { sum: 0, count: 0 },
        }
    }

    /// Takes the rows of `batch` into `states[groups[row]]`; those that `additions` denies are taken back.
    pub(crate) fn update(
        &self,
        states: &mut impl StatesMut,
        groups: &[u32],
        batch: &RecordBatch,
        additions: Option<&[bool]>,
    ) -> Result<(), Error> {
        let column = Column::of(self, batch)?;
        let filter: Option<&BooleanArray> =
            self.filter.map(|index| batch.column(index).as_boolean());
        let keeps_nulls = self.keeps_nulls();
        let rows = groups.iter().enumerate().filter(|(row, _)| {
            filter.is_none_or(|filter| filter.is_valid(*row) && filter.value(*row))
                && (keeps_nulls || !column.is_null(*row))
        });
        if self.counts_prints() {
            let prints = rows.map(|(row, group)| (*group as usize, column.seen(row).print()));
            insert_all(states, &prints.collect::<Vec<_>>());
            return Ok(());
        }
        for (row, group) in rows {
            let add = additions.is_none_or(|additions| additions[row]);
            let apply = |state: &mut State| self.apply(state, &column, row, add);
            states.change(*group as usize, apply);
        }
        Ok(())
    }

    /// Whether NULLs count.
    fn keeps_nulls(&self) -> bool {
        matches!(
            self.function,
            Function::ArrayAgg(Nulls::Kept) | Function::JsonArrayAgg(Nulls::Kept)
        )
    }

    /// What [`Argument::apply`] reads of `batch`.
    pub(crate) fn argument_in<'b>(&'b self, batch: &'b RecordBatch) -> Result<Argument<'b>, Error> {
        Ok(Argument {
            call: self,
            column: Column::of(self, batch)?,
            filter: self.filter.map(|index| batch.column(index).as_boolean()),
        })
    }

    /// The results of a call, in order.
    pub(crate) fn results(&self, cells: Vec<Option<Cell>>) -> Result<ArrayRef, Error> {
        cells_to_array(cells.into_iter(), &self.result)
    }

    fn apply(&self, state: &mut State, column: &Column, row: usize, add: bool) {
        let sign = if add { 1 } else { -1 };
        match (state, column) {
            (State::Count(count), _) => *count += sign,
            (State::Int { sum, count }, Column::Int(array)) => {
                *sum = sum.wrapping_add(sign * array.value(row));
                *count += sign;
            }
            (State::Double { sum, count }, Column::Double(array)) => {
                *sum += sign as f64 * array.value(row);
                *count += sign;
            }
            (State::Decimal(of), Column::Decimal(array)) => {
                of.add(i128::from(sign) * array.value(row));
                of.count += sign;
            }
            (State::Chosen(chosen), _) => {
                // Most values are not chosen, and need not be copied.
                let seen = column.seen(row);
                if self.prefers(seen, chosen.as_ref()) {
                    *chosen = Some(seen.to_cell());
                }
            }
            (State::Distinct(set), _) => set.add(column.seen(row), sign),
            (State::Bag(bag), _) => {
                let cell = column.cell(row);
                let count = bag.entry(cell.clone()).or_insert(0);
                *count += sign;
                if *count == 0 {
                    bag.remove(&cell);
                }
            }
            (State::Items(items), _) => {
                let value = (!column.is_null(row)).then(|| column.cell(row));
                items.change(value, add, self.distinct);
            }
            (State::List(list), Column::Text(array)) => {
                let value = array.value(row);
                if !(self.distinct && list.iter().any(|item| &**item == value)) {
                    list.push(value.into());
                }
            }
            _ => {}
        }
    }

    /// Whether `new`, seen after `chosen`, is kept from now on.
    fn prefers(&self, new: Seen<'_>, chosen: Option<&Cell>) -> bool {
        chosen.is_none_or(|chosen| match self.function {
            Function::Min => new.order(chosen.seen()).is_lt(),
            Function::Max => new.order(chosen.seen()).is_gt(),
            function => function == Function::Last,
        })
    }

    /// Adds what `other` has seen after `state`.
    pub(crate) fn merge(&self, state: &mut State, other: State) {
        match (state, other) {
            (State::Count(count), State::Count(more)) => *count += more,
            (
                State::Int { sum, count },
                State::Int {
                    sum: more,
                    count: seen,
                },
            ) => {
                *sum = sum.wrapping_add(more);
                *count += seen;
            }
            (
                State::Double { sum, count },
                State::Double {
                    sum: more,
                    count: seen,
                },
            ) => {
                *sum += more;
                *count += seen;
            }
            (State::Decimal(of), State::Decimal(more)) => {
                match more.sum {
                    Some(sum) => of.add(sum),
                    None => of.sum = None,
                }
                of.count += more.count;
            }
            (State::Chosen(chosen), State::Chosen(Some(cell)))
                if self.prefers(cell.seen(), chosen.as_ref()) =>
            {
                *chosen = Some(cell);
            }
            (State::Bag(bag), State::Bag(more)) => {
                for (cell, seen) in *more {
                    *bag.entry(cell).or_insert(0) += seen;
                }
            }
            (State::Prints(prints), State::Prints(more)) => prints.insert_all(more.iter()),
            (State::Distinct(set), State::Distinct(more)) => {
                for (cell, seen) in more.iter() {
                    set.add(cell.seen(), *seen);
                }
            }
            (State::Items(items), State::Items(more)) => items.merge(*more, self.distinct),
            (State::List(list), State::List(more)) => {
                for item in *more {
                    if !(self.distinct && list.contains(&item)) {
                        list.push(item);
                    }
                }
            }
            _ => {}
        }
    }

    /// The results of `states` as a column.
    pub(crate) fn finish(
        &self,
        states: impl Iterator<Item = impl Borrow<State>>,
    ) -> Result<ArrayRef, Error> {
        match self.function {
            Function::ArrayAgg(_) => return collect::arrays(states, &self.result),
            Function::Collect => return collect::multisets(states, self),
            _ => {}
        }
        let cells: Vec<Option<Cell>> = states.map(|state| self.result(state.borrow())).collect();
        cells_to_array(cells.into_iter(), &self.result)
    }

    pub(crate) fn result(&self, state: &State) -> Option<Cell> {
        let argument = self.argument.as_ref().map(|(_, ty)| &ty.root);
        match state {
            State::Count(count) => Some(Cell::Int(*count)),
            State::Distinct(set) if self.function == Function::Count => {
                Some(Cell::Int(set.len() as i64))
            }
            State::Prints(prints) => Some(Cell::Int(prints.len() as i64)),
            State::Bag(bag) if self.function == Function::Min => bag.keys().next().cloned(),
            State::Bag(bag) => bag.keys().next_back().cloned(),
            State::Distinct(set) => {
                let mut sum = self.empty_sum();
                // In order, so that a sum of doubles is the same after a restart.
                for cell in set.sorted() {
                    add_cell(&mut sum, cell);
                }
                self.result(&sum)
            }
            State::Int { count: 0, .. } | State::Double { count: 0, .. } => None,
            State::Decimal(of) if of.count == 0 => None,
            State::Int { sum, count } if self.function == Function::Avg => {
                Some(Cell::Int(sum / count))
            }
            State::Int { sum, .. } => Some(Cell::Int(match argument {
                Some(TypeRoot::TinyInt) => i64::from(*sum as i8),
                Some(TypeRoot::SmallInt) => i64::from(*sum as i16),
                Some(TypeRoot::Int) => i64::from(*sum as i32),
                _ => *sum,
            })),
            State::Double { sum, count } if self.function == Function::Avg => {
                Some(Cell::Double(sum / *count as f64))
            }
            State::Double { sum, .. } => Some(Cell::Double(*sum)),
            State::Decimal(of) => self.decimal_result(of.sum?, of.count, argument),
            State::Chosen(cell) => cell.clone(),
            State::Items(items) => items.result(self),
            State::List(list) if list.is_empty() => None,
            State::List(list) => Some(Cell::Text(list.join(&self.separator).as_str().into())),
        }
    }

    fn decimal_result(&self, sum: i128, count: i64, argument: Option<&TypeRoot>) -> Option<Cell> {
        let (TypeRoot::Decimal(precision, scale), Some(TypeRoot::Decimal(_, from))) =
            (&self.result.root, argument)
        else {
            return None;
        };
        let value = if self.function == Function::Avg {
            decimal::divide((sum, *from), (i128::from(count), 0), (*precision, *scale))?
        } else {
            sum
        };
        Some(Cell::Decimal(value.into()))
    }
}

// === impl DecimalSum ===

impl DecimalSum {
    /// Adds to the sum, which is gone when it no longer fits 38 digits.
    fn add(&mut self, more: i128) {
        let sum = self.sum.and_then(|sum| sum.checked_add(more));
        self.sum = sum.and_then(|sum| decimal::fits(sum, 38));
    }
}

fn add_cell(state: &mut State, cell: &Cell) {
    match (state, cell) {
        (State::Int { sum, count }, Cell::Int(value)) => {
            *sum = sum.wrapping_add(*value);
            *count += 1;
        }
        (State::Double { sum, count }, Cell::Double(value)) => {
            *sum += value;
            *count += 1;
        }
        (State::Decimal(of), Cell::Decimal(value)) => {
            of.add((*value).into());
            of.count += 1;
        }
        _ => {}
    }
}

fn cells_to_array(
    cells: impl Iterator<Item = Option<Cell>>,
    ty: &SqlType,
) -> Result<ArrayRef, Error> {
    let failed = |error| Error::caused("could not build an aggregate's result", error);
    let array: ArrayRef = match &ty.root {
        TypeRoot::Double | TypeRoot::Float => Arc::new(
            cells
                .map(|cell| match cell {
                    Some(Cell::Double(value)) => Some(value),
                    _ => None,
                })
                .collect::<Float64Array>(),
        ),
        TypeRoot::Decimal(precision, scale) => {
            let values: Decimal128Array = cells
                .map(|cell| match cell {
                    Some(Cell::Decimal(value)) => Some(value.into()),
                    _ => None,
                })
                .collect();
            Arc::new(
                values
                    .with_precision_and_scale(*precision, *scale)
                    .map_err(failed)?,
            )
        }
        TypeRoot::Char(_) | TypeRoot::Varchar(_) => Arc::new(
            cells
                .map(|cell| match cell {
                    Some(Cell::Text(value)) => Some(Box::<str>::from(value)),
                    _ => None,
                })
                .collect::<StringArray>(),
        ),
        _ => {
            let values: Int64Array = cells
                .map(|cell| match cell {
                    Some(Cell::Int(value)) => Some(value),
                    _ => None,
                })
                .collect();
            Arc::new(values)
        }
    };
    let target = ty.arrow();
    if matches!(target, DataType::Date32 | DataType::Time32(_)) {
        let narrow = cast(&array, &DataType::Int32).map_err(failed)?;
        return cast(&narrow, &target).map_err(failed);
    }
    if target == DataType::Boolean {
        let values = array.as_primitive::<Int64Type>();
        return Ok(Arc::new(BooleanArray::from_unary(values, |value| {
            value != 0
        })));
    }
    cast(&array, &target).map_err(failed)
}
