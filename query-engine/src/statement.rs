//! Carries out one statement: a query is analyzed, everything else makes a small table or changes the session.

mod describe;
mod explain;
mod show;
mod stats;

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;

use crate::failure::{Code, Failure, Pos, Result};
use crate::query::Query;
use crate::query::manager::Manager;
use crate::query::run::Engine;
use crate::session::{Changes, PROPERTIES};
use crate::sql::analyze::{Analyzed, Analyzer, Environment, OutputColumn, references};
use crate::sql::ast::{self, Name, Statement};
use crate::sql::parser;
use crate::types::Type;

/// What a statement comes to.
pub(crate) enum Output {
    Query(Analyzed),
    Table {
        columns: Vec<OutputColumn>,
        batch: RecordBatch,
    },
    Done {
        changes: Changes,
        update_type: &'static str,
    },
}

/// A result column of a statement that is no query.
pub(crate) fn column(name: &str, ty: Type) -> OutputColumn {
    OutputColumn {
        name: name.to_owned(),
        ty,
        origin: None,
        aliased: false,
    }
}

/// A table of a statement's own.
fn table(columns: &[crate::meta::ColumnSpec], rows: Vec<Vec<ScalarValue>>) -> Result<Output> {
    let batch = crate::meta::batch(columns, rows)?;
    Ok(Output::Table {
        columns: columns
            .iter()
            .map(|(name, ty)| column(name, ty.clone()))
            .collect(),
        batch,
    })
}

fn done(update_type: &'static str, changes: Changes) -> Result<Output> {
    Ok(Output::Done {
        changes,
        update_type,
    })
}

/// One statement with what it is carried out for.
pub(crate) struct Executor<'q> {
    pub(crate) engine: &'q Engine,
    pub(crate) manager: &'q Arc<Manager>,
    pub(crate) query: &'q Query,
    pub(crate) environment: Environment,
}

/// Parses and carries out a query's statement.
pub(crate) async fn execute(
    engine: &Engine,
    manager: &Arc<Manager>,
    query: &Query,
) -> Result<Output> {
    let statement = parser::statement(&query.sql)?;
    let session = &query.session;
    let environment = Environment {
        catalog: session.catalog.clone(),
        schema: session.schema.clone(),
        user: session.user.clone(),
        zone: Arc::clone(&session.zone),
        now: query.created_at,
        query_id: query.id.clone(),
    };
    let executor = Executor {
        engine,
        manager,
        query,
        environment,
    };
    Box::pin(executor.statement(&statement, &[])).await
}

