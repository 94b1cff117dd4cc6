//! SELECT: filter, grouping, windows, projection, DISTINCT and ORDER BY, in that order.
//!
//! Expressions are analyzed against the rows of FROM with aggregates and windows left as columns to come; then what
//! equals a grouping key is replaced by that key's column, and anything of FROM that is left over is an error.

use std::collections::HashMap;

use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};

use super::Analyzer;
use super::aggregate::AggregateSpec;
use super::expr::{Context, Typed};
use super::grouping::Keys;
use super::query::ordinal;
use super::scope::{Field, Relation, Scope};
use super::window::WindowSpec;
use crate::failure::{Code, Failure, Pos, Result};
use crate::sql::ast::{self, Item, Select, SortItem};
use crate::types::Type;

/// One output column before it is projected.
#[derive(Debug, Clone)]
struct Output {
    pos: Pos,
    value: Typed,
    name: Option<String>,
    label: Option<String>,
    origin: Option<[String; 3]>,
    aliased: bool,
}

/// Everything a SELECT computes from its FROM rows.
#[derive(Default)]
struct Work {
    outputs: Vec<Output>,
    aggregates: Vec<AggregateSpec>,
    windows: Vec<WindowSpec>,
    having: Option<(Pos, Expr)>,
    sorts: Vec<(Pos, Typed)>,
}

