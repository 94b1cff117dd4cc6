//! What the platform page shows: services, jobs, tables and topics, each from the protocol of its service.

mod jobs;
mod tables;
mod topics;

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Client;
use serde::Serialize;
use tokio::sync::OnceCell;
use url::Url;

use crate::Config;
use crate::trino::Trino;

/// Asks the services how they are; clones share the connections.
#[derive(Clone)]
pub(crate) struct Platform {
    client: Client,
    config: Config,
    trino: Trino,
    /// Connected at the first need.
    kafka: Arc<OnceCell<kafka_client::Client>>,
}

/// A service and how it is.
#[derive(Debug, Serialize)]
pub(crate) struct Service {
    name: &'static str,
    role: &'static str,
    url: String,
    /// `ready`, `not ready` or `down`.
    state: &'static str,
    detail: String,
    answered_ms: u64,
}

// === impl Platform ===

impl Platform {
    pub(crate) fn new(client: Client, config: Config, trino: Trino) -> Self {
        Platform {
            client,
            config,
            trino,
            kafka: Arc::default(),
        }
    }

    /// All services at once; one that is down costs the probe's time limit.
    pub(crate) async fn services(&self) -> Vec<Service> {
        let config = &self.config;
        let all = [
            (
                "streaming-server",
                "event log, Kafka protocol",
                &config.kafka_admin_url,
                "/readyz",
            ),
            (
                "stream-processor",
                "stream SQL, Flink protocols",
                &config.job_url,
                "/readyz",
            ),
            (
                "sql-gateway",
                "where jobs are sent, Flink SQL Gateway",
                &config.gateway_url,
                "/v1/info",
            ),
            (
                "storage-service",
                "objects, S3",
                &config.storage_url,
                "/readyz",
            ),
            (
                "iceberg-catalog",
                "tables, Iceberg REST",
                &config.catalog_url,
                "/readyz",
            ),
            (
                "query-engine",
                "SQL, Trino protocol",
                &config.trino_url,
                "/readyz",
            ),
        ];
        futures::future::join_all(
            all.map(|(name, role, url, path)| self.probe(name, role, url, path)),
        )
        .await
    }

    async fn probe(
        &self,
        name: &'static str,
        role: &'static str,
        url: &Url,
        path: &str,
    ) -> Service {
        let begun = Instant::now();
        let answer = self.get(url, path).send().await;
        let (state, detail) = match answer {
            Ok(response) if response.status().is_success() => ("ready", product(response).await),
            // A product that we stand in for has no such path, but it answers.
            Ok(response) if [401, 403, 404].contains(&response.status().as_u16()) => {
                ("ready", "answers, but has no /readyz".to_owned())
            }
            Ok(response) => {
                let status = response.status();
                let text = response.text().await.unwrap_or_default();
                let detail = if text.is_empty() {
                    status.to_string()
                } else {
                    text
                };
                ("not ready", detail.chars().take(200).collect())
            }
            Err(error) => ("down", telemetry::chain(&error).to_string()),
        };
        Service {
            name,
            role,
            url: url.to_string(),
            state,
            detail,
            answered_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }

    fn get(&self, base: &Url, path: &str) -> reqwest::RequestBuilder {
        let url = format!("{}{path}", base.as_str().trim_end_matches('/'));
        self.client.get(url).timeout(self.limit())
    }

    fn limit(&self) -> Duration {
        self.config.probe_timeout
    }
}

/// What a gateway calls itself; `/readyz` has no such words.
async fn product(response: reqwest::Response) -> String {
    let info: serde_json::Value = response.json().await.unwrap_or_default();
    let said = |key: &str| info[key].as_str();
    [said("productName"), said("version")]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(" ")
}
