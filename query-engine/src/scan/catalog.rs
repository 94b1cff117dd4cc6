//! Names and tables of the lake, as the query engine asks for them.
//!
//! A table is asked for again on every use, but with the version that is at hand: the catalog then
//! answers "not modified" in a fraction of a millisecond, so a query always sees the newest snapshot and
//! seldom reads metadata.

use std::collections::HashMap;
use std::time::Instant;

use lake::catalog::RestCatalog;
use lake::iceberg::{NamespaceIdent, TableIdent};
use lake::{Error, Result, Table};
use parking_lot::Mutex;

/// Tables kept; past this the one used longest ago is dropped.
const MAX_TABLES: usize = 1024;

/// The namespaces and tables of one Iceberg catalog.
#[derive(Debug)]
pub(crate) struct LakeCatalog {
    catalog: RestCatalog,
    tables: Mutex<HashMap<TableIdent, Known>>,
}

#[derive(Debug, Clone)]
struct Known {
    table: Table,
    used: Instant,
}

impl LakeCatalog {
    /// A view of `catalog`.
    pub(crate) fn new(catalog: RestCatalog) -> Self {
        Self {
            catalog,
            tables: Mutex::default(),
        }
    }

    /// All namespaces, nested ones as their parts joined by dots, sorted.
    pub(crate) async fn namespaces(&self) -> Result<Vec<NamespaceIdent>> {
        let mut found = self.catalog.namespaces(None).await?;
        let mut next = 0;
        while let Some(parent) = found.get(next).cloned() {
            next += 1;
            for child in self.catalog.namespaces(Some(&parent)).await? {
                if !found.contains(&child) {
                    found.push(child);
                }
            }
        }
        found.sort_by_key(NamespaceIdent::to_url_string);
        Ok(found)
    }

    /// The names of the tables in a namespace, sorted.
    pub(crate) async fn tables(&self, namespace: &NamespaceIdent) -> Result<Vec<TableIdent>> {
        let mut tables = self.catalog.tables(namespace).await?;
        tables.sort_by(|left, right| left.name().cmp(right.name()));
        Ok(tables)
    }

    /// The newest version of a table, or `None` if there is no such table.
    pub(crate) async fn table(&self, ident: &TableIdent) -> Result<Option<Table>> {
        let known = self.tables.lock().get(ident).cloned();
        let loaded = match &known {
            Some(known) => self.catalog.refresh(&known.table).await,
            None => self.catalog.load_table(ident).await,
        };
        match loaded {
            Ok(table) => {
                self.keep(ident, table.clone());
                Ok(Some(table))
            }
            Err(Error::NotFound { .. }) => {
                self.tables.lock().remove(ident);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn keep(&self, ident: &TableIdent, table: Table) {
        let mut tables = self.tables.lock();
        if tables.len() >= MAX_TABLES && !tables.contains_key(ident) {
            let oldest = tables
                .iter()
                .min_by_key(|(_, known)| known.used)
                .map(|(ident, _)| ident.clone());
            if let Some(oldest) = oldest {
                tables.remove(&oldest);
            }
        }
        tables.insert(
            ident.clone(),
            Known {
                table,
                used: Instant::now(),
            },
        );
    }
}
