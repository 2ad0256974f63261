//! The engine's own word on every transaction, page by page, and what it must agree with: the acknowledgements.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::Timestamp;
use serde::Serialize;
use serde_json::Value;
use stand::audit::{Story, Verdict};

use super::ask::{Ask, Asker};
use super::crowd::Acknowledged;

/// One transaction as the list has it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    pub(crate) id: String,
    pub(crate) idempotency_key: String,
    pub(crate) definition: String,
    pub(crate) state: String,
    pub(crate) outcome: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) uncompensated: Vec<String>,
    /// From acceptance to the outcome, in whole milliseconds as the API has it.
    pub(crate) decided_after: Option<Duration>,
}

/// Pages are read at most so often: more transactions than a demo or a drill can begin.
const PAGES_MAX: usize = 10_000;

/// Every transaction that the engine can list.
pub(crate) async fn read(asker: &Asker) -> Result<Vec<Line>, String> {
    let mut lines = Vec::new();
    let mut cursor = String::new();
    for _ in 0..PAGES_MAX {
        let path = format!("/v1/transactions?limit=1000{cursor}");
        let reply = asker.ask(Ask::get(&path)).await.map_err(|why| format!("the list of transactions: {why}"))?;
        if reply.status != 200 {
            return Err(format!("the list of transactions: {}", reply.problem()));
        }
        let page = reply.json();
        let items = page["items"].as_array().ok_or("the list of transactions has no items")?;
        lines.extend(items.iter().map(line));
        match page["next_cursor"].as_str() {
            None => return Ok(lines),
            Some(next) => {
                let next = percent_encoding::utf8_percent_encode(next, percent_encoding::NON_ALPHANUMERIC);
                cursor = format!("&cursor={next}");
            }
        }
    }
    Err(format!("the list of transactions has no end after {PAGES_MAX} pages"))
}

fn line(item: &Value) -> Line {
    let text = |name: &str| item[name].as_str().unwrap_or_default().to_owned();
    let maybe = |name: &str| item[name].as_str().map(str::to_owned);
    let time = |name: &str| item[name].as_str().and_then(Timestamp::parse_rfc3339);
    let given_up = item["uncompensated"].as_array().into_iter().flatten();
    Line {
        id: text("id"),
        idempotency_key: text("idempotency_key"),
        definition: text("definition"),
        state: text("state"),
        outcome: maybe("outcome"),
        reason: maybe("reason"),
        uncompensated: given_up.filter_map(Value::as_str).map(str::to_owned).collect(),
        decided_after: time("decided_at").zip(time("began_at")).map(|(decided, began)| decided.since(began)),
    }
}

/// What an auditor is told. Steps done by hand need not be in the systems' books: TX-2 excepts them by name.
pub(crate) fn story(line: &Line, by_hand: &BTreeMap<String, BTreeSet<String>>) -> Story {
    let verdict = match (line.state.as_str(), line.outcome.as_deref()) {
        ("ended", Some("completed")) => Verdict::Completed,
        ("ended", Some("aborted")) => Verdict::Aborted,
        _ => Verdict::Live,
    };
    let mut story = Story::new(line.id.as_str(), &line.definition, verdict);
    story.uncompensated.clone_from(&line.uncompensated);
    if let Some(by_hand) = by_hand.get(&line.id) {
        let must: &[&str] = match line.definition.as_str() {
            "number-port-out" => &["accept", "release", "confirm", "close"],
            "tariff-change" => &["network", "records"],
            _ => &["charge", "credit"],
        };
        story.must =
            Some(must.iter().filter(|step| !by_hand.contains(**step)).map(|step| (*step).to_owned()).collect());
    }
    story
}

/// One thing that must hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    pub(crate) name: &'static str,
    pub(crate) passed: bool,
    /// How much was compared, or what was found.
    pub(crate) detail: String,
}

impl Check {
    /// Holds if nothing was found; the first few findings are told.
    pub(crate) fn none_of(name: &'static str, compared: &str, found: &[String]) -> Self {
        let passed = found.is_empty();
        let detail = match found {
            [] => compared.to_owned(),
            _ => format!("{} found: {}", found.len(), found[..found.len().min(5)].join("; ")),
        };
        Self { name, passed, detail }
    }
}

