//! UNION, INTERSECT, EXCEPT and VALUES.

use datafusion::common::Column;
use datafusion::logical_expr::{Expr, JoinType, LogicalPlan, LogicalPlanBuilder};

use super::Analyzer;
use super::expr::{Context, Typed};
use super::scope::{Field, Relation, Scope};
use crate::failure::{Code, Failure, Pos, Result};
use crate::sql::ast::{Body, Expr as AstExpr, Kind, SetKind};
use crate::types::{Type, common};

impl Analyzer<'_> {
    pub(super) fn body(&mut self, body: &Body, outer: Option<&Scope<'_>>) -> Result<Relation> {
        match body {
            Body::Select(select) => self.select(select, &[], outer),
            Body::Values(rows) => self.values(rows, outer),
            Body::Table(name) => self.table(name, None, name.pos()),
            Body::Query(query) => self.query(query, outer),
            Body::Set {
                kind,
                all,
                left,
                right,
                pos,
            } => {
                let left = self.body(left, outer)?;
                let right = self.body(right, outer)?;
                self.set_operation(*pos, *kind, *all, left, right)
            }
        }
    }

    fn set_operation(
        &mut self,
        pos: Pos,
        kind: SetKind,
        all: bool,
        left: Relation,
        right: Relation,
    ) -> Result<Relation> {
        let word = match kind {
            SetKind::Union => "UNION",
            SetKind::Intersect => "INTERSECT",
            SetKind::Except => "EXCEPT",
        };
        let left_fields: Vec<Field> = left
            .fields
            .iter()
            .filter(|field| !field.hidden)
            .cloned()
            .collect();
        let right_fields: Vec<Field> = right
            .fields
            .iter()
            .filter(|field| !field.hidden)
            .cloned()
            .collect();
        if left_fields.len() != right_fields.len() {
            let message = format!(
                "{word} query has different number of fields: {}, {}",
                left_fields.len(),
                right_fields.len()
            );
            return Err(Failure::at(Code::TypeMismatch, pos, message));
        }
        let mut types = Vec::with_capacity(left_fields.len());
        for (index, (a, b)) in left_fields.iter().zip(&right_fields).enumerate() {
            let ty = common(&a.ty, &b.ty).ok_or_else(|| {
                let message = format!(
                    "column {} in {word} query has incompatible types: {}, {}",
                    index + 1,
                    a.ty,
                    b.ty
                );
                Failure::at(Code::TypeMismatch, pos, message)
            })?;
            if matches!(ty, Type::Json | Type::Map(..)) && !(kind == SetKind::Union && all) {
                return Err(Failure::unsupported(pos, format!("{word} of {ty}")));
            }
            types.push(ty);
        }
        let exact = kind == SetKind::Union && all;
        let fields: Vec<Field> = left_fields
            .iter()
            .zip(&types)
            .map(|(field, ty)| Field {
                qualifier: Vec::new(),
                ty: ty.clone(),
                column: self.fresh(field.name.as_deref().unwrap_or("_col")),
                origin: None,
                ..field.clone()
            })
            .collect();
        let left = self.conformed(pos, left.plan, &left_fields, &fields, exact)?;
        let right = self.conformed(pos, right.plan, &right_fields, &fields, exact)?;
        let plan = match (kind, all) {
            (SetKind::Union, true) => LogicalPlanBuilder::from(left).union(right)?.build()?,
            (SetKind::Union, false) => LogicalPlanBuilder::from(left)
                .union(right)?
                .distinct()?
                .build()?,
            (SetKind::Intersect, false) => {
                self.matched(left, right, &fields, JoinType::LeftSemi)?
            }
            (SetKind::Except, false) => self.matched(left, right, &fields, JoinType::LeftAnti)?,
            (_, true) => return Err(Failure::unsupported(pos, format!("{word} ALL"))),
        };
        Ok(Relation { plan, fields })
    }

    /// One side with the columns and types of the result.
    fn conformed(
        &mut self,
        pos: Pos,
        plan: LogicalPlan,
        from: &[Field],
        to: &[Field],
        exact: bool,
    ) -> Result<LogicalPlan> {
        let mut exprs = Vec::with_capacity(to.len());
        for (from, to) in from.iter().zip(to) {
            let value = self
                .coerce_value(from.typed(), &to.ty)
                .map_err(|failure| failure.or_at(pos))?;
            let value = Typed::new(value, to.ty.clone());
            let value = if exact {
                value
            } else {
                crate::functions::compare::groupable(value)
            };
            exprs.push(value.expr.alias(to.column.clone()));
        }
        Ok(LogicalPlanBuilder::from(plan).project(exprs)?.build()?)
    }

    /// Distinct rows of the left side that are, or are not, on the right; NULLs match each other.
    fn matched(
        &mut self,
        left: LogicalPlan,
        right: LogicalPlan,
        fields: &[Field],
        join: JoinType,
    ) -> Result<LogicalPlan> {
        let mut renamed = Vec::new();
        let mut on = (Vec::new(), Vec::new());
        for field in fields {
            let other = self.fresh("right");
            renamed.push(field.expr().alias(other.clone()));
            on.0.push(Column::new_unqualified(field.column.clone()));
            on.1.push(Column::new_unqualified(other));
        }
        let right = LogicalPlanBuilder::from(right).project(renamed)?.build()?;
        let equality = datafusion::common::NullEquality::NullEqualsNull;
        let plan = LogicalPlanBuilder::from(left)
            .distinct()?
            .join_detailed(right, join, on, None, equality)?;
        Ok(plan.build()?)
    }

    fn values(&mut self, rows: &[AstExpr], outer: Option<&Scope<'_>>) -> Result<Relation> {
        let scope = Scope::empty(outer);
        let mut table: Vec<Vec<(Pos, Typed)>> = Vec::with_capacity(rows.len());
        for row in rows {
            let cells = match row.kind.as_ref() {
                Kind::Row(cells) => cells.as_slice(),
                _ => std::slice::from_ref(row),
            };
            let mut values = Vec::with_capacity(cells.len());
            for cell in cells {
                values.push((
                    cell.pos,
                    self.expr(cell, &mut Context::plain(&scope, "VALUES"))?,
                ));
            }
            if table
                .first()
                .is_some_and(|first| first.len() != values.len())
            {
                return Err(Failure::at(
                    Code::TypeMismatch,
                    row.pos,
                    "Values rows have mismatched sizes",
                ));
            }
            table.push(values);
        }
        let n_columns = table.first().map_or(0, Vec::len);
        let mut columns: Vec<std::vec::IntoIter<Expr>> = Vec::with_capacity(n_columns);
        let mut fields = Vec::with_capacity(n_columns);
        for column in 0..n_columns {
            let cells = table.iter().map(|row| row[column].clone()).collect();
            let (ty, cells) = self.same_type(cells, "Values rows have mismatched types")?;
            columns.push(cells.into_iter());
            let column = self.fresh("_col");
            fields.push(Field {
                qualifier: vec![],
                name: None,
                label: None,
                ty,
                column,
                hidden: false,
                origin: None,
                aliased: false,
            });
        }
        let rows: Vec<Vec<Expr>> = (0..table.len())
            .map(|_| columns.iter_mut().filter_map(Iterator::next).collect())
            .collect();
        let renamed: Vec<Expr> = fields
            .iter()
            .enumerate()
            .map(|(index, field)| {
                Expr::Column(Column::new_unqualified(format!("column{}", index + 1)))
                    .alias(field.column.clone())
            })
            .collect();
        let plan = LogicalPlanBuilder::values(rows)?
            .project(renamed)?
            .build()?;
        Ok(Relation { plan, fields })
    }
}
