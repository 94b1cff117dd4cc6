//! The catalog's rows in SQLite or PostgreSQL: opening, layout and reads. All writes go through [`writer`].
//!
//! The statements are the same for both, so one line of configuration changes from one to the other. A table's current
//! metadata lies compressed in its row; a load or a commit never reads the object store.

pub(crate) mod writer;

use std::path::Path;
use std::time::Duration;

use sqlx::any::{AnyPoolOptions, install_default_drivers};
use sqlx::{AnyPool, Executor, Row};

use crate::Error as StartError;
use crate::catalog::{Namespace, TableIdent};
use crate::files::spellings;

const LAYOUT: i64 = 1;
const READERS: u32 = 4;

/// `{bytes}`, `{number}` and `{name}` differ between the two databases: names compare by their bytes in both.
const TABLES: [&str; 5] = [
    "CREATE TABLE IF NOT EXISTS catalog_layout (layout {number} PRIMARY KEY)",
    "CREATE TABLE IF NOT EXISTS namespaces (
        name {name} PRIMARY KEY,
        parent {name} REFERENCES namespaces(name),
        properties TEXT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS namespaces_by_parent ON namespaces(parent, name)",
    "CREATE TABLE IF NOT EXISTS tables (
        id TEXT PRIMARY KEY,
        namespace {name} NOT NULL REFERENCES namespaces(name),
        name {name} NOT NULL,
        version {number} NOT NULL,
        location TEXT NOT NULL,
        metadata_location TEXT NOT NULL,
        metadata {bytes} NOT NULL,
        UNIQUE (namespace, name))",
    "CREATE TABLE IF NOT EXISTS purges (location TEXT PRIMARY KEY)",
];

/// The reading side; clones share the connections.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    pool: AnyPool,
}

/// Where a table's row stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pointer {
    pub(crate) id: String,
    pub(crate) version: i64,
    pub(crate) metadata_location: String,
}

/// A page of names in order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page<'a> {
    /// Only names after this one.
    pub(crate) after: &'a str,
    pub(crate) limit: i64,
}

/// Opens the database at `url`, makes what is missing and returns both sides of it.
pub(crate) async fn open(
    url: &str,
    bounds: writer::Bounds,
    metrics: crate::metrics::Metrics,
) -> Result<(Database, writer::Writer, writer::Loop), StartError> {
    install_default_drivers();
    let failed = |source| StartError::Database {
        database: without_password(url),
        source,
    };
    let sqlite = url.starts_with("sqlite");
    // SQLite has one writer at a time anyway; PostgreSQL needs one to keep the order of a batch.
    let write_pool = connect(url, sqlite, 1).await.map_err(failed)?;
    for statement in TABLES {
        let statement = statement
            .replace("{bytes}", if sqlite { "BLOB" } else { "BYTEA" })
            .replace("{number}", if sqlite { "INTEGER" } else { "BIGINT" })
            .replace("{name}", if sqlite { "TEXT" } else { "TEXT COLLATE \"C\"" });
        write_pool
            .execute(sqlx::query(&statement))
            .await
            .map_err(failed)?;
    }
    sqlx::query("INSERT INTO catalog_layout VALUES ($1) ON CONFLICT DO NOTHING")
        .bind(LAYOUT)
        .execute(&write_pool)
        .await
        .map_err(failed)?;
    let layouts: Vec<i64> =
        sqlx::query_scalar("SELECT layout FROM catalog_layout ORDER BY layout DESC")
            .fetch_all(&write_pool)
            .await
            .map_err(failed)?;
    if let Some(&found) = layouts.iter().find(|&&found| found != LAYOUT) {
        return Err(StartError::Layout {
            found,
            known: LAYOUT,
        });
    }
    let pool = connect(url, sqlite, READERS).await.map_err(failed)?;
    let begin = if sqlite { "BEGIN IMMEDIATE" } else { "BEGIN" };
    let (writer, work) = writer::new(write_pool, begin, bounds, metrics);
    Ok((Database { pool }, writer, work))
}

/// The URL of the SQLite file in `data_dir`.
pub(crate) fn sqlite_url(data_dir: &Path) -> String {
    let path = data_dir.join("catalog.sqlite");
    let escaped: String = path
        .to_string_lossy()
        .chars()
        .map(|c| match c {
            '%' => "%25".to_owned(),
            '?' => "%3F".to_owned(),
            '#' => "%23".to_owned(),
            other => other.to_string(),
        })
        .collect();
    format!("sqlite://{escaped}?mode=rwc")
}

