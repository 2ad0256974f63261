//! Control by HTTP, below `/_stand/`: what the systems do now, and how they shall behave.
//!
//! | route | body | answer |
//! |---|---|---|
//! | `GET /_stand/` | | the stand and all systems with their counters |
//! | `PUT /_stand/systems/{name or all}/fault` | `{"fault": "errors 10% + slow 200ms for 30s"}` | what is set |
//! | `PUT /_stand/systems/{name or all}/capacity` | `{"capacity": "servers 8 queue 100 exponential 5ms"}` | what is set |
//! | `PUT /_stand/schedule` | lines of `{"at", "system", "fault" or "capacity"}` | replaces what was to come |
//! | `DELETE /_stand/counters` | | counters and highest numbers begin anew |
//! | `GET /_stand/effects?after=0&limit=1000` | | the ledger's rows, one JSON object a line |
//! | `POST /_stand/audit` | one `Story` a line | the `Report` |
//!
//! There is no token: a stand is for practice and listens on loopback.

mod client;

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::audit::{self, Story};
use crate::capacity::Capacity;
use crate::ledger::{self, Order};
use crate::schedule;
use crate::server::{Error, Reply, World, respond};
use crate::system::System;

pub use client::{Client, ClientError};

/// Of one control request: about half a million stories.
const BODY_MAX: usize = 64 << 20;
/// Rows of one answer.
const ROWS_MAX: u64 = 100_000;

/// Any answer of a control route that is no success.
struct Refusal {
    status: u16,
    why: String,
}

fn refuse(status: u16, why: &(impl ToString + ?Sized)) -> Refusal {
    Refusal { status, why: why.to_string() }
}

impl From<Error> for Refusal {
    fn from(why: Error) -> Self {
        let status = match why {
            Error::NoSuchSystem { .. } => 404,
            Error::BadFault(_) | Error::Settings(_) => 400,
            _ => 500,
        };
        refuse(status, &why)
    }
}

pub(crate) async fn answer(world: &Arc<World>, request: Request<Incoming>) -> Response<Reply> {
    match route(world, request).await {
        Ok(body) => respond(200, body),
        Err(Refusal { status, why }) => respond(status, Bytes::from(json!({ "error": why }).to_string())),
    }
}

