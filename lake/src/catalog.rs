//! A client of the Iceberg REST catalog protocol.
//!
//! Ours rather than the library's because the committer must tell a definite refusal from an unknown
//! outcome, must send requirements of its own choosing, and wants ETags; none of which the library's
//! client offers. Tables come out as [`Table`]s with the store (and, where the catalog vends them, the
//! credentials) to read them.

mod wire;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use iceberg::spec::{Schema, SortOrder, TableMetadata, UnboundPartitionSpec};
use iceberg::{NamespaceIdent, TableIdent, TableRequirement, TableUpdate};
use parking_lot::Mutex;
use reqwest::header::{ETAG, HeaderValue, IF_NONE_MATCH};
use reqwest::{Method, StatusCode};
use serde_json::json;
use url::Url;

use crate::io::{Store, StoreConfig};
use crate::{Error, Result, Table};
use wire::{CommitReply, ConfigReply, LoadReply, NamespacesReply, TablesReply};

/// How a catalog is reached.
#[derive(Debug, Clone)]
pub struct CatalogConfig {
    /// Address of the service, with or without the trailing `/v1`.
    pub uri: Url,
    /// Warehouse asked for, as the catalog names it.
    pub warehouse: Option<String>,
    /// Bearer token sent with each request.
    pub token: Option<String>,
    /// How the files of its tables are reached, where the catalog does not say it.
    pub store: StoreConfig,
    /// How long one request may take.
    pub timeout: Duration,
}

/// A table to be made.
#[derive(Debug, Clone)]
pub struct NewTable {
    /// Name in its namespace.
    pub name: String,
    /// Columns; the catalog assigns the field ids anew.
    pub schema: Schema,
    /// Partitioning; none when absent.
    pub partition_spec: Option<UnboundPartitionSpec>,
    /// Order of rows in files; none when absent.
    pub sort_order: Option<SortOrder>,
    /// Where it lives; the catalog chooses when absent.
    pub location: Option<String>,
    /// Table properties.
    pub properties: HashMap<String, String>,
}

/// A change of one table within [`RestCatalog::commit_all`].
#[derive(Debug, Clone)]
pub struct TableChange {
    /// Which table.
    pub table: TableIdent,
    /// What must still hold.
    pub requirements: Vec<TableRequirement>,
    /// What changes.
    pub updates: Vec<TableUpdate>,
}

/// A client of one Iceberg REST catalog; clones share connections.
#[derive(Debug, Clone)]
pub struct RestCatalog {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    client: reqwest::Client,
    base: String,
    config: CatalogConfig,
    from_catalog: HashMap<String, String>,
    /// One store per distinct configuration, so that connections outlive the tables.
    stores: Mutex<Vec<Store>>,
}

/// Distinct store configurations kept open; more than a handful means credentials that rotate.
const MAX_STORES: usize = 64;
/// Names asked for in one page of a listing.
const PAGE_SIZE: usize = 1000;

// === impl CatalogConfig ===

impl CatalogConfig {
    /// A catalog at `uri` with everything else left at its default.
    pub fn new(uri: Url) -> Self {
        Self {
            uri,
            warehouse: None,
            token: None,
            store: StoreConfig::default(),
            timeout: Duration::from_secs(30),
        }
    }
}

impl NewTable {
    /// An unpartitioned table called `name` with these columns.
    pub fn new(name: impl Into<String>, schema: Schema) -> Self {
        Self {
            name: name.into(),
            schema,
            partition_spec: None,
            sort_order: None,
            location: None,
            properties: HashMap::new(),
        }
    }
}

// === impl RestCatalog ===

