//! Behind a dashboard: the live stream, the values of filters, a chart's SQL and CSV.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use futures::{Stream, StreamExt};
use http::StatusCode;
use tokio_stream::wrappers::BroadcastStream;

use super::{App, Failure, queries};
use crate::bundle::sql::{self, Chosen};
use crate::bundle::{Chart, Dataset, FilterKind};
use crate::live::{self, Event, ViewKey};
use crate::trino;

/// Most values of one filter.
const MAX_VALUES: usize = 1000;

/// `time`, and `f.<column>` once per chosen value.
type Choices = Vec<(String, String)>;

/// One stream for all charts of a page: a browser opens only six connections to a server.
pub(super) async fn live(
    State(app): State<App>,
    Path(slug): Path<String>,
    Query(choices): Query<Choices>,
) -> Result<Response, Failure> {
    let chosen = chosen(&choices);
    let key = ViewKey {
        dashboard: slug,
        time: chosen.time,
        values: chosen.values,
    };
    let (known, events) = app.live.watch(key).map_err(|error| match error {
        live::Error::NoSuchDashboard(_) => Failure::not_found(error.to_string()),
        live::Error::TooMany(_) => Failure(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    })?;
    let stream = stream(known, BroadcastStream::new(events), Viewer::new(&app));
    let stream = stream.take_until(app.shutdown.clone().cancelled_owned());
    let alive = KeepAlive::new().interval(Duration::from_secs(15));
    Ok(Sse::new(stream).keep_alive(alive).into_response())
}

/// Ends the stream of a watcher that lags too far behind; the browser then comes again and gets everything new.
fn stream(
    known: Vec<Event>,
    events: BroadcastStream<Event>,
    viewer: Viewer,
) -> impl Stream<Item = Result<axum::response::sse::Event, Infallible>> {
    futures::stream::iter(known)
        .chain(
            events
                .take_while(|event| std::future::ready(event.is_ok()))
                .filter_map(|event| std::future::ready(event.ok())),
        )
        .map(move |event| {
            let _counted = &viewer;
            Ok(axum::response::sse::Event::default()
                .event(event.kind)
                .data(&*event.json))
        })
}

/// Counts a watcher as long as its stream lives.
struct Viewer(crate::metrics::Metrics);

impl Viewer {
    fn new(app: &App) -> Self {
        app.metrics.live_viewers.inc();
        Viewer(app.metrics.clone())
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.0.live_viewers.dec();
    }
}

pub(super) async fn filter_values(
    State(app): State<App>,
    Path((slug, filter)): Path<(String, String)>,
) -> Result<axum::Json<Vec<serde_json::Value>>, Failure> {
    let dashboard = app
        .bundle
        .dashboards
        .get(&slug)
        .ok_or_else(|| Failure::not_found(format!("no dashboard named `{slug}`")))?;
    let found = dashboard
        .filters()
        .into_iter()
        .find(|known| known.id == filter);
    let Some(FilterKind::Select { dataset, column }) = found.map(|filter| filter.kind) else {
        return Err(Failure::not_found(format!(
            "no filter named `{filter}` with values"
        )));
    };
    let dataset = app
        .bundle
        .dataset(&dataset)
        .ok_or_else(|| Failure::not_found("the filter's dataset is missing"))?;
    let statement = sql::filter_values(dataset, &column);
    let values = app
        .trino
        .query(&statement, MAX_VALUES, app.config.query_timeout)
        .await
        .map_err(|error| upstream(&error))?;
    Ok(axum::Json(
        values
            .rows
            .into_iter()
            .filter_map(|row| row.into_iter().next())
            .filter(|value| !value.is_null())
            .collect(),
    ))
}

pub(super) async fn sql(
    State(app): State<App>,
    Path((_, uuid)): Path<(String, String)>,
    Query(choices): Query<Choices>,
) -> Result<String, Failure> {
    let (chart, dataset) = find(&app, &uuid)?;
    statement(chart, dataset, &choices)
}

pub(super) async fn csv(
    State(app): State<App>,
    Path((_, uuid)): Path<(String, String)>,
    Query(choices): Query<Choices>,
) -> Result<Response, Failure> {
    let (chart, dataset) = find(&app, &uuid)?;
    let statement = statement(chart, dataset, &choices)?;
    let begun = app
        .trino
        .begin(&statement)
        .await
        .map_err(|error| upstream(&error))?;
    Ok(queries::as_csv(begun, &chart.name))
}

fn find<'a>(app: &'a App, uuid: &str) -> Result<(&'a Chart, &'a Dataset), Failure> {
    app.bundle
        .chart(uuid)
        .and_then(|chart| Some((chart, app.bundle.dataset(&chart.dataset_uuid)?)))
        .ok_or_else(|| Failure::not_found(format!("no chart `{uuid}`")))
}

fn statement(
    chart: &Chart,
    dataset: &Dataset,
    choices: &[(String, String)],
) -> Result<String, Failure> {
    sql::statements(chart, dataset, &chosen(choices), Utc::now().naive_utc())
        .map(|statements| statements.main)
        .map_err(|why| Failure(StatusCode::BAD_REQUEST, why))
}

fn chosen(choices: &[(String, String)]) -> Chosen {
    let mut chosen = Chosen::default();
    for (key, value) in choices {
        if key == "time" && !value.is_empty() {
            chosen.time = Some(value.clone());
        }
        let Some(column) = key.strip_prefix("f.") else {
            continue;
        };
        match chosen.values.iter_mut().find(|(known, _)| known == column) {
            Some((_, values)) => values.push(value.clone()),
            None => chosen.values.push((column.to_owned(), vec![value.clone()])),
        }
    }
    // The same choice in another order is the same view.
    for (_, values) in &mut chosen.values {
        values.sort();
    }
    chosen.values.sort();
    chosen
}

pub(super) fn upstream(error: &trino::Error) -> Failure {
    Failure::upstream(telemetry::chain(error).to_string())
}
