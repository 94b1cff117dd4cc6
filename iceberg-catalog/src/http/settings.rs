//! `GET /v1/config`: what is served here and how clients reach the object store.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::body::{Answer, Asked};
use super::{ENDPOINTS, Failure};
use crate::Config;
use crate::catalog::{Catalog, Error};

#[derive(Debug, Deserialize)]
pub(crate) struct Wanted {
    warehouse: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Settings {
    defaults: BTreeMap<&'static str, String>,
    overrides: BTreeMap<&'static str, String>,
    endpoints: [&'static str; 16],
}

pub(crate) async fn get(
    State(catalog): State<Catalog>,
    Asked(wanted): Asked<Wanted>,
) -> Answer<Settings> {
    if let Some(warehouse) = wanted.warehouse
        && !names_ours(&warehouse, catalog.config())
    {
        return Err(Failure::from(Error::invalid(format!(
            "Warehouse does not exist: {warehouse}"
        ))));
    }
    Ok(Json(Settings {
        defaults: storage(catalog.config()),
        overrides: BTreeMap::new(),
        endpoints: ENDPOINTS,
    }))
}

/// How to reach the object store, without secrets; empty when tables lie in local directories.
pub(crate) fn storage(config: &Config) -> BTreeMap<&'static str, String> {
    if !config.warehouse.starts_with("s3://") {
        return BTreeMap::new();
    }
    let endpoint = config.s3_endpoint.as_str().trim_end_matches('/').to_owned();
    BTreeMap::from([
        ("s3.endpoint", endpoint),
        ("s3.path-style-access", "true".to_owned()),
        ("s3.region", config.s3_region.clone()),
        ("client.region", config.s3_region.clone()),
    ])
}

/// The one warehouse may be called by its location, with or without the slash, or by its last part.
fn names_ours(name: &str, config: &Config) -> bool {
    let ours = config.warehouse.trim_end_matches('/');
    let name = name.trim_end_matches('/');
    name.is_empty() || name == ours || ours.rsplit('/').next() == Some(name)
}
