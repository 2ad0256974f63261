//! `get`: one thing by its name. A transaction is shown with its timeline.

use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::client::{Client, encode};
use super::show::{duration, one_line, or_dash, say, short, table, text, time};
use super::{Ended, Exit, Failed, Global, definitions, good, participants, show};

#[derive(Debug, Args)]
pub(super) struct GetArgs {
    /// A transaction (tx_…), or: definition NAME, definitions, participant NAME, node
    what: String,
    /// The name, for a definition or a participant
    name: Option<String>,
    /// Of a definition: this version
    #[arg(long)]
    version: Option<u32>,
    /// Of a definition: the fields of its input
    #[arg(long)]
    input: bool,
    /// Of a definition: the text as applied
    #[arg(long, conflicts_with = "input")]
    text: bool,
}

pub(super) fn get(args: &GetArgs, global: &Global) -> Ended {
    let client = global.client()?;
    let need = || args.name.as_deref().ok_or_else(|| Failed::usage(format!("get {} needs a name", args.what)));
    match args.what.as_str() {
        id if id.starts_with("tx_") => transaction(&client, global, id),
        "transaction" => transaction(&client, global, need()?),
        "definitions" => definitions::all(&client, global),
        "definition" => {
            let shown = match (args.input, args.text) {
                (true, _) => definitions::Shown::Input,
                (_, true) => definitions::Shown::Text,
                _ => definitions::Shown::Overview,
            };
            definitions::one(&client, global, need()?, args.version, shown)
        }
        "participant" => participants::one(&client, global, need()?),
        "node" => node(&client, global),
        other => Err(Failed::usage(format!(
            "\"{other}\" is nothing to get: a transaction (tx_…), definition NAME, definitions, participant NAME or node"
        ))),
    }
}

fn transaction(client: &Client, global: &Global, id: &str) -> Ended {
    let tx = good(client.get(&format!("/v1/transactions/{}", encode(id)))?)?.json();
    if global.is_json() {
        say(&serde_json::to_string_pretty(&tx).unwrap_or_default());
    } else {
        say(&timeline(&tx));
    }
    Ok(Exit::Done)
}

/// The heading, then one row for each attempt in the order in which they started.
pub(super) fn timeline(tx: &Value) -> String {
    let began = time(&tx["began_at"]);
    let after = |value: &Value| match (began, time(value)) {
        (Some(began), Some(at)) => Some(at.since(began)),
        _ => None,
    };
    let mut head = format!("{} version {}", text(tx, "definition"), tx["version"]);
    if let Some(key) = tx["key"].as_str() {
        head.push_str(&format!("   {key}"));
    }
    match (text(tx, "outcome"), after(&tx["decided_at"])) {
        ("", _) | (_, None) => head.push_str(&format!("   {}", show::sentence(tx))),
        ("completed", Some(d)) => head.push_str(&format!("   completed, decided after {}", duration(d))),
        (_, Some(d)) => head.push_str(&format!("   aborted, {}, decided after {}", show::why(tx), duration(d))),
    }
    match after(&tx["ended_at"]) {
        Some(d) => head.push_str(&format!(", ended after {}", duration(d))),
        None if !tx["outcome"].is_null() => head.push_str(&format!(", {}", text(tx, "state").replace('_', " "))),
        None => {}
    }
    let mut rows: Vec<(Duration, Vec<String>)> = Vec::new();
    let mut quiet = Vec::new();
    for step in tx["steps"].as_array().into_iter().flatten() {
        let attempts = step["attempts"].as_array().map(Vec::as_slice).unwrap_or_default();
        for attempt in attempts {
            let started = after(&attempt["started_at"]).unwrap_or_default();
            let took = Duration::from_secs_f64(attempt["took_ms"].as_f64().unwrap_or_default().max(0.0) / 1e3);
            let undo = text(attempt, "direction") == "compensate";
            let answer = match (attempt["status"].as_u64(), text(attempt, "detail")) {
                (Some(status), "") => status.to_string(),
                (Some(status), detail) => format!("{status} {detail}"),
                (None, detail) => {
                    if detail.is_empty() {
                        "-".into()
                    } else {
                        detail.to_owned()
                    }
                }
            };
            let answer = match answered_by(&attempt["answered_by"]) {
                None => answer,
                Some(whose) => format!("{answer} ({whose})"),
            };
            rows.push((
                started,
                vec![
                    if undo { format!("{} (undo)", text(step, "name")) } else { text(step, "name").to_owned() },
                    or_dash(step, "participant"),
                    or_dash(attempt, "n"),
                    text(attempt, "outcome").to_owned(),
                    format!("+{}", short(started)),
                    short(took),
                    answer,
                ],
            ));
        }
        let state = text(step, "state");
        if attempts.is_empty() || !matches!(state, "done" | "compensated") {
            quiet.push(format!("{} {}", text(step, "name"), state.replace('_', " ")));
        }
    }
    rows.sort_by_key(|(started, _)| *started);
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(_, row)| row).collect();
    let mut out = head;
    if !rows.is_empty() {
        out.push_str("\n\n");
        out.push_str(&table(&["STEP", "PARTICIPANT", "ATTEMPT", "OUTCOME", "STARTED", "TOOK", "ANSWER"], &rows));
    }
    let mut more = Vec::new();
    if !quiet.is_empty() {
        more.push(format!("steps: {}", quiet.join(", ")));
    }
    if let Some(left @ 1..) = tx["attempts_not_kept"].as_u64() {
        more.push(format!("{left} further attempts are not kept"));
    }
    for act in tx["acts"].as_array().into_iter().flatten() {
        more.push(format!("{} {} by {}: {}", text(act, "at"), text(act, "verb"), text(act, "who"), text(act, "why")));
    }
    if let Some(given_up) = tx["uncompensated"].as_array().filter(|list| !list.is_empty()) {
        more.push(format!("not undone, given up by a person: {}", one_line(&Value::Array(given_up.clone()))));
    }
    if !tx["output"].is_null() {
        more.push(format!("output: {}", one_line(&tx["output"])));
    }
    if !more.is_empty() {
        out.push_str("\n\n");
        out.push_str(&more.join("\n"));
    }
    out
}

