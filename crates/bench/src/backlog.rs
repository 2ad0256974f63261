//! `bench backlog`: a participant is down and millions of transactions park; what that costs the others, and how the
//! backlog goes when the participant is back.
//!
//! The others' transactions are measured by the same closed loop before anything is parked, while everything is
//! parked, while the backlog drains, and after it. "Parked" is set against the mean of "before" and "after", which
//! evens out a drift of the machine and what history costs; the ratio of CPU time per transaction is the one that
//! other work on the machine disturbs least. The limit is watched by asking the node every 2 ms.
//!
//! The participant answers at once, so the drain goes as fast as its limit and the journal let it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use runtime::{Engine, Until};

use crate::Common;
use crate::closed_loop::{ClosedLoop, Window};
use crate::engine::{metric, workers};
use crate::figures::{Figures, print, rss_peak_mib};
use crate::waiting::{self, Numbers, Partner, disk_mib, rss_mib};

#[derive(Clone, Debug, clap::Args)]
#[command(mut_arg("runs", |runs| runs.default_value("1").help("Runs; the highest RSS is that of all of them so far")))]
pub struct Args {
    #[command(flatten)]
    pub common: Common,
    /// Transactions that park.
    #[arg(long, default_value_t = 5_000_000)]
    pub parked: u64,
    /// The limit of the participant that is down.
    #[arg(long, default_value_t = 1_024)]
    pub limit: u32,
    /// Transactions of the others in flight.
    #[arg(long, default_value_t = 1_024)]
    pub in_flight: u64,
    /// Memory for live transactions, in MiB; the process has more.
    #[arg(long, default_value_t = 512)]
    pub memory_mib: u64,
    /// MiB of one partition's journal between two checkpoints; the node's own choice if not said.
    #[arg(long)]
    pub checkpoint_mib: Option<u64>,
}

pub(crate) fn run(args: &Args) -> Result<(), String> {
    let mut runs = Vec::new();
    for _ in 0..args.common.runs.max(1) {
        runs.push(one(args)?);
    }
    let settings = [
        ("parked", args.parked.to_string()),
        ("limit", args.limit.to_string()),
        ("in_flight", args.in_flight.to_string()),
        ("memory_mib", args.memory_mib.to_string()),
        ("workers", workers(&args.common).to_string()),
        ("seconds", args.common.seconds.to_string()),
        ("runs", args.common.runs.to_string()),
    ];
    print("backlog", &settings, &runs, &args.common);
    Ok(())
}

/// The others, one stretch after another.
struct Others<'a> {
    engine: &'a Engine,
    in_flight: u64,
    next: u64,
    time: Duration,
}

impl Others<'_> {
    fn begin(&self) -> ClosedLoop {
        ClosedLoop::start(self.engine, waiting::order, Some(Until::Outcome), self.in_flight, self.next, u64::MAX)
    }

    fn end(&mut self, load: &ClosedLoop) -> Result<(), String> {
        load.stop()?;
        self.next = load.next();
        Ok(())
    }

    fn measure(&mut self) -> Result<Window, String> {
        let load = self.begin();
        load.measure(Duration::from_secs(1))?;
        let window = load.measure(self.time)?;
        self.end(&load)?;
        Ok(window)
    }
}

fn one(args: &Args) -> Result<Figures, String> {
    let dir =
        tempfile::Builder::new().prefix("tidegate-bench-").tempdir_in(&args.common.dir).map_err(|e| e.to_string())?;
    let partner = Arc::new(Partner::default());
    let numbers =
        Numbers { workers: workers(&args.common), memory_mib: args.memory_mib, checkpoint_mib: args.checkpoint_mib };
    let engine = waiting::node(dir.path(), numbers, &partner, args.limit)?;
    let time = Duration::from_secs(args.common.seconds);
    let mut others = Others { engine: &engine, in_flight: args.in_flight, next: 0, time };
    let mut figures = Figures::default();

    eprintln!("backlog: the others alone");
    // Past the first checkpoints and the first segments of history, so that "before" is no holiday.
    let warming = others.begin();
    warming.measure(2 * time)?;
    others.end(&warming)?;
    let before = others.measure()?;
    before.put(&mut figures);
    let disk_before = disk_mib(dir.path());

    eprintln!("backlog: parking {}", args.parked);
    partner.is_down.store(true, Ordering::Release);
    let began = Instant::now();
    let fill = ClosedLoop::start(&engine, waiting::delivery, None, 4_096, 0, args.parked);
    fill.run_to_end()?;
    let fill_s = began.elapsed().as_secs_f64();
    figures.put("park_s", fill_s);
    figures.put("park_tx_per_s", args.parked as f64 / fill_s);
    figures.put("park_refused", fill.refused() as f64);

    eprintln!("backlog: the others beside what is parked");
    let during = others.measure()?;
    let live = metric(&engine, "tidegate_transactions_live");
    if live < args.parked as f64 {
        return Err(format!("{} transactions were accepted, {live} are live", args.parked));
    }
    figures.put("parked_resident", metric(&engine, "tidegate_transactions_resident"));
    figures.put("parked_rss_mib", rss_mib());
    figures.put("parked_on_disk_mib", disk_mib(dir.path()) - disk_before);

    eprintln!("backlog: draining");
    partner.is_down.store(false, Ordering::Release);
    let began = Instant::now();
    let load = others.begin();
    let mut in_flight_max = 0;
    let mut over_limit = 0;
    let mut watch = || {
        if let Some(report) = engine.participants().into_iter().find(|p| p.name == "partner") {
            in_flight_max = in_flight_max.max(report.in_flight);
            over_limit = over_limit.max(report.in_flight.saturating_sub(args.limit));
        }
        partner.served.load(Ordering::Relaxed)
    };
    // Its first answers come once a probe has found it.
    load.run_until(|_| watch() > 0)?;
    figures.put("found_again_s", began.elapsed().as_secs_f64());
    let (from, drain_began) = (partner.served.load(Ordering::Relaxed), Instant::now());
    let draining = load.measure(time.min(Duration::from_secs(2)))?;
    load.run_until(|_| watch() >= args.parked)?;
    let drain_s = drain_began.elapsed().as_secs_f64();
    others.end(&load)?;
    if let Some(why) = load.last_refusal() {
        eprintln!("backlog: the others were refused meanwhile, at last with \"{why}\"");
    }
    figures.put("draining_tx_per_s", draining.tx_per_s);
    figures.put("draining_refused", load.refused() as f64);
    figures.put("drain_s", drain_s);
    figures.put("drain_tx_per_s", (args.parked - from) as f64 / drain_s.max(1e-3));
    figures.put("drain_in_flight_max", f64::from(in_flight_max));
    figures.put("drain_over_limit", f64::from(over_limit));
    let until = Instant::now() + Duration::from_secs(30);
    while metric(&engine, "tidegate_transactions_live") > 0.0 {
        if Instant::now() > until {
            return Err(format!("{} are still live", metric(&engine, "tidegate_transactions_live")));
        }
        std::thread::sleep(Duration::from_millis(10));
    }

    let after = others.measure()?;
    figures.put("after_tx_per_s", after.tx_per_s);
    figures.put("parked_tx_per_s", during.tx_per_s);
    figures.put("parked_ratio", during.tx_per_s / ((before.tx_per_s + after.tx_per_s) / 2.0));
    figures.put("parked_cpu_ratio", during.cpu_us_per_tx / ((before.cpu_us_per_tx + after.cpu_us_per_tx) / 2.0));
    figures.put("rss_mib", rss_peak_mib());
    engine.stop();
    Ok(figures)
}
