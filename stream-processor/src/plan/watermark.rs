//! CURRENT_WATERMARK: a call that no kernel can compute, because only the operator knows how far event time is. A
//! projection or filter reads a column instead, which it adds to each batch.

use super::rel::Role;
use super::scope::Scope;
use super::typed::{Kernel, Typed, TypedKind};
use crate::error::{Error, Position};
use crate::functions::failed;
use crate::sql::ast::{Call, ExprKind};
use crate::table::{SqlType, TypeRoot};

const NAME: &str = "CURRENT_WATERMARK";

/// The call over a rowtime column of `scope`: of its type, NULL before the first watermark.
pub(super) fn current(scope: &Scope, call: &Call, at: Position) -> Result<Typed, Error> {
    let path = match &call.args[..] {
        [arg] => match &arg.kind {
            ExprKind::Name(path) => path.as_slice(),
            _ => &[],
        },
        _ => &[],
    };
    let (table, column) = match path {
        [column] => (None, column),
        [table, column] => (Some(&table.value), column),
        _ => return Err(needs_rowtime(at)),
    };
    let found = scope.columns.iter().find(|(qualifier, field)| {
        field.name == column.value && (table.is_none() || table == qualifier.as_ref())
    });
    let ty = match found {
        Some((_, field)) if field.role == Role::Rowtime => &field.ty,
        _ => return Err(needs_rowtime(at)),
    };
    let root = match ty.root {
        TypeRoot::TimestampLtz(_) => TypeRoot::TimestampLtz(3),
        _ => TypeRoot::Timestamp(3),
    };
    let mut kernel = Kernel::new(format!("{NAME}[{root}]"), |_, _| {
        Err(failed(
            "CURRENT_WATERMARK is known to projections and filters only",
        ))
    });
    kernel.volatile = true;
    Ok(Typed::call(kernel, Vec::new(), SqlType::of(root)))
}

fn needs_rowtime(at: Position) -> Error {
    Error::validation(format!("{NAME} needs a rowtime attribute of its input"), at)
}

/// Whether `expr` itself is the call.
pub(crate) fn is_current(expr: &Typed) -> bool {
    matches!(&expr.kind, TypedKind::Call(kernel, _) if kernel.name.starts_with("CURRENT_WATERMARK["))
}

/// The types that calls in `expr` have.
pub(crate) fn types(expr: &Typed, found: &mut Vec<SqlType>) {
    if is_current(expr) && !found.contains(&expr.ty) {
        found.push(expr.ty.clone());
    }
    for child in expr.children() {
        types(child, found);
    }
}
