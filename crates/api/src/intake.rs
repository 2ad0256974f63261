//! The readers of everything a client may send, callable without a connection: fuzzing gives them bytes that no client
//! would.
//!
//! Each gives what its route would hand to the engine, or the problem document that it would answer with. Left out:
//! the engine, HTTP's own framing, and how a body arrives.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bytes::Bytes;
use compact_str::CompactString;
use http::{HeaderMap, Method};
use model::Map;
use runtime::{Filter, SignalOrder, SourceText, Submission, Until, Verb};

use crate::problem::Problem;
use crate::request::{self, Empty, Query};
use crate::router;
use crate::routes::{batch, definitions, find, operate, signal, submit};

/// A problem document, as bytes of JSON.
pub type Document = Vec<u8>;

fn document<T>(read: Result<T, Problem>) -> Result<T, Document> {
    read.map_err(|problem| problem.render())
}

/// `POST /v1/transactions`.
pub fn submission(
    query: Option<&str>,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<(Submission, Duration, Until), Document> {
    let read = || {
        let (wait, until) = submit::patience(query)?;
        request::check_content_type(headers, request::JSON)?;
        let key = request::idempotency_key(headers)?;
        let map = request::object(body, Empty::IsAnError)?;
        Ok((submit::of_body(&map, key, request::traceparent(headers))?, wait, until))
    };
    document(read())
}

/// One line of `POST /v1/transactions/batch`.
pub fn line(line: &[u8]) -> Result<Submission, Document> {
    document(submit::of_line(line))
}

/// A whole body of `POST /v1/transactions/batch`, as it arrives: its lines by number.
pub fn lines(chunks: &[&[u8]], bytes_max: usize) -> Vec<(u64, Result<Bytes, Document>)> {
    let mut lines = batch::Lines::new(bytes_max);
    chunks.iter().for_each(|chunk| lines.push(chunk));
    lines.end();
    std::iter::from_fn(|| lines.next()).map(|(number, line)| (number, document(line))).collect()
}

/// `POST /v1/signals`.
pub fn signal_order(headers: &HeaderMap, body: &[u8]) -> Result<SignalOrder, Document> {
    let read = || {
        let key = request::idempotency_key(headers)?;
        signal::of_body(&request::object(body, Empty::IsAnError)?, key)
    };
    document(read())
}

/// `POST …/cancel` and `…/retry`: who, and why.
pub fn wish(headers: &HeaderMap, body: &[u8]) -> Result<(CompactString, CompactString), Document> {
    let read = || Ok((request::actor(headers, IpAddr::V4(Ipv4Addr::LOCALHOST))?, operate::reason(&small(body)?)?));
    document(read())
}

/// `POST …/steps/{step}/resolve`.
pub fn verdict(step: &str, body: &[u8]) -> Result<(Verb, CompactString), Document> {
    document(small(body).and_then(|map| operate::verdict(&map, CompactString::new(step))))
}

/// `POST /v1/apply`.
pub fn files(query: Option<&str>, body: &[u8]) -> Result<(Vec<SourceText>, bool), Document> {
    let read = || {
        let dry_run = Query::of(query, &["dry_run"])?.flag("dry_run")?;
        Ok((definitions::files(&request::object(body, Empty::IsAnError)?)?, dry_run))
    };
    document(read())
}

/// `GET /v1/transactions`.
pub fn page(query: Option<&str>) -> Result<(Filter, usize, Option<String>), Document> {
    document(find::page_of(query))
}

/// What a method and a path mean: the operation's name in the contract, or nothing.
pub fn operation(method: &Method, path: &str) -> Option<&'static str> {
    match router::find(method, path) {
        router::Found::Op(op, _) => Some(op.as_str()),
        router::Found::OtherMethod(_) | router::Found::Nothing => None,
    }
}

fn small(body: &[u8]) -> Result<Map, Problem> {
    request::object(body, Empty::IsNoFields)
}
