//! Behind the platform page: each part on its own, so that one that is slow or down hides no other.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::{Value, json};

use super::{App, Failure};

pub(super) async fn services(State(app): State<App>) -> Json<Value> {
    Json(json!({"services": app.platform.services().await}))
}

pub(super) async fn jobs(State(app): State<App>) -> Result<Json<Value>, Failure> {
    answer("jobs", app.platform.jobs().await)
}

pub(super) async fn tables(State(app): State<App>) -> Result<Json<Value>, Failure> {
    answer("tables", app.platform.tables().await)
}

pub(super) async fn topics(State(app): State<App>) -> Result<Json<Value>, Failure> {
    answer("topics", app.platform.topics().await)
}

fn answer<T: Serialize>(name: &str, outcome: Result<T, String>) -> Result<Json<Value>, Failure> {
    outcome
        .map(|found| Json(json!({name: found})))
        .map_err(Failure::upstream)
}
