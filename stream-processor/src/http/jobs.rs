//! Flink's job REST (`/jobs…`), in the shapes that Flink's own web page and tools read.
//!
//! Source: Flink's `rest_v1_dispatcher.yml`. Figures we have and Flink has elsewhere (lag, late rows, freshness) are
//! extra members of the same objects.

mod vertices;

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Failure;
use crate::jobs::{Entry, Jobs};
use crate::runtime::clock;
use crate::runtime::job::stats::{CheckpointStats, JobState};

pub(crate) fn router(jobs: Jobs) -> Router {
    Router::new()
        .route("/overview", get(overview))
        .route("/config", get(config))
        .route("/jobs", get(ids))
        .route("/jobs/overview", get(list))
        .route("/jobs/{job}", get(show).patch(cancel))
        .route("/jobs/{job}/checkpoints", get(checkpoints))
        .route("/jobs/{job}/exceptions", get(exceptions))
        .route("/jobs/{job}/vertices/{vertex}", get(vertex))
        .route("/jobs/{job}/vertices/{vertex}/metrics", get(metrics))
        .route("/jobs/{job}/savepoints", post(savepoint))
        .route("/jobs/{job}/savepoints/{trigger}", get(savepoint_status))
        .with_state(jobs)
}

type Answer = Result<Json<Value>, Failure>;

fn find(jobs: &Jobs, id: &str) -> Result<Arc<Entry>, Failure> {
    jobs.get(id)
        .ok_or_else(|| Failure::not_found(format!("Job {id} not found")))
}

async fn overview(State(jobs): State<Jobs>) -> Json<Value> {
    let count =
        |wanted: fn(JobState) -> bool| jobs.list().iter().filter(|job| wanted(job.state())).count();
    Json(json!({
        "flink-version": concat!("StreamForge ", env!("CARGO_PKG_VERSION")),
        "taskmanagers": 1,
        "jobs-running": count(|state| !state.is_final()),
        "jobs-finished": count(|state| state == JobState::Finished),
        "jobs-cancelled": count(|state| state == JobState::Canceled),
        "jobs-failed": count(|state| state == JobState::Failed),
    }))
}

async fn config() -> Json<Value> {
    Json(
        json!({ "flink-version": concat!("StreamForge ", env!("CARGO_PKG_VERSION")), "timezone-name": "UTC" }),
    )
}

async fn ids(State(jobs): State<Jobs>) -> Json<Value> {
    let jobs: Vec<_> = jobs
        .list()
        .iter()
        .map(|job| json!({ "id": job.id, "status": job.state().name() }))
        .collect();
    Json(json!({ "jobs": jobs }))
}

async fn list(State(jobs): State<Jobs>) -> Json<Value> {
    let jobs: Vec<_> = jobs.list().iter().map(|job| head(job)).collect();
    Json(json!({ "jobs": jobs }))
}

/// What the list and the job's own page begin with.
fn head(job: &Entry) -> Value {
    let view = job.view();
    let ended_at = view.ended_at.unwrap_or(-1);
    let duration = view.ended_at.unwrap_or_else(clock) - job.created_at;
    json!({
        "jid": job.id,
        "name": job.name,
        "state": view.state.name(),
        "start-time": job.created_at,
        "end-time": ended_at,
        "duration": duration,
        "lag": vertices::lag(&view),
        "late-records": vertices::late(&view),
        "restarts": view.restarts,
        "pending-commits": view.pending_commits,
        "last-checkpoint": view.checkpoints.first().map(|checkpoint| checkpoint.triggered_at),
    })
}

async fn show(State(jobs): State<Jobs>, Path(job): Path<String>) -> Answer {
    let job = find(&jobs, &job)?;
    let mut page = head(&job);
    page["isStoppable"] = Value::Bool(false);
    page["now"] = clock().into();
    page["vertices"] = vertices::all(&job);
    page["plan"] = json!({ "jid": job.id, "name": job.name, "type": "STREAMING", "nodes": vertices::plan(&job) });
    Ok(Json(page))
}

async fn vertex(State(jobs): State<Jobs>, Path((job, vertex)): Path<(String, String)>) -> Answer {
    let job = find(&jobs, &job)?;
    let found = vertices::one(&job, &vertex);
    found
        .map(Json)
        .ok_or_else(|| Failure::not_found(format!("Job vertex {vertex} not found")))
}

