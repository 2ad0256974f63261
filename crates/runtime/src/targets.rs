//! Participants as the connector needs them, and rendered calls as requests with the headers of the contract.

use std::fmt::Write as _;
use std::path::Path;

use bytes::Bytes;
use connectors::{Request, Target};
use http::{HeaderName, HeaderValue, Method};
use partition::OutgoingCall;
use plan::{Idempotency, Participant};

use crate::tables::Tables;

/// All participants, in their places.
pub(crate) fn targets(tables: &Tables, secrets: Option<&Path>) -> Vec<Target> {
    tables.participants.iter().map(|declared| target(&declared.spec, secrets)).collect()
}

fn target(spec: &Participant, secrets: Option<&Path>) -> Target {
    let urls: Vec<&str> = spec.endpoints.iter().map(String::as_str).collect();
    let mut target = Target::new(&spec.name, &urls);
    // One connection per call in flight is what HTTP/1.1 needs; the limit is the load manager's.
    target.keep_headers = QUOTA_HEADERS.to_vec();
    target.connections_max = spec.limits.max_in_flight.saturating_add(8).max(16);
    for (name, template) in &spec.headers {
        let secret = |name: &str| secret(name, secrets);
        let value = plan::render::resolve_secrets(template, &secret).map_err(|e| e.to_string());
        let parsed = value.and_then(|text| {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|e| e.to_string())?;
            let mut value = HeaderValue::from_str(&text).map_err(|e| e.to_string())?;
            value.set_sensitive(true);
            Ok((name, value))
        });
        match parsed {
            Ok(header) => target.headers.push(header),
            // The participant will answer 401 and be held: loud, and no customer is judged by it.
            Err(why) => tracing::error!(participant = %spec.name, header = %name, why, "a header cannot be sent"),
        }
    }
    target
}

/// File `name` in the secrets folder, or the variable `TIDEGATE_SECRET_NAME`. One line break at the end is cut.
pub(crate) fn secret(name: &str, folder: Option<&Path>) -> Option<String> {
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if !plain {
        return None;
    }
    let from_file = folder.and_then(|folder| std::fs::read_to_string(folder.join(name)).ok());
    let text = from_file.or_else(|| std::env::var(format!("TIDEGATE_SECRET_{}", name.to_ascii_uppercase())).ok())?;
    Some(text.strip_suffix('\n').unwrap_or(&text).trim_end_matches('\r').to_owned())
}

/// What a participant says of a quota, in the words that most use (draft-ietf-httpapi-ratelimit-headers, versions
/// before 08).
pub(crate) const QUOTA_HEADERS: [HeaderName; 2] = [RATE_LEFT, RATE_RESET];
const RATE_LEFT: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RATE_RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// The quota that an answer announced, if it did in full.
pub(crate) fn quota(headers: &[(HeaderName, HeaderValue)]) -> Option<load::Quota> {
    let number = |name: &HeaderName| -> Option<u32> {
        let (_, value) = headers.iter().find(|(n, _)| n == name)?;
        value.to_str().ok()?.trim().parse().ok()
    };
    let reset = number(&RATE_RESET)?;
    Some(load::Quota { remaining: number(&RATE_LEFT)?, reset_after: std::time::Duration::from_secs(u64::from(reset)) })
}

const TRANSACTION: HeaderName = HeaderName::from_static("tidegate-transaction");
const STEP: HeaderName = HeaderName::from_static("tidegate-step");
const DIRECTION: HeaderName = HeaderName::from_static("tidegate-direction");
const ATTEMPT: HeaderName = HeaderName::from_static("tidegate-attempt");
const FENCE: HeaderName = HeaderName::from_static("tidegate-fence");
const DEADLINE: HeaderName = HeaderName::from_static("tidegate-deadline");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// A call as an HTTP request, with everything that a participant is promised in its headers.
pub(crate) fn request(call: OutgoingCall, spec: &Participant, step: &str, epoch: u32, traceparent: &str) -> Request {
    let mut headers = Vec::with_capacity(8 + call.request.headers.len());
    let mut text = String::with_capacity(48);
    let mut put = |name: HeaderName, write: &dyn Fn(&mut String)| {
        text.clear();
        write(&mut text);
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.push((name, value));
        }
    };
    if let Idempotency::Header { name, .. } = &spec.idempotency
        && let Ok(name) = HeaderName::from_bytes(name.as_bytes())
    {
        put(name, &|t| _ = write!(t, "{}", call.key));
    }
    put(TRANSACTION, &|t| _ = write!(t, "{}", call.key.tx));
    put(STEP, &|t| t.push_str(step));
    put(DIRECTION, &|t| t.push_str(call.call.direction.as_str()));
    put(ATTEMPT, &|t| _ = write!(t, "{}", call.call.attempt));
    put(FENCE, &|t| _ = write!(t, "{epoch}"));
    if call.deadline != model::Timestamp::NEVER {
        put(DEADLINE, &|t| _ = write!(t, "{}", call.deadline));
    }
    if !traceparent.is_empty() {
        put(TRACEPARENT, &|t| t.push_str(traceparent));
    }
    for (name, value) in &call.request.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
            headers.push((name, value));
        }
    }
    Request {
        method: method(call.request.method),
        path_and_query: call.request.path_and_query,
        headers,
        body: call.request.body.map(Bytes::from),
    }
}

/// The same without headers, for participants inside the process, which are no HTTP servers.
pub(crate) fn bare_request(call: OutgoingCall) -> Request {
    Request {
        method: method(call.request.method),
        path_and_query: call.request.path_and_query,
        headers: Vec::new(),
        body: call.request.body.map(Bytes::from),
    }
}

fn method(method: plan::Method) -> Method {
    match method {
        plan::Method::Get => Method::GET,
        plan::Method::Post => Method::POST,
        plan::Method::Put => Method::PUT,
        plan::Method::Patch => Method::PATCH,
        plan::Method::Delete => Method::DELETE,
    }
}
