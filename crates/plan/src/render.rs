//! A call's templates rendered to the bytes that are sent.
//!
//! Bodies are written as canonical JSON straight into their buffer: no value is built that is only there to be
//! printed. Left out: the participant's own headers and base address (the connector adds them), and the header
//! that carries the call key.

use std::cell::Cell;
use std::fmt::Write as _;

use compact_str::CompactString;
use model::{CallKey, Number, Value, json};
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128};

use crate::eval::run::{Env, Val, direct, kind_of, run, transaction_id};
use crate::eval::{COST_MAX, EvalError, Scope};
use crate::expr::{Expr, Var};
use crate::number;
use crate::saga::{Call, Method};
use crate::template::{TextPart, TextTemplate, ValueTemplate};

mod encode;

/// A rendered call, without anything that belongs to the participant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    pub method: Method,
    /// Starts with the call's path; percent-encoded.
    pub path_and_query: String,
    /// The call's own headers, in the order written. Values hold no control characters.
    pub headers: Vec<(CompactString, String)>,
    /// Canonical JSON.
    pub body: Option<Vec<u8>>,
}

impl Request {
    /// Names what is sent: method, path and query, headers of the call, body. A repeat of a call that renders to
    /// another digest is not a repeat.
    ///
    /// Stable for ever (golden values in the tests): journals keep it.
    pub fn digest(&self) -> u64 {
        // Each part is hashed with the hash so far as its seed, so parts cannot run into each other.
        let mut hash = xxh3_64_with_seed(self.method.as_str().as_bytes(), 1);
        hash = xxh3_64_with_seed(self.path_and_query.as_bytes(), hash);
        for (name, value) in &self.headers {
            hash = xxh3_64_with_seed(name.as_bytes(), hash);
            hash = xxh3_64_with_seed(value.as_bytes(), hash);
        }
        match &self.body {
            Some(body) => xxh3_64_with_seed(body, hash ^ 2),
            None => xxh3_64_with_seed(&[], hash ^ 3),
        }
    }
}

impl Request {
    /// Names what is asked of a participant, for telling equal reads: 128 bits over method, path and query, headers of
    /// the call and body, each with its length. Lives as long as a process; whoever hands one's answer to another
    /// compares the requests themselves.
    pub fn identity(&self, participant: u32) -> u128 {
        let mut bytes = Vec::with_capacity(64 + self.path_and_query.len());
        bytes.extend_from_slice(&participant.to_le_bytes());
        let mut put = |part: &[u8]| {
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part);
        };
        put(self.method.as_str().as_bytes());
        put(self.path_and_query.as_bytes());
        for (name, value) in &self.headers {
            put(name.as_bytes());
            put(value.as_bytes());
        }
        if let Some(body) = &self.body {
            put(b"");
            put(body);
        }
        xxh3_128(&bytes)
    }
}

/// Renders a call. `body_capacity` is a guess at the size of the body in bytes; a wrong one only costs time.
pub fn render_call(call: &Call, scope: &Scope<'_>, body_capacity: usize) -> Result<Request, EvalError> {
    let mut path_and_query = String::with_capacity(96);
    push_path(&call.path, scope, &mut path_and_query)?;
    let mut separator = '?';
    for (name, value) in &call.query {
        path_and_query.push(separator);
        separator = '&';
        encode::component(name, &mut path_and_query);
        path_and_query.push('=');
        for part in &value.0 {
            match part {
                TextPart::Literal(text) => encode::component(text, &mut path_and_query),
                TextPart::Expr(expr) => with_text(expr, scope, |text| encode::component(text, &mut path_and_query))?,
                TextPart::Secret(name) => return Err(secret_out_of_place(name)),
            }
        }
    }
    let mut headers = Vec::with_capacity(call.headers.len());
    for (name, value) in &call.headers {
        let mut text = String::new();
        push_text(value, scope, &mut text)?;
        if text.bytes().any(|b| b < 0x20 && b != b'\t' || b == 0x7f) {
            return Err(EvalError::NotSendable(format!("the header {name} would hold a control character")));
        }
        headers.push((name.clone(), text));
    }
    let body = match &call.body {
        Some(template) => {
            let mut body = Vec::with_capacity(body_capacity);
            push_json(template, scope, &mut body)?;
            Some(body)
        }
        None => None,
    };
    Ok(Request { method: call.method, path_and_query, headers, body })
}

