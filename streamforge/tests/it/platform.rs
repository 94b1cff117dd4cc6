//! Starts the binary on a directory and ports of the test's own, and ends it in every way there is.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use testkit::Ports;

/// Every address key of the configuration.
pub(crate) const LISTEN_KEYS: [&str; 8] = [
    "streaming_server.listen",
    "streaming_server.admin_listen",
    "storage_service.listen",
    "iceberg_catalog.listen",
    "stream_processor.gateway_listen",
    "stream_processor.job_listen",
    "query_engine.listen",
    "viz_dashboard.listen",
];

const START: Duration = Duration::from_secs(60);
/// Lines of a process's log that a failed test shows.
const LAST_LINES: usize = 60;

/// A directory and ports of its own, on which processes can be started again and again.
pub(crate) struct Site {
    pub(crate) directory: tempfile::TempDir,
    ports: Ports,
}

impl Site {
    pub(crate) fn new() -> Self {
        Site {
            directory: testkit::temp_dir(),
            ports: Ports::new(),
        }
    }

    /// `127.0.0.1:PORT` of a configuration key.
    pub(crate) fn address(&self, key: &str) -> String {
        let index = LISTEN_KEYS.iter().position(|name| *name == key);
        self.ports.address(index.expect("an address key"))
    }

    /// A command on this site: data directory, ports and endpoints set.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.current_dir(self.directory.path());
        command
            .arg("--data-dir")
            .arg(self.directory.path().join("data"));
        for key in LISTEN_KEYS {
            command
                .arg("--set")
                .arg(format!("{key}={}", self.address(key)));
        }
        for (endpoint, key, scheme) in [
            ("kafka", "streaming_server.listen", ""),
            ("kafka_admin", "streaming_server.admin_listen", "http://"),
            ("s3", "storage_service.listen", "http://"),
            ("catalog", "iceberg_catalog.listen", "http://"),
            ("gateway", "stream_processor.gateway_listen", "http://"),
            ("jobs", "stream_processor.job_listen", "http://"),
            ("trino", "query_engine.listen", "http://"),
            ("dashboard", "viz_dashboard.listen", "http://"),
        ] {
            command.arg("--set").arg(format!(
                "endpoints.{endpoint}={scheme}{}",
                self.address(key)
            ));
        }
        command
            .env_remove("AWS_ACCESS_KEY_ID")
            .env_remove("AWS_SECRET_ACCESS_KEY");
        command.args(arguments);
        command
    }

    /// Starts a command that prints a ready line, and waits for it.
    pub(crate) fn start(&self, arguments: &[&str]) -> Process {
        Process::start(self.command(arguments))
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the binary starts")
    }

    /// What a command that must succeed printed.
    pub(crate) fn output(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?} failed: {stderr}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The rows of a query as CSV lines without the header; `Err` is what the program said.
    pub(crate) fn try_query(&self, sql: &str) -> Result<Vec<String>, String> {
        let output = self.run(&["sql", "--format", "csv", "-e", sql]);
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        Ok(String::from_utf8_lossy(&output.stdout)
            .lines()
            .skip(1)
            .map(str::to_owned)
            .collect())
    }

    pub(crate) fn query(&self, sql: &str) -> Vec<String> {
        self.try_query(sql)
            .unwrap_or_else(|error| panic!("{sql}\n{error}"))
    }

    /// The one number of a query.
    pub(crate) fn number(&self, sql: &str) -> i64 {
        let rows = self.query(sql);
        rows[0]
            .parse()
            .unwrap_or_else(|_| panic!("{sql} gave {rows:?}"))
    }

    /// What Python clients need to find the services of this site.
    pub(crate) fn environment(&self) -> BTreeMap<String, String> {
        let path = self.directory.path().join("data/credentials.env");
        let text = std::fs::read_to_string(&path).expect("the first start made credentials.env");
        let mut all: BTreeMap<_, _> = text
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        for (name, key, scheme) in [
            ("KAFKA", "streaming_server.listen", ""),
            ("S3", "storage_service.listen", "http://"),
            ("CATALOG", "iceberg_catalog.listen", "http://"),
            ("TRINO_PORT", "query_engine.listen", ""),
            ("DASHBOARD", "viz_dashboard.listen", "http://"),
        ] {
            all.insert(name.to_owned(), format!("{scheme}{}", self.address(key)));
        }
        all.insert("AWS_REGION".to_owned(), "us-east-1".to_owned());
        all
    }

    /// Runs a Python script of real clients against this site.
    pub(crate) fn python(&self, script: &str) -> String {
        let environment = self.environment();
        let pairs: Vec<_> = environment
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        testkit::python(script, &pairs)
    }

    pub(crate) fn data(&self) -> std::path::PathBuf {
        Path::new(self.directory.path()).join("data")
    }
}

/// The program under test: the one built with the tests, or what `STREAMFORGE_BIN` names, so that a test at full speed
/// needs no release build of the tests.
fn program() -> std::ffi::OsString {
    std::env::var_os("STREAMFORGE_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_streamforge").into())
}

/// A started process; killed when dropped.
pub(crate) struct Process {
    child: Child,
    lines: Receiver<String>,
    log: Arc<Mutex<Vec<String>>>,
}

impl Process {
    pub(crate) fn start(command: Command) -> Self {
        let mut process = Process::spawn(command);
        process.wait_for("ready");
        process
    }

    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let (sender, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let log = Arc::new(Mutex::new(Vec::new()));
        let stderr = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                kept.lock().expect("no writer panics").push(line);
            }
        });
        Process { child, lines, log }
    }

    /// The first line that begins with `prefix`.
    pub(crate) fn wait_for(&mut self, prefix: &str) -> String {
        let deadline = Instant::now() + START;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.starts_with(prefix) => return line,
                Ok(_) => {}
                Err(_) => panic!(
                    "no line `{prefix}…`; the log was\n{}",
                    self.log().join("\n")
                ),
            }
        }
    }

    /// What it wrote to standard error so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().expect("no writer panics").clone()
    }

    /// Lines of the log that say something went wrong.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let bad = |line: &String| line.contains(" WARN ") || line.contains(" ERROR ");
        self.log().into_iter().filter(bad).collect()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Lets it run for `time`; it must not end by itself.
    pub(crate) fn live_for(&mut self, time: Duration) {
        let until = Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => return,
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("it ended by itself; the log was\n{}", self.log().join("\n"))
                }
            }
        }
    }

    /// Waits for its end, which must be a success, and gives the lines it printed since they were last asked for.
    pub(crate) fn ends_well(mut self) -> Vec<String> {
        let status = self.child.wait().expect("it can be reaped");
        assert!(
            status.success(),
            "it ended with {status}; the log was\n{}",
            self.log().join("\n")
        );
        self.lines.iter().collect()
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it still runs");
        self.child.wait().expect("it can be reaped");
    }

    /// SIGTERM, and how it ended.
    pub(crate) fn stop(mut self) -> ExitStatus {
        let id = self.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &id])
                .status()
                .expect("kill starts")
                .success()
        );
        self.child.wait().expect("it can be reaped")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let ended = self.child.try_wait().ok().flatten();
        // Both fail when it has ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let last = &log[log.len().saturating_sub(LAST_LINES)..];
            let state =
                ended.map_or_else(|| "ran".to_owned(), |status| format!("had ended: {status}"));
            eprintln!(
                "process {} {state}; its log ended with\n{}",
                self.id(),
                last.join("\n")
            );
        }
    }
}
