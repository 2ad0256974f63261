//! Faults and sizes that change by the clock: one JSON object a line, for demonstrations and drills.
//!
//! `{"at": "10s", "system": "billing", "fault": "down for 20s"}` or `{"at": "1m", "system": "all", "capacity": "servers 8"}`

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use model::parse_duration;
use serde::Deserialize;

use crate::capacity::Capacity;
use crate::fault::Temper;
use crate::system::System;

/// Lines of one schedule.
const LINES_MAX: usize = 10_000;

/// What is still to come, the next first.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    to_come: VecDeque<(Instant, Entry)>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) at: Duration,
    pub(crate) system: String,
    pub(crate) change: Change,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    Fault(Temper),
    Capacity(Capacity),
}

impl Change {
    pub(crate) fn apply(&self, system: &System) {
        match self {
            Self::Fault(temper) => system.set_temper(temper.clone()),
            Self::Capacity(capacity) => system.set_capacity(capacity.clone()),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(temper) => temper.fmt(f),
            Self::Capacity(capacity) => capacity.fmt(f),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    at: String,
    system: String,
    fault: Option<String>,
    capacity: Option<String>,
}

/// Reads a schedule; the error names the line.
pub(crate) fn parse(text: &str, knows: impl Fn(&str) -> bool) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let place = |why: &dyn fmt::Display| format!("line {}: {why}", number + 1);
        if entries.len() == LINES_MAX {
            return Err(place(&format!("a schedule has at most {LINES_MAX} lines")));
        }
        let line: Line = serde_json::from_str(line).map_err(|why| place(&why))?;
        let at =
            parse_duration(&line.at).ok_or_else(|| place(&format!("\"{}\" is no duration such as 10s", line.at)))?;
        if !knows(&line.system) {
            return Err(place(&format!("there is no system \"{}\"", line.system)));
        }
        let change = match (line.fault, line.capacity) {
            (Some(fault), None) => Change::Fault(fault.parse().map_err(|why| place(&why))?),
            (None, Some(capacity)) => Change::Capacity(capacity.parse().map_err(|why| place(&why))?),
            _ => return Err(place(&"say either fault or capacity")),
        };
        entries.push(Entry { at, system: line.system, change });
    }
    entries.sort_by_key(|entry| entry.at);
    Ok(entries)
}

impl Schedule {
    /// Replaces what was to come; times count from `now`.
    pub(crate) fn begin(&mut self, entries: Vec<Entry>, now: Instant) {
        self.to_come = entries.into_iter().map(|entry| (now + entry.at, entry)).collect();
    }

    pub(crate) fn len(&self) -> usize {
        self.to_come.len()
    }

    /// Takes out what is due.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<Entry> {
        let count = self.to_come.iter().take_while(|(at, _)| *at <= now).count();
        self.to_come.drain(..count).map(|(_, entry)| entry).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_due_in_order_of_time() {
        let text = "{\"at\":\"2s\",\"system\":\"crm\",\"capacity\":\"servers 2\"}\n\n{\"at\":\"1s\",\"system\":\"all\",\"fault\":\"down for 1s\"}\n";
        let entries = parse(text, |_| true).unwrap();
        let mut schedule = Schedule::default();
        let now = Instant::now();
        schedule.begin(entries, now);
        assert_eq!(schedule.due(now), []);
        let due = schedule.due(now + Duration::from_secs(1));
        assert_eq!(
            due.iter().map(|e| (e.system.as_str(), e.change.to_string())).collect::<Vec<_>>(),
            [("all", "down for 1000ms".to_owned())]
        );
        assert_eq!(schedule.len(), 1);
        assert_eq!(schedule.due(now + Duration::from_secs(9)).len(), 1);
    }

    #[test]
    fn a_bad_line_is_named() {
        for (line, words) in [
            ("{", "line 2: EOF"),
            (r#"{"at":"1s","system":"no","fault":"lost"}"#, "line 2: there is no system \"no\""),
            (r#"{"at":"soon","system":"crm","fault":"lost"}"#, "\"soon\""),
            (r#"{"at":"1s","system":"crm","fault":"angry"}"#, "\"angry\""),
            (r#"{"at":"1s","system":"crm"}"#, "either fault or capacity"),
            (r#"{"at":"1s","system":"crm","fault":"lost","x":1}"#, "unknown field"),
        ] {
            let why = parse(&format!("\n{line}"), |name| name == "crm").unwrap_err();
            assert!(why.contains(words), "{why}");
        }
    }
}
