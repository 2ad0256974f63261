//! The contract register: read a contract, change its tariff, change its state. Only absolute values, so a
//! repeat does no harm and an undo is the old value again.

use std::collections::HashMap;

use http::Method;
use serde_json::json;

use super::{Answer, Came, Kind, Result, Task, Trade, kind_by_direction, subscriber};

#[derive(Default)]
pub(crate) struct Crm {
    /// Only contracts that differ from the made-up subscriber's.
    changed: HashMap<Box<str>, Contract>,
}

#[derive(Clone)]
struct Contract {
    tariff: String,
    state: String,
}

impl Trade for Crm {
    fn kind(&self, method: &Method, _: &str, compensates: bool) -> Kind {
        kind_by_direction(method, compensates)
    }

    fn perform(&mut self, task: &mut Task<'_>) -> Result {
        let ["contracts", contract, rest @ ..] = task.parts else { return Result::no_such_route(task.kind) };
        let msisdn = contract.strip_prefix("ct_").unwrap_or(contract);
        if !subscriber::is_msisdn(msisdn) {
            return Result::refused(task.kind, 404, "no such contract");
        }
        match (task.method, rest) {
            (&Method::GET, []) => {
                let Contract { tariff, state } = self.contract(msisdn);
                let body = json!({
                    "id": format!("ct_{msisdn}"),
                    "msisdn": msisdn,
                    "tariff": tariff,
                    "state": state,
                    "change_fee_minor": subscriber::change_fee_minor(msisdn),
                    "debt_minor": subscriber::debt_minor(msisdn),
                });
                Result::new(Kind::Read, Came::Read, Answer::json(200, &body)).about(msisdn, None)
            }
            (&Method::PUT, [field @ ("tariff" | "state")]) => {
                let Some(value) = task.text(field).filter(|value| !value.is_empty() && value.len() <= 64) else {
                    return Result::refused(task.kind, 400, "the new value must be a text of 1 to 64 bytes");
                };
                let mut contract = self.contract(msisdn);
                if *field == "tariff" && contract.state == "PORTED_OUT" {
                    return Result::refused(task.kind, 409, "the number was ported out");
                }
                let slot = if *field == "tariff" { &mut contract.tariff } else { &mut contract.state };
                value.clone_into(slot);
                let answer = Answer::json(200, &json!({"tariff": contract.tariff, "state": contract.state}));
                self.changed.insert(msisdn.into(), contract);
                Result::new(task.kind, Came::Effect, answer).about(msisdn, None)
            }
            _ => Result::no_such_route(task.kind),
        }
    }

    fn refusal(&self) -> Answer {
        Answer::fixed(409, r#"{"error":"contract is locked"}"#)
    }

    fn size(&self) -> usize {
        self.changed.len()
    }
}

impl Crm {
    fn contract(&self, msisdn: &str) -> Contract {
        self.changed
            .get(msisdn)
            .cloned()
            .unwrap_or_else(|| Contract { tariff: subscriber::tariff(msisdn).to_owned(), state: "ACTIVE".to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::{Value, json};

    use super::super::tests::Desk;
    use super::Came;

    #[test]
    fn a_contract_is_read_and_changed() {
        let mut desk = Desk::telecom("crm");
        let read = |desk: &mut Desk| desk.call(&Method::GET, "/contracts/491701234567", "", &Value::Null).1;
        let want = json!({
            "id": "ct_491701234567", "msisdn": "491701234567", "tariff": "FLEX_10", "state": "ACTIVE",
            "change_fee_minor": 499, "debt_minor": 0,
        });
        assert_eq!(read(&mut desk), want);
        let put = |desk: &mut Desk, path: &str, body: Value| desk.call(&Method::PUT, path, "", &body);
        let changed = put(&mut desk, "/contracts/491701234567/tariff", json!({"tariff": "FLEX_20"}));
        assert_eq!(changed, (200, json!({"tariff": "FLEX_20", "state": "ACTIVE"}), Came::Effect));
        assert_eq!(read(&mut desk)["tariff"], "FLEX_20");
        assert_eq!(put(&mut desk, "/contracts/ct_491701234567/state", json!({"state": "PORTED_OUT"})).0, 200);
        assert_eq!(put(&mut desk, "/contracts/491701234567/tariff", json!({"tariff": "FLEX_10"})).0, 409);
        assert_eq!(put(&mut desk, "/contracts/491701234567/tariff", json!({})).0, 400);
        assert_eq!(put(&mut desk, "/contracts/x/tariff", json!({"tariff": "A"})).0, 404);
    }
}
