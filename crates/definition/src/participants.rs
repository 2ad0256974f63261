//! A file of kind `Participants`: who the external systems are, what they promise, what they can bear.

use std::time::Duration;

use compact_str::CompactString;
use plan::participant::{
    AnswerOutcome, AnswerRule, Idempotency, Learn, Limits, Participant, PathPattern, PromiseScope, Retry, SharedRead,
};

use crate::diagnostic::{Code, Problem, Report};
use crate::expr::facts::Facts;
use crate::expr::lower::{Here, Moment, Reads, Root, World};
use crate::expr::template::Lowering;
use crate::expr::types;
use crate::names::NameRule;
use crate::object::{Fields, Shape, duration_text, visible};
use crate::source::Span;
use crate::yaml::{Entry, Kind, Node, shown};

pub(crate) const FILE: Shape = Shape {
    name: "a file of participants",
    fields: &["apiVersion", "kind", "participants"],
    required: &["participants"],
    later: &[],
};

pub(crate) const PARTICIPANT: Shape = Shape {
    name: "participant",
    fields: &[
        "name",
        "owner",
        "connector",
        "endpoints",
        "headers",
        "idempotency",
        "settles_within",
        "undo_blocks_do",
        "timeout",
        "retry",
        "answers",
        "limits",
        "shared_reads",
    ],
    required: &["name", "connector", "endpoints", "idempotency", "settles_within", "timeout", "retry", "limits"],
    later: &[
        ("auth", "OAuth2 client credentials come with a later version; a fixed token is a header"),
        ("tls", "an own CA and client certificates come with a later version"),
        ("proxy", "proxies come with a later version"),
        ("inquire", "asking what became of a call comes with a later version"),
    ],
};

pub(crate) const IDEMPOTENCY: Shape =
    Shape { name: "idempotency", fields: &["header", "body", "for", "scope"], required: &["for"], later: &[] };

pub(crate) const RETRY: Shape = Shape {
    name: "retry",
    fields: &["attempts", "backoff", "max_backoff"],
    required: &["attempts", "backoff", "max_backoff"],
    later: &[],
};

pub(crate) const LIMITS: Shape = Shape {
    name: "limits",
    fields: &["max_in_flight", "max_per_second", "min_in_flight", "learn"],
    required: &["max_in_flight"],
    later: &[],
};

pub(crate) const SHARED_READ: Shape = Shape {
    name: "shared_reads",
    fields: &["method", "path", "max_age"],
    required: &["method", "path", "max_age"],
    later: &[("batch", "reads that are asked for together come with a later version")],
};

pub(crate) const ANSWER: Shape =
    Shape { name: "answers", fields: &["when", "outcome", "reason"], required: &["when", "outcome"], later: &[] };

const PARTICIPANTS_MAX: usize = 500;
const ENDPOINTS_MAX: usize = 64;
pub(crate) const HEADERS_MAX: usize = 64;
const ANSWERS_MAX: usize = 50;
const SHARED_READS_MAX: usize = 50;
const MAX_AGE_MAX: Duration = Duration::from_secs(600);

/// A participant as far as it could be read.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) name: Option<CompactString>,
    pub(crate) name_span: Span,
    /// Complete and without error.
    pub(crate) participant: Option<Participant>,
}

/// Reads the `participants` of a file.
pub(crate) fn read(list: &Entry, file: &str, report: &mut Report) -> Vec<Draft> {
    let Some(items) = report.list(&list.value, "participants", list.name_span) else { return Vec::new() };
    if items.is_empty() {
        report.say(Code::WrongValue, list.name_span, "the list of participants is empty");
    }
    if items.len() > PARTICIPANTS_MAX {
        let message = format!("{} participants, at most {PARTICIPANTS_MAX} stand in one file", items.len());
        report.say(Code::TooLarge, list.name_span, message);
        return Vec::new();
    }
    items.iter().filter_map(|item| participant(item, list.name_span, file, report)).collect()
}

