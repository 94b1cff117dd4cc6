//! Runs a script in this process, without any server: `streamforge job run FILE.sql`.
//!
//! Statements are executed in order and jobs run beside each other, as Flink's client does with a file. The rows of a
//! SELECT are printed. It ends when all jobs have; checkpoints are kept in memory, so a failure restarts a job but a
//! killed process starts from the beginning.

use std::io::Write;
use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::path::Path;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::config::Config;
use crate::connectors::Connectors;
use crate::connectors::collect::CollectQueue;
use crate::connectors::iceberg::catalog::IcebergConnector;
use crate::connectors::rows::write_row;
use crate::error::Error;
use crate::graph::{NodeKind, StreamGraph};
use crate::runtime::job::stats::JobStats;
use crate::runtime::job::{Command, Outcome};
use crate::runtime::pool::Pool;
use crate::runtime::supervisor::{CheckpointPlace, RestartPolicy, Supervised};
use crate::sql::{Session, SessionOptions, StatementResult, split};
use crate::table::SqlType;

/// How often a job is restarted before the script fails.
const ATTEMPTS: u32 = 3;

/// Runs `script` until all its jobs have ended; the error is the first that occurred.
pub async fn run_script(config: Config, script: &str) -> Result<(), Error> {
    config.validate()?;
    let mut runner = Runner::new(&config)?;
    let mut session = Session::new(runner.options(&config));
    for statement in split(script)? {
        match session.execute_at(&statement).await? {
            StatementResult::Ok => {}
            StatementResult::Rows { columns, rows } => print_rows(&columns, &rows)?,
            StatementResult::Job(graph) => runner.start(graph),
        }
        runner.check()?;
    }
    runner.finish().await
}

struct Runner {
    connectors: Arc<Connectors>,
    pool: Arc<Pool>,
    place: CheckpointPlace,
    config: Config,
    jobs: JoinSet<Result<Outcome, Error>>,
    commands: Vec<mpsc::Sender<Command>>,
}

impl Runner {
    fn new(config: &Config) -> Result<Self, Error> {
        Ok(Runner {
            connectors: Connectors::new(config.connectors(), tokio::runtime::Handle::current()),
            pool: Arc::new(Pool::start(config.stream_threads())?),
            place: CheckpointPlace {
                store: Arc::new(InMemory::new()),
                base: Path::default(),
                retain: config.checkpoints_retained,
            },
            config: config.clone(),
            jobs: JoinSet::new(),
            commands: Vec::new(),
        })
    }

    fn options(&self, config: &Config) -> SessionOptions {
        SessionOptions {
            option_overrides: config.option_overrides.clone(),
            defaults: config.settings(),
            catalogs: Some(Arc::new(IcebergConnector(self.connectors.clone()))),
        }
    }

    fn start(&mut self, graph: StreamGraph) {
        let job = uuid::Uuid::new_v4().simple().to_string();
        let printing = collect_types(&graph).map(|types| {
            let queue = self.connectors.collects().expect(&job);
            (queue, types)
        });
        let (sender, commands) = mpsc::channel(1);
        self.commands.push(sender);
        let supervised = Supervised {
            job,
            graph,
            ends: self.connectors.clone(),
            pool: self.pool.clone(),
            place: self.place.clone(),
            limits: self.config.limits(),
            policy: RestartPolicy {
                attempts: Some(ATTEMPTS),
                ..self.config.restarts()
            },
            stats: JobStats::new(),
        };
        self.jobs.spawn(async move {
            let run = supervised.run(commands);
            match printing {
                None => run.await,
                Some((queue, types)) => print_until(run, &queue, &types).await,
            }
        });
    }

    /// The error of a job that has failed already.
    fn check(&mut self) -> Result<(), Error> {
        while let Some(ended) = self.jobs.try_join_next() {
            ended.map_err(|error| Error::caused("a job stopped", error))??;
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<(), Error> {
        while let Some(ended) = self.jobs.join_next().await {
            ended.map_err(|error| Error::caused("a job stopped", error))??;
        }
        Ok(())
    }
}

/// The types of the rows of a SELECT, if the job is one.
pub(crate) fn collect_types(graph: &StreamGraph) -> Option<Vec<SqlType>> {
    graph.nodes.iter().find_map(|node| match &node.kind {
        NodeKind::Sink(spec)
            if spec.table.options.get("connector").map(String::as_str) == Some("collect") =>
        {
            let columns = spec.table.columns.iter();
            Some(columns.map(|column| column.data_type.clone()).collect())
        }
        _ => None,
    })
}

async fn print_until(
    run: impl Future<Output = Result<Outcome, Error>>,
    queue: &CollectQueue,
    types: &[SqlType],
) -> Result<Outcome, Error> {
    tokio::pin!(run);
    loop {
        tokio::select! {
            outcome = &mut run => {
                print_batches(queue, types)?;
                return outcome;
            }
            () = queue.arrived() => print_batches(queue, types)?,
        }
    }
}

fn print_batches(queue: &CollectQueue, types: &[SqlType]) -> Result<(), Error> {
    let mut text = Vec::new();
    for batch in queue.take() {
        for row in 0..batch.num_rows() {
            text.extend_from_slice(batch.kind(row).short().as_bytes());
            write_row(&batch.rows, row, types, &mut text)?;
            text.push(b'\n');
        }
    }
    print(&text)
}

fn print_rows(columns: &[(String, SqlType)], rows: &[Vec<Option<String>>]) -> Result<(), Error> {
    let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
    let mut text = names.join("\t") + "\n";
    for row in rows {
        let values: Vec<&str> = row
            .iter()
            .map(|value| value.as_deref().unwrap_or("NULL"))
            .collect();
        text.push_str(&values.join("\t"));
        text.push('\n');
    }
    print(text.as_bytes())
}

fn print(text: &[u8]) -> Result<(), Error> {
    let mut output = std::io::stdout().lock();
    output
        .write_all(text)
        .and_then(|()| output.flush())
        .map_err(|error| Error::caused("could not print", error))
}
