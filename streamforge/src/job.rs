//! `streamforge job …`: streaming jobs through the protocols of Flink, here or on a real cluster.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use url::Url;

use crate::cli::{Job, Settings};
use crate::config::{self, Loaded};
use crate::gateway::{Session, body};
use crate::output;

/// Runs one `job` command.
pub(crate) async fn job(settings: &Settings, command: Job) -> anyhow::Result<ExitCode> {
    let loaded = config::load(settings)?;
    let jobs = JobRest::new(&loaded)?;
    match command {
        Job::Submit { file, gateway } => {
            let gateway = match gateway {
                Some(url) => url,
                None => loaded
                    .config
                    .endpoints
                    .gateway
                    .parse()
                    .context("endpoints.gateway is no URL")?,
            };
            let started = submit(&file, &gateway).await?;
            started.iter().for_each(|job| output::line(job));
            if started.is_empty() {
                output::line("the file started no job");
            }
        }
        Job::Run { file } => run_here(&loaded, &file).await?,
        Job::List => jobs.list().await?,
        Job::Show { id } => jobs.show(&id).await?,
        Job::Cancel { id } => jobs.cancel(&id).await?,
        Job::Savepoint { id } => jobs.savepoint(&id).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Sends every statement of `file` to `gateway` in one session and returns the jobs they started.
pub(crate) async fn submit(file: &Path, gateway: &Url) -> anyhow::Result<Vec<String>> {
    let script = read(file)?;
    submit_script(&script, &file.display().to_string(), gateway).await
}

/// As [`submit`], for text that is called `name` in errors.
pub(crate) async fn submit_script(
    script: &str,
    name: &str,
    gateway: &Url,
) -> anyhow::Result<Vec<String>> {
    let statements = stream_processor::sql::split(script)
        .with_context(|| format!("{name} is not understood"))?;
    let session = Session::open(gateway).await?;
    let mut started = Vec::new();
    for statement in &statements {
        let outcome = session.execute(&statement.text).await;
        let outcome =
            outcome.with_context(|| format!("{name}, statement at {}", statement.position))?;
        started.extend(outcome.job);
    }
    session.close().await?;
    Ok(started)
}

fn read(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("could not read {}", file.display()))
}

async fn run_here(loaded: &Loaded, file: &Path) -> anyhow::Result<()> {
    let script = read(file)?;
    let config = crate::wiring::client(loaded)?;
    stream_processor::run_script(config.stream_processor, &script)
        .await
        .with_context(|| format!("{} failed", file.display()))
}

/// A client of Flink's job REST.
struct JobRest {
    client: reqwest::Client,
    base: String,
}

impl JobRest {
    fn new(loaded: &Loaded) -> anyhow::Result<Self> {
        let base = loaded
            .config
            .endpoints
            .jobs
            .trim_end_matches('/')
            .to_owned();
        Ok(JobRest {
            client: reqwest::Client::new(),
            base,
        })
    }

    async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let answer = self.client.get(format!("{}{path}", self.base)).send().await;
        body(answer.with_context(|| format!("could not reach the job REST at {}", self.base))?)
            .await
    }

    async fn overview(&self) -> anyhow::Result<Vec<Value>> {
        let answer = self.get("/jobs/overview").await?;
        answer["jobs"]
            .as_array()
            .cloned()
            .context("the answer lists no jobs")
    }

    /// The one job whose id begins with `prefix`.
    async fn find(&self, prefix: &str) -> anyhow::Result<String> {
        let jobs = self.overview().await?;
        let ids: Vec<_> = jobs.iter().filter_map(|job| job["jid"].as_str()).collect();
        let found: Vec<_> = ids.iter().filter(|id| id.starts_with(prefix)).collect();
        match found.as_slice() {
            [id] => Ok((**id).to_owned()),
            [] => bail!("there is no job `{prefix}`; `streamforge job list` shows all"),
            several => bail!(
                "{} jobs begin with `{prefix}`; give more of the id",
                several.len()
            ),
        }
    }

    async fn list(&self) -> anyhow::Result<()> {
        let rows: Vec<_> = self
            .overview()
            .await?
            .iter()
            .map(|job| {
                vec![
                    text(&job["jid"]),
                    text(&job["name"]),
                    text(&job["state"]),
                    seconds(&job["duration"]),
                ]
            })
            .collect();
        output::table(&["id", "name", "state", "for"], &rows);
        Ok(())
    }

    async fn show(&self, prefix: &str) -> anyhow::Result<()> {
        let id = self.find(prefix).await?;
        let job = self.get(&format!("/jobs/{id}")).await?;
        let checkpoints = self.get(&format!("/jobs/{id}/checkpoints")).await?;
        output::line(&format!(
            "{id}  {}  {}",
            text(&job["name"]),
            text(&job["state"])
        ));
        let vertices = job["vertices"].as_array().cloned().unwrap_or_default();
        let rows: Vec<_> = vertices
            .iter()
            .map(|vertex| {
                let figures = &vertex["metrics"];
                vec![
                    text(&vertex["name"]),
                    text(&vertex["parallelism"]),
                    text(&vertex["status"]),
                    text(&figures["read-records"]),
                    text(&figures["write-records"]),
                ]
            })
            .collect();
        output::table(
            &["operator", "parallelism", "status", "rows in", "rows out"],
            &rows,
        );
        let (counts, latest) = (&checkpoints["counts"], &checkpoints["latest"]["completed"]);
        output::line(&format!(
            "checkpoints: {} completed, {} failed; the last took {} ms and has {} bytes",
            text(&counts["completed"]),
            text(&counts["failed"]),
            text(&latest["end_to_end_duration"]),
            text(&latest["state_size"]),
        ));
        let exceptions = self.get(&format!("/jobs/{id}/exceptions")).await?;
        if let Some(root) = exceptions["root-exception"].as_str() {
            output::line(&format!("last failure: {root}"));
        }
        Ok(())
    }

    async fn cancel(&self, prefix: &str) -> anyhow::Result<()> {
        let id = self.find(prefix).await?;
        let request = self
            .client
            .patch(format!("{}/jobs/{id}?mode=cancel", self.base));
        body(request.send().await.context("could not send the request")?).await?;
        output::line(&format!("{id} is being cancelled"));
        Ok(())
    }

    async fn savepoint(&self, prefix: &str) -> anyhow::Result<()> {
        let id = self.find(prefix).await?;
        let request = self
            .client
            .post(format!("{}/jobs/{id}/savepoints", self.base));
        let request = request.json(&json!({ "cancel-job": false }));
        let answer = body(request.send().await.context("could not send the request")?).await?;
        let trigger = answer["request-id"]
            .as_str()
            .context("the answer has no request-id")?
            .to_owned();
        loop {
            let state = self
                .get(&format!("/jobs/{id}/savepoints/{trigger}"))
                .await?;
            if state["status"]["id"] == "COMPLETED" {
                return match state["operation"]["location"].as_str() {
                    Some(location) => {
                        output::line(location);
                        Ok(())
                    }
                    None => bail!(
                        "the savepoint failed: {}",
                        state["operation"]["failure-cause"]
                    ),
                };
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

fn seconds(milliseconds: &Value) -> String {
    milliseconds
        .as_i64()
        .map_or("-".to_owned(), |milliseconds| {
            format!("{} s", milliseconds / 1000)
        })
}
