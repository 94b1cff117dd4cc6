//! Aggregates that keep their values in order, and results that are made of many values.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, ListArray, MapArray, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::DataType;

use super::{AggregateCall, Function, State, cells_to_array};
use crate::error::Error;
use crate::operators::cell::Cell;
use crate::operators::keys::{damaged, failed};
use crate::table::{SqlType, TypeRoot};

/// Stands between the key and the value of a member that JSON_OBJECTAGG takes: no JSON has it.
pub(crate) const MEMBER: char = '\0';

/// Values in the order in which they came, each with how often it counts: more than once only of a DISTINCT.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Items(pub(crate) Vec<(Option<Cell>, i64)>);

impl Items {
    /// Adds a value, or takes the first equal one back.
    pub(super) fn change(&mut self, value: Option<Cell>, add: bool, distinct: bool) {
        if add && !distinct {
            self.0.push((value, 1));
            return;
        }
        match self.0.iter().position(|(known, _)| *known == value) {
            Some(at) => {
                let count = &mut self.0[at].1;
                *count += if add { 1 } else { -1 };
                if *count == 0 {
                    self.0.remove(at);
                }
            }
            None if add => self.0.push((value, 1)),
            None => {}
        }
    }

    pub(super) fn merge(&mut self, more: Items, distinct: bool) {
        for (value, count) in more.0 {
            match self
                .0
                .iter_mut()
                .find(|(known, _)| distinct && *known == value)
            {
                Some((_, known)) => *known += count,
                None => self.0.push((value, count)),
            }
        }
    }

    /// The result of `call`, if it is one value.
    pub(super) fn result(&self, call: &AggregateCall) -> Option<Cell> {
        let texts = || {
            self.0.iter().map(|(value, _)| match value {
                Some(Cell::Text(text)) => Box::<str>::from(text.clone()),
                _ => "null".into(),
            })
        };
        let text = match call.function {
            Function::First => return self.0.first()?.0.clone(),
            Function::Last => return self.0.last()?.0.clone(),
            Function::JsonArrayAgg(_) => format!("[{}]", texts().collect::<Vec<_>>().join(",")),
            Function::JsonObjectAgg => {
                let texts: Vec<Box<str>> = texts().collect();
                // The last of equal keys wins.
                let members: BTreeMap<&str, &str> = texts
                    .iter()
                    .filter_map(|text| text.split_once(MEMBER))
                    .collect();
                let members = members.iter().map(|(key, value)| format!("{key}:{value}"));
                format!("{{{}}}", members.collect::<Vec<_>>().join(","))
            }
            _ if self.0.is_empty() => return None,
            _ => texts().collect::<Vec<_>>().join(&call.separator),
        };
        Some(Cell::Text(text.as_str().into()))
    }
}

/// The results of ARRAY_AGG: NULL where there is no value.
pub(super) fn arrays(
    states: impl Iterator<Item = impl Borrow<State>>,
    result: &SqlType,
) -> Result<ArrayRef, Error> {
    let (TypeRoot::Array(element), DataType::List(field)) = (&result.root, result.arrow()) else {
        return Err(damaged());
    };
    let (mut cells, mut lengths) = (Vec::new(), Vec::new());
    for state in states {
        if let State::Items(items) = state.borrow() {
            cells.extend(items.0.iter().map(|(value, _)| value.clone()));
            lengths.push(items.0.len());
        }
    }
    let nulls: NullBuffer = lengths.iter().map(|length| *length > 0).collect();
    let values = cells_to_array(cells.into_iter(), element)?;
    let offsets = OffsetBuffer::from_lengths(lengths);
    let list = ListArray::try_new(field, offsets, values, Some(nulls)).map_err(failed)?;
    Ok(Arc::new(list))
}

