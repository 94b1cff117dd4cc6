//! UNNEST: the elements of an array, map or multiset of the row to the left, as rows beside it.

use std::sync::Arc;

use datafusion_common::ScalarValue;

use super::Planner;
use super::condition::with_keys;
use super::expr::Analyzer;
use super::from::Source;
use super::rel::{Field, Op, Rel};
use super::scope::Scope;
use super::typed::{Typed, TypedKind};
use crate::error::{Error, Position};
use crate::operators::unnest::Collection;
use crate::sql::ast::{Expr, JoinKind, TableRef};
use crate::table::{SqlType, TypeRoot};

/// `JOIN UNNEST(expr) [WITH ORDINALITY] AS alias (columns) ON condition`
pub(super) struct Unnesting<'a> {
    pub(super) expr: &'a Expr,
    pub(super) ordinality: bool,
    /// Where its alias is.
    pub(super) table: &'a TableRef,
    pub(super) kind: JoinKind,
    pub(super) on: Option<&'a Expr>,
}

impl Planner<'_> {
    /// The rows of `left`, each with the elements of its collection.
    pub(super) fn unnest(&self, left: Source, unnesting: &Unnesting<'_>) -> Result<Source, Error> {
        let (left_rel, scope) = left;
        if matches!(unnesting.kind, JoinKind::Right | JoinKind::Full) {
            return Err(Error::unsupported(
                "RIGHT or FULL JOIN UNNEST",
                unnesting.table.position,
                "; INNER and LEFT are",
            ));
        }
        let value = self.in_scope(&scope).expr(unnesting.expr)?;
        let outer = unnesting.kind == JoinKind::Left;
        let (collection, right) = self.elements(&value.ty, unnesting, outer)?;
        let name = unnesting.table.alias.as_ref().map(|alias| &alias.value);
        let mut columns = scope.columns;
        columns.extend(right.iter().map(|field| (name.cloned(), field.clone())));
        let scope = Scope::of(columns);
        let on = unnesting.on.map(|on| self.in_scope(&scope).boolean(on));
        let on = on.transpose()?.filter(|on| !is_true(on));

        let width = left_rel.fields.len();
        let (input, keys) = with_keys(&left_rel, std::iter::once(value));
        let extra = input.fields.len() - width;
        let shift = |column: usize| {
            if column < width {
                column
            } else {
                column + extra
            }
        };
        let on = on.map(|on| on.remap(&shift));
        let mut fields = input.fields.clone();
        fields.extend(right);
        let changes = input.changes;
        let mut rel = Arc::new(Rel {
            op: Op::Unnest {
                column: keys[0],
                collection,
                ordinality: unnesting.ordinality,
                outer,
                condition: on.clone().filter(|_| outer),
            },
            inputs: vec![input],
            fields,
            changes,
        });
        if let Some(on) = on.filter(|_| !outer) {
            rel = Rel::filter(rel, on);
        }
        if extra > 0 {
            let mut items = rel.all();
            items.drain(width..width + extra);
            rel = Rel::calc(rel, None, items);
        }
        Ok((rel, scope))
    }

    /// UNNEST that nothing stands to the left of.
    pub(super) fn unnest_alone(&self, unnesting: &Unnesting<'_>) -> Result<Source, Error> {
        let (rel, scope) = self.unnest(super::values::no_table(), unnesting)?;
        let mut items = rel.all();
        let names: Vec<Option<String>> =
            scope.columns.iter().map(|(name, _)| name.clone()).collect();
        items.remove(0);
        let rel = Rel::calc(rel, None, items);
        let fields = rel.fields.iter().cloned();
        let columns = names.into_iter().skip(1).zip(fields).collect();
        Ok((rel, Scope::of(columns)))
    }

    fn in_scope<'s>(&self, scope: &'s Scope) -> Analyzer<'s> {
        Analyzer {
            scope,
            grouping: None,
            zone: self.zone,
        }
    }

    /// What is taken apart, and the columns of its elements.
    fn elements(
        &self,
        ty: &SqlType,
        unnesting: &Unnesting<'_>,
        outer: bool,
    ) -> Result<(Collection, Vec<Field>), Error> {
        let of_element = |element: &SqlType| match &element.root {
            TypeRoot::Row(fields) => fields.clone(),
            _ => vec![("EXPR$0".to_owned(), element.clone())],
        };
        let (collection, mut columns) = match &ty.root {
            TypeRoot::Array(element) => (Collection::Array, of_element(element)),
            TypeRoot::Multiset(element) => (Collection::Multiset, of_element(element)),
            TypeRoot::Map(key, value) => {
                let entry = [("KEY", key), ("VALUE", value)];
                let entry = entry.map(|(name, of)| (name.to_owned(), (**of).clone()));
                (Collection::Map, entry.to_vec())
            }
            _ => {
                return Err(Error::validation(
                    format!("UNNEST needs an ARRAY, MAP or MULTISET, not {ty}"),
                    unnesting.expr.position,
                ));
            }
        };
        if unnesting.ordinality {
            columns.push(("ORDINALITY".to_owned(), SqlType::required(TypeRoot::Int)));
        }
        name_columns(unnesting.table, &mut columns)?;
        let field = |(name, ty): (String, SqlType)| {
            let nullable = ty.nullable || outer;
            Field::plain(name, ty.with_nullable(nullable))
        };
        Ok((collection, columns.into_iter().map(field).collect()))
    }
}

/// `AS t (a, b)`; a sole column is called what the table is called.
fn name_columns(table: &TableRef, columns: &mut [(String, SqlType)]) -> Result<(), Error> {
    if let (Some(alias), [(name, _)], true) =
        (&table.alias, &mut *columns, table.columns.is_empty())
    {
        name.clone_from(&alias.value);
    }
    let Some(first) = table.columns.first() else {
        return Ok(());
    };
    if table.columns.len() != columns.len() {
        return Err(other_width(
            table.columns.len(),
            columns.len(),
            first.position,
        ));
    }
    for ((name, _), ident) in columns.iter_mut().zip(&table.columns) {
        name.clone_from(&ident.value);
    }
    Ok(())
}

fn other_width(names: usize, columns: usize, at: Position) -> Error {
    Error::validation(format!("{names} column names for {columns} columns"), at)
}

fn is_true(condition: &Typed) -> bool {
    matches!(
        &condition.kind,
        TypedKind::Literal(ScalarValue::Boolean(Some(true)))
    )
}
