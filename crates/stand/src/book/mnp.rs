//! The clearing house for numbers that change operators: accept, reject or complete a port request.

use std::collections::HashMap;

use http::Method;
use serde_json::json;

use super::deeds::Found;
use super::{Answer, Came, Kind, Result, Task, Trade};

#[derive(Default)]
pub(crate) struct Mnp {
    requests: HashMap<Box<str>, State>,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Accepted,
    Rejected,
    Completed,
}

impl Trade for Mnp {
    fn kind(&self, method: &Method, path: &str, compensates: bool) -> Kind {
        match *method {
            Method::GET => Kind::Read,
            _ if path.ends_with("/rejection") || compensates => Kind::Undo,
            _ => Kind::Do,
        }
    }

    fn perform(&mut self, task: &mut Task<'_>) -> Result {
        match (task.method, task.parts) {
            (&Method::GET, ["port-requests", id]) => {
                let state = match self.requests.get(*id) {
                    None => "REQUESTED",
                    Some(State::Accepted) => "ACCEPTED",
                    Some(State::Rejected) => "REJECTED",
                    Some(State::Completed) => "COMPLETED",
                };
                let answer = Answer::json(200, &json!({"id": id, "state": state}));
                Result::new(Kind::Read, Came::Read, answer).about(id, None)
            }
            (&Method::POST, ["port-requests", id, "acceptance"]) => self.enter(task, id, State::Accepted),
            (&Method::POST, ["port-requests", id, "completion"]) => self.enter(task, id, State::Completed),
            (&Method::POST, ["port-requests", id, "rejection"]) => self.reject(task, id),
            _ => Result::no_such_route(task.kind),
        }
    }

    fn refusal(&self) -> Answer {
        Answer::fixed(422, r#"{"error":"the clearing house rejects this message"}"#)
    }

    fn size(&self) -> usize {
        self.requests.len()
    }
}

impl Mnp {
    fn enter(&mut self, task: &mut Task<'_>, id: &str, to: State) -> Result {
        if let Some(blocked) = task.blocked() {
            return blocked;
        }
        let answer = match (self.requests.get(id), to) {
            (None | Some(State::Rejected), State::Accepted) => Answer::fixed(200, r#"{"state":"ACCEPTED"}"#),
            (Some(State::Accepted), State::Completed) => Answer::fixed(200, r#"{"state":"COMPLETED"}"#),
            _ => return Result::refused(Kind::Do, 409, "the port request is not in the right state"),
        };
        self.requests.insert(id.into(), to);
        task.deeds.did(task.key, id, 0);
        Result::new(Kind::Do, Came::Effect, answer).about(id, None)
    }

    /// With `undoes` it takes back that acceptance; without it rejects the request itself.
    fn reject(&mut self, task: &mut Task<'_>, id: &str) -> Result {
        if self.requests.get(id) == Some(&State::Completed) {
            return Result::refused(Kind::Undo, 409, "the port is completed");
        }
        let answer = Answer::fixed(200, r#"{"state":"REJECTED"}"#);
        let Some(undoes) = task.text("undoes").map(str::to_owned) else {
            self.requests.insert(id.into(), State::Rejected);
            return Result::new(Kind::Undo, Came::Effect, answer).about(id, None);
        };
        let mut result = match task.deeds.undo(&undoes) {
            Found::Undone { account, .. } => {
                self.requests.insert(account.as_str().into(), State::Rejected);
                Result::new(Kind::Undo, Came::Effect, answer).about(&account, None)
            }
            Found::Already => Result::new(Kind::Undo, Came::Nothing, answer),
            Found::Never => Result::new(Kind::Undo, Came::Nothing, task.unseen("NEVER_ACCEPTED")),
        };
        result.undoes_key = Some(undoes);
        result
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::{Value, json};

    use super::super::tests::Desk;
    use super::Came;

    #[test]
    fn a_request_is_accepted_rejected_or_completed() {
        let mut desk = Desk::telecom("mnp");
        let mut send = |id: &str, what: &str, body: Value| desk.post(&format!("/port-requests/{id}/{what}"), "", &body);
        assert_eq!(send("p1", "acceptance", json!({"external_id": "a"})).1, json!({"state": "ACCEPTED"}));
        assert_eq!(send("p1", "acceptance", json!({"external_id": "a"})).2, Came::Repeat);
        assert_eq!(send("p1", "acceptance", json!({"external_id": "b"})).0, 409);
        let undo = json!({"external_id": "u", "undoes": "a", "cause": "DONOR_CANCELLED"});
        assert_eq!(send("p1", "rejection", undo), (200, json!({"state": "REJECTED"}), Came::Effect));
        assert_eq!(send("p1", "completion", json!({"external_id": "c"})).0, 409);
        assert_eq!(send("p2", "acceptance", json!({"external_id": "d"})).0, 200);
        assert_eq!(send("p2", "completion", json!({"external_id": "e"})).1, json!({"state": "COMPLETED"}));
        assert_eq!(send("p2", "rejection", json!({"external_id": "f", "undoes": "d"})).0, 409);
        assert_eq!(send("p3", "rejection", json!({"external_id": "g", "undoes": "h"})).2, Came::Nothing);
        assert_eq!(desk.call(&Method::GET, "/port-requests/p2", "", &Value::Null).1["state"], "COMPLETED");
    }
}
