//! The participants as the node sees them, pausing all calls to one, and a person's word against what was learned.

use http::StatusCode;
use hyper::body::Incoming;
use runtime::report::{Learned, ParticipantReport};

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
    definitions::paused(report.paused.as_ref(), "paused", &mut o);
    o.number("gated", report.gated).word("learn", report.learn);
    match &report.pinned {
        Some(pin) => {
            let mut p = Object::begin(o.name("pinned"));
            p.number("in_flight", u64::from(pin.in_flight)).text("reason", &pin.reason).text("who", &pin.who);
            p.time("since", pin.since).end();
        }
        None => drop(o.null("pinned")),
    }
    match &report.learned {
        Some(known) => learned(known, &mut Object::begin(o.name("learned"))),
        None => drop(o.null("learned")),
    }
    let mut avoided = Object::begin(o.name("avoided"));
    avoided.number("joined", report.avoided_joined).number("kept", report.avoided_kept).end();
    o.text("explain", &report.explain).end();
}

fn learned(known: &Learned, o: &mut Object<'_>) {
    o.float("limit", known.limit);
    for (name, number) in [
        ("capacity_per_s", known.capacity_per_s),
        ("latency_ms", known.latency_ms),
        ("knee_low", known.knee.map(|knee| knee.0)),
        ("knee_high", known.knee.map(|knee| knee.1)),
        ("quota_per_s", known.quota_per_s),
    ] {
        // What is not a number is written as null.
        o.float(name, number.unwrap_or(f64::NAN));
    }
    match known.changed_at {
        Some(at) => drop(o.time("changed_at", at)),
        None => drop(o.null("changed_at")),
    }
    o.number("windows", known.looks).end();
}

/// A person fixes the limit, or lets it be learned again with `null`.
pub(super) async fn pin(ask: Ask<'_>, body: Incoming) -> Result<Response, Problem> {
    ask.no_query()?;
    let name = ask.param(0)?;
    let map = ask.small(body).await?;
    let fields = Fields::of(&map, "", &["in_flight", "reason"])?;
    let reason = fields.reason()?.to_owned();
    let pin = fields.maybe_u32("in_flight")?.map(|in_flight| (in_flight, reason));
    Ok(shown(&ask.front.engine.pin_participant(&name, pin, &ask.actor()?).await?))
}

/// What was learned is forgotten.
pub(super) async fn forget(ask: Ask<'_>, body: Incoming) -> Result<Response, Problem> {
    ask.no_query()?;
    let name = ask.param(0)?;
    let map = ask.small(body).await?;
    let reason = Fields::of(&map, "", &["reason"])?.reason()?.to_owned();
    Ok(shown(&ask.front.engine.forget_participant(&name, &reason, &ask.actor()?).await?))
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
