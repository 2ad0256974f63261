//! The register of subscribers in the network: set a profile, remove a subscriber for good.

use std::collections::HashMap;

use http::Method;
use serde_json::json;

use super::{Answer, Came, Kind, Result, Task, Trade, kind_by_direction, subscriber};

#[derive(Default)]
pub(crate) struct Hlr {
    /// Only subscribers that were touched; `None` is gone.
    touched: HashMap<Box<str>, Option<String>>,
}

impl Trade for Hlr {
    fn kind(&self, method: &Method, _: &str, compensates: bool) -> Kind {
        kind_by_direction(method, compensates)
    }

    fn perform(&mut self, task: &mut Task<'_>) -> Result {
        let ["subscribers", msisdn, rest @ ..] = task.parts else { return Result::no_such_route(task.kind) };
        let gone = matches!(self.touched.get(*msisdn), Some(None));
        if gone || !subscriber::is_msisdn(msisdn) {
            return Result::refused(task.kind, 404, "no such subscriber");
        }
        match (task.method, rest) {
            (&Method::GET, []) => {
                let set = self.touched.get(*msisdn).and_then(Option::as_deref);
                let body = json!({"msisdn": msisdn, "profile": set.unwrap_or_else(|| subscriber::tariff(msisdn))});
                Result::new(Kind::Read, Came::Read, Answer::json(200, &body)).about(msisdn, None)
            }
            (&Method::PUT, ["profile"]) => {
                let Some(profile) = task.text("profile").filter(|profile| !profile.is_empty() && profile.len() <= 64)
                else {
                    return Result::refused(task.kind, 400, "profile must be a text of 1 to 64 bytes");
                };
                self.touched.insert((*msisdn).into(), Some(profile.to_owned()));
                let answer = Answer::json(200, &json!({ "profile": profile }));
                Result::new(task.kind, Came::Effect, answer).about(msisdn, None)
            }
            (&Method::DELETE, []) => {
                self.touched.insert((*msisdn).into(), None);
                Result::new(task.kind, Came::Effect, Answer::fixed(200, r#"{"released":true}"#)).about(msisdn, None)
            }
            _ => Result::no_such_route(task.kind),
        }
    }

    fn refusal(&self) -> Answer {
        Answer::fixed(409, r#"{"error":"subscriber is being moved"}"#)
    }

    fn size(&self) -> usize {
        self.touched.len()
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::{Value, json};

    use super::super::tests::Desk;
    use super::Came;

    #[test]
    fn a_released_subscriber_is_gone() {
        let mut desk = Desk::telecom("hlr");
        let profile = "/subscribers/491701234567/profile";
        let subscriber = "/subscribers/491701234567";
        let set = desk.call(&Method::PUT, profile, "", &json!({"profile": "FLEX_20"}));
        assert_eq!(set, (200, json!({"profile": "FLEX_20"}), Came::Effect));
        assert_eq!(desk.call(&Method::GET, subscriber, "", &Value::Null).1["profile"], "FLEX_20");
        assert_eq!(desk.call(&Method::DELETE, subscriber, "", &Value::Null).2, Came::Effect);
        assert_eq!(desk.call(&Method::DELETE, subscriber, "", &Value::Null).0, 404);
        assert_eq!(desk.call(&Method::PUT, profile, "", &json!({"profile": "FLEX_20"})).0, 404);
    }
}
