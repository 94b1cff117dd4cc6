//! Topics of the event log, over the Kafka protocol: partitions and offsets.

use std::time::Duration;

use chrono::Utc;
use kafka_client::{Client, Isolation, OffsetSpec, Sasl, SaslMechanism};
use serde::Serialize;

use super::Platform;
use crate::Config;

/// Most topics that are looked into.
const MAX_TOPICS: usize = 100;

/// The time over which a topic's rate is taken.
const RATE_SPAN: Duration = Duration::from_secs(10);

/// A topic and how much it holds.
#[derive(Debug, Serialize)]
pub(crate) struct Topic {
    name: String,
    partitions: Vec<Partition>,
    /// Records between the first kept and the end.
    kept: i64,
    /// The ends of all partitions together; its growth is the rate.
    end: i64,
    /// Records per second of the last [`RATE_SPAN`], by their timestamps.
    per_second: f64,
}

#[derive(Debug, Serialize)]
struct Partition {
    partition: i32,
    leader: Option<i32>,
    first: i64,
    end: i64,
}

// === impl Platform ===

impl Platform {
    pub(crate) async fn topics(&self) -> Result<Vec<Topic>, String> {
        let failed = |error: kafka_client::Error| telemetry::chain(&error).to_string();
        let client = self.kafka.get_or_try_init(|| connect(&self.config));
        let client = client.await.map_err(failed)?;
        let mut topics = Vec::new();
        let names = client.topic_names().await.map_err(failed)?;
        for name in names.iter().take(MAX_TOPICS) {
            topics.push(topic(client, name).await.map_err(failed)?);
        }
        Ok(topics)
    }
}

async fn connect(config: &Config) -> Result<Client, kafka_client::Error> {
    let mut settings = kafka_client::Config::new(&config.kafka_bootstrap);
    "streamforge-viz-dashboard".clone_into(&mut settings.client_id);
    // The page is asked again soon; it shall not hang on a broker that is away.
    settings.connect_timeout = config.probe_timeout;
    settings.request_timeout = config.probe_timeout;
    settings.retry_timeout = config.probe_timeout;
    settings.metadata_max_age = Duration::from_secs(30);
    settings.max_response = 16 << 20;
    if !config.kafka_password.is_empty() {
        settings.sasl = Some(Sasl {
            mechanism: SaslMechanism::ScramSha256,
            username: config.kafka_user.clone(),
            password: config.kafka_password.clone(),
        });
    }
    Client::connect(settings).await
}

async fn topic(client: &Client, name: &str) -> Result<Topic, kafka_client::Error> {
    let info = client.topic(name).await?;
    let numbers: Vec<i32> = info.partitions.iter().map(|part| part.partition).collect();
    let ask = |spec| client.list_offsets(name, &numbers, spec, Isolation::ReadUncommitted);
    let then = Utc::now() - RATE_SPAN;
    let (first, end, recent) = tokio::try_join!(
        ask(OffsetSpec::Earliest),
        ask(OffsetSpec::Latest),
        ask(OffsetSpec::AtTime(then.timestamp_millis())),
    )?;
    // A partition without a record so young has no such offset.
    let young: i64 = recent
        .iter()
        .zip(&end)
        .filter_map(|(recent, end)| Some((end.offset? - recent.offset?).max(0)))
        .sum();
    let partitions: Vec<Partition> = info
        .partitions
        .iter()
        .zip(first.iter().zip(&end))
        .map(|(part, (first, end))| Partition {
            partition: part.partition,
            leader: part.leader,
            first: first.offset.unwrap_or(0),
            end: end.offset.unwrap_or(0),
        })
        .collect();
    Ok(Topic {
        name: name.to_owned(),
        kept: partitions.iter().map(|part| part.end - part.first).sum(),
        end: partitions.iter().map(|part| part.end).sum(),
        per_second: young as f64 / RATE_SPAN.as_secs_f64(),
        partitions,
    })
}
