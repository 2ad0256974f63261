//! Reading a request: its body within bounds, its query, its headers, the fields of its JSON.
//!
//! Everything that is not expected is refused with its place: a misspelt field or parameter never passes in silence.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use compact_str::CompactString;
use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderName};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use model::{Map, Value};
use runtime::{Accepted, Until};

use crate::problem::{At, Code, Problem};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const ACTOR: HeaderName = HeaderName::from_static("tidegate-actor");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The longest a client may wait for an answer, and how long it waits if it does not say.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(60);
pub(crate) const WAIT_DEFAULT: Duration = Duration::from_secs(10);

/// The whole body, at most `max` bytes, within `within`.
pub(crate) async fn read(body: Incoming, max: usize, within: Duration) -> Result<Bytes, Problem> {
    if body.size_hint().lower() > max as u64 {
        return Err(too_large(max));
    }
    match tokio::time::timeout(within, collect(body, max)).await {
        Ok(read) => read,
        Err(_) => {
            Err(Problem::new(Code::RequestTimeout, format!("the body did not arrive within {} s", within.as_secs())))
        }
    }
}

async fn collect(mut body: Incoming, max: usize) -> Result<Bytes, Problem> {
    let mut first = Bytes::new();
    let mut rest: Option<BytesMut> = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| Problem::new(Code::BadRequest, format!("the body broke off: {e}")))?;
        let Ok(data) = frame.into_data() else { continue };
        let have = rest.as_ref().map_or(first.len(), BytesMut::len);
        if have + data.len() > max {
            return Err(too_large(max));
        }
        match &mut rest {
            Some(rest) => rest.extend_from_slice(&data),
            // Nearly every body is one frame, which is passed on without a copy.
            None if first.is_empty() => first = data,
            None => {
                let mut joined = BytesMut::with_capacity((first.len() + data.len()) * 2);
                joined.extend_from_slice(&first);
                joined.extend_from_slice(&data);
                rest = Some(joined);
            }
        }
    }
    Ok(rest.map_or(first, BytesMut::freeze))
}

pub(crate) fn too_large(max: usize) -> Problem {
    Problem::new(Code::BodyTooLarge, format!("the body is larger than {max} bytes"))
}

/// Refuses a body of another kind. No content type at all is taken as JSON.
pub(crate) fn check_content_type(headers: &HeaderMap, wanted: &[&str]) -> Result<(), Problem> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let kind = value.to_str().unwrap_or("").split(';').next().unwrap_or("").trim();
    if wanted.iter().any(|w| w.eq_ignore_ascii_case(kind)) {
        return Ok(());
    }
    Err(Problem::new(Code::UnsupportedMediaType, format!("the body is \"{kind}\", this route takes {}", wanted[0]))
        .hint(format!("send the header Content-Type: {}", wanted[0])))
}

pub(crate) const JSON: &[&str] = &["application/json"];
pub(crate) const NDJSON: &[&str] = &["application/x-ndjson", "application/ndjson", "application/jsonl"];

/// The members of the JSON object in `body`; nothing at all is an empty object if `empty` says so.
pub(crate) fn object(body: &[u8], empty: Empty) -> Result<Map, Problem> {
    if body.is_empty() && empty == Empty::IsNoFields {
        return Ok(Map::new());
    }
    match model::json::parse(body) {
        Ok(Value::Map(map)) => Ok(map),
        Ok(other) => Err(Problem::field("", format!("is of type {}, it must be an object", other.kind()))),
        Err(why) => Err(Problem::new(Code::JsonInvalid, why.to_string())),
    }
}

/// What a body without a byte means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Empty {
    IsNoFields,
    IsAnError,
}

/// The fields of one object, taken by name.
#[derive(Debug)]
pub(crate) struct Fields<'m> {
    map: &'m Map,
    /// Pointer of the object itself.
    place: &'m str,
}

impl<'m> Fields<'m> {
    /// Refuses members that are not in `known`.
    pub(crate) fn of(map: &'m Map, place: &'m str, known: &[&str]) -> Result<Self, Problem> {
        for (name, _) in map {
            if !known.contains(&name.as_str()) {
                let pointer = format!("{place}/{}", name.replace('~', "~0").replace('/', "~1"));
                return Err(Problem::field(pointer, "is not a field of this request")
                    .hint(format!("fields: {}", known.join(", "))));
            }
        }
        Ok(Self { map, place })
    }

    pub(crate) fn pointer(&self, name: &str) -> String {
        format!("{}/{name}", self.place)
    }

