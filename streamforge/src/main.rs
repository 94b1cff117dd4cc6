//! `streamforge`: the whole lakehouse, or any part of it, in one binary.
//!
//! Each module is one command or one thing all commands need: [`cli`] says what there is, [`config`] where every value
//! comes from, [`run`] starts services, [`up`] the demo on top of them; the rest are clients of the open protocols and
//! work against the real products too.

mod cli;
mod config;
mod credentials;
mod data_dir;
mod demo;
mod emit;
mod gateway;
mod job;
mod maintenance;
mod output;
mod run;
mod service;
mod sql;
mod status;
mod trino;
mod up;
mod wiring;

use std::process::ExitCode;

/// Rows pass from thread to thread, and the C library's allocator gives back little of what other threads free: with
/// it the pipeline took a tenth more CPU and a quarter more memory (docs/benchmarks.md).
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = cli::Cli::of_process();
    if let Err(error) = telemetry::init(&cli.log, telemetry::LogFormat::Text) {
        output::error(&format!("--log: {error}"));
        return ExitCode::from(2);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            output::error(&format!("could not start the IO threads: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(Box::pin(dispatch(cli)));
    // What still runs after the drain (a blocked read of a foreign server) must not hold the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    match outcome {
        Ok(code) => code,
        Err(error) => {
            output::error(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn dispatch(cli: cli::Cli) -> anyhow::Result<ExitCode> {
    use cli::Command;
    match cli.command {
        Command::Up(options) => up::up(&cli.settings, &options).await,
        Command::Run(options) => run::run_command(&cli.settings, &options).await,
        Command::Emit(options) => emit::emit(&cli.settings, options).await,
        Command::Job(command) => job::job(&cli.settings, command).await,
        Command::Sql(options) => sql::shell(&cli.settings, &options).await,
        Command::Config(options) => config::print(&cli.settings, &options),
        Command::Status => status::status(&cli.settings).await,
    }
}
