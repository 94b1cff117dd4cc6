//! The Trino client protocol: statements in, pages out, everything about the session in headers.
//!
//! This half knows paths, headers and JSON; what a query is lives in [`crate::query`].

pub(crate) mod encode;
mod headers;
mod results;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use serde_json::{Value, json};

use crate::failure::{Code, Failure};
use crate::functions::session::VERSION;
use crate::query::manager::Manager;
use crate::query::{Page, Query};
use results::Place;

type Shared = Arc<Manager>;

/// How long an answer may wait for something to tell.
const LONG_POLL: Duration = Duration::from_secs(1);
/// How long the first answer waits: a small result then needs no second request.
const FIRST_POLL: Duration = Duration::from_millis(50);

/// The routes of the protocol.
pub(crate) fn routes(manager: Shared) -> Router {
    Router::new()
        .route(
            "/v1/statement",
            post(submit).head(|| async { StatusCode::OK }),
        )
        .route(
            "/v1/statement/{phase}/{id}/{slug}/{token}",
            get(next).delete(cancel).head(heartbeat),
        )
        .route(
            "/v1/statement/executing/partialCancel/{id}/{stage}/{slug}/{token}",
            delete(partial_cancel),
        )
        .route("/v1/info", get(info))
        .route("/v1/info/state", get(|| async { axum::Json("ACTIVE") }))
        .route("/v1/status", get(info))
        .route("/v1/query", get(list))
        .route("/v1/query/{id}", get(one).delete(kill))
        .route("/v1/query/{id}/killed", put(kill))
        .route("/ui/query.html", get(page))
        .route("/ui/api/query/{id}", get(one))
        .with_state(manager)
}

async fn submit(State(manager): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let session = match headers::session(&headers) {
        Ok(session) => session,
        Err(message) => return (StatusCode::BAD_REQUEST, message).into_response(),
    };
    let Ok(sql) = std::str::from_utf8(&body) else {
        return (StatusCode::BAD_REQUEST, "the statement is not UTF-8").into_response();
    };
    if sql.trim().is_empty() {
        return (StatusCode::BAD_REQUEST, "SQL statement is empty").into_response();
    }
    let limit = manager.engine.config.max_statement_size;
    let place = Place::of(&headers);
    let query = if u64::try_from(sql.len()).unwrap_or(u64::MAX) > limit.as_u64() {
        let shown: String = sql.chars().take(200).collect();
        let query = manager.refuse(shown, session);
        query.fail(Failure::new(
            Code::QueryTextTooLarge,
            format!(
                "Query text length ({}) exceeds the maximum length ({})",
                sql.len(),
                limit.as_u64()
            ),
        ));
        query
    } else {
        manager.submit(sql.to_owned(), session)
    };
    answer(&query, 0, &place, FIRST_POLL).await
}

/// Finds the query a link is about.
fn find(manager: &Shared, id: &str, slug: &str) -> Option<Arc<Query>> {
    manager.find(id).filter(|query| query.slug == slug)
}

type Link = (String, String, String, u64);

async fn next(
    State(manager): State<Shared>,
    Path((_, id, slug, token)): Path<Link>,
    headers: HeaderMap,
) -> Response {
    let Some(query) = find(&manager, &id, &slug) else {
        return not_found();
    };
    answer(&query, token, &Place::of(&headers), LONG_POLL).await
}

async fn cancel(State(manager): State<Shared>, Path((_, id, slug, _)): Path<Link>) -> Response {
    let Some(query) = find(&manager, &id, &slug) else {
        return not_found();
    };
    query.fail(Failure::new(Code::UserCanceled, "Query was canceled"));
    StatusCode::NO_CONTENT.into_response()
}

async fn partial_cancel(
    State(manager): State<Shared>,
    Path((id, _, slug, _)): Path<(String, String, String, u64)>,
) -> Response {
    let Some(query) = find(&manager, &id, &slug) else {
        return not_found();
    };
    query.fail(Failure::new(Code::UserCanceled, "Query was canceled"));
    StatusCode::NO_CONTENT.into_response()
}

async fn heartbeat(State(manager): State<Shared>, Path((_, id, slug, _)): Path<Link>) -> Response {
    let Some(query) = find(&manager, &id, &slug) else {
        return not_found();
    };
    query.touch();
    StatusCode::OK.into_response()
}

fn not_found() -> Response {
    (StatusCode::NOT_FOUND, "Query not found").into_response()
}

