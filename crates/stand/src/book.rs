//! What a system knows and how one call changes it: keys first, then the trade's own rules.
//!
//! Plain functions of (state, call, time): the same calls in the same order give the same state and answers,
//! which is how a ledger brings a system back. No HTTP, no faults, no waiting.

pub(crate) mod billing;
pub(crate) mod crm;
pub(crate) mod deeds;
pub(crate) mod generic;
pub(crate) mod hlr;
pub(crate) mod lists;
pub(crate) mod memory;
pub(crate) mod mnp;
pub(crate) mod payments;
pub(crate) mod sms;
pub(crate) mod subscriber;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use crate::settings::{Idempotency, SystemSpec, TradeKind, UnseenUndo};
use deeds::Deeds;
use memory::{Memory, Recall};

/// What a call is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Do,
    Undo,
    Read,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Do => "do",
            Self::Undo => "undo",
            Self::Read => "read",
        }
    }

    pub fn by_name(name: &str) -> Option<Self> {
        [Self::Do, Self::Undo, Self::Read].into_iter().find(|kind| kind.as_str() == name)
    }
}

/// What a call came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Came {
    /// Something changed.
    Effect,
    /// The key was known: the stored answer again.
    Repeat,
    /// The system said no; nothing changed.
    Refused,
    /// An undo found nothing to undo; nothing changed.
    Nothing,
    /// It was only a question.
    Read,
}

impl Came {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Effect => "effect",
            Self::Repeat => "repeat",
            Self::Refused => "refused",
            Self::Nothing => "nothing",
            Self::Read => "read",
        }
    }
}

/// One call as the book sees it.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) at_us: u64,
    pub(crate) method: &'a Method,
    /// Without the system's name, with the leading slash, without the query.
    pub(crate) path: &'a str,
    pub(crate) body: &'a [u8],
    /// Of the declared header.
    pub(crate) header_key: Option<&'a str>,
    /// The caller says it is an undo.
    pub(crate) compensates: bool,
    /// Keys older than this many microseconds are not remembered for this call.
    pub(crate) forget_us: Option<u64>,
    /// Whether account and amount are wanted (they cost parsing a generic body).
    pub(crate) detail: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self { status, body: Bytes::from(body.to_string()) }
    }

    pub(crate) fn fixed(status: u16, body: &'static str) -> Self {
        Self { status, body: Bytes::from_static(body.as_bytes()) }
    }
}

/// What a trade did with a call.
#[derive(Clone, Debug)]
pub(crate) struct Result {
    pub(crate) answer: Answer,
    pub(crate) kind: Kind,
    pub(crate) came: Came,
    pub(crate) key: Option<String>,
    pub(crate) account: Option<String>,
    pub(crate) amount_minor: Option<i64>,
    pub(crate) undoes_key: Option<String>,
}

impl Result {
    pub(crate) fn new(kind: Kind, came: Came, answer: Answer) -> Self {
        Self { answer, kind, came, key: None, account: None, amount_minor: None, undoes_key: None }
    }

    pub(crate) fn refused(kind: Kind, status: u16, error: &str) -> Self {
        Self::new(kind, Came::Refused, Answer::json(status, &json!({ "error": error })))
    }

    pub(crate) fn no_such_route(kind: Kind) -> Self {
        Self::refused(kind, 404, "this system has no such path and method")
    }

    pub(crate) fn about(mut self, account: &str, amount_minor: Option<i64>) -> Self {
        self.account = Some(account.to_owned());
        self.amount_minor = amount_minor;
        self
    }
}

/// A call as a trade sees it: after the key was looked up.
pub(crate) struct Task<'a> {
    pub(crate) method: &'a Method,
    /// The path's parts.
    pub(crate) parts: &'a [&'a str],
    /// The body; null if there is none or it is not JSON.
    pub(crate) json: &'a Value,
    pub(crate) key: Option<&'a str>,
    pub(crate) kind: Kind,
    pub(crate) deeds: &'a mut Deeds,
    pub(crate) rules: Rules,
}

/// A system's promises about undoing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) undo_blocks_do: bool,
    pub(crate) unseen_undo: UnseenUndo,
}

impl Task<'_> {
    /// The refusal of a do whose undo came first, if the system promises that.
    pub(crate) fn blocked(&self) -> Option<Result> {
        (self.rules.undo_blocks_do && self.key.is_some_and(|key| self.deeds.is_tombstone(key)))
            .then(|| Result::refused(Kind::Do, 409, "undone before it came"))
    }

    pub(crate) fn text(&self, field: &str) -> Option<&str> {
        self.json.get(field).and_then(Value::as_str)
    }

    /// A whole, positive amount.
    pub(crate) fn amount(&self) -> Option<i64> {
        self.json.get("amount_minor").and_then(Value::as_i64).filter(|amount| *amount > 0)
    }

    /// The answer to an undo that found nothing; the tombstone stands already.
    pub(crate) fn unseen(&self, word: &str) -> Answer {
        match self.rules.unseen_undo {
            UnseenUndo::Accepted => Answer::json(200, &json!({ "result": word })),
            UnseenUndo::NotFound => Answer::json(404, &json!({ "error": word })),
        }
    }
}