fn node(client: &Client, global: &Global) -> Ended {
    let node = good(client.get("/v1/node")?)?.json();
    if global.is_json() {
        say(&serde_json::to_string_pretty(&node).unwrap_or_default());
        return Ok(Exit::Done);
    }
    let mut rows = Vec::new();
    for (name, value) in node.as_object().into_iter().flatten() {
        match value {
            Value::Object(members) => {
                rows.extend(members.iter().map(|(inner, value)| vec![format!("{name}.{inner}"), one_line(value)]));
            }
            Value::Array(items) => rows.extend(items.iter().map(|item| {
                vec![text(item, "name").to_owned(), format!("{}  ({})", text(item, "value"), text(item, "source"))]
            })),
            Value::String(word) => rows.push(vec![name.clone(), word.clone()]),
            Value::Null => rows.push(vec![name.clone(), "-".into()]),
            Value::Bool(_) | Value::Number(_) => rows.push(vec![name.clone(), value.to_string()]),
        }
    }
    say(&table(&["NAME", "VALUE"], &rows));
    Ok(Exit::Done)
}

/// Whose answer an attempt was given, if it made no call of its own.
pub(super) fn answered_by(by: &Value) -> Option<String> {
    let age = short(Duration::from_secs_f64(by["age_ms"].as_f64()?.max(0.0) / 1e3));
    let call = format!("{}, step {} attempt {}", text(by, "transaction"), by["step"], by["attempt"]);
    match text(by, "way") {
        "joined" => Some(format!("answered with {call}, {age} old")),
        _ => Some(format!("kept answer of {call}, {age} old")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_timeline_reads_from_the_top() {
        let tx = json!({
            "definition": "top-up", "version": 1, "key": "subscriber/49", "state": "ended",
            "outcome": "completed", "began_at": "2026-11-23T12:00:00.000000Z",
            "decided_at": "2026-11-23T12:00:00.012000Z", "ended_at": "2026-11-23T12:00:00.017000Z",
            "output": {"balance_minor": 1750},
            "steps": [
                {"name": "charge", "participant": "payments", "state": "done", "attempts": [
                    {"n": 1, "direction": "call", "outcome": "done", "started_at": "2026-11-23T12:00:00.000800Z",
                     "took_ms": 5.2, "status": 201, "detail": ""}]},
                {"name": "fee", "participant": "billing", "state": "skipped", "attempts": []}]
        });
        assert_eq!(
            timeline(&tx),
            "top-up version 1   subscriber/49   completed, decided after 12 ms, ended after 17 ms\n\n\
             STEP    PARTICIPANT  ATTEMPT  OUTCOME  STARTED  TOOK    ANSWER\n\
             charge  payments     1        done     +0.8 ms  5.2 ms  201\n\n\
             steps: fee skipped\noutput: {\"balance_minor\": 1750}"
        );
    }

    #[test]
    fn whose_answer_it_was() {
        let by = |way: &str| json!({"way": way, "transaction": "tx_01k8q3v6m2f9r4t7w0x5y8z1bc", "step": 0, "attempt": 2, "age_ms": 12.0});
        let call = "tx_01k8q3v6m2f9r4t7w0x5y8z1bc, step 0 attempt 2, 12.0 ms old";
        assert_eq!(answered_by(&by("joined")), Some(format!("answered with {call}")));
        assert_eq!(answered_by(&by("kept")), Some(format!("kept answer of {call}")));
        assert_eq!(answered_by(&Value::Null), None);
    }
}
