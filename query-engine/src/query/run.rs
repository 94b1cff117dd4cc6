//! Runs one query: statement to output, output to pages.

use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::arrow::array::RecordBatch;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::physical_plan::{ExecutionPlan, displayable};
use datafusion::prelude::SessionConfig;
use futures::StreamExt;
use tokio::sync::{OnceCell, mpsc};

use super::manager::Manager;
use super::memory::QueryPool;
use super::steady::{interruptible, steady};
use super::{Page, Query, State};
use crate::Config;
use crate::failure::{Code, Failure, Result};
use crate::http::encode;
use crate::metrics::Metrics;
use crate::scan::{LakeCatalog, ScanBounds, ScanCaches};
use crate::session::Session;
use crate::sql::analyze::Analyzed;
use crate::statement::Output;
use crate::types::Type;

/// What all queries share.
pub(crate) struct Engine {
    pub(crate) config: Config,
    pub(crate) metrics: Metrics,
    pub(crate) caches: Arc<ScanCaches>,
    pub(crate) started: Instant,
    lake: OnceCell<LakeCatalog>,
    runtime: Arc<RuntimeEnv>,
    memory: Arc<dyn MemoryPool>,
}

fn bytes(size: bytesize::ByteSize) -> usize {
    usize::try_from(size.as_u64()).unwrap_or(usize::MAX)
}

impl Engine {
    pub(crate) fn new(config: Config, metrics: Metrics) -> datafusion::error::Result<Engine> {
        let memory: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(bytes(config.max_memory)));
        let runtime = Arc::new(
            RuntimeEnvBuilder::new()
                .with_memory_pool(Arc::clone(&memory))
                // Past its memory a query fails, as in Trino without spilling; nothing is written to disk.
                .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
                .build()?,
        );
        let bounds = ScanBounds {
            manifests: bytes(config.manifest_cache),
            footers: bytes(config.footer_cache),
            deleted_keys: bytes(config.query_max_memory),
        };
        let caches = Arc::new(ScanCaches::new(bounds));
        Ok(Engine {
            config,
            metrics,
            caches,
            started: Instant::now(),
            lake: OnceCell::new(),
            runtime,
            memory,
        })
    }

    /// The lake; connected when first needed, because services start in any order.
    pub(crate) async fn lake(&self) -> Result<&LakeCatalog> {
        let connect = || async {
            let mut wanted = lake::catalog::CatalogConfig::new(self.config.catalog_uri.clone());
            wanted.warehouse = Some(self.config.warehouse.clone());
            wanted.token.clone_from(&self.config.catalog_token);
            wanted.store = crate::catalog::store(&self.config);
            let catalog = lake::catalog::RestCatalog::connect(wanted)
                .await
                .map_err(|error| crate::catalog::failure(&error))?;
            Ok(LakeCatalog::new(catalog))
        };
        self.lake.get_or_try_init(connect).await
    }

    /// How long a query of this session may take.
    pub(crate) fn run_time(&self, session: &Session) -> Duration {
        let asked = ["query_max_run_time", "query_max_execution_time"]
            .iter()
            .filter_map(|name| {
                session
                    .properties
                    .get(*name)
                    .and_then(|text| duration(text))
            })
            .min();
        asked.map_or(self.config.query_max_run_time, |asked| {
            asked.min(self.config.query_max_run_time)
        })
    }

    /// The planner's state for one query.
    pub(crate) fn state(&self, query: &Query) -> Result<SessionState> {
        let pool = QueryPool::new(
            Arc::clone(&self.memory),
            bytes(self.config.query_max_memory),
            Arc::clone(&query.peak_memory),
        );
        let runtime = RuntimeEnvBuilder::from_runtime_env(&self.runtime)
            .with_memory_pool(Arc::new(pool))
            .build()?;
        let mut config = SessionConfig::new();
        let threads = query
            .session
            .properties
            .get("task_concurrency")
            .and_then(|text| text.parse::<usize>().ok());
        if let Some(threads) = threads.filter(|threads| (1..=64).contains(threads)) {
            config = config.with_target_partitions(threads);
        }
        let options = config.options_mut();
        options.execution.time_zone = Some("UTC".to_owned());
        options.execution.parquet.schema_force_view_types = false;
        options.sql_parser.default_null_ordering = "nulls_last".to_owned();
        options.sql_parser.enable_ident_normalization = false;
        Ok(SessionStateBuilder::new_with_default_features()
            .with_config(config)
            .with_runtime_env(Arc::new(runtime))
            .build())
    }

    pub(crate) async fn run(
        self: Arc<Self>,
        manager: &Arc<Manager>,
        query: &Arc<Query>,
        sender: mpsc::Sender<Page>,
    ) -> Result<()> {
        let begun = Instant::now();
        let output = crate::statement::execute(&self, manager, query).await?;
        query.update(|progress| progress.planning = begun.elapsed());
        match output {
            Output::Done {
                changes,
                update_type,
            } => {
                query.update(|progress| {
                    progress.changes = changes;
                    progress.update_type = Some(update_type.to_owned());
                    progress.columns =
                        Some(vec![crate::statement::column("result", Type::Boolean)]);
                });
                let page = Page {
                    rows: 1,
                    json: "[[true]]".to_owned(),
                };
                sender.send(page).await.map_err(|_| gone())
            }
            Output::Table { columns, batch } => {
                let types: Vec<Type> = columns.iter().map(|column| column.ty.clone()).collect();
                query.update(|progress| {
                    progress.columns = Some(columns);
                    progress.state = State::Running;
                });
                let mut pages = Pages::new(&self, query, types, sender);
                pages.add(&batch).await?;
                pages.flush().await
            }
            Output::Query(analyzed) => self.stream(query, analyzed, sender).await,
        }
    }

    /// The physical plan of an analyzed query.
    pub(crate) async fn plan(
        &self,
        query: &Query,
        analyzed: &Analyzed,
    ) -> Result<(SessionState, Arc<dyn ExecutionPlan>)> {
        let state = self.state(query)?;
        let plan = interruptible(state.optimize(&analyzed.plan)?, &query.cancel)?;
        let plan = state
            .query_planner()
            .create_physical_plan(&plan, &state)
            .await?;
        Ok((state, steady(plan, &query.scans)?))
    }

    async fn stream(
        &self,
        query: &Arc<Query>,
        analyzed: Analyzed,
        sender: mpsc::Sender<Page>,
    ) -> Result<()> {
        let (state, plan) = self.plan(query, &analyzed).await?;
        tracing::debug!(query_id = %query.id, plan = %displayable(plan.as_ref()).indent(false), "planned");
        let types: Vec<Type> = analyzed
            .columns
            .iter()
            .map(|column| column.ty.clone())
            .collect();
        query.update(|progress| {
            progress.columns = Some(analyzed.columns);
            progress.state = State::Running;
        });
        let mut batches = datafusion::physical_plan::execute_stream(plan, state.task_ctx())?;
        let mut pages = Pages::new(self, query, types, sender);
        while let Some(batch) = batches.next().await {
            pages.add(&batch?).await?;
        }
        query.update(|progress| progress.state = State::Finishing);
        pages.flush().await
    }
}