fn participant(node: &Node, at: Span, file: &str, report: &mut Report) -> Option<Draft> {
    let written = node.get("name").and_then(|n| match &n.kind {
        Kind::Scalar(scalar) => Some(shown(&scalar.text).into_owned()),
        _ => None,
    });
    let owner = written.map_or_else(|| "a participant".into(), |name| format!("participant \"{name}\""));
    let at = match &node.kind {
        Kind::Map(entries) => entries.first().map_or(at, |e| e.name_span),
        _ => at,
    };
    let fields = report.object(node, &PARTICIPANT, &owner, at)?;
    let name = fields.entry("name").and_then(|e| report.name(e, "a participant", NameRule::Dashed));
    let name_span = fields.get("name").map_or(at, |n| n.span);
    let owner_team = fields.entry("owner").map(|e| report.prose(e));
    let connector = fields.entry("connector").and_then(|e| connector(e, report));
    let endpoints = fields.entry("endpoints").and_then(|e| endpoints(e, report));
    let headers = match fields.entry("headers") {
        Some(entry) => headers(entry, file, report),
        None => Some(Vec::new()),
    };
    let idempotency = fields.entry("idempotency").and_then(|e| idempotency(e, &owner, report));
    let settles_within = fields.entry("settles_within").and_then(|e| report.duration(e, Duration::ZERO));
    let undo_blocks_do = match fields.entry("undo_blocks_do") {
        Some(entry) => report.boolean(entry),
        None => Some(false),
    };
    let timeout = fields.entry("timeout").and_then(|e| report.duration(e, Duration::from_millis(1)));
    let retry = fields.entry("retry").and_then(|e| retry(e, &owner, report));
    let answers = match fields.entry("answers") {
        Some(entry) => {
            let here = Here { roots: &[Root::Response], moment: Moment::Outside, facts: Facts::default() };
            let mut lowering =
                Lowering { world: &World::default(), file, report: &mut *report, reads: &mut Reads::default() };
            answers(entry, &here, Answering::Call, &mut lowering)
        }
        None => Some(Vec::new()),
    };
    let limits = fields.entry("limits").and_then(|e| limits(e, &owner, report));
    let shared_reads = match fields.entry("shared_reads") {
        Some(entry) => shared_reads(entry, report),
        None => Some(Vec::new()),
    };
    if let (Some(Idempotency::Header { name, .. }), Some(headers)) = (&idempotency, &headers)
        && headers.iter().any(|(h, _)| h.eq_ignore_ascii_case(name))
        && let Some(entry) = fields.entry("headers")
    {
        let message = format!("the engine sends the call key in \"{name}\"; it cannot be a fixed header as well");
        report.say(Code::ReservedHeader, entry.name_span, message);
    }
    let complete = || {
        Some(Participant {
            name: name.clone()?,
            owner: match owner_team {
                Some(team) => Some(team?),
                None => None,
            },
            connector: connector?,
            endpoints: endpoints?,
            headers: headers?,
            idempotency: idempotency?,
            settles_within: settles_within?,
            undo_blocks_do: undo_blocks_do?,
            timeout: timeout?,
            retry: retry?,
            answers: answers?,
            limits: limits?,
            shared_reads: shared_reads?,
        })
    };
    Some(Draft { participant: complete(), name, name_span })
}

fn connector(entry: &Entry, report: &mut Report) -> Option<CompactString> {
    let text = report.plain_text(entry)?;
    if ["grpc", "amqp", "kafka", "sql", "nats", "soap", "diameter"].contains(&text) {
        let message = format!("the connector \"{text}\" is not part of this version yet");
        report.add(Problem::new(Code::NotYet, entry.value.span, message).note("the connectors are: http"));
        return None;
    }
    report.word(entry, &[("http", ())]).map(|()| CompactString::const_new("http"))
}

