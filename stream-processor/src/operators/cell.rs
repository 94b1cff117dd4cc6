//! Single values of columns, as aggregate states keep them: owned, ordered and counted.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use hashbrown::{Equivalent, HashMap};

use super::fingerprint::{Print, print};
use super::text::{Text, TextRef};

/// A value of a column.
#[derive(Debug, Clone)]
pub(crate) enum Cell {
    Int(i64),
    Double(f64),
    Decimal(Wide),
    Text(Text),
}

/// An `i128` that can stand at any multiple of eight: with its own alignment, every cell and state would take a third
/// more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wide([u64; 2]);

/// A value that still lies in its column, to look up a [`Cell`] without copying it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Seen<'c> {
    Int(i64),
    Double(f64),
    Decimal(i128),
    Text(TextRef<'c>),
}

/// The values of a group and how often each is there.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Distinct(HashMap<Cell, i64, ahash::RandomState>);

impl Cell {
    pub(crate) fn seen(&self) -> Seen<'_> {
        match self {
            Cell::Int(value) => Seen::Int(*value),
            Cell::Double(value) => Seen::Double(*value),
            Cell::Decimal(value) => Seen::Decimal((*value).into()),
            Cell::Text(value) => Seen::Text(value.seen()),
        }
    }
}

impl From<i128> for Wide {
    fn from(value: i128) -> Self {
        Wide([value as u64, (value >> 64) as u64])
    }
}

impl From<Wide> for i128 {
    fn from(Wide([low, high]): Wide) -> Self {
        i128::from(low) | i128::from(high) << 64
    }
}

impl PartialEq for Cell {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Cell {}

impl PartialOrd for Cell {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Cell {
    fn cmp(&self, other: &Self) -> Ordering {
        self.seen().order(other.seen())
    }
}

impl Hash for Cell {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.seen().hash(state);
    }
}

impl Seen<'_> {
    /// Values of one column have one type; doubles are in their total order, so that NaN equals itself.
    pub(crate) fn order(self, other: Seen<'_>) -> Ordering {
        match (self, other) {
            (Seen::Int(a), Seen::Int(b)) => a.cmp(&b),
            (Seen::Double(a), Seen::Double(b)) => a.total_cmp(&b),
            (Seen::Decimal(a), Seen::Decimal(b)) => a.cmp(&b),
            (Seen::Text(a), Seen::Text(b)) => a.cmp(&b),
            _ => Ordering::Equal,
        }
    }

    pub(crate) fn to_cell(self) -> Cell {
        match self {
            Seen::Int(value) => Cell::Int(value),
            Seen::Double(value) => Cell::Double(value),
            Seen::Decimal(value) => Cell::Decimal(value.into()),
            Seen::Text(value) => Cell::Text(value.to_text()),
        }
    }
}

impl Seen<'_> {
    /// The value's fingerprint; equal values of one column have equal ones.
    pub(crate) fn print(self) -> Print {
        match self {
            Seen::Int(value) => print(&value.to_le_bytes()),
            Seen::Double(value) => print(&value.to_bits().to_le_bytes()),
            Seen::Decimal(value) => print(&value.to_le_bytes()),
            Seen::Text(value) => value.with(|text| print(text.as_bytes())),
        }
    }
}

impl Hash for Seen<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Seen::Int(value) => value.hash(state),
            Seen::Double(value) => value.to_bits().hash(state),
            Seen::Decimal(value) => value.hash(state),
            Seen::Text(value) => value.hash(state),
        }
    }
}

impl Equivalent<Cell> for Seen<'_> {
    fn equivalent(&self, key: &Cell) -> bool {
        match (self, key) {
            (Seen::Int(a), Cell::Int(b)) => a == b,
            (Seen::Double(a), Cell::Double(b)) => a.to_bits() == b.to_bits(),
            (Seen::Decimal(a), Cell::Decimal(b)) => *a == i128::from(*b),
            (Seen::Text(a), Cell::Text(b)) => *a == b.seen(),
            _ => false,
        }
    }
}

impl Distinct {
    /// Counts `value` up or down by `count`; at zero it is gone.
    pub(crate) fn add(&mut self, value: Seen<'_>, count: i64) {
        match self.0.get_mut(&value) {
            None => {
                self.0.insert(value.to_cell(), count);
            }
            Some(held) => {
                *held += count;
                if *held == 0 {
                    self.0.remove(&value);
                }
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Cell, &i64)> {
        self.0.iter()
    }

    pub(crate) fn sorted(&self) -> Vec<&Cell> {
        let mut cells: Vec<&Cell> = self.0.keys().collect();
        cells.sort_unstable();
        cells
    }
}

impl FromIterator<(Cell, i64)> for Distinct {
    fn from_iter<I: IntoIterator<Item = (Cell, i64)>>(counts: I) -> Self {
        Distinct(counts.into_iter().collect())
    }
}
