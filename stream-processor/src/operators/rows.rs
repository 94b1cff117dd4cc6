//! Aggregate states by row, for tables of millions of rows: states that are numbers lie side by side, eight bytes a
//! number, and the others of a row beside them.

use std::borrow::Cow;
use std::hint::black_box;

use super::aggregate::{AggregateCall, State, StatesMut};
use super::cell::Cell;
use super::pieces::Pieces;
use super::text::Text;

/// Rows of one state a call.
pub(crate) struct RowStates {
    /// By call.
    places: Vec<Place>,
    /// How many words and other states a row has.
    n_words: usize,
    n_others: usize,
    words: Pieces<u64>,
    others: Pieces<State>,
    empty: Vec<State>,
}

/// Where the state of a call lies in its row.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// A word.
    Count(usize),
    /// Two words: the sum and how many values there are.
    Int(usize),
    Double(usize),
    Other(usize),
}

/// The states of one call, by row.
pub(crate) struct StateColumn<'r> {
    rows: &'r mut RowStates,
    call: usize,
}

impl RowStates {
    pub(crate) fn new(calls: &[AggregateCall]) -> Self {
        let empty: Vec<State> = calls.iter().map(AggregateCall::empty).collect();
        let (mut n_words, mut n_others) = (0, 0);
        let mut place = |state: &State| {
            let (place, words) = match state {
                State::Count(_) => (Place::Count(n_words), 1),
                State::Int { .. } => (Place::Int(n_words), 2),
                State::Double { .. } => (Place::Double(n_words), 2),
                _ => {
                    n_others += 1;
                    (Place::Other(n_others - 1), 0)
                }
            };
            n_words += words;
            place
        };
        let places = empty.iter().map(&mut place).collect();
        RowStates {
            places,
            n_words,
            n_others,
            words: Pieces::default(),
            others: Pieces::default(),
            empty,
        }
    }

    /// Adds a row of empty states.
    pub(crate) fn push(&mut self) {
        // The words of an empty count or sum are zero.
        (0..self.n_words).for_each(|_| self.words.push(0));
        for (place, empty) in self.places.iter().zip(&self.empty) {
            if matches!(place, Place::Other(_)) {
                self.others.push(empty.clone());
            }
        }
    }

    /// Whether `state` is of the kind that the call has.
    pub(crate) fn fits(&self, call: usize, state: &State) -> bool {
        std::mem::discriminant(state) == std::mem::discriminant(&self.empty[call])
    }

    pub(crate) fn get(&self, row: usize, call: usize) -> Cow<'_, State> {
        let word = |at: usize| self.words[row * self.n_words + at];
        Cow::Owned(match self.places[call] {
            Place::Count(at) => State::Count(word(at) as i64),
            Place::Int(at) => State::Int {
                sum: word(at) as i64,
                count: word(at + 1) as i64,
            },
            Place::Double(at) => State::Double {
                sum: f64::from_bits(word(at)),
                count: word(at + 1) as i64,
            },
            Place::Other(at) => return Cow::Borrowed(&self.others[row * self.n_others + at]),
        })
    }

    /// Has the states of a row brought near, before many rows are changed; see [`AHEAD`](super::keys::AHEAD).
    pub(crate) fn fetch(&self, row: usize) {
        if self.n_words > 0 {
            black_box(self.words[row * self.n_words]);
        }
        if self.n_others > 0 {
            black_box(matches!(self.others[row * self.n_others], State::Chosen(_)));
        }
    }

    /// The same for a text that the first of its other states points to.
    pub(crate) fn fetch_text(&self, row: usize) {
        if self.n_others > 0
            && let State::Chosen(Some(Cell::Text(Text::Plain(text)))) =
                &self.others[row * self.n_others]
        {
            black_box(text.as_bytes().first());
        }
    }

    /// Puts a state that fits in the place of another.
    pub(crate) fn set(&mut self, row: usize, call: usize, state: State) {
        debug_assert!(self.fits(call, &state));
        let first = row * self.n_words;
        match (self.places[call], state) {
            (Place::Count(at), State::Count(count)) => self.words[first + at] = count as u64,
            (Place::Int(at), State::Int { sum, count }) => {
                self.words[first + at] = sum as u64;
                self.words[first + at + 1] = count as u64;
            }
            (Place::Double(at), State::Double { sum, count }) => {
                self.words[first + at] = sum.to_bits();
                self.words[first + at + 1] = count as u64;
            }
            (Place::Other(at), state) => self.others[row * self.n_others + at] = state,
            // It would not fit.
            _ => {}
        }
    }

    /// Takes a state out of its row, where an empty one stays.
    pub(crate) fn take(&mut self, row: usize, call: usize) -> State {
        let state = match self.places[call] {
            Place::Other(at) => {
                let state = &mut self.others[row * self.n_others + at];
                return std::mem::replace(state, self.empty[call].clone());
            }
            _ => self.get(row, call).into_owned(),
        };
        self.set(row, call, self.empty[call].clone());
        state
    }

    pub(crate) fn column(&mut self, call: usize) -> StateColumn<'_> {
        StateColumn { rows: self, call }
    }

    /// Bytes of a row; not what its other states hold elsewhere.
    pub(crate) fn row_size(&self) -> usize {
        self.n_words * size_of::<u64>() + self.n_others * size_of::<State>()
    }
}