impl RestCatalog {
    /// Asks the catalog for its configuration and returns a client that follows it.
    pub async fn connect(config: CatalogConfig) -> Result<Self> {
        let what = "its configuration";
        let client = reqwest::Client::builder()
            .timeout(config.timeout)
            .connect_timeout(Duration::from_secs(5))
            .pool_idle_timeout(Duration::from_secs(20))
            .build()
            .map_err(|error| Error::Unavailable {
                what: what.to_owned(),
                why: crate::error::one_line(&error),
            })?;
        let root = config
            .uri
            .as_str()
            .trim_end_matches('/')
            .trim_end_matches("/v1")
            .to_owned();
        let mut request = client.get(format!("{root}/v1/config"));
        if let Some(warehouse) = &config.warehouse {
            request = request.query(&[("warehouse", warehouse)]);
        }
        let reply: ConfigReply = wire::receive(
            wire::send(authorized(request, &config), what, false).await?,
            what,
        )
        .await?;
        let mut from_catalog = reply.defaults;
        from_catalog.extend(reply.overrides);
        let base = match from_catalog
            .get("prefix")
            .filter(|prefix| !prefix.is_empty())
        {
            Some(prefix) => format!("{root}/v1/{}", wire::escape(prefix)),
            None => format!("{root}/v1"),
        };
        let inner = Inner {
            client,
            base,
            config,
            from_catalog,
            stores: Mutex::default(),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// How this catalog is reached.
    pub fn config(&self) -> &CatalogConfig {
        &self.inner.config
    }

    /// The namespaces directly below `parent`, or at the top.
    pub async fn namespaces(&self, parent: Option<&NamespaceIdent>) -> Result<Vec<NamespaceIdent>> {
        let what = "the list of namespaces";
        let mut names = Vec::new();
        let mut page = String::new();
        loop {
            let mut query = page_query(&page);
            if let Some(parent) = parent {
                query.push(("parent", wire::joined(parent)));
            }
            let request = self.request(Method::GET, "/namespaces").query(&query);
            let reply: NamespacesReply =
                wire::receive(wire::send(request, what, false).await?, what).await?;
            for name in reply.namespaces {
                names.push(
                    NamespaceIdent::from_vec(name)
                        .map_err(Error::iceberg("read the list of namespaces"))?,
                );
            }
            match reply.next_page_token.filter(|token| !token.is_empty()) {
                Some(token) if token != page => page = token,
                _ => return Ok(names),
            }
        }
    }

    /// Makes a namespace.
    pub async fn create_namespace(
        &self,
        namespace: &NamespaceIdent,
        properties: &HashMap<String, String>,
    ) -> Result<()> {
        let what = format!("namespace `{}`", namespace.to_url_string());
        let body = json!({ "namespace": namespace.as_ref(), "properties": properties });
        let request = self.request(Method::POST, "/namespaces").json(&body);
        wire::send(request, &what, true).await?;
        Ok(())
    }

    /// Makes a namespace and its parents unless they are there.
    pub async fn ensure_namespace(&self, namespace: &NamespaceIdent) -> Result<()> {
        let parts: &Vec<String> = namespace.as_ref();
        for length in 1..=parts.len() {
            let ancestor = NamespaceIdent::from_vec(parts[..length].to_vec())
                .map_err(Error::iceberg("name a namespace"))?;
            match self.create_namespace(&ancestor, &HashMap::new()).await {
                Ok(()) | Err(Error::AlreadyExists { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether the namespace is there.
    pub async fn namespace_exists(&self, namespace: &NamespaceIdent) -> Result<bool> {
        self.exists(
            &namespace_path(namespace),
            &format!("namespace `{}`", namespace.to_url_string()),
        )
        .await
    }

    /// Removes an empty namespace.
    pub async fn drop_namespace(&self, namespace: &NamespaceIdent) -> Result<()> {
        let what = format!("namespace `{}`", namespace.to_url_string());
        let request = self.request(Method::DELETE, &namespace_path(namespace));
        wire::send(request, &what, true).await?;
        Ok(())
    }

    /// The tables of a namespace.
    pub async fn tables(&self, namespace: &NamespaceIdent) -> Result<Vec<TableIdent>> {
        let what = format!("namespace `{}`", namespace.to_url_string());
        let path = format!("{}/tables", namespace_path(namespace));
        let mut tables = Vec::new();
        let mut page = String::new();
        loop {
            let request = self.request(Method::GET, &path).query(&page_query(&page));
            let reply: TablesReply =
                wire::receive(wire::send(request, &what, false).await?, &what).await?;
            tables.extend(reply.identifiers);
            match reply.next_page_token.filter(|token| !token.is_empty()) {
                Some(token) if token != page => page = token,
                _ => return Ok(tables),
            }
        }
    }

    /// Makes a table.
    pub async fn create_table(&self, namespace: &NamespaceIdent, table: NewTable) -> Result<Table> {
        let ident = TableIdent::new(namespace.clone(), table.name.clone());
        let what = wire::table_name(&ident);
        let body = json!({
            "name": table.name,
            "location": table.location,
            "schema": table.schema,
            "partition-spec": table.partition_spec,
            "write-order": table.sort_order,
            "stage-create": false,
            "properties": table.properties,
        });
        let path = format!("{}/tables", namespace_path(namespace));
        let response =
            wire::send(self.request(Method::POST, &path).json(&body), &what, true).await?;
        self.table_of(ident, response, &what).await
    }

    /// Reads the current version of a table.
    pub async fn load_table(&self, table: &TableIdent) -> Result<Table> {
        let what = wire::table_name(table);
        let request = self.request(Method::GET, &table_path(table));
        let response = wire::send(request, &what, false).await?;
        self.table_of(table.clone(), response, &what).await
    }

    /// Reads the current version of a table, or returns `table` itself when the catalog says that it is
    /// still current.
    pub async fn refresh(&self, table: &Table) -> Result<Table> {
        let what = wire::table_name(table.ident());
        let mut request = self.request(Method::GET, &table_path(table.ident()));
        if let Some(etag) = table
            .etag()
            .and_then(|etag| HeaderValue::from_str(etag).ok())
        {
            request = request.header(IF_NONE_MATCH, etag);
        }
        let response = wire::send(request, &what, false).await?;
        if response.status() == StatusCode::NOT_MODIFIED {
            return Ok(table.clone());
        }
        self.table_of(table.ident().clone(), response, &what).await
    }

    /// Whether the table is there.
    pub async fn table_exists(&self, table: &TableIdent) -> Result<bool> {
        self.exists(&table_path(table), &wire::table_name(table))
            .await
    }

    /// Removes a table from the catalog, and its files too with [`Purge::Files`].
    pub async fn drop_table(&self, table: &TableIdent, purge: Purge) -> Result<()> {
        let what = wire::table_name(table);
        let purge = if purge == Purge::Files {
            "true"
        } else {
            "false"
        };
        let request = self
            .request(Method::DELETE, &table_path(table))
            .query(&[("purgeRequested", purge)]);
        wire::send(request, &what, true).await?;
        Ok(())
    }

    /// Changes one table if `requirements` hold, and returns the new version.
    pub async fn commit(
        &self,
        table: &Table,
        requirements: &[TableRequirement],
        updates: &[TableUpdate],
    ) -> Result<Table> {
        let ident = table.ident();
        let what = wire::table_name(ident);
        let body = json!({
            "identifier": ident,
            "requirements": requirements,
            "updates": updates,
        });
        let request = self.request(Method::POST, &table_path(ident)).json(&body);
        let response = wire::send(request, &what, true).await?;
        let etag = etag_of(&response);
        // The change is done once the status says so; a body that breaks off must not look like less.
        let reply: CommitReply =
            wire::receive(response, &what)
                .await
                .map_err(|error| Error::StateUnknown {
                    what: what.clone(),
                    why: crate::error::one_line(&error),
                })?;
        Ok(Table::with_etag(
            ident.clone(),
            Arc::new(reply.metadata),
            Some(reply.metadata_location),
            etag,
            table.store().clone(),
        ))
    }

    /// Changes several tables, all or none.
    pub async fn commit_all(&self, changes: &[TableChange]) -> Result<()> {
        let what = format!("a transaction on {} tables", changes.len());
        let changes: Vec<_> = changes
            .iter()
            .map(|change| {
                json!({
                    "identifier": change.table,
                    "requirements": change.requirements,
                    "updates": change.updates,
                })
            })
            .collect();
        let request = self
            .request(Method::POST, "/transactions/commit")
            .json(&json!({ "table-changes": changes }));
        wire::send(request, &what, true).await?;
        Ok(())
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self
            .inner
            .client
            .request(method, format!("{}{path}", self.inner.base))
            .header("X-Iceberg-Access-Delegation", "vended-credentials");
        authorized(request, &self.inner.config)
    }

    async fn exists(&self, path: &str, what: &str) -> Result<bool> {
        match wire::send(self.request(Method::HEAD, path), what, false).await {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn table_of(
        &self,
        ident: TableIdent,
        response: reqwest::Response,
        what: &str,
    ) -> Result<Table> {
        let etag = etag_of(&response);
        let reply: LoadReply = wire::receive(response, what).await?;
        let store = self.store_for(&reply);
        let metadata: TableMetadata = reply.metadata;
        Ok(Table::with_etag(
            ident,
            Arc::new(metadata),
            reply.metadata_location,
            etag,
            store,
        ))
    }

    /// The store for a table, shared between tables that the catalog describes alike.
    fn store_for(&self, reply: &LoadReply) -> Store {
        let mut from_catalog = self.inner.from_catalog.clone();
        from_catalog.extend(reply.config.clone());
        let location = reply.metadata.location();
        let vended = reply
            .storage_credentials
            .iter()
            .filter(|credential| location.starts_with(&credential.prefix))
            .max_by_key(|credential| credential.prefix.len());
        if let Some(vended) = vended {
            from_catalog.extend(vended.config.clone());
        }
        let config = self.inner.config.store.overlaid(&from_catalog);
        let mut stores = self.inner.stores.lock();
        if let Some(store) = stores.iter().find(|store| *store.config() == config) {
            return store.clone();
        }
        if stores.len() == MAX_STORES {
            stores.remove(0);
        }
        let store = Store::new(config);
        stores.push(store.clone());
        store
    }
}

/// What [`RestCatalog::drop_table`] removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purge {
    /// Only the catalog's entry.
    Nothing,
    /// The table's files as well.
    Files,
}

fn authorized(request: reqwest::RequestBuilder, config: &CatalogConfig) -> reqwest::RequestBuilder {
    match &config.token {
        Some(token) => request.bearer_auth(token),
        None => request,
    }
}

fn page_query(page: &str) -> Vec<(&'static str, String)> {
    vec![
        ("pageToken", page.to_owned()),
        ("pageSize", PAGE_SIZE.to_string()),
    ]
}

fn namespace_path(namespace: &NamespaceIdent) -> String {
    format!("/namespaces/{}", wire::escape(&wire::joined(namespace)))
}

fn table_path(table: &TableIdent) -> String {
    format!(
        "{}/tables/{}",
        namespace_path(table.namespace()),
        wire::escape(table.name())
    )
}

fn etag_of(response: &reqwest::Response) -> Option<String> {
    response
        .headers()
        .get(ETAG)
        .and_then(|etag| etag.to_str().ok())
        .map(str::to_owned)
}

#[cfg(test)]
mod tests;
