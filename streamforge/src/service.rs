//! The seven services by name, and what the binary must know of each to start it.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use crate::config::Config;

/// A service that this binary can run; `data-emitter` is a client and has its own command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(clippy::enum_variant_names, reason = "the names of the crates")]
pub(crate) enum Service {
    StreamingServer,
    StorageService,
    IcebergCatalog,
    StreamProcessor,
    QueryEngine,
    VizDashboard,
}

impl Service {
    /// In the order in which they are started: each needs only those before it.
    pub(crate) const ALL: [Service; 6] = [
        Service::StorageService,
        Service::StreamingServer,
        Service::IcebergCatalog,
        Service::StreamProcessor,
        Service::QueryEngine,
        Service::VizDashboard,
    ];

    /// The name of its crate and of its directory.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Service::StreamingServer => "streaming-server",
            Service::StorageService => "storage-service",
            Service::IcebergCatalog => "iceberg-catalog",
            Service::StreamProcessor => "stream-processor",
            Service::QueryEngine => "query-engine",
            Service::VizDashboard => "viz-dashboard",
        }
    }

    /// What it stands in for, as `up` prints it.
    pub(crate) fn protocol(self) -> &'static str {
        match self {
            Service::StreamingServer => "Kafka",
            Service::StorageService => "S3",
            Service::IcebergCatalog => "Iceberg REST",
            Service::StreamProcessor => "Flink SQL Gateway",
            Service::QueryEngine => "Trino",
            Service::VizDashboard => "dashboard",
        }
    }

    /// The addresses it listens on, each with the configuration key that sets it.
    pub(crate) fn addresses(self, config: &Config) -> Vec<(&'static str, SocketAddr)> {
        match self {
            Service::StreamingServer => vec![
                ("streaming_server.listen", config.streaming_server.listen),
                (
                    "streaming_server.admin_listen",
                    config.streaming_server.admin_listen,
                ),
            ],
            Service::StorageService => {
                vec![("storage_service.listen", config.storage_service.listen)]
            }
            Service::IcebergCatalog => {
                vec![("iceberg_catalog.listen", config.iceberg_catalog.listen)]
            }
            Service::StreamProcessor => vec![
                (
                    "stream_processor.gateway_listen",
                    config.stream_processor.gateway_listen,
                ),
                (
                    "stream_processor.job_listen",
                    config.stream_processor.job_listen,
                ),
            ],
            Service::QueryEngine => vec![("query_engine.listen", config.query_engine.listen)],
            Service::VizDashboard => vec![("viz_dashboard.listen", config.viz_dashboard.listen)],
        }
    }

    /// Whether it keeps data of its own under the data directory.
    pub(crate) fn has_data(self) -> bool {
        matches!(
            self,
            Service::StreamingServer | Service::StorageService | Service::IcebergCatalog
        )
    }
}

impl fmt::Display for Service {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Service {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Service::ALL
            .into_iter()
            .find(|service| service.name() == text)
            .ok_or_else(|| {
                let names: Vec<_> = Service::ALL.iter().map(|service| service.name()).collect();
                format!(
                    "there is no service `{text}`; there are {}",
                    names.join(", ")
                )
            })
    }
}
