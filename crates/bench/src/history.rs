//! `bench history`: what it costs to have finished a lot: the same load on a node that remembers few ended
//! transactions and on one that remembers many.
//!
//! Both nodes live in this process; they are measured in turns, and the ratio is that of neighbours in time. Every
//! submission is new, so each asks the whole history for its idempotency key and hears that nobody knows it.

use std::time::Duration;

use runtime::{Engine, Until};

use crate::Common;
use crate::closed_loop::{ClosedLoop, Window};
use crate::engine::{metric, workers};
use crate::figures::{Figures, print, rss_peak_mib};
use crate::waiting::{self, Numbers, disk_mib, rss_mib};

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub common: Common,
    /// Finished transactions that the first node remembers.
    #[arg(long, default_value_t = 1_000_000)]
    pub small: u64,
    /// Finished transactions that the second node remembers.
    #[arg(long, default_value_t = 20_000_000)]
    pub large: u64,
    /// Transactions in flight.
    #[arg(long, default_value_t = 4_096)]
    pub in_flight: u64,
}

struct Node {
    engine: Engine,
    next: u64,
    dir: tempfile::TempDir,
}

impl Node {
    /// Starts one and lets it finish `count` transactions, as fast as it can.
    fn filled(args: &Args, count: u64) -> Result<Self, String> {
        let dir = tempfile::Builder::new()
            .prefix("tidegate-bench-")
            .tempdir_in(&args.common.dir)
            .map_err(|e| e.to_string())?;
        let numbers = Numbers { workers: workers(&args.common), memory_mib: 1_024, checkpoint_mib: None };
        let engine = waiting::node(dir.path(), numbers, &std::sync::Arc::default(), 64)?;
        eprintln!("history: finishing {count}");
        let load = ClosedLoop::start(&engine, waiting::order, Some(Until::Outcome), args.in_flight, 0, count);
        load.run_to_end()?;
        Ok(Self { engine, next: count, dir })
    }

    fn measure(&mut self, args: &Args) -> Result<Window, String> {
        let load =
            ClosedLoop::start(&self.engine, waiting::order, Some(Until::Outcome), args.in_flight, self.next, u64::MAX);
        load.measure(Duration::from_secs(1))?;
        let window = load.measure(Duration::from_secs(args.common.seconds))?;
        load.stop()?;
        self.next = load.next();
        Ok(window)
    }
}

pub(crate) fn run(args: &Args) -> Result<(), String> {
    if args.small >= args.large {
        return Err(format!("small ({}) must be less than large ({})", args.small, args.large));
    }
    let empty_rss = rss_mib();
    let mut large = Node::filled(args, args.large)?;
    let large_rss = rss_mib() - empty_rss;
    let mut small = Node::filled(args, args.small)?;
    let mut runs = Vec::new();
    for n in 0..args.common.runs.max(1) {
        let records =
            metric(&large.engine, "tidegate_history_records") / metric(&small.engine, "tidegate_history_records");
        // Who goes first alternates, so that a drift of the machine favours nobody.
        let (few, many) = if n.is_multiple_of(2) {
            let few = small.measure(args)?;
            (few, large.measure(args)?)
        } else {
            let many = large.measure(args)?;
            (small.measure(args)?, many)
        };
        let mut figures = Figures::default();
        many.put(&mut figures);
        figures.put("small_tx_per_s", few.tx_per_s);
        figures.put("small_cpu_us_per_tx", few.cpu_us_per_tx);
        figures.put("small_latency_ms_p99", few.latencies.value_at_quantile(0.99) as f64 / 1e3);
        figures.put("ratio", many.tx_per_s / few.tx_per_s);
        figures.put("cpu_ratio", many.cpu_us_per_tx / few.cpu_us_per_tx);
        figures.put("records_ratio", records);
        figures.put("large_records", metric(&large.engine, "tidegate_history_records"));
        figures.put("large_on_disk_mib", disk_mib(large.dir.path()));
        figures.put("rss_mib", rss_peak_mib());
        runs.push(figures);
    }
    large.engine.stop();
    small.engine.stop();
    let settings = [
        ("small", args.small.to_string()),
        ("large", args.large.to_string()),
        ("in_flight", args.in_flight.to_string()),
        ("workers", workers(&args.common).to_string()),
        ("seconds", args.common.seconds.to_string()),
        ("runs", args.common.runs.to_string()),
        ("rss_of_large_alone_mib", format!("{large_rss:.0}")),
    ];
    print("history", &settings, &runs, &args.common);
    Ok(())
}
