//! Runs the chosen services in one process until Ctrl-C or the first of them fails.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::cli::{Run, Settings};
use crate::config::{self, Config, Loaded, Origins};
use crate::data_dir::{self, Claim};
use crate::output;
use crate::service::Service;
use crate::{credentials, wiring};

/// How long a drain may take before what is left is abandoned.
const DRAIN: Duration = Duration::from_secs(10);
/// How long a service may take until it can do its work.
const START: Duration = Duration::from_secs(60);

/// `streamforge run SERVICE…`.
pub(crate) async fn run_command(settings: &Settings, options: &Run) -> anyhow::Result<ExitCode> {
    let loaded = config::load(settings)?;
    let mut platform = Platform::start(&loaded, &options.services).await?;
    platform.wait_until_ready().await?;
    platform.print_addresses();
    let signals = Signals::watch()?;
    output::line("ready");
    platform.run_until_stopped(signals).await?;
    Ok(ExitCode::SUCCESS)
}

/// Ctrl-C and SIGTERM. Watched before the ready line is printed, so that whoever has read it can ask for a drain.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub(crate) fn watch() -> anyhow::Result<Self> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt()).context("could not watch for Ctrl-C")?,
            terminate: signal(SignalKind::terminate()).context("could not watch for SIGTERM")?,
        })
    }
}

/// Who stops when: those who ask go before those who answer, so that nobody drains into a closed door.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// What only asks: the emitter, maintenance, dashboard, query engine.
    Clients,
    /// The processor, which writes its last checkpoint and commits it.
    Processor,
    /// The catalog and the broker.
    Servers,
    /// The object store, which everything else is kept in.
    Store,
}

impl Stage {
    fn of(service: Service) -> Self {
        match service {
            Service::VizDashboard | Service::QueryEngine => Stage::Clients,
            Service::StreamProcessor => Stage::Processor,
            Service::IcebergCatalog | Service::StreamingServer => Stage::Servers,
            Service::StorageService => Stage::Store,
        }
    }
}

#[derive(Debug, Default)]
struct Running {
    shutdown: CancellationToken,
    tasks: usize,
}

/// The services of this process.
pub(crate) struct Platform {
    /// With every address filled in.
    pub(crate) config: Config,
    /// What runs; a task that ends before its stage is stopped ends the process.
    running: JoinSet<(Stage, anyhow::Result<()>)>,
    stages: BTreeMap<Stage, Running>,
    bound: Vec<(Service, Vec<SocketAddr>)>,
    credentials_path: PathBuf,
    _claim: Claim,
}

impl Platform {
    /// Binds every address, claims the data directory, then starts the services; nothing is written if one of the
    /// first two fails.
    pub(crate) async fn start(loaded: &Loaded, services: &[Service]) -> anyhow::Result<Self> {
        let chosen: Vec<_> = Service::ALL
            .into_iter()
            .filter(|service| services.contains(service))
            .collect();
        let mut listeners = Vec::new();
        let mut bound = Vec::new();
        let checked =
            wiring::with_credentials(&loaded.config, &credentials::Credentials::placeholder());
        for service in chosen {
            validate(service, &checked, &loaded.origins)?;
            let (sockets, addresses) = listen(service, &loaded.config).await?;
            listeners.push((service, sockets));
            bound.push((service, addresses));
        }
        let data_dir = &loaded.config.platform.data_dir;
        let started: Vec<_> = bound.iter().map(|(service, _)| *service).collect();
        let claim = data_dir::claim(data_dir, &started)?;
        let secrets = credentials::load_or_create(data_dir)?;
        let endpoints = wiring::found(&loaded.config.endpoints, &bound);
        let config = wiring::wire(loaded, &endpoints, &secrets)?;
        let mut platform = Platform {
            config,
            running: JoinSet::new(),
            stages: BTreeMap::new(),
            bound,
            credentials_path: credentials::path(data_dir),
            _claim: claim,
        };
        for (service, sockets) in listeners {
            let config = platform.config.clone();
            platform.spawn(Stage::of(service), |shutdown| {
                Box::pin(serve(service, config, sockets, shutdown))
            });
        }
        Ok(platform)
    }

    /// Runs a task that ends when its stage is stopped.
    pub(crate) fn spawn<F>(&mut self, stage: Stage, task: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let running = self.stages.entry(stage).or_default();
        running.tasks += 1;
        let task = task(running.shutdown.clone());
        self.running.spawn(async move { (stage, task.await) });
    }

