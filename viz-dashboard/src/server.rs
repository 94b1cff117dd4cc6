//! Reads the dashboards, serves until told to stop, then finishes what was begun.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use telemetry::{Health, Registry};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::assets::Dashboards;
use crate::bundle::Bundle;
use crate::http::{App, router};
use crate::live::Live;
use crate::metrics::Metrics;
use crate::platform::Platform;
use crate::runs::{Bounds, Runs};
use crate::trino::Trino;
use crate::{Config, Error};

/// Largest file of a bundle.
const MAX_FILE: u64 = 4 << 20;

/// Serves the pages on `listener` until `shutdown` is cancelled, then finishes the requests already begun.
///
/// # Errors
/// If the configuration or the dashboards are wrong, or the listener fails.
pub async fn serve(
    config: Config,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    config.validate()?;
    let bundle = Arc::new(read_bundle(config.dashboards.as_deref())?);
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry);
    let health = Health::new();
    let client = reqwest::Client::builder()
        .user_agent("streamforge-viz-dashboard")
        .no_proxy()
        .connect_timeout(config.probe_timeout)
        .build()
        .map_err(Error::Client)?;
    let trino = Trino::new(
        client.clone(),
        config.trino_url.clone(),
        config.trino_user.clone(),
        config.catalog.clone(),
    );
    let tasks = TaskTracker::new();
    let live = Live::new(
        config.clone(),
        bundle.clone(),
        trino.clone(),
        metrics.clone(),
        tasks.clone(),
        shutdown.clone(),
    );
    let runs = Runs::new(
        trino.clone(),
        config.max_runs,
        Bounds {
            n_rows: config.max_result_rows,
            n_bytes: usize::try_from(config.max_result_size.as_u64()).unwrap_or(usize::MAX),
        },
        tasks.clone(),
        shutdown.clone(),
    );
    let app = App {
        platform: Platform::new(client, config.clone(), trino.clone()),
        config: config.clone(),
        bundle,
        trino,
        live,
        runs,
        metrics,
        shutdown: shutdown.clone(),
    };
    let router = telemetry::routes(Arc::new(registry), health.clone()).merge(router(app));
    health.ready();
    info!(address = %listener.local_addr().map_err(Error::Serve)?, "dashboard ready");

    let limits = telemetry::Limits::default();
    let server = telemetry::serve(listener, router, limits, shutdown.clone());
    let overdue = async {
        shutdown.cancelled().await;
        tokio::time::sleep(config.shutdown_grace).await;
    };
    let outcome = tokio::select! {
        outcome = server => outcome.map_err(Error::Serve),
        () = overdue => Ok(()),
    };
    tasks.close();
    if tokio::time::timeout(config.shutdown_grace / 4, tasks.wait())
        .await
        .is_err()
    {
        warn!("queries still running at the end of the grace period were left");
    }
    outcome
}

fn read_bundle(directory: Option<&Path>) -> Result<Bundle, Error> {
    let Some(directory) = directory else {
        let files: Vec<_> = Dashboards::iter()
            .filter_map(|name| Some((name.to_string(), Dashboards::get(&name)?.data)))
            .collect();
        return parse(files.iter().map(|(name, data)| (name.as_str(), &**data)));
    };
    let mut files = Vec::new();
    collect(directory, &mut files)?;
    parse(
        files
            .iter()
            .map(|(name, data)| (name.as_str(), data.as_slice())),
    )
}

fn parse<'a>(files: impl Iterator<Item = (&'a str, &'a [u8])>) -> Result<Bundle, Error> {
    let texts: Vec<(String, &str)> = files
        .map(|(name, data)| match std::str::from_utf8(data) {
            Ok(text) => Ok((name.to_owned(), text)),
            Err(_) => Err(Error::Bundle(format!("{name}: not UTF-8"))),
        })
        .collect::<Result<_, _>>()?;
    Bundle::parse(texts).map_err(Error::Bundle)
}

fn collect(directory: &Path, files: &mut Vec<(String, Vec<u8>)>) -> Result<(), Error> {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |source| Error::Dashboards { path, source }
    };
    for entry in fs::read_dir(directory).map_err(failed(directory))? {
        let entry = entry.map_err(failed(directory))?;
        let path = entry.path();
        let about = entry.metadata().map_err(failed(&path))?;
        if about.is_dir() {
            collect(&path, files)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            if about.len() > MAX_FILE {
                let path = path.display();
                return Err(Error::Bundle(format!("{path}: larger than 4 MiB")));
            }
            let text = fs::read(&path).map_err(failed(&path))?;
            files.push((path.display().to_string(), text));
        }
    }
    Ok(())
}
