//! A client of Trino's statement protocol, for our query engine and for a real Trino alike.

use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde::Deserialize;
use serde_json::Value;

/// A connection with the session state that the protocol keeps on the client's side.
pub(crate) struct Client {
    http: reqwest::Client,
    server: String,
    catalog: Option<String>,
    schema: Option<String>,
    session: Vec<(String, String)>,
    timeout: Duration,
}

/// A whole result.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) columns: Vec<String>,
    pub(crate) data: Vec<Vec<Value>>,
    /// `CREATE TABLE`, `USE` and the like.
    pub(crate) update_type: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    next_uri: Option<String>,
    columns: Option<Vec<Column>>,
    data: Option<Vec<Vec<Value>>>,
    error: Option<Failure>,
    update_type: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Column {
    name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Failure {
    message: String,
    error_name: Option<String>,
}

impl Client {
    pub(crate) fn new(server: &str, timeout: Duration) -> Self {
        let server = server.trim_end_matches('/').to_owned();
        Client {
            http: reqwest::Client::new(),
            server,
            catalog: None,
            schema: None,
            session: Vec::new(),
            timeout,
        }
    }

    /// The catalog and schema of names that have none.
    pub(crate) fn with_names(mut self, catalog: &str, schema: Option<&str>) -> Self {
        self.catalog = Some(catalog.to_owned());
        self.schema = schema.map(str::to_owned);
        self
    }

    /// Runs one statement to its end.
    pub(crate) async fn query(&mut self, sql: &str) -> anyhow::Result<Rows> {
        let mut request = self
            .http
            .post(format!("{}/v1/statement", self.server))
            .body(sql.to_owned());
        request = request
            .header("X-Trino-User", user())
            .header("X-Trino-Source", "streamforge");
        if let Some(catalog) = &self.catalog {
            request = request.header("X-Trino-Catalog", catalog);
        }
        if let Some(schema) = &self.schema {
            request = request.header("X-Trino-Schema", schema);
        }
        for (name, value) in &self.session {
            request = request.header("X-Trino-Session", format!("{name}={value}"));
        }
        request = request.header("X-Trino-Client-Capabilities", "PARAMETRIC_DATETIME");
        let begun = tokio::time::Instant::now();
        let answer = request
            .send()
            .await
            .with_context(|| format!("could not reach Trino at {}", self.server))?;
        let mut page = self.page(answer).await?;
        let mut rows = Rows::default();
        loop {
            if let Some(error) = page.error {
                bail!(
                    "{} ({})",
                    error.message,
                    error.error_name.unwrap_or_default()
                );
            }
            if let Some(columns) = page.columns {
                rows.columns = columns.into_iter().map(|column| column.name).collect();
            }
            rows.data.extend(page.data.unwrap_or_default());
            rows.update_type = page.update_type.or(rows.update_type);
            let Some(next) = page.next_uri else {
                return Ok(rows);
            };
            if begun.elapsed() > self.timeout {
                self.http
                    .delete(&next)
                    .send()
                    .await
                    .context("could not cancel the statement")?;
                bail!("gave up after {:?}", self.timeout);
            }
            page = self.next(&next).await?;
        }
    }

    async fn next(&mut self, uri: &str) -> anyhow::Result<Page> {
        loop {
            let answer = self
                .http
                .get(uri)
                .send()
                .await
                .context("the connection to Trino broke")?;
            match answer.status() {
                StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                _ => return self.page(answer).await,
            }
        }
    }

    async fn page(&mut self, answer: reqwest::Response) -> anyhow::Result<Page> {
        let status = answer.status();
        self.remember(answer.headers());
        let text = answer.text().await.context("the answer broke off")?;
        if !status.is_success() {
            bail!("Trino answered {status}: {}", text.trim());
        }
        serde_json::from_str(&text)
            .with_context(|| format!("the answer is not of Trino's protocol: {text}"))
    }

    /// `USE` and `SET SESSION` are answered with headers that the client sends back from then on.
    fn remember(&mut self, headers: &HeaderMap) {
        let value = |name: &str| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned)
        };
        self.catalog = value("x-trino-set-catalog").or(self.catalog.take());
        self.schema = value("x-trino-set-schema").or(self.schema.take());
        if let Some((name, setting)) = value("x-trino-set-session")
            .as_deref()
            .and_then(|set| set.split_once('='))
        {
            self.session.retain(|(known, _)| known != name);
            self.session.push((name.to_owned(), setting.to_owned()));
        }
        if let Some(name) = value("x-trino-clear-session") {
            self.session.retain(|(known, _)| *known != name);
        }
    }
}

fn user() -> String {
    std::env::var("USER")
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "streamforge".to_owned())
}