impl StatesMut for StateColumn<'_> {
    #[inline]
    fn change(&mut self, row: usize, change: impl FnOnce(&mut State)) {
        if let Place::Other(at) = self.rows.places[self.call] {
            return change(&mut self.rows.others[row * self.rows.n_others + at]);
        }
        let mut state = self.rows.get(row, self.call).into_owned();
        change(&mut state);
        self.rows.set(row, self.call, state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::aggregate::Function;
    use crate::table::{SqlType, TypeRoot};

    fn call(function: Function, argument: TypeRoot) -> AggregateCall {
        let argument = SqlType::of(argument);
        AggregateCall {
            function,
            distinct: false,
            result: argument.clone(),
            argument: Some((0, argument)),
            filter: None,
            separator: String::new(),
            retracts: false,
        }
    }

    #[test]
    fn states_of_each_kind_come_back_as_they_were() {
        let calls = [
            call(Function::Min, TypeRoot::Varchar(9)),
            call(Function::Count, TypeRoot::Int),
            call(Function::Sum, TypeRoot::BigInt),
            call(Function::Avg, TypeRoot::Double),
            call(Function::Sum, TypeRoot::Decimal(9, 2)),
        ];
        let states = |of: i64| {
            let mut decimal = calls[4].empty();
            if let State::Decimal(sum) = &mut decimal {
                sum.count = of;
            }
            [
                State::Chosen(Some(Cell::Text(format!("text {of}").as_str().into()))),
                State::Count(-of),
                State::Int {
                    sum: i64::MIN + of,
                    count: of,
                },
                State::Double {
                    sum: -0.5 * of as f64,
                    count: of,
                },
                decimal,
            ]
        };
        let mut rows = RowStates::new(&calls);
        // More than a piece of words, of which a row has five.
        let n_rows = 8000;
        for row in 0..n_rows {
            rows.push();
            for (index, state) in states(row as i64).into_iter().enumerate() {
                assert_eq!(*rows.get(row, index), calls[index].empty());
                rows.column(index).change(row, |held| *held = state.clone());
            }
        }
        for row in 0..n_rows {
            for (index, state) in states(row as i64).into_iter().enumerate() {
                assert_eq!(*rows.get(row, index), state);
                if row % 2 == 0 {
                    assert_eq!(rows.take(row, index), state);
                    assert_eq!(*rows.get(row, index), calls[index].empty());
                }
            }
        }
        assert_eq!(rows.row_size(), 5 * 8 + 2 * size_of::<State>());
    }

    #[test]
    fn a_state_of_another_kind_does_not_fit() {
        let rows = RowStates::new(&[call(Function::Count, TypeRoot::Int)]);
        assert!(rows.fits(0, &State::Count(3)));
        assert!(!rows.fits(0, &State::Int { sum: 0, count: 0 }));
    }
}
