//! Errors as RFC 9457 problem documents: what was wrong, where, what to do, and whether anything was accepted.
//!
//! `code` is the closed list of types with the page that each one's `type` points at. An error becomes a
//! [`Problem`] where it is found and an HTTP response once, in [`Problem::respond`].

pub(crate) mod code;
mod refusal;

use std::time::Duration;

use http::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use model::TxId;
use runtime::Accepted;

use crate::body::{Body, Response};
use crate::json::Object;

pub(crate) use code::Code;

/// One error answer.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Problem {
    pub(crate) code: Code,
    pub(crate) detail: Box<str>,
    pub(crate) errors: Vec<Fault>,
    pub(crate) hint: Option<Box<str>>,
    pub(crate) accepted: Option<Accepted>,
    pub(crate) retry_after_s: Option<u16>,
    /// The transaction it is about, if there is one.
    pub(crate) transaction: Option<TxId>,
    pub(crate) allow: Option<&'static str>,
}

/// One thing at fault.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Fault {
    pub(crate) at: At,
    pub(crate) detail: String,
}

/// Where in the request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum At {
    /// A JSON pointer into the body.
    Pointer(String),
    /// A member of the query.
    Parameter(String),
    Header(&'static str),
    /// A file to apply: path, line, column, and the code of the finding.
    File {
        path: String,
        line: u64,
        column: u64,
        code: String,
    },
    /// An object in force that differs from the one to apply.
    Object(String),
}

impl Problem {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into().into_boxed_str(),
            errors: Vec::new(),
            hint: None,
            accepted: None,
            retry_after_s: None,
            transaction: None,
            allow: None,
        }
    }

    /// A field of the body is wrong.
    pub(crate) fn field(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        let (pointer, detail) = (pointer.into(), detail.into());
        let place = if pointer.is_empty() { "the body" } else { &pointer };
        Self::new(Code::BodyInvalid, format!("{place} {detail}")).at(At::Pointer(pointer), detail)
    }

    /// A member of the query is wrong.
    pub(crate) fn parameter(name: &str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self::new(Code::BadRequest, format!("the parameter \"{name}\" {detail}"))
            .at(At::Parameter(name.to_owned()), detail)
    }

    pub(crate) fn at(mut self, at: At, detail: impl Into<String>) -> Self {
        self.errors.push(Fault { at, detail: detail.into() });
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into().into_boxed_str());
        self
    }

    /// Full or not able: nothing is lost, ask again.
    pub(crate) fn retry(mut self, after: Duration, accepted: Accepted) -> Self {
        self.retry_after_s = Some(seconds(after));
        self.accepted = Some(accepted);
        self
    }

    pub(crate) fn about(mut self, id: TxId) -> Self {
        self.transaction.get_or_insert(id);
        self
    }

    /// The document itself.
    pub(crate) fn render(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(384);
        let mut o = Object::begin(&mut out);
        o.text("type", &format!("/problems/{}", self.code.as_str())).text("title", self.code.title());
        o.number("status", u64::from(self.code.status())).text("detail", &self.detail);
        if !self.errors.is_empty() {
            o.list("errors", &self.errors, |fault, out| {
                let mut e = Object::begin(out);
                match &fault.at {
                    At::Pointer(pointer) => drop(e.text("pointer", pointer)),
                    At::Parameter(name) => drop(e.text("parameter", name)),
                    At::Header(name) => drop(e.text("header", name)),
                    At::File { path, line, column, code } => {
                        e.text("path", path).number("line", *line).number("column", *column).text("code", code);
                    }
                    At::Object(name) => drop(e.text("object", name)),
                }
                e.text("detail", &fault.detail).end();
            });
        }
        if let Some(hint) = &self.hint {
            o.text("hint", hint);
        }
        if let Some(accepted) = self.accepted {
            o.word("accepted", if accepted == Accepted::No { "no" } else { "unknown" });
        }
        if let Some(after) = self.retry_after_s {
            o.number("retry_after_s", u64::from(after));
        }
        if let Some(id) = self.transaction {
            o.id("transaction", id);
        }
        o.end();
        out
    }

    pub(crate) fn respond(&self) -> Response {
        let mut response = http::Response::new(Body::full(self.render()));
        *response.status_mut() = self.code.status_code();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(after) = self.retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(after));
        }
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if let Some(id) = self.transaction {
            crate::body::name_transaction(headers, id);
        }
        response
    }
}

/// Whole seconds, rounded up: never an invitation to come too early.
fn seconds(after: Duration) -> u16 {
    after.as_millis().div_ceil(1_000).clamp(1, 3_600) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_has_every_member_it_should() {
        let problem = Problem::field("/input/amount_minor", "is 50, the minimum is 100").hint("do this");
        assert_eq!(
            String::from_utf8_lossy(&problem.render()),
            r#"{"type":"/problems/body-invalid","title":"The body is not what this route takes","status":400,"detail":"/input/amount_minor is 50, the minimum is 100","errors":[{"pointer":"/input/amount_minor","detail":"is 50, the minimum is 100"}],"hint":"do this"}"#
        );
    }

    #[test]
    fn being_full_says_when_to_come_again_and_that_nothing_was_accepted() {
        let full = Problem::new(Code::Overloaded, "billing is full").retry(Duration::from_millis(1_200), Accepted::No);
        let response = full.respond();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()[RETRY_AFTER], "2");
        let text = String::from_utf8_lossy(&full.render()).into_owned();
        assert!(text.contains(r#""accepted":"no","retry_after_s":2"#), "{text}");
    }
}
