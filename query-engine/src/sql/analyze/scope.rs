//! What names mean at a place in a query.

use std::cell::RefCell;

use datafusion::common::Column;
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::expr::Typed;
use crate::failure::{Code, Failure, Pos, Result};
use crate::sql::ast::Ident;
use crate::types::Type;

/// One column that can be named.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    /// Alias of its relation, or catalog, schema and table.
    pub(crate) qualifier: Vec<String>,
    /// Lower-case name, if it has one.
    pub(crate) name: Option<String>,
    /// Name as the client shall see it.
    pub(crate) label: Option<String>,
    pub(crate) ty: Type,
    /// Its column in the plan.
    pub(crate) column: String,
    pub(crate) hidden: bool,
    pub(crate) origin: Option<[String; 3]>,
    pub(crate) aliased: bool,
}

impl Field {
    pub(crate) fn expr(&self) -> Expr {
        Expr::Column(Column::new_unqualified(self.column.clone()))
    }

    pub(crate) fn typed(&self) -> Typed {
        Typed::new(self.expr(), self.ty.clone())
    }

    fn is_in(&self, qualifier: &[&str]) -> bool {
        let skip = self.qualifier.len().checked_sub(qualifier.len());
        skip.is_some_and(|skip| {
            self.qualifier[skip..]
                .iter()
                .map(String::as_str)
                .eq(qualifier.iter().copied())
        })
    }
}

/// A plan and what its columns are called.
#[derive(Debug, Clone)]
pub(crate) struct Relation {
    pub(crate) plan: LogicalPlan,
    pub(crate) fields: Vec<Field>,
}

/// The names visible in an expression, inner ones first.
pub(crate) struct Scope<'a> {
    pub(crate) fields: Vec<Field>,
    pub(crate) outer: Option<&'a Scope<'a>>,
    /// Was a name found in the enclosing query through this scope?
    pub(crate) correlated: RefCell<bool>,
}

impl<'a> Scope<'a> {
    pub(crate) fn new(fields: Vec<Field>, outer: Option<&'a Scope<'a>>) -> Scope<'a> {
        Scope {
            fields,
            outer,
            correlated: RefCell::new(false),
        }
    }

    pub(crate) fn empty(outer: Option<&'a Scope<'a>>) -> Scope<'a> {
        Scope::new(Vec::new(), outer)
    }

    fn local(&self, qualifier: &[&str], name: &Ident) -> Result<Option<&Field>> {
        let mut found = self.fields.iter().filter(|field| {
            field.name.as_deref() == Some(&name.value)
                && (qualifier.is_empty() || field.is_in(qualifier))
        });
        let first = found.next();
        if first.is_some() && found.next().is_some() {
            return Err(Failure::at(
                Code::AmbiguousName,
                name.pos,
                format!("Column '{}' is ambiguous", dotted(qualifier, &name.value)),
            ));
        }
        Ok(first)
    }

    /// Finds a column by qualifier and name here or in the enclosing queries.
    pub(crate) fn find(&self, qualifier: &[&str], name: &Ident) -> Result<Option<Typed>> {
        if let Some(field) = self.local(qualifier, name)? {
            return Ok(Some(field.typed()));
        }
        let Some(outer) = self.outer else {
            return Ok(None);
        };
        if let Some(field) = outer.local(qualifier, name)? {
            *self.correlated.borrow_mut() = true;
            let column = Column::new_unqualified(field.column.clone());
            let inner = std::sync::Arc::new(arrow::datatypes::Field::new(
                field.column.clone(),
                field.ty.arrow(),
                true,
            ));
            return Ok(Some(Typed::new(
                Expr::OuterReferenceColumn(inner, column),
                field.ty.clone(),
            )));
        }
        if outer.find(qualifier, name)?.is_some() {
            return Err(Failure::unsupported(
                name.pos,
                "a reference across two levels of subqueries",
            ));
        }
        Ok(None)
    }

    /// Does any relation in sight have this qualifier?
    pub(crate) fn has_relation(&self, qualifier: &[&str]) -> bool {
        self.fields.iter().any(|field| field.is_in(qualifier))
            || self
                .outer
                .is_some_and(|outer| outer.has_relation(qualifier))
    }

    pub(crate) fn in_relation(&self, qualifier: &[&str]) -> Vec<Field> {
        self.fields
            .iter()
            .filter(|field| field.is_in(qualifier) && !field.hidden)
            .cloned()
            .collect()
    }
}

fn dotted(qualifier: &[&str], name: &str) -> String {
    let mut text = qualifier.join(".");
    if !text.is_empty() {
        text.push('.');
    }
    text + name
}

pub(crate) fn unresolved(pos: Pos, name: &str) -> Failure {
    Failure::at(
        Code::ColumnNotFound,
        pos,
        format!("Column '{name}' cannot be resolved"),
    )
}
