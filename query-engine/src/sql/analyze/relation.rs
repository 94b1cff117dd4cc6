//! FROM: tables, subqueries, joins and their names.

use std::sync::Arc;

use datafusion::common::{Column, TableReference};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{Expr, JoinType, LogicalPlan, LogicalPlanBuilder};

use super::Analyzer;
use super::expr::{Context, Typed};
use super::scope::{Field, Relation, Scope};
use super::tables::key;
use crate::failure::{Code, Failure, Pos, Result};
use crate::sql::ast::{self, Alias, Compare, Ident, JoinKind, Name, On, RelationKind, Version};
use crate::types::Type;

impl Analyzer<'_> {
    pub(super) fn relation(
        &mut self,
        relation: &ast::Relation,
        outer: Option<&Scope<'_>>,
    ) -> Result<Relation> {
        self.count_relation(relation.pos)?;
        let found = match relation.kind.as_ref() {
            RelationKind::Table { name, version } => {
                self.table(name, version.as_ref(), relation.pos)?
            }
            RelationKind::Subquery(query) => {
                let mut inner = self.query(query, outer)?;
                inner.fields.retain(|field| !field.hidden);
                for field in &mut inner.fields {
                    field.qualifier.clear();
                }
                inner
            }
            RelationKind::Lateral(_) => return Err(Failure::unsupported(relation.pos, "LATERAL")),
            RelationKind::Unnest { exprs, ordinality } => {
                let one = Relation {
                    plan: LogicalPlanBuilder::empty(true).build()?,
                    fields: Vec::new(),
                };
                self.unnest(
                    relation.pos,
                    one,
                    exprs,
                    *ordinality,
                    relation.alias.as_ref(),
                    JoinKind::Cross,
                    outer,
                )?
            }
            RelationKind::Nested(inner) => self.relation(inner, outer)?,
            RelationKind::Join {
                kind,
                left,
                right,
                on,
            } => self.join(relation.pos, *kind, left, right, on, outer)?,
        };
        let unnest = matches!(relation.kind.as_ref(), RelationKind::Unnest { .. });
        match &relation.alias {
            Some(alias) if !unnest => aliased(found, alias),
            _ => Ok(found),
        }
    }

    pub(super) fn table(
        &mut self,
        name: &Name,
        version: Option<&Version>,
        pos: Pos,
    ) -> Result<Relation> {
        if let [only] = name.parts.as_slice()
            && let Some(level) = self
                .ctes
                .iter()
                .rposition(|level| level.contains_key(&only.value))
        {
            if version.is_some() {
                return Err(Failure::unsupported(pos, "time travel on a WITH query"));
            }
            return self.cte(level, only);
        }
        let key = key(name, version, self.environment)?;
        let table = match self.tables.get(&key) {
            Some(Ok(table)) => table.clone(),
            Some(Err(failure)) => return Err(failure.clone().or_at(pos)),
            None => {
                return Err(Failure::at(
                    Code::GenericInternalError,
                    pos,
                    format!("table {} was not resolved", name.text()),
                ));
            }
        };
        let source = TableReference::bare(table.name.join("."));
        let scan = LogicalPlanBuilder::scan(
            source.clone(),
            provider_as_source(Arc::clone(&table.provider)),
            None,
        )?;
        let schema = table.provider.schema();
        let mut exprs = Vec::with_capacity(table.columns.len());
        let mut fields = Vec::with_capacity(table.columns.len());
        for column in &table.columns {
            let fresh = self.fresh(&column.name);
            let mut expr = Expr::Column(Column::new(Some(source.clone()), column.source.clone()));
            let found = schema.field_with_name(&column.source)?.data_type().clone();
            if found != column.ty.arrow() {
                expr = if matches!(column.ty, Type::Row(_) | Type::Array(_) | Type::Map(..)) {
                    crate::functions::row::relabelled(expr, &column.ty)
                } else {
                    Expr::Cast(datafusion::logical_expr::Cast::new(
                        Box::new(expr),
                        column.ty.arrow(),
                    ))
                };
            }
            exprs.push(expr.alias(fresh.clone()));
            fields.push(Field {
                qualifier: table.name.to_vec(),
                name: Some(column.name.clone()),
                label: Some(column.name.clone()),
                ty: column.ty.clone(),
                column: fresh,
                hidden: column.hidden,
                origin: Some(table.name.clone()),
                aliased: false,
            });
        }
        Ok(Relation {
            plan: scan.project(exprs)?.build()?,
            fields,
        })
    }

    fn cte(&mut self, level: usize, name: &Ident) -> Result<Relation> {
        let Some(cte) = self.ctes[level].get(&name.value).cloned() else {
            return Err(Failure::at(
                Code::TableNotFound,
                name.pos,
                format!("Table '{}' does not exist", name.value),
            ));
        };
        // A WITH query sees those before it only.
        let hidden = self.ctes.split_off(level);
        let result = self.query(&cte.query, None);
        self.ctes.extend(hidden);
        let mut relation = result?;
        relation.fields.retain(|field| !field.hidden);
        let alias = Alias {
            name: cte.name.clone(),
            columns: cte.columns.clone(),
        };
        relation = aliased(relation, &alias)?;
        Ok(relation)
    }

    fn join(
        &mut self,
        pos: Pos,
        kind: JoinKind,
        left: &ast::Relation,
        right: &ast::Relation,
        on: &On,
        outer: Option<&Scope<'_>>,
    ) -> Result<Relation> {
        let left = self.relation(left, outer)?;
        if let RelationKind::Unnest { exprs, ordinality } = right.kind.as_ref() {
            let always = match on {
                On::None => true,
                On::Expr(on) => matches!(on.kind.as_ref(), ast::Kind::Boolean(true)),
                _ => false,
            };
            if !always || !matches!(kind, JoinKind::Cross | JoinKind::Inner | JoinKind::Left) {
                return Err(Failure::unsupported(
                    right.pos,
                    "a join with UNNEST other than CROSS JOIN or LEFT JOIN ... ON TRUE",
                ));
            }
            return self.unnest(
                right.pos,
                left,
                exprs,
                *ordinality,
                right.alias.as_ref(),
                kind,
                outer,
            );
        }
        let right = self.relation(right, outer)?;
        match on {
            On::None => {
                let plan = LogicalPlanBuilder::from(left.plan)
                    .cross_join(right.plan)?
                    .build()?;
                Ok(Relation {
                    plan,
                    fields: [left.fields, right.fields].concat(),
                })
            }
            On::Expr(on) => {
                let fields = [left.fields, right.fields].concat();
                let scope = Scope::new(fields.clone(), outer);
                let on = self.expr_as(
                    on,
                    &Type::Boolean,
                    "JOIN ON clause",
                    &mut Context::plain(&scope, "JOIN clause"),
                )?;
                let plan = LogicalPlanBuilder::from(left.plan)
                    .join_on(right.plan, join_type(kind), [on])?
                    .build()?;
                Ok(Relation { plan, fields })
            }
            On::Using(columns) => self.join_using(pos, kind, left, right, columns),
            On::Natural => Err(Failure::at(
                Code::NotSupported,
                pos,
                "Natural join not supported",
            )),
        }
    }

    fn join_using(
        &mut self,
        pos: Pos,
        kind: JoinKind,
        left: Relation,
        right: Relation,
        columns: &[Ident],
    ) -> Result<Relation> {
        let mut conditions = Vec::with_capacity(columns.len());
        let mut merged = Vec::with_capacity(columns.len());
        for column in columns {
            let a = one(&left, column, "left")?;
            let b = one(&right, column, "right")?;
            conditions.push(
                self.comparison(column.pos, Compare::Eq, a.typed(), b.typed())?
                    .expr,
            );
            let (ty, mut both) = self.same_type(
                vec![(pos, a.typed()), (pos, b.typed())],
                "JOIN USING columns must be the same type",
            )?;
            let value = match kind {
                JoinKind::Right => both.swap_remove(1),
                JoinKind::Full => datafusion::functions::core::expr_fn::coalesce(both),
                _ => both.swap_remove(0),
            };
            merged.push((column, Typed::new(value, ty)));
        }
        let plan = if conditions.is_empty() {
            LogicalPlanBuilder::from(left.plan)
                .cross_join(right.plan)?
                .build()?
        } else {
            LogicalPlanBuilder::from(left.plan)
                .join_on(right.plan, join_type(kind), conditions)?
                .build()?
        };
        self.merge(plan, merged, left.fields, right.fields)
    }

    /// The named columns once, then the rest of both sides.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the caller has no further use for it"
    )]
    fn merge(
        &mut self,
        plan: LogicalPlan,
        merged: Vec<(&Ident, Typed)>,
        left: Vec<Field>,
        right: Vec<Field>,
    ) -> Result<Relation> {
        let is_merged = |field: &Field| {
            merged
                .iter()
                .any(|(column, _)| field.name.as_deref() == Some(&column.value))
        };
        let mut exprs: Vec<Expr> = plan
            .schema()
            .columns()
            .into_iter()
            .map(Expr::Column)
            .collect();
        let rest: Vec<Field> = left
            .iter()
            .chain(&right)
            .filter(|field| !is_merged(field))
            .cloned()
            .collect();
        let mut fields = Vec::with_capacity(merged.len() + rest.len());
        for (column, value) in &merged {
            let fresh = self.fresh(&column.value);
            exprs.push(value.expr.clone().alias(fresh.clone()));
            fields.push(Field {
                qualifier: Vec::new(),
                name: Some(column.value.clone()),
                label: Some(column.written.clone()),
                ty: value.ty.clone(),
                column: fresh,
                hidden: false,
                origin: None,
                aliased: false,
            });
        }
        fields.extend(rest);
        Ok(Relation {
            plan: LogicalPlanBuilder::from(plan).project(exprs)?.build()?,
            fields,
        })
    }
}

