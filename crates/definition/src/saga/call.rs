//! One request: `call` of a step, and the same fields in `compensate`.

use compact_str::CompactString;
use plan::{Call, Method, TextPart, TextTemplate, ValueTemplate};

use crate::diagnostic::{Code, Problem};
use crate::expr::lower::Here;
use crate::expr::template::Lowering;
use crate::names::NameRule;
use crate::object::{Fields, Shape, visible};
use crate::participants::{HEADERS_MAX, header_list};
use crate::source::Span;
use crate::yaml::{Entry, Kind};

const LATER: &[(&str, &str)] = &[
    ("body_text", "bodies that are not JSON come with a later version"),
    ("body_xml", "bodies that are not JSON come with a later version"),
    ("auth", "credentials stand in the headers of the participant"),
    ("schema", "schemas of answers come with a later version; result and answers name what is read"),
    ("definition", "child transactions come with a later version"),
    ("inquire", "asking what became of a call comes with a later version"),
];

pub(crate) const CALL: Shape = Shape {
    name: "call",
    fields: &["participant", "method", "path", "query", "headers", "body"],
    required: &["participant", "method", "path"],
    later: LATER,
};

pub(crate) const COMPENSATE: Shape = Shape {
    name: "compensate",
    fields: &["participant", "method", "path", "query", "headers", "body", "timeout", "answers", "unknown"],
    required: &["participant", "method", "path"],
    later: LATER,
};

/// A request as far as it could be read.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) participant: Option<(CompactString, Span)>,
    pub(crate) method: Option<(Method, Span)>,
    pub(crate) path: Option<TextTemplate>,
    pub(crate) query: Option<Vec<(CompactString, TextTemplate)>>,
    pub(crate) headers: Option<Vec<(CompactString, TextTemplate)>>,
    /// Outer `None`: it is wrong.
    pub(crate) body: Option<Option<ValueTemplate>>,
    pub(crate) body_at: Option<Span>,
    /// The members of the body and where their values are.
    pub(crate) body_members: Vec<(String, Span)>,
    pub(crate) headers_at: Vec<(String, Span)>,
    /// `call` or `compensate` itself.
    pub(crate) at: Span,
}

impl Draft {
    pub(crate) fn finished(self) -> Option<Call> {
        Some(Call {
            participant: self.participant?.0,
            method: self.method?.0,
            path: self.path?,
            query: self.query?,
            headers: self.headers?,
            body: self.body?,
        })
    }
}

/// Reads the request's own fields.
pub(crate) fn read(fields: &Fields<'_>, at: Span, here: &Here, lowering: &mut Lowering<'_, '_>) -> Draft {
    let participant = fields.entry("participant").and_then(|e| {
        let name = lowering.report.name(e, "a participant", NameRule::Dashed)?;
        Some((name, e.value.span))
    });
    let method = fields.entry("method").and_then(|e| method(e, lowering));
    let path = fields.entry("path").and_then(|e| path(e, here, lowering));
    let query = match fields.entry("query") {
        Some(entry) => query(entry, here, lowering),
        None => Some(Vec::new()),
    };
    let (headers, headers_at) = match fields.entry("headers") {
        Some(entry) => (header_list(entry, here, lowering), member_spans(entry, false)),
        None => (Some(Vec::new()), Vec::new()),
    };
    let (body, body_at, body_members) = match fields.entry("body") {
        Some(entry) => {
            let body = lowering.json(&entry.value, here);
            (body.map(Some), Some(entry.name_span), member_spans(entry, true))
        }
        None => (Some(None), None, Vec::new()),
    };
    if let (Some((Method::Get, _)), Some(at)) = (method, body_at) {
        lowering.report.say(Code::WrongValue, at, "a GET has no body; write a query");
    }
    Draft { participant, method, path, query, headers, body, body_at, body_members, headers_at, at }
}

fn member_spans(entry: &Entry, values: bool) -> Vec<(String, Span)> {
    match &entry.value.kind {
        Kind::Map(members) => members
            .iter()
            .map(|m| (m.name.clone(), if values { visible(m.value.span, m.name_span) } else { m.name_span }))
            .collect(),
        _ => Vec::new(),
    }
}

fn method(entry: &Entry, lowering: &mut Lowering<'_, '_>) -> Option<(Method, Span)> {
    let methods = [
        ("GET", Method::Get),
        ("POST", Method::Post),
        ("PUT", Method::Put),
        ("PATCH", Method::Patch),
        ("DELETE", Method::Delete),
    ];
    lowering.report.word(entry, &methods).map(|method| (method, entry.value.span))
}

fn path(entry: &Entry, here: &Here, lowering: &mut Lowering<'_, '_>) -> Option<TextTemplate> {
    let at = visible(entry.value.span, entry.name_span);
    if let Kind::Scalar(scalar) = &entry.value.kind
        && !scalar.text.starts_with('/')
        && !scalar.text.is_empty()
    {
        let problem = Problem::new(Code::WrongValue, at, "a path begins with /");
        lowering.report.add(problem.note("it is appended to the endpoint's address"));
        return None;
    }
    let template = lowering.text(&entry.value, here, "path")?;
    let literals = template.0.iter().filter_map(|part| match part {
        TextPart::Literal(text) => Some(text.as_str()),
        TextPart::Expr(_) | TextPart::Secret(_) => None,
    });
    let mut shape = String::new();
    for (place, literal) in literals.enumerate() {
        if place > 0 {
            // What an expression gives is percent-encoded, so it is one segment's text.
            shape.push('x');
        }
        if literal.contains(['?', '#']) {
            lowering.report.say(Code::WrongValue, at, "a path has no ? and no #; write a query");
            return None;
        }
        if literal.contains(|c: char| c.is_whitespace() || c.is_control() || "\"<>\\^`{|}".contains(c)) {
            lowering.report.say(Code::WrongValue, at, "a path has no spaces and none of \" < > \\ ^ ` { | }");
            return None;
        }
        shape.push_str(literal);
    }
    if shape.split('/').any(|segment| segment == "." || segment == "..") {
        lowering.report.say(Code::WrongValue, at, "a path has no . and no .. between slashes");
        return None;
    }
    Some(template)
}

fn query(entry: &Entry, here: &Here, lowering: &mut Lowering<'_, '_>) -> Option<Vec<(CompactString, TextTemplate)>> {
    let members = lowering.report.members(&entry.value, "query", entry.name_span)?;
    if members.len() > HEADERS_MAX {
        lowering.report.say(Code::TooLarge, entry.name_span, format!("at most {HEADERS_MAX} fields in a query"));
        return None;
    }
    let made: Vec<_> = members
        .iter()
        .map(|m| Some((CompactString::new(&m.name), lowering.text(&m.value, here, "a field of the query")?)))
        .collect();
    made.into_iter().collect()
}
