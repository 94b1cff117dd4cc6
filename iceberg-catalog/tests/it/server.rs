//! A running catalog and a small HTTP client for it.

use std::path::{Path, PathBuf};

use iceberg_catalog::{Config, Error, serve};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// A catalog that serves until it is dropped or stopped.
pub(crate) struct Server {
    pub(crate) url: String,
    directory: TempDir,
    client: reqwest::Client,
    shutdown: CancellationToken,
    running: JoinSet<Result<(), Error>>,
}

/// A status code and the JSON body, `null` when there is none.
pub(crate) type Answer = (u16, Value);

// === impl Server ===

impl Server {
    pub(crate) async fn start() -> Server {
        Server::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Server {
        Server::start_in(testkit::temp_dir(), change).await
    }

    pub(crate) async fn start_in(directory: TempDir, change: impl FnOnce(&mut Config)) -> Server {
        let mut config = Config {
            data_dir: directory.path().join("data"),
            warehouse: format!("file://{}", directory.path().join("warehouse").display()),
            ..Config::default()
        };
        change(&mut config);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let mut running = JoinSet::new();
        running.spawn(serve(config, listener, shutdown.clone()));
        Server {
            url,
            directory,
            client: reqwest::Client::new(),
            shutdown,
            running,
        }
    }

    /// Stops it and gives its directory back for another start.
    pub(crate) async fn stop(mut self) -> TempDir {
        self.shutdown.cancel();
        self.running.join_next().await.unwrap().unwrap().unwrap();
        self.directory
    }

    /// Ends it as SIGKILL would: nothing more is awaited.
    pub(crate) async fn kill(mut self) -> TempDir {
        self.running.shutdown().await;
        self.directory
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        answer(self.request(Method::GET, path)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        answer(self.request(Method::DELETE, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        answer(self.request(Method::POST, path).json(&body)).await
    }

    /// Makes namespace `demo`.
    pub(crate) async fn with_namespace(self) -> Server {
        let made = self
            .post("/v1/namespaces", json!({"namespace": ["demo"]}))
            .await;
        assert_eq!(made.0, 200, "{made:?}");
        self
    }

    /// Makes a table in `demo` and returns the answer's body.
    pub(crate) async fn table(&self, name: &str) -> Value {
        let (status, body) = self
            .post("/v1/namespaces/demo/tables", new_table(name))
            .await;
        assert_eq!(status, 200, "{body}");
        body
    }

    pub(crate) fn warehouse(&self) -> PathBuf {
        self.directory.path().join("warehouse")
    }
}

pub(crate) async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    let body = if text.is_empty() {
        Value::Null
    } else {
        serde_json::from_str(&text).unwrap_or(Value::String(text))
    };
    (status, body)
}

/// The error of an answer: status, type and message.
pub(crate) fn error((status, body): &Answer) -> (u16, String, String) {
    let error = &body["error"];
    assert_eq!(error["code"], json!(status), "{body}");
    (
        *status,
        error["type"].as_str().unwrap().to_owned(),
        error["message"].as_str().unwrap().to_owned(),
    )
}

/// The file behind a `file://` location.
pub(crate) fn file(location: &str) -> &Path {
    Path::new(location.strip_prefix("file://").unwrap())
}

pub(crate) fn schema() -> Value {
    json!({
        "type": "struct",
        "schema-id": 0,
        "fields": [
            {"id": 1, "name": "id", "type": "long", "required": true},
            {"id": 2, "name": "at", "type": "timestamptz", "required": false},
        ]
    })
}

pub(crate) fn new_table(name: &str) -> Value {
    json!({"name": name, "schema": schema(), "properties": {"owner": "test"}})
}

/// A commit that adds a snapshot to `main` on top of `parent`.
pub(crate) fn append(table: &Value, snapshot: i64, sequence: i64, parent: Option<i64>) -> Value {
    let metadata = &table["metadata"];
    let now = metadata["last-updated-ms"].as_i64().unwrap() + sequence;
    let mut added = json!({
        "snapshot-id": snapshot,
        "sequence-number": sequence,
        "timestamp-ms": now,
        "manifest-list": format!("{}/metadata/snap-{snapshot}.avro", metadata["location"].as_str().unwrap()),
        "summary": {"operation": "append"},
        "schema-id": 0,
    });
    if let Some(parent) = parent {
        added["parent-snapshot-id"] = json!(parent);
    }
    json!({
        "requirements": [
            {"type": "assert-table-uuid", "uuid": metadata["table-uuid"]},
            {"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": parent},
        ],
        "updates": [
            {"action": "add-snapshot", "snapshot": added},
            {"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": snapshot},
        ]
    })
}
