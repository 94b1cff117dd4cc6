//! A client of the Flink SQL Gateway's REST protocol (v2), for our processor and for a real Flink alike.

use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use serde_json::{Value, json};
use url::Url;

/// Pause between two questions about a statement that still runs.
const POLL: Duration = Duration::from_millis(20);

/// An open session.
pub(crate) struct Session {
    client: reqwest::Client,
    base: Url,
    handle: String,
}

/// What a statement gave.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// The job it started, if it started one.
    pub(crate) job: Option<String>,
}

impl Session {
    /// Opens a session on the gateway at `base`.
    pub(crate) async fn open(base: &Url) -> anyhow::Result<Self> {
        let client = reqwest::Client::new();
        let url = join(base, "v2/sessions")?;
        let answer = client
            .post(url)
            .json(&json!({ "sessionName": "streamforge", "properties": {} }));
        let answer = answer
            .send()
            .await
            .with_context(|| format!("could not reach the SQL Gateway at {base}"))?;
        let answer = body(answer).await?;
        let handle = answer["sessionHandle"]
            .as_str()
            .context("the gateway gave no sessionHandle")?;
        Ok(Session {
            client,
            base: base.clone(),
            handle: handle.to_owned(),
        })
    }

    /// Runs one statement and waits for its result, or for its job to be accepted.
    pub(crate) async fn execute(&self, statement: &str) -> anyhow::Result<Outcome> {
        let url = join(
            &self.base,
            &format!("v2/sessions/{}/statements", self.handle),
        )?;
        let request = self
            .client
            .post(url)
            .json(&json!({ "statement": statement }));
        let answer = body(
            request
                .send()
                .await
                .context("could not send the statement")?,
        )
        .await?;
        let operation = answer["operationHandle"]
            .as_str()
            .context("the gateway gave no operationHandle")?;
        let mut next = format!(
            "v2/sessions/{}/operations/{operation}/result/0?rowFormat=JSON",
            self.handle
        );
        let mut outcome = Outcome::default();
        loop {
            let page = self.client.get(join(&self.base, &next)?).send().await;
            let page = body(page.context("could not fetch the result")?).await?;
            if let Some(job) = page["jobID"].as_str() {
                outcome.job = Some(job.to_owned());
            }
            match (page["resultType"].as_str(), page["nextResultUri"].as_str()) {
                (Some("NOT_READY"), Some(uri)) => {
                    next = uri.to_owned();
                    tokio::time::sleep(POLL).await;
                }
                // A query's rows come for as long as it runs; a file of statements has no reader for them.
                (Some("PAYLOAD"), Some(uri)) if page["isQueryResult"] != Value::Bool(true) => {
                    next = uri.to_owned()
                }
                (Some("PAYLOAD" | "EOS"), _) => return Ok(outcome),
                (kind, _) => bail!("the gateway answered with the result type {kind:?}"),
            }
        }
    }

    /// Ends the session; its jobs go on.
    pub(crate) async fn close(self) -> anyhow::Result<()> {
        let url = join(&self.base, &format!("v2/sessions/{}", self.handle))?;
        body(
            self.client
                .delete(url)
                .send()
                .await
                .context("could not close the session")?,
        )
        .await?;
        Ok(())
    }
}

fn join(base: &Url, path: &str) -> anyhow::Result<Url> {
    let base = base.as_str().trim_end_matches('/');
    let url = format!("{base}/{}", path.trim_start_matches('/'));
    url.parse().with_context(|| format!("`{url}` is no URL"))
}

/// The JSON of an answer, or the first line of what went wrong on the other side.
pub(crate) async fn body(answer: reqwest::Response) -> anyhow::Result<Value> {
    let status = answer.status();
    let text = answer.text().await.context("the answer broke off")?;
    if status.is_success() {
        let text = if text.trim().is_empty() { "{}" } else { &text };
        return serde_json::from_str(text)
            .with_context(|| format!("the answer is no JSON: {text}"));
    }
    let errors = serde_json::from_str::<Value>(&text).ok();
    let errors = errors.as_ref().and_then(|body| body["errors"].as_array());
    let errors: Vec<_> = errors
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    Err(match errors.last() {
        Some(error) => anyhow!("{}", error.trim()),
        None => anyhow!("{status}: {}", text.trim()),
    })
}