/// What came of waiting for the query.
enum Found {
    Page(Page),
    /// All pages are out, or the query has failed.
    End,
    Nothing,
}

/// The answer to one request for `token`; the same again when the client asks for it again.
async fn answer(query: &Arc<Query>, token: u64, place: &Place, patience: Duration) -> Response {
    query.touch();
    let mut delivery = query.pages.lock().await;
    let expected = delivery.last.as_ref().map_or(0, |(last, _)| last + 1);
    if let Some((last, json)) = &delivery.last
        && *last == token
    {
        return respond(query, Arc::clone(json));
    }
    if token != expected {
        return (StatusCode::GONE, "the token is not the next one").into_response();
    }
    let deadline = tokio::time::Instant::now() + patience;
    let found = loop {
        if query.progress().failure.is_some() {
            break Found::End;
        }
        let changed = query.changed.notified();
        tokio::select! {
            page = delivery.receiver.recv() => match page {
                Some(page) => break Found::Page(page),
                None if query.progress().state.is_done() => break Found::End,
                // The runner has sent its last page and is about to say so.
                None => changed.await,
            },
            () = query.cancel.cancelled() => {}
            () = tokio::time::sleep_until(deadline) => break Found::Nothing,
        }
    };
    query.touch();
    let (page, more) = match found {
        Found::Page(page) => {
            let ended = delivery.receiver.is_closed()
                && delivery.receiver.is_empty()
                && settled(query).await;
            (Some(page), !ended)
        }
        Found::End => (None, false),
        Found::Nothing => (None, true),
    };
    let next = more.then_some(token + 1);
    let json: Arc<str> = results::render(query, page.as_ref(), next, place).into();
    delivery.last = Some((token, Arc::clone(&json)));
    respond(query, json)
}

/// The runner drops its channel a moment before it says that the query is done.
async fn settled(query: &Query) -> bool {
    for _ in 0..100 {
        let changed = query.changed.notified();
        if query.progress().state.is_done() {
            return query.progress().failure.is_none();
        }
        if tokio::time::timeout(Duration::from_millis(10), changed)
            .await
            .is_err()
            && !query.progress().state.is_done()
        {
            continue;
        }
    }
    false
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the caller has no further use for it"
)]
fn respond(query: &Query, json: Arc<str>) -> Response {
    let mut response = json.to_string().into_response();
    response
        .headers_mut()
        .insert("content-type", HeaderValue::from_static("application/json"));
    headers::changes(&query.progress().changes, response.headers_mut());
    response
}

async fn info(State(manager): State<Shared>) -> axum::Json<Value> {
    let minutes = manager.engine.started.elapsed().as_secs_f64() / 60.0;
    axum::Json(json!({
        "nodeVersion": {"version": VERSION},
        "environment": "streamforge",
        "coordinator": true,
        "starting": false,
        "uptime": format!("{minutes:.2}m"),
    }))
}

fn summary(query: &Query) -> Value {
    let progress = query.progress();
    json!({
        "queryId": query.id,
        "state": progress.state.name(),
        "query": query.sql,
        "session": {"user": query.session.user, "source": query.session.source, "clientTags": []},
        "queryStats": results::stats(query),
        "errorCode": progress.failure.as_ref().map(|failure| json!({"code": failure.code.number(), "name": failure.code.name(), "type": failure.code.kind().name()})),
    })
}

async fn list(State(manager): State<Shared>) -> axum::Json<Vec<Value>> {
    axum::Json(manager.list().iter().map(|query| summary(query)).collect())
}

async fn one(State(manager): State<Shared>, Path(id): Path<String>) -> Response {
    match manager.find(&id) {
        Some(query) => axum::Json(summary(&query)).into_response(),
        None => (StatusCode::GONE, "Query not found").into_response(),
    }
}

async fn kill(State(manager): State<Shared>, Path(id): Path<String>) -> Response {
    if let Some(query) = manager.find(&id) {
        query.fail(Failure::new(
            Code::AdministrativelyKilled,
            "Query killed through the API",
        ));
    }
    StatusCode::NO_CONTENT.into_response()
}

/// Where `infoUri` leads: the query as plain text.
async fn page(State(manager): State<Shared>, uri: http::Uri) -> Response {
    match uri.query().and_then(|id| manager.find(id)) {
        Some(query) => format!("{:#}", summary(&query)).into_response(),
        None => not_found(),
    }
}
