//! `streamforge emit`: the load generator, against any Kafka.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::cli::{Emit, Settings};
use crate::{config, output};

/// Sends until the count is reached or Ctrl-C, then prints what was sent.
pub(crate) async fn emit(settings: &Settings, options: Emit) -> anyhow::Result<ExitCode> {
    let properties = properties(&options)?;
    let shape = shape(&options)?;
    let bootstrap = match options.bootstrap_servers {
        Some(servers) => servers,
        None => config::load(settings)?.config.endpoints.kafka,
    };
    let emitter = data_emitter::Config {
        bootstrap,
        properties,
        topic: options.topic,
        rate: options.rate,
        shape,
        count: options.count,
        seed: options.seed,
        stream: options.stream,
        profile: word(&options.profile).context("--profile")?,
        late: options.late,
        out_of_order: options.out_of_order,
        duplicate: options.duplicate,
        malformed: options.malformed,
        compression: word(&options.compression).context("--compression")?,
        start_time: options.start_time,
        backfill: options.backfill,
        ..data_emitter::Config::default()
    };
    let shutdown = CancellationToken::new();
    let emitting = data_emitter::run_reporting(emitter, shutdown.clone(), |progress| {
        output::note(&progress.to_string())
    });
    tokio::pin!(emitting);
    let summary = tokio::select! {
        summary = &mut emitting => summary,
        _ = tokio::signal::ctrl_c() => {
            shutdown.cancel();
            emitting.await
        }
    };
    let summary = summary.context("could not send the events")?;
    output::line(&summary.to_string());
    Ok(if summary.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// How the rate changes over time.
fn shape(options: &Emit) -> anyhow::Result<data_emitter::Shape> {
    let (option, text, form, names): (_, _, _, &[&str]) = match (&options.burst, &options.ramp) {
        (Some(text), _) => (
            "burst",
            text,
            "FACTOR:LENGTH:EVERY, for example 10:5s:1m",
            &["factor", "length", "every"],
        ),
        (None, Some(text)) => (
            "ramp",
            text,
            "FROM:OVER, for example 100:5m",
            &["from", "over"],
        ),
        (None, None) => return Ok(data_emitter::Shape::Fixed),
    };
    let parts: Vec<_> = text.split(':').collect();
    let refused = || format!("--{option} `{text}` needs the form {form}");
    if parts.len() != names.len() {
        bail!(refused());
    }
    let part = |(name, part): (&&str, &str)| {
        let number = part.parse().map(toml::Value::Integer);
        let value = number.unwrap_or_else(|_| toml::Value::String(part.to_owned()));
        ((*name).to_owned(), value)
    };
    let inner: toml::Table = names.iter().zip(parts).map(part).collect();
    let table = toml::Table::from_iter([(option.to_owned(), toml::Value::Table(inner))]);
    data_emitter::Shape::deserialize(toml::Value::Table(table)).with_context(refused)
}

/// What the file says, and then the command line.
fn properties(options: &Emit) -> anyhow::Result<BTreeMap<String, String>> {
    let mut properties = BTreeMap::new();
    if let Some(path) = &options.client_config {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("could not read {}", path.display()))?;
        properties = kafka_client::parse_properties(&text)
            .with_context(|| format!("{} is no file of properties", path.display()))?;
    }
    for property in &options.client_properties {
        let (name, value) = property
            .split_once('=')
            .with_context(|| format!("--client-property `{property}` needs the form NAME=VALUE"))?;
        properties.insert(name.to_owned(), value.to_owned());
    }
    Ok(properties)
}

/// A word of the emitter's configuration.
fn word<T: serde::de::DeserializeOwned>(text: &str) -> anyhow::Result<T> {
    Ok(T::deserialize(toml::Value::String(text.to_owned()))?)
}
