//! Flink's SQL Gateway REST protocol, versions 1 and 2: sessions, statements, results page by page.
//!
//! It is what Flink's own SQL client, its JDBC driver and `streamforge job submit` speak. Sessions and operations live in
//! memory only; the jobs they start do not need them. Source: Flink's `rest_v1_sql_gateway.yml` and `rest_v2_…`.

mod operation;
mod result;
mod session;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Failure;
use crate::config::Config;
use crate::jobs::Jobs;
use crate::sql::SessionOptions;
use session::{Sessions, Started};

/// What requests share.
#[derive(Clone)]
pub(crate) struct Gateway {
    sessions: Arc<Sessions>,
}

impl Gateway {
    pub(crate) fn new(config: &Config, jobs: Jobs, options: SessionOptions) -> Self {
        Gateway {
            sessions: Arc::new(Sessions::new(config, jobs, options)),
        }
    }

    /// Closes sessions nobody has used for long; called about every minute.
    pub(crate) async fn expire(&self, now: i64) {
        self.sessions.expire(now).await;
    }

    pub(crate) fn router(self, config: &Config) -> Router {
        let version = || {
            Router::new()
                .route("/api_versions", get(api_versions))
                .route("/info", get(info))
                .route("/sessions", post(open_session))
                .route("/sessions/{session}", get(session_config))
                .route("/sessions/{session}", delete(close_session))
                .route("/sessions/{session}/heartbeat", post(heartbeat))
                .route(
                    "/sessions/{session}/configure-session",
                    post(configure_session),
                )
                .route(
                    "/sessions/{session}/complete-statement",
                    get(complete_statement),
                )
                .route("/sessions/{session}/statements", post(execute))
                .route("/sessions/{session}/statements/", post(execute))
                .route(
                    "/sessions/{session}/operations/{operation}/status",
                    get(status),
                )
                .route(
                    "/sessions/{session}/operations/{operation}/result/{token}",
                    get(fetch),
                )
                .route(
                    "/sessions/{session}/operations/{operation}/cancel",
                    post(cancel),
                )
                .route(
                    "/sessions/{session}/operations/{operation}/close",
                    delete(close),
                )
        };
        let mut router = Router::new()
            .route("/api_versions", get(api_versions))
            .route("/info", get(info));
        // Old servers and clients write the version in upper case.
        for name in ["/v1", "/v2", "/V1", "/V2"] {
            router = router.nest(name, version());
        }
        let largest = usize::try_from(config.max_request.as_u64()).unwrap_or(usize::MAX);
        router
            .layer(DefaultBodyLimit::max(largest))
            .with_state(self)
    }
}

type Answer = Result<Json<Value>, Failure>;

/// Clients of one version throw on names they do not know, so no more than both are told.
async fn api_versions() -> Json<Value> {
    Json(json!({ "versions": ["V1", "V2"] }))
}

async fn info() -> Json<Value> {
    Json(json!({ "productName": "StreamForge", "version": env!("CARGO_PKG_VERSION") }))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct OpenSession {
    properties: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    statement: String,
    #[serde(default)]
    execution_config: Option<BTreeMap<String, String>>,
}

fn parse<T: serde::de::DeserializeOwned>(body: &Bytes) -> Result<T, Failure> {
    serde_json::from_slice(body)
        .map_err(|error| Failure::bad_request(format!("the body is not understood: {error}")))
}

async fn open_session(State(gateway): State<Gateway>, body: Bytes) -> Answer {
    // curl as in Flink's documentation sends no body at all.
    let request = if body.is_empty() {
        OpenSession::default()
    } else {
        parse(&body)?
    };
    let handle = gateway
        .sessions
        .open(request.properties.unwrap_or_default())?;
    Ok(Json(json!({ "sessionHandle": handle })))
}

async fn session_config(State(gateway): State<Gateway>, Path(session): Path<String>) -> Answer {
    let properties = gateway.sessions.get(&session)?.settings().await;
    Ok(Json(json!({ "properties": properties })))
}

async fn close_session(State(gateway): State<Gateway>, Path(session): Path<String>) -> Answer {
    gateway.sessions.close(&session).await?;
    Ok(Json(json!({ "status": "CLOSED" })))
}

async fn heartbeat(State(gateway): State<Gateway>, Path(session): Path<String>) -> Answer {
    gateway.sessions.get(&session)?;
    Ok(Json(json!({})))
}

/// DDL, USE and SET, done when it answers.
async fn configure_session(
    State(gateway): State<Gateway>,
    Path(session): Path<String>,
    body: Bytes,
) -> Answer {
    let request: Statement = parse(&body)?;
    gateway
        .sessions
        .get(&session)?
        .configure(request.statement.trim().trim_end_matches(';'))
        .await?;
    Ok(Json(json!({})))
}

/// No proposals are made; the request must still be a session's.
async fn complete_statement(State(gateway): State<Gateway>, Path(session): Path<String>) -> Answer {
    gateway.sessions.get(&session)?;
    Ok(Json(json!({ "candidates": [] })))
}

async fn execute(
    State(gateway): State<Gateway>,
    Path(session): Path<String>,
    body: Bytes,
) -> Answer {
    let request: Statement = parse(&body)?;
    let session = gateway.sessions.get(&session)?;
    let Started { handle } = session.execute(
        request.statement,
        &request.execution_config.unwrap_or_default(),
    )?;
    Ok(Json(json!({ "operationHandle": handle })))
}

async fn status(
    State(gateway): State<Gateway>,
    Path((session, operation)): Path<(String, String)>,
) -> Answer {
    let operation = gateway.sessions.get(&session)?.operation(&operation)?;
    Ok(Json(json!({ "status": operation.status() })))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Fetch {
    row_format: Option<String>,
}

async fn fetch(
    State(gateway): State<Gateway>,
    Path((session, operation, token)): Path<(String, String, u64)>,
    Query(query): Query<Fetch>,
) -> Answer {
    let format = match query.row_format.as_deref() {
        None | Some("JSON") => result::RowFormat::Json,
        Some("PLAIN_TEXT") => result::RowFormat::PlainText,
        Some(other) => {
            return Err(Failure::bad_request(format!(
                "the row format `{other}` is not known"
            )));
        }
    };
    let found = gateway.sessions.get(&session)?.operation(&operation)?;
    let page = found.fetch(token).await?;
    let prefix = format!("/v2/sessions/{session}/operations/{operation}/result");
    Ok(Json(page.to_json(format, &prefix)))
}

async fn cancel(
    State(gateway): State<Gateway>,
    Path((session, operation)): Path<(String, String)>,
) -> Answer {
    let operation = gateway.sessions.get(&session)?.operation(&operation)?;
    operation.cancel().await;
    Ok(Json(json!({ "status": operation.status() })))
}

async fn close(
    State(gateway): State<Gateway>,
    Path((session, operation)): Path<(String, String)>,
) -> Answer {
    gateway
        .sessions
        .get(&session)?
        .close_operation(&operation)
        .await?;
    Ok(Json(json!({ "status": "CLOSED" })))
}
