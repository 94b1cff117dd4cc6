//! Behind the SQL page: begin, follow, cancel, download, complete.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::dashboards::upstream;
use super::{App, Failure};
use crate::runs::Report;
use crate::trino::{Column, Error, Statement};

#[derive(Deserialize)]
pub(super) struct Wanted {
    sql: String,
}

#[derive(Deserialize)]
pub(super) struct From {
    #[serde(default)]
    after: usize,
}

pub(super) async fn begin(
    State(app): State<App>,
    Json(wanted): Json<Wanted>,
) -> Result<Json<Value>, Failure> {
    let sql = wanted.sql.trim().trim_end_matches(';').to_owned();
    if sql.is_empty() {
        let why = "there is no statement".to_owned();
        return Err(Failure(StatusCode::BAD_REQUEST, why));
    }
    app.metrics.statements.inc();
    let run = app.runs.begin(sql).ok_or_else(|| {
        let why = "too many statements are running".to_owned();
        Failure(StatusCode::TOO_MANY_REQUESTS, why)
    })?;
    Ok(Json(json!({"id": run.id})))
}

pub(super) async fn report(
    State(app): State<App>,
    Path(id): Path<Uuid>,
    Query(from): Query<From>,
) -> Result<Json<Report>, Failure> {
    let run = app.runs.get(id).ok_or_else(gone)?;
    Ok(Json(run.report(from.after)))
}

pub(super) async fn cancel(
    State(app): State<App>,
    Path(id): Path<Uuid>,
) -> Result<StatusCode, Failure> {
    app.runs.get(id).ok_or_else(gone)?.cancel();
    Ok(StatusCode::NO_CONTENT)
}

/// Runs the statement once more and sends every row as it comes.
pub(super) async fn csv(State(app): State<App>, Path(id): Path<Uuid>) -> Result<Response, Failure> {
    let run = app.runs.get(id).ok_or_else(gone)?;
    let again = app.runs.again(&run).await;
    Ok(as_csv(again.map_err(|error| upstream(&error))?, "result"))
}

pub(super) async fn names(State(app): State<App>) -> Result<Json<Value>, Failure> {
    let names = app.platform.names().await.map_err(Failure::upstream)?;
    Ok(Json(
        json!({"catalog": app.config.catalog, "schemas": names}),
    ))
}

fn gone() -> Failure {
    Failure::not_found("the statement is not kept any more")
}

/// The rest of a statement as CSV; an error on the way breaks the download off, so that it is never taken for whole.
pub(super) fn as_csv(statement: Statement, name: &str) -> Response {
    let lines = futures::stream::try_unfold((Some(statement), false), next_lines);
    let plain: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{plain}.csv\""),
        ),
    ];
    (headers, Body::from_stream(lines)).into_response()
}

type Rest = (Option<Statement>, bool);

async fn next_lines((statement, mut headed): Rest) -> Result<Option<(Bytes, Rest)>, Error> {
    let Some(mut statement) = statement else {
        return Ok(None);
    };
    let mut text = String::new();
    if !headed && !statement.columns.is_empty() {
        headed = true;
        head(&statement.columns, &mut text);
    }
    for row in std::mem::take(&mut statement.rows) {
        line(&row, &mut text);
    }
    let more = statement.advance().await?;
    Ok(Some((
        Bytes::from(text),
        (more.then_some(statement), headed),
    )))
}

fn head(columns: &[Column], text: &mut String) {
    let names: Vec<Value> = columns.iter().map(|column| json!(column.name)).collect();
    line(&names, text);
}

fn line(values: &[Value], text: &mut String) {
    for (i, value) in values.iter().enumerate() {
        if i > 0 {
            text.push(',');
        }
        let plain = match value {
            Value::Null => continue,
            Value::String(string) => string.clone(),
            other => other.to_string(),
        };
        // An empty text is not a null.
        if plain.is_empty() || plain.contains([',', '"', '\n', '\r']) {
            text.push('"');
            text.push_str(&plain.replace('"', "\"\""));
            text.push('"');
        } else {
            text.push_str(&plain);
        }
    }
    text.push_str("\r\n");
}

#[cfg(test)]
mod tests;
