//! The commands and their options; nothing here does anything.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::service::Service;

/// The streaming lakehouse in one program: Kafka, Flink SQL, S3, Iceberg and Trino protocols on one machine.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// Which log lines are written to standard error, in the syntax of RUST_LOG
    #[arg(
        long,
        global = true,
        env = "STREAMFORGE_LOG",
        default_value = "warn,streamforge=info,s3s=off"
    )]
    pub(crate) log: String,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// The arguments of this process. `--set` counts wherever it stands: clap by itself forgets those before a command
    /// once one follows it, so all are moved to the front.
    pub(crate) fn of_process() -> Self {
        let mut arguments = std::env::args_os();
        let mut front: Vec<OsString> = arguments.next().into_iter().collect();
        let mut rest = Vec::new();
        while let Some(argument) = arguments.next() {
            if argument == "--" {
                rest.push(argument);
                rest.extend(arguments.by_ref());
            } else if argument == "--set" {
                front.push(argument);
                front.extend(arguments.next());
            } else if argument.to_string_lossy().starts_with("--set=") {
                front.push(argument);
            } else {
                rest.push(argument);
            }
        }
        front.extend(rest);
        Cli::parse_from(front)
    }
}

/// Where the configuration comes from.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Settings {
    /// Configuration file [default: streamforge.toml here, if there is one]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where the services keep their data [default: streamforge-data]
    #[arg(long, global = true, value_name = "DIR", overrides_with = "data_dir")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Sets one key of the configuration, for example `query_engine.listen=127.0.0.1:8081`
    #[arg(long = "set", global = true, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start the whole lakehouse with the clickstream demo
    Up(Up),
    /// Start just these services
    Run(Run),
    /// Send generated events to any Kafka
    Emit(Emit),
    /// Submit, list, show and cancel streaming jobs, here or on a real Flink
    #[command(subcommand)]
    Job(Job),
    /// SQL shell over the Trino protocol, here or on a real Trino
    Sql(Sql),
    /// Print the effective configuration and where each value came from
    Config(ConfigOptions),
    /// One screen about services, jobs and tables; exit code 1 if something is not well
    Status,
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Leave this service out; the address under [endpoints] says where its stand-in listens
    #[arg(long, value_name = "SERVICE")]
    pub(crate) without: Vec<Service>,
    /// Events per second of the demo
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: u32,
    /// Start the services only: no topic, no job, no events
    #[arg(long)]
    pub(crate) no_demo: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The services, for example `query-engine`
    #[arg(required = true, value_name = "SERVICE")]
    pub(crate) services: Vec<Service>,
}

#[derive(Debug, Args)]
pub(crate) struct Emit {
    /// Topic to send to; made if it is missing
    #[arg(long, default_value = "clickstream")]
    pub(crate) topic: String,
    /// Kafka to send to [default: endpoints.kafka]
    #[arg(long, value_name = "HOST:PORT,…")]
    pub(crate) bootstrap_servers: Option<String>,
    /// File of properties of Kafka's Java client, for TLS and passwords: `security.protocol=SASL_SSL` and so on
    #[arg(long, value_name = "FILE")]
    pub(crate) client_config: Option<PathBuf>,
    /// One such property; it goes before the file
    #[arg(long = "client-property", value_name = "NAME=VALUE")]
    pub(crate) client_properties: Vec<String>,
    /// Events per second; 0 is as fast as possible
    #[arg(long, default_value_t = 1000)]
    pub(crate) rate: u32,
    /// Bursts: FACTOR times the rate for LENGTH in every EVERY, for example `10:5s:1m`
    #[arg(long, value_name = "FACTOR:LENGTH:EVERY", conflicts_with = "ramp")]
    pub(crate) burst: Option<String>,
    /// Grow from FROM events per second to the rate OVER a time, for example `100:5m`
    #[arg(long, value_name = "FROM:OVER")]
    pub(crate) ramp: Option<String>,
    /// Stop after so many events [default: never]
    #[arg(long)]
    pub(crate) count: Option<u64>,
    /// Decides the accounts, the pages and all events
    #[arg(long, default_value_t = 42)]
    pub(crate) seed: u64,
    /// Another number gives other events over the same accounts and pages
    #[arg(long, default_value_t = 0)]
    pub(crate) stream: u64,
    /// Event time of the first event, in milliseconds since 1970; with it the same seed gives the same bytes again
    #[arg(long, value_name = "MILLISECONDS")]
    pub(crate) start_time: Option<i64>,
    /// Begin so many seconds in the past, and catch up at full speed
    #[arg(long, value_parser = seconds, default_value = "0", value_name = "SECONDS")]
    pub(crate) backfill: Duration,
    /// What to send: clickstream, weblog or nexmark
    #[arg(long, default_value = "clickstream")]
    pub(crate) profile: String,
    /// Share of events that come later than any watermark allows, 0 to 1
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    pub(crate) late: f64,
    /// Share of events that come a little out of order, 0 to 1
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    pub(crate) out_of_order: f64,
    /// Share of events sent twice, 0 to 1
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    pub(crate) duplicate: f64,
    /// Share of records that no parser accepts, 0 to 1
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    pub(crate) malformed: f64,
    /// Compression of the batches: none, gzip, snappy, lz4 or zstd
    #[arg(long, default_value = "none")]
    pub(crate) compression: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Job {
    /// Send a SQL file to a SQL Gateway, ours or a real Flink's
    Submit {
        /// The file
        file: PathBuf,
        /// SQL Gateway [default: endpoints.gateway]
        #[arg(long, value_name = "URL")]
        gateway: Option<url::Url>,
    },
    /// Run a SQL file in this process until its bounded inputs are read
    Run {
        /// The file
        file: PathBuf,
    },
    /// All jobs
    List,
    /// One job with its operators and checkpoints
    Show {
        /// The job's id, or the beginning of it
        id: String,
    },
    /// Stop a job
    Cancel {
        /// The job's id, or the beginning of it
        id: String,
    },
    /// Take a checkpoint that is kept
    Savepoint {
        /// The job's id, or the beginning of it
        id: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Sql {
    /// Run these statements and leave
    #[arg(short = 'e', long, value_name = "SQL")]
    pub(crate) execute: Option<String>,
    /// Trino server [default: endpoints.trino]
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<url::Url>,
    /// Catalog of names that have none
    #[arg(long, default_value = "iceberg")]
    pub(crate) catalog: String,
    /// Schema of names that have none
    #[arg(long)]
    pub(crate) schema: Option<String>,
    /// How results are printed
    #[arg(long, value_enum, default_value = "table")]
    pub(crate) format: Format,
    /// Give up a statement after so long
    #[arg(long, value_parser = seconds, default_value = "3600", value_name = "SECONDS")]
    pub(crate) timeout: Duration,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Aligned columns
    Table,
    /// Comma-separated, with a header
    Csv,
    /// One JSON object a row
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct ConfigOptions {
    /// Print the annotated defaults instead
    #[arg(long)]
    pub(crate) defaults: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .map(Duration::from_secs)
        .map_err(|_| format!("`{text}` is no number of seconds"))
}