/// The results of COLLECT: each value and how often it is there, or once of a DISTINCT.
pub(super) fn multisets(
    states: impl Iterator<Item = impl Borrow<State>>,
    call: &AggregateCall,
) -> Result<ArrayRef, Error> {
    let (TypeRoot::Multiset(element), DataType::Map(entries, sorted)) =
        (&call.result.root, call.result.arrow())
    else {
        return Err(damaged());
    };
    let DataType::Struct(fields) = entries.data_type().clone() else {
        return Err(damaged());
    };
    let (mut cells, mut counts, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
    for state in states {
        if let State::Bag(bag) = state.borrow() {
            cells.extend(bag.keys().cloned().map(Some));
            counts.extend(
                bag.values()
                    .map(|count| if call.distinct { 1 } else { *count as i32 }),
            );
            lengths.push(bag.len());
        }
    }
    let keys = cells_to_array(cells.into_iter(), element)?;
    let columns: Vec<ArrayRef> = vec![keys, Arc::new(Int32Array::from(counts))];
    let pairs = StructArray::try_new(fields, columns, None).map_err(failed)?;
    let offsets = OffsetBuffer::from_lengths(lengths);
    let map = MapArray::try_new(entries, offsets, pairs, None, sorted).map_err(failed)?;
    Ok(Arc::new(map))
}

#[cfg(test)]
mod tests {
    //! What is taken back, and what a checkpoint keeps.

    use arrow::array::{Array, AsArray, RecordBatch, StringArray};
    use proptest::prelude::*;

    use super::*;
    use crate::operators::aggregate::Nulls;
    use crate::operators::saved;

    fn items(values: &[i64]) -> Items {
        Items(
            values
                .iter()
                .map(|value| (Some(Cell::Int(*value)), 1))
                .collect(),
        )
    }

    #[test]
    fn the_first_equal_value_is_taken_back() {
        let mut found = items(&[1, 2, 1, 3]);
        found.change(Some(Cell::Int(1)), false, false);
        assert_eq!(found, items(&[2, 1, 3]));
        found.change(Some(Cell::Int(9)), false, false);
        found.change(None, true, false);
        assert_eq!(found.0.last(), Some(&(None, 1)));
        found.change(None, false, false);
        assert_eq!(found, items(&[2, 1, 3]));
    }

    #[test]
    fn a_distinct_value_stays_until_all_are_taken_back() {
        let mut found = Items::default();
        for (value, add) in [(1, true), (2, true), (1, true), (1, false)] {
            found.change(Some(Cell::Int(value)), add, true);
        }
        assert_eq!(found, items(&[1, 2]));
        found.merge(items(&[2, 3]), true);
        assert_eq!(found.0.len(), 3);
        assert_eq!(found.0[1], (Some(Cell::Int(2)), 2));
    }

    const FUNCTIONS: [Function; 6] = [
        Function::First,
        Function::Last,
        Function::ListAgg,
        Function::JsonArrayAgg(Nulls::Kept),
        Function::ArrayAgg(Nulls::Skipped),
        Function::Collect,
    ];

    fn call(function: Function) -> AggregateCall {
        let text = SqlType::string();
        AggregateCall {
            function,
            distinct: false,
            argument: Some((0, text.clone())),
            filter: None,
            separator: ";".to_owned(),
            result: match function {
                Function::ArrayAgg(_) => SqlType::of(TypeRoot::Array(Box::new(text))),
                Function::Collect => {
                    SqlType::of(TypeRoot::Multiset(Box::new(text.with_nullable(false))))
                }
                _ => text,
            },
            retracts: true,
        }
    }

    /// What the call gives for values in their order, written as the result would be shown.
    fn expected(function: Function, values: &[Option<String>]) -> Option<String> {
        let some: Vec<&str> = values.iter().flatten().map(String::as_str).collect();
        let joined = (!some.is_empty()).then(|| some.join(";"));
        match function {
            Function::First => some.first().map(ToString::to_string),
            Function::Last => some.last().map(ToString::to_string),
            Function::JsonArrayAgg(_) => {
                let all = values
                    .iter()
                    .map(|value| value.as_deref().unwrap_or("null"));
                Some(format!("[{}]", all.collect::<Vec<_>>().join(",")))
            }
            Function::Collect => {
                let mut some = some;
                some.sort_unstable();
                Some(some.join(";"))
            }
            _ => joined,
        }
    }

    fn shown(result: &ArrayRef) -> Option<String> {
        if let Some(map) = result.as_map_opt() {
            let (keys, counts) = (map.keys().as_string::<i32>(), map.values());
            let counts = counts.as_primitive::<arrow::datatypes::Int32Type>();
            let all = (0..keys.len())
                .flat_map(|at| std::iter::repeat_n(keys.value(at), counts.value(at) as usize));
            return Some(all.collect::<Vec<_>>().join(";"));
        }
        if result.is_null(0) {
            return None;
        }
        Some(match result.as_list_opt::<i32>() {
            Some(list) => {
                let values = list.value(0);
                values
                    .as_string::<i32>()
                    .iter()
                    .flatten()
                    .collect::<Vec<_>>()
                    .join(";")
            }
            None => result.as_string::<i32>().value(0).to_owned(),
        })
    }

    proptest! {
        /// Values come and go, and the state goes through a checkpoint between.
        #[test]
        fn what_is_left_is_what_was_not_taken_back(
            changes in proptest::collection::vec((proptest::option::of("[ab]{1,2}"), any::<bool>()), 0..30),
            saved_at in 0_usize..30,
        ) {
            for function in FUNCTIONS {
                let call = call(function);
                let mut states = vec![call.empty()];
                let mut values: Vec<Option<String>> = Vec::new();
                for (at, (value, add)) in changes.iter().enumerate() {
                    let known = values.iter().position(|known| known == value);
                    match known {
                        _ if *add => values.push(value.clone()),
                        Some(at) => {
                            values.remove(at);
                        }
                        // Nothing takes back what it has not given.
                        None => continue,
                    }
                    let column: ArrayRef = Arc::new(StringArray::from(vec![value.as_deref()]));
                    let batch = RecordBatch::try_from_iter_with_nullable([("v", column, true)]).unwrap();
                    call.update(&mut states, &[0], &batch, Some(&[*add])).unwrap();
                    if at == saved_at {
                        let mut bytes = Vec::new();
                        saved::save(&states[0], &mut bytes);
                        states[0] = saved::load(&mut &bytes[..]).unwrap();
                    }
                }
                let result = call.finish(states.iter()).unwrap();
                prop_assert_eq!(shown(&result), expected(function, &values), "{:?}", function);
            }
        }
    }
}
