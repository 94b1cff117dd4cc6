//! Catalogs as a job's statements find them when they are executed again: what outlives a session had its effect the
//! first time. A `DROP TABLE` of back then would otherwise take the table that the job has filled since.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use crate::error::Error;
use crate::sql::{CatalogConnector, ExternalCatalog};
use crate::table::TableDefinition;

/// Opens catalogs that are read and never changed.
#[derive(Debug)]
pub(super) struct Unchanged(pub(super) Arc<dyn CatalogConnector>);

#[derive(Debug)]
struct UnchangedCatalog(Arc<dyn ExternalCatalog>);

#[async_trait]
impl CatalogConnector for Unchanged {
    async fn connect(
        &self,
        name: &str,
        options: &BTreeMap<String, String>,
    ) -> Result<Arc<dyn ExternalCatalog>, Error> {
        let catalog = self.0.connect(name, options).await?;
        Ok(Arc::new(UnchangedCatalog(catalog)))
    }
}

#[async_trait]
impl ExternalCatalog for UnchangedCatalog {
    async fn databases(&self) -> Result<Vec<String>, Error> {
        self.0.databases().await
    }

    async fn create_database(
        &self,
        _database: &str,
        _properties: &BTreeMap<String, String>,
    ) -> Result<(), Error> {
        Ok(())
    }

    async fn drop_database(&self, _database: &str) -> Result<(), Error> {
        Ok(())
    }

    async fn tables(&self, database: &str) -> Result<Vec<String>, Error> {
        self.0.tables(database).await
    }

    async fn table(&self, database: &str, table: &str) -> Result<Option<TableDefinition>, Error> {
        self.0.table(database, table).await
    }

    async fn create_table(&self, _table: &TableDefinition) -> Result<(), Error> {
        Ok(())
    }

    async fn drop_table(&self, _database: &str, _table: &str) -> Result<(), Error> {
        Ok(())
    }
}