impl Executor<'_> {
    async fn statement(&self, statement: &Statement, parameters: &[ast::Expr]) -> Result<Output> {
        match statement {
            Statement::Query(query) => Ok(Output::Query(self.analyze(query, parameters).await?)),
            Statement::Explain {
                kind,
                json,
                analyze,
                statement,
            } => {
                self.explain(*kind, *json, *analyze, statement, parameters)
                    .await
            }
            Statement::Execute { name, args } => {
                let sql = self.prepared(name)?;
                Box::pin(self.execute_text(&sql, args, name.pos)).await
            }
            Statement::ExecuteImmediate { sql, pos, args } => {
                Box::pin(self.execute_text(sql, args, *pos)).await
            }
            Statement::Prepare { name, sql } => done(
                "PREPARE",
                Changes {
                    prepared: Some((name.value.clone(), sql.clone())),
                    ..Changes::default()
                },
            ),
            Statement::Deallocate(name) => {
                self.prepared(name)?;
                done(
                    "DEALLOCATE",
                    Changes {
                        deallocated: Some(name.value.clone()),
                        ..Changes::default()
                    },
                )
            }
            Statement::DescribeInput(name) => self.describe_input(name),
            Statement::DescribeOutput(name) => self.describe_output(name).await,
            Statement::Refused { construct, pos } => Err(Failure::unsupported(
                *pos,
                format!("{construct} (this engine is read-only)"),
            )),
            Statement::Call { name, args } => self.call(name, args),
            Statement::Use { .. }
            | Statement::SetSession(..)
            | Statement::ResetSession(_)
            | Statement::SetTimeZone(_)
            | Statement::SetRole(_)
            | Statement::StartTransaction { .. }
            | Statement::Commit
            | Statement::Rollback => self.session_statement(statement).await,
            show => self.show(show).await,
        }
    }

    /// Finds the tables, then analyzes on this thread: its stack is deep enough for the nesting the parser lets through.
    pub(crate) async fn analyze(
        &self,
        query: &ast::Query,
        parameters: &[ast::Expr],
    ) -> Result<Analyzed> {
        let mut tables = HashMap::new();
        for (key, pos) in references(query, &self.environment) {
            let found =
                crate::catalog::resolve(self.manager, self.query, &self.environment, &key).await;
            tables.insert(key, found.map_err(|failure| failure.or_at(pos)));
        }
        Analyzer::new(&self.environment, &tables, parameters).analyze(query)
    }

    fn prepared(&self, name: &ast::Ident) -> Result<String> {
        self.query
            .session
            .prepared
            .get(&name.value)
            .cloned()
            .ok_or_else(|| {
                Failure::at(
                    Code::NotFound,
                    name.pos,
                    format!("Prepared statement not found: {}", name.value),
                )
            })
    }

    async fn execute_text(&self, sql: &str, args: &[ast::Expr], pos: Pos) -> Result<Output> {
        let statement = parser::statement(sql)?;
        let wanted = parser::count_parameters(sql)?;
        if wanted != args.len() {
            return Err(Failure::at(
                Code::InvalidParameterUsage,
                pos,
                format!(
                    "Incorrect number of parameters: expected {wanted} but found {}",
                    args.len()
                ),
            ));
        }
        if matches!(
            statement,
            Statement::Execute { .. }
                | Statement::ExecuteImmediate { .. }
                | Statement::Prepare { .. }
        ) {
            return Err(Failure::at(
                Code::NotSupported,
                pos,
                "Invalid statement type for prepared statement",
            ));
        }
        self.statement(&statement, args).await
    }

    /// A constant's value.
    fn constant(&self, expr: &ast::Expr) -> Result<ScalarValue> {
        let none = HashMap::new();
        let value = Analyzer::new(&self.environment, &none, &[]).constant(expr)?;
        match value.expr {
            Expr::Literal(value, _) => Ok(value),
            _ => Err(Failure::at(
                Code::ExpressionNotConstant,
                expr.pos,
                "a constant is wanted here",
            )),
        }
    }

    async fn session_statement(&self, statement: &Statement) -> Result<Output> {
        let mut changes = Changes::default();
        let update = match statement {
            Statement::Use { catalog, schema } => {
                self.check_schema(catalog.as_ref(), schema).await?;
                changes.catalog = catalog.as_ref().map(|catalog| catalog.value.clone());
                changes.schema = Some(schema.value.clone());
                "USE"
            }
            Statement::SetSession(name, value) => {
                let known = property(name)?;
                let value = self.constant(value)?;
                changes.set = Some((known.to_owned(), valid(known, &value, name)?));
                "SET SESSION"
            }
            Statement::ResetSession(name) => {
                changes.clear = Some(property(name)?.to_owned());
                "RESET SESSION"
            }
            Statement::SetTimeZone(zone) => {
                self.set_zone(zone.as_ref(), &mut changes)?;
                "SET TIME ZONE"
            }
            Statement::SetRole(role) => {
                if !matches!(role.as_str(), "all" | "none") {
                    return Err(Failure::new(
                        Code::NotSupported,
                        format!("Role '{role}' does not exist"),
                    ));
                }
                changes.role = Some(("system".to_owned(), role.to_uppercase()));
                "SET ROLE"
            }
            Statement::StartTransaction { isolation, pos } => {
                if self.query.session.transaction.is_some() {
                    return Err(Failure::at(
                        Code::NotSupported,
                        *pos,
                        "Nested transactions not supported",
                    ));
                }
                if isolation
                    .as_deref()
                    .is_some_and(|level| level == "SERIALIZABLE" || level == "REPEATABLE READ")
                {
                    return Err(Failure::unsupported(
                        *pos,
                        "this isolation level: each statement sees the newest snapshots, so it",
                    ));
                }
                changes.started_transaction = Some(uuid::Uuid::new_v4().to_string());
                "START TRANSACTION"
            }
            _ => {
                if self.query.session.transaction.is_none() {
                    return Err(Failure::new(
                        Code::NotInTransaction,
                        "No transaction in progress",
                    ));
                }
                changes.cleared_transaction = true;
                if *statement == Statement::Commit {
                    "COMMIT"
                } else {
                    "ROLLBACK"
                }
            }
        };
        done(update, changes)
    }

    async fn check_schema(&self, catalog: Option<&ast::Ident>, schema: &ast::Ident) -> Result<()> {
        let pos = catalog.map_or(schema.pos, |catalog| catalog.pos);
        let Some(catalog) = catalog
            .map(|catalog| catalog.value.clone())
            .or(self.environment.catalog.clone())
        else {
            return Err(Failure::at(
                Code::MissingCatalogName,
                pos,
                "Catalog must be specified when session catalog is not set",
            ));
        };
        self.check_catalog(&catalog, pos)?;
        let schemas =
            crate::meta::schemas(self.engine, &catalog, &crate::meta::Wanted::default()).await?;
        if !schemas.contains(&schema.value) {
            return Err(Failure::at(
                Code::SchemaNotFound,
                schema.pos,
                format!("Schema does not exist: {catalog}.{}", schema.value),
            ));
        }
        Ok(())
    }

    pub(crate) fn check_catalog(&self, catalog: &str, pos: Pos) -> Result<()> {
        if catalog != "system" && catalog != self.engine.config.catalog_name {
            return Err(Failure::at(
                Code::CatalogNotFound,
                pos,
                format!("Catalog '{catalog}' not found"),
            ));
        }
        Ok(())
    }

    fn set_zone(&self, zone: Option<&ast::Expr>, changes: &mut Changes) -> Result<()> {
        let Some(zone) = zone else {
            changes.clear = Some("time_zone_id".to_owned());
            return Ok(());
        };
        match self.constant(zone)? {
            ScalarValue::Utf8(Some(name))
                if crate::functions::datetime::parse::Zone::parse(&name).is_some() =>
            {
                changes.set = Some(("time_zone_id".to_owned(), name));
                Ok(())
            }
            ScalarValue::Utf8(Some(name)) => Err(Failure::at(
                Code::InvalidFunctionArgument,
                zone.pos,
                format!("Time zone not supported: {name}"),
            )),
            _ => Err(Failure::unsupported(
                zone.pos,
                "a time zone given as an interval",
            )),
        }
    }

    /// `CALL system.runtime.kill_query(query_id => …, message => …)`.
    fn call(&self, name: &Name, args: &[(Option<ast::Ident>, ast::Expr)]) -> Result<Output> {
        let path = name.text();
        let session = self.environment.catalog.as_deref() == Some("system");
        if path != "system.runtime.kill_query" && !(session && path == "runtime.kill_query") {
            return Err(Failure::at(
                Code::ProcedureNotFound,
                name.pos(),
                format!("Procedure not registered: {path}"),
            ));
        }
        let find = |label: &str, position: usize| {
            args.iter()
                .enumerate()
                .find(|(at, (found, _))| {
                    found
                        .as_ref()
                        .map_or(*at == position, |found| found.value == label)
                })
                .map(|(_, (_, value))| value)
        };
        let invalid =
            |message: String| Failure::at(Code::InvalidProcedureArgument, name.pos(), message);
        let text = |label: &str, position: usize| match find(label, position)
            .map(|value| self.constant(value))
            .transpose()?
        {
            Some(ScalarValue::Utf8(text)) => Ok(text),
            None => Ok(None),
            Some(_) => Err(invalid(format!("{label} must be a varchar"))),
        };
        let id = text("query_id", 0)?
            .ok_or_else(|| invalid("Required procedure argument 'QUERY_ID' is missing".into()))?;
        let message = text("message", 1)?.unwrap_or_else(|| "No message provided.".to_owned());
        let target = self
            .manager
            .find(&id)
            .ok_or_else(|| Failure::new(Code::NotFound, format!("Target query not found: {id}")))?;
        if target.progress().state.is_done() {
            return Err(Failure::new(
                Code::NotSupported,
                format!("Target query is not running: {id}"),
            ));
        }
        target.fail(Failure::new(
            Code::AdministrativelyKilled,
            format!("Query killed. Message: {message}"),
        ));
        done("CALL", Changes::default())
    }
}

