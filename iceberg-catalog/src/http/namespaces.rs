//! Namespaces: list, create, load, drop, properties.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::Failure;
use super::body::{Answer, Asked, Body, InNamespace, ListQuery};
use crate::catalog::{Catalog, Namespace};

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Described {
    namespace: Namespace,
    #[serde(default)]
    properties: BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Listing {
    namespaces: Vec<Namespace>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct PropertyChange {
    #[serde(default)]
    removals: Vec<String>,
    #[serde(default)]
    updates: BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct PropertiesChanged {
    updated: Vec<String>,
    removed: Vec<String>,
    missing: Vec<String>,
}

pub(crate) async fn list(
    State(catalog): State<Catalog>,
    Asked(query): Asked<ListQuery>,
) -> Answer<Listing> {
    let parent = query.parent()?;
    let (namespaces, next_page_token) = catalog
        .list_namespaces(parent.as_ref(), &query.page()?)
        .await?;
    Ok(Json(Listing {
        namespaces,
        next_page_token,
    }))
}

pub(crate) async fn create(
    State(catalog): State<Catalog>,
    Body(wanted): Body<Described>,
) -> Answer<Described> {
    catalog
        .create_namespace(&wanted.namespace, &wanted.properties)
        .await?;
    Ok(Json(wanted))
}

pub(crate) async fn load(
    State(catalog): State<Catalog>,
    InNamespace(namespace): InNamespace,
) -> Answer<Described> {
    let properties = catalog.namespace_properties(&namespace).await?;
    Ok(Json(Described {
        namespace,
        properties,
    }))
}

pub(crate) async fn exists(
    State(catalog): State<Catalog>,
    InNamespace(namespace): InNamespace,
) -> Result<StatusCode, Failure> {
    catalog.namespace_properties(&namespace).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn remove(
    State(catalog): State<Catalog>,
    InNamespace(namespace): InNamespace,
) -> Result<StatusCode, Failure> {
    catalog.drop_namespace(&namespace).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn change_properties(
    State(catalog): State<Catalog>,
    InNamespace(namespace): InNamespace,
    Body(change): Body<PropertyChange>,
) -> Answer<PropertiesChanged> {
    let done = catalog
        .change_namespace_properties(&namespace, &change.removals, &change.updates)
        .await?;
    Ok(Json(PropertiesChanged {
        updated: done.updated,
        removed: done.removed,
        missing: done.missing,
    }))
}
