//! The pinned Python environment in which real clients run: librdkafka, boto3, pyiceberg, DuckDB, trino and others.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const REQUIREMENTS: &str = include_str!("../python/requirements.txt");

/// Runs `script` with `environment` added to the process's own and returns what it printed.
///
/// Blocks until the script ends: call it from a plain `#[test]`, or through `spawn_blocking`.
///
/// # Panics
/// If the script fails, with all it wrote; or if the environment cannot be made.
pub fn python(script: &str, environment: &[(&str, &str)]) -> String {
    let output = Command::new(interpreter())
        .args(["-W", "ignore", "-c", script])
        .envs(environment.iter().copied())
        .output()
        .expect("the interpreter of the environment starts");
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "the script ended with {}\n--- stdout\n{stdout}\n--- stderr\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    stdout
}

/// A command-line tool of the environment, for example `aws`.
pub fn tool(name: &str) -> PathBuf {
    interpreter().with_file_name(name)
}

/// The interpreter of the environment, which is made at the first call on this machine.
///
/// It lies in `STREAMFORGE_CACHE`, or `~/.cache/streamforge`, under a name made from the pinned versions, so that a
/// change of `requirements.txt` makes a new one. Processes that come at the same time wait for the first.
///
/// # Panics
/// If python3 is missing or the packages cannot be installed.
pub fn interpreter() -> &'static Path {
    static INTERPRETER: OnceLock<PathBuf> = OnceLock::new();
    INTERPRETER.get_or_init(|| {
        let name = format!("python-{:016x}", fingerprint(REQUIREMENTS.as_bytes()));
        environment(&name, REQUIREMENTS)
    })
}

/// The interpreter of the environment `name` with the packages of `requirements`, made at the first call on this
/// machine. Processes that come at the same time wait for the first.
pub(crate) fn environment(name: &str, requirements: &str) -> PathBuf {
    let directory = once("python.lock", name, |directory| {
        make(directory, &directory.join("bin/python"), requirements);
    });
    directory.join("bin/python")
}

/// The directory `name` of the cache, which `make` fills at the first call on this machine, while others that hold
/// `lock` wait; so `make` must not come here with the same `lock`.
pub(crate) fn once(lock: &str, name: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let cache = cache_dir();
    fs::create_dir_all(&cache).expect("the cache directory can be made");
    let lock = File::create(cache.join(lock)).expect("the lock file can be made");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)
        .expect("the lock can be taken");
    let directory = cache.join(name);
    let complete = directory.join("complete");
    if !complete.is_file() {
        make(&directory);
        fs::write(&complete, "").expect("the directory can be marked complete");
    }
    directory
}

pub(crate) fn cache_dir() -> PathBuf {
    if let Some(directory) = std::env::var_os("STREAMFORGE_CACHE") {
        return PathBuf::from(directory);
    }
    let home = std::env::var_os("HOME").expect("HOME or STREAMFORGE_CACHE is set");
    PathBuf::from(home).join(".cache/streamforge")
}

fn make(directory: &Path, interpreter: &Path, list: &str) {
    crate::notice(&format!(
        "making the Python environment {} (once)",
        directory.display()
    ));
    let mut requirements = directory.as_os_str().to_owned();
    requirements.push(".txt");
    fs::write(&requirements, list).expect("the requirements can be written");
    run(Command::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(directory));
    run(Command::new(interpreter)
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--requirement",
        ])
        .arg(&requirements));
}

pub(crate) fn run(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("could not start {command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?} failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// FNV-1a: names a directory, nothing more.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
