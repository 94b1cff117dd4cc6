//! Commits to one table or to several at once.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use iceberg::{TableRequirement, TableUpdate};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Failure;
use super::body::{Body, OfTable};
use crate::catalog::{Catalog, CommitTable, Error, TableIdent};

#[derive(Debug, Deserialize)]
pub(crate) struct Wanted {
    #[serde(default)]
    identifier: Option<TableIdent>,
    #[serde(default)]
    requirements: Vec<TableRequirement>,
    updates: Vec<TableUpdate>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Transaction {
    table_changes: Vec<Wanted>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Committed<'a> {
    metadata_location: &'a str,
    metadata: &'a RawValue,
}

pub(crate) async fn update(
    State(catalog): State<Catalog>,
    OfTable(ident): OfTable,
    Body(wanted): Body<Wanted>,
) -> Result<Response, Failure> {
    if wanted.identifier.is_some_and(|named| named != ident) {
        return Err(
            Error::invalid("the identifier in the body is not the table in the path").into(),
        );
    }
    let tables = catalog
        .commit(vec![CommitTable {
            ident,
            requirements: wanted.requirements,
            updates: wanted.updates,
        }])
        .await?;
    let table = tables
        .first()
        .ok_or_else(|| Error::Internal("a commit returned no table".to_owned()))?;
    Ok(Json(Committed {
        metadata_location: &table.metadata_location,
        metadata: &table.json,
    })
    .into_response())
}

pub(crate) async fn transaction(
    State(catalog): State<Catalog>,
    Body(wanted): Body<Transaction>,
) -> Result<StatusCode, Failure> {
    let changes = wanted
        .table_changes
        .into_iter()
        .map(|change| {
            let ident = change
                .identifier
                .ok_or_else(|| Error::invalid("each table change needs an identifier"))?;
            Ok(CommitTable {
                ident,
                requirements: change.requirements,
                updates: change.updates,
            })
        })
        .collect::<Result<_, Error>>()?;
    catalog.commit(changes).await?;
    Ok(StatusCode::NO_CONTENT)
}
