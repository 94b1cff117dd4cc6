//! The benchmark suite: starts the release binary on a directory of its own and measures it from outside.
//!
//! Every figure of `docs/benchmarks.md` is printed by one of these commands. Nothing of ours is linked: what is measured
//! is what a user runs, over the protocols a user speaks.

mod freshness;
mod pipeline;
mod process;
mod startup;
mod trino;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Measures a release build of streamforge on this machine.
#[derive(Debug, Parser)]
struct Cli {
    /// The binary [default: the one beside this program]
    #[arg(long, global = true)]
    binary: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Time to the ready line, idle memory, size of the binary
    Startup {
        /// How many starts
        #[arg(long, default_value_t = 5)]
        runs: usize,
    },
    /// Events per second from the emitter to gold, CPU by part, memory
    Pipeline {
        /// Events of one run
        #[arg(long, default_value_t = 3_000_000)]
        events: u64,
        /// Events per second; 0 is as fast as possible
        #[arg(long, default_value_t = 0)]
        rate: u64,
        /// Seconds between checkpoints
        #[arg(long, default_value_t = 5)]
        checkpoint: u64,
    },
    /// Time from an event to its row in SQL at a fixed rate
    Freshness {
        /// Events per second
        #[arg(long, default_value_t = 20_000)]
        rate: u64,
        /// How long
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
    /// Memory over time under full load
    Soak {
        /// Events per second; 0 is as fast as possible
        #[arg(long, default_value_t = 0)]
        rate: u64,
        /// How long
        #[arg(long, default_value_t = 600)]
        seconds: u64,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let binary = process::binary(cli.binary)?;
    process::print_machine(&binary)?;
    match cli.command {
        Command::Startup { runs } => startup::measure(&binary, runs).await,
        Command::Pipeline {
            events,
            rate,
            checkpoint,
        } => pipeline::measure(&binary, events, rate, checkpoint).await,
        Command::Freshness { rate, seconds } => freshness::measure(&binary, rate, seconds).await,
        Command::Soak { rate, seconds } => pipeline::soak(&binary, rate, seconds).await,
    }
}
