//! Live views: when a table has a new snapshot, its charts are asked again, once for all who look at the same view.
//!
//! A view is a dashboard with a time range and filters. It lives while someone watches it: it looks at the snapshots of
//! its tables, runs the statements of the charts that changed, and hands each result to every watcher. Nobody watching
//! means nothing is asked.

mod watch;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{SecondsFormat, Utc};
use futures::StreamExt;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::{Semaphore, broadcast};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Config;
use crate::bundle::sql::{Chosen, statements};
use crate::bundle::{Bundle, Chart, Dataset, TableName};
use crate::metrics::Metrics;
use crate::trino::{self, Trino};

use watch::Watch;

/// Events a slow watcher may lag behind before it is sent everything anew.
const BACKLOG: usize = 256;

/// How long a view goes on after its last watcher left, so that a reload finds it warm.
const LINGER: Duration = Duration::from_secs(10);

/// A view rests this many times as long as its queries took.
const RESTS: u32 = 2;

/// Charts whose tables never change on their own (virtual datasets) are asked again after this.
const VIRTUAL_REFRESH: Duration = Duration::from_secs(10);

/// What identifies a view.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ViewKey {
    pub(crate) dashboard: String,
    pub(crate) time: Option<String>,
    pub(crate) values: Vec<(String, Vec<String>)>,
}

/// What watchers are told.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    /// `chart` or `status`.
    pub(crate) kind: &'static str,
    pub(crate) json: Arc<str>,
}

/// Why a view cannot be watched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("no dashboard named `{0}`")]
    NoSuchDashboard(String),
    #[error("{0} different views are live already")]
    TooMany(usize),
}

/// All live views; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: Config,
    bundle: Arc<Bundle>,
    trino: Trino,
    metrics: Metrics,
    watch: Watch,
    queries: Semaphore,
    views: Mutex<HashMap<ViewKey, Arc<View>>>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

#[derive(Debug)]
struct View {
    events: broadcast::Sender<Event>,
    /// The newest event of each chart, for those who come later.
    latest: Mutex<BTreeMap<String, Event>>,
}

/// A chart's result as pages get it.
#[derive(Debug, Serialize)]
struct ChartResult<'a> {
    chart: &'a str,
    at: String,
    took_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<trino::Table>,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<trino::Table>,
    /// Whether the chart would compare with the time before, but the data do not reach back so far.
    young: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Status {
    at: String,
    /// Tables that could not be looked at, with the reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    trouble: BTreeMap<String, String>,
}

// === impl Live ===

impl Live {
    pub(crate) fn new(
        config: Config,
        bundle: Arc<Bundle>,
        trino: Trino,
        metrics: Metrics,
        tasks: TaskTracker,
        shutdown: CancellationToken,
    ) -> Self {
        let watch = Watch::new(trino.clone(), config.poll_interval, config.query_timeout);
        Live {
            shared: Arc::new(Shared {
                queries: Semaphore::new(config.max_chart_queries),
                config,
                bundle,
                trino,
                metrics,
                watch,
                views: Mutex::default(),
                tasks,
                shutdown,
            }),
        }
    }

    /// What is known of the view now, and all that comes.
    pub(crate) fn watch(
        &self,
        key: ViewKey,
    ) -> Result<(Vec<Event>, broadcast::Receiver<Event>), Error> {
        if !self.shared.bundle.dashboards.contains_key(&key.dashboard) {
            return Err(Error::NoSuchDashboard(key.dashboard));
        }
        let mut views = self.shared.views.lock();
        if let Some(view) = views.get(&key) {
            let events = view.events.subscribe();
            return Ok((view.latest.lock().values().cloned().collect(), events));
        }
        if views.len() >= self.shared.config.max_live_views {
            return Err(Error::TooMany(views.len()));
        }
        let (sender, events) = broadcast::channel(BACKLOG);
        let view = Arc::new(View {
            events: sender,
            latest: Mutex::default(),
        });
        views.insert(key.clone(), view.clone());
        self.shared.metrics.live_views.inc();
        let shared = self.shared.clone();
        self.shared.tasks.spawn(async move {
            shared.keep_live(&key, &view).await;
            shared.metrics.live_views.dec();
        });
        Ok((Vec::new(), events))
    }
}

// === impl Shared ===

