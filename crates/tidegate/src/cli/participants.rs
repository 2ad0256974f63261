//! `participants`: what each is doing, and why it is not doing more.

use std::io::IsTerminal as _;

use clap::Args;
use serde_json::Value;

use super::client::{Client, encode};
use super::show::{or_dash, say, table, text};
use super::{Ended, Exit, Global, good};

#[derive(Debug, Args)]
pub(super) struct ParticipantsArgs {
    /// Only this one
    name: Option<String>,
    /// Show them again every second
    #[arg(long)]
    watch: bool,
}

const WATCH_EVERY: std::time::Duration = std::time::Duration::from_secs(1);

pub(super) fn participants(args: &ParticipantsArgs, global: &Global) -> Ended {
    let client = global.client()?;
    loop {
        if args.watch && !global.is_json() && std::io::stdout().is_terminal() {
            // Home, and clear what was there.
            print!("\x1b[H\x1b[2J");
        }
        let ended = match &args.name {
            Some(name) => one(&client, global, name)?,
            None => all(&client, global)?,
        };
        if !args.watch {
            return Ok(ended);
        }
        std::thread::sleep(WATCH_EVERY);
    }
}

fn all(client: &Client, global: &Global) -> Ended {
    let document = good(client.get("/v1/participants")?)?.json();
    if global.is_json() {
        say(&serde_json::to_string_pretty(&document).unwrap_or_default());
    } else {
        say(&rows(document["items"].as_array().map(Vec::as_slice).unwrap_or_default()));
    }
    Ok(Exit::Done)
}

pub(super) fn one(client: &Client, global: &Global, name: &str) -> Ended {
    let document = good(client.get(&format!("/v1/participants/{}", encode(name)))?)?.json();
    if global.is_json() {
        say(&serde_json::to_string_pretty(&document).unwrap_or_default());
    } else {
        say(&rows(std::slice::from_ref(&document)));
        say(&format!("\nlearn {}: {}", text(&document, "learn"), text(&document, "explain")));
        if let Some(avoided) = avoided(&document) {
            say(&avoided);
        }
    }
    Ok(Exit::Done)
}

/// What it is believed to take, in a word: so many a second, or so many at once.
fn learned(p: &Value) -> String {
    let known = &p["learned"];
    match (known["quota_per_s"].as_f64(), known["capacity_per_s"].as_f64()) {
        (Some(quota), _) => format!("{quota:.0}/s quota"),
        (None, Some(capacity)) => format!("{capacity:.0}/s"),
        (None, None) => "-".into(),
    }
}

/// How many calls were not made, and why; none where nothing was shared.
fn avoided(p: &Value) -> Option<String> {
    let [joined, kept] = ["joined", "kept"].map(|way| p["avoided"][way].as_u64().unwrap_or(0));
    (joined + kept > 0).then(|| {
        format!("{} calls avoided: {joined} waited for an equal one, {kept} took a kept answer", joined + kept)
    })
}

fn rows(participants: &[Value]) -> String {
    let mut rows: Vec<Vec<String>> = participants
        .iter()
        .map(|p| {
            let rate = p["done_per_s"].as_f64().unwrap_or_default();
            let why = match (&p["paused"], &p["pinned"]) {
                (Value::Null, Value::Null) => text(p, "why").to_owned(),
                (Value::Null, pin) => {
                    format!("pinned to {} by {}: {}", pin["in_flight"], text(pin, "who"), text(pin, "reason"))
                }
                (paused, _) => format!("paused by {}: {}", text(paused, "who"), text(paused, "reason")),
            };
            vec![
                text(p, "name").to_owned(),
                text(p, "state").replace('_', " "),
                or_dash(p, "limit"),
                or_dash(p, "in_flight"),
                // What waits in memory; the API counts what is parked on disk with it.
                p["backlog"].as_u64().unwrap_or(0).saturating_sub(p["parked"].as_u64().unwrap_or(0)).to_string(),
                or_dash(p, "parked"),
                learned(p),
                if rate == 0.0 { "0".into() } else { format!("{rate:.1}") },
                p["latency_ms_p99"].as_f64().map_or_else(|| "-".into(), |ms| format!("{ms:.0} ms")),
                why,
            ]
        })
        .collect();
    rows.sort();
    table(&["NAME", "STATE", "LIMIT", "IN FLIGHT", "BACKLOG", "PARKED", "CAN DO", "DONE/S", "P99", "WHY"], &rows)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn participants_in_columns() {
        let list = [json!({"name": "crm", "state": "probing", "limit": 32, "in_flight": 1, "backlog": 3, "parked": 2,
            "done_per_s": 0.0, "latency_ms_p99": null, "why": "3 connections refused", "paused": null,
            "learned": {"capacity_per_s": 61.4, "quota_per_s": null}})];
        assert_eq!(
            rows(&list),
            "NAME  STATE    LIMIT  IN FLIGHT  BACKLOG  PARKED  CAN DO  DONE/S  P99  WHY\ncrm   probing  32     1          1        2       61/s    0       -    3 connections refused"
        );
    }
    #[test]
    fn calls_that_were_not_made() {
        let text = "6 calls avoided: 4 waited for an equal one, 2 took a kept answer";
        assert_eq!(avoided(&json!({"avoided": {"joined": 4, "kept": 2}})).as_deref(), Some(text));
        assert_eq!(avoided(&json!({"avoided": {"joined": 0, "kept": 0}})), None);
    }
}