fn property(name: &Name) -> Result<&'static str> {
    let text = name.text();
    PROPERTIES
        .iter()
        .find(|property| property.name == text)
        .map(|property| property.name)
        .ok_or_else(|| {
            Failure::at(
                Code::InvalidSessionProperty,
                name.pos(),
                format!("Session property '{text}' does not exist"),
            )
        })
}

/// The text of a property's value, if it is one.
fn valid(name: &str, value: &ScalarValue, at: &Name) -> Result<String> {
    let bad = |why: &str| {
        Failure::at(
            Code::InvalidSessionProperty,
            at.pos(),
            format!("{name} is invalid: {why}"),
        )
    };
    let text = match value {
        ScalarValue::Utf8(Some(text)) => text.clone(),
        ScalarValue::Int32(Some(number)) => number.to_string(),
        ScalarValue::Int64(Some(number)) => number.to_string(),
        other => return Err(bad(&other.to_string())),
    };
    let number = text.parse::<i64>().is_ok();
    match name {
        "query_max_run_time" | "query_max_execution_time"
            if crate::query::run::duration(&text).is_none() =>
        {
            Err(bad(&text))
        }
        "query_priority" | "task_concurrency" if !number => Err(bad(&text)),
        "time_zone_id" if crate::functions::datetime::parse::Zone::parse(&text).is_none() => {
            Err(bad(&text))
        }
        _ => Ok(text),
    }
}
