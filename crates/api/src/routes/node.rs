//! How the node is: alive, ready, its numbers, its settings and limits.

use http::StatusCode;
use runtime::Readiness;

use super::Ask;
use crate::body::{Response, json, text};
use crate::json::Object;
use crate::metrics;
use crate::problem::{Code, Problem};
use crate::request;

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
