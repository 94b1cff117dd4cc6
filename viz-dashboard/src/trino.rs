//! A client of Trino's REST protocol: a statement is posted, its pages are followed, or it is cancelled.

use std::time::Duration;

use reqwest::{Client, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

/// How often an answer of 503 is asked again, with a pause in between.
const MAX_BUSY: usize = 20;
const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// Longest answer that is read; the protocol's pages are a megabyte or so.
const MAX_ANSWER: usize = 64 << 20;

/// Where statements go and as whom; clones share the connections.
#[derive(Debug, Clone)]
pub(crate) struct Trino {
    client: Client,
    url: Url,
    user: String,
    catalog: String,
}

/// A column of a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Column {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
}

/// A complete result.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Table {
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: Vec<Vec<Value>>,
    /// Whether there was more than was wanted.
    pub(crate) truncated: bool,
}

/// How far a statement is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(
    default,
    rename_all(deserialize = "camelCase", serialize = "snake_case")
)]
pub(crate) struct Stats {
    pub(crate) state: String,
    pub(crate) progress_percentage: Option<f64>,
    pub(crate) elapsed_time_millis: u64,
    pub(crate) processed_rows: u64,
    pub(crate) processed_bytes: u64,
    pub(crate) total_splits: u64,
    pub(crate) completed_splits: u64,
}

/// Why a statement has no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the query engine does not answer")]
    Unreachable(#[source] reqwest::Error),
    #[error("the query engine answered {status}: {body}")]
    Refused { status: StatusCode, body: String },
    #[error("{0}")]
    Failed(QueryError),
    #[error("the query engine answered what is no page of Trino's protocol")]
    NoPage(#[source] serde_json::Error),
    #[error("the query engine answered with more than {MAX_ANSWER} bytes at once")]
    TooLong,
    #[error("the query took longer than {} s", .0.as_secs())]
    TimedOut(Duration),
}

/// What the engine says of a failed statement.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all(deserialize = "camelCase", serialize = "snake_case"))]
pub(crate) struct QueryError {
    pub(crate) message: String,
    #[serde(default)]
    pub(crate) error_name: String,
    #[serde(default)]
    pub(crate) error_location: Option<Location>,
}

/// Where in the statement the mistake is; both count from one.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all(deserialize = "camelCase", serialize = "snake_case"))]
pub(crate) struct Location {
    pub(crate) line_number: u64,
    pub(crate) column_number: u64,
}

/// A statement under way.
#[derive(Debug)]
pub(crate) struct Statement {
    trino: Trino,
    pub(crate) id: String,
    next: Option<Url>,
    pub(crate) columns: Vec<Column>,
    pub(crate) stats: Stats,
    /// Rows that came with the last answer.
    pub(crate) rows: Vec<Vec<Value>>,
    /// How long that answer was.
    pub(crate) n_bytes: usize,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    id: String,
    next_uri: Option<Url>,
    columns: Option<Vec<Column>>,
    data: Option<Vec<Vec<Value>>>,
    #[serde(default)]
    stats: Stats,
    error: Option<QueryError>,
    #[serde(skip)]
    n_bytes: usize,
}

impl std::fmt::Display for QueryError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

// === impl Trino ===

impl Trino {
    pub(crate) fn new(client: Client, url: Url, user: String, catalog: String) -> Self {
        Trino {
            client,
            url,
            user,
            catalog,
        }
    }

    /// Begins a statement.
    pub(crate) async fn begin(&self, sql: &str) -> Result<Statement, Error> {
        let url = format!("{}/v1/statement", self.url.as_str().trim_end_matches('/'));
        let request = self.client.post(url).body(sql.to_owned());
        let answer = self.send(request).await?;
        let mut statement = Statement {
            trino: self.clone(),
            id: String::new(),
            next: None,
            columns: Vec::new(),
            stats: Stats::default(),
            rows: Vec::new(),
            n_bytes: 0,
        };
        statement.take(answer)?;
        Ok(statement)
    }

    /// Runs a statement to its end and returns at most `max_rows` of its rows.
    pub(crate) async fn query(
        &self,
        sql: &str,
        max_rows: usize,
        limit: Duration,
    ) -> Result<Table, Error> {
        let mut statement = self.begin(sql).await?;
        let mut table = Table::default();
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            table.rows.append(&mut statement.rows);
            if table.rows.len() > max_rows {
                table.rows.truncate(max_rows);
                table.truncated = true;
                statement.cancel().await;
                break;
            }
            match tokio::time::timeout_at(deadline, statement.advance()).await {
                Ok(more) => {
                    if !more? {
                        break;
                    }
                }
                Err(_) => {
                    statement.cancel().await;
                    return Err(Error::TimedOut(limit));
                }
            }
        }
        table.columns = statement.columns;
        Ok(table)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Answer, Error> {
        let request = request
            .header("X-Trino-User", &self.user)
            .header("X-Trino-Source", "viz-dashboard")
            .header("X-Trino-Catalog", &self.catalog)
            .header("X-Trino-Time-Zone", "UTC")
            .header("X-Trino-Client-Capabilities", "PARAMETRIC_DATETIME");
        for _ in 0..MAX_BUSY {
            let Some(attempt) = request.try_clone() else {
                break;
            };
            let response = attempt.send().await.map_err(Error::Unreachable)?;
            match response.status() {
                StatusCode::OK => return page(response).await,
                // The protocol's "ask again": nothing was begun.
                StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT => tokio::time::sleep(BUSY_PAUSE).await,
                status => {
                    let body = response.text().await.unwrap_or_default();
                    return Err(Error::Refused {
                        status,
                        body: body.chars().take(300).collect(),
                    });
                }
            }
        }
        Err(Error::Refused {
            status: StatusCode::SERVICE_UNAVAILABLE,
            body: "busy".to_owned(),
        })
    }
}

/// Reads an answer, as long as it may be.
async fn page(mut response: reqwest::Response) -> Result<Answer, Error> {
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await.map_err(Error::Unreachable)? {
        if body.len() + part.len() > MAX_ANSWER {
            return Err(Error::TooLong);
        }
        body.extend_from_slice(&part);
    }
    let mut answer: Answer = serde_json::from_slice(&body).map_err(Error::NoPage)?;
    answer.n_bytes = body.len();
    Ok(answer)
}

// === impl Statement ===

impl Statement {
    /// Fetches the next answer; `false` when the last one was the end.
    pub(crate) async fn advance(&mut self) -> Result<bool, Error> {
        let Some(next) = self.next.clone() else {
            return Ok(false);
        };
        let request = self.trino.client.get(next);
        let answer = self.trino.send(request).await?;
        self.take(answer)?;
        Ok(true)
    }

    /// Tells the engine that no one wants the rest.
    pub(crate) async fn cancel(&mut self) {
        let Some(next) = self.next.take() else {
            return;
        };
        let request = self
            .trino
            .client
            .delete(next)
            .header("X-Trino-User", &self.trino.user);
        if let Err(error) = request.send().await {
            tracing::warn!(query_id = self.id, error = %telemetry::chain(&error), "query could not be cancelled");
        }
    }

    fn take(&mut self, answer: Answer) -> Result<(), Error> {
        self.id = answer.id;
        self.next = answer.next_uri;
        self.stats = answer.stats;
        self.n_bytes = answer.n_bytes;
        if let Some(columns) = answer.columns {
            self.columns = columns;
        }
        self.rows = answer.data.unwrap_or_default();
        match answer.error {
            Some(error) => Err(Error::Failed(error)),
            None => Ok(()),
        }
    }
}
