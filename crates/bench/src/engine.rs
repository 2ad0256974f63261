//! `bench engine`: a 3-step saga whose participants answer inside the process.
//!
//! Real: decoding of each submission's JSON, checks, admission, idempotency, the state machine, the journal with
//! fsync, dispatch and limits, rendering and reading of every call and answer, history, the rendered reply.
//! Not there: sockets. A closed loop keeps a fixed number of transactions in flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use connectors::{Body, Call, Reply};
use model::Value;
use runtime::settings::LocalParticipants;
use runtime::{Answer, Components, Engine, Refusal, Settings, Submission, Until};

use crate::Common;
use crate::figures::{Figures, cpu_time, latencies, print, rss_peak_mib};
use crate::saga;

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub common: Common,
    /// Transactions in flight.
    #[arg(long, default_value_t = 4_096)]
    pub in_flight: u64,
    /// Partitions of the data directory.
    #[arg(long, default_value_t = 4)]
    pub partitions: u16,
}

/// The load: who is in flight, what has been measured.
struct Load {
    engine: Engine,
    next: AtomicU64,
    stop: AtomicBool,
    measuring: AtomicBool,
    in_flight: AtomicU64,
    done: AtomicU64,
    refused: AtomicU64,
    first_refusal: std::sync::Mutex<Option<String>>,
    latencies: [std::sync::Mutex<hdrhistogram::Histogram<u64>>; 8],
}

pub(crate) fn run(args: &Args) -> Result<(), String> {
    let mut runs = Vec::new();
    for _ in 0..args.common.runs.max(1) {
        runs.push(one(args)?);
    }
    let settings = [
        ("in_flight", args.in_flight.to_string()),
        ("partitions", args.partitions.to_string()),
        ("workers", workers(&args.common).to_string()),
        ("seconds", args.common.seconds.to_string()),
        ("runs", args.common.runs.to_string()),
    ];
    print("engine", &settings, &runs, &args.common);
    Ok(())
}