/// Gives a relation its alias and column names.
pub(super) fn aliased(mut relation: Relation, alias: &Alias) -> Result<Relation> {
    relation
        .fields
        .retain(|field| !field.hidden || alias.columns.is_empty());
    if !alias.columns.is_empty() && alias.columns.len() != relation.fields.len() {
        let message = format!(
            "Column alias list has {} entries but '{}' has {} columns available",
            alias.columns.len(),
            alias.name.value,
            relation.fields.len()
        );
        return Err(Failure::at(
            Code::MismatchedColumnAliases,
            alias.name.pos,
            message,
        ));
    }
    for (index, field) in relation.fields.iter_mut().enumerate() {
        field.qualifier = vec![alias.name.value.clone()];
        if let Some(column) = alias.columns.get(index) {
            field.name = Some(column.value.clone());
            field.label = Some(column.written.clone());
        }
    }
    Ok(relation)
}

fn join_type(kind: JoinKind) -> JoinType {
    match kind {
        JoinKind::Inner | JoinKind::Cross => JoinType::Inner,
        JoinKind::Left => JoinType::Left,
        JoinKind::Right => JoinType::Right,
        JoinKind::Full => JoinType::Full,
    }
}

fn one<'r>(relation: &'r Relation, column: &Ident, side: &str) -> Result<&'r Field> {
    let mut found = relation
        .fields
        .iter()
        .filter(|field| field.name.as_deref() == Some(&column.value));
    match (found.next(), found.next()) {
        (Some(only), None) => Ok(only),
        (Some(_), Some(_)) => Err(Failure::at(
            Code::AmbiguousName,
            column.pos,
            format!("Column '{}' is ambiguous", column.value),
        )),
        _ => Err(Failure::at(
            Code::ColumnNotFound,
            column.pos,
            format!(
                "Column '{}' is missing from {side} side of join",
                column.value
            ),
        )),
    }
}