fn gone() -> Failure {
    Failure::new(Code::UserCanceled, "Query was canceled")
}

/// `1.00h`, `30s`, `5m`: Trino's durations.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
    let (number, unit) = text.split_at(split);
    let seconds = match unit {
        "ns" => 1e-9,
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()
}

/// Rows on their way into pages.
struct Pages<'q> {
    query: &'q Query,
    metrics: &'q Metrics,
    types: Vec<Type>,
    sender: mpsc::Sender<Page>,
    limit: usize,
    json: String,
    rows: u64,
}

impl<'q> Pages<'q> {
    fn new(
        engine: &'q Engine,
        query: &'q Query,
        types: Vec<Type>,
        sender: mpsc::Sender<Page>,
    ) -> Pages<'q> {
        let limit = bytes(engine.config.page_size);
        Pages {
            query,
            metrics: &engine.metrics,
            types,
            sender,
            limit,
            json: String::new(),
            rows: 0,
        }
    }

    async fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let parametric = self.query.session.parametric_datetime;
        for row in 0..batch.num_rows() {
            self.json.push(if self.json.is_empty() { '[' } else { ',' });
            encode::row(&mut self.json, batch, &self.types, row, parametric);
            self.rows += 1;
            if self.json.len() >= self.limit {
                self.flush().await?;
            }
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        if self.json.is_empty() {
            return Ok(());
        }
        self.json.push(']');
        let page = Page {
            rows: self.rows,
            json: std::mem::take(&mut self.json),
        };
        self.rows = 0;
        self.metrics.rows.inc_by(page.rows);
        self.metrics
            .bytes
            .inc_by(u64::try_from(page.json.len()).unwrap_or(0));
        self.sender.send(page).await.map_err(|_| gone())
    }
}
