//! How things are written for people: columns, durations, times, one-line JSON, a transaction in a sentence.

use std::io::Write as _;
use std::time::Duration;

use model::Timestamp;
use serde_json::Value;

/// To standard output. A reader that went away is not an error of ours.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// To standard error.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Left-aligned columns, two spaces apart, nothing trailing.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |place: usize| {
        let cells = rows.iter().filter_map(|row| row.get(place)).map(|cell| cell.chars().count());
        cells.chain(head.get(place).map(|h| h.chars().count())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (cell, width) in cells.zip(&widths) {
            text.push_str(cell);
            text.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 2));
        }
        text.trim_end().to_owned()
    };
    let mut lines = vec![line(&mut head.iter().copied())];
    lines.extend(rows.iter().map(|row| line(&mut row.iter().map(String::as_str))));
    lines.join("\n")
}

/// `0.8 ms`, `12 ms`, `6.1 s`, `3 m 20 s`, `5 h 10 m`, `3 d 4 h`.
pub(crate) fn duration(d: Duration) -> String {
    let (us, s) = (d.as_micros(), d.as_secs());
    match s {
        _ if us < 995 => format!("{:.1} ms", us as f64 / 1e3),
        0 => format!("{} ms", (us + 500) / 1_000),
        1..=119 => format!("{:.1} s", d.as_secs_f64()),
        120..=7_199 => format!("{} m {} s", s / 60, s % 60),
        7_200..=172_799 => format!("{} h {} m", s / 3_600, s / 60 % 60),
        _ => format!("{} d {} h", s / 86_400, s / 3_600 % 24),
    }
}

/// For columns: `4.7 ms` below a second.
pub(crate) fn short(d: Duration) -> String {
    if d < Duration::from_secs(1) { format!("{:.1} ms", d.as_secs_f64() * 1e3) } else { duration(d) }
}

pub(crate) fn time(value: &Value) -> Option<Timestamp> {
    value.as_str().and_then(Timestamp::parse_rfc3339)
}

pub(crate) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// How long after `value` it is now.
pub(crate) fn ago(value: &Value) -> String {
    time(value).map_or_else(|| "-".into(), |at| duration(now().since(at)))
}

/// One line with a space after each colon and comma.
pub(crate) fn one_line(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(one_line).collect::<Vec<_>>().join(", ")),
        Value::Object(members) => {
            let members =
                members.iter().map(|(name, value)| format!("{}: {}", Value::from(name.as_str()), one_line(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(", "))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

pub(crate) fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}

/// The same, `-` if there is none.
pub(crate) fn or_dash(value: &Value, name: &str) -> String {
    match &value[name] {
        Value::Null => "-".into(),
        Value::String(text) if text.is_empty() => "-".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A transaction in one sentence, without its id: `completed in 12 ms`.
pub(crate) fn sentence(tx: &Value) -> String {
    let took = match (time(&tx["began_at"]), time(&tx["decided_at"])) {
        (Some(began), Some(decided)) => duration(decided.since(began)),
        _ => "an unknown time".into(),
    };
    match text(tx, "outcome") {
        "completed" => format!("completed in {took}"),
        "aborted" => format!("aborted in {took}: {}", why(tx)),
        _ => undecided(tx),
    }
}

/// `refused by billing at step credit (account blocked)`.
pub(crate) fn why(tx: &Value) -> String {
    let cause = &tx["cause"];
    let mut words = match text(tx, "reason") {
        "timed_out" => "timed out".to_owned(),
        "" => "for an unknown reason".to_owned(),
        reason => reason.to_owned(),
    };
    if let Some(participant) = cause["participant"].as_str() {
        words.push_str(if text(tx, "reason") == "refused" { " by " } else { " with " });
        words.push_str(participant);
    }
    if let Some(step) = cause["step"].as_str() {
        words.push_str(&format!(" at step {step}"));
    }
    if let Some(detail) = cause["detail"].as_str().filter(|detail| !detail.is_empty()) {
        words.push_str(&format!(" ({detail})"));
    }
    words
}

fn undecided(tx: &Value) -> String {
    if let Some(asked) = tx["attention"].as_object() {
        let word = |name: &str| asked.get(name).and_then(Value::as_str).unwrap_or_default();
        let step = match word("step") {
            "" => String::new(),
            step => format!(" at step {step} ({})", word("direction")),
        };
        let detail = if word("detail").is_empty() { String::new() } else { format!(": {}", word("detail")) };
        let trying = asked.get("still_trying").and_then(Value::as_bool).unwrap_or_default();
        let tail = if trying { "; still being tried" } else { "; stopped, waits for you" };
        return format!("needs attention: {}{step}{detail}{tail}", word("cause").replace('_', " "));
    }
    let waits = &tx["waits_for"];
    match waits["kind"].as_str() {
        None => text(tx, "state").replace('_', " "),
        Some(kind) => {
            let what = match kind {
                "time" => "the time of step",
                "backoff" => "another try at",
                "quiet" => "calls to settle at",
                kind => kind,
            };
            format!("waiting for {what} {} since {}", text(waits, "name"), ago(&waits["since"]))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn durations_read_well() {
        for (us, want) in [
            (800, "0.8 ms"),
            (12_300, "12 ms"),
            (999_400, "999 ms"),
            (6_100_000, "6.1 s"),
            (200_000_000, "3 m 20 s"),
            (18_600_000_000, "5 h 10 m"),
            (273_600_000_000, "3 d 4 h"),
        ] {
            assert_eq!(duration(Duration::from_micros(us)), want);
        }
        assert_eq!(short(Duration::from_micros(4_712)), "4.7 ms");
    }

    #[test]
    fn a_transaction_in_a_sentence() {
        let refused = json!({
            "outcome": "aborted", "reason": "refused",
            "began_at": "2026-11-23T12:00:00.000000Z", "decided_at": "2026-11-23T12:00:00.013000Z",
            "cause": {"step": "credit", "participant": "billing", "detail": "account blocked"}
        });
        assert_eq!(sentence(&refused), "aborted in 13 ms: refused by billing at step credit (account blocked)");
        let asked = json!({"outcome": null, "state": "needs_attention", "attention":
            {"cause": "undo_fails", "step": "charge", "direction": "compensate", "still_trying": true, "detail": "422"}});
        assert_eq!(sentence(&asked), "needs attention: undo fails at step charge (compensate): 422; still being tried");
        assert_eq!(sentence(&json!({"state": "running"})), "running");
    }

    #[test]
    fn columns_are_aligned_and_json_breathes() {
        let rows = vec![vec!["billing".into(), "well".into()], vec!["crm".into(), "-".into()]];
        assert_eq!(table(&["NAME", "STATE"], &rows), "NAME     STATE\nbilling  well\ncrm      -");
        assert_eq!(one_line(&json!({"a": 1, "b": ["x", null]})), r#"{"a": 1, "b": ["x", null]}"#);
    }
}
