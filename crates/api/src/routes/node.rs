//! How the node is: alive, ready, its numbers, its settings and limits.

use http::StatusCode;
use hyper::body::Incoming;
use runtime::Readiness;

use super::{Ask, definitions};
use crate::body::{Response, json, text};
use crate::json::Object;
use crate::metrics;
use crate::problem::{Code, Problem};
use crate::request::{self, Fields};

pub(super) fn alive(ask: &Ask<'_>) -> Result<Response, Problem> {
    ask.no_query()?;
    Ok(json(StatusCode::OK, &b"{\"alive\":true}"[..]))
}

/// 200 while it may take work, else 503 with the reason.
pub(super) fn ready(ask: &Ask<'_>) -> Result<Response, Problem> {
    ask.no_query()?;
    match readiness(ask) {
        Readiness::Ready => Ok(json(StatusCode::OK, &b"{\"ready\":true}"[..])),
        Readiness::NotReady(why) => {
            Err(Problem::new(Code::Unavailable, why).retry(std::time::Duration::from_secs(1), runtime::Accepted::No))
        }
    }
}

fn readiness(ask: &Ask<'_>) -> Readiness {
    if ask.front.settings.drain.has_begun() {
        return Readiness::NotReady(request::draining().detail.into());
    }
    ask.front.engine.readiness()
}

pub(super) fn metrics(ask: &Ask<'_>) -> Result<Response, Problem> {
    ask.no_query()?;
    let mut families = ask.front.engine.metrics();
    families.extend(ask.front.shared.families());
    Ok(text(metrics::CONTENT_TYPE, metrics::render(&families)))
}

/// Holds all calls of the node.
pub(super) async fn pause(ask: Ask<'_>, body: Incoming) -> Result<Response, Problem> {
    ask.no_query()?;
    let map = ask.small(body).await?;
    let reason = Fields::of(&map, "", &["reason"])?.reason()?.to_owned();
    ask.front.engine.pause_calls(Some(reason), &ask.actor()?).await?;
    node(&ask)
}

pub(super) async fn resume(ask: Ask<'_>, body: Incoming) -> Result<Response, Problem> {
    ask.no_query()?;
    let map = ask.small(body).await?;
    Fields::of(&map, "", &["reason"])?.maybe_reason()?;
    ask.front.engine.pause_calls(None, &ask.actor()?).await?;
    node(&ask)
}

/// Copies the data directory to a folder of this machine.
pub(super) async fn back_up(ask: Ask<'_>, body: Incoming) -> Result<Response, Problem> {
    ask.no_query()?;
    let map = ask.small(body).await?;
    let to = Fields::of(&map, "", &["to"])?.text("to")?.to_owned();
    let to = std::path::PathBuf::from(to);
    if !to.is_absolute() {
        return Err(Problem::field("/to", "must begin at the root: the node does not know where you stand"));
    }
    let report = ask.front.engine.back_up(to, &ask.actor()?).await;
    let report = report.map_err(|why| Problem::new(Code::Conflict, why.to_string()))?;
    let mut out = Vec::with_capacity(256);
    let mut o = Object::begin(&mut out);
    o.text("to", &report.to.display().to_string()).time("at", report.at);
    o.number("files", report.files).number("bytes", report.bytes).end();
    Ok(json(StatusCode::OK, out))
}

pub(super) fn node(ask: &Ask<'_>) -> Result<Response, Problem> {
    ask.no_query()?;
    let readiness = readiness(ask);
    let Some(report) = ask.front.engine.node() else {
        return Err(Problem::new(Code::Unavailable, "the node is starting")
            .retry(std::time::Duration::from_secs(1), runtime::Accepted::No));
    };
    let settings = &ask.front.settings;
    let mut out = Vec::with_capacity(2_048);
    let mut o = Object::begin(&mut out);
    o.text("version", report.version);
    let mut formats = Object::begin(o.name("formats"));
    for (name, version) in &report.formats {
        formats.number(name, u64::from(*version));
    }
    formats.end();
    match &readiness {
        Readiness::Ready => drop(o.flag("ready", true).null("not_ready_because")),
        Readiness::NotReady(why) => drop(o.flag("ready", false).text("not_ready_because", why)),
    }
    definitions::paused(ask.front.engine.calls_paused().as_ref(), "calls_paused", &mut o);
    o.time("started_at", report.started_at).number("partitions", u64::from(report.partitions));
    o.number("workers", report.workers as u64).number("live", report.live);
    o.number("history_records", report.history_records);
    o.number("idempotency_window_days", u64::from(report.idempotency_window_days));
    o.number("disk_free_bytes", report.disk_free_bytes).number("journal_bytes", report.journal_bytes);
    o.number("memory_ceiling_bytes", report.memory_ceiling_bytes);
    let mut limits = Object::begin(o.name("limits"));
    limits.number("body_bytes_max", settings.body_bytes_max as u64);
    limits.number("apply_bytes_max", settings.apply_bytes_max as u64);
    limits.number("batch_bytes_max", settings.batch_bytes_max as u64);
    limits.number("header_bytes_max", settings.header_bytes_max as u64);
    limits.number("nesting_max", model::json::DEPTH_MAX as u64);
    limits.number("connections_max", settings.connections_max as u64);
    limits.number("requests_max", settings.requests_max as u64);
    limits.number("wait_s_max", request::WAIT_MAX.as_secs()).end();
    o.list("settings", &report.settings, |(name, value, source), out| {
        Object::begin(out).text("name", name).text("value", value).text("source", source).end();
    });
    o.end();
    Ok(json(StatusCode::OK, out))
}
