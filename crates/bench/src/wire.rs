//! `bench wire`: the same saga over real HTTP, between four processes: load, node, participants; and, in the same
//! run and in its place, a bare orchestrator that makes the same three calls and keeps nothing.
//!
//! The ratio says what durability, state and limits cost above what the network stack takes anyway.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::Common;
use crate::children::{Role, told, told_number, wait_for_parent};
use crate::engine::workers;
use crate::figures::{Figures, print};
use crate::saga;

/// What a participant takes at once, or as many as there are clients: never in the way of clients that each wait for
/// their answer. Without a limit, submissions by NDJSON open thousands of connections.
const IN_FLIGHT_MIN: u64 = 256;

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub common: Common,
    /// Keep-alive connections, each with one transaction at a time.
    #[arg(long, default_value_t = 64)]
    pub clients: u64,
    /// Instead of as fast as it goes: so many submissions a second, on time whatever the answers do.
    #[arg(long)]
    pub rate: Option<u64>,
    /// Without the second line that submits by NDJSON.
    #[arg(long)]
    pub no_ndjson: bool,
    /// What the participants declare of `learn` (on, observe, off), for comparing; nothing if not said.
    #[arg(long)]
    pub learn: Option<String>,
}

pub(crate) fn run(args: &Args) -> Result<(), String> {
    let mut runs = Vec::new();
    for n in 0..args.common.runs.max(1) {
        runs.push(one(args, n)?);
    }
    let mut settings = vec![
        ("learn", args.learn.clone().unwrap_or_else(|| "not said".into())),
        ("clients", args.clients.to_string()),
        ("workers", workers(&args.common).to_string()),
        ("seconds", args.common.seconds.to_string()),
        ("runs", args.common.runs.to_string()),
    ];
    if let Some(rate) = args.rate {
        settings.push(("rate_per_s", rate.to_string()));
    }
    print("wire", &settings, &runs, &args.common);
    Ok(())
}

fn one(args: &Args, n: usize) -> Result<Figures, String> {
    let stand = Role::start("stand", &[])?;
    let dir =
        tempfile::Builder::new().prefix("tidegate-bench-").tempdir_in(&args.common.dir).map_err(|e| e.to_string())?;
    let threads = workers(&args.common).to_string();
    let node_arguments = [
        ("DATA", dir.path().display().to_string()),
        ("STAND", stand.said.clone()),
        ("WORKERS", threads.clone()),
        ("LIMIT", args.clients.max(IN_FLIGHT_MIN).to_string()),
        ("LEARN", args.learn.clone().unwrap_or_default()),
    ];
    let mut figures = Figures::default();
    let measure_node = |figures: &mut Figures| -> Result<(), String> {
        let node = Role::start("node", &node_arguments)?;
        let address: SocketAddr = node.said.parse().map_err(|e| format!("the node said \"{}\": {e}", node.said))?;
        let before = (node.cpu(), metric(address, "tidegate_journal_groups_total")?, written(address)?);
        let measured = load(args, address)?;
        let after = (node.cpu(), metric(address, "tidegate_journal_groups_total")?, written(address)?);
        let done = number(&measured, "done_in_all")?.max(1.0);
        let seconds = number(&measured, "seconds_in_all")?;
        figures.put("tx_per_s", number(&measured, "tx_per_s")?);
        for name in ["latency_ms_p50", "latency_ms_p99", "latency_ms_p999"] {
            figures.put(name, number(&measured, name)?);
        }
        figures.put("cpu_us_per_tx", (after.0 - before.0).as_secs_f64() * 1e6 / done);
        figures.put("bytes_per_tx", (after.2 - before.2) / done);
        figures.put("fsyncs_per_s", (after.1 - before.1) / seconds);
        if !args.no_ndjson && args.rate.is_none() {
            figures.put("ndjson_tx_per_s", ndjson(args, address)?);
        }
        figures.put("rss_mib", node.rss_peak_mib());
        Ok(())
    };
    let measure_bare = || -> Result<(f64, f64, f64), String> {
        let bare = Role::start("bare", &[("STAND", stand.said.clone()), ("WORKERS", threads.clone())])?;
        let address: SocketAddr =
            bare.said.parse().map_err(|e| format!("the bare orchestrator said \"{}\": {e}", bare.said))?;
        let before = bare.cpu();
        let measured = load(args, address)?;
        let done = number(&measured, "done_in_all")?.max(1.0);
        let cpu = (bare.cpu() - before).as_secs_f64() * 1e6 / done;
        Ok((number(&measured, "tx_per_s")?, number(&measured, "latency_ms_p99")?, cpu))
    };
    // Who goes first alternates, so that a drift of the machine favours nobody.
    let bare = if n.is_multiple_of(2) {
        measure_node(&mut figures)?;
        measure_bare()?
    } else {
        let bare = measure_bare()?;
        measure_node(&mut figures)?;
        bare
    };
    figures.put("bare_tx_per_s", bare.0);
    figures.put("bare_latency_ms_p99", bare.1);
    figures.put("bare_cpu_us_per_tx", bare.2);
    let ours = figures.0.first().map_or(0.0, |(_, v)| *v);
    figures.put("ratio_to_bare", ours / bare.0.max(1.0));
    Ok(figures)
}

