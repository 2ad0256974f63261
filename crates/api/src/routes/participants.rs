//! The participants as the node sees them, and pausing all calls to one.

use http::StatusCode;
use hyper::body::Incoming;
use runtime::report::ParticipantReport;

use super::{Ask, definitions};
use crate::body::{Response, json};
use crate::json::Object;
use crate::problem::{Code, Problem};
use crate::request::Fields;

pub(super) fn list(ask: &Ask<'_>) -> Result<Response, Problem> {
    ask.no_query()?;
    let mut out = Vec::with_capacity(2_048);
    let mut o = Object::begin(&mut out);
    o.list("items", &ask.front.engine.participants(), participant).end();
    Ok(json(StatusCode::OK, out))
}

pub(super) fn one(ask: &Ask<'_>) -> Result<Response, Problem> {
    ask.no_query()?;
    let name = ask.param(0)?;
    match ask.front.engine.participants().iter().find(|p| p.name == name) {
        Some(report) => Ok(shown(report)),
        None => Err(Problem::new(Code::ObjectNotFound, format!("there is no participant \"{name}\""))
            .hint("tidegate participants")),
    }
}

fn shown(report: &ParticipantReport) -> Response {
    let mut out = Vec::with_capacity(512);
    participant(report, &mut out);
    json(StatusCode::OK, out)
}

fn participant(report: &ParticipantReport, out: &mut Vec<u8>) {
    let mut o = Object::begin(out);
    o.text("name", &report.name).maybe_text("owner", report.owner.as_deref());
    o.list("endpoints", &report.endpoints, |endpoint, out| model::json::write_text(endpoint, out));
    o.word("state", report.state).number("limit", u64::from(report.limit));
    o.maybe_number("max_per_second", report.max_per_second.map(u64::from));
    o.number("in_flight", u64::from(report.in_flight))
        .number("backlog", report.backlog)
        .number("parked", report.parked);
    o.float("done_per_s", report.done_per_s);
    match report.p99_ms {
        Some(ms) => drop(o.float("latency_ms_p99", ms)),
        None => drop(o.null("latency_ms_p99")),
    }
    o.text("why", &report.why);
    definitions::paused(report.paused.as_ref(), &mut o);
    o.end();
}

pub(super) async fn pause(ask: Ask<'_>, body: Incoming) -> Result<Response, Problem> {
    ask.no_query()?;
    let name = ask.param(0)?;
    let map = ask.small(body).await?;
    let reason = Fields::of(&map, "", &["reason"])?.reason()?.to_owned();
    Ok(shown(&ask.front.engine.pause_participant(&name, Some(reason), &ask.actor()?).await?))
}

/// Calls begin again as a ramp, not all at once.
pub(super) async fn resume(ask: Ask<'_>, body: Incoming) -> Result<Response, Problem> {
    ask.no_query()?;
    let name = ask.param(0)?;
    let map = ask.small(body).await?;
    Fields::of(&map, "", &["reason"])?.maybe_reason()?;
    Ok(shown(&ask.front.engine.pause_participant(&name, None, &ask.actor()?).await?))
}