async fn metrics(State(jobs): State<Jobs>, Path((job, vertex)): Path<(String, String)>) -> Answer {
    let job = find(&jobs, &job)?;
    let found = vertices::metrics(&job, &vertex);
    found
        .map(Json)
        .ok_or_else(|| Failure::not_found(format!("Job vertex {vertex} not found")))
}

async fn checkpoints(State(jobs): State<Jobs>, Path(job): Path<String>) -> Answer {
    let view = find(&jobs, &job)?.view();
    let history: Vec<_> = view.checkpoints.iter().map(checkpoint).collect();
    Ok(Json(json!({
        "counts": {
            "completed": view.completed_checkpoints,
            "failed": view.failures.len(),
            "restored": view.restarts,
            "in_progress": 0,
            "total": view.completed_checkpoints,
        },
        "latest": { "completed": history.first() },
        "history": history,
    })))
}

fn checkpoint(checkpoint: &CheckpointStats) -> Value {
    json!({
        "id": checkpoint.id,
        "status": "COMPLETED",
        "is_savepoint": false,
        "trigger_timestamp": checkpoint.triggered_at,
        "latest_ack_timestamp": checkpoint.triggered_at + checkpoint.alignment_ms,
        "end_to_end_duration": checkpoint.duration_ms,
        "alignment_buffered": 0,
        "state_size": checkpoint.state_bytes,
        "checkpointed_size": checkpoint.new_bytes,
        "external_path": checkpoint.path,
    })
}

async fn exceptions(State(jobs): State<Jobs>, Path(job): Path<String>) -> Answer {
    let view = find(&jobs, &job)?.view();
    let entries: Vec<_> = view
        .failures
        .iter()
        .map(|(at, reason)| json!({ "timestamp": at, "exceptionName": reason, "stacktrace": reason }))
        .collect();
    let last = view.failures.first();
    Ok(Json(json!({
        "root-exception": last.map(|(_, reason)| reason),
        "timestamp": last.map(|(at, _)| at),
        "all-exceptions": [],
        "truncated": false,
        "exceptionHistory": { "entries": entries, "truncated": false },
    })))
}

#[derive(Debug, Deserialize)]
struct Cancel {
    mode: Option<String>,
}

async fn cancel(
    State(jobs): State<Jobs>,
    Path(job): Path<String>,
    Query(query): Query<Cancel>,
) -> Result<(StatusCode, Json<Value>), Failure> {
    if let Some(mode) = query.mode.filter(|mode| mode != "cancel") {
        return Err(Failure::bad_request(format!(
            "the mode `{mode}` is not supported; only `cancel` is"
        )));
    }
    find(&jobs, &job)?.cancel().await;
    Ok((StatusCode::ACCEPTED, Json(json!({}))))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Savepoint {
    cancel_job: bool,
    target_directory: Option<String>,
}

/// Takes the savepoint before it answers; its place is then the trigger's status.
async fn savepoint(
    State(jobs): State<Jobs>,
    Path(job): Path<String>,
    body: Option<Json<Savepoint>>,
) -> Result<(StatusCode, Json<Value>), Failure> {
    let request = body.map(|Json(body)| body).unwrap_or_default();
    if request.target_directory.is_some() {
        return Err(Failure::bad_request(
            "`target-directory` is not supported; savepoints lie beside the checkpoints",
        ));
    }
    let job = find(&jobs, &job)?;
    let trigger = uuid::Uuid::new_v4().simple().to_string();
    let path = job.savepoint(format!("savepoint-{trigger}")).await;
    job.remember_savepoint(
        trigger.clone(),
        path.map_err(|error| telemetry::chain(&error).to_string()),
    );
    if request.cancel_job {
        job.cancel().await;
    }
    Ok((StatusCode::ACCEPTED, Json(json!({ "request-id": trigger }))))
}

async fn savepoint_status(
    State(jobs): State<Jobs>,
    Path((job, trigger)): Path<(String, String)>,
) -> Answer {
    let found = find(&jobs, &job)?.savepoint_of(&trigger);
    let outcome = found
        .ok_or_else(|| Failure::not_found(format!("Savepoint trigger {trigger} not found")))?;
    let operation = match outcome {
        Ok(location) => json!({ "location": location }),
        Err(reason) => json!({ "failure-cause": { "class": "", "stack-trace": reason } }),
    };
    Ok(Json(
        json!({ "status": { "id": "COMPLETED" }, "operation": operation }),
    ))
}
