//! `participants`: what each is doing, and why it is not doing more.

use clap::Args;
use serde_json::Value;

use super::client::{Client, encode};
use super::show::{or_dash, say, table, text};
use super::{Ended, Exit, Global, good};

#[derive(Debug, Args)]
pub(super) struct ParticipantsArgs {
    /// Only this one
    name: Option<String>,
}

pub(super) fn participants(args: &ParticipantsArgs, global: &Global) -> Ended {
    let client = global.client()?;
    if let Some(name) = &args.name {
        return one(&client, global, name);
    }
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
    }
    Ok(Exit::Done)
}

fn rows(participants: &[Value]) -> String {
    let mut rows: Vec<Vec<String>> = participants
        .iter()
        .map(|p| {
            let rate = p["done_per_s"].as_f64().unwrap_or_default();
            let why = match &p["paused"] {
                Value::Null => text(p, "why").to_owned(),
                paused => format!("paused by {}: {}", text(paused, "who"), text(paused, "reason")),
            };
            vec![
                text(p, "name").to_owned(),
                text(p, "state").replace('_', " "),
                or_dash(p, "limit"),
                or_dash(p, "in_flight"),
                (p["backlog"].as_u64().unwrap_or(0) + p["parked"].as_u64().unwrap_or(0)).to_string(),
                if rate == 0.0 { "0".into() } else { format!("{rate:.1}") },
                p["latency_ms_p99"].as_f64().map_or_else(|| "-".into(), |ms| format!("{ms:.0} ms")),
                why,
            ]
        })
        .collect();
    rows.sort();
    table(&["NAME", "STATE", "LIMIT", "IN FLIGHT", "BACKLOG", "DONE/S", "P99", "WHY"], &rows)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn participants_in_columns() {
        let list = [json!({"name": "crm", "state": "probing", "limit": 32, "in_flight": 1, "backlog": 1, "parked": 2,
            "done_per_s": 0.0, "latency_ms_p99": null, "why": "3 connections refused", "paused": null})];
        assert_eq!(
            rows(&list),
            "NAME  STATE    LIMIT  IN FLIGHT  BACKLOG  DONE/S  P99  WHY\ncrm   probing  32     1          3        0       -    3 connections refused"
        );
    }
}
