//! What a client sends: query, headers and body, read by every route that reads any. What is refused is a problem
//! document (RFC 9457) that is JSON, has its members and a status of the 4xx class.

use api::intake;
use http::header::HeaderValue;
use http::{HeaderMap, Method};
use model::Value;

/// Three texts up to the first two zero bytes (query or path, headers, body); headers one a line, `name: value`.
pub(crate) fn run(data: &[u8]) {
    let mut parts = data.splitn(3, |b| *b == 0);
    let mut part = || parts.next().unwrap_or_default();
    let (query, heads, body) = (part(), part(), part());
    let query = std::str::from_utf8(query).ok();
    let headers = headers(heads);
    if let Ok((order, wait, _)) = heard(intake::submission(query, &headers, body)) {
        assert!(!order.definition.is_empty() && (1..=255).contains(&order.idempotency_key.len()));
        assert!(order.idempotency_key.bytes().all(|b| b.is_ascii_graphic()));
        assert!(order.traceparent.is_empty() || order.traceparent.len() == 55);
        assert!(order.priority <= 2 && wait.as_secs() <= 60);
    }
    if let Ok(order) = heard(intake::line(body)) {
        assert!((1..=255).contains(&order.idempotency_key.len()));
    }
    if let Ok(order) = heard(intake::signal_order(&headers, body)) {
        assert!(!order.signal.is_empty());
    }
    if let Ok((actor, why)) = heard(intake::wish(&headers, body)) {
        assert!((1..=128).contains(&actor.len()) && why.chars().count() <= 500);
    }
    if let Ok((_, why)) = heard(intake::verdict("charge", body)) {
        assert!(!why.is_empty());
    }
    if let Ok((files, _)) = heard(intake::files(query, body)) {
        assert!((1..=1_000).contains(&files.len()));
    }
    if let Ok((_, limit, _)) = heard(intake::page(query)) {
        assert!((1..=1_000).contains(&limit));
    }
    if let Some(path) = query {
        let _ = (intake::operation(&Method::GET, path), intake::operation(&Method::POST, path));
        if let Ok(cursor) = path.parse::<store::history::Cursor>() {
            assert_eq!(cursor.to_string().parse().ok(), Some(cursor));
        }
    }
}

fn headers(text: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in text.split(|b| *b == b'\n').take(50) {
        let Some(at) = line.iter().position(|b| *b == b':') else { continue };
        let name = http::HeaderName::from_bytes(&line[..at]);
        let value = HeaderValue::from_bytes(line[at + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    headers
}

/// Looks at the problem document, if it is one.
pub(super) fn heard<T>(read: Result<T, intake::Document>) -> Result<T, ()> {
    read.map_err(|document| {
        let shown = String::from_utf8_lossy(&document);
        let Ok(Value::Map(members)) = model::json::parse(&document) else { panic!("no JSON object: {shown}") };
        for name in ["type", "title", "detail"] {
            assert!(matches!(members.get(name), Some(Value::Text(text)) if !text.is_empty()), "{name}: {shown}");
        }
        let status = members.get("status").and_then(Value::as_i64).unwrap_or(0);
        assert!((400..500).contains(&status), "a client's mistake: {shown}");
    })
}