    /// A field that may be absent; null counts as absent.
    pub(crate) fn value(&self, name: &str) -> Option<&'m Value> {
        self.map.get(name).filter(|value| **value != Value::Null)
    }

    pub(crate) fn maybe_text(&self, name: &str) -> Result<Option<&'m str>, Problem> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(other) => {
                Err(Problem::field(self.pointer(name), format!("is of type {}, it must be a string", other.kind())))
            }
        }
    }

    pub(crate) fn text(&self, name: &str) -> Result<&'m str, Problem> {
        match self.maybe_text(name)? {
            Some("") => Err(Problem::field(self.pointer(name), "is empty")),
            Some(text) => Ok(text),
            None => Err(Problem::field(self.pointer(name), "is missing")),
        }
    }

    pub(crate) fn maybe_u32(&self, name: &str) -> Result<Option<u32>, Problem> {
        let Some(value) = self.value(name) else { return Ok(None) };
        value
            .as_i64()
            .and_then(|n| u32::try_from(n).ok())
            .filter(|n| *n > 0)
            .map(Some)
            .ok_or_else(|| Problem::field(self.pointer(name), format!("is {value}, it must be a whole number from 1")))
    }

    /// More than ten years count as ten: nobody means them, and no shape of the contract could say where they end.
    pub(crate) fn maybe_duration(&self, name: &str) -> Result<Option<Duration>, Problem> {
        let Some(text) = self.maybe_text(name)? else { return Ok(None) };
        model::parse_duration(text).or_else(|| beyond(text)).map(Some).ok_or_else(|| {
            Problem::field(
                self.pointer(name),
                format!("is \"{text}\", it must be a duration such as 1500ms, 30s, 2m, 72h, 10d"),
            )
        })
    }

    /// One of `words`, by its place.
    pub(crate) fn maybe_word(&self, name: &str, words: &[&str]) -> Result<Option<usize>, Problem> {
        let Some(text) = self.maybe_text(name)? else { return Ok(None) };
        words.iter().position(|word| *word == text).map(Some).ok_or_else(|| {
            Problem::field(self.pointer(name), format!("is \"{text}\", it must be one of {}", words.join(", ")))
        })
    }

    /// A reason of at most 500 characters.
    pub(crate) fn maybe_reason(&self) -> Result<Option<&'m str>, Problem> {
        let reason = self.maybe_text("reason")?.map(str::trim).filter(|reason| !reason.is_empty());
        if reason.is_some_and(|reason| reason.chars().count() > 500) {
            return Err(Problem::field(self.pointer("reason"), "is longer than 500 characters"));
        }
        Ok(reason)
    }

    pub(crate) fn reason(&self) -> Result<&'m str, Problem> {
        self.maybe_reason()?.ok_or_else(|| {
            Problem::field(self.pointer("reason"), "is missing").hint("say why: it goes into the history")
        })
    }
}

/// A duration with more digits than [`model::parse_duration`] takes: without its leading zeros, or the longest there is.
fn beyond(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 || !matches!(&text[digits..], "ms" | "s" | "m" | "h" | "d") {
        return None;
    }
    let short = text.trim_start_matches('0');
    if !short.starts_with(|c: char| c.is_ascii_digit()) {
        return Some(Duration::ZERO);
    }
    Some(model::parse_duration(short).unwrap_or(Duration::from_secs(3_660 * 86_400)))
}

/// The query of a request, decoded; each name once.
#[derive(Debug)]
pub(crate) struct Query<'q>(Vec<(Cow<'q, str>, Cow<'q, str>)>);

impl<'q> Query<'q> {
    /// Refuses names that are not in `known`, and any name that stands twice.
    pub(crate) fn of(query: Option<&'q str>, known: &[&str]) -> Result<Self, Problem> {
        let mut members: Vec<(Cow<'q, str>, Cow<'q, str>)> = Vec::new();
        for part in query.unwrap_or_default().split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            if !known.contains(&name.as_ref()) {
                let hint = match known {
                    [] => "this route takes no parameters".to_owned(),
                    known => format!("parameters: {}", known.join(", ")),
                };
                return Err(Problem::parameter(&name, "is not a parameter of this route").hint(hint));
            }
            if members.iter().any(|(other, _)| *other == name) {
                return Err(Problem::parameter(&name, "stands twice"));
            }
            members.push((name, value));
        }
        Ok(Self(members))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_ref())
    }

    /// How long to wait: `0`, or a duration up to 60 s.
    pub(crate) fn wait(&self, unless_said: Duration) -> Result<Duration, Problem> {
        match self.get("wait") {
            None => Ok(unless_said),
            Some("0") => Ok(Duration::ZERO),
            Some(text) => {
                let wait = model::parse_duration(text).or_else(|| beyond(text));
                wait.filter(|wait| *wait <= WAIT_MAX).ok_or_else(|| {
                    Problem::parameter(
                        "wait",
                        format!("is \"{text}\", it must be 0 or a duration up to 60s, such as 500ms or 10s"),
                    )
                })
            }
        }
    }

    pub(crate) fn until(&self) -> Result<Until, Problem> {
        match self.get("until") {
            None | Some("outcome") => Ok(Until::Outcome),
            Some("end") => Ok(Until::End),
            Some(text) => Err(Problem::parameter("until", format!("is \"{text}\", it must be outcome or end"))),
        }
    }

    pub(crate) fn flag(&self, name: &str) -> Result<bool, Problem> {
        match self.get(name) {
            None | Some("false") => Ok(false),
            Some("true" | "") => Ok(true),
            Some(text) => Err(Problem::parameter(name, format!("is \"{text}\", it must be true or false"))),
        }
    }
}