/// Renders text: strings as they are, whole numbers as integers, `true` and `false`; null, lists and maps are errors.
pub fn render_text(template: &TextTemplate, scope: &Scope<'_>) -> Result<CompactString, EvalError> {
    let mut out = CompactString::default();
    push_text(template, scope, &mut out)?;
    Ok(out)
}

/// Renders JSON as a value. Whatever an expression in it cannot read is an error, never a member left out.
pub fn render_value(template: &ValueTemplate, scope: &Scope<'_>) -> Result<Value, EvalError> {
    Ok(match template {
        ValueTemplate::Literal(value) => value.clone(),
        ValueTemplate::Expr(expr) => expr.eval(scope)?.into_owned(),
        ValueTemplate::Text(text) => Value::Text(render_text(text, scope)?),
        ValueTemplate::List(items) => {
            Value::List(items.iter().map(|item| render_value(item, scope)).collect::<Result<_, _>>()?)
        }
        ValueTemplate::Map(members) => {
            let members: Result<Vec<_>, EvalError> =
                members.iter().map(|(name, value)| Ok((name.clone(), render_value(value, scope)?))).collect();
            let map = model::Map::from_members(members?);
            Value::Map(map.ok_or_else(|| EvalError::WrongType("a map names one member twice".into()))?)
        }
    })
}

/// A participant's header with its secrets. Expressions have no place there; a value with a control character
/// (a secret file that ends in a line break) cannot be sent.
pub fn resolve_secrets(template: &TextTemplate, secret: &dyn Fn(&str) -> Option<String>) -> Result<String, EvalError> {
    let mut out = String::new();
    for part in &template.0 {
        match part {
            TextPart::Literal(text) => out.push_str(text),
            TextPart::Secret(name) => match secret(name) {
                Some(text) => out.push_str(&text),
                None => return Err(EvalError::Missing(format!("secret.{name}"))),
            },
            TextPart::Expr(_) => {
                return Err(EvalError::NotSendable("a participant's header is the same for every call".into()));
            }
        }
    }
    if out.bytes().any(|b| b < 0x20 && b != b'\t' || b == 0x7f) {
        return Err(EvalError::NotSendable("the header would hold a control character".into()));
    }
    Ok(out)
}

fn secret_out_of_place(name: &str) -> EvalError {
    EvalError::NotSendable(format!("secret.{name} may stand only in a participant's headers"))
}

fn push_path(template: &TextTemplate, scope: &Scope<'_>, out: &mut String) -> Result<(), EvalError> {
    let mut segment = 0;
    let mut computed = false;
    for part in &template.0 {
        match part {
            TextPart::Literal(text) => {
                let mut pieces = text.split('/');
                if let Some(first) = pieces.next() {
                    encode::literal(first, out);
                }
                for piece in pieces {
                    check_segment(&out[segment..], computed)?;
                    out.push('/');
                    segment = out.len();
                    computed = false;
                    encode::literal(piece, out);
                }
            }
            TextPart::Expr(expr) => {
                computed = true;
                with_text(expr, scope, |text| encode::component(text, out))?;
            }
            TextPart::Secret(name) => return Err(secret_out_of_place(name)),
        }
    }
    check_segment(&out[segment..], computed)
}

/// A computed segment that would name another resource: servers fold `.` and `..`, encoded or not, and an empty
/// one turns a thing into its collection.
fn check_segment(segment: &str, computed: bool) -> Result<(), EvalError> {
    if computed && matches!(segment, "" | "." | "..") {
        return Err(EvalError::NotSendable(format!("a part of the path would be \"{segment}\"")));
    }
    Ok(())
}

fn push_text(template: &TextTemplate, scope: &Scope<'_>, out: &mut impl std::fmt::Write) -> Result<(), EvalError> {
    for part in &template.0 {
        // Writing to text in memory cannot fail.
        let _ = match part {
            TextPart::Literal(text) => out.write_str(text),
            TextPart::Expr(expr) => with_text(expr, scope, |text| out.write_str(text))?,
            TextPart::Secret(name) => return Err(secret_out_of_place(name)),
        };
    }
    Ok(())
}

