//! The gateway for short messages. What was sent cannot be taken back, and nothing makes a repeat safe.

use http::Method;
use serde_json::json;

use super::{Answer, Came, Kind, Result, Task, Trade, kind_by_direction};

#[derive(Default)]
pub(crate) struct Sms {
    sent: u64,
}

impl Trade for Sms {
    fn kind(&self, method: &Method, _: &str, compensates: bool) -> Kind {
        kind_by_direction(method, compensates)
    }

    fn perform(&mut self, task: &mut Task<'_>) -> Result {
        match (task.method, task.parts) {
            (&Method::POST, ["messages"]) => {
                let Some(to) = task.text("to").map(str::to_owned) else {
                    return Result::refused(task.kind, 400, "to is missing");
                };
                self.sent += 1;
                let answer = Answer::json(202, &json!({"id": format!("sm_{}", self.sent)}));
                Result::new(task.kind, Came::Effect, answer).about(&to, None)
            }
            _ => Result::no_such_route(task.kind),
        }
    }

    fn refusal(&self) -> Answer {
        Answer::fixed(400, r#"{"error":"this number takes no messages"}"#)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::Desk;
    use super::Came;

    #[test]
    fn every_message_is_sent() {
        let mut desk = Desk::telecom("sms");
        let body = json!({"to": "491701234567", "template": "top-up-done"});
        assert_eq!(desk.post("/messages", "", &body), (202, json!({"id": "sm_1"}), Came::Effect));
        assert_eq!(desk.post("/messages", "", &body).1, json!({"id": "sm_2"}));
        assert_eq!(desk.post("/messages", "", &json!({})).0, 400);
        assert_eq!(desk.post("/elsewhere", "", &json!({})).0, 404);
    }
}
