//! The clickstream demo: its side inputs, its topic, its job and its events, each made only if it is missing.
//!
//! Everything goes over the same protocols that a user would use by hand: topics through Kafka's admin API, the job as
//! `sql/clickstream.sql` through the SQL Gateway, events as a Kafka producer.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tracing::info;

use crate::run::{Platform, Stage};
use crate::{gateway, job};

/// The job that `up` submits; the same file runs on a real Flink.
const SQL: &str = include_str!("../../sql/clickstream.sql");
/// `pipeline.name` in that file.
const JOB: &str = "clickstream";
/// How far in the past the first events lie, so that windows close and charts have a past at once.
const BACKFILL: Duration = Duration::from_secs(15 * 60);

/// What the demo of `up` does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Send events; set to false to send them by `streamforge emit`.
    pub(crate) events: bool,
    /// Goes before the checkpoint interval of `sql/clickstream.sql` where it is set.
    #[serde(with = "humantime_serde")]
    pub(crate) checkpoint_interval: Option<Duration>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            events: true,
            checkpoint_interval: None,
        }
    }
}

/// Makes what is missing, submits the job unless it runs already, and starts the emitter.
pub(crate) async fn start(platform: &mut Platform, rate: u32) -> anyhow::Result<()> {
    let inputs = side_inputs(&platform.config.platform.data_dir)?;
    let mut emitter = data_emitter::Config {
        bootstrap: platform.config.endpoints.kafka.clone(),
        rate,
        late: 0.001,
        duplicate: 0.005,
        ..data_emitter::Config::default()
    };
    let records = prepare_topic(&emitter).await?;
    submit(platform, &inputs).await?;
    if !platform.config.demo.events {
        return Ok(());
    }
    // A second `up` continues with new events; the same ones again would only be found to be duplicates.
    emitter.stream = records;
    if records == 0 {
        emitter.backfill = BACKFILL;
    }
    platform.spawn(Stage::Clients, |shutdown| async move {
        data_emitter::run(emitter, shutdown)
            .await
            .context("the demo's emitter failed")?;
        Ok(())
    });
    Ok(())
}

/// Makes the topic if it is missing and returns how many records it has had.
async fn prepare_topic(emitter: &data_emitter::Config) -> anyhow::Result<u64> {
    let config = kafka_client::Config::new(&emitter.bootstrap);
    let client = kafka_client::Client::connect(config)
        .await
        .context("could not reach Kafka")?;
    let topic = kafka_client::NewTopic::new(&emitter.topic, emitter.partitions);
    client
        .ensure_topic(&topic)
        .await
        .with_context(|| format!("could not make the topic `{}`", emitter.topic))?;
    let info = client
        .await_topic(&emitter.topic)
        .await
        .context("the topic has no leader")?;
    let ids: Vec<_> = info
        .partitions
        .iter()
        .map(|partition| partition.partition)
        .collect();
    let (latest, all) = (
        kafka_client::OffsetSpec::Latest,
        kafka_client::Isolation::ReadUncommitted,
    );
    let ends = client
        .list_offsets(&emitter.topic, &ids, latest, all)
        .await
        .context("could not read the topic's offsets")?;
    Ok(ends
        .iter()
        .filter_map(|end| u64::try_from(end.offset?).ok())
        .sum())
}

/// Writes `accounts` and `pages` below the data directory and returns where.
fn side_inputs(data_dir: &Path) -> anyhow::Result<PathBuf> {
    let root = data_dir.join("demo");
    let inputs = data_emitter::side_inputs(data_emitter::Config::default().seed);
    for (name, lines) in [("accounts", inputs.accounts), ("pages", inputs.pages)] {
        let directory = root.join(name);
        fs::create_dir_all(&directory)
            .with_context(|| format!("could not make {}", directory.display()))?;
        let file = directory.join("part-0.json");
        fs::write(&file, lines).with_context(|| format!("could not write {}", file.display()))?;
    }
    fs::canonicalize(&root).with_context(|| format!("could not find {}", root.display()))
}

async fn submit(platform: &Platform, inputs: &Path) -> anyhow::Result<()> {
    let endpoints = &platform.config.endpoints;
    let url = format!("{}/jobs/overview", endpoints.jobs.trim_end_matches('/'));
    let overview = reqwest::get(&url)
        .await
        .with_context(|| format!("could not reach the job REST at {url}"))?;
    let overview = gateway::body(overview).await?;
    let jobs = overview["jobs"].as_array().cloned().unwrap_or_default();
    if jobs
        .iter()
        .any(|job| job["name"] == JOB && lives(&job["state"]))
    {
        info!(job = JOB, "runs already");
        return Ok(());
    }
    let gateway = endpoints
        .gateway
        .parse()
        .context("endpoints.gateway is no URL")?;
    let mut script = SQL.replace(INPUTS, &format!("file://{}", inputs.display()));
    if let Some(interval) = platform.config.demo.checkpoint_interval {
        script = with_checkpoint_interval(&script, interval)?;
    }
    let started = job::submit_script(&script, "sql/clickstream.sql", &gateway).await?;
    info!(job = JOB, id = started.join(","), "submitted");
    Ok(())
}

/// `script` with another value in its `SET 'execution.checkpointing.interval'`.
fn with_checkpoint_interval(script: &str, interval: Duration) -> anyhow::Result<String> {
    let line = script
        .lines()
        .find(|line| {
            line.trim_start()
                .starts_with("SET 'execution.checkpointing.interval'")
        })
        .context("sql/clickstream.sql sets no checkpoint interval")?;
    let set = format!(
        "SET 'execution.checkpointing.interval' = '{} ms';",
        interval.as_millis()
    );
    Ok(script.replace(line, &set))
}

/// Where `sql/clickstream.sql` looks for its side inputs.
const INPUTS: &str = "file:///tmp/streamforge/demo";

fn lives(state: &Value) -> bool {
    !matches!(
        state.as_str(),
        Some("FINISHED" | "CANCELED" | "FAILED") | None
    )
}
