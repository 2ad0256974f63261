//! `list`: finding transactions, page by page, or counting them.

use clap::Args;
use serde_json::{Value, json};

use super::client::encode;
use super::show::{ago, note, or_dash, say, table, text};
use super::{Ended, Exit, Global, good};

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[arg(long)]
    definition: Option<String>,
    #[arg(long, value_parser = ["running", "waiting", "compensating", "needs_attention", "ended"])]
    state: Option<String>,
    #[arg(long, value_parser = ["completed", "aborted"])]
    outcome: Option<String>,
    #[arg(long, value_parser = ["refused", "failed", "cancelled", "timed_out"])]
    reason: Option<String>,
    #[arg(long)]
    key: Option<String>,
    #[arg(long)]
    idempotency_key: Option<String>,
    /// Waiting for it, or asked about a step of it
    #[arg(long)]
    participant: Option<String>,
    #[arg(long)]
    step: Option<String>,
    /// RFC 3339, such as 2026-11-23T02:00:00Z
    #[arg(long, value_name = "TIME")]
    began_after: Option<String>,
    #[arg(long, value_name = "TIME")]
    began_before: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 50)]
    limit: u32,
    /// Count instead, by any of state, definition, reason, participant, step
    #[arg(long, value_name = "GROUPS", num_args = 0..=1, default_missing_value = "state")]
    count: Option<String>,
}

pub(super) fn list(args: &ListArgs, global: &Global) -> Ended {
    let client = global.client()?;
    let mut query = String::new();
    for (name, value) in [
        ("definition", &args.definition),
        ("state", &args.state),
        ("outcome", &args.outcome),
        ("reason", &args.reason),
        ("key", &args.key),
        ("idempotency_key", &args.idempotency_key),
        ("participant", &args.participant),
        ("step", &args.step),
        ("began_after", &args.began_after),
        ("began_before", &args.began_before),
    ] {
        if let Some(value) = value {
            query.push_str(&format!("&{name}={}", encode(value)));
        }
    }
    if let Some(groups) = &args.count {
        let path = format!("/v1/transactions/count?group_by={}{query}", encode(groups));
        return count(&good(client.get(&path)?)?.json(), groups, global);
    }
    let (mut items, mut cursor): (Vec<Value>, Option<String>) = (Vec::new(), None);
    let wanted = args.limit as usize;
    loop {
        let page_size = (wanted - items.len()).min(1_000);
        let mut path = format!("/v1/transactions?limit={page_size}{query}");
        if let Some(cursor) = &cursor {
            path.push_str(&format!("&cursor={}", encode(cursor)));
        }
        let mut page = good(client.get(&path)?)?.json();
        items.extend(page["items"].as_array_mut().map(std::mem::take).unwrap_or_default());
        cursor = page["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() || items.len() >= wanted {
            break;
        }
    }
    if global.is_json() {
        say(&serde_json::to_string_pretty(&json!({"items": items, "next_cursor": cursor})).unwrap_or_default());
        return Ok(Exit::Done);
    }
    let rows: Vec<Vec<String>> = items
        .iter()
        .map(|tx| {
            let outcome = match text(tx, "outcome") {
                "" => "-".to_owned(),
                "aborted" => format!("aborted ({})", text(tx, "reason").replace('_', " ")),
                outcome => outcome.to_owned(),
            };
            let what = match (&tx["attention"], &tx["waits_for"]) {
                (Value::Object(asked), _) => {
                    asked.get("cause").and_then(Value::as_str).unwrap_or_default().replace('_', " ")
                }
                (_, Value::Object(_)) => {
                    format!("{} {}", text(&tx["waits_for"], "kind"), text(&tx["waits_for"], "name"))
                }
                _ => "-".to_owned(),
            };
            vec![
                text(tx, "id").to_owned(),
                format!("{} {}", text(tx, "definition"), tx["version"]),
                text(tx, "state").replace('_', " "),
                outcome,
                or_dash(tx, "key"),
                format!("{} ago", ago(&tx["began_at"])),
                what,
            ]
        })
        .collect();
    say(&table(&["ID", "DEFINITION", "STATE", "OUTCOME", "KEY", "BEGAN", "WAITS FOR"], &rows));
    if cursor.is_some() {
        note("there are more: --limit");
    }
    Ok(Exit::Done)
}

fn count(document: &Value, groups: &str, global: &Global) -> Ended {
    if global.is_json() {
        say(&serde_json::to_string_pretty(document).unwrap_or_default());
        return Ok(Exit::Done);
    }
    let names: Vec<&str> = groups.split(',').filter(|name| !name.is_empty()).collect();
    let mut head: Vec<String> = names.iter().map(|name| name.to_uppercase()).collect();
    head.push("COUNT".into());
    let rows: Vec<Vec<String>> = document["items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|item| names.iter().map(|name| or_dash(item, name)).chain([item["count"].to_string()]).collect())
        .collect();
    say(&table(&head.iter().map(String::as_str).collect::<Vec<_>>(), &rows));
    Ok(Exit::Done)
}
