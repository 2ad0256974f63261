//! A card acquirer: charges and refunds. A refund names the call key of its charge.

use http::Method;
use serde_json::json;

use super::deeds::Found;
use super::{Answer, Came, Kind, Result, Task, Trade};

#[derive(Default)]
pub(crate) struct Payments {
    charges: u64,
}

impl Trade for Payments {
    fn kind(&self, method: &Method, path: &str, _: bool) -> Kind {
        match (method, path) {
            (&Method::GET, _) => Kind::Read,
            (_, "/refunds") => Kind::Undo,
            _ => Kind::Do,
        }
    }

    fn perform(&mut self, task: &mut Task<'_>) -> Result {
        match (task.method, task.parts) {
            (&Method::POST, ["charges"]) => self.charge(task),
            (&Method::POST, ["refunds"]) => refund(task),
            _ => Result::no_such_route(task.kind),
        }
    }

    fn refusal(&self) -> Answer {
        Answer::fixed(402, r#"{"error":"card_declined"}"#)
    }
}

impl Payments {
    fn charge(&mut self, task: &mut Task<'_>) -> Result {
        let Some(amount) = task.amount() else {
            return Result::refused(Kind::Do, 400, "amount_minor must be a whole number above 0");
        };
        let card = task.text("card_token").unwrap_or("");
        if card.is_empty() {
            return Result::refused(Kind::Do, 400, "card_token is missing");
        }
        if card.starts_with("tok_declined") {
            return Result::new(Kind::Do, Came::Refused, self.refusal());
        }
        if let Some(blocked) = task.blocked() {
            return blocked;
        }
        self.charges += 1;
        let id = format!("ch_{}", self.charges);
        task.deeds.did(task.key, &id, amount);
        Result::new(Kind::Do, Came::Effect, Answer::json(201, &json!({ "id": id }))).about(&id, Some(amount))
    }
}

fn refund(task: &mut Task<'_>) -> Result {
    let Some(charge_key) = task.text("charge_key").map(str::to_owned) else {
        return Result::refused(Kind::Undo, 400, "charge_key is missing");
    };
    let mut result = match task.deeds.undo(&charge_key) {
        Found::Undone { account, amount_minor } => {
            let answer = Answer::json(201, &json!({"result": "REFUNDED", "charge_id": account}));
            Result::new(Kind::Undo, Came::Effect, answer).about(&account, Some(-amount_minor))
        }
        Found::Already => {
            Result::new(Kind::Undo, Came::Nothing, Answer::fixed(200, r#"{"result":"ALREADY_REFUNDED"}"#))
        }
        Found::Never => Result::new(Kind::Undo, Came::Nothing, task.unseen("NOTHING_TO_REFUND")),
    };
    result.undoes_key = Some(charge_key);
    result
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::Desk;
    use super::Came;
    use crate::settings::UnseenUndo;

    #[test]
    fn a_charge_and_its_refund() {
        let mut desk = Desk::telecom("payments");
        let charge = json!({"amount_minor": 1000, "currency": "EUR", "card_token": "tok_1"});
        assert_eq!(desk.post("/charges", "c", &charge), (201, json!({"id": "ch_1"}), Came::Effect));
        assert_eq!(desk.post("/refunds", "u", &json!({"charge_key": "c"})).2, Came::Effect);
        assert_eq!(desk.post("/refunds", "u2", &json!({"charge_key": "c"})).1, json!({"result": "ALREADY_REFUNDED"}));
        let declined = json!({"amount_minor": 1000, "card_token": "tok_declined_1"});
        assert_eq!(desk.post("/charges", "d", &declined), (402, json!({"error": "card_declined"}), Came::Refused));
        assert_eq!(desk.post("/charges", "e", &json!({"amount_minor": 0, "card_token": "t"})).0, 400);
        assert_eq!(desk.post("/elsewhere", "f", &json!({})).0, 404);
    }

    #[test]
    fn an_undo_that_came_first_blocks_the_do_only_where_promised() {
        let mut spec = crate::telecom().into_iter().find(|spec| spec.name == "payments").unwrap();
        let charge = json!({"amount_minor": 1000, "card_token": "tok_1"});
        let mut lax = Desk::new(&spec);
        assert_eq!(
            lax.post("/refunds", "u", &json!({"charge_key": "c"})),
            (200, json!({"result": "NOTHING_TO_REFUND"}), Came::Nothing)
        );
        assert_eq!(lax.post("/charges", "c", &charge).2, Came::Effect);

        spec.undo_blocks_do = true;
        spec.unseen_undo = UnseenUndo::NotFound;
        let mut strict = Desk::new(&spec);
        assert_eq!(strict.post("/refunds", "u", &json!({"charge_key": "c"})).0, 404);
        let (status, _, came) = strict.post("/charges", "c", &charge);
        assert_eq!((status, came), (409, Came::Refused));
    }
}
