//! Hints: options of a table, times to live of the sides of a join.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::Error;
use crate::sql::ast::{Hint, TableKind, TableRef};
use crate::sql::parse_duration;
use crate::table::TableDefinition;

/// `table` with the options of its `OPTIONS` hint.
pub(super) fn with_hints(
    table: Arc<TableDefinition>,
    hints: &[Hint],
) -> Result<Arc<TableDefinition>, Error> {
    let mut changed = None;
    for hint in hints {
        if hint.name != "OPTIONS" {
            return Err(Error::unsupported(
                format!("the hint {}", hint.name),
                hint.position,
                "",
            ));
        }
        let table = changed.get_or_insert_with(|| (*table).clone());
        table.options.extend(hint.options.clone());
    }
    Ok(changed.map_or(table, Arc::new))
}

/// The `STATE_TTL('name'='1 d', …)` hints of a SELECT: milliseconds by the name of a joined table. A name that is
/// not joined there is refused, as in Flink.
pub(super) fn state_ttl(hints: &[Hint], from: &TableRef) -> Result<BTreeMap<String, i64>, Error> {
    let mut named = BTreeMap::new();
    let mut joined = Vec::new();
    joined_names(from, &mut joined);
    for hint in hints {
        if hint.name != "STATE_TTL" {
            return Err(Error::unsupported(
                format!("the hint {}", hint.name),
                hint.position,
                "",
            ));
        }
        for (name, value) in &hint.options {
            if !joined.contains(&name.as_str()) {
                return Err(Error::validation(
                    format!("STATE_TTL names `{name}`, which is no table of a join in this FROM"),
                    hint.position,
                ));
            }
            let ttl = parse_duration(value).ok_or_else(|| {
                Error::validation(
                    format!("STATE_TTL of `{name}` cannot be `{value}`: a duration like `1 d`"),
                    hint.position,
                )
            })?;
            let millis = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
            named.insert(name.clone(), millis);
        }
    }
    Ok(named)
}

/// The names of the direct inputs of the regular joins in `table`.
fn joined_names<'a>(table: &'a TableRef, names: &mut Vec<&'a str>) {
    if let TableKind::Join { left, right, .. } = &table.kind {
        joined_names(left, names);
        if !matches!(right.kind, TableKind::Named { as_of: Some(_), .. }) {
            names.extend([left, right].into_iter().filter_map(|side| name_of(side)));
        }
    }
}

/// What a table in FROM is called, if it is no join.
pub(super) fn name_of(table: &TableRef) -> Option<&str> {
    let own = match &table.kind {
        TableKind::Named { path, .. } => path.last(),
        TableKind::Join { .. } => return None,
        _ => None,
    };
    let name = table.alias.as_ref().or(own)?;
    Some(&name.value)
}
