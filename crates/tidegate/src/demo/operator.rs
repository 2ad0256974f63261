//! The person on call, played by the API's own routes: looks at what needs attention, tries again, decides by hand.
//!
//! No definition of the example leaves an Unknown to a person, so what comes up is what no rule can settle: a refusal
//! after the point of no return, and an undo that is refused again and again.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::ask::{Ask, Asker};
use super::crowd::{Crowd, bump};
use super::dice::Dice;

/// Of the undos that fail, one in so many is given up.
const GIVEN_UP_ONE_IN: u64 = 12;
/// Of the steps refused after the point of no return, one in so many was done by hand.
const BY_HAND_ONE_IN: u64 = 4;
/// Looked at at once; the rest at the next look.
const LOOK_MAX: usize = 200;

/// What a person does about one of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Act {
    Retry,
    DoneByHand,
    GiveUp,
}

#[derive(Debug)]
pub(crate) struct Operator {
    dice: RefCell<Dice>,
    /// Decided when first seen, by transaction and step.
    decided: RefCell<BTreeMap<(String, String), Act>>,
    pub(crate) retried: Cell<u64>,
    pub(crate) resolved: Cell<u64>,
    pub(crate) given_up: Cell<u64>,
}

impl Operator {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            dice: RefCell::new(Dice::new(seed, "operator")),
            decided: RefCell::default(),
            retried: Cell::new(0),
            resolved: Cell::new(0),
            given_up: Cell::new(0),
        }
    }

    /// Transactions that needed a person.
    pub(crate) fn seen(&self) -> u64 {
        self.decided.borrow().keys().map(|(id, _)| id).collect::<BTreeSet<_>>().len() as u64
    }

    /// Steps that were done by hand, by transaction: what TX-2 excepts by name. The engine is asked, because an answer
    /// that never came may have been taken all the same.
    pub(crate) async fn by_hand(&self, asker: &Asker) -> Result<BTreeMap<String, BTreeSet<String>>, String> {
        let decided = self.decided.borrow().clone();
        let mut by_hand: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (id, step) in decided.into_iter().filter(|(_, act)| *act == Act::DoneByHand).map(|(what, _)| what) {
            let reply = asker.ask(Ask::get(&format!("/v1/transactions/{id}?view=full"))).await?;
            if reply.status != 200 {
                return Err(format!("{id} cannot be read: {}", reply.problem()));
            }
            let view = reply.json();
            let mut steps = view["steps"].as_array().into_iter().flatten();
            if steps.any(|shown| shown["name"] == step.as_str() && shown["by_hand"] == true) {
                by_hand.entry(id).or_default().insert(step);
            }
        }
        Ok(by_hand)
    }

    /// One look at the list.
    pub(crate) async fn look(&self, crowd: &Crowd) {
        let path = format!("/v1/transactions?state=needs_attention&limit={LOOK_MAX}");
        let Ok(page) = crowd.asker.ask(Ask::get(&path)).await else { return };
        for item in page.json()["items"].as_array().into_iter().flatten() {
            self.treat(item, crowd).await;
        }
    }

    async fn treat(&self, item: &Value, crowd: &Crowd) {
        let (id, asked) = (item["id"].as_str().unwrap_or_default(), &item["attention"]);
        let (step, direction) =
            (asked["step"].as_str().unwrap_or_default(), asked["direction"].as_str().unwrap_or_default());
        let act = self.act(id, step, direction, asked["cause"].as_str().unwrap_or_default());
        let retry = format!("/v1/transactions/{id}/retry");
        let resolve = format!("/v1/transactions/{id}/steps/{step}/resolve");
        let (path, body) = match act {
            Act::Retry => (retry, r#"{"reason":"their system works again"}"#),
            Act::DoneByHand => (
                resolve,
                r#"{"direction":"call","outcome":"done","reason":"done by hand, they confirmed by telephone"}"#,
            ),
            Act::GiveUp => (
                resolve,
                r#"{"direction":"compensate","outcome":"refused","reason":"settled with the customer by letter"}"#,
            ),
        };
        match crowd.asker.ask(Ask::post(&path, body)).await {
            Ok(reply) if reply.status < 300 => match act {
                Act::Retry => bump(&self.retried),
                Act::GiveUp => bump(&self.given_up),
                Act::DoneByHand => bump(&self.resolved),
            },
            // It moved on meanwhile, or is just being called: seen again at the next look.
            Ok(reply) if matches!(reply.status, 409 | 503) => {}
            Ok(reply) => crowd.note_wrong(format!("{act:?} of {id} step {step} was answered {}", reply.problem())),
            Err(_) => {}
        }
    }

    fn act(&self, id: &str, step: &str, direction: &str, cause: &str) -> Act {
        let mut dice = self.dice.borrow_mut();
        *self.decided.borrow_mut().entry((id.to_owned(), step.to_owned())).or_insert_with(|| {
            if direction == "compensate" && dice.below(GIVEN_UP_ONE_IN) == 0 {
                Act::GiveUp
            } else if direction == "call" && cause.contains("pivot") && dice.below(BY_HAND_ONE_IN) == 0 {
                Act::DoneByHand
            } else {
                Act::Retry
            }
        })
    }
}