    /// Asks each service's `/readyz` until all have said yes, or one has ended.
    pub(crate) async fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let client = reqwest::Client::new();
        let urls: Vec<_> = self
            .bound
            .iter()
            .map(|(service, at)| (*service, ready_url(*service, at)))
            .collect();
        let waiting_for = Cell::new(None);
        let all = async {
            for (service, url) in urls {
                waiting_for.set(Some(service));
                while !is_ready(&client, &url).await {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                info!(%service, "ready");
            }
        };
        tokio::select! {
            () = all => Ok(()),
            Some(ended) = self.running.join_next() => Err(ended_early(ended)),
            () = tokio::time::sleep(START) => {
                let service = waiting_for.get().map_or("a service", Service::name);
                Err(anyhow!("{service} was not ready after {START:?}"))
            }
        }
    }

    /// Where everything is, for people and for scripts.
    pub(crate) fn print_addresses(&self) {
        for (service, addresses) in &self.bound {
            let scheme = if *service == Service::StreamingServer {
                ""
            } else {
                "http://"
            };
            output::line(&format!(
                "{:18} {:18} {scheme}{}",
                service.name(),
                service.protocol(),
                addresses[0]
            ));
            match service {
                Service::StreamingServer => extra("metrics", addresses[1]),
                Service::StreamProcessor => extra("Flink jobs", addresses[1]),
                _ => {}
            }
        }
        output::line(&format!(
            "{:18} {:18} {}",
            "credentials",
            "",
            self.credentials_path.display()
        ));
    }

    /// Until Ctrl-C, SIGTERM or the first end of a service; then the drain.
    pub(crate) async fn run_until_stopped(mut self, mut signals: Signals) -> anyhow::Result<()> {
        let outcome = tokio::select! {
            _ = signals.interrupt.recv() => Ok(()),
            _ = signals.terminate.recv() => Ok(()),
            Some(ended) = self.running.join_next() => {
                if let Ok((stage, _)) = &ended && let Some(running) = self.stages.get_mut(stage) {
                    running.tasks -= 1;
                }
                Err(ended_early(ended))
            }
        };
        info!("stopping");
        let stopped = self.stop().await;
        outcome.and(stopped)
    }

    /// Drains: what was begun is finished, the jobs take a last checkpoint.
    async fn stop(&mut self) -> anyhow::Result<()> {
        let drain = async {
            let order: Vec<_> = self.stages.keys().copied().collect();
            for stage in order {
                self.stop_stage(stage).await?;
            }
            anyhow::Ok(())
        };
        match tokio::time::timeout(DRAIN, drain).await {
            Ok(outcome) => outcome,
            Err(_) => Err(anyhow!(
                "could not stop cleanly within {DRAIN:?}; the next start recovers"
            )),
        }
    }
}

impl Platform {
    async fn stop_stage(&mut self, stage: Stage) -> anyhow::Result<()> {
        let left = |stages: &BTreeMap<Stage, Running>| {
            stages.get(&stage).map_or(0, |running| running.tasks)
        };
        if let Some(running) = self.stages.get(&stage) {
            running.shutdown.cancel();
        }
        while left(&self.stages) > 0 {
            let Some(ended) = self.running.join_next().await else {
                return Ok(());
            };
            let (of, outcome) = ended.context("a service panicked while it stopped")?;
            if let Some(running) = self.stages.get_mut(&of) {
                running.tasks -= 1;
            }
            outcome?;
        }
        Ok(())
    }
}

fn extra(what: &str, address: SocketAddr) {
    output::line(&format!("{:18} {what:18} http://{address}", ""));
}

fn ended_early(
    ended: Result<(Stage, anyhow::Result<()>), tokio::task::JoinError>,
) -> anyhow::Error {
    match ended {
        Ok((_, Ok(()))) => anyhow!("a service ended by itself"),
        Ok((_, Err(error))) => error,
        Err(error) => anyhow!(error).context("a service panicked"),
    }
}

fn ready_url(service: Service, addresses: &[SocketAddr]) -> String {
    let index = match service {
        Service::StreamingServer | Service::StreamProcessor => 1,
        _ => 0,
    };
    format!("http://{}/readyz", addresses[index])
}

