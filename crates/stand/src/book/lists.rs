//! Lists of numbers, to append to and to read whole: what a history of appends is recorded on.
//!
//! `POST /lists/{name}/elements {element}`, `POST /lists/{name}/removals {undoes}`, `GET /lists/{name}`.

use std::collections::HashMap;

use http::Method;
use serde_json::{Value, json};

use super::deeds::Found;
use super::{Answer, Came, Kind, Result, Task, Trade};

/// Elements of one list; one more is refused.
const ELEMENTS_MAX: usize = 10_000;

#[derive(Default)]
pub(crate) struct Lists {
    lists: HashMap<Box<str>, Vec<i64>>,
}

impl Trade for Lists {
    fn kind(&self, method: &Method, path: &str, _: bool) -> Kind {
        match *method {
            Method::GET => Kind::Read,
            _ if path.ends_with("/removals") => Kind::Undo,
            _ => Kind::Do,
        }
    }

    fn perform(&mut self, task: &mut Task<'_>) -> Result {
        match (task.method, task.parts) {
            (&Method::GET, ["lists", name]) => {
                let elements = self.lists.get(*name).map_or(&[][..], Vec::as_slice);
                Result::new(Kind::Read, Came::Read, Answer::json(200, &json!({ "elements": elements })))
                    .about(name, None)
            }
            (&Method::POST, ["lists", name, "elements"]) => self.append(task, name),
            (&Method::POST, ["lists", name, "removals"]) => self.remove(task, name),
            _ => Result::no_such_route(task.kind),
        }
    }

    fn refusal(&self) -> Answer {
        Answer::fixed(409, r#"{"error":"refused"}"#)
    }

    fn size(&self) -> usize {
        self.lists.len()
    }
}

impl Lists {
    fn append(&mut self, task: &mut Task<'_>, name: &str) -> Result {
        let Some(element) = task.json.get("element").and_then(Value::as_i64) else {
            return Result::refused(Kind::Do, 400, "element must be a whole number");
        };
        if let Some(blocked) = task.blocked() {
            return blocked;
        }
        let list = self.lists.entry(name.into()).or_default();
        if list.len() >= ELEMENTS_MAX {
            return Result::refused(Kind::Do, 409, "the list is full");
        }
        list.push(element);
        let answer = Answer::json(201, &json!({ "length": list.len() }));
        task.deeds.did(task.key, name, element);
        Result::new(Kind::Do, Came::Effect, answer).about(name, None)
    }

    /// Takes out what the named call appended, wherever it stands by now.
    fn remove(&mut self, task: &mut Task<'_>, name: &str) -> Result {
        let Some(undoes) = task.text("undoes").map(str::to_owned) else {
            return Result::refused(Kind::Undo, 400, "undoes is missing");
        };
        let mut result = match task.deeds.undo(&undoes) {
            Found::Undone { account, amount_minor: element } => {
                if let Some(list) = self.lists.get_mut(account.as_str())
                    && let Some(at) = list.iter().rposition(|known| *known == element)
                {
                    list.remove(at);
                }
                Result::new(Kind::Undo, Came::Effect, Answer::fixed(200, r#"{"result":"REMOVED"}"#))
            }
            Found::Already => {
                Result::new(Kind::Undo, Came::Nothing, Answer::fixed(200, r#"{"result":"ALREADY_REMOVED"}"#))
            }
            Found::Never => Result::new(Kind::Undo, Came::Nothing, task.unseen("NOTHING_TO_REMOVE")),
        };
        result.undoes_key = Some(undoes);
        result.about(name, None)
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::{Value, json};

    use super::Came;
    use crate::book::tests::Desk;
    use crate::settings::{Idempotency, SystemSpec, TradeKind};

    #[test]
    fn elements_are_appended_read_and_taken_out() {
        let mut spec = SystemSpec::generic("lists-a");
        spec.trade = TradeKind::by_name("lists-a");
        spec.idempotency = Idempotency::Header("Idempotency-Key".to_owned());
        let mut desk = Desk::new(&spec);
        for n in [1, 2, 3] {
            let answer = desk.post("/lists/x/elements", &format!("k{n}"), &json!({ "element": n }));
            assert_eq!(answer, (201, json!({ "length": n }), Came::Effect));
        }
        assert_eq!(desk.post("/lists/x/elements", "k3", &json!({"element": 3})).2, Came::Repeat);
        assert_eq!(desk.post("/lists/x/removals", "u2", &json!({"undoes": "k2"})).2, Came::Effect);
        assert_eq!(desk.post("/lists/x/removals", "u2b", &json!({"undoes": "k2"})).2, Came::Nothing);
        assert_eq!(desk.post("/lists/x/removals", "u9", &json!({"undoes": "never"})).2, Came::Nothing);
        let read = |desk: &mut Desk, name: &str| desk.call(&Method::GET, &format!("/lists/{name}"), "", &Value::Null).1;
        assert_eq!(read(&mut desk, "x"), json!({"elements": [1, 3]}));
        assert_eq!(read(&mut desk, "other"), json!({"elements": []}));
        assert_eq!(desk.post("/lists/x/elements", "bad", &json!({"element": "3"})).0, 400);
    }
}