fn endpoints(entry: &Entry, report: &mut Report) -> Option<Vec<String>> {
    let items = report.list(&entry.value, "endpoints", entry.name_span)?;
    if items.is_empty() || items.len() > ENDPOINTS_MAX {
        let code = if items.is_empty() { Code::WrongValue } else { Code::TooLarge };
        report.say(code, entry.name_span, format!("endpoints has 1 to {ENDPOINTS_MAX} addresses"));
        return None;
    }
    let mut urls: Vec<String> = Vec::with_capacity(items.len());
    let mut fine = true;
    for item in items {
        let at = visible(item.span, entry.name_span);
        let text = match &item.kind {
            Kind::Scalar(scalar) => scalar.text.as_str(),
            Kind::Broken => return None,
            Kind::List(_) | Kind::Map(_) => "",
        };
        match base_url(text) {
            Ok(url) if urls.contains(&url) => {
                report.say(Code::DuplicateName, at, "this endpoint stands twice");
                fine = false;
            }
            Ok(url) => urls.push(url),
            Err(why) => {
                let problem = Problem::new(Code::WrongValue, at, format!("this is no address of an endpoint: {why}"));
                report.add(problem.note("for instance: https://billing.internal:8443/v2"));
                fine = false;
            }
        }
    }
    fine.then_some(urls)
}

/// `http` or `https`, a host, perhaps a port and a path; without the slash at its end.
fn base_url(text: &str) -> Result<String, &'static str> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let rest = rest.ok_or("it begins with http:// or https://")?;
    if text.contains("${") {
        return Err("an address has no expressions; headers are the place of secrets");
    }
    if text.bytes().any(|b| b <= b' ' || b == 0x7f || b >= 0x80 || b"\"<>\\^`{|}".contains(&b)) {
        return Err("it has a character that an address cannot have");
    }
    if text.contains(['?', '#']) {
        return Err("the query stands in the call");
    }
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if authority.contains('@') {
        return Err("user and password do not stand in an address; use headers and ${secret.name}");
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(v6) => {
            let (host, after) = v6.split_once(']').ok_or("the bracket of its host is not closed")?;
            if host.is_empty() || !host.bytes().all(|b| b.is_ascii_hexdigit() || b == b':' || b == b'.') {
                return Err("its host is no IPv6 address");
            }
            (host, after.strip_prefix(':').or_else(|| after.is_empty().then_some("")).ok_or("its port is no number")?)
        }
        None => {
            let (host, port) = authority.split_once(':').map_or((authority, ""), |(h, p)| (h, p));
            if !host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)) {
                return Err("its host has a character that a host cannot have");
            }
            (host, port)
        }
    };
    if host.is_empty() {
        return Err("it has no host");
    }
    if (authority.ends_with(':') || !port.is_empty()) && !port.parse::<u16>().is_ok_and(|p| p > 0) {
        return Err("its port is no number from 1 to 65535");
    }
    if path.split('/').any(|segment| segment == ".." || segment == ".") {
        return Err("its path has . or ..");
    }
    Ok(text.trim_end_matches('/').to_owned())
}

fn headers(entry: &Entry, file: &str, report: &mut Report) -> Option<Vec<(CompactString, plan::TextTemplate)>> {
    let here = Here { roots: &[Root::Secret], moment: Moment::Outside, facts: Facts::default() };
    let mut lowering = Lowering { world: &World::default(), file, report, reads: &mut Reads::default() };
    header_list(entry, &here, &mut lowering)
}

