//! A server on a port of its own and the smallest client that follows the protocol.

use std::time::Duration;

use async_trait::async_trait;
use query_engine::{Config, serve};
use serde_json::Value;
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A running query engine without a lake.
pub(crate) struct Server {
    pub(crate) url: String,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), query_engine::Error>>,
}

impl Server {
    pub(crate) async fn start() -> Server {
        Server::start_with(|_| ()).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("the server answers as the protocol says");
        let url = format!(
            "http://{}",
            listener
                .local_addr()
                .expect("the server answers as the protocol says")
        );
        let mut config = Config {
            threads: 2,
            catalog_uri: "http://127.0.0.1:1/"
                .parse()
                .expect("the server answers as the protocol says"),
            ..Config::default()
        };
        change(&mut config);
        let shutdown = CancellationToken::new();
        #[expect(
            clippy::disallowed_methods,
            reason = "the server's owner is this struct, which awaits it in stop()"
        )]
        let task = tokio::spawn(serve(config, listener, shutdown.clone()));
        Server {
            url,
            shutdown,
            task,
        }
    }

    pub(crate) fn client(&self) -> Client {
        Client {
            url: self.url.clone(),
            http: reqwest::Client::new(),
            headers: Vec::new(),
        }
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(10), self.task).await;
        ended
            .expect("serve ends soon after shutdown")
            .expect("the server answers as the protocol says")
            .expect("the server answers as the protocol says");
    }
}

/// What a statement came to.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) columns: Vec<(String, String)>,
    pub(crate) rows: Vec<Vec<Value>>,
    pub(crate) error: Option<Value>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) pages: usize,
}

#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) url: String,
    pub(crate) http: reqwest::Client,
    pub(crate) headers: Vec<(&'static str, String)>,
}

impl Client {
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Client {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub(crate) async fn post(&self, sql: &str) -> reqwest::Response {
        let mut request = self
            .http
            .post(format!("{}/v1/statement", self.url))
            .header("x-trino-user", "tester")
            .header("x-trino-client-capabilities", "PARAMETRIC_DATETIME")
            .body(sql.to_owned());
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        request
            .send()
            .await
            .expect("the server answers as the protocol says")
    }

    /// Runs a statement to its end.
    pub(crate) async fn run(&self, sql: &str) -> Answer {
        let first = self.post(sql).await;
        self.follow(sql, first).await
    }

    /// Reads the pages of a statement, from the one given to the last.
    pub(crate) async fn follow(&self, sql: &str, mut response: reqwest::Response) -> Answer {
        let mut answer = Answer::default();
        loop {
            assert_eq!(response.status(), 200, "{sql}");
            for (name, value) in response.headers() {
                if name.as_str().starts_with("x-trino-") {
                    answer.headers.push((
                        name.to_string(),
                        value
                            .to_str()
                            .expect("the server answers as the protocol says")
                            .to_owned(),
                    ));
                }
            }
            let text = response
                .text()
                .await
                .expect("the server answers as the protocol says");
            let body: Value = serde_json::from_str(&text)
                .unwrap_or_else(|error| panic!("{sql}: {error}: {text}"));
            if let Some(columns) = body["columns"].as_array() {
                let text = |column: &Value, key: &str| {
                    column[key]
                        .as_str()
                        .expect("the server answers as the protocol says")
                        .to_owned()
                };
                answer.columns = columns
                    .iter()
                    .map(|column| (text(column, "name"), text(column, "type")))
                    .collect();
            }
            if let Some(rows) = body["data"].as_array() {
                answer.pages += 1;
                answer.rows.extend(rows.iter().map(|row| {
                    row.as_array()
                        .expect("the server answers as the protocol says")
                        .clone()
                }));
            }
            if body["error"].is_object() {
                answer.error = Some(body["error"].clone());
            }
            match body["nextUri"].as_str() {
                Some(next) => {
                    response = self
                        .http
                        .get(next)
                        .send()
                        .await
                        .expect("the server answers as the protocol says")
                }
                None => return answer,
            }
        }
    }

    /// The rows as text, or the error's name and message.
    pub(crate) async fn text(&self, sql: &str) -> String {
        let answer = self.run(sql).await;
        if let Some(error) = answer.error {
            return format!(
                "{}: {}",
                error["errorName"]
                    .as_str()
                    .expect("the server answers as the protocol says"),
                error["message"]
                    .as_str()
                    .expect("the server answers as the protocol says")
            );
        }
        let rows = answer
            .rows
            .iter()
            .map(|row| row.iter().map(shown).collect::<Vec<_>>().join(" | "));
        rows.collect::<Vec<_>>().join("\n")
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "(empty)".to_owned(),
        Value::String(text) => text.clone(),
        Value::Null => "NULL".to_owned(),
        other => other.to_string(),
    }
}

/// The kind of a type as sqllogictest writes it.
fn kind(ty: &str) -> DefaultColumnType {
    match ty {
        "tinyint" | "smallint" | "integer" | "bigint" => DefaultColumnType::Integer,
        "real" | "double" => DefaultColumnType::FloatingPoint,
        _ if ty.starts_with("decimal") => DefaultColumnType::FloatingPoint,
        _ => DefaultColumnType::Text,
    }
}

/// The error that sqllogictest compares with.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Refused(String);

#[async_trait]
impl AsyncDB for Client {
    type Error = Refused;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Refused> {
        let answer = Client::run(self, sql).await;
        if let Some(error) = answer.error {
            return Err(Refused(format!(
                "{}: {}",
                error["errorName"]
                    .as_str()
                    .expect("the server answers as the protocol says"),
                error["message"]
                    .as_str()
                    .expect("the server answers as the protocol says")
            )));
        }
        let types = answer.columns.iter().map(|(_, ty)| kind(ty)).collect();
        let rows = answer
            .rows
            .iter()
            .map(|row| row.iter().map(shown).collect())
            .collect();
        Ok(DBOutput::Rows { types, rows })
    }

    async fn shutdown(&mut self) {}
}
