//! One client's session: executes statements one after the other.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::catalog::{Catalogs, Relation, View};
use super::{SessionOptions, Settings, Statement, StatementResult};
use crate::error::{Error, Position};
use crate::graph::StreamGraph;
use crate::plan::{self, Lookup, Planner};
use crate::sql::ast::{Command, CreateTable, Ident, Insert, Options, Query};
use crate::sql::parser::parse_statement;
use crate::table::{ColumnKind, SqlType, TableDefinition, TablePath};

/// A session: catalogs, settings and temporary tables of one client.
#[derive(Debug)]
pub struct Session {
    options: SessionOptions,
    pub(super) catalogs: Catalogs,
    pub(super) settings: Settings,
}

impl Session {
    /// A session in `default_catalog`.`default_database`.
    pub fn new(options: SessionOptions) -> Self {
        Session {
            settings: Settings::new(options.defaults.clone()),
            catalogs: Catalogs::default(),
            options,
        }
    }

    /// The settings as `SET` shows them.
    pub fn settings(&self) -> &BTreeMap<String, String> {
        self.settings.all()
    }

    /// Executes one statement.
    pub async fn execute(&mut self, statement: &str) -> Result<StatementResult, Error> {
        self.execute_at(&Statement {
            text: statement.to_owned(),
            position: Position { line: 1, column: 1 },
        })
        .await
    }

    /// Executes one statement of a script; errors name the place in the script.
    pub async fn execute_at(&mut self, statement: &Statement) -> Result<StatementResult, Error> {
        match parse_statement(&statement.text, statement.position)? {
            Command::Insert(insert) => self.job(vec![*insert]).await,
            Command::StatementSet(inserts) => self.job(inserts).await,
            Command::Select(query) => {
                let graph = self.plan(|planner| planner.collect(&query)).await?;
                Ok(StatementResult::Job(graph))
            }
            Command::Explain(inserts, query) => self.explain(inserts, query).await,
            Command::Show(show) => self.show(show).await,
            Command::Describe(path) => self.describe(&path).await,
            Command::Set(None) => {
                let rows = self.settings.all();
                Ok(text_rows(
                    &["key", "value"],
                    rows.iter()
                        .map(|(key, value)| vec![Some(key.clone()), Some(value.clone())]),
                ))
            }
            command => {
                self.change(command).await?;
                Ok(StatementResult::Ok)
            }
        }
    }