async fn route(world: &Arc<World>, request: Request<Incoming>) -> Result<Bytes, Refusal> {
    let (parts, body) = request.into_parts();
    let body = Limited::new(body, BODY_MAX).collect().await.map_err(|why| refuse(413, &why))?.to_bytes();
    let path: Vec<&str> = parts.uri.path().split('/').filter(|part| !part.is_empty()).skip(1).collect();
    let said = match (&parts.method, path.as_slice()) {
        (&Method::GET, []) => state(world),
        (&Method::PUT, ["systems", name, "fault"]) => {
            let Fault { fault } = read(&body)?;
            let temper = fault.parse().map_err(|why| refuse(400, &why))?;
            world.set_temper(name, &temper).await?;
            json!({"system": name, "fault": temper.to_string()})
        }
        (&Method::PUT, ["systems", name, "capacity"]) => {
            let Size { capacity } = read(&body)?;
            let capacity: Capacity = capacity.parse().map_err(|why| refuse(400, &why))?;
            world.named(name)?.iter().for_each(|system| system.set_capacity(capacity.clone()));
            json!({"system": name, "capacity": capacity.to_string()})
        }
        (&Method::PUT, ["schedule"]) => {
            let text = std::str::from_utf8(&body).map_err(|why| refuse(400, &why))?;
            let entries = schedule::parse(text, |name| world.named(name).is_ok()).map_err(|why| refuse(400, &why))?;
            let count = entries.len();
            world.schedule.lock().unwrap_or_else(PoisonError::into_inner).begin(entries, Instant::now());
            json!({ "to_come": count })
        }
        (&Method::DELETE, ["counters"]) => {
            world.systems.iter().for_each(|system| reset(system));
            json!({"reset": world.systems.len()})
        }
        (&Method::GET, ["effects"]) => return effects(world, parts.uri.query().unwrap_or("")).await,
        (&Method::POST, ["audit"]) => return judge(world, body).await,
        _ => return Err(refuse(404, &format!("no control route {} {}", parts.method, parts.uri.path()))),
    };
    Ok(Bytes::from(said.to_string()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fault {
    fault: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Size {
    capacity: String,
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|why| refuse(400, &why))
}

fn state(world: &World) -> Value {
    let systems: Vec<Value> =
        world.systems.iter().enumerate().map(|(place, system)| describe(world, place, system)).collect();
    json!({
        "listen": world.common.to_string(),
        "threads": world.threads,
        "seed": world.seed,
        "up_s": world.started.elapsed().as_secs(),
        "connections": world.connections.load(Ordering::Relaxed),
        "scheduled": world.schedule.lock().unwrap_or_else(PoisonError::into_inner).len(),
        "ledger": world.ledger.as_ref().map(|ledger| json!({
            "path": ledger.path.display().to_string(), "last_seq": ledger.last_seq(),
        })),
        "systems": systems,
    })
}

fn describe(world: &World, place: usize, system: &System) -> Value {
    let counts = &system.counts;
    let now = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    let sum = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let capacity = system.capacity();
    let (keys, forgotten_early) = {
        let book = system.book();
        (book.keys(), book.forgotten_early())
    };
    json!({
        "name": system.name,
        "url": format!("http://{}/{}", world.common, system.name),
        "own_url": format!("http://{}/{}", world.own[place], system.name),
        "fault": system.mood().temper.to_string(),
        "down": *system.down().borrow(),
        "capacity": capacity.size.to_string(),
        "in_flight": now(&counts.in_flight),
        "in_flight_max": now(&counts.in_flight_max),
        "working": now(&counts.working),
        "working_max": now(&counts.working_max),
        "waiting": now(&capacity.waiting),
        "requests": sum(&counts.requests),
        "effects": sum(&counts.effects),
        "repeats": sum(&counts.repeats),
        "refused": sum(&counts.refused),
        "turned_away": sum(&counts.turned_away),
        "faults": sum(&counts.faults),
        "cut": sum(&counts.cut),
        "keys": keys,
        "forgotten_early": forgotten_early,
    })
}

fn reset(system: &System) {
    let counts = &system.counts;
    for counter in [
        &counts.requests,
        &counts.effects,
        &counts.repeats,
        &counts.refused,
        &counts.turned_away,
        &counts.faults,
        &counts.cut,
    ] {
        counter.store(0, Ordering::Relaxed);
    }
    counts.in_flight_max.store(counts.in_flight.load(Ordering::Relaxed), Ordering::Relaxed);
    counts.working_max.store(counts.working.load(Ordering::Relaxed), Ordering::Relaxed);
}

/// The ledger's file, once all that was put is in it.
async fn ledger_file(world: &World) -> Result<std::path::PathBuf, Refusal> {
    let Some(ledger) = &world.ledger else {
        return Err(refuse(409, "this stand keeps no ledger; start it with one"));
    };
    ledger.committed(ledger.last_seq()).await.map_err(|why| refuse(500, &why))?;
    Ok(ledger.path.clone())
}

async fn effects(world: &World, query: &str) -> Result<Bytes, Refusal> {
    let (mut after, mut limit) = (0, 1_000);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let number = value.parse::<u64>().map_err(|_| refuse(400, &format!("{name} must be a whole number")))?;
        match name {
            "after" => after = number,
            "limit" => limit = number.min(ROWS_MAX),
            _ => return Err(refuse(400, &format!("there is no parameter {name}; say after, limit"))),
        }
    }
    let path = ledger_file(world).await?;
    apart(move || {
        let mut lines = Vec::new();
        let mut failed = None;
        ledger::rows(&path, Order::BySeq, after, limit, |row| {
            if let Err(why) = serde_json::to_writer(&mut lines, &row) {
                failed = Some(why);
                return ControlFlow::Break(());
            }
            lines.push(b'\n');
            ControlFlow::Continue(())
        })
        .map_err(|why| refuse(500, &why))?;
        failed.map_or_else(|| Ok(Bytes::from(lines)), |why| Err(refuse(500, &why)))
    })
    .await
}

async fn judge(world: &World, body: Bytes) -> Result<Bytes, Refusal> {
    let path = ledger_file(world).await?;
    apart(move || {
        let mut stories = Vec::new();
        for (number, line) in body.split(|b| *b == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
            let story: Story =
                serde_json::from_slice(line).map_err(|why| refuse(400, &format!("line {}: {why}", number + 1)))?;
            stories.push(story);
        }
        let report = audit::audit(&path, stories).map_err(|why| refuse(500, &why))?;
        serde_json::to_vec(&report).map(Bytes::from).map_err(|why| refuse(500, &why))
    })
    .await
}

/// SQLite blocks, so it works on a thread of its own.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> Result<T, Refusal> + Send + 'static) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.map_err(|why| refuse(500, &why))?
}
