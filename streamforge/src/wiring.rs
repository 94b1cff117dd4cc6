//! Tells each service where the others are: the one place that knows which key of whom is whose address.
//!
//! A service that runs in this process is found where it really listens (so port 0 works); one that does not is found
//! under `[endpoints]`. A key that was set by itself is left alone.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::Context;
use url::Url;

use crate::config::{Config, Endpoints, Loaded, Origins};
use crate::credentials::Credentials;
use crate::service::Service;

/// Fills in `[endpoints]` from the addresses that `bound` services listen on.
pub(crate) fn found(endpoints: &Endpoints, bound: &[(Service, Vec<SocketAddr>)]) -> Endpoints {
    let mut found = endpoints.clone();
    for (service, addresses) in bound {
        let http = |index: usize| format!("http://{}", reachable(addresses[index]));
        match service {
            Service::StreamingServer => {
                found.kafka = reachable(addresses[0]).to_string();
                found.kafka_admin = http(1);
            }
            Service::StorageService => found.s3 = http(0),
            Service::IcebergCatalog => found.catalog = http(0),
            Service::StreamProcessor => {
                found.gateway = http(0);
                found.jobs = http(1);
            }
            Service::QueryEngine => found.trino = http(0),
            Service::VizDashboard => found.dashboard = http(0),
        }
    }
    found
}

/// An address that listens everywhere is reached on loopback from here.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        let loopback: std::net::IpAddr = match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        address.set_ip(loopback);
    }
    address
}

/// The configuration with every peer's address and the credentials filled in.
pub(crate) fn wire(
    loaded: &Loaded,
    endpoints: &Endpoints,
    credentials: &Credentials,
) -> anyhow::Result<Config> {
    let mut config = loaded.config.clone();
    config.endpoints = endpoints.clone();
    let origins = &loaded.origins;
    let mut urls = Urls { origins, endpoints };
    let catalog = &mut config.iceberg_catalog;
    urls.set(
        "iceberg_catalog.s3_endpoint",
        &mut catalog.s3_endpoint,
        |at| &at.s3,
    )?;
    let engine = &mut config.query_engine;
    urls.set("query_engine.s3_endpoint", &mut engine.s3_endpoint, |at| {
        &at.s3
    })?;
    urls.set("query_engine.catalog_uri", &mut engine.catalog_uri, |at| {
        &at.catalog
    })?;
    let dashboard = &mut config.viz_dashboard;
    urls.set("viz_dashboard.trino_url", &mut dashboard.trino_url, |at| {
        &at.trino
    })?;
    urls.set("viz_dashboard.job_url", &mut dashboard.job_url, |at| {
        &at.jobs
    })?;
    urls.set(
        "viz_dashboard.gateway_url",
        &mut dashboard.gateway_url,
        |at| &at.gateway,
    )?;
    urls.set(
        "viz_dashboard.storage_url",
        &mut dashboard.storage_url,
        |at| &at.s3,
    )?;
    urls.set(
        "viz_dashboard.catalog_url",
        &mut dashboard.catalog_url,
        |at| &at.catalog,
    )?;
    if !endpoints.kafka_admin.is_empty() {
        urls.set(
            "viz_dashboard.kafka_admin_url",
            &mut dashboard.kafka_admin_url,
            |at| &at.kafka_admin,
        )?;
    }
    if origins.is_default("viz_dashboard.kafka_bootstrap") {
        dashboard.kafka_bootstrap.clone_from(&endpoints.kafka);
    }
    let processor = &mut config.stream_processor;
    if origins.is_default("stream_processor.s3_endpoint") {
        processor.s3_endpoint.clone_from(&endpoints.s3);
    }
    processor.option_overrides = replacements(endpoints, &processor.option_overrides);
    Ok(with_credentials(&config, credentials))
}

struct Urls<'a> {
    origins: &'a Origins,
    endpoints: &'a Endpoints,
}

impl Urls<'_> {
    fn set(
        &mut self,
        key: &str,
        url: &mut Url,
        of: impl Fn(&Endpoints) -> &String,
    ) -> anyhow::Result<()> {
        if self.origins.is_default(key) {
            let text = of(self.endpoints);
            *url = text
                .parse()
                .with_context(|| format!("`{text}` under [endpoints] is no URL"))?;
        }
        Ok(())
    }
}

/// A SQL file names the default addresses; a job on our processor meets the services where they are.
fn replacements(endpoints: &Endpoints, set: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let defaults = Endpoints::default();
    let pairs = [
        (defaults.kafka, &endpoints.kafka),
        (defaults.s3, &endpoints.s3),
        (defaults.catalog, &endpoints.catalog),
    ];
    let moved = pairs.into_iter().filter(|(default, now)| default != *now);
    let mut all: BTreeMap<_, _> = moved.map(|(default, now)| (default, now.clone())).collect();
    all.extend(set.clone());
    all
}

/// The object store's keys, for whoever has none of their own.
pub(crate) fn with_credentials(config: &Config, credentials: &Credentials) -> Config {
    let mut config = config.clone();
    let store = &mut config.storage_service;
    let (catalog, processor, engine) = (
        &mut config.iceberg_catalog,
        &mut config.stream_processor,
        &mut config.query_engine,
    );
    for (id, secret) in [
        (&mut store.access_key, &mut store.secret_key),
        (&mut catalog.s3_access_key, &mut catalog.s3_secret_key),
        (&mut processor.s3_access_key, &mut processor.s3_secret_key),
        (&mut engine.s3_access_key, &mut engine.s3_secret_key),
    ] {
        if id.is_empty() && secret.is_empty() {
            id.clone_from(&credentials.access_key_id);
            secret.clone_from(&credentials.secret_access_key);
        }
    }
    config
}

/// The configuration of a command that uses the services but runs none.
pub(crate) fn client(loaded: &Loaded) -> anyhow::Result<Config> {
    let credentials = crate::credentials::find(&loaded.config.platform.data_dir)?;
    wire(loaded, &loaded.config.endpoints, &credentials)
}