/// Headers of a participant or a call: proper names, none twice, none of the engine's own.
pub(crate) fn header_list(
    entry: &Entry,
    here: &Here,
    lowering: &mut Lowering<'_, '_>,
) -> Option<Vec<(CompactString, plan::TextTemplate)>> {
    let members = lowering.report.members(&entry.value, "headers", entry.name_span)?;
    if members.len() > HEADERS_MAX {
        lowering.report.say(Code::TooLarge, entry.name_span, format!("at most {HEADERS_MAX} headers"));
        return None;
    }
    let mut headers: Vec<(CompactString, plan::TextTemplate)> = Vec::with_capacity(members.len());
    let mut fine = true;
    for member in members {
        let name = member.name.as_str();
        if let Some(why) = bad_header(name) {
            lowering.report.add(why.at(member.name_span, name));
            fine = false;
        } else if headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name)) {
            let message = format!("the header \"{name}\" stands twice; upper and lower case do not count");
            lowering.report.say(Code::DuplicateField, member.name_span, message);
            fine = false;
        }
        match lowering.text(&member.value, here, "a header") {
            Some(value) => headers.push((CompactString::new(name), value)),
            None => fine = false,
        }
    }
    fine.then_some(headers)
}

pub(crate) enum BadHeader {
    Name,
    Reserved(&'static str),
}

impl BadHeader {
    pub(crate) fn at(&self, span: Span, name: &str) -> Problem {
        match self {
            Self::Name => {
                let message = format!("\"{}\" is no name of a header", shown(name));
                Problem::new(Code::BadName, span, message)
                    .note("a header's name has letters, digits and !#$%&'*+-.^_`|~")
            }
            Self::Reserved(why) => {
                Problem::new(Code::ReservedHeader, span, format!("the header \"{name}\" is not the author's to set"))
                    .note(*why)
            }
        }
    }
}

/// What is wrong with a header's name, if anything.
pub(crate) fn bad_header(name: &str) -> Option<BadHeader> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || name.len() > 100 || !name.bytes().all(token) {
        return Some(BadHeader::Name);
    }
    let lower = name.to_ascii_lowercase();
    if lower.starts_with("tidegate-") || lower == "traceparent" || lower == "tracestate" {
        return Some(BadHeader::Reserved("the engine sends it with every call"));
    }
    let hop = [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "upgrade",
        "te",
        "trailer",
        "expect",
        "proxy-connection",
    ];
    hop.contains(&lower.as_str()).then_some(BadHeader::Reserved("it belongs to the connection, not to the call"))
}

fn idempotency(entry: &Entry, owner: &str, report: &mut Report) -> Option<Idempotency> {
    if let Kind::Scalar(scalar) = &entry.value.kind {
        if scalar.text == "none" {
            return Some(Idempotency::None);
        }
        let at = visible(entry.value.span, entry.name_span);
        report.add(
            Problem::new(
                Code::WrongValue,
                at,
                "idempotency is `none`, or says where the call key goes and for how long",
            )
            .note("for instance:\nidempotency:\n  header: Idempotency-Key\n  for: 24h"),
        );
        return None;
    }
    let fields = report.object(&entry.value, &IDEMPOTENCY, &format!("the idempotency of {owner}"), entry.name_span)?;
    let remembers = fields.entry("for").and_then(|e| report.duration(e, Duration::from_millis(1)));
    let scope = match fields.entry("scope") {
        Some(entry) => {
            report.word(entry, &[("participant", PromiseScope::Participant), ("endpoint", PromiseScope::Endpoint)])
        }
        None => Some(PromiseScope::Participant),
    };
    match (fields.entry("header"), fields.entry("body")) {
        (Some(header), None) => {
            let name = report.plain_text(header)?;
            if let Some(why) = bad_header(name) {
                report.add(why.at(header.value.span, name));
                return None;
            }
            Some(Idempotency::Header { name: CompactString::new(name), remembers: remembers?, scope: scope? })
        }
        (None, Some(body)) => {
            let field = report.plain_text(body)?;
            Some(Idempotency::Body { field: CompactString::new(field), remembers: remembers?, scope: scope? })
        }
        (header, _) => {
            let message = if header.is_some() {
                "the call key goes in a header or in the body, not in both"
            } else {
                "idempotency does not say where the call key goes"
            };
            let code = if header.is_some() { Code::WrongValue } else { Code::MissingField };
            report.add(Problem::new(code, entry.name_span, message).note("write `header: NAME` or `body: FIELD`"));
            None
        }
    }
}