fn push_json(template: &ValueTemplate, scope: &Scope<'_>, out: &mut Vec<u8>) -> Result<(), EvalError> {
    match template {
        ValueTemplate::Literal(value) => push_value(value, out),
        ValueTemplate::Expr(expr) => push_expr(expr, scope, out)?,
        ValueTemplate::Text(text) => push_quoted(&render_text(text, scope)?, out),
        ValueTemplate::List(items) => {
            out.push(b'[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    out.push(b',');
                }
                push_json(item, scope, out)?;
            }
            out.push(b']');
        }
        ValueTemplate::Map(members) => {
            out.push(b'{');
            for (place, (name, value)) in members.iter().enumerate() {
                if place > 0 {
                    out.push(b',');
                }
                push_quoted(name, out);
                out.push(b':');
                push_json(value, scope, out)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

/// Appends text as a JSON string. Most needs no escape, which one look without branches tells.
fn push_quoted(text: &str, out: &mut Vec<u8>) {
    let plain = text.bytes().fold(true, |plain, b| plain & (b >= 0x20) & (b != b'"') & (b != b'\\'));
    if plain {
        out.reserve(text.len() + 2);
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        json::write_text(text, out);
    }
}

fn push_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Text(text) => push_quoted(text, out),
        other => json::write(other, out),
    }
}

fn push_expr(expr: &Expr, scope: &Scope<'_>, out: &mut Vec<u8>) -> Result<(), EvalError> {
    if let Some(value) = direct(expr, scope) {
        push_value(value, out);
        return Ok(());
    }
    if let Some(name) = Name::of(expr, scope)? {
        // Names are base 32, digits and hyphens: nothing to escape.
        out.push(b'"');
        out.extend_from_slice(name.as_str().as_bytes());
        out.push(b'"');
        return Ok(());
    }
    let cost = Cell::new(COST_MAX);
    match run(expr, &Env::new(scope, &cost), 0)? {
        Val::Ref(value) => push_value(value, out),
        Val::Own(value) => push_value(&value, out),
        Val::Double(double) => {
            json::write_number(&number::from_double(double).ok_or(EvalError::Overflow)?, out);
        }
    }
    Ok(())
}

/// Hands the text of an expression to `then` without allocating it.
fn with_text<T>(expr: &Expr, scope: &Scope<'_>, then: impl FnOnce(&str) -> T) -> Result<T, EvalError> {
    if let Some(Value::Text(text)) = direct(expr, scope) {
        return Ok(then(text));
    }
    if let Some(name) = Name::of(expr, scope)? {
        return Ok(then(name.as_str()));
    }
    let cost = Cell::new(COST_MAX);
    let value = run(expr, &Env::new(scope, &cost), 0)?.into_cow()?;
    match &*value {
        Value::Text(text) => Ok(then(text)),
        Value::Bool(value) => Ok(then(if *value { "true" } else { "false" })),
        Value::Number(Number::Decimal(text)) => Ok(then(text)),
        Value::Number(Number::Int(n)) => Ok(then(Name::written(format_args!("{n}")).as_str())),
        Value::Number(Number::Uint(n)) => Ok(then(Name::written(format_args!("{n}")).as_str())),
        other => Err(EvalError::WrongType(format!("{} has no place inside text", kind_of(other)))),
    }
}

/// Short text of known length on the stack: a transaction's id, a call key, an integer.
struct Name {
    bytes: [u8; 48],
    len: usize,
}

impl Name {
    fn of(expr: &Expr, scope: &Scope<'_>) -> Result<Option<Self>, EvalError> {
        let Expr::Var(var) = expr else { return Ok(None) };
        let key = match var {
            Var::TransactionId => {
                let mut name = Self { bytes: [0; 48], len: 29 };
                name.bytes[..29].copy_from_slice(&transaction_id(scope.tx));
                return Ok(Some(name));
            }
            Var::StepCallKey(step) => scope.steps.call_key(*step),
            Var::CallKey => scope.call.ok_or_else(|| EvalError::Missing("call.key".into()))?,
            _ => return Ok(None),
        };
        Ok(Some(Self::call_key(key)))
    }

    fn call_key(key: CallKey) -> Self {
        Self::written(format_args!("{key}"))
    }

    fn written(text: std::fmt::Arguments<'_>) -> Self {
        let mut name = Self { bytes: [0; 48], len: 0 };
        // 26 characters, two 16-bit numbers and two signs are 38 bytes; 64-bit integers have 20.
        let _ = name.write_fmt(text);
        name
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or("")
    }
}

impl std::fmt::Write for Name {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.len + text.len();
        self.bytes.get_mut(self.len..end).ok_or(std::fmt::Error)?.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}