/// The rules of one kind of system.
pub(crate) trait Trade: Send {
    /// What a call to this route is about.
    fn kind(&self, method: &Method, path: &str, compensates: bool) -> Kind;
    fn perform(&mut self, task: &mut Task<'_>) -> Result;
    /// How this system says no.
    fn refusal(&self) -> Answer;
    /// Things known, to be bounded.
    fn size(&self) -> usize {
        0
    }
    /// Whether the body must be read as JSON.
    fn reads_body(&self) -> bool {
        true
    }
}

/// A direction header decides where the route alone does not.
pub(crate) fn kind_by_direction(method: &Method, compensates: bool) -> Kind {
    match *method {
        Method::GET | Method::HEAD => Kind::Read,
        _ if compensates => Kind::Undo,
        _ => Kind::Do,
    }
}

/// Accounts, subscribers or requests that one system keeps; a change beyond is answered 507.
const THINGS_MAX: usize = 2_000_000;
/// Parts of a path beyond this many are not looked at.
const PARTS_MAX: usize = 8;

/// One system's whole knowledge.
pub(crate) struct Book {
    trade: Box<dyn Trade>,
    idempotency: Idempotency,
    memory: Memory,
    deeds: Deeds,
    rules: Rules,
    last_us: u64,
}

impl Book {
    pub(crate) fn new(spec: &SystemSpec) -> Self {
        let trade: Box<dyn Trade> = match spec.trade {
            TradeKind::Billing => Box::new(billing::Billing::default()),
            TradeKind::Crm => Box::new(crm::Crm::default()),
            TradeKind::Hlr => Box::new(hlr::Hlr::default()),
            TradeKind::Lists => Box::new(lists::Lists::default()),
            TradeKind::Mnp => Box::new(mnp::Mnp::default()),
            TradeKind::Payments => Box::new(payments::Payments::default()),
            TradeKind::Sms => Box::new(sms::Sms::default()),
            TradeKind::Generic => Box::new(generic::Generic),
        };
        Self {
            trade,
            idempotency: spec.idempotency.clone(),
            memory: Memory::new(spec.remembers_for, spec.keys_max),
            deeds: Deeds::new(spec.keys_max),
            rules: Rules { undo_blocks_do: spec.undo_blocks_do, unseen_undo: spec.unseen_undo },
            last_us: 0,
        }
    }

    pub(crate) fn kind(&self, method: &Method, path: &str, compensates: bool) -> Kind {
        self.trade.kind(method, path, compensates)
    }

    pub(crate) fn refusal(&self) -> Answer {
        self.trade.refusal()
    }

    pub(crate) fn forgotten_early(&self) -> u64 {
        self.memory.forgotten_early
    }

    pub(crate) fn keys(&self) -> usize {
        self.memory.len()
    }