    async fn change(&mut self, command: Command) -> Result<(), Error> {
        match command {
            Command::CreateCatalog {
                name,
                if_not_exists,
                options,
            } => self.create_catalog(&name, if_not_exists, options).await,
            Command::DropCatalog { name, if_exists } => {
                if self.catalogs.drop(&name.value) || if_exists {
                    return Ok(());
                }
                Err(unknown("catalog", &name))
            }
            Command::CreateDatabase {
                path,
                if_not_exists,
                options,
            } => self.create_database(&path, if_not_exists, &options).await,
            Command::DropDatabase { path, if_exists } => self.drop_database(&path, if_exists).await,
            Command::CreateTable(table) => self.create_table(*table).await,
            Command::DropTable {
                path,
                if_exists,
                view,
            } => self.drop_table(&path, if_exists, view).await,
            Command::CreateView { .. } => self.create_view(command).await,
            Command::UseCatalog(name) => self.use_catalog(&name).await,
            Command::UseDatabase(path) => self.use_database(&path).await,
            Command::Set(Some((key, value))) => self.settings.set(&key, &value),
            Command::Reset(key) => {
                self.settings.reset(key.as_deref());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn job(&mut self, inserts: Vec<Insert>) -> Result<StatementResult, Error> {
        let graph = self.plan(|planner| planner.inserts(&inserts)).await?;
        Ok(StatementResult::Job(graph))
    }

    pub(super) async fn explain(
        &mut self,
        inserts: Vec<Insert>,
        query: Option<Query>,
    ) -> Result<StatementResult, Error> {
        let graph = match query {
            Some(query) => self.plan(|planner| planner.collect(&query)).await?,
            None => self.plan(|planner| planner.inserts(&inserts)).await?,
        };
        let text = super::explain::explain(&graph, &self.settings);
        Ok(text_rows(&["result"], [vec![Some(text)]]))
    }

    /// Plans, loading from external catalogs each table that turns out to be needed.
    async fn plan(
        &self,
        make: impl Fn(&Planner<'_>) -> Result<StreamGraph, Error>,
    ) -> Result<StreamGraph, Error> {
        let mut loaded: BTreeMap<TablePath, Relation> = BTreeMap::new();
        loop {
            let lookup = Lookup::new(&self.catalogs, &loaded);
            let result = make(&Planner::new(&lookup, &self.settings)?);
            let Some(missing) = lookup.missing() else {
                return result;
            };
            match self.catalogs.load(&missing).await? {
                Some(relation) => loaded.insert(missing, relation),
                None => return result,
            };
        }
    }

    async fn create_catalog(
        &mut self,
        name: &Ident,
        if_not_exists: bool,
        options: Options,
    ) -> Result<(), Error> {
        if self.catalogs.has(&name.value) {
            return exists("catalog", name, if_not_exists);
        }
        let options = self.overridden(options);
        match options.get("type").map(String::as_str) {
            Some("generic_in_memory") => {
                let database = options
                    .get("default-database")
                    .map_or("default", String::as_str);
                self.catalogs.add_memory(name.value.clone(), database);
                Ok(())
            }
            Some("iceberg") => {
                let Some(connector) = &self.options.catalogs else {
                    return Err(Error::unsupported("CREATE CATALOG here", name.position, ""));
                };
                let catalog = connector.connect(&name.value, &options).await?;
                self.catalogs.add_external(name.value.clone(), catalog);
                Ok(())
            }
            Some(other) => Err(Error::unsupported(
                format!("the catalog type `{other}`"),
                name.position,
                "; `iceberg` and `generic_in_memory` are",
            )),
            None => Err(Error::validation(
                "a catalog needs the option 'type'",
                name.position,
            )),
        }
    }

    async fn create_database(
        &mut self,
        path: &[Ident],
        if_not_exists: bool,
        options: &Options,
    ) -> Result<(), Error> {
        let (catalog, database) = self.database_path(path)?;
        if self
            .catalogs
            .databases(&catalog)
            .await?
            .contains(&database.value)
        {
            return exists("database", &database, if_not_exists);
        }
        if let Some(databases) = self.catalogs.memory_mut(&catalog) {
            databases.insert(database.value);
            return Ok(());
        }
        match self.catalogs.external(&catalog) {
            Some(external) => external.create_database(&database.value, options).await,
            None => Err(unknown("catalog", &path[0])),
        }
    }

    async fn drop_database(&mut self, path: &[Ident], if_exists: bool) -> Result<(), Error> {
        let (catalog, database) = self.database_path(path)?;
        if !self
            .catalogs
            .databases(&catalog)
            .await?
            .contains(&database.value)
        {
            return if if_exists {
                Ok(())
            } else {
                Err(unknown("database", &database))
            };
        }
        if let Some(databases) = self.catalogs.memory_mut(&catalog) {
            databases.remove(&database.value);
            return Ok(());
        }
        match self.catalogs.external(&catalog) {
            Some(external) => external.drop_database(&database.value).await,
            None => Err(unknown("catalog", &path[0])),
        }
    }

    fn database_path(&self, path: &[Ident]) -> Result<(String, Ident), Error> {
        match path {
            [database] => Ok((self.catalogs.catalog.clone(), database.clone())),
            [catalog, database] => Ok((catalog.value.clone(), database.clone())),
            _ => Err(Error::syntax(
                "a database's name has at most two parts",
                path[0].position,
            )),
        }
    }

    async fn use_catalog(&mut self, name: &Ident) -> Result<(), Error> {
        if !self.catalogs.has(&name.value) {
            return Err(unknown("catalog", name));
        }
        let databases = self.catalogs.databases(&name.value).await?;
        self.catalogs.catalog.clone_from(&name.value);
        let first = databases
            .iter()
            .find(|database| database.starts_with("default"));
        self.catalogs.database = first.cloned().unwrap_or_else(|| "default".to_owned());
        Ok(())
    }

    async fn use_database(&mut self, path: &[Ident]) -> Result<(), Error> {
        let (catalog, database) = self.database_path(path)?;
        if !self
            .catalogs
            .databases(&catalog)
            .await?
            .contains(&database.value)
        {
            return Err(unknown("database", &database));
        }
        self.catalogs.catalog = catalog;
        self.catalogs.database = database.value;
        Ok(())
    }

    async fn create_table(&mut self, create: CreateTable) -> Result<(), Error> {
        let path = self.catalogs.here(&create.path)?;
        let (if_not_exists, temporary, position) =
            (create.if_not_exists, create.temporary, create.position);
        if self.catalogs.load(&path).await?.is_some() {
            return exists("table", &last(&create.path), if_not_exists);
        }
        let known = self.catalogs.databases(&path.catalog).await?;
        if !known.contains(&path.database) {
            return Err(Error::validation(
                format!(
                    "no database `{}` in catalog `{}`",
                    path.database, path.catalog
                ),
                position,
            ));
        }
        let definition = self.definition(path, create).await?;
        match self.catalogs.external(&definition.path.catalog) {
            Some(external) if !temporary => external.create_table(&definition).await,
            _ => {
                if !definition.options.contains_key("connector") {
                    return Err(Error::validation(
                        format!("table {} needs the option 'connector'", definition.path),
                        position,
                    ));
                }
                let path = definition.path.clone();
                self.catalogs
                    .relations
                    .insert(path, Relation::Table(Arc::new(definition)));
                Ok(())
            }
        }
    }

    async fn definition(
        &self,
        path: TablePath,
        create: CreateTable,
    ) -> Result<TableDefinition, Error> {
        let position = create.position;
        let mut definition = TableDefinition {
            path,
            columns: create.columns,
            watermark: create.watermark,
            primary_key: create.primary_key,
            partitioned_by: create.partitioned_by,
            options: self.overridden(create.options),
        };
        if let Some((source, rules)) = &create.like {
            let from = self.catalogs.here(source)?;
            match self.catalogs.load(&from).await? {
                Some(Relation::Table(table)) => {
                    merge_like(&mut definition, &table, rules, position)?;
                }
                _ => return Err(unknown("table", &last(source))),
            }
        }
        for name in &definition.primary_key {
            match definition
                .columns
                .iter_mut()
                .find(|column| column.name == *name)
            {
                Some(column) => column.data_type.nullable = false,
                None => {
                    return Err(Error::validation(
                        format!("the primary key's column `{name}` does not exist"),
                        position,
                    ));
                }
            }
        }
        for name in &definition.partitioned_by {
            if !definition.columns.iter().any(|column| column.name == *name) {
                return Err(Error::validation(
                    format!("the partition column `{name}` does not exist"),
                    position,
                ));
            }
        }
        plan::check_table(&mut definition, self.settings.zone()?)?;
        Ok(definition)
    }

    /// `options` with the process's substitutions.
    fn overridden(&self, options: Options) -> Options {
        let replace = |value: String| {
            let found = self.options.option_overrides.iter().rev().find(|(old, _)| {
                // Whole, or up to the end of a host, path or list item.
                value.strip_prefix(old.as_str()).is_some_and(|rest| {
                    rest.is_empty() || old.ends_with('/') || rest.starts_with(['/', ',', ';', ':'])
                })
            });
            match found {
                Some((old, new)) => format!("{new}{}", &value[old.len()..]),
                None => value,
            }
        };
        options
            .into_iter()
            .map(|(key, value)| (key, replace(value)))
            .collect()
    }

    async fn drop_table(
        &mut self,
        path: &[Ident],
        if_exists: bool,
        view: bool,
    ) -> Result<(), Error> {
        let full = self.catalogs.here(path)?;
        let what = if view { "view" } else { "table" };
        match self.catalogs.relations.get(&full) {
            Some(Relation::View(_)) if view => {}
            Some(Relation::Table(_)) if !view => {}
            Some(_) => return Err(unknown(what, &last(path))),
            None => {
                if let Some(external) = self.catalogs.external(&full.catalog)
                    && !view
                    && external.table(&full.database, &full.table).await?.is_some()
                {
                    return external.drop_table(&full.database, &full.table).await;
                }
                return if if_exists {
                    Ok(())
                } else {
                    Err(unknown(what, &last(path)))
                };
            }
        }
        self.catalogs.relations.remove(&full);
        Ok(())
    }

    async fn create_view(&mut self, command: Command) -> Result<(), Error> {
        let Command::CreateView {
            path,
            columns,
            if_not_exists,
            or_replace,
            text,
            query,
            ..
        } = command
        else {
            return Ok(());
        };
        let full = self.catalogs.here(&path)?;
        if !or_replace && self.catalogs.load(&full).await?.is_some() {
            return exists("view", &last(&path), if_not_exists);
        }
        // A view is planned once here, so that a wrong one is refused when it is made.
        self.plan(|planner| planner.collect(&query)).await?;
        let view = View {
            columns,
            query,
            text,
            catalog: self.catalogs.catalog.clone(),
            database: self.catalogs.database.clone(),
        };
        self.catalogs
            .relations
            .insert(full, Relation::View(Arc::new(view)));
        Ok(())
    }
}

/// Rows of STRING columns.
pub(super) fn text_rows(
    columns: &[&str],
    rows: impl IntoIterator<Item = Vec<Option<String>>>,
) -> StatementResult {
    StatementResult::Rows {
        columns: columns
            .iter()
            .map(|name| ((*name).to_owned(), SqlType::string()))
            .collect(),
        rows: rows.into_iter().collect(),
    }
}

pub(super) fn last(path: &[Ident]) -> Ident {
    path[path.len() - 1].clone()
}

pub(super) fn unknown(what: &str, name: &Ident) -> Error {
    Error::validation(format!("no {what} `{}`", name.value), name.position)
}

fn exists(what: &str, name: &Ident, fine: bool) -> Result<(), Error> {
    if fine {
        return Ok(());
    }
    Err(Error::validation(
        format!("{what} `{}` exists already", name.value),
        name.position,
    ))
}

/// `LIKE source (rules)`, by default INCLUDING ALL OVERWRITING OPTIONS.
fn merge_like(
    table: &mut TableDefinition,
    source: &TableDefinition,
    rules: &[String],
    position: Position,
) -> Result<(), Error> {
    let includes = |what: &str| {
        let named = rules.iter().rev().find_map(|rule| {
            let (verb, object) = rule.split_once(' ')?;
            (object == what).then(|| verb != "EXCLUDING")
        });
        let all = !rules.iter().any(|rule| rule == "EXCLUDING ALL");
        named.unwrap_or(all)
    };
    if rules
        .iter()
        .any(|rule| rule.starts_with("OVERWRITING") && rule != "OVERWRITING OPTIONS")
    {
        return Err(Error::unsupported(
            "OVERWRITING other than OPTIONS",
            position,
            "",
        ));
    }
    let mut columns: Vec<_> = source
        .columns
        .iter()
        .filter(|column| match column.kind {
            ColumnKind::Physical => true,
            ColumnKind::Metadata { .. } => includes("METADATA"),
            ColumnKind::Computed(_) => includes("GENERATED"),
        })
        .cloned()
        .collect();
    columns.append(&mut table.columns);
    table.columns = columns;
    if table.watermark.is_none() && includes("WATERMARKS") {
        table.watermark.clone_from(&source.watermark);
    }
    if table.primary_key.is_empty() && includes("CONSTRAINTS") {
        table.primary_key.clone_from(&source.primary_key);
    }
    if table.partitioned_by.is_empty() && includes("PARTITIONS") {
        table.partitioned_by.clone_from(&source.partitioned_by);
    }
    if includes("OPTIONS") {
        for (key, value) in &source.options {
            table
                .options
                .entry(key.clone())
                .or_insert_with(|| value.clone());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
