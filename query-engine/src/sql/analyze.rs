//! The analyzer: a parsed query becomes a DataFusion plan in which every type is settled and every conversion written.
//!
//! Names, types, coercions and overload choice follow Trino; DataFusion is left nothing to decide. Columns get fresh
//! names in the plan (`region#7`), so duplicate and case-folded SQL names cannot collide. Tables are resolved before
//! ([`tables`]), because that needs the network and this does not.

mod aggregate;
mod calls;
mod expr;
mod grouping;
mod guard;
mod literal;
mod logic;
mod names;
mod operators;
mod query;
mod relation;
mod scope;
mod select;
mod setops;
mod subquery;
mod tables;
mod types;
mod unnest;
mod window;

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use datafusion::catalog::TableProvider;
use datafusion::logical_expr::LogicalPlan;

use crate::failure::{Code, Failure, Pos, Result};
use crate::functions::kernel::OnFailure;
use crate::sql::ast;
use crate::types::Type;

pub(crate) use calls::higher_order;
pub(crate) use expr::Typed;
pub(crate) use operators::operator;
pub(crate) use tables::{TableKey, key as table_key, references};
pub(crate) use types::resolve as resolve_type;

/// A column of a resolved table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TableColumn {
    /// Lower-case name it is found by.
    pub(crate) name: String,
    /// Its name in the provider's schema.
    pub(crate) source: String,
    pub(crate) ty: Type,
    /// Hidden columns (`$path`) are not in `*`.
    pub(crate) hidden: bool,
}

/// A table found in a catalog.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) name: [String; 3],
    pub(crate) provider: Arc<dyn TableProvider>,
    pub(crate) columns: Vec<TableColumn>,
}

/// What a statement's meaning depends on beside its text.
#[derive(Debug, Clone)]
pub(crate) struct Environment {
    pub(crate) catalog: Option<String>,
    pub(crate) schema: Option<String>,
    pub(crate) user: String,
    pub(crate) zone: Arc<str>,
    pub(crate) now: DateTime<Utc>,
    pub(crate) query_id: String,
}

/// A query ready to be optimized and run.
#[derive(Debug, Clone)]
pub(crate) struct Analyzed {
    pub(crate) plan: LogicalPlan,
    pub(crate) columns: Vec<OutputColumn>,
}

/// A column of the result, as the client sees it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OutputColumn {
    pub(crate) name: String,
    pub(crate) ty: Type,
    /// Catalog, schema and table it comes from unchanged.
    pub(crate) origin: Option<[String; 3]>,
    /// Was the name given with AS?
    pub(crate) aliased: bool,
}

/// How many relations one statement may expand to: common table expressions are inlined, so text alone is no bound.
const MAX_RELATIONS: usize = 5_000;

/// One statement's analysis.
pub(crate) struct Analyzer<'a> {
    environment: &'a Environment,
    tables: &'a HashMap<TableKey, Result<Table>>,
    parameters: &'a [ast::Expr],
    ctes: Vec<HashMap<String, ast::Cte>>,
    next_column: usize,
    n_relations: usize,
    on_failure: OnFailure,
}

impl<'a> Analyzer<'a> {
    pub(crate) fn new(
        environment: &'a Environment,
        tables: &'a HashMap<TableKey, Result<Table>>,
        parameters: &'a [ast::Expr],
    ) -> Analyzer<'a> {
        Analyzer {
            environment,
            tables,
            parameters,
            ctes: Vec::new(),
            next_column: 0,
            n_relations: 0,
            on_failure: OnFailure::Raise,
        }
    }

    /// Analyzes a whole query.
    pub(crate) fn analyze(mut self, query: &ast::Query) -> Result<Analyzed> {
        let relation = self.query(query, None)?;
        let columns = relation
            .fields
            .iter()
            .filter(|field| !field.hidden)
            .enumerate()
            .map(|(index, field)| OutputColumn {
                name: field
                    .label
                    .clone()
                    .unwrap_or_else(|| format!("_col{index}")),
                ty: field.ty.clone(),
                origin: field.origin.clone(),
                aliased: field.aliased,
            })
            .collect();
        Ok(Analyzed {
            plan: self.visible(relation)?,
            columns,
        })
    }

    /// Evaluates an expression that names no column, as in a session property or a procedure's argument.
    pub(crate) fn constant(mut self, expr: &ast::Expr) -> Result<Typed> {
        let scope = scope::Scope::empty(None);
        self.expr(expr, &mut expr::Context::plain(&scope, "this expression"))
    }

    fn fresh(&mut self, name: &str) -> String {
        self.next_column += 1;
        format!("{name}#{}", self.next_column)
    }

    fn count_relation(&mut self, pos: Pos) -> Result<()> {
        self.n_relations += 1;
        if self.n_relations > MAX_RELATIONS {
            return Err(Failure::at(
                Code::NotSupported,
                pos,
                format!(
                    "a statement that expands to more than {MAX_RELATIONS} relations is not supported"
                ),
            ));
        }
        Ok(())
    }
}
