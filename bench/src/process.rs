//! The measured process: starting it, reading its memory and CPU from `/proc`, ending it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use testkit::Ports;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// Clock ticks a second of `/proc`'s CPU times on Linux.
const TICKS: f64 = 100.0;

const KEYS: [(&str, &str, &str); 8] = [
    ("streaming_server.listen", "kafka", ""),
    ("streaming_server.admin_listen", "kafka_admin", "http://"),
    ("storage_service.listen", "s3", "http://"),
    ("iceberg_catalog.listen", "catalog", "http://"),
    ("stream_processor.gateway_listen", "gateway", "http://"),
    ("stream_processor.job_listen", "jobs", "http://"),
    ("query_engine.listen", "trino", "http://"),
    ("viz_dashboard.listen", "dashboard", "http://"),
];

/// The binary to measure.
pub(crate) fn binary(chosen: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let path = match chosen {
        Some(path) => path,
        None => std::env::current_exe()
            .context("this program has a path")?
            .with_file_name("streamforge"),
    };
    if !path.is_file() {
        bail!(
            "{} is missing; build it with `cargo build --release`, or name another with --binary",
            path.display()
        );
    }
    Ok(path)
}

/// What the figures below it were measured on.
pub(crate) fn print_machine(binary: &Path) -> anyhow::Result<()> {
    let cpus = fs::read_to_string("/proc/cpuinfo").context("could not read /proc/cpuinfo")?;
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or(": unknown");
    let cores = std::thread::available_parallelism().context("the number of cores")?;
    let size = fs::metadata(binary)
        .context("could not read the binary")?
        .len();
    print(&format!(
        "machine: {cores} cores,{}",
        model.trim_start_matches(['\t', ':'])
    ));
    print(&format!(
        "date: {}",
        chrono::Utc::now().format("%Y-%m-%d %H:%M UTC")
    ));
    print(&format!("binary: {:.1} MB", size as f64 / 1e6));
    Ok(())
}

/// A line of results.
#[expect(clippy::print_stdout, reason = "this program's results")]
pub(crate) fn print(line: &str) {
    println!("{line}");
}

/// A directory and free ports.
pub(crate) struct Site {
    binary: PathBuf,
    pub(crate) directory: tempfile::TempDir,
    ports: Ports,
}

impl Site {
    pub(crate) fn new(binary: &Path) -> anyhow::Result<Self> {
        Ok(Site {
            binary: binary.to_owned(),
            directory: tempfile::tempdir()?,
            ports: Ports::new(),
        })
    }

    pub(crate) fn address(&self, key: &str) -> String {
        let index = KEYS.iter().position(|(name, _, _)| *name == key);
        self.ports
            .address(index.expect("callers name keys of the table"))
    }

    /// The binary with this site's directory, ports and endpoints.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .current_dir(self.directory.path())
            .arg("--data-dir")
            .arg(self.directory.path().join("data"));
        for (key, endpoint, scheme) in KEYS {
            let address = self.address(key);
            command.arg("--set").arg(format!("{key}={address}"));
            command
                .arg("--set")
                .arg(format!("endpoints.{endpoint}={scheme}{address}"));
        }
        command.args(arguments).kill_on_drop(true);
        command
    }

    /// Starts a command and waits for its ready line.
    pub(crate) async fn start(&self, arguments: &[&str]) -> anyhow::Result<Running> {
        let begun = Instant::now();
        let mut child = self
            .command(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .context("could not start the binary")?;
        let stdout = child.stdout.take().context("stdout is piped")?;
        let mut lines = BufReader::new(stdout).lines();
        while let Some(line) = lines.next_line().await? {
            if line.starts_with("ready") {
                return Ok(Running {
                    child,
                    _lines: lines,
                    ready: begun.elapsed(),
                });
            }
        }
        bail!("the binary ended before it was ready")
    }

    /// Runs a command to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self
            .command(arguments)
            .output()
            .await
            .context("could not start the binary")?;
        if !output.status.success() {
            bail!(
                "{arguments:?} failed: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// A process that said it is ready.
pub(crate) struct Running {
    child: Child,
    _lines: Lines<BufReader<ChildStdout>>,
    /// From start to ready line.
    pub(crate) ready: Duration,
}

impl Running {
    fn id(&self) -> anyhow::Result<u32> {
        self.child.id().context("the process has ended")
    }

    /// Resident memory in megabytes.
    pub(crate) fn memory(&self) -> anyhow::Result<f64> {
        self.megabytes("VmRSS:")
    }

    /// The most that was resident at any moment, in megabytes.
    pub(crate) fn high_water(&self) -> anyhow::Result<f64> {
        self.megabytes("VmHWM:")
    }

    fn megabytes(&self, field: &str) -> anyhow::Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()?))
            .context("could not read /proc")?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(field))
            .with_context(|| format!("no {field}"))?;
        let kilobytes: f64 = line
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .with_context(|| format!("{field} is no number"))?;
        Ok(kilobytes / 1000.0)
    }

    /// CPU seconds by the name of the thread, numbers at its end apart.
    pub(crate) fn cpu(&self) -> anyhow::Result<BTreeMap<String, f64>> {
        let mut by_name = BTreeMap::new();
        for task in
            fs::read_dir(format!("/proc/{}/task", self.id()?)).context("could not read /proc")?
        {
            // A thread that ended meanwhile is no longer there.
            let Ok(stat) = fs::read_to_string(task?.path().join("stat")) else {
                continue;
            };
            let Some((name, fields)) = stat.split_once(") ") else {
                continue;
            };
            let name = name.split_once('(').map_or("", |(_, name)| name);
            let name =
                name.trim_end_matches(|last: char| last.is_ascii_digit() || "-:#".contains(last));
            let fields: Vec<_> = fields.split(' ').collect();
            let ticks: f64 = [11, 12]
                .iter()
                .filter_map(|at| fields.get(*at)?.parse::<f64>().ok())
                .sum();
            *by_name.entry(name.to_owned()).or_insert(0.0) += ticks / TICKS;
        }
        Ok(by_name)
    }

    /// SIGTERM, and how long the drain took.
    pub(crate) async fn stop(mut self) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        let id = self.id()?.to_string();
        Command::new("kill")
            .args(["-TERM", &id])
            .status()
            .await
            .context("could not send SIGTERM")?;
        let status = self.child.wait().await?;
        if !status.success() {
            bail!("the process ended with {status}");
        }
        Ok(begun.elapsed())
    }
}
