//! One answer of the protocol: links, columns, rows, statistics, error.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::HeaderMap;
use serde_json::{Map, Value, json};

use super::encode;
use crate::failure::Failure;
use crate::query::{Page, Query, State};

/// Where the client thinks the server is; links must be absolute and lead there.
pub(super) struct Place {
    base: String,
}

impl Place {
    pub(super) fn of(headers: &HeaderMap) -> Place {
        let value = |name: &str| {
            let first = headers
                .get(name)
                .and_then(|value| value.to_str().ok())?
                .split(',')
                .next()?
                .trim();
            let safe = first
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b".-:[]/_~".contains(&byte));
            (safe && !first.is_empty()).then(|| first.to_owned())
        };
        let scheme = value("x-forwarded-proto")
            .filter(|scheme| scheme == "https")
            .unwrap_or_else(|| "http".to_owned());
        let mut host = value("x-forwarded-host")
            .or_else(|| value("host"))
            .unwrap_or_else(|| "localhost".to_owned());
        if let Some(port) = value("x-forwarded-port")
            && !host.contains(':')
            && !matches!(
                (scheme.as_str(), port.as_str()),
                ("http", "80") | ("https", "443")
            )
        {
            host = format!("{host}:{port}");
        }
        let prefix = value("x-forwarded-prefix")
            .map(|prefix| format!("/{}", prefix.trim_matches('/')))
            .filter(|prefix| prefix != "/")
            .unwrap_or_default();
        Place {
            base: format!("{scheme}://{host}{prefix}"),
        }
    }
}

fn error(failure: &Failure) -> Value {
    let location = failure
        .pos
        .map(|pos| json!({"lineNumber": pos.line, "columnNumber": pos.column}));
    let message = failure.text();
    let mut info = Map::from_iter([
        ("type".to_owned(), json!("io.trino.spi.TrinoException")),
        ("message".to_owned(), json!(message)),
        ("suppressed".to_owned(), json!([])),
        ("stack".to_owned(), json!([])),
        (
            "errorInfo".to_owned(),
            json!({"code": failure.code.number(), "name": failure.code.name(), "type": failure.code.kind().name()}),
        ),
    ]);
    let mut object = Map::from_iter([
        ("message".to_owned(), json!(message)),
        ("errorCode".to_owned(), json!(failure.code.number())),
        ("errorName".to_owned(), json!(failure.code.name())),
        ("errorType".to_owned(), json!(failure.code.kind().name())),
    ]);
    if let Some(location) = location {
        info.insert("errorLocation".to_owned(), location.clone());
        object.insert("errorLocation".to_owned(), location);
    }
    object.insert("failureInfo".to_owned(), Value::Object(info));
    Value::Object(object)
}

/// The numbers clients show while a query runs.
pub(super) fn stats(query: &Query) -> Value {
    let progress = query.progress();
    let millis =
        |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let elapsed = progress
        .ended
        .map_or_else(|| query.created.elapsed(), |ended| ended - query.created);
    let queued = progress
        .started
        .map_or(elapsed, |started| started - query.created);
    let scans = &query.scans;
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    // What reads nothing is one piece of work.
    let splits = count(&scans.n_splits).max(1);
    let done = progress.state.is_done();
    let completed = if done {
        splits
    } else {
        count(&scans.n_done).min(splits)
    };
    let running = if progress.state == State::Running {
        splits - completed
    } else {
        0
    };
    let percent = |part: u64| {
        let share = u32::try_from(part.saturating_mul(10_000) / splits).unwrap_or(10_000);
        f64::from(share) / 100.0
    };
    json!({
        "state": progress.state.name(),
        "queued": progress.state == State::Queued,
        "scheduled": progress.started.is_some(),
        "progressPercentage": percent(completed),
        "runningPercentage": percent(running),
        "nodes": 1,
        "totalSplits": splits,
        "queuedSplits": if progress.state == State::Queued { splits } else { 0 },
        "runningSplits": running,
        "completedSplits": completed,
        "planningTimeMillis": millis(progress.planning),
        "analysisTimeMillis": millis(progress.planning),
        "cpuTimeMillis": millis(elapsed.saturating_sub(queued)),
        "wallTimeMillis": millis(elapsed.saturating_sub(queued)),
        "queuedTimeMillis": millis(queued),
        "elapsedTimeMillis": millis(elapsed),
        "finishingTimeMillis": 0,
        "physicalInputTimeMillis": 0,
        "processedRows": count(&scans.rows),
        "processedBytes": count(&scans.bytes),
        "physicalInputBytes": count(&scans.stored_bytes),
        "physicalWrittenBytes": 0,
        "internalNetworkInputBytes": 0,
        "peakMemoryBytes": query.peak_memory.load(Ordering::Relaxed),
        "spilledBytes": 0,
    })
}

/// Writes one answer; the rows are encoded already.
pub(super) fn render(
    query: &Query,
    page: Option<&Page>,
    next: Option<u64>,
    place: &Place,
) -> String {
    let progress = query.progress();
    let mut object = Map::new();
    object.insert("id".to_owned(), json!(query.id));
    object.insert(
        "infoUri".to_owned(),
        json!(format!("{}/ui/query.html?{}", place.base, query.id)),
    );
    if let Some(token) = next {
        let phase = if progress.started.is_some() {
            "executing"
        } else {
            "queued"
        };
        let uri = format!(
            "{}/v1/statement/{phase}/{}/{}/{token}",
            place.base, query.id, query.slug
        );
        object.insert("nextUri".to_owned(), json!(uri));
    }
    if let Some(columns) = &progress.columns {
        let parametric = query.session.parametric_datetime;
        let columns = columns.iter().map(|column| {
            let ty = encode::shown(&column.ty, parametric);
            json!({"name": column.name, "type": encode::type_name(&ty, parametric), "typeSignature": encode::signature(&ty, parametric)})
        });
        object.insert("columns".to_owned(), columns.collect());
    }
    object.insert("stats".to_owned(), stats(query));
    object.insert("warnings".to_owned(), json!([]));
    if let Some(update_type) = &progress.update_type {
        object.insert("updateType".to_owned(), json!(update_type));
    }
    if next.is_none()
        && let Some(failure) = &progress.failure
    {
        object.insert("error".to_owned(), error(failure));
    }
    let mut text = Value::Object(object).to_string();
    if let Some(page) = page {
        text.pop();
        text.push_str(",\"data\":");
        text.push_str(&page.json);
        text.push('}');
    }
    text
}
