//! `streamforge up`: all services, the demo's job and its events, then a ready line.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::bail;

use crate::cli::{Settings, Up};
use crate::config;
use crate::output;
use crate::run::{Platform, Signals};
use crate::service::Service;
use crate::{demo, maintenance};

/// Starts everything but what `--without` leaves out; runs until Ctrl-C.
pub(crate) async fn up(settings: &Settings, options: &Up) -> anyhow::Result<ExitCode> {
    let begun = Instant::now();
    let loaded = config::load(settings)?;
    let services: Vec<_> = Service::ALL
        .into_iter()
        .filter(|service| !options.without.contains(service))
        .collect();
    if services.is_empty() {
        bail!("--without leaves no service to start");
    }
    loaded.config.maintenance.validate()?;
    let mut platform = Platform::start(&loaded, &services).await?;
    platform.wait_until_ready().await?;
    platform.print_addresses();
    maintenance::start(&mut platform).await?;
    if !options.no_demo {
        demo::start(&mut platform, options.rate).await?;
    }
    let dashboard = &platform.config.endpoints.dashboard;
    let signals = Signals::watch()?;
    output::line(&format!(
        "ready in {:.2} s; open {dashboard}",
        begun.elapsed().as_secs_f64()
    ));
    platform.run_until_stopped(signals).await?;
    Ok(ExitCode::SUCCESS)
}
