//! A running dashboard and the stand-in behind it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use viz_dashboard::{Config, Error, serve};

/// Trino and Flink as the dashboard sees them: their protocols over DuckDB, in a process that dies with this value.
pub(crate) struct StandIn {
    process: Child,
    pub(crate) url: String,
}

impl StandIn {
    pub(crate) fn start() -> StandIn {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it");
        let mut process = Command::new(testkit::interpreter())
            .arg(format!("{directory}/stand_in.py"))
            .arg(format!("{directory}/gold.sql"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut port = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut port)
            .unwrap();
        let url = format!("http://127.0.0.1:{}", port.trim());
        StandIn { process, url }
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _ended = self.process.wait();
    }
}

/// A dashboard that serves until it is dropped or stopped.
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) stand_in: StandIn,
    pub(crate) client: reqwest::Client,
    shutdown: CancellationToken,
    running: JoinSet<Result<(), Error>>,
}

impl Server {
    pub(crate) async fn start() -> Server {
        Server::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Server {
        let stand_in = tokio::task::spawn_blocking(StandIn::start).await.unwrap();
        let other: url::Url = stand_in.url.parse().unwrap();
        let mut config = Config {
            trino_url: other.clone(),
            job_url: other.clone(),
            gateway_url: other.clone(),
            kafka_admin_url: other.clone(),
            storage_url: other.clone(),
            catalog_url: other,
            // Nothing listens there: the topics' part says so.
            kafka_bootstrap: "127.0.0.1:1".to_owned(),
            poll_interval: std::time::Duration::from_millis(100),
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
            stand_in,
            client: reqwest::Client::new(),
            shutdown,
            running,
        }
    }

    pub(crate) async fn stop(mut self) {
        self.shutdown.cancel();
        self.running.join_next().await.unwrap().unwrap().unwrap();
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        let response = self.client.get(format!("{}{path}", self.url)).send();
        response.await.unwrap().json().await.unwrap()
    }

    pub(crate) async fn text(&self, path: &str) -> (u16, String) {
        let response = self.client.get(format!("{}{path}", self.url)).send();
        let response = response.await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// Begins a statement and returns its id.
    pub(crate) async fn begin(&self, sql: &str) -> String {
        let answer = self
            .client
            .post(format!("{}/api/queries", self.url))
            .json(&serde_json::json!({"sql": sql}))
            .send();
        let body: Value = answer.await.unwrap().json().await.unwrap();
        body["id"].as_str().unwrap().to_owned()
    }
}