async fn is_ready(client: &reqwest::Client, url: &str) -> bool {
    let answer = client.get(url).timeout(Duration::from_secs(1)).send().await;
    answer.is_ok_and(|answer| answer.status().is_success())
}

async fn listen(
    service: Service,
    config: &Config,
) -> anyhow::Result<(Vec<TcpListener>, Vec<SocketAddr>)> {
    let mut sockets = Vec::new();
    let mut addresses = Vec::new();
    for (key, address) in service.addresses(config) {
        let socket = TcpListener::bind(address)
            .await
            .map_err(|error| could_not_listen(service, key, address, error))?;
        addresses.push(
            socket
                .local_addr()
                .context("a bound socket has an address")?,
        );
        sockets.push(socket);
    }
    Ok((sockets, addresses))
}

fn could_not_listen(
    service: Service,
    key: &str,
    address: SocketAddr,
    error: io::Error,
) -> anyhow::Error {
    if error.kind() == io::ErrorKind::AddrInUse {
        anyhow!(
            "{service} could not listen on {address}: another program has that port; stop it, or choose another with \
             --set {key}={}:PORT",
            address.ip()
        )
    } else {
        anyhow!(error).context(format!("{service} could not listen on {address} (`{key}`)"))
    }
}

/// Refuses what a service's own `validate` refuses, naming the key as the user writes it and where its value is from.
fn validate(service: Service, config: &Config, origins: &Origins) -> anyhow::Result<()> {
    let refused = match service {
        Service::StreamingServer => match config.streaming_server.validate() {
            Err(streaming_server::Error::Config { key, why }) => (key, why),
            other => return Ok(other?),
        },
        Service::StorageService => match config.storage_service.validate() {
            Err(storage_service::Error::Config { key, why }) => (key, why),
            other => return Ok(other?),
        },
        Service::IcebergCatalog => match config.iceberg_catalog.validate() {
            Err(iceberg_catalog::Error::Config { key, why }) => (key, why),
            other => return Ok(other?),
        },
        Service::StreamProcessor => match config.stream_processor.validate() {
            Err(stream_processor::Error::Config { key, why }) => (key, why),
            other => return Ok(other?),
        },
        Service::QueryEngine => match config.query_engine.validate() {
            Err(query_engine::Error::Config { key, why }) => (key, why),
            other => return Ok(other?),
        },
        Service::VizDashboard => match config.viz_dashboard.validate() {
            Err(viz_dashboard::Error::Config { key, why }) => (key, why),
            other => return Ok(other?),
        },
    };
    let key = format!("{}.{}", service.name().replace('-', "_"), refused.0);
    let origin = origins.get(&key);
    let origin = origin.map_or("a default".to_owned(), |origin| format!("from {origin}"));
    Err(anyhow!(
        "{service} cannot start: `{key}` ({origin}) {}",
        refused.1
    ))
}

/// Runs one service; the only place that names all their `serve`s.
async fn serve(
    service: Service,
    config: Config,
    mut sockets: Vec<TcpListener>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let first = sockets.remove(0);
    let second = sockets.pop();
    let outcome = match (service, second) {
        (Service::StreamingServer, Some(admin)) => {
            streaming_server::serve(config.streaming_server, first, admin, shutdown)
                .await
                .map_err(anyhow::Error::from)
        }
        (Service::StreamProcessor, Some(jobs)) => {
            stream_processor::serve(config.stream_processor, first, jobs, shutdown)
                .await
                .map_err(anyhow::Error::from)
        }
        (Service::StorageService, _) => {
            storage_service::serve(config.storage_service, first, shutdown)
                .await
                .map_err(anyhow::Error::from)
        }
        (Service::IcebergCatalog, _) => {
            iceberg_catalog::serve(config.iceberg_catalog, first, shutdown)
                .await
                .map_err(anyhow::Error::from)
        }
        (Service::QueryEngine, _) => query_engine::serve(config.query_engine, first, shutdown)
            .await
            .map_err(anyhow::Error::from),
        (Service::VizDashboard, _) => viz_dashboard::serve(config.viz_dashboard, first, shutdown)
            .await
            .map_err(anyhow::Error::from),
        (Service::StreamingServer | Service::StreamProcessor, None) => {
            unreachable!("both have two addresses, and each was bound")
        }
    };
    outcome.with_context(|| format!("{service} failed"))
}
