//! `bench recovery`: a node is killed with a million open transactions; how long until it serves again.
//!
//! The node is a process of its own, killed by SIGKILL and started again. Time runs from before the start of the
//! process to the answer to a new submission that went through all its steps. The files are in the page cache, as
//! after a crash of the process alone; after a loss of power the disk's reading comes on top.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use runtime::Until;
use serde_json::{Value, json};

use crate::Common;
use crate::children::{Role, told, told_number, wait_for_parent};
use crate::closed_loop::ClosedLoop;
use crate::engine::{metric, workers};
use crate::figures::{Figures, cpu_time, print, rss_peak_mib};
use crate::waiting::{self, Numbers, Partner, disk_mib};

/// The part of the node that is filled, and the part of the one that comes after it.
pub(crate) const FILL: &str = "recovery-fill";
pub(crate) const SERVE: &str = "recovery-serve";

const PARTNER_IN_FLIGHT: u32 = 64;

#[derive(Clone, Debug, clap::Args)]
#[command(mut_arg("runs", |runs| runs.help("Kills and starts of the same data directory; the medians are quoted")))]
pub struct Args {
    #[command(flatten)]
    pub common: Common,
    /// Open transactions at the kill.
    #[arg(long, default_value_t = 1_000_000)]
    pub open: u64,
    /// What they wait for.
    #[arg(long, default_value = "signal")]
    pub waiting: Waiting,
    /// Memory for live transactions, in MiB: those that wait for a signal all stay in memory.
    #[arg(long, default_value_t = 2_048)]
    pub memory_mib: u64,
    /// MiB of one partition's journal between two checkpoints; the node's own choice if not said.
    #[arg(long)]
    pub checkpoint_mib: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Waiting {
    /// One call is done, then a signal is awaited.
    Signal,
    /// A participant is down.
    Participant,
}

impl Waiting {
    fn word(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::Participant => "participant",
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<(), String> {
    let dir =
        tempfile::Builder::new().prefix("tidegate-bench-").tempdir_in(&args.common.dir).map_err(|e| e.to_string())?;
    let arguments = [
        ("DATA", dir.path().display().to_string()),
        ("WORKERS", workers(&args.common).to_string()),
        ("MEMORY_MIB", args.memory_mib.to_string()),
        ("CHECKPOINT_MIB", args.checkpoint_mib.unwrap_or(0).to_string()),
        ("OPEN", args.open.to_string()),
        ("WAITING", args.waiting.word().to_owned()),
    ];
    eprintln!("recovery: opening {}", args.open);
    let filled = Role::start(FILL, &arguments)?;
    let said = object(&filled.said)?;
    filled.kill()?;
    let mut runs = Vec::new();
    for _ in 0..args.common.runs.max(1) {
        eprintln!("recovery: starting after the kill");
        let bytes = disk_mib(dir.path());
        let began = Instant::now();
        let node = Role::start(SERVE, &arguments)?;
        let served_s = began.elapsed().as_secs_f64();
        let told = object(&node.said)?;
        node.kill()?;
        let live = number(&told, "live")?;
        if live < args.open as f64 {
            return Err(format!("{} transactions were accepted, {live} are live after the kill", args.open));
        }
        let mut figures = Figures::default();
        figures.put("exec_to_served_s", served_s);
        figures.put("exec_to_started_s", served_s - number(&told, "first_s")?);
        figures.put("first_submission_ms", number(&told, "first_s")? * 1e3);
        figures.put("live_rows", live);
        figures.put("replayed_entries", number(&told, "entries")?);
        figures.put("read_mib", number(&told, "read_mib")?);
        figures.put("on_disk_mib", bytes);
        figures.put("cpu_s", number(&told, "cpu_s")?);
        figures.put("rss_mib", number(&told, "rss_mib")?);
        runs.push(figures);
    }
    let settings = [
        ("open", args.open.to_string()),
        ("waiting", args.waiting.word().to_owned()),
        ("workers", workers(&args.common).to_string()),
        ("memory_mib", args.memory_mib.to_string()),
        ("checkpoint_mib", args.checkpoint_mib.map_or_else(|| "as the node has it".to_owned(), |mib| mib.to_string())),
        ("runs", args.common.runs.to_string()),
        ("fill_s", format!("{:.1}", number(&said, "fill_s")?)),
        ("fill_rss_mib", format!("{:.0}", number(&said, "rss_mib")?)),
        ("checkpoints_before_kill", format!("{:.0}", number(&said, "checkpoints")?)),
    ];
    print("recovery", &settings, &runs, &args.common);
    Ok(())
}

fn object(said: &str) -> Result<Value, String> {
    serde_json::from_str(said).map_err(|e| format!("the node said \"{said}\": {e}"))
}

fn number(said: &Value, name: &str) -> Result<f64, String> {
    said.get(name).and_then(Value::as_f64).ok_or_else(|| format!("the node did not say {name}"))
}

/// Plays one of the two parts.
pub(crate) fn play(role: &str) -> Result<(), String> {
    let partner = Arc::new(Partner { is_down: AtomicBool::new(true), ..Partner::default() });
    let data = PathBuf::from(told("DATA")?);
    let numbers = Numbers {
        workers: told_number("WORKERS")? as usize,
        memory_mib: told_number("MEMORY_MIB")?,
        checkpoint_mib: Some(told_number("CHECKPOINT_MIB")?).filter(|mib| *mib > 0),
    };
    let open = told_number("OPEN")?;
    let said = if role == FILL {
        let began = Instant::now();
        let engine = waiting::node(&data, numbers, &partner, PARTNER_IN_FLIGHT)?;
        let by_signal = told("WAITING")? == Waiting::Signal.word();
        let make = if by_signal { waiting::hold } else { waiting::delivery };
        let load = ClosedLoop::start(&engine, make, None, 4_096, 0, open);
        load.run_to_end()?;
        if by_signal {
            // Each has had its call and waits now.
            let until = Instant::now() + Duration::from_secs(60);
            while answered(&engine) < open as f64 {
                if Instant::now() > until {
                    return Err("the first step of some transactions was not done within 60 s".into());
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        json!({
            "fill_s": began.elapsed().as_secs_f64(),
            "rss_mib": rss_peak_mib(),
            "checkpoints": metric(&engine, "tidegate_checkpoints_total"),
        })
    } else {
        let entries = replayed::listen()?;
        let engine = waiting::start(&data, numbers, &partner)?;
        let started = Instant::now();
        // A number that no submission had before, whatever was started on this directory.
        let n = open + u64::from(std::process::id()) + 1_000_000_000;
        let first = ClosedLoop::start(&engine, waiting::order, Some(Until::Outcome), 1, n, n + 1);
        first.run_to_end()?;
        json!({
            "first_s": started.elapsed().as_secs_f64(),
            "live": metric(&engine, "tidegate_transactions_live"),
            "entries": entries.load(Ordering::Relaxed),
            "read_mib": read_mib(),
            "cpu_s": cpu_time().as_secs_f64(),
            "rss_mib": rss_peak_mib(),
        })
    };
    println!("{said}");
    wait_for_parent();
    Ok(())
}

fn answered(engine: &runtime::Engine) -> f64 {
    let families = engine.metrics();
    let calls = families.iter().find(|f| f.name == "tidegate_calls_total");
    let done = calls.and_then(|f| f.samples.iter().find(|(labels, _)| labels.iter().any(|(_, value)| value == "done")));
    match done {
        Some((_, runtime::report::SampleValue::Number(n))) => *n,
        _ => 0.0,
    }
}

/// What this process has read so far, from the page cache or from the disk.
fn read_mib() -> f64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let bytes = io.lines().find_map(|l| l.strip_prefix("rchar:")).and_then(|n| n.trim().parse::<f64>().ok());
    bytes.unwrap_or(0.0) / (1 << 20) as f64
}

/// How many entries the node replayed: it says so in its log, and nowhere else.
mod replayed {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber};

    struct Log(Arc<AtomicU64>);

    struct Entries<'a>(&'a AtomicU64);

    impl Visit for Entries<'_> {
        fn record_u64(&mut self, field: &Field, value: u64) {
            if field.name() == "entries" {
                self.0.store(value, Ordering::Relaxed);
            }
        }

        fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
    }

    impl Subscriber for Log {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            *metadata.level() <= tracing::Level::INFO
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, event: &Event<'_>) {
            event.record(&mut Entries(&self.0));
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    pub(super) fn listen() -> Result<Arc<AtomicU64>, String> {
        let entries = Arc::new(AtomicU64::new(0));
        tracing::subscriber::set_global_default(Log(Arc::clone(&entries))).map_err(|e| e.to_string())?;
        Ok(entries)
    }
}
