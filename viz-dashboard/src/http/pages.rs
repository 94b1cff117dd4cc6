//! The HTML pages.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{Html, IntoResponse, Redirect, Response};
use http::StatusCode;
use serde_json::{Value, json};

use super::App;
use crate::assets;
use crate::bundle::{Bundle, Card, Chart, FilterKind};

/// What every page's frame needs.
struct Frame<'a> {
    page: &'static str,
    title: &'a str,
    version: &'static str,
    /// Slug and title of each dashboard.
    dashboards: Vec<(&'a str, &'a str)>,
    slug: &'a str,
}

#[derive(Template)]
#[template(path = "dashboard.html")]
struct DashboardPage<'a> {
    frame: Frame<'a>,
    description: &'a str,
    rows: Vec<Vec<(Card, &'a Chart)>>,
    settings: String,
}

#[derive(Template)]
#[template(path = "sql.html")]
struct SqlPage<'a> {
    frame: Frame<'a>,
}

#[derive(Template)]
#[template(path = "platform.html")]
struct PlatformPage<'a> {
    frame: Frame<'a>,
}

#[derive(Template)]
#[template(path = "missing.html")]
struct MissingPage<'a> {
    frame: Frame<'a>,
}

pub(super) async fn home(State(app): State<App>) -> Redirect {
    let first = app.bundle.dashboards.keys().next();
    Redirect::temporary(
        &first.map_or_else(|| "/sql".to_owned(), |slug| format!("/dashboards/{slug}")),
    )
}

pub(super) async fn dashboard(State(app): State<App>, Path(slug): Path<String>) -> Response {
    let Some(dashboard) = app.bundle.dashboards.get(&slug) else {
        return missing(&app.bundle);
    };
    let rows = dashboard
        .layout()
        .rows
        .into_iter()
        .map(|row| {
            row.into_iter()
                .filter_map(|card| {
                    let chart = app.bundle.chart(&card.chart)?;
                    Some((card, chart))
                })
                .collect()
        })
        .collect();
    show(&DashboardPage {
        frame: frame("dashboard", &dashboard.title, &app.bundle, &slug),
        description: dashboard.description.as_deref().unwrap_or_default(),
        rows,
        settings: settings(&app.bundle, &slug),
    })
}

pub(super) async fn sql(State(app): State<App>) -> Response {
    show(&SqlPage {
        frame: frame("sql", "SQL", &app.bundle, ""),
    })
}

pub(super) async fn platform(State(app): State<App>) -> Response {
    show(&PlatformPage {
        frame: frame("platform", "Platform", &app.bundle, ""),
    })
}

pub(super) async fn not_found(State(app): State<App>) -> Response {
    missing(&app.bundle)
}

fn missing(bundle: &Bundle) -> Response {
    let page = show(&MissingPage {
        frame: frame("", "Not found", bundle, ""),
    });
    (StatusCode::NOT_FOUND, page).into_response()
}

fn show(page: &impl Template) -> Response {
    match page.render() {
        Ok(html) => Html(html).into_response(),
        Err(error) => {
            tracing::error!(error = %telemetry::chain(&error), "page could not be made");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn frame<'a>(page: &'static str, title: &'a str, bundle: &'a Bundle, slug: &'a str) -> Frame<'a> {
    Frame {
        page,
        title,
        version: assets::version(),
        dashboards: bundle
            .dashboards
            .iter()
            .map(|(slug, dashboard)| (slug.as_str(), dashboard.title.as_str()))
            .collect(),
        slug,
    }
}

/// What the page's script needs to know, as JSON that is safe inside a script element.
fn settings(bundle: &Bundle, slug: &str) -> String {
    let Some(dashboard) = bundle.dashboards.get(slug) else {
        return "{}".to_owned();
    };
    let charts: serde_json::Map<String, Value> = bundle
        .charts_of(dashboard)
        .into_iter()
        .map(|(chart, dataset)| {
            let metrics = dataset
                .metrics
                .iter()
                .map(|metric| (&metric.name, &metric.verbose_name));
            let columns = dataset
                .columns
                .iter()
                .map(|column| (&column.name, &column.verbose_name));
            let labels: serde_json::Map<String, Value> = metrics
                .chain(columns)
                .filter_map(|(name, verbose)| Some((name.clone(), json!(verbose.as_ref()?))))
                .collect();
            let times: Vec<&str> = dataset
                .columns
                .iter()
                .filter(|column| column.is_dttm == Some(true))
                .map(|column| column.name.as_str())
                .collect();
            let about = json!({
                "name": chart.name,
                "viz": chart.viz_type,
                "params": chart.params,
                "labels": labels,
                "times": times,
            });
            (chart.uuid.clone(), about)
        })
        .collect();
    let filters: Vec<Value> = dashboard
        .filters()
        .into_iter()
        .map(|filter| match filter.kind {
            FilterKind::Time { initial } => {
                json!({"id": filter.id, "name": filter.name, "kind": "time", "initial": initial})
            }
            FilterKind::Select { column, .. } => {
                json!({"id": filter.id, "name": filter.name, "kind": "select", "column": column})
            }
        })
        .collect();
    json!({"slug": slug, "charts": charts, "filters": filters})
        .to_string()
        .replace('<', "\\u003c")
}
