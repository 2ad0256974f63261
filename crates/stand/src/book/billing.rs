//! Prepaid accounts: credits, debits and their reversals. A balance may go below zero (it is billed later).

use std::collections::HashMap;

use http::Method;
use serde_json::json;

use super::deeds::Found;
use super::{Answer, Came, Kind, Result, Task, Trade, subscriber};

#[derive(Default)]
pub(crate) struct Billing {
    /// Only accounts that differ from the made-up subscriber's.
    balances: HashMap<Box<str>, i64>,
    debits: u64,
}

impl Trade for Billing {
    fn kind(&self, method: &Method, path: &str, _: bool) -> Kind {
        match *method {
            Method::GET => Kind::Read,
            _ if path.ends_with("/reversals") => Kind::Undo,
            _ => Kind::Do,
        }
    }

    fn perform(&mut self, task: &mut Task<'_>) -> Result {
        match (task.method, task.parts) {
            (_, ["accounts", msisdn, ..]) if !subscriber::is_msisdn(msisdn) => {
                Result::refused(task.kind, 404, "no such account")
            }
            (&Method::GET, ["accounts", msisdn]) => {
                let body = json!({"msisdn": msisdn, "balance_minor": self.balance(msisdn)});
                Result::new(Kind::Read, Came::Read, Answer::json(200, &body)).about(msisdn, None)
            }
            (&Method::POST, ["accounts", msisdn, "credits"]) => self.book_amount(task, msisdn, 1),
            (&Method::POST, ["accounts", msisdn, "debits"]) => self.book_amount(task, msisdn, -1),
            (&Method::POST, ["accounts", _, "reversals"]) => self.reverse(task),
            _ => Result::no_such_route(task.kind),
        }
    }

    fn refusal(&self) -> Answer {
        Answer::fixed(200, r#"{"result":"BLOCKED"}"#)
    }

    fn size(&self) -> usize {
        self.balances.len()
    }
}

impl Billing {
    fn balance(&self, msisdn: &str) -> i64 {
        self.balances.get(msisdn).copied().unwrap_or_else(|| subscriber::balance_minor(msisdn))
    }

    fn change(&mut self, msisdn: &str, by: i64) -> i64 {
        let balance = self.balance(msisdn).saturating_add(by);
        self.balances.insert(msisdn.into(), balance);
        balance
    }

    fn book_amount(&mut self, task: &mut Task<'_>, msisdn: &str, sign: i64) -> Result {
        let Some(amount) = task.amount() else {
            return Result::refused(Kind::Do, 400, "amount_minor must be a whole number above 0");
        };
        if subscriber::is_blocked(msisdn) {
            return Result::new(Kind::Do, Came::Refused, self.refusal()).about(msisdn, None);
        }
        if let Some(blocked) = task.blocked() {
            return blocked;
        }
        let balance = self.change(msisdn, sign * amount);
        task.deeds.did(task.key, msisdn, sign * amount);
        let answer = if sign > 0 {
            Answer::json(200, &json!({"balance_minor": balance}))
        } else {
            self.debits += 1;
            Answer::json(201, &json!({"id": format!("db_{}", self.debits), "balance_minor": balance}))
        };
        Result::new(Kind::Do, Came::Effect, answer).about(msisdn, Some(sign * amount))
    }

    /// Takes back what the named call booked, at the account where it was booked.
    fn reverse(&mut self, task: &mut Task<'_>) -> Result {
        let Some(undoes) = task.text("credit_key").or_else(|| task.text("debit_key")).map(str::to_owned) else {
            return Result::refused(Kind::Undo, 400, "credit_key or debit_key is missing");
        };
        let mut result = match task.deeds.undo(&undoes) {
            Found::Undone { account, amount_minor } => {
                let balance = self.change(&account, -amount_minor);
                let answer = Answer::json(200, &json!({"result": "REVERSED", "balance_minor": balance}));
                Result::new(Kind::Undo, Came::Effect, answer).about(&account, Some(-amount_minor))
            }
            Found::Already => {
                Result::new(Kind::Undo, Came::Nothing, Answer::fixed(200, r#"{"result":"ALREADY_REVERSED"}"#))
            }
            Found::Never => Result::new(Kind::Undo, Came::Nothing, task.unseen("NOTHING_TO_REVERSE")),
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

    const ACCOUNT: &str = "/accounts/491701234567";

    #[test]
    fn credits_debits_and_their_reversals_add_up() {
        let mut desk = Desk::telecom("billing");
        let mut post = |what: &str, key: &str, body: Value| desk.post(&format!("{ACCOUNT}/{what}"), key, &body);
        assert_eq!(post("credits", "c", json!({"amount_minor": 1000})).1, json!({"balance_minor": 1750}));
        let (status, body, came) = post("debits", "d", json!({"amount_minor": 499}));
        assert_eq!((status, body, came), (201, json!({"id": "db_1", "balance_minor": 1251}), Came::Effect));
        assert_eq!(post("reversals", "u1", json!({"debit_key": "d"})).1["balance_minor"], 1750);
        assert_eq!(post("reversals", "u2", json!({"credit_key": "c"})).1["balance_minor"], 750);
        assert_eq!(post("reversals", "u3", json!({"credit_key": "c"})).1, json!({"result": "ALREADY_REVERSED"}));
        assert_eq!(post("reversals", "u4", json!({"credit_key": "never"})).2, Came::Nothing);
        assert_eq!(post("reversals", "u5", json!({})).0, 400);
        assert_eq!(post("credits", "c2", json!({"amount_minor": "1000"})).0, 400);
        let read = desk.call(&Method::GET, ACCOUNT, "", &Value::Null);
        assert_eq!(read, (200, json!({"msisdn": "491701234567", "balance_minor": 750}), Came::Read));
    }

    #[test]
    fn a_blocked_account_takes_nothing() {
        let mut desk = Desk::telecom("billing");
        let answer = desk.post("/accounts/491701239911/credits", "c", &json!({"amount_minor": 1000}));
        assert_eq!(answer, (200, json!({"result": "BLOCKED"}), Came::Refused));
        assert_eq!(desk.post("/accounts/12/credits", "d", &json!({"amount_minor": 1000})).0, 404);
    }
}
