//! How fast, at what cost: benchmarks that anybody can run.
//!
//! Each prints its settings, runs several times and quotes medians. Machines are noisy, so what is to be compared is
//! measured in one run and given as a ratio. Nothing here is a test: no figure passes or fails.

#![forbid(unsafe_code)]

mod backlog;
mod bare;
mod children;
mod closed_loop;
mod engine;
mod figures;
mod history;
mod load;
mod recovery;
mod saga;
mod waiting;
mod wire;

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};

/// What to measure.
#[derive(Debug, Subcommand)]
pub enum Bench {
    /// A 3-step saga with participants answered inside the process; everything else is real.
    Engine(engine::Args),
    /// The same over HTTP between processes, beside a bare orchestrator that keeps nothing.
    Wire(wire::Args),
    /// Kills a node with a million open transactions: how long until it serves again.
    Recovery(recovery::Args),
    /// A participant is down and millions of transactions park: memory, disk, the others, and the drain afterwards.
    Backlog(backlog::Args),
    /// Throughput with few and with many finished transactions remembered.
    History(history::Args),
}

/// What every benchmark can be told.
#[derive(Clone, Debug, ClapArgs)]
pub struct Common {
    /// Seconds of one run, after one second of warming up.
    #[arg(long, default_value_t = 5)]
    pub seconds: u64,
    /// Runs; the medians are quoted.
    #[arg(long, default_value_t = 3)]
    pub runs: usize,
    /// Where data directories are made and removed again: on the disk that is to be measured.
    #[arg(long, default_value = ".")]
    pub dir: PathBuf,
    /// Worker threads of the node; as many as there are cores if not said.
    #[arg(long)]
    pub workers: Option<usize>,
    /// How it is printed; the command line that stands around it decides.
    #[arg(skip)]
    pub output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, ValueEnum)]
pub enum Output {
    #[default]
    Table,
    /// One object on standard output.
    Json,
}

/// Runs one benchmark and prints it.
///
/// # Errors
/// What kept it from running, in words.
pub fn run(mut bench: Bench, output: Output) -> Result<(), String> {
    let common = match &mut bench {
        Bench::Engine(args) => &mut args.common,
        Bench::Wire(args) => &mut args.common,
        Bench::Recovery(args) => &mut args.common,
        Bench::Backlog(args) => &mut args.common,
        Bench::History(args) => &mut args.common,
    };
    common.output = output;
    match &bench {
        Bench::Engine(args) => engine::run(args),
        Bench::Wire(args) => wire::run(args),
        Bench::Recovery(args) => recovery::run(args),
        Bench::Backlog(args) => backlog::run(args),
        Bench::History(args) => history::run(args),
    }
}

/// If this process was started by a benchmark to play a part of it, plays that and gives how it ended.
///
/// Call it first thing in `main` of every binary that can run a benchmark.
pub fn play_part() -> Option<Result<(), String>> {
    std::env::var(children::ROLE).ok().map(|role| match role.as_str() {
        recovery::FILL | recovery::SERVE => recovery::play(&role),
        _ => wire::play(&role),
    })
}