async fn connect(url: &str, sqlite: bool, connections: u32) -> Result<AnyPool, sqlx::Error> {
    AnyPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(10))
        .after_connect(move |connection, _| {
            Box::pin(async move {
                if sqlite {
                    for pragma in [
                        "PRAGMA busy_timeout = 5000",
                        "PRAGMA journal_mode = WAL",
                        "PRAGMA synchronous = FULL",
                        "PRAGMA foreign_keys = ON",
                    ] {
                        connection.execute(pragma).await?;
                    }
                }
                Ok(())
            })
        })
        .connect(url)
        .await
}

fn without_password(url: &str) -> String {
    url::Url::parse(url).map_or_else(
        |_| "…".to_owned(),
        |mut url| {
            if url.password().is_some() && url.set_password(Some("…")).is_err() {
                return "…".to_owned();
            }
            url.to_string()
        },
    )
}

// === impl Database ===

impl Database {
    /// The namespace's properties as JSON text.
    pub(crate) async fn namespace(
        &self,
        namespace: &Namespace,
    ) -> Result<Option<String>, sqlx::Error> {
        sqlx::query_scalar("SELECT properties FROM namespaces WHERE name = $1")
            .bind(namespace.key())
            .fetch_optional(&self.pool)
            .await
    }

    /// The keys of the namespaces directly below `parent`.
    pub(crate) async fn namespaces(
        &self,
        parent: Option<&Namespace>,
        page: Page<'_>,
    ) -> Result<Vec<String>, sqlx::Error> {
        let Some(parent) = parent else {
            return sqlx::query_scalar(
                "SELECT name FROM namespaces WHERE parent IS NULL AND name > $1 ORDER BY name LIMIT $2",
            )
            .bind(page.after.to_owned())
            .bind(page.limit)
            .fetch_all(&self.pool)
            .await;
        };
        sqlx::query_scalar(
            "SELECT name FROM namespaces WHERE parent = $1 AND name > $2 ORDER BY name LIMIT $3",
        )
        .bind(parent.key())
        .bind(page.after.to_owned())
        .bind(page.limit)
        .fetch_all(&self.pool)
        .await
    }

    /// The names of the tables in `namespace`.
    pub(crate) async fn tables(
        &self,
        namespace: &Namespace,
        page: Page<'_>,
    ) -> Result<Vec<String>, sqlx::Error> {
        sqlx::query_scalar(
            "SELECT name FROM tables WHERE namespace = $1 AND name > $2 ORDER BY name LIMIT $3",
        )
        .bind(namespace.key())
        .bind(page.after.to_owned())
        .bind(page.limit)
        .fetch_all(&self.pool)
        .await
    }

    pub(crate) async fn table(&self, ident: &TableIdent) -> Result<Option<Pointer>, sqlx::Error> {
        sqlx::query(
            "SELECT id, version, metadata_location FROM tables WHERE namespace = $1 AND name = $2",
        )
        .bind(ident.namespace.key())
        .bind(ident.name.clone())
        .fetch_optional(&self.pool)
        .await?
        .map(|row| {
            Ok(Pointer {
                id: row.try_get(0)?,
                version: row.try_get(1)?,
                metadata_location: row.try_get(2)?,
            })
        })
        .transpose()
    }

    /// The row as it is now, with its compressed metadata; `None` when it was dropped meanwhile.
    pub(crate) async fn metadata(
        &self,
        id: &str,
    ) -> Result<Option<(Pointer, Vec<u8>)>, sqlx::Error> {
        sqlx::query("SELECT id, version, metadata_location, metadata FROM tables WHERE id = $1")
            .bind(id.to_owned())
            .fetch_optional(&self.pool)
            .await?
            .map(|row| {
                let pointer = Pointer {
                    id: row.try_get(0)?,
                    version: row.try_get(1)?,
                    metadata_location: row.try_get(2)?,
                };
                Ok((pointer, row.try_get(3)?))
            })
            .transpose()
    }

    /// Locations of dropped tables whose files are still to be deleted, a hundred that come after `after`.
    pub(crate) async fn purges(&self, after: &str) -> Result<Vec<String>, sqlx::Error> {
        sqlx::query_scalar(
            "SELECT location FROM purges WHERE location > $1 ORDER BY location LIMIT 100",
        )
        .bind(after.to_owned())
        .fetch_all(&self.pool)
        .await
    }

    /// Whether another table lies at, in or around `location`, however it spells that.
    pub(crate) async fn shares_location(&self, location: &str) -> Result<bool, sqlx::Error> {
        for location in spellings(location) {
            let n_tables: i64 = sqlx::query_scalar(
                "SELECT COUNT(*) FROM tables WHERE rtrim(location, '/') = $1
                    OR substr(location, 1, length($1) + 1) = $1 || '/'
                    OR substr($1, 1, length(rtrim(location, '/')) + 1) = rtrim(location, '/') || '/'",
            )
            .bind(location)
            .fetch_one(&self.pool)
            .await?;
            if n_tables > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }
}
