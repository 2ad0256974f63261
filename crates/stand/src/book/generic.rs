//! A system of any name that takes any method and path: for own definitions, for drills and for measuring.
//!
//! An undo is a call with `Tidegate-Direction: compensate`. What it undoes is the field `undoes` of its JSON body,
//! or else the first text field whose name ends with `_key`.

use http::Method;
use serde_json::Value;

use super::deeds::Found;
use super::{Answer, Came, Kind, Result, Task, Trade, kind_by_direction};

pub(crate) struct Generic;

pub(crate) const OK: &str = r#"{"ok":true}"#;

impl Trade for Generic {
    fn kind(&self, method: &Method, _: &str, compensates: bool) -> Kind {
        kind_by_direction(method, compensates)
    }

    fn perform(&mut self, task: &mut Task<'_>) -> Result {
        let amount = task.amount();
        match task.kind {
            Kind::Read => Result::new(Kind::Read, Came::Read, Answer::fixed(200, OK)),
            Kind::Do => {
                if let Some(blocked) = task.blocked() {
                    return blocked;
                }
                task.deeds.did(task.key, "", amount.unwrap_or(0));
                let mut result = Result::new(Kind::Do, Came::Effect, Answer::fixed(200, OK));
                result.amount_minor = amount;
                result
            }
            Kind::Undo => {
                let Some(undoes) = undone_key(task.json) else {
                    return Result::new(Kind::Undo, Came::Effect, Answer::fixed(200, OK));
                };
                let mut result = match task.deeds.undo(&undoes) {
                    Found::Undone { amount_minor, .. } => {
                        let mut result = Result::new(Kind::Undo, Came::Effect, Answer::fixed(200, OK));
                        result.amount_minor = Some(-amount_minor).filter(|amount| *amount != 0);
                        result
                    }
                    Found::Already => {
                        Result::new(Kind::Undo, Came::Nothing, Answer::fixed(200, r#"{"result":"ALREADY_UNDONE"}"#))
                    }
                    Found::Never => Result::new(Kind::Undo, Came::Nothing, task.unseen("NOTHING_TO_UNDO")),
                };
                result.undoes_key = Some(undoes);
                result
            }
        }
    }

    fn refusal(&self) -> Answer {
        Answer::fixed(409, r#"{"error":"refused"}"#)
    }

    fn reads_body(&self) -> bool {
        false
    }
}

fn undone_key(json: &Value) -> Option<String> {
    let fields = json.as_object()?;
    let named = fields.get("undoes").and_then(Value::as_str);
    let by_ending = || fields.iter().find(|(name, _)| name.ends_with("_key")).and_then(|(_, value)| value.as_str());
    named.or_else(by_ending).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::book::tests::Desk;
    use crate::settings::{Idempotency, SystemSpec};

    #[test]
    fn anything_is_taken_and_undone_by_direction() {
        let mut spec = SystemSpec::generic("stock");
        spec.idempotency = Idempotency::Header("Idempotency-Key".to_owned());
        let mut desk = Desk::new(&spec);
        assert_eq!(desk.post("/a/b", "k", &json!({"amount_minor": 7})), (200, json!({"ok": true}), Came::Effect));
        let undo = |desk: &mut Desk, key: &str, undoes: &str| {
            desk.book
                .perform(&crate::book::Call {
                    at_us: 1,
                    method: &Method::DELETE,
                    path: "/a/b",
                    body: json!({ "reserve_key": undoes }).to_string().as_bytes(),
                    header_key: Some(key),
                    compensates: true,
                    forget_us: None,
                    detail: true,
                })
                .came
        };
        assert_eq!(undo(&mut desk, "u", "k"), Came::Effect);
        assert_eq!(undo(&mut desk, "u2", "k"), Came::Nothing);
        assert_eq!(undo(&mut desk, "u3", "never"), Came::Nothing);
    }
}