fn load(args: &Args, address: SocketAddr) -> Result<Value, String> {
    let child = Role::start(
        "load",
        &[
            ("TO", address.to_string()),
            ("CLIENTS", args.clients.to_string()),
            ("SECONDS", args.common.seconds.to_string()),
            ("RATE", args.rate.unwrap_or(0).to_string()),
        ],
    )?;
    let measured: Value =
        serde_json::from_str(&child.said).map_err(|e| format!("the load said \"{}\": {e}", child.said))?;
    match measured.get("errors").and_then(Value::as_u64) {
        Some(0) => Ok(measured),
        errors => Err(format!("{errors:?} of the answers were errors; the first: {}", measured["first_error"])),
    }
}

fn number(measured: &Value, name: &str) -> Result<f64, String> {
    measured.get(name).and_then(Value::as_f64).ok_or_else(|| format!("the load did not say {name}"))
}

/// One request on a connection of its own; for setting up and reading metrics.
fn ask(address: SocketAddr, head: &str, body: &[u8]) -> Result<String, String> {
    let mut stream = TcpStream::connect(address).map_err(|e| e.to_string())?;
    let kind = if head.ends_with("/batch") { "application/x-ndjson" } else { "application/json" };
    let request = format!(
        "{head} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(request.as_bytes()).and_then(|()| stream.write_all(body)).map_err(|e| e.to_string())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(|e| e.to_string())?;
    Ok(answer)
}

fn metric(address: SocketAddr, name: &str) -> Result<f64, String> {
    let text = ask(address, "GET /metrics", b"")?;
    let line = text.lines().find_map(|l| l.strip_prefix(name).and_then(|rest| rest.strip_prefix(' ')));
    line.and_then(|n| n.trim().parse().ok()).ok_or_else(|| format!("no {name} in the metrics"))
}

fn written(address: SocketAddr) -> Result<f64, String> {
    Ok(metric(address, "tidegate_journal_written_bytes_total")? + metric(address, "tidegate_history_bytes")?)
}

/// Submissions by NDJSON, 500 lines a request on 4 connections; counted when they have ended.
fn ndjson(args: &Args, address: SocketAddr) -> Result<f64, String> {
    let ended = || metric(address, "tidegate_transactions_ended_total");
    let until = std::time::Instant::now() + Duration::from_secs(args.common.seconds);
    let before = (std::time::Instant::now(), ended()?);
    let senders: Vec<_> = (0..4u64)
        .map(|sender| {
            std::thread::spawn(move || -> Result<(), String> {
                let mut n = (sender + 1) << 40;
                let mut line = Vec::new();
                while std::time::Instant::now() < until {
                    let mut body = Vec::new();
                    for _ in 0..500 {
                        n += 1;
                        saga::body(n, &mut line);
                        // The key goes into the same object.
                        body.extend_from_slice(&line[..line.len() - 1]);
                        let _ = writeln!(body, ",\"idempotency_key\":\"nd-{n}\"}}");
                    }
                    let answer = ask(address, "POST /v1/transactions/batch", &body)?;
                    if !answer.starts_with("HTTP/1.1 200") || answer.contains("\"problem\"") {
                        return Err(format!("a batch was not taken: {}", answer.chars().take(600).collect::<String>()));
                    }
                }
                Ok(())
            })
        })
        .collect();
    for sender in senders {
        sender.join().map_err(|_| "a sender panicked".to_owned())??;
    }
    while metric(address, "tidegate_transactions_live")? > 0.0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok((ended()? - before.1) / before.0.elapsed().as_secs_f64())
}

/// Plays one of the parts, if this process was started for one.
pub(crate) fn play(role: &str) -> Result<(), String> {
    match role {
        "stand" => play_stand(),
        "node" => play_node(),
        "bare" => crate::bare::play(&told("STAND")?, told_number("WORKERS")? as usize),
        "load" => crate::load::play(
            told("TO")?.parse().map_err(|e| format!("{e}"))?,
            told_number("CLIENTS")?,
            Duration::from_secs(told_number("SECONDS")?),
            told_number("RATE")?,
        ),
        other => Err(format!("no such part: {other}")),
    }
}

fn play_stand() -> Result<(), String> {
    let settings = stand::Settings {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        systems: ["stock", "payments", "sms"].map(stand::SystemSpec::generic).into(),
        ledger: None,
        ..stand::Settings::default()
    };
    let stand = stand::Stand::start(&settings).map_err(|e| e.to_string())?;
    println!("http://{}", stand.address());
    wait_for_parent();
    Ok(())
}

fn play_node() -> Result<(), String> {
    let mut settings = runtime::Settings::new(told("DATA")?);
    settings.workers = told_number("WORKERS")? as usize;
    let listening =
        api::listen(api::ListenSettings::new(SocketAddr::from(([127, 0, 0, 1], 0)))).map_err(|e| e.to_string())?;
    let components = runtime::Components { renderer: api::view::render, serve: Some(listening.serve.clone()) };
    let engine = runtime::Engine::start(settings, components).map_err(|e| e.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|e| e.to_string())?;
    let learn = told("LEARN")?;
    let learn = (!learn.is_empty()).then_some(learn.as_str());
    runtime
        .block_on(engine.apply(saga::files(&told("STAND")?, told_number("LIMIT")? as u32, learn), false, "bench"))
        .map_err(|e| format!("the definition was not applied: {e:?}"))?;
    println!("{}", listening.address);
    wait_for_parent();
    engine.stop();
    Ok(())
}
