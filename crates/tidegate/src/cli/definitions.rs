//! Definitions, as `get` shows them.

use serde_json::Value;

use super::client::{Client, encode};
use super::show::{or_dash, say, table, text};
use super::{Ended, Exit, Failed, Global, good};

/// Which side of a definition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shown {
    Overview,
    Input,
    Text,
}

pub(super) fn all(client: &Client, global: &Global) -> Ended {
    let document = good(client.get("/v1/definitions")?)?.json();
    if global.is_json() {
        say(&serde_json::to_string_pretty(&document).unwrap_or_default());
        return Ok(Exit::Done);
    }
    let rows: Vec<Vec<String>> = document["items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|d| {
            let paused = if d["paused"].is_null() { "-".to_owned() } else { text(&d["paused"], "reason").to_owned() };
            vec![text(d, "name").to_owned(), d["active_version"].to_string(), or_dash(d, "running"), paused]
        })
        .collect();
    say(&table(&["NAME", "ACTIVE", "RUNNING", "PAUSED"], &rows));
    Ok(Exit::Done)
}

pub(super) fn one(client: &Client, global: &Global, name: &str, version: Option<u32>, shown: Shown) -> Ended {
    let definition = good(client.get(&format!("/v1/definitions/{}", encode(name)))?)?.json();
    let wanted = version.map_or_else(|| definition["active_version"].clone(), Value::from);
    let versions = definition["versions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let Some(found) = versions.iter().find(|v| v["version"] == wanted) else {
        return Err(Failed::new(Exit::Refused, format!("there is no definition \"{name}\" version {wanted}")));
    };
    match shown {
        Shown::Text => say(text(found, "text").trim_end_matches('\n')),
        Shown::Input if global.is_json() => say(&serde_json::to_string_pretty(&found["input"]).unwrap_or_default()),
        Shown::Input => say(&input(&found["input"])),
        Shown::Overview if global.is_json() => say(&serde_json::to_string_pretty(&definition).unwrap_or_default()),
        Shown::Overview => {
            let mut rows = Vec::new();
            for v in versions {
                let active = if v["active"] == true { "active" } else { "-" };
                rows.push(vec![
                    v["version"].to_string(),
                    active.to_owned(),
                    or_dash(v, "running"),
                    or_dash(v, "description"),
                ]);
            }
            say(&table(&["VERSION", "", "RUNNING", "DESCRIPTION"], &rows));
            if !definition["paused"].is_null() {
                let paused = &definition["paused"];
                say(&format!(
                    "\npaused by {} since {}: {}",
                    text(paused, "who"),
                    text(paused, "since"),
                    text(paused, "reason")
                ));
            }
        }
    }
    Ok(Exit::Done)
}

/// The fields of an input schema: name, type, whether required, what else constrains it.
fn input(schema: &Value) -> String {
    let required = |name: &str| schema["required"].as_array().is_some_and(|list| list.iter().any(|n| n == name));
    let mut rows = Vec::new();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let mut rules = Vec::new();
        for (rule, value) in field.as_object().into_iter().flatten() {
            match rule.as_str() {
                "type" => {}
                "x-sensitive" => rules.push("sensitive".to_owned()),
                _ => rules.push(format!("{rule} {}", value.as_str().map_or_else(|| value.to_string(), str::to_owned))),
            }
        }
        let kind = field["type"].as_str().map_or_else(|| field["type"].to_string(), str::to_owned);
        rows.push(vec![
            name.clone(),
            if kind == "null" { "any".into() } else { kind },
            if required(name) { "required".into() } else { "-".into() },
            rules.join(", "),
        ]);
    }
    table(&["FIELD", "TYPE", "", "RULES"], &rows)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_input_is_a_table_of_fields() {
        let schema = json!({"required": ["a"], "properties": {
            "a": {"type": "integer", "minimum": 100}, "t": {"type": "string", "x-sensitive": true}}});
        assert_eq!(
            input(&schema),
            "FIELD  TYPE               RULES\na      integer  required  minimum 100\nt      string   -         sensitive"
        );
    }
}
