//! `streamforge emit`: the load generator, against any Kafka.

use std::process::ExitCode;

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use crate::cli::{Emit, Settings};
use crate::{config, output};

/// Sends until the count is reached or Ctrl-C, then prints what was sent.
pub(crate) async fn emit(settings: &Settings, options: Emit) -> anyhow::Result<ExitCode> {
    let bootstrap = match options.bootstrap_servers {
        Some(servers) => servers,
        None => config::load(settings)?.config.endpoints.kafka,
    };
    let emitter = data_emitter::Config {
        bootstrap,
        topic: options.topic,
        rate: options.rate,
        count: options.count,
        seed: options.seed,
        stream: options.stream,
        profile: word(&options.profile).context("--profile")?,
        late: options.late,
        out_of_order: options.out_of_order,
        duplicate: options.duplicate,
        malformed: options.malformed,
        compression: word(&options.compression).context("--compression")?,
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

/// A word of the emitter's configuration.
fn word<T: serde::de::DeserializeOwned>(text: &str) -> anyhow::Result<T> {
    Ok(T::deserialize(toml::Value::String(text.to_owned()))?)
}
