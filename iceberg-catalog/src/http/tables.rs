//! Tables: list, create, load, drop, register, rename, reports.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use tracing::debug;

use super::Failure;
use super::body::{Answer, Asked, Body, InNamespace, ListQuery, OfTable};
use super::settings;
use crate::Config;
use crate::catalog::{Catalog, CreateTable, Error, Table, TableIdent};

const ACCESS_DELEGATION: &str = "x-iceberg-access-delegation";

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Listing {
    identifiers: Vec<TableIdent>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

/// The answer to create, load and register.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Loaded<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata_location: Option<&'a str>,
    metadata: &'a RawValue,
    config: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    storage_credentials: Vec<Credential>,
}

#[derive(Debug, Serialize)]
struct Credential {
    prefix: String,
    config: BTreeMap<&'static str, String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct LoadQuery {
    snapshots: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DropQuery {
    purge_requested: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Register {
    name: String,
    metadata_location: String,
    #[serde(default)]
    overwrite: bool,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Rename {
    source: TableIdent,
    destination: TableIdent,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Report {
    report_type: String,
}

pub(crate) async fn list(
    State(catalog): State<Catalog>,
    InNamespace(namespace): InNamespace,
    Asked(query): Asked<ListQuery>,
) -> Answer<Listing> {
    let (names, next_page_token) = catalog.list_tables(&namespace, &query.page()?).await?;
    let identifiers = names
        .into_iter()
        .map(|name| TableIdent {
            namespace: namespace.clone(),
            name,
        })
        .collect();
    Ok(Json(Listing {
        identifiers,
        next_page_token,
    }))
}

pub(crate) async fn create(
    State(catalog): State<Catalog>,
    InNamespace(namespace): InNamespace,
    headers: HeaderMap,
    Body(wanted): Body<CreateTable>,
) -> Result<Response, Failure> {
    let access = Access::new(catalog.config(), &headers);
    if wanted.stage_create == Some(true) {
        let staged = catalog.stage_table(&namespace, wanted).await?;
        return Ok(Json(access.describe(None, &staged.json)).into_response());
    }
    let table = catalog.create_table(&namespace, wanted).await?;
    Ok(access.answer(&table))
}

pub(crate) async fn register(
    State(catalog): State<Catalog>,
    InNamespace(namespace): InNamespace,
    headers: HeaderMap,
    Body(wanted): Body<Register>,
) -> Result<Response, Failure> {
    if wanted.overwrite {
        return Err(Error::invalid("register with `overwrite` is not supported").into());
    }
    let table = catalog
        .register_table(&namespace, wanted.name, wanted.metadata_location)
        .await?;
    Ok(Access::new(catalog.config(), &headers).answer(&table))
}

pub(crate) async fn load(
    State(catalog): State<Catalog>,
    OfTable(ident): OfTable,
    Asked(query): Asked<LoadQuery>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let access = Access::new(catalog.config(), &headers);
    let only_refs = match query.snapshots.as_deref() {
        None | Some("" | "all") => false,
        Some("refs") => true,
        Some(other) => {
            return Err(
                Error::invalid(format!("snapshots must be all or refs, not `{other}`")).into(),
            );
        }
    };
    let table = catalog.load_table(&ident).await?;
    let etag = access.etag(&table, only_refs);
    let known = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|tag| matches_tag(tag, &etag));
    if known {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    if !only_refs {
        return Ok(access.answer(&table));
    }
    let json = snapshots_of_refs(&table)?;
    let body = Json(access.describe(Some(&table.metadata_location), &json));
    Ok(([(header::ETAG, etag)], body).into_response())
}

pub(crate) async fn exists(
    State(catalog): State<Catalog>,
    OfTable(ident): OfTable,
) -> Result<StatusCode, Failure> {
    catalog.table_exists(&ident).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn remove(
    State(catalog): State<Catalog>,
    OfTable(ident): OfTable,
    Asked(query): Asked<DropQuery>,
) -> Result<StatusCode, Failure> {
    let purge = query
        .purge_requested
        .is_some_and(|value| value.eq_ignore_ascii_case("true"));
    catalog.drop_table(&ident, purge).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn rename(
    State(catalog): State<Catalog>,
    Body(wanted): Body<Rename>,
) -> Result<StatusCode, Failure> {
    catalog
        .rename_table(&wanted.source, &wanted.destination)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Counts what clients report of their scans and commits.
pub(crate) async fn report(
    State(catalog): State<Catalog>,
    OfTable(ident): OfTable,
    Body(report): Body<Report>,
) -> Result<StatusCode, Failure> {
    catalog.table_exists(&ident).await?;
    match report.report_type.as_str() {
        "scan-report" => catalog.metrics().scan_reports.inc(),
        "commit-report" => catalog.metrics().commit_reports.inc(),
        other => {
            return Err(Error::invalid(format!("Invalid report type: {other}")).into());
        }
    };
    debug!(table = %ident, report = report.report_type, "client report");
    Ok(StatusCode::NO_CONTENT)
}

/// How one client reaches a table's files.
pub(crate) struct Access<'a> {
    config: &'a Config,
    vended: bool,
}

// === impl Access ===

impl<'a> Access<'a> {
    pub(crate) fn new(config: &'a Config, headers: &HeaderMap) -> Self {
        let asked = headers
            .get_all(ACCESS_DELEGATION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|way| way.trim() == "vended-credentials");
        Access {
            config,
            vended: asked && config.vend_credentials && config.warehouse.starts_with("s3://"),
        }
    }

    /// The full answer for a table, with its tag.
    pub(crate) fn answer(&self, table: &Table) -> Response {
        let etag = self.etag(table, false);
        let body = Json(self.describe(Some(&table.metadata_location), &table.json));
        ([(header::ETAG, etag)], body).into_response()
    }

    fn describe<'b>(
        &self,
        metadata_location: Option<&'b str>,
        metadata: &'b RawValue,
    ) -> Loaded<'b> {
        let mut config = settings::storage(self.config);
        let mut storage_credentials = Vec::new();
        if self.vended {
            config.insert("s3.access-key-id", self.config.s3_access_key.clone());
            config.insert("s3.secret-access-key", self.config.s3_secret_key.clone());
            storage_credentials.push(Credential {
                prefix: self.config.warehouse.clone(),
                config: config.clone(),
            });
        }
        Loaded {
            metadata_location,
            metadata,
            config,
            storage_credentials,
        }
    }

    /// Differs for each form the answer can take.
    fn etag(&self, table: &Table, only_refs: bool) -> HeaderValue {
        let snapshots = if only_refs { "refs" } else { "all" };
        let access = if self.vended { "vended" } else { "plain" };
        let tag = format!("\"{}-{}-{snapshots}-{access}\"", table.id, table.version);
        HeaderValue::try_from(tag).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
    }
}

fn matches_tag(tag: &str, etag: &HeaderValue) -> bool {
    let tag = tag.trim();
    tag.strip_prefix("W/").unwrap_or(tag).as_bytes() == etag.as_bytes()
}

/// The metadata with only those snapshots that a branch or tag names.
fn snapshots_of_refs(table: &Table) -> Result<Box<RawValue>, Error> {
    let broken = |error: serde_json::Error| Error::Internal(error.to_string());
    let mut metadata: Value = serde_json::from_str(table.json.get()).map_err(broken)?;
    let named: Vec<Value> = metadata["refs"]
        .as_object()
        .into_iter()
        .flat_map(|refs| refs.values())
        .map(|reference| reference["snapshot-id"].clone())
        .collect();
    if let Some(snapshots) = metadata["snapshots"].as_array_mut() {
        snapshots.retain(|snapshot| named.contains(&snapshot["snapshot-id"]));
    }
    serde_json::value::to_raw_value(&metadata).map_err(broken)
}