    /// The one entry: at most one effect, and the same answer for the same key.
    pub(crate) fn perform(&mut self, call: &Call<'_>) -> Result {
        self.last_us = self.last_us.max(call.at_us);
        let at_us = self.last_us;
        let kind = self.trade.kind(call.method, call.path, call.compensates);
        let keyed_by_body = matches!(self.idempotency, Idempotency::Body(_));
        let parse =
            !call.body.is_empty() && (self.trade.reads_body() || keyed_by_body || call.detail || kind == Kind::Undo);
        let json = if parse {
            match serde_json::from_slice(call.body) {
                Ok(json) => json,
                Err(_) if !self.trade.reads_body() && !keyed_by_body => Value::Null,
                Err(why) => return Result::refused(kind, 400, &format!("the body is not JSON: {why}")),
            }
        } else {
            Value::Null
        };
        let key = match &self.idempotency {
            _ if kind == Kind::Read => None,
            Idempotency::None => None,
            Idempotency::Header(name) => match call.header_key {
                Some(key) if !key.is_empty() => Some(key),
                _ => return Result::refused(kind, 400, &format!("the header {name} is missing")),
            },
            Idempotency::Body(field) => match json.get(field).and_then(Value::as_str) {
                Some(key) if !key.is_empty() => Some(key),
                _ => return Result::refused(kind, 400, &format!("the field {field} is missing or no text")),
            },
        };
        let digest = key.map(|_| memory::digest(call.method, call.path, call.body));
        if let (Some(key), Some(digest)) = (key, digest) {
            match self.memory.recall(key, digest, at_us, call.forget_us) {
                Recall::Same(answer) => {
                    let mut result = Result::new(kind, Came::Repeat, answer);
                    result.key = Some(key.to_owned());
                    return result;
                }
                Recall::Other => {
                    let mut result = Result::refused(kind, 422, "this key came before with another request");
                    result.key = Some(key.to_owned());
                    return result;
                }
                Recall::New => {}
            }
        }
        if kind == Kind::Do && self.trade.size() >= THINGS_MAX {
            return Result::refused(kind, 507, "this system knows all it can hold");
        }
        let mut parts = [""; PARTS_MAX];
        let mut count = 0;
        for (slot, part) in parts.iter_mut().zip(call.path.split('/').filter(|part| !part.is_empty())) {
            *slot = part;
            count += 1;
        }
        let mut task = Task {
            method: call.method,
            parts: &parts[..count],
            json: &json,
            key,
            kind,
            deeds: &mut self.deeds,
            rules: self.rules,
        };
        let mut result = self.trade.perform(&mut task);
        if let (Some(key), Some(digest)) = (key, digest) {
            self.memory.keep(key, digest, at_us, &result.answer);
            result.key = Some(key.to_owned());
        }
        result
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A book asked by hand: time stands still unless told.
    pub(crate) struct Desk {
        pub(crate) book: Book,
        pub(crate) at_us: u64,
    }

    impl Desk {
        pub(crate) fn new(spec: &SystemSpec) -> Self {
            Self { book: Book::new(spec), at_us: 1 }
        }

        pub(crate) fn telecom(name: &str) -> Self {
            Self::new(&crate::telecom().into_iter().find(|spec| spec.name == name).unwrap())
        }

        pub(crate) fn call(&mut self, method: &Method, path: &str, key: &str, body: &Value) -> (u16, Value, Came) {
            self.forgetting(method, path, key, body, None)
        }

        pub(crate) fn forgetting(
            &mut self,
            method: &Method,
            path: &str,
            key: &str,
            body: &Value,
            forget_us: Option<u64>,
        ) -> (u16, Value, Came) {
            let text = if body.is_null() { String::new() } else { body.to_string() };
            let result = self.book.perform(&Call {
                at_us: self.at_us,
                method,
                path,
                body: text.as_bytes(),
                header_key: (!key.is_empty()).then_some(key),
                compensates: false,
                forget_us,
                detail: true,
            });
            (result.answer.status, serde_json::from_slice(&result.answer.body).unwrap(), result.came)
        }

        pub(crate) fn post(&mut self, path: &str, key: &str, body: &Value) -> (u16, Value, Came) {
            self.call(&Method::POST, path, key, body)
        }
    }

    #[test]
    fn a_key_is_required_where_it_is_declared() {
        let mut billing = Desk::telecom("billing");
        let (status, body, _) = billing.post("/accounts/491701234567/credits", "", &json!({"amount_minor": 1}));
        assert_eq!((status, body), (400, json!({"error": "the header X-Request-ID is missing"})));
        let mut mnp = Desk::telecom("mnp");
        let (status, body, _) = mnp.post("/port-requests/p1/acceptance", "", &json!({}));
        assert_eq!((status, body), (400, json!({"error": "the field external_id is missing or no text"})));
    }

    #[test]
    fn a_known_key_gets_the_stored_answer_and_another_body_422() {
        let mut billing = Desk::telecom("billing");
        let path = "/accounts/491701234567/credits";
        let first = billing.post(path, "k", &json!({"amount_minor": 1000}));
        assert_eq!(first, (200, json!({"balance_minor": 1750}), Came::Effect));
        let again = billing.post(path, "k", &json!({"amount_minor": 1000}));
        assert_eq!(again, (200, json!({"balance_minor": 1750}), Came::Repeat));
        assert_eq!(billing.post(path, "k", &json!({"amount_minor": 1001})).0, 422);
        assert_eq!(billing.post(path, "k2", &json!({"amount_minor": 1})).1, json!({"balance_minor": 1751}));
    }

    #[test]
    fn a_forgotten_key_is_executed_again() {
        let mut billing = Desk::telecom("billing");
        let path = "/accounts/491701234567/credits";
        let body = json!({"amount_minor": 10});
        billing.post(path, "k", &body);
        assert_eq!(billing.forgetting(&Method::POST, path, "k", &body, Some(1_000_000)).2, Came::Repeat);
        assert_eq!(billing.forgetting(&Method::POST, path, "k", &body, Some(0)).2, Came::Effect);
        billing.at_us += 8 * 86_400 * 1_000_000;
        assert_eq!(billing.post(path, "k", &body), (200, json!({"balance_minor": 780}), Came::Effect));
    }

    #[test]
    fn a_body_that_is_no_json_is_refused_by_a_trade_and_taken_by_a_generic_system() {
        let ask = |spec: &SystemSpec| {
            Book::new(spec).perform(&Call {
                at_us: 1,
                method: &Method::POST,
                path: "/messages",
                body: b"{oops",
                header_key: None,
                compensates: false,
                forget_us: None,
                detail: true,
            })
        };
        let sms = crate::telecom().pop().unwrap();
        assert_eq!(ask(&sms).answer.status, 400);
        assert_eq!(ask(&SystemSpec::generic("g")).answer.status, 200);
    }
}