/// All three are written: a reader looks in one place.
pub(crate) fn retry(entry: &Entry, owner: &str, report: &mut Report) -> Option<Retry> {
    let fields = report.object(&entry.value, &RETRY, &format!("the retry of {owner}"), entry.name_span)?;
    let attempts = fields.entry("attempts").and_then(|e| report.whole(e, 1, 1_000));
    let backoff = fields.entry("backoff").and_then(|e| report.duration(e, Duration::from_millis(1)));
    let max_backoff = fields.entry("max_backoff").and_then(|e| report.duration(e, Duration::from_millis(1)));
    let retry = Retry { attempts: attempts?, backoff: backoff?, max_backoff: max_backoff? };
    if retry.backoff > retry.max_backoff {
        let at = fields.get("max_backoff").map_or(entry.name_span, |n| n.span);
        report.say(Code::WrongValue, at, "max_backoff is not below backoff");
        return None;
    }
    Some(retry)
}

fn limits(entry: &Entry, owner: &str, report: &mut Report) -> Option<Limits> {
    let fields: Fields<'_> =
        report.object(&entry.value, &LIMITS, &format!("the limits of {owner}"), entry.name_span)?;
    let max_in_flight = fields.entry("max_in_flight").and_then(|e| report.whole(e, 1, 100_000));
    let max_per_second = match fields.entry("max_per_second") {
        Some(entry) => Some(report.whole(entry, 1, 10_000_000)?),
        None => None,
    };
    let min_in_flight = match fields.entry("min_in_flight") {
        Some(entry) => {
            let most = max_in_flight?;
            let least = report.whole(entry, 1, 100_000)?;
            if least > most {
                report.say(
                    Code::WrongValue,
                    entry.value.span,
                    format!("min_in_flight is more than max_in_flight {most}"),
                );
                return None;
            }
            Some(least)
        }
        None => None,
    };
    let learn = match fields.entry("learn") {
        Some(entry) => report.word(entry, &Learn::ALL.map(|learn| (learn.as_str(), learn)))?,
        None => Learn::default(),
    };
    Some(Limits { max_in_flight: max_in_flight?, max_per_second, min_in_flight, learn })
}

/// `shared_reads`: operations that only read, and how old an answer of theirs may be that serves another.
fn shared_reads(entry: &Entry, report: &mut Report) -> Option<Vec<SharedRead>> {
    let items = report.list(&entry.value, "shared_reads", entry.name_span)?;
    if items.len() > SHARED_READS_MAX {
        report.say(Code::TooLarge, entry.name_span, format!("at most {SHARED_READS_MAX} shared_reads"));
        return None;
    }
    let mut reads: Vec<SharedRead> = Vec::with_capacity(items.len());
    let mut fine = true;
    for item in items {
        let Some((read, at)) = shared_read(item, entry, report) else {
            fine = false;
            continue;
        };
        if reads.iter().any(|r| r.path == read.path) {
            report.say(Code::DuplicateName, at, "this path stands twice in shared_reads");
            fine = false;
        }
        reads.push(read);
    }
    fine.then_some(reads)
}

