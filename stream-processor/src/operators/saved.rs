//! Aggregate states as bytes of a checkpoint: a tag, then little-endian fields, so that later versions can read them.

use uuid::Uuid;

use super::aggregate::collect::Items;
use super::aggregate::{DecimalSum, State};
use super::cell::Cell;
use super::fingerprint::WIDTH;
use super::text::Text;

/// Writes `state` behind what `out` holds.
pub(crate) fn save(state: &State, out: &mut Vec<u8>) {
    match state {
        State::Count(count) => {
            out.push(0);
            out.extend(count.to_le_bytes());
        }
        State::Int { sum, count } => {
            out.push(1);
            out.extend(sum.to_le_bytes());
            out.extend(count.to_le_bytes());
        }
        State::Double { sum, count } => {
            out.push(2);
            out.extend(sum.to_le_bytes());
            out.extend(count.to_le_bytes());
        }
        State::Decimal(of) => {
            out.push(3);
            let sum = of.sum.map(|sum| Cell::Decimal(sum.into()));
            save_cell(sum.as_ref(), out);
            out.extend(of.count.to_le_bytes());
        }
        State::Chosen(cell) => {
            out.push(4);
            save_cell(cell.as_ref(), out);
        }
        State::Bag(bag) => {
            out.push(5);
            save_counts(bag.len(), bag.iter(), out);
        }
        State::Distinct(set) => {
            out.push(8);
            save_counts(set.len(), set.iter(), out);
        }
        State::Prints(prints) => {
            out.push(9);
            out.extend((prints.len() as u64).to_le_bytes());
            out.reserve(prints.len() * WIDTH);
            prints.iter().for_each(|print| out.extend(print));
        }
        State::Items(items) => {
            out.push(10);
            out.extend((items.0.len() as u64).to_le_bytes());
            for (value, count) in &items.0 {
                save_cell(value.as_ref(), out);
                out.extend(count.to_le_bytes());
            }
        }
        State::List(list) => {
            out.push(7);
            out.extend((list.len() as u64).to_le_bytes());
            for item in list.iter() {
                save_text(item, out);
            }
        }
    }
}

/// Bytes that [`save`] writes; of values that lie elsewhere about that.
pub(crate) fn length(state: &State) -> usize {
    match state {
        State::Prints(prints) => 9 + prints.len() * WIDTH,
        State::Distinct(set) => 9 + set.len() * 32,
        State::Bag(bag) => 9 + bag.len() * 32,
        State::Items(items) => 9 + items.0.len() * 32,
        State::List(list) => 9 + list.iter().map(|item| 9 + item.len()).sum::<usize>(),
        State::Chosen(Some(Cell::Text(Text::Plain(text)))) => 10 + text.len(),
        State::Chosen(Some(Cell::Text(Text::Uuid(_)) | Cell::Decimal(_))) => 18,
        State::Chosen(Some(_)) => 10,
        State::Chosen(None) => 2,
        State::Count(_) => 9,
        State::Int { .. } | State::Double { .. } => 17,
        State::Decimal(_) => 26,
    }
}

fn save_counts<'c>(
    length: usize,
    counts: impl Iterator<Item = (&'c Cell, &'c i64)>,
    out: &mut Vec<u8>,
) {
    out.extend((length as u64).to_le_bytes());
    for (cell, count) in counts {
        save_cell(Some(cell), out);
        out.extend(count.to_le_bytes());
    }
}

fn load_counts(bytes: &mut &[u8]) -> Option<Vec<(Cell, i64)>> {
    let length = u64::from_le_bytes(take(bytes)?);
    (0..length)
        .map(|_| Some((load_cell(bytes)??, i64::from_le_bytes(take(bytes)?))))
        .collect()
}

fn save_cell(cell: Option<&Cell>, out: &mut Vec<u8>) {
    match cell {
        None => out.push(0),
        Some(Cell::Int(value)) => {
            out.push(1);
            out.extend(value.to_le_bytes());
        }
        Some(Cell::Double(value)) => {
            out.push(2);
            out.extend(value.to_le_bytes());
        }
        Some(Cell::Decimal(value)) => {
            out.push(3);
            out.extend(i128::from(*value).to_le_bytes());
        }
        Some(Cell::Text(Text::Plain(text))) => save_text(text, out),
        Some(Cell::Text(Text::Uuid(uuid))) => {
            out.push(5);
            out.extend(uuid.as_bytes());
        }
    }
}

fn save_text(text: &str, out: &mut Vec<u8>) {
    out.push(4);
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// Reads what [`save`] wrote; `None` if the bytes are damaged.
pub(crate) fn load(bytes: &mut &[u8]) -> Option<State> {
    Some(match take::<1>(bytes)?[0] {
        0 => State::Count(i64::from_le_bytes(take(bytes)?)),
        1 => State::Int {
            sum: i64::from_le_bytes(take(bytes)?),
            count: i64::from_le_bytes(take(bytes)?),
        },
        2 => State::Double {
            sum: f64::from_le_bytes(take(bytes)?),
            count: i64::from_le_bytes(take(bytes)?),
        },
        3 => {
            let sum = match load_cell(bytes)? {
                Some(Cell::Decimal(sum)) => Some(sum.into()),
                _ => None,
            };
            State::Decimal(Box::new(DecimalSum {
                sum,
                count: i64::from_le_bytes(take(bytes)?),
            }))
        }
        4 | 6 => State::Chosen(load_cell(bytes)?),
        5 => State::Bag(Box::new(load_counts(bytes)?.into_iter().collect())),
        8 => State::Distinct(Box::new(load_counts(bytes)?.into_iter().collect())),
        9 => {
            let length = u64::from_le_bytes(take(bytes)?);
            let prints = (0..length).map(|_| take(bytes)).collect::<Option<_>>()?;
            State::Prints(Box::new(prints))
        }
        10 => {
            let length = u64::from_le_bytes(take(bytes)?);
            let items = (0..length)
                .map(|_| Some((load_cell(bytes)?, i64::from_le_bytes(take(bytes)?))))
                .collect::<Option<_>>()?;
            State::Items(Box::new(Items(items)))
        }
        7 => {
            let mut list = Vec::new();
            for _ in 0..u64::from_le_bytes(take(bytes)?) {
                match load_cell(bytes)?? {
                    Cell::Text(item) => list.push(item.into()),
                    _ => return None,
                }
            }
            State::List(Box::new(list))
        }
        _ => return None,
    })
}

#[expect(clippy::option_option, reason = "outer: damaged, inner: NULL")]
fn load_cell(bytes: &mut &[u8]) -> Option<Option<Cell>> {
    Some(match take::<1>(bytes)?[0] {
        0 => None,
        1 => Some(Cell::Int(i64::from_le_bytes(take(bytes)?))),
        2 => Some(Cell::Double(f64::from_le_bytes(take(bytes)?))),
        3 => Some(Cell::Decimal(i128::from_le_bytes(take(bytes)?).into())),
        4 => {
            let length = usize::try_from(u64::from_le_bytes(take(bytes)?)).ok()?;
            let (text, rest) = bytes.split_at_checked(length)?;
            *bytes = rest;
            Some(Cell::Text(std::str::from_utf8(text).ok()?.into()))
        }
        5 => Some(Cell::Text(Text::Uuid(Uuid::from_bytes(take(bytes)?)))),
        _ => return None,
    })
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*first)
}
