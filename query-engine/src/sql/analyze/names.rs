//! What a name means: a column, a lambda's parameter, an output alias, a field of a row, a parameter of the statement.

use datafusion::logical_expr::Expr;

use super::Analyzer;
use super::expr::{Context, Typed};
use super::scope::{Scope, unresolved};
use crate::failure::{Code, Failure, Pos, Result};
use crate::functions::row;
use crate::sql::ast::{self, Ident, Kind};
use crate::types::Type;

impl Analyzer<'_> {
    pub(super) fn identifier(&mut self, name: &Ident, cx: &Context<'_>) -> Result<Typed> {
        if let Some((_, variable, ty)) = cx
            .lambda
            .iter()
            .rev()
            .find(|(param, _, _)| *param == name.value)
        {
            return Ok(Typed::new(
                Expr::LambdaVariable(variable.clone()),
                ty.clone(),
            ));
        }
        if let Some(found) = cx.aliases.and_then(|aliases| aliases.get(&name.value)) {
            return match found.as_slice() {
                [only] => Ok(only.clone()),
                _ => Err(Failure::at(
                    Code::AmbiguousName,
                    name.pos,
                    format!("Column '{}' is ambiguous", name.value),
                )),
            };
        }
        let found = cx
            .scope
            .find(&[], name)?
            .ok_or_else(|| unresolved(name.pos, &name.value))?;
        Ok(found)
    }

    pub(super) fn dereference(
        &mut self,
        base: &ast::Expr,
        name: &Ident,
        cx: &mut Context<'_>,
    ) -> Result<Typed> {
        if let Some(mut parts) = name_parts(base) {
            let shadowed = cx
                .lambda
                .iter()
                .any(|(param, _, _)| *param == parts[0].value);
            let qualifier: Vec<&str> = parts.iter().map(|part| part.value.as_str()).collect();
            if !shadowed {
                if let Some(found) = cx.scope.find(&qualifier, name)? {
                    return Ok(found);
                }
                if cx.scope.has_relation(&qualifier) {
                    parts.push(name.clone());
                    let full: Vec<&str> = parts.iter().map(|part| part.value.as_str()).collect();
                    return Err(unresolved(base.pos, &full.join(".")));
                }
            }
        }
        let value =
            self.expr(base, cx)
                .map_err(|failure| match (name_parts(base), failure.code) {
                    (Some(parts), Code::ColumnNotFound) => {
                        let full: Vec<&str> =
                            parts.iter().map(|part| part.value.as_str()).collect();
                        unresolved(base.pos, &format!("{}.{}", full.join("."), name.value))
                    }
                    _ => failure,
                })?;
        let Type::Row(fields) = &value.ty else {
            return Err(Failure::at(
                Code::TypeMismatch,
                base.pos,
                format!("Expression {} is not of type ROW", describe(base)),
            ));
        };
        let index = fields
            .iter()
            .position(|(field, _)| {
                field
                    .as_deref()
                    .is_some_and(|field| field.eq_ignore_ascii_case(&name.value))
            })
            .ok_or_else(|| unresolved(base.pos, &format!("{}.{}", describe(base), name.value)))?;
        let ty = fields[index].1.clone();
        Ok(Typed::new(row::field(value.expr, index, &ty), ty))
    }

    pub(super) fn parameter(
        &mut self,
        index: usize,
        pos: Pos,
        cx: &mut Context<'_>,
    ) -> Result<Typed> {
        let Some(value) = self.parameters.get(index) else {
            return Err(Failure::at(
                Code::InvalidParameterUsage,
                pos,
                format!(
                    "Incorrect number of parameters: expected at least {} but found {}",
                    index + 1,
                    self.parameters.len()
                ),
            ));
        };
        let value = value.clone();
        if matches!(*value.kind, Kind::Parameter(_)) {
            return Err(Failure::at(
                Code::InvalidParameterUsage,
                pos,
                "Query takes no parameters",
            ));
        }
        let empty = Scope::empty(None);
        let mut inner = Context::plain(&empty, cx.place);
        self.expr(&value, &mut inner)
    }
}

/// `a.b.c` as its parts, when that is all the expression is.
pub(super) fn name_parts(expr: &ast::Expr) -> Option<Vec<Ident>> {
    match expr.kind.as_ref() {
        Kind::Ident(name) => Some(vec![name.clone()]),
        Kind::Dereference(base, name) => {
            let mut parts = name_parts(base)?;
            parts.push(name.clone());
            Some(parts)
        }
        _ => None,
    }
}

fn describe(expr: &ast::Expr) -> String {
    match name_parts(expr) {
        Some(parts) => parts
            .iter()
            .map(|part| part.value.as_str())
            .collect::<Vec<_>>()
            .join("."),
        None => "(expression)".to_owned(),
    }
}
