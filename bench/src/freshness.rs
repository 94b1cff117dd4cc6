//! How long an event takes from the emitter's clock to a row that SQL can see.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use chrono::{NaiveDateTime, Utc};

use crate::process::{Site, print};
use crate::trino;

/// The newest visible event of bronze, by the time at which its producer stamped it.
const NEWEST: &str = "SELECT max(kafka_timestamp) FROM bronze.clickstream";

/// Polls while events come at `rate`. The events between two readings became visible between them at the latest; each
/// millisecond of their stamps counts with its delay to the later reading.
pub(crate) async fn measure(binary: &Path, rate: u64, seconds: u64) -> anyhow::Result<()> {
    let site = Site::new(binary)?;
    let running = site
        .start(&["up", "--rate", "1", "--set", "demo.events=false"])
        .await?;
    let text = rate.to_string();
    let mut emitter = site
        .command(&["emit", "--rate", &text])
        .spawn()
        .context("could not start the emitter")?;
    let server = site.address("query_engine.listen");
    let http = reqwest::Client::new();
    let begun = Instant::now();
    let mut delays = Vec::new();
    let mut seen: Option<i64> = None;
    while begun.elapsed() < Duration::from_secs(seconds) {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let Some(newest) = newest(&http, &server).await else {
            continue;
        };
        let now = Utc::now().timestamp_millis();
        // The first seconds fill the caches and are the newcomer's, not the steady state's.
        if let Some(before) = seen
            && begun.elapsed() > Duration::from_secs(5)
        {
            delays.extend((before + 1..=newest).map(|stamp| now - stamp));
        }
        seen = Some(newest);
    }
    emitter.kill().await.context("could not end the emitter")?;
    delays.sort_unstable();
    let at = |share: f64| {
        delays
            .get((delays.len() as f64 * share) as usize)
            .copied()
            .unwrap_or(0)
    };
    print(&format!(
        "event to visible at {rate} events/s over {seconds} s: p50 {} ms, p99 {} ms, max {} ms",
        at(0.5),
        at(0.99),
        delays.last().copied().unwrap_or(0)
    ));
    print(&format!("{:.0} MB resident at the end", running.memory()?));
    running.stop().await?;
    Ok(())
}

async fn newest(http: &reqwest::Client, server: &str) -> Option<i64> {
    let rows = trino::query(http, server, NEWEST).await.ok()?;
    let text = rows.first()?.first()?.as_str()?;
    let text = text.trim_end_matches(" UTC");
    NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f")
        .ok()
        .map(|at| at.and_utc().timestamp_millis())
}