impl Shared {
    async fn keep_live(&self, key: &ViewKey, view: &View) {
        let Some(dashboard) = self.bundle.dashboards.get(&key.dashboard) else {
            return;
        };
        let chosen = Chosen {
            time: key.time.clone(),
            values: key.values.clone(),
        };
        let mut charts: Vec<Tracked<'_>> = self
            .bundle
            .charts_of(dashboard)
            .into_iter()
            .map(Tracked::new)
            .collect();
        let tables: BTreeSet<TableName> = charts
            .iter()
            .filter_map(|tracked| tracked.table.clone())
            .collect();
        let mut alone_since: Option<Instant> = None;
        loop {
            let begun = Instant::now();
            if view.events.receiver_count() > 0 {
                alone_since = None;
                self.refresh(&mut charts, &tables, &chosen, view).await;
            } else if alone_since.get_or_insert_with(Instant::now).elapsed() > LINGER {
                let mut views = self.views.lock();
                // Someone may have come while the lock was awaited.
                if view.events.receiver_count() == 0 {
                    views.remove(key);
                    return;
                }
            }
            // Slow queries are asked less often: the page shall not slow down what it watches.
            let pause = self.config.poll_interval.max(begun.elapsed() * RESTS);
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Asks again for the charts whose tables have changed.
    async fn refresh(
        &self,
        charts: &mut [Tracked<'_>],
        tables: &BTreeSet<TableName>,
        chosen: &Chosen,
        view: &View,
    ) {
        let (snapshots, trouble) = self.watch.snapshots(tables).await;
        let due: Vec<&mut Tracked<'_>> = charts
            .iter_mut()
            .filter(|tracked| tracked.is_due(&snapshots))
            .collect();
        futures::stream::iter(due)
            .for_each_concurrent(self.config.max_chart_queries, async |tracked| {
                tracked.seen = tracked
                    .table
                    .as_ref()
                    .and_then(|table| snapshots.get(table).cloned());
                tracked.asked = Some(Instant::now());
                let (event, failed) = self.ask(tracked.chart, tracked.dataset, chosen).await;
                tracked.failed = failed;
                view.latest
                    .lock()
                    .insert(tracked.chart.uuid.clone(), event.clone());
                // No one listening is no failure.
                let _listeners = view.events.send(event);
            })
            .await;
        let status = Status { at: now(), trouble };
        let _listeners = view.events.send(event("status", &status));
    }

    async fn ask(&self, chart: &Chart, dataset: &Dataset, chosen: &Chosen) -> (Event, bool) {
        let _permit = self.queries.acquire().await;
        let begun = Instant::now();
        let outcome = self.results(chart, dataset, chosen).await;
        self.metrics.chart_queries.inc();
        self.metrics
            .chart_query_seconds
            .observe(begun.elapsed().as_secs_f64());
        let failed = outcome.is_err();
        if failed {
            self.metrics.chart_query_failures.inc();
        }
        let mut answer = ChartResult {
            chart: &chart.uuid,
            at: now(),
            took_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            result: None,
            before: None,
            young: false,
            error: None,
        };
        match outcome {
            Ok(results) => {
                answer.result = Some(results.main);
                answer.young = matches!(results.before, Before::Young);
                if let Before::Full(before) = results.before {
                    answer.before = Some(before);
                }
            }
            Err(why) => answer.error = Some(why),
        }
        (event("chart", &answer), failed)
    }

    async fn results(
        &self,
        chart: &Chart,
        dataset: &Dataset,
        chosen: &Chosen,
    ) -> Result<Results, String> {
        let statements = statements(chart, dataset, chosen, Utc::now().naive_utc())?;
        let run = async |sql: &str| {
            self.trino
                .query(sql, self.config.max_chart_rows, self.config.query_timeout)
                .await
                .map_err(|error| telemetry::chain(&error).to_string())
        };
        let main = run(&statements.main).await?;
        let before = match &statements.before {
            None => Before::NotCompared,
            Some(before) if run(&before.reached).await?.rows.is_empty() => Before::Young,
            Some(before) => Before::Full(run(&before.sql).await?),
        };
        Ok(Results { main, before })
    }
}

/// What a chart's statements gave.
struct Results {
    main: trino::Table,
    before: Before,
}

/// The span of time before, for charts that compare with it.
enum Before {
    NotCompared,
    /// The data do not reach back to its beginning.
    Young,
    Full(trino::Table),
}

/// A chart of a view and what was last asked for it.
struct Tracked<'a> {
    chart: &'a Chart,
    dataset: &'a Dataset,
    table: Option<TableName>,
    seen: Option<String>,
    asked: Option<Instant>,
    failed: bool,
}

impl<'a> Tracked<'a> {
    fn new((chart, dataset): (&'a Chart, &'a Dataset)) -> Self {
        Tracked {
            chart,
            dataset,
            table: dataset.table_name(),
            seen: None,
            asked: None,
            failed: false,
        }
    }

    fn is_due(&self, snapshots: &HashMap<TableName, String>) -> bool {
        let Some(asked) = self.asked else {
            return true;
        };
        let newest = self.table.as_ref().and_then(|table| snapshots.get(table));
        match newest {
            Some(newest) if self.seen.as_ref() != Some(newest) => true,
            Some(_) if !self.failed => false,
            // A table that is not there yet, a query without a table, or a failure: try again now and then.
            _ => {
                asked.elapsed()
                    > VIRTUAL_REFRESH.min(Duration::from_secs(if self.failed { 3 } else { 10 }))
            }
        }
    }
}

fn event(kind: &'static str, body: &impl Serialize) -> Event {
    let json = serde_json::to_string(body)
        .unwrap_or_else(|error| format!("{{\"error\":{:?}}}", error.to_string()));
    Event {
        kind,
        json: json.into(),
    }
}

fn now() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true)
}