impl Analyzer<'_> {
    pub(super) fn select(
        &mut self,
        select: &Select,
        order_by: &[SortItem],
        outer: Option<&Scope<'_>>,
    ) -> Result<Relation> {
        let from = match &select.from {
            Some(from) => self.relation(from, outer)?,
            None => Relation {
                plan: LogicalPlanBuilder::empty(true).build()?,
                fields: Vec::new(),
            },
        };
        let scope = Scope::new(from.fields, outer);
        let mut plan = from.plan;
        if let Some(filter) = &select.filter {
            let expr = self.expr_as(
                filter,
                &Type::Boolean,
                "WHERE clause",
                &mut Context::filter(&scope, "WHERE clause"),
            )?;
            plan = LogicalPlanBuilder::from(plan).filter(expr)?.build()?;
        }
        let mut work = Work::default();
        self.outputs(select, &scope, &mut work)?;
        self.having(select, &scope, &mut work)?;
        self.order_keys(select, order_by, &scope, &mut work)?;
        let plan = self.grouped(select, &scope, plan, &mut work)?;
        let plan = self.windowed(plan, &work.windows)?;
        self.projected(select, order_by, plan, work)
    }

    fn context<'s>(
        work: &'s mut Work,
        scope: &'s Scope<'s>,
        select: &'s Select,
        place: &'s str,
    ) -> Context<'s> {
        Context {
            aggregates: Some(&mut work.aggregates),
            windows: Some(&mut work.windows),
            named_windows: &select.windows,
            ..Context::plain(scope, place)
        }
    }

    fn outputs(&mut self, select: &Select, scope: &Scope<'_>, work: &mut Work) -> Result<()> {
        for item in &select.items {
            match item {
                Item::Star(pos) => {
                    let fields: Vec<&Field> =
                        scope.fields.iter().filter(|field| !field.hidden).collect();
                    if fields.is_empty() {
                        return Err(Failure::at(
                            Code::NotSupported,
                            *pos,
                            "SELECT * not allowed in queries without FROM clause",
                        ));
                    }
                    work.outputs
                        .extend(fields.into_iter().map(|field| output_of(*pos, field)));
                }
                Item::Qualified(base, columns) => {
                    self.qualified_star(base, columns, scope, work, select)?
                }
                Item::Expr(expr, alias) => {
                    let value = self.expr(
                        expr,
                        &mut Self::context(work, scope, select, "SELECT clause"),
                    )?;
                    let named = alias.as_ref().or_else(|| name_of(expr));
                    let origin = origin_of(&value, scope);
                    work.outputs.push(Output {
                        pos: expr.pos,
                        value,
                        name: named.map(|name| name.value.clone()),
                        label: named.map(label),
                        origin,
                        aliased: alias.is_some(),
                    });
                }
            }
        }
        Ok(())
    }

    fn qualified_star(
        &mut self,
        base: &ast::Expr,
        columns: &[ast::Ident],
        scope: &Scope<'_>,
        work: &mut Work,
        select: &Select,
    ) -> Result<()> {
        let parts = super::names::name_parts(base).unwrap_or_default();
        let qualifier: Vec<&str> = parts.iter().map(|part| part.value.as_str()).collect();
        let fields = if qualifier.is_empty() {
            Vec::new()
        } else {
            scope.in_relation(&qualifier)
        };
        let mut outputs: Vec<Output> = if fields.is_empty() {
            let value = self
                .expr(
                    base,
                    &mut Self::context(work, scope, select, "SELECT clause"),
                )
                .map_err(|failure| {
                    let table = qualifier.join(".");
                    if qualifier.is_empty() {
                        failure
                    } else {
                        Failure::at(
                            Code::TableNotFound,
                            base.pos,
                            format!("Unable to resolve reference {table}"),
                        )
                    }
                })?;
            let Type::Row(fields) = value.ty.clone() else {
                return Err(Failure::at(
                    Code::TypeMismatch,
                    base.pos,
                    format!("expected row type but got {}", value.ty),
                ));
            };
            let fields = fields
                .into_iter()
                .enumerate()
                .map(|(index, (name, _))| Output {
                    pos: base.pos,
                    value: crate::functions::row::typed_field(&value, index),
                    label: name.clone(),
                    name,
                    origin: None,
                    aliased: false,
                });
            fields.collect()
        } else {
            fields
                .iter()
                .map(|field| output_of(base.pos, field))
                .collect()
        };
        if !columns.is_empty() {
            if columns.len() != outputs.len() {
                return Err(Failure::at(
                    Code::MismatchedColumnAliases,
                    base.pos,
                    format!(
                        "Column alias list has {} entries but relation has {} columns",
                        columns.len(),
                        outputs.len()
                    ),
                ));
            }
            for (output, column) in outputs.iter_mut().zip(columns) {
                output.name = Some(column.value.clone());
                output.label = Some(label(column));
                output.aliased = true;
            }
        }
        work.outputs.append(&mut outputs);
        Ok(())
    }

    fn having(&mut self, select: &Select, scope: &Scope<'_>, work: &mut Work) -> Result<()> {
        let Some(having) = &select.having else {
            return Ok(());
        };
        let mut cx = Self::context(work, scope, select, "HAVING clause");
        cx.windows = None;
        cx.conjunct = true;
        let expr = self.expr_as(having, &Type::Boolean, "HAVING clause", &mut cx)?;
        work.having = Some((having.pos, expr));
        Ok(())
    }

    fn order_keys(
        &mut self,
        select: &Select,
        order_by: &[SortItem],
        scope: &Scope<'_>,
        work: &mut Work,
    ) -> Result<()> {
        let mut aliases: HashMap<String, Vec<Typed>> = HashMap::new();
        for output in &work.outputs {
            if let Some(name) = &output.name {
                let known = aliases.entry(name.clone()).or_default();
                if !known.contains(&output.value) {
                    known.push(output.value.clone());
                }
            }
        }
        for item in order_by {
            let key = match ordinal(&item.expr, work.outputs.len())? {
                Some(index) => work.outputs[index].value.clone(),
                None => {
                    let mut cx = Self::context(work, scope, select, "ORDER BY clause");
                    cx.aliases = Some(&aliases);
                    self.expr(&item.expr, &mut cx)?
                }
            };
            if select.distinct
                && !work
                    .outputs
                    .iter()
                    .any(|output| output.value.expr == key.expr)
            {
                return Err(Failure::at(
                    Code::ExpressionNotInDistinct,
                    item.expr.pos,
                    "For SELECT DISTINCT, ORDER BY expressions must appear in select list",
                ));
            }
            work.sorts.push((item.expr.pos, key));
        }
        Ok(())
    }

    /// Adds the aggregation, and rewrites everything that is computed after it.
    fn grouped(
        &mut self,
        select: &Select,
        scope: &Scope<'_>,
        plan: LogicalPlan,
        work: &mut Work,
    ) -> Result<LogicalPlan> {
        if select.group_by.is_none() && select.having.is_none() && work.aggregates.is_empty() {
            return Ok(plan);
        }
        let outputs: Vec<(Pos, Typed)> = work
            .outputs
            .iter()
            .map(|output| (output.pos, output.value.clone()))
            .collect();
        let keys = self.grouping_keys(select.group_by.as_ref(), scope, &outputs)?;
        let (plan, replacements) = self.aggregated(plan, &keys, &work.aggregates)?;
        let known: Vec<String> = plan
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect();
        let rewrite = |pos: Pos, expr: Expr| {
            after_grouping(
                pos,
                expr,
                &replacements,
                &known,
                scope,
                work_columns(&work.windows),
            )
        };
        for output in &mut work.outputs {
            output.value.expr = rewrite(output.pos, output.value.expr.clone())?;
            output.origin = None;
        }
        for (pos, sort) in &mut work.sorts {
            sort.expr = rewrite(*pos, sort.expr.clone())?;
        }
        let mut windows = Vec::with_capacity(work.windows.len());
        for window in &work.windows {
            windows.push(WindowSpec {
                column: window.column.clone(),
                expr: rewrite(select.pos, window.expr.clone())?,
            });
        }
        let having = work
            .having
            .take()
            .map(|(pos, having)| rewrite(pos, having))
            .transpose()?;
        work.windows = windows;
        match having {
            Some(having) => Ok(LogicalPlanBuilder::from(plan).filter(having)?.build()?),
            None => Ok(plan),
        }
    }

    fn windowed(&mut self, plan: LogicalPlan, windows: &[WindowSpec]) -> Result<LogicalPlan> {
        if windows.is_empty() {
            return Ok(plan);
        }
        let mut exprs: Vec<Expr> = plan
            .schema()
            .columns()
            .into_iter()
            .map(Expr::Column)
            .collect();
        let plan = LogicalPlanBuilder::window_plan(
            plan,
            windows.iter().map(|window| window.expr.clone()),
        )?;
        for window in windows {
            let made = Column::new_unqualified(window.expr.schema_name().to_string());
            exprs.push(Expr::Column(made).alias(window.column.clone()));
        }
        Ok(LogicalPlanBuilder::from(plan).project(exprs)?.build()?)
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "the caller has no further use for it"
    )]
    fn projected(
        &mut self,
        select: &Select,
        order_by: &[SortItem],
        plan: LogicalPlan,
        work: Work,
    ) -> Result<Relation> {
        let mut exprs = Vec::new();
        let mut fields = Vec::new();
        for output in &work.outputs {
            if select.distinct && matches!(output.value.ty, Type::Json) {
                return Err(Failure::unsupported(output.pos, "DISTINCT on json"));
            }
            let column = self.fresh(output.name.as_deref().unwrap_or("_col"));
            let value = if select.distinct {
                crate::functions::compare::groupable(output.value.clone())
            } else {
                output.value.clone()
            };
            exprs.push(value.expr.alias(column.clone()));
            fields.push(Field {
                qualifier: Vec::new(),
                name: output.name.clone(),
                label: output.label.clone(),
                ty: output.value.ty.clone(),
                column,
                hidden: false,
                origin: output.origin.clone(),
                aliased: output.aliased,
            });
        }
        let mut sorts = Vec::new();
        for (item, (_, key)) in order_by.iter().zip(&work.sorts) {
            let known = work
                .outputs
                .iter()
                .position(|output| output.value.expr == key.expr);
            let column = match known {
                Some(index) => fields[index].column.clone(),
                None => {
                    let column = self.fresh("order");
                    exprs.push(key.expr.clone().alias(column.clone()));
                    column
                }
            };
            let key = Typed::new(
                Expr::Column(Column::new_unqualified(column)),
                key.ty.clone(),
            );
            sorts.push(self.sort(item, key)?);
        }
        let extra = exprs.len() > fields.len();
        let mut builder = LogicalPlanBuilder::from(plan).project(exprs)?;
        if select.distinct {
            builder = builder.distinct()?;
        }
        if !sorts.is_empty() {
            builder = builder.sort(sorts)?;
        }
        if extra {
            builder = builder.project(fields.iter().map(Field::expr))?;
        }
        Ok(Relation {
            plan: builder.build()?,
            fields,
        })
    }
}

