//! JSON that a source reads anyway is read once: what the steps behind it ask of the same text comes along.
//!
//! A computed column like the event time takes a value out of a text, and the steps behind the source take others out
//! of the same text. Each would walk over it. Here their calls become columns that the source adds, so that one walk
//! finds all of them ([`crate::operators::calc::Extraction`]).

use std::sync::Arc;

use chrono_tz::Tz;

use super::Step;
use crate::error::Error;
use crate::operators::calc::extraction;
use crate::plan::rel::{Field, Op};
use crate::plan::source;
use crate::plan::typed::Typed;
use crate::table::{Column, ColumnKind, SqlType, TableDefinition};

/// Moves the JSON_VALUE calls of projections into the sources below them that read those texts already.
pub(super) fn read_once(steps: &mut [Step], zone: Tz) -> Result<(), Error> {
    for scan in 0..steps.len() {
        let Op::Scan(table) = &steps[scan].op else {
            continue;
        };
        let texts = source::extracted_columns(table, zone)?;
        let readers: Vec<usize> = (0..steps.len())
            .filter(|reader| steps[*reader].inputs.contains(&scan))
            .collect();
        // Other steps pass on all columns, by their places.
        let project = |reader: &usize| matches!(steps[*reader].op, Op::Calc { .. });
        if texts.is_empty() || !readers.iter().all(project) {
            continue;
        }
        let mut wide = (**table).clone();
        for reader in readers {
            if let Op::Calc { filter, exprs } = &mut steps[reader].op {
                for expr in exprs.iter_mut().chain(filter) {
                    *expr = expr.rewrite(&mut |call| {
                        let (column, path, _) = extraction(call)?;
                        let at = texts
                            .contains(&column)
                            .then(|| add(&mut wide, column, &path))??;
                        Some(Typed::column(at, call.ty.clone()))
                    });
                }
            }
        }
        let added = wide.columns[steps[scan].fields.len()..].iter();
        let added = added.map(|column| Field::plain(&column.name, column.data_type.clone()));
        steps[scan].fields.extend(added);
        steps[scan].op = Op::Scan(Arc::new(wide));
    }
    let widths: Vec<usize> = steps.iter().map(|step| step.fields.len()).collect();
    for step in steps {
        step.first_width = step.inputs.first().map_or(0, |input| widths[*input]);
    }
    Ok(())
}

/// The place of the computed column that takes `path` out of `column`; `None` if its name is another column's.
fn add(table: &mut TableDefinition, column: usize, path: &str) -> Option<usize> {
    let of = &table.columns[column].name;
    let name = format!("{of} {path}");
    let text = format!(
        "JSON_VALUE(`{}`, '{}')",
        of.replace('`', "``"),
        path.replace('\'', "''")
    );
    let kind = ColumnKind::Computed(text);
    if let Some(at) = table.columns.iter().position(|known| known.name == name) {
        return (table.columns[at].kind == kind).then_some(at);
    }
    table.columns.push(Column {
        name,
        data_type: SqlType::string(),
        kind,
    });
    Some(table.columns.len() - 1)
}
