//! What the systems' own books say, added up by definition and by system.
//!
//! The judge is the stand's audit; this is for people, and for one check more: that the money adds up.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use stand::control::Client;

use super::roll::Line;
use super::traffic::Kind;

/// Rows asked for at once.
const PAGE_ROWS: u64 = 20_000;

/// Of one definition's transactions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct ByDefinition {
    /// Calls that reached a book.
    pub(crate) calls: u64,
    /// Calls that changed something.
    pub(crate) effects: u64,
    /// Effects taken back.
    pub(crate) undone: u64,
    /// Repeats that were answered from memory: what an idempotency key saved from happening twice.
    pub(crate) repeats: u64,
}

/// Sums in minor units, as the systems booked them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Money {
    /// Completed top-ups: taken from cards, and put on accounts.
    pub(crate) charged_minor: i64,
    pub(crate) credited_minor: i64,
    /// Completed tariff changes.
    pub(crate) fees_minor: i64,
    /// Whatever aborted transactions moved and did not move back.
    pub(crate) aborted_minor: i64,
    /// The part of aborted transactions that a person gave up by name: not in the line above.
    pub(crate) given_up_minor: i64,
}

impl Money {
    /// What was taken was given, and what was aborted moved nothing.
    pub(crate) fn is_conserved(&self) -> bool {
        self.charged_minor == self.credited_minor && self.aborted_minor == 0
    }
}

/// One system, as the stand counted it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct BySystem {
    pub(crate) name: String,
    pub(crate) requests: u64,
    pub(crate) effects: u64,
    pub(crate) repeats: u64,
    pub(crate) refused: u64,
    pub(crate) turned_away: u64,
    /// Calls that met a fault.
    pub(crate) faults: u64,
    /// The most at once, which may not be above its declared limit by what the callers gave up on.
    pub(crate) in_flight_max: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Books {
    pub(crate) by_definition: BTreeMap<Kind, ByDefinition>,
    pub(crate) systems: Vec<BySystem>,
    pub(crate) money: Money,
}

/// Reads all rows.
pub(crate) async fn read(client: &Client, roll: &[Line]) -> Result<Books, String> {
    let mut books = Books { systems: systems(&client.state().await.map_err(|e| e.to_string())?), ..Books::default() };
    let known: BTreeMap<&str, &Line> = roll.iter().map(|line| (line.id.as_str(), line)).collect();
    let mut after = 0;
    loop {
        let rows = client.effects(after, PAGE_ROWS).await.map_err(|e| e.to_string())?;
        for row in &rows {
            if let Some(line) = row["tx"].as_str().and_then(|tx| known.get(tx)) {
                books.enter(line, row);
            }
        }
        match rows.last().and_then(|row| row["seq"].as_u64()) {
            Some(last) if rows.len() as u64 == PAGE_ROWS => after = last,
            _ => return Ok(books),
        }
    }
}

impl Books {
    fn enter(&mut self, line: &Line, row: &Value) {
        let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.definition() == line.definition) else { return };
        let sums = self.by_definition.entry(kind).or_default();
        sums.calls += 1;
        match (row["came"].as_str(), row["kind"].as_str()) {
            (Some("effect"), Some("undo")) => sums.undone += 1,
            (Some("effect"), _) => sums.effects += 1,
            (Some("repeat"), _) => sums.repeats += 1,
            _ => {}
        }
        let amount = row["amount_minor"].as_i64().filter(|_| row["came"] == "effect").unwrap_or(0);
        let money = &mut self.money;
        match (line.outcome.as_deref(), kind, row["system"].as_str()) {
            (Some("completed"), Kind::TopUp, Some("payments")) => money.charged_minor += amount,
            (Some("completed"), Kind::TopUp, Some("billing")) => money.credited_minor += amount,
            (Some("completed"), Kind::TariffChange, Some("billing")) => money.fees_minor -= amount,
            (Some("aborted"), ..) if line.uncompensated.is_empty() => money.aborted_minor += amount,
            (Some("aborted"), ..) => money.given_up_minor += amount,
            _ => {}
        }
    }
}

fn systems(state: &Value) -> Vec<BySystem> {
    let number = |system: &Value, name: &str| system[name].as_u64().unwrap_or(0);
    let all = state["systems"].as_array().into_iter().flatten();
    all.map(|system| BySystem {
        name: system["name"].as_str().unwrap_or_default().to_owned(),
        requests: number(system, "requests"),
        effects: number(system, "effects"),
        repeats: number(system, "repeats"),
        refused: number(system, "refused"),
        turned_away: number(system, "turned_away"),
        faults: number(system, "faults"),
        in_flight_max: number(system, "in_flight_max"),
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(definition: &str, outcome: &str, uncompensated: &[&str]) -> Line {
        Line {
            id: "tx_1".to_owned(),
            idempotency_key: "k".to_owned(),
            definition: definition.to_owned(),
            state: "ended".to_owned(),
            outcome: Some(outcome.to_owned()),
            reason: None,
            uncompensated: uncompensated.iter().map(|step| (*step).to_owned()).collect(),
            decided_after: None,
        }
    }

    fn row(system: &str, kind: &str, came: &str, amount_minor: i64) -> Value {
        json!({"system": system, "kind": kind, "came": came, "amount_minor": amount_minor})
    }

    #[test]
    fn money_is_conserved_only_if_it_adds_up() {
        let mut books = Books::default();
        let done = line("top-up", "completed", &[]);
        books.enter(&done, &row("payments", "do", "effect", 1_000));
        assert!(!books.money.is_conserved());
        books.enter(&done, &row("billing", "do", "effect", 1_000));
        books.enter(&done, &row("billing", "do", "repeat", 1_000));
        books.enter(&line("tariff-change", "completed", &[]), &row("billing", "do", "effect", -499));
        assert!(books.money.is_conserved());
        assert_eq!((books.money.credited_minor, books.money.fees_minor), (1_000, 499));
        let undone = line("top-up", "aborted", &[]);
        books.enter(&undone, &row("payments", "do", "effect", 700));
        assert!(!books.money.is_conserved());
        books.enter(&undone, &row("payments", "undo", "effect", -700));
        assert!(books.money.is_conserved());
        books.enter(&line("top-up", "aborted", &["charge"]), &row("payments", "do", "effect", 300));
        assert!(books.money.is_conserved());
        assert_eq!(books.money.given_up_minor, 300);
        let top_ups = &books.by_definition[&Kind::TopUp];
        assert_eq!((top_ups.calls, top_ups.effects, top_ups.undone, top_ups.repeats), (6, 4, 1, 1));
    }
}
