//! How fast events go from the emitter to gold, and what that costs.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::process::{Running, Site, print};
use crate::trino;

const SQL: &str = include_str!("../../sql/clickstream.sql");

const BRONZE_ROWS: &str = "SELECT count(*) FROM bronze.clickstream";
const GOLD_EVENTS: &str = "SELECT sum(events) FROM gold.activity_per_minute";

/// What a soak leaves on the disk is bounded by these; a gigabyte of a partition is more than a minute of it.
const SMALL_DISK: [&str; 3] = [
    "streaming_server.retention_size=1GiB",
    "maintenance.policy.keep_for=30s",
    "maintenance.policy.keep_snapshots=5",
];

/// Starts the services and the demo's job with checkpoints each `checkpoint` seconds, but no demo events.
async fn start(
    binary: &Path,
    checkpoint: u64,
    settings: &[&str],
) -> anyhow::Result<(Site, Running)> {
    let site = Site::new(binary)?;
    let interval = interval(checkpoint);
    let mut arguments = vec!["up", "--rate", "1"];
    for setting in ["demo.events=false", &interval].iter().chain(settings) {
        arguments.extend(["--set", setting]);
    }
    let running = site.start(&arguments).await?;
    Ok((site, running))
}

fn interval(seconds: u64) -> String {
    debug_assert!(SQL.contains("execution.checkpointing.interval"));
    format!("demo.checkpoint_interval={seconds}s")
}

/// Rows that were seen to be visible, and when.
type Reading = (Duration, u64);

/// One run of `events` events.
pub(crate) async fn measure(
    binary: &Path,
    events: u64,
    rate: u64,
    checkpoint: u64,
) -> anyhow::Result<()> {
    let (site, running) = start(binary, checkpoint, &[]).await?;
    let server = site.address("query_engine.listen");
    let http = reqwest::Client::new();
    let before = running.cpu()?;
    let begun = Instant::now();
    let (rate, count) = (rate.to_string(), events.to_string());
    let arguments = ["emit", "--rate", &rate, "--count", &count];
    let emitter = site.run(&arguments);
    let watch = async {
        let mut peak = 0.0_f64;
        let mut first: Option<Reading> = None;
        loop {
            peak = peak.max(running.memory()?);
            let rows = trino::number(&http, &server, BRONZE_ROWS).await;
            let reading = (begun.elapsed(), rows.unsigned_abs());
            if reading.1 >= events {
                return anyhow::Ok((peak, first, reading));
            }
            if reading.1 > 0 {
                first = first.or(Some(reading));
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let (summary, watched) = tokio::join!(emitter, watch);
    let (peak, first, last) = watched?;
    print(summary.context("the emitter failed")?.trim());
    let silver = trino::number(&http, &server, "SELECT count(*) FROM silver.clickstream").await;
    let gold = trino::number(&http, &server, GOLD_EVENTS).await;
    let seconds = last.0.as_secs_f64();
    print(&format!(
        "{events} events in bronze after {seconds:.1} s: {:.0} events/s",
        events as f64 / seconds
    ));
    // Without the start, and without the wait of the last events for their checkpoint.
    if let Some(first) = first {
        let seconds = (last.0 - first.0).as_secs_f64();
        let rows = last.1 - first.1;
        print(&format!(
            "of them {rows} in the {seconds:.1} s between the first and the last snapshot: {:.0} events/s",
            rows as f64 / seconds
        ));
    }
    print(&format!(
        "silver {silver} rows, gold counts {gold} events; peak {peak:.0} MB resident"
    ));
    print_cpu(&running, &before, events)?;
    running.stop().await?;
    Ok(())
}

/// CPU seconds per million events by thread name, the emitter's process apart.
fn print_cpu(
    running: &Running,
    before: &std::collections::BTreeMap<String, f64>,
    events: u64,
) -> anyhow::Result<()> {
    let mut spent: Vec<_> = running
        .cpu()?
        .into_iter()
        .map(|(name, after)| (after - before.get(&name).copied().unwrap_or(0.0), name))
        .filter(|(seconds, _)| *seconds >= 0.05)
        .collect();
    spent.sort_by(|left, right| right.0.total_cmp(&left.0));
    print("CPU by thread name: seconds, and seconds per million events");
    for (seconds, name) in spent {
        print(&format!(
            "  {name:16} {seconds:7.2} {:7.2}",
            seconds * 1e6 / events as f64
        ));
    }
    Ok(())
}

/// How often jobs have started anew.
async fn restarts(site: &Site) -> anyhow::Result<u64> {
    let url = format!(
        "http://{}/metrics",
        site.address("stream_processor.gateway_listen")
    );
    let metrics = reqwest::get(url).await?.error_for_status()?.text().await?;
    let counts = metrics
        .lines()
        .filter(|line| line.starts_with("streamforge_stream_processor_restarts{"))
        .map(|line| line.rsplit(' ').next().unwrap_or_default().parse());
    let counts: Vec<u64> = counts.collect::<Result<_, _>>()?;
    ensure!(!counts.is_empty(), "no job is running");
    Ok(counts.iter().sum())
}

/// Memory and visible rows every ten seconds under load, and what that cost; ends when the job fails.
pub(crate) async fn soak(binary: &Path, rate: u64, seconds: u64) -> anyhow::Result<()> {
    let (site, running) = start(binary, 5, &SMALL_DISK).await?;
    let rate = rate.to_string();
    let mut emitter = site
        .command(&["emit", "--rate", &rate])
        .spawn()
        .context("could not start the emitter")?;
    let server = site.address("query_engine.listen");
    let http = reqwest::Client::new();
    let before = running.cpu()?;
    let begun = Instant::now();
    let mut readings = Vec::new();
    while begun.elapsed() < Duration::from_secs(seconds) {
        tokio::time::sleep(Duration::from_secs(10)).await;
        readings.push(running.memory()?);
        ensure!(
            restarts(&site).await? == 0,
            "the job failed: the emitter is faster than it is, so this is no figure"
        );
        print(&format!(
            "{:4.0} s {:6.0} MB {:10} events in bronze",
            begun.elapsed().as_secs_f64(),
            readings.last().unwrap_or(&0.0),
            trino::number(&http, &server, BRONZE_ROWS).await
        ));
    }
    emitter.kill().await.context("could not end the emitter")?;
    let rows = trino::number(&http, &server, BRONZE_ROWS).await;
    let rate = rows as f64 / begun.elapsed().as_secs_f64();
    print(&format!("{rows} events in bronze: {rate:.0} events/s"));
    // Of the minutes that are over.
    let gold = trino::number(&http, &server, GOLD_EVENTS).await;
    print(&format!("gold counts {gold} events"));
    let peak = readings.iter().copied().fold(0.0, f64::max);
    let half = readings.len() / 2;
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len().max(1) as f64;
    print(&format!(
        "peak {peak:.0} MB; mean of the first half {:.0} MB, of the second {:.0} MB; at a moment between {:.0} MB",
        mean(&readings[..half]),
        mean(&readings[half..]),
        running.high_water()?
    ));
    print_cpu(&running, &before, rows.unsigned_abs())?;
    running.stop().await?;
    Ok(())
}
