//! UNNEST: arrays and maps to rows, zipped, with or without ordinality.
//!
//! Every array becomes a list column beside the rows it belongs to, the ordinals are one more list, and DataFusion's
//! Unnest opens them together, padding the shorter ones with NULL as Trino does.

use datafusion::common::{Column, UnnestOptions};
use datafusion::logical_expr::{Expr, LogicalPlanBuilder};

use super::Analyzer;
use super::expr::{Context, Typed};
use super::scope::{Field, Relation, Scope};
use crate::failure::{Code, Failure, Pos, Result};
use crate::functions::{array, row};
use crate::sql::ast::{self, Alias, JoinKind};
use crate::types::Type;

/// One list to open: its column, the type of its elements and how many output columns an element makes.
struct Opened {
    column: String,
    element: Type,
}

impl Analyzer<'_> {
    #[expect(
        clippy::too_many_arguments,
        reason = "one call site per kind of join; a struct would be built and taken apart once"
    )]
    #[expect(
        clippy::too_many_lines,
        reason = "one arm a case of the dialect, each a plain construction"
    )]
    pub(super) fn unnest(
        &mut self,
        pos: Pos,
        left: Relation,
        exprs: &[ast::Expr],
        ordinality: bool,
        alias: Option<&Alias>,
        kind: JoinKind,
        outer: Option<&Scope<'_>>,
    ) -> Result<Relation> {
        let scope = Scope::new(left.fields.clone(), outer);
        let mut input: Vec<Expr> = left
            .plan
            .schema()
            .columns()
            .into_iter()
            .map(Expr::Column)
            .collect();
        let mut lists = Vec::new();
        let mut opened = Vec::new();
        for expr in exprs {
            let value = self.expr(expr, &mut Context::plain(&scope, "UNNEST"))?;
            let (value, element) = match value.ty.clone() {
                Type::Array(element) => (value, *element),
                Type::Map(key, item) => {
                    let entry = Type::Row(vec![(None, *key), (None, *item)]);
                    (array::entries(value, &entry), entry)
                }
                other => {
                    return Err(Failure::at(
                        Code::TypeMismatch,
                        expr.pos,
                        format!("Cannot unnest type: {other}"),
                    ));
                }
            };
            let column = self.fresh("unnest");
            lists.push(value);
            opened.push(Opened { column, element });
        }
        if *scope.correlated.borrow() {
            return Err(Failure::unsupported(
                pos,
                "UNNEST of a column of an enclosing query",
            ));
        }
        let ordinal = self.fresh("ordinality");
        // The ordinals are as long as the longest list, so they also say where rows end.
        let counted = array::ordinals(
            lists.iter().map(|list| list.expr.clone()).collect(),
            kind == JoinKind::Left,
        );
        for (list, open) in lists.into_iter().zip(&opened) {
            input.push(list.expr.alias(open.column.clone()));
        }
        input.push(counted.alias(ordinal.clone()));
        let mut columns: Vec<Column> = opened
            .iter()
            .map(|open| Column::new_unqualified(open.column.clone()))
            .collect();
        columns.push(Column::new_unqualified(ordinal.clone()));
        let options = UnnestOptions {
            preserve_nulls: false,
            recursions: Vec::new(),
        };
        let plan = LogicalPlanBuilder::from(left.plan)
            .project(input)?
            .unnest_columns_with_options(columns, options)?
            .build()?;
        let mut relation = Relation {
            plan,
            fields: Vec::new(),
        };
        let fields = self.opened_fields(&mut relation, &opened)?;
        let mut fields = fields;
        if ordinality {
            fields.push(plain_field("ordinality", Type::Bigint, ordinal));
        }
        relation.fields = fields;
        let named = match alias {
            Some(alias) => super::relation::aliased(relation, alias)?,
            None => relation,
        };
        Ok(Relation {
            plan: named.plan,
            fields: [left.fields, named.fields].concat(),
        })
    }

    /// Rows become one column a field.
    fn opened_fields(&mut self, relation: &mut Relation, opened: &[Opened]) -> Result<Vec<Field>> {
        let mut exprs: Vec<Expr> = relation
            .plan
            .schema()
            .columns()
            .into_iter()
            .map(Expr::Column)
            .collect();
        let before = exprs.len();
        let mut fields = Vec::new();
        for open in opened {
            let value = Typed::new(
                Expr::Column(Column::new_unqualified(open.column.clone())),
                open.element.clone(),
            );
            match &open.element {
                Type::Row(parts) => {
                    for (index, (name, ty)) in parts.iter().enumerate() {
                        let column = self.fresh(name.as_deref().unwrap_or("field"));
                        exprs.push(row::typed_field(&value, index).expr.alias(column.clone()));
                        let mut field = plain_field("", ty.clone(), column);
                        field.name.clone_from(name);
                        field.label.clone_from(name);
                        fields.push(field);
                    }
                }
                ty => {
                    let mut field = plain_field("", ty.clone(), open.column.clone());
                    field.name = None;
                    field.label = None;
                    fields.push(field);
                }
            }
        }
        if exprs.len() > before {
            relation.plan = LogicalPlanBuilder::from(relation.plan.clone())
                .project(exprs)?
                .build()?;
        }
        Ok(fields)
    }
}

fn plain_field(name: &str, ty: Type, column: String) -> Field {
    Field {
        qualifier: Vec::new(),
        name: Some(name.to_owned()),
        label: Some(name.to_owned()),
        ty,
        column,
        hidden: false,
        origin: None,
        aliased: false,
    }
}