fn work_columns(windows: &[WindowSpec]) -> Vec<String> {
    windows.iter().map(|window| window.column.clone()).collect()
}

fn output_of(pos: Pos, field: &Field) -> Output {
    Output {
        pos,
        value: field.typed(),
        name: field.name.clone(),
        label: field.label.clone(),
        origin: field.origin.clone(),
        aliased: false,
    }
}

/// The column name a client sees: as written when quoted, else lower case stays as written too.
pub(super) fn label(name: &ast::Ident) -> String {
    name.written.clone()
}

fn name_of(expr: &ast::Expr) -> Option<&ast::Ident> {
    match expr.kind.as_ref() {
        ast::Kind::Ident(name) | ast::Kind::Dereference(_, name) => Some(name),
        _ => None,
    }
}

fn origin_of(value: &Typed, scope: &Scope<'_>) -> Option<[String; 3]> {
    let Expr::Column(column) = &value.expr else {
        return None;
    };
    scope
        .fields
        .iter()
        .find(|field| field.column == column.name)
        .and_then(|field| field.origin.clone())
}

/// Replaces grouping keys by their columns and refuses what is neither key nor aggregate.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the caller has no further use for it"
)]
fn after_grouping(
    pos: Pos,
    expr: Expr,
    keys: &Keys,
    known: &[String],
    scope: &Scope<'_>,
    windows: Vec<String>,
) -> Result<Expr> {
    let rewritten = expr.transform_down(|node| {
        if let Some(column) = keys.column(&node) {
            return Ok(Transformed::new(
                Expr::Column(Column::new_unqualified(column)),
                true,
                TreeNodeRecursion::Jump,
            ));
        }
        Ok(Transformed::no(node))
    })?;
    let mut odd = None;
    let mut correlated = false;
    rewritten.data.apply(|node| {
        match node {
            Expr::Column(column)
                if !known.contains(&column.name) && !windows.contains(&column.name) =>
            {
                odd = Some(column.name.clone());
            }
            Expr::ScalarSubquery(subquery) => correlated |= !subquery.outer_ref_columns.is_empty(),
            Expr::InSubquery(subquery) => {
                correlated |= !subquery.subquery.outer_ref_columns.is_empty()
            }
            Expr::Exists(subquery) => correlated |= !subquery.subquery.outer_ref_columns.is_empty(),
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    if correlated {
        return Err(Failure::unsupported(
            pos,
            "a correlated subquery in an aggregated query",
        ));
    }
    if let Some(column) = odd {
        let name = scope
            .fields
            .iter()
            .find(|field| field.column == column)
            .and_then(|field| field.name.clone())
            .unwrap_or(column);
        return Err(Failure::at(
            Code::ExpressionNotAggregate,
            pos,
            format!("'{name}' must be an aggregate expression or appear in GROUP BY clause"),
        ));
    }
    Ok(rewritten.data)
}