fn decode(text: &str) -> Result<Cow<'_, str>, Problem> {
    if !text.contains(['%', '+']) {
        return Ok(Cow::Borrowed(text));
    }
    let spaced = text.replace('+', " ");
    percent_encoding::percent_decode_str(&spaced)
        .decode_utf8()
        .map(|decoded| Cow::Owned(decoded.into_owned()))
        .map_err(|_| Problem::new(Code::BadRequest, format!("\"{text}\" in the query is not UTF-8")))
}

/// The `Idempotency-Key` header, without the quotes that it may have.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<CompactString, Problem> {
    let mut all = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = all.next() else {
        return Err(Problem::new(Code::IdempotencyKeyMissing, "the Idempotency-Key header is missing")
            .at(At::Header("Idempotency-Key"), "is missing")
            .hint("make one per business event, keep it, and send the same one when you repeat the request"));
    };
    if all.next().is_some() {
        return Err(bad_key("stands twice"));
    }
    value.to_str().map_err(|_| bad_key(KEY_RULE)).and_then(|text| unquote(text.trim()))
}

/// The same rule for a key inside a body.
pub(crate) fn unquote(text: &str) -> Result<CompactString, Problem> {
    let inner = match text.strip_prefix('"') {
        None => Cow::Borrowed(text),
        // A string of structured fields: `\"` and `\\` are its only escapes.
        Some(rest) => {
            let quoted =
                rest.strip_suffix('"').ok_or_else(|| bad_key("begins with a quote and does not end with one"))?;
            if quoted.contains('\\') {
                Cow::Owned(quoted.replace("\\\"", "\"").replace("\\\\", "\\"))
            } else {
                Cow::Borrowed(quoted)
            }
        }
    };
    if inner.is_empty() || inner.len() > 255 || !inner.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(bad_key(KEY_RULE));
    }
    Ok(CompactString::new(inner))
}

const KEY_RULE: &str = "must be 1 to 255 visible ASCII characters without spaces";

fn bad_key(why: &str) -> Problem {
    Problem::new(Code::BadRequest, format!("the Idempotency-Key {why}")).at(At::Header("Idempotency-Key"), why)
}

/// Who acts: the `Tidegate-Actor` header, else the peer's address.
pub(crate) fn actor(headers: &HeaderMap, peer: IpAddr) -> Result<CompactString, Problem> {
    let Some(value) = headers.get(ACTOR) else { return Ok(CompactString::from(format!("anonymous@{peer}"))) };
    let text = value.to_str().map(str::trim).unwrap_or_default();
    if text.is_empty() || text.len() > 128 || text.contains('\t') {
        let why = "must be 1 to 128 visible ASCII characters";
        return Err(
            Problem::new(Code::BadRequest, format!("the Tidegate-Actor {why}")).at(At::Header("Tidegate-Actor"), why)
        );
    }
    Ok(CompactString::new(text))
}

/// The caller's trace context; one that is not well-formed is as good as none, as W3C has it.
pub(crate) fn traceparent(headers: &HeaderMap) -> CompactString {
    let text = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let hex = |part: Option<&str>, len: usize| {
        part.is_some_and(|p| p.len() == len && p.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)))
    };
    let mut parts = text.split('-');
    let fits = text.len() == 55
        && hex(parts.next(), 2)
        && hex(parts.next(), 32)
        && hex(parts.next(), 16)
        && hex(parts.next(), 2)
        && parts.next().is_none();
    if fits { CompactString::new(text) } else { CompactString::default() }
}

