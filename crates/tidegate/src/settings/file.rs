//! The settings file: TOML, flat, `name = value`. Values become text with the line they stand on.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use super::SETTINGS;

/// Name to (line, text). The error has one line for each thing that is wrong.
pub(super) fn read(path: &str, text: &str) -> Result<BTreeMap<String, (usize, String)>, Vec<String>> {
    let line_of = |at: usize| text.as_bytes()[..at.min(text.len())].iter().filter(|b| **b == b'\n').count() + 1;
    let table = DeTable::parse(text).map_err(|e| {
        let line = e.span().map_or(1, |span| line_of(span.start));
        vec![format!("{path}:{line}: not TOML: {}", e.message())]
    })?;
    let (mut values, mut wrong) = (BTreeMap::new(), Vec::new());
    for (name, value) in table.into_inner() {
        let line = line_of(name.span().start);
        let name = name.into_inner();
        if !SETTINGS.iter().any(|setting| setting.name == name) {
            let names: Vec<&str> = SETTINGS.iter().map(|setting| setting.name).collect();
            wrong.push(format!("{path}:{line}: \"{name}\" is not a setting; settings are {}", names.join(", ")));
            continue;
        }
        let value = match value.into_inner() {
            DeValue::String(text) => text.into_owned(),
            DeValue::Integer(number) => number.to_string(),
            DeValue::Boolean(flag) => flag.to_string(),
            DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
                wrong.push(format!("{path}:{line}: {name} must be a text or a whole number"));
                continue;
            }
        };
        values.insert(name.into_owned(), (line, value));
    }
    if wrong.is_empty() { Ok(values) } else { Err(wrong) }
}
