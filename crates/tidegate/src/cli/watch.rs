//! `watch`: follows a transaction until it has ended, one line for each thing that happens.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::client::encode;
use super::show::{duration, say, sentence, text, time, why};
use super::{Ended, Exit, Failed, Global, good};

const LOOK_EVERY: Duration = Duration::from_millis(200);
/// The server may restart meanwhile: so many looks in a row may fail.
const MISSES_MAX: u32 = 25;

#[derive(Debug, Args)]
pub(super) struct WatchArgs {
    /// tx_…
    id: String,
}

pub(super) fn watch(args: &WatchArgs, global: &Global) -> Ended {
    let client = global.client()?;
    let path = format!("/v1/transactions/{}", encode(&args.id));
    let (mut told, mut misses, mut waiting) = (Told::default(), 0, String::new());
    loop {
        let tx = match client.get(&path) {
            Ok(reply) if reply.is_overload() && misses < MISSES_MAX => Value::Null,
            Ok(reply) => good(reply)?.json(),
            Err(why) if misses >= MISSES_MAX => return Err(Failed::from(why)),
            Err(_) => Value::Null,
        };
        if tx.is_null() {
            misses += 1;
            std::thread::sleep(LOOK_EVERY);
            continue;
        }
        misses = 0;
        for line in told.news(&tx) {
            say(&if global.is_json() { Value::from(line).to_string() } else { line });
        }
        if text(&tx, "state") == "ended" {
            return Ok(if text(&tx, "outcome") == "completed" { Exit::Done } else { Exit::Aborted });
        }
        if matches!(text(&tx, "state"), "waiting" | "needs_attention") {
            let key = format!("{}{}", tx["waits_for"]["kind"], tx["attention"]["since"]);
            if key != waiting {
                say(&sentence(&tx));
                waiting = key;
            }
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// What has been said already.
#[derive(Debug, Default)]
struct Told {
    attempts: BTreeSet<String>,
    decided: bool,
    skipped: BTreeSet<String>,
}

impl Told {
    fn news(&mut self, tx: &Value) -> Vec<String> {
        let mut lines: Vec<(String, String)> = Vec::new();
        for step in tx["steps"].as_array().into_iter().flatten() {
            let name = text(step, "name");
            let mut not_taken = 0;
            for attempt in step["attempts"].as_array().into_iter().flatten() {
                // Calls that were not taken are only counted: a participant that is down makes many.
                if attempt["counted"] == false && text(attempt, "outcome") == "failed" {
                    not_taken += 1;
                    continue;
                }
                if !self.attempts.insert(format!("{name} {} {}", attempt["direction"], attempt["started_at"])) {
                    not_taken = 0;
                    continue;
                }
                let took = Duration::from_secs_f64(attempt["took_ms"].as_f64().unwrap_or_default().max(0.0) / 1e3);
                let end = time(&attempt["started_at"]).map(|at| at.after(took).to_string()).unwrap_or_default();
                let shown =
                    if text(attempt, "direction") == "compensate" { format!("{name} (undo)") } else { name.to_owned() };
                let detail = match text(attempt, "detail") {
                    "" => String::new(),
                    detail => format!("   {detail}"),
                };
                let detail = match super::get::answered_by(&attempt["answered_by"]) {
                    None => detail,
                    Some(whose) => format!("{detail}   {whose}"),
                };
                let earlier = match not_taken {
                    0 => String::new(),
                    1 => "   (1 earlier call not taken)".to_owned(),
                    n => format!("   ({n} earlier calls not taken)"),
                };
                let (outcome, participant) = (text(attempt, "outcome"), step["participant"].as_str().unwrap_or("-"));
                let words = format!("{shown:14}  {outcome:8}  {participant:10}  {}{detail}{earlier}", duration(took));
                lines.push((end, words));
                not_taken = 0;
            }
            if text(step, "state") == "skipped" && self.skipped.insert(name.to_owned()) {
                lines.push((text(tx, "began_at").to_owned(), format!("{name:14}  skipped")));
            }
        }
        if !tx["outcome"].is_null() && !self.decided {
            self.decided = true;
            let at = time(&tx["decided_at"]);
            let took = match (time(&tx["began_at"]), at) {
                (Some(began), Some(at)) => duration(at.since(began)),
                _ => String::new(),
            };
            let words = match text(tx, "outcome") {
                "completed" => format!("completed after {took}"),
                _ => format!("aborted after {took}: {}", why(tx)),
            };
            lines.push((at.map(|at| at.to_string()).unwrap_or_default(), words));
        }
        lines.sort();
        lines.into_iter().map(|(at, words)| format!("{}  {words}", clock(&at))).collect()
    }
}

/// `12:03:41.201` of an RFC 3339 time in UTC.
fn clock(at: &str) -> String {
    at.get(11..23).unwrap_or(at).to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_thing_is_said_once() {
        let mut told = Told::default();
        let mut tx = json!({
            "outcome": null, "began_at": "2026-11-23T12:03:35.000000Z",
            "steps": [{"name": "contract", "participant": "crm", "state": "done", "attempts": [
                {"direction": "call", "outcome": "failed", "counted": false, "started_at": "2026-11-23T12:03:35.100000Z", "took_ms": 1},
                {"direction": "call", "outcome": "done", "counted": true, "detail": "", "started_at": "2026-11-23T12:03:41.197000Z", "took_ms": 4}]}]
        });
        assert_eq!(
            told.news(&tx),
            ["12:03:41.201  contract        done      crm         4 ms   (1 earlier call not taken)"]
        );
        assert!(told.news(&tx).is_empty());
        tx["outcome"] = "completed".into();
        tx["decided_at"] = "2026-11-23T12:03:41.220000Z".into();
        assert_eq!(told.news(&tx), ["12:03:41.220  completed after 6.2 s"]);
        assert!(told.news(&tx).is_empty());
    }
}