fn shared_read(node: &Node, list: &Entry, report: &mut Report) -> Option<(SharedRead, Span)> {
    let at = match &node.kind {
        Kind::Map(entries) => entries.first().map_or(list.name_span, |e| e.name_span),
        _ => visible(node.span, list.name_span),
    };
    let fields = report.object(node, &SHARED_READ, "an entry of shared_reads", at)?;
    let method = fields.entry("method").and_then(|e| match &e.value.kind {
        Kind::Scalar(s) if ["POST", "PUT", "PATCH", "DELETE"].contains(&s.text.as_str()) => {
            let problem = Problem::new(Code::WrongValue, e.value.span, format!("a {} is no shared read", s.text));
            report.add(problem.under("anything but GET changes something").note("write method: GET"));
            None
        }
        _ => report.word(e, &[("GET", ())]),
    });
    let path = fields.entry("path").and_then(|e| {
        let at = visible(e.value.span, e.name_span);
        match PathPattern::parse(report.plain_text(e)?) {
            Ok(path) => Some((path, at)),
            Err(why) => {
                let problem = Problem::new(Code::WrongValue, at, format!("this is no path of a shared read: {why}"));
                report.add(problem.note("for instance: /contracts/*"));
                None
            }
        }
    });
    let max_age = fields.entry("max_age").and_then(|e| {
        let max_age = report.duration(e, Duration::ZERO)?;
        if max_age > MAX_AGE_MAX {
            let message = format!("max_age is at most {}", duration_text(MAX_AGE_MAX));
            let problem = Problem::new(Code::BadDuration, visible(e.value.span, e.name_span), message);
            report.add(problem.note("an answer that may be older is no answer to a transaction's question"));
            return None;
        }
        Some(max_age)
    });
    method?;
    let (path, path_at) = path?;
    Some((SharedRead { path, max_age: max_age? }, path_at))
}

/// What an answer can mean depends on who answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answering {
    Call,
    Undo,
    Signal,
}

/// `answers`: a list of conditions and outcomes.
pub(crate) fn answers(
    entry: &Entry,
    here: &Here,
    who: Answering,
    lowering: &mut Lowering<'_, '_>,
) -> Option<Vec<AnswerRule>> {
    let items = lowering.report.list(&entry.value, "answers", entry.name_span)?;
    if items.len() > ANSWERS_MAX {
        lowering.report.say(Code::TooLarge, entry.name_span, format!("at most {ANSWERS_MAX} answers"));
        return None;
    }
    let rules: Vec<_> = items.iter().map(|item| answer(item, entry, here, who, lowering)).collect();
    rules.into_iter().collect()
}

fn answer(
    node: &Node,
    list: &Entry,
    here: &Here,
    who: Answering,
    lowering: &mut Lowering<'_, '_>,
) -> Option<AnswerRule> {
    let at = match &node.kind {
        Kind::Map(entries) => entries.first().map_or(list.name_span, |e| e.name_span),
        _ => visible(node.span, list.name_span),
    };
    let fields = lowering.report.object(node, &ANSWER, "an entry of answers", at)?;
    let when = fields.get("when").and_then(|n| lowering.expression(n, here, types::BOOL, "when"));
    let words: &[(&str, AnswerOutcome)] = match who {
        Answering::Call => &[
            ("done", AnswerOutcome::Done),
            ("refused", AnswerOutcome::Refused),
            ("not_executed", AnswerOutcome::NotExecuted),
            ("unknown", AnswerOutcome::Unknown),
        ],
        Answering::Undo => &[
            ("done", AnswerOutcome::Done),
            ("refused", AnswerOutcome::Refused),
            ("not_executed", AnswerOutcome::NotExecuted),
            ("unknown", AnswerOutcome::Unknown),
            ("nothing_to_undo", AnswerOutcome::NothingToUndo),
        ],
        Answering::Signal => &[("done", AnswerOutcome::Done), ("refused", AnswerOutcome::Refused)],
    };
    let outcome = fields.entry("outcome").and_then(|e| {
        if who != Answering::Undo && matches!(&e.value.kind, Kind::Scalar(s) if s.text == "nothing_to_undo") {
            let message = "nothing_to_undo is an answer to an undo only";
            lowering.report.say(Code::WrongValue, e.value.span, message);
            return None;
        }
        lowering.report.word(e, words)
    });
    let reason = match fields.entry("reason") {
        Some(entry) => Some(lowering.report.prose(entry)?),
        None => None,
    };
    Some(AnswerRule { when: when?, outcome: outcome?, reason })
}
