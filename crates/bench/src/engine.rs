//! `bench engine`: a 3-step saga whose participants answer inside the process.
//!
//! Real: decoding of each submission's JSON, checks, admission, idempotency, the state machine, the journal with
//! fsync, dispatch and limits, rendering and reading of every call and answer, history, the rendered reply.
//! Not there: sockets. A closed loop keeps a fixed number of transactions in flight.

use std::sync::Arc;
use std::time::{Duration, Instant};

use connectors::{Body, Call, Reply};
use model::Value;
use runtime::settings::LocalParticipants;
use runtime::{Components, Engine, Settings, Submission, Until};

use crate::Common;
use crate::closed_loop::ClosedLoop;
use crate::figures::{Figures, print, rss_peak_mib};
use crate::{saga, waiting};

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
    /// What the participants declare of `learn` (on, observe, off), for comparing; nothing if not said.
    #[arg(long)]
    pub learn: Option<String>,
}

pub(crate) fn run(args: &Args) -> Result<(), String> {
    let mut runs = Vec::new();
    for _ in 0..args.common.runs.max(1) {
        runs.push(one(args)?);
    }
    let settings = [
        ("learn", args.learn.clone().unwrap_or_else(|| "not said".into())),
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
        .block_on(engine.apply(
            saga::files("http://127.0.0.1:1", saga::NO_LIMIT, args.learn.as_deref()),
            false,
            "bench",
        ))
        .map_err(|e| format!("the definition was not applied: {e:?}"))?;
    let load = ClosedLoop::start(&engine, waiting::order, Some(Until::Outcome), args.in_flight, 0, u64::MAX);
    let warm = Instant::now() + Duration::from_secs(1);
    load.run_until(|_| Instant::now() >= warm)?;
    let window = load.measure(Duration::from_secs(args.common.seconds))?;
    load.stop()?;
    engine.stop();
    if load.refused() > 0 {
        let last = load.last_refusal().unwrap_or_default();
        return Err(format!("{} submissions were refused; the last: {last}", load.refused()));
    }
    let mut figures = Figures::default();
    window.put(&mut figures);
    figures.put("journal_bytes_per_tx", window.journal_bytes_per_tx);
    figures.put("rss_mib", rss_peak_mib());
    Ok(figures)
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