pub(crate) fn workers(common: &Common) -> usize {
    common.workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// Participants that say yes.
pub(crate) fn agreeable() -> LocalParticipants {
    LocalParticipants(Arc::new(|_: &Call| {
        let body = model::json::parse(br#"{"ok":true}"#).map_or(Body::Empty, Body::Json);
        Reply::Answered { status: 200, retry_after: None, headers: Vec::new(), body }
    }))
}

/// What the HTTP route does with a body, without HTTP.
pub(crate) fn decode(body: &[u8], key: &str) -> Option<Submission> {
    let Value::Map(map) = model::json::parse(body).ok()? else { return None };
    Some(Submission {
        definition: map.get("definition")?.as_str()?.into(),
        version: None,
        input: map.get("input")?.clone(),
        idempotency_key: key.into(),
        timeout: None,
        priority: 1,
        traceparent: "".into(),
    })
}

fn one(args: &Args) -> Result<Figures, String> {
    let dir =
        tempfile::Builder::new().prefix("tidegate-bench-").tempdir_in(&args.common.dir).map_err(|e| e.to_string())?;
    let mut settings = Settings::new(dir.path());
    settings.workers = workers(&args.common);
    settings.partitions = args.partitions;
    settings.local = Some(agreeable());
    settings.inbox_max = usize::try_from(args.in_flight).unwrap_or(usize::MAX).max(1_024) * 2;
    let engine =
        Engine::start(settings, Components { renderer: api::view::render, serve: None }).map_err(|e| e.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|e| e.to_string())?;
    runtime
        .block_on(engine.apply(saga::files("http://127.0.0.1:1"), false, "bench"))
        .map_err(|e| format!("the definition was not applied: {e:?}"))?;
    let load = Arc::new(Load {
        engine: engine.clone(),
        next: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        measuring: AtomicBool::new(false),
        in_flight: AtomicU64::new(args.in_flight),
        done: AtomicU64::new(0),
        refused: AtomicU64::new(0),
        first_refusal: std::sync::Mutex::default(),
        latencies: std::array::from_fn(|_| std::sync::Mutex::new(latencies())),
    });
    for _ in 0..args.in_flight {
        submit(&load);
    }
    std::thread::sleep(Duration::from_secs(1));
    let before = Counted::now(&load);
    load.measuring.store(true, Ordering::Release);
    std::thread::sleep(Duration::from_secs(args.common.seconds));
    load.measuring.store(false, Ordering::Release);
    let after = Counted::now(&load);
    load.stop.store(true, Ordering::Release);
    let until = Instant::now() + Duration::from_secs(30);
    while load.in_flight.load(Ordering::Acquire) > 0 {
        if Instant::now() > until {
            return Err(format!("{} transactions did not end within 30 s", load.in_flight.load(Ordering::Acquire)));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    engine.stop();
    if load.refused.load(Ordering::Relaxed) > 0 {
        let first = load.first_refusal.lock().ok().and_then(|first| first.clone()).unwrap_or_default();
        return Err(format!("{} submissions were refused; the first: {first}", load.refused.load(Ordering::Relaxed)));
    }
    let mut figures = Figures::default();
    after.since(&before, &mut figures);
    let mut all = latencies();
    for one in &load.latencies {
        // Not poisoned: nothing in between can panic.
        if let Ok(one) = one.lock() {
            all.add(&*one).map_err(|e| e.to_string())?;
        }
    }
    figures.latencies(&all);
    figures.put("rss_mib", rss_peak_mib());
    Ok(figures)
}

fn submit(load: &Arc<Load>) {
    let n = load.next.fetch_add(1, Ordering::Relaxed);
    thread_local! {
        static BODY: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
    }
    let order = BODY.with_borrow_mut(|body| {
        saga::body(n, body);
        decode(body, &format!("bench-{n:012}"))
    });
    let Some(order) = order else { return };
    let began = Instant::now();
    let mine = Arc::clone(load);
    let done = move |answer: Result<Answer, Refusal>| {
        if answer.is_err() {
            mine.refused.fetch_add(1, Ordering::Relaxed);
        }
        mine.done.fetch_add(1, Ordering::Relaxed);
        if mine.measuring.load(Ordering::Relaxed)
            && let Ok(mut latencies) = mine.latencies[(n % 8) as usize].lock()
        {
            latencies.saturating_record(began.elapsed().as_micros() as u64);
        }
        if mine.stop.load(Ordering::Relaxed) {
            mine.in_flight.fetch_sub(1, Ordering::Release);
        } else {
            submit(&mine);
        }
    };
    if let Err(why) = load.engine.submit_with(order, Some(Until::Outcome), done) {
        if let Ok(mut first) = load.first_refusal.lock() {
            first.get_or_insert_with(|| why.to_string());
        }
        load.refused.fetch_add(1, Ordering::Relaxed);
        load.in_flight.fetch_sub(1, Ordering::Release);
    }
}

/// Counters at one moment.
struct Counted {
    at: Instant,
    done: u64,
    cpu: Duration,
    numbers: [f64; 3],
}

impl Counted {
    fn now(load: &Load) -> Self {
        let numbers =
            ["tidegate_journal_written_bytes_total", "tidegate_journal_groups_total", "tidegate_history_bytes"]
                .map(|name| metric(&load.engine, name));
        Self { at: Instant::now(), done: load.done.load(Ordering::Relaxed), cpu: cpu_time(), numbers }
    }

    fn since(&self, before: &Self, figures: &mut Figures) {
        let seconds = (self.at - before.at).as_secs_f64();
        let done = (self.done - before.done).max(1) as f64;
        figures.put("tx_per_s", done / seconds);
        figures.put("cpu_us_per_tx", (self.cpu - before.cpu).as_secs_f64() * 1e6 / done);
        figures.put("bytes_per_tx", (self.numbers[0] - before.numbers[0] + self.numbers[2] - before.numbers[2]) / done);
        figures.put("journal_bytes_per_tx", (self.numbers[0] - before.numbers[0]) / done);
        figures.put("fsyncs_per_s", (self.numbers[1] - before.numbers[1]) / seconds);
    }
}

/// One number of the node's metrics.
pub(crate) fn metric(engine: &Engine, name: &str) -> f64 {
    let families = engine.metrics();
    let sample = families.iter().find(|f| f.name == name).and_then(|f| f.samples.first());
    match sample {
        Some((_, runtime::report::SampleValue::Number(n))) => *n,
        _ => 0.0,
    }
}