/// What to say while the node does not take work.
pub(crate) fn draining() -> Problem {
    Problem::new(Code::Unavailable, "the node is draining before a stop and takes no new work")
        .retry(Duration::from_secs(5), Accepted::No)
        .hint("send it again, to this address or to another node")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detail<T: std::fmt::Debug>(result: Result<T, Problem>) -> String {
        match result {
            Ok(ok) => format!("{ok:?}"),
            Err(problem) => format!("{} {}", problem.code.status(), problem.detail),
        }
    }

    #[test]
    fn keys_with_and_without_quotes_are_the_same() {
        let of = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(IDEMPOTENCY_KEY, http::HeaderValue::from_static(text));
            detail(idempotency_key(&headers))
        };
        assert_eq!(of("order-7"), "\"order-7\"");
        assert_eq!(of("\"order-7\""), "\"order-7\"");
        assert!(of("").starts_with("400 "));
        assert!(of("\"\"").starts_with("400 "));
        assert!(of("a b").starts_with("400 "));
        assert!(of("\"open").starts_with("400 "));
        assert!(detail(idempotency_key(&HeaderMap::new())).starts_with("400 the Idempotency-Key header is missing"));
        assert!(detail(unquote(&"x".repeat(256))).starts_with("400 "));
        assert_eq!(detail(unquote(&"x".repeat(255))).len(), 257);
    }

    #[test]
    fn waits_are_bounded_and_unknown_parameters_are_refused() {
        let wait = |query| detail(Query::of(Some(query), &["wait", "until"]).and_then(|q| q.wait(WAIT_DEFAULT)));
        assert_eq!(wait(""), "10s");
        assert_eq!(wait("wait=0"), "0ns");
        assert_eq!(wait("wait=0s"), "0ns");
        assert_eq!(wait("until=end&wait=60s"), "60s");
        for bad in ["wait=61s", "wait=5", "wait=-1s", "wait=", "wiat=1s", "wait=1s&wait=2s"] {
            assert!(wait(bad).starts_with("400 "), "{bad}: {}", wait(bad));
        }
        assert_eq!(
            detail(Query::of(Some("key=a%2Fb+c"), &["key"]).map(|q| q.get("key").map(str::to_owned))),
            "Some(\"a/b c\")"
        );
        assert!(detail(Query::of(Some("key=%ff"), &["key"])).starts_with("400 "));
    }

    #[test]
    fn fields_are_checked_and_pointed_at() {
        let map = object(br#"{"definition":"top-up","version":0,"timeout":"soon","priority":"max"}"#, Empty::IsAnError);
        let map = map.unwrap_or_default();
        let known = ["definition", "version", "timeout", "priority", "input"];
        let Ok(fields) = Fields::of(&map, "", &known) else { panic!("all fields are known") };
        assert_eq!(detail(fields.text("definition")), "\"top-up\"");
        assert_eq!(detail(fields.text("input")), "400 /input is missing");
        assert_eq!(detail(fields.maybe_u32("version")), "400 /version is 0, it must be a whole number from 1");
        assert!(detail(fields.maybe_duration("timeout")).starts_with("400 /timeout is \"soon\""));
        assert!(
            detail(fields.maybe_word("priority", &["low"]))
                .starts_with("400 /priority is \"max\", it must be one of low")
        );
        assert_eq!(detail(Fields::of(&map, "", &known[1..])), "400 /definition is not a field of this request");
        assert!(detail(object(b"", Empty::IsAnError)).starts_with("400 "));
        assert_eq!(detail(object(b"", Empty::IsNoFields)), "{}");
        assert_eq!(detail(object(b"[]", Empty::IsAnError)), "400 the body is of type array, it must be an object");
    }

    #[test]
    fn a_timeout_past_ten_years_is_ten_years() {
        let of = |text: &str| {
            let map = object(format!("{{\"timeout\":\"{text}\"}}").as_bytes(), Empty::IsAnError).unwrap_or_default();
            Fields::of(&map, "", &["timeout"]).and_then(|fields| fields.maybe_duration("timeout"))
        };
        let ten_years = Duration::from_secs(3_660 * 86_400);
        for text in ["3660d", "3661d", "99999999999999999999999999s"] {
            assert_eq!(of(text), Ok(Some(ten_years)), "{text}");
        }
        assert_eq!(of("000000000000000000s"), Ok(Some(Duration::ZERO)));
        assert_eq!(of("00000000000000000030s"), Ok(Some(Duration::from_secs(30))));
        for text in ["1.5s", "s", "-1s", "1y", "9 d"] {
            assert!(of(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_trace_context_is_taken_only_if_it_is_one() {
        let of = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(TRACEPARENT, http::HeaderValue::from_static(text));
            traceparent(&headers)
        };
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(of(good), good);
        assert_eq!(of("00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), "");
        assert_eq!(of("garbage"), "");
    }
}
