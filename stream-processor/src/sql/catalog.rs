//! The catalogs a session sees: its own in memory, and external ones behind [`ExternalCatalog`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::ExternalCatalog;
use crate::error::{Error, Position};
use crate::sql::ast::{Ident, Query};
use crate::table::{TableDefinition, TablePath};

/// Flink's name for the catalog that every session has.
pub(crate) const DEFAULT_CATALOG: &str = "default_catalog";
/// Flink's name for its database.
pub(crate) const DEFAULT_DATABASE: &str = "default_database";

/// A view: its query with the catalog and database it was written in.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) columns: Vec<Ident>,
    pub(crate) query: Query,
    pub(crate) text: String,
    pub(crate) catalog: String,
    pub(crate) database: String,
}

/// What a name in FROM stands for.
#[derive(Debug, Clone)]
pub(crate) enum Relation {
    Table(Arc<TableDefinition>),
    View(Arc<View>),
}

/// All catalogs and where unqualified names are looked up.
#[derive(Debug)]
pub(crate) struct Catalogs {
    pub(crate) catalog: String,
    pub(crate) database: String,
    memory: BTreeMap<String, BTreeSet<String>>,
    external: BTreeMap<String, Arc<dyn ExternalCatalog>>,
    /// Tables and views of the session, which hide external ones of the same name.
    pub(crate) relations: BTreeMap<TablePath, Relation>,
}

impl Default for Catalogs {
    fn default() -> Self {
        let databases = BTreeSet::from([DEFAULT_DATABASE.to_owned()]);
        Catalogs {
            catalog: DEFAULT_CATALOG.to_owned(),
            database: DEFAULT_DATABASE.to_owned(),
            memory: BTreeMap::from([(DEFAULT_CATALOG.to_owned(), databases)]),
            external: BTreeMap::new(),
            relations: BTreeMap::new(),
        }
    }
}

impl Catalogs {
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.memory.keys().cloned().collect();
        names.extend(self.external.keys().cloned());
        names.sort();
        names
    }

    pub(crate) fn has(&self, catalog: &str) -> bool {
        self.memory.contains_key(catalog) || self.external.contains_key(catalog)
    }

    pub(crate) fn external(&self, catalog: &str) -> Option<Arc<dyn ExternalCatalog>> {
        self.external.get(catalog).cloned()
    }

    pub(crate) fn add_external(&mut self, name: String, catalog: Arc<dyn ExternalCatalog>) {
        self.external.insert(name, catalog);
    }

    pub(crate) fn add_memory(&mut self, name: String, database: &str) {
        self.memory
            .insert(name, BTreeSet::from([database.to_owned()]));
    }

    pub(crate) fn drop(&mut self, name: &str) -> bool {
        self.relations.retain(|path, _| path.catalog != name);
        self.memory.remove(name).is_some() | self.external.remove(name).is_some()
    }

    pub(crate) async fn databases(&self, catalog: &str) -> Result<Vec<String>, Error> {
        if let Some(databases) = self.memory.get(catalog) {
            return Ok(databases.iter().cloned().collect());
        }
        match self.external.get(catalog) {
            Some(external) => external.databases().await,
            None => Ok(Vec::new()),
        }
    }

    pub(crate) fn memory_mut(&mut self, catalog: &str) -> Option<&mut BTreeSet<String>> {
        self.memory.get_mut(catalog)
    }

    /// The full name that `path` means in `catalog` and `database`.
    pub(crate) fn qualify(
        &self,
        path: &[Ident],
        catalog: &str,
        database: &str,
    ) -> Result<TablePath, Error> {
        let value = |at: usize| path[at].value.clone();
        Ok(match path.len() {
            1 => TablePath {
                catalog: catalog.to_owned(),
                database: database.to_owned(),
                table: value(0),
            },
            2 => TablePath {
                catalog: catalog.to_owned(),
                database: value(0),
                table: value(1),
            },
            3 => TablePath {
                catalog: value(0),
                database: value(1),
                table: value(2),
            },
            _ => {
                return Err(Error::validation(
                    "a table's name has at most three parts",
                    path.first()
                        .map_or(Position { line: 1, column: 1 }, |first| first.position),
                ));
            }
        })
    }

    /// What `path` names in the session's own catalog and database.
    pub(crate) fn here(&self, path: &[Ident]) -> Result<TablePath, Error> {
        self.qualify(path, &self.catalog, &self.database)
    }

    /// The relation called `path`, asked from the external catalog if the session has none.
    pub(crate) async fn load(&self, path: &TablePath) -> Result<Option<Relation>, Error> {
        if let Some(relation) = self.relations.get(path) {
            return Ok(Some(relation.clone()));
        }
        let Some(external) = self.external.get(&path.catalog) else {
            return Ok(None);
        };
        let table = external.table(&path.database, &path.table).await?;
        Ok(table.map(|table| Relation::Table(Arc::new(table))))
    }
}