/// Compares promises with the roll. Nothing to compare is nothing proven.
pub(crate) fn compare(acknowledged: &BTreeMap<String, Acknowledged>, roll: &[Line]) -> Vec<Check> {
    let mut by_key: BTreeMap<&str, Vec<&Line>> = BTreeMap::new();
    for line in roll {
        by_key.entry(&line.idempotency_key).or_default().push(line);
    }
    let mut lost = Vec::new();
    for (key, promise) in acknowledged {
        match by_key.get(key.as_str()).map(Vec::as_slice) {
            None => lost.push(format!("{} ({key})", promise.id)),
            Some(lines) if lines.iter().all(|line| line.id != promise.id) => {
                lost.push(format!("{} ({key}; the engine knows {} instead)", promise.id, lines[0].id));
            }
            Some(_) => {}
        }
    }
    let mut twice: Vec<String> = by_key
        .iter()
        .filter(|(_, lines)| lines.len() > 1)
        .map(|(key, lines)| format!("{key} {} times", lines.len()))
        .collect();
    twice.extend(
        by_key.keys().filter(|key| !acknowledged.contains_key(**key)).map(|key| format!("{key}, never submitted")),
    );
    let live: Vec<String> = roll
        .iter()
        .filter(|line| line.state != "ended" || line.outcome.is_none())
        .map(|line| format!("{} is {}", line.id, line.state))
        .collect();
    let promises = acknowledged.len();
    if promises == 0 {
        lost.push("nothing was acknowledged, so nothing is proven".to_owned());
    }
    vec![
        Check::none_of("nothing acknowledged is lost (TX-1)", &format!("{promises} acknowledgements"), &lost),
        Check::none_of("nothing began twice (TX-1)", &format!("{} keys", by_key.len()), &twice),
        Check::none_of("everything has ended (TX-2)", &format!("{} transactions", roll.len()), &live),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::traffic::Kind;
    use super::*;

    fn ended(id: &str, key: &str) -> Line {
        line(&serde_json::json!({
            "id": id, "idempotency_key": key, "definition": "top-up", "state": "ended", "outcome": "completed",
            "began_at": "2026-11-23T02:00:00.000Z", "decided_at": "2026-11-23T02:00:00.012Z", "uncompensated": [],
        }))
    }

    fn promised(pairs: &[(&str, &str)]) -> BTreeMap<String, Acknowledged> {
        let promise = |id: &str| Acknowledged { id: id.to_owned(), kind: Kind::TopUp };
        pairs.iter().map(|(key, id)| ((*key).to_owned(), promise(id))).collect()
    }

    fn failed(checks: &[Check]) -> Vec<&str> {
        checks.iter().filter(|c| !c.passed).map(|c| c.name).collect()
    }

    #[test]
    fn kept_promises_pass_with_what_was_compared() {
        let checks = compare(&promised(&[("k1", "tx_1"), ("k2", "tx_2")]), &[ended("tx_1", "k1"), ended("tx_2", "k2")]);
        assert_eq!(failed(&checks), Vec::<&str>::new());
        assert_eq!(checks[0].detail, "2 acknowledgements");
        assert_eq!(ended("a", "b").decided_after, Some(Duration::from_millis(12)));
    }

    #[test]
    fn every_broken_promise_is_found() {
        const LOST: &str = "nothing acknowledged is lost (TX-1)";
        const TWICE: &str = "nothing began twice (TX-1)";
        const LIVE: &str = "everything has ended (TX-2)";
        assert_eq!(failed(&compare(&promised(&[("k1", "tx_1")]), &[])), [LOST]);
        assert_eq!(failed(&compare(&promised(&[("k1", "tx_1")]), &[ended("tx_9", "k1")])), [LOST]);
        assert_eq!(
            failed(&compare(&promised(&[("k1", "tx_1")]), &[ended("tx_1", "k1"), ended("tx_2", "k1")])),
            [TWICE]
        );
        assert_eq!(
            failed(&compare(&promised(&[("k1", "tx_1")]), &[ended("tx_1", "k1"), ended("tx_2", "k2")])),
            [TWICE]
        );
        let mut waiting = ended("tx_1", "k1");
        waiting.state = "waiting".to_owned();
        assert_eq!(failed(&compare(&promised(&[("k1", "tx_1")]), &[waiting])), [LIVE]);
        assert_eq!(failed(&compare(&promised(&[]), &[])), [LOST], "nothing compared is nothing proven");
    }

    #[test]
    fn a_step_done_by_hand_is_excepted_by_name() {
        let mut port_out = ended("tx_1", "k1");
        port_out.definition = "number-port-out".to_owned();
        let by_hand = BTreeMap::from([("tx_1".to_owned(), BTreeSet::from(["close".to_owned()]))]);
        assert_eq!(story(&port_out, &by_hand).must, Some(["accept", "release", "confirm"].map(str::to_owned).to_vec()));
        assert_eq!(story(&port_out, &BTreeMap::new()).must, None, "the telecom rule stands");
        assert_eq!(story(&port_out, &by_hand).verdict, Verdict::Completed);
    }
}
