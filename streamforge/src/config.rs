//! The one configuration: a table per service, and where each value came from.
//!
//! Values come from the defaults, then the file, then the environment (`STREAMFORGE__QUERY_ENGINE__LISTEN`), then
//! `--set`. Each service owns its own table; this module only puts them together. What the services must know of each
//! other is under `[endpoints]` and is handed to them by [`crate::wiring`].

mod layers;
mod render;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::cli::{ConfigOptions, Settings};
pub(crate) use layers::{Origin, Origins};

/// The annotated defaults; a test keeps them equal to `Config::default()`.
pub(crate) const DEFAULTS: &str = include_str!("../../streamforge.toml");

const FILE: &str = "streamforge.toml";

/// Everything that can be configured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) platform: Platform,
    pub(crate) endpoints: Endpoints,
    pub(crate) demo: crate::demo::Config,
    pub(crate) maintenance: crate::maintenance::Config,
    pub(crate) streaming_server: streaming_server::Config,
    pub(crate) storage_service: storage_service::Config,
    pub(crate) iceberg_catalog: iceberg_catalog::Config,
    pub(crate) stream_processor: stream_processor::Config,
    pub(crate) query_engine: query_engine::Config,
    pub(crate) viz_dashboard: viz_dashboard::Config,
}

/// What is not one service's own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Platform {
    /// Each service keeps its data in a directory of its name below this one.
    pub(crate) data_dir: PathBuf,
}

impl Default for Platform {
    fn default() -> Self {
        Platform {
            data_dir: PathBuf::from("streamforge-data"),
        }
    }
}

/// Where each seam is. A service that runs in this process is found where it really listens; for one that does not,
/// this is the address of the product that takes its place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Endpoints {
    /// Kafka, as `host:port,…`.
    pub(crate) kafka: String,
    /// The broker's own page of metrics; empty for a Kafka that has none.
    pub(crate) kafka_admin: String,
    /// S3.
    pub(crate) s3: String,
    /// Iceberg REST catalog.
    pub(crate) catalog: String,
    /// Flink SQL Gateway.
    pub(crate) gateway: String,
    /// Flink job REST.
    pub(crate) jobs: String,
    /// Trino.
    pub(crate) trino: String,
    /// The dashboard.
    pub(crate) dashboard: String,
}

impl Default for Endpoints {
    fn default() -> Self {
        Endpoints {
            kafka: "127.0.0.1:9092".to_owned(),
            kafka_admin: "http://127.0.0.1:9644".to_owned(),
            s3: "http://127.0.0.1:9000".to_owned(),
            catalog: "http://127.0.0.1:8181".to_owned(),
            gateway: "http://127.0.0.1:8083".to_owned(),
            jobs: "http://127.0.0.1:8081".to_owned(),
            trino: "http://127.0.0.1:8080".to_owned(),
            dashboard: "http://127.0.0.1:8088".to_owned(),
        }
    }
}

/// A configuration and where its values came from.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) config: Config,
    pub(crate) origins: Origins,
    /// The values as the layers wrote them: sizes are exact here, and rounded where `Config` is written.
    written: toml::Table,
}

/// Reads all layers.
pub(crate) fn load(settings: &Settings) -> anyhow::Result<Loaded> {
    // A variable whose name is no text cannot be ours; a value that is none will be refused where it is read.
    let environment = std::env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok()?;
        let value = value.to_string_lossy().into_owned();
        name.starts_with("STREAMFORGE_").then_some((name, value))
    });
    load_from(settings, environment)
}

fn load_from(
    settings: &Settings,
    environment: impl Iterator<Item = (String, String)>,
) -> anyhow::Result<Loaded> {
    let mut layers = layers::Layers::new(DEFAULTS)?;
    if let Some((path, text)) = read_file(settings.config.as_deref())? {
        layers.add_file(&path, &text)?;
    }
    for (name, value) in environment {
        layers.add_variable(&name, &value)?;
    }
    for setting in &settings.set {
        layers.add_setting(setting)?;
    }
    if let Some(directory) = &settings.data_dir {
        let value = toml::Value::String(directory.display().to_string());
        layers.add_value(
            "platform.data_dir",
            value,
            Origin::Option("--data-dir".to_owned()),
        )?;
    }
    let (mut config, origins, written) = layers.finish()?;
    place_data(&mut config, &origins);
    Ok(Loaded {
        config,
        origins,
        written,
    })
}

/// A service's directory lies below the platform's unless it was set by itself.
fn place_data(config: &mut Config, origins: &Origins) {
    let root = config.platform.data_dir.clone();
    let place = |key: &str, name: &str, directory: &mut PathBuf| {
        if origins.is_default(key) {
            *directory = root.join(name);
        }
    };
    place(
        "streaming_server.data_dir",
        "streaming-server",
        &mut config.streaming_server.data_dir,
    );
    place(
        "storage_service.data_dir",
        "storage-service",
        &mut config.storage_service.data_dir,
    );
    place(
        "iceberg_catalog.data_dir",
        "iceberg-catalog",
        &mut config.iceberg_catalog.data_dir,
    );
}

fn read_file(chosen: Option<&Path>) -> anyhow::Result<Option<(PathBuf, String)>> {
    let path = chosen.unwrap_or(Path::new(FILE));
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some((path.to_owned(), text))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && chosen.is_none() => Ok(None),
        Err(error) => Err(error).with_context(|| format!("could not read {}", path.display())),
    }
}

/// `streamforge config`.
pub(crate) fn print(settings: &Settings, options: &ConfigOptions) -> anyhow::Result<ExitCode> {
    if options.defaults {
        crate::output::line(DEFAULTS.trim_end());
    } else {
        let loaded = load(settings)?;
        crate::output::line(render::render(&loaded)?.trim_end());
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests;
