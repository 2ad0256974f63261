//! The rows of `--every-failure`, and what is worth a look in them.

use crate::failures::{Failures, Tried};
use crate::run::call_word;
use crate::suite::Suite;

/// One row a failure; the name of a call stands once.
pub(super) fn rows(suite: &Suite, all: &Failures) -> Vec<Vec<String>> {
    let mut last = None;
    all.tried
        .iter()
        .map(|tried| {
            let name = if last == Some(tried.call) { String::new() } else { call_word(&suite.plan, tried.call) };
            last = Some(tried.call);
            let dash = |text: String| if text.is_empty() { "-".into() } else { text };
            let step = |step: &model::StepIndex| suite.plan.steps[usize::from(*step)].name.to_string();
            let undone: Vec<String> = tried.undone.iter().map(step).collect();
            let stays = |for_good| {
                let some = tried.stays.iter().filter(move |stays| stays.for_good == for_good);
                some.map(|stays| step(&stays.step)).collect::<Vec<_>>().join(", ")
            };
            let stays = match (stays(true), stays(false)) {
                (good, open) if open.is_empty() => good,
                (good, open) if good.is_empty() => format!("({open}: tried on)"),
                (good, open) => format!("{good} ({open}: tried on)"),
            };
            let then = match tried.violations.as_slice() {
                [] if tried.remark.is_empty() && tried.run.asked => "ends; a person was asked".into(),
                [] if tried.remark.is_empty() => "ends".into(),
                [] => tried.remark.clone(),
                broken => format!("BROKEN {}", broken[0].rule),
            };
            vec![name, tried.fault.as_str().to_owned(), outcome(tried), dash(undone.join(", ")), dash(stays), then]
        })
        .collect()
}

fn outcome(tried: &Tried) -> String {
    match tried.reason {
        Some(reason) => format!("{}: {}", tried.outcome, reason.replace('_', " ")),
        None => tried.outcome.to_owned(),
    }
}

/// Left-aligned columns, two spaces apart, each line indented by two, nothing trailing; an empty line before each
/// row whose first cell is not empty, but for the first.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |place: usize| {
        let cells = rows.iter().filter_map(|row| row.get(place)).map(|cell| cell.chars().count());
        cells.chain(head.get(place).map(|h| h.chars().count())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::from("  ");
        for (cell, width) in cells.zip(&widths) {
            text.push_str(cell);
            text.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 2));
        }
        text.trim_end().to_owned() + "\n"
    };
    let mut out = line(&mut head.iter().copied());
    for (place, row) in rows.iter().enumerate() {
        if place > 0 && row.first().is_some_and(|cell| !cell.is_empty()) {
            out.push('\n');
        }
        out.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    out
}

/// What made the transaction turn back, by undo.
pub(super) fn turned_back(suite: &Suite, all: &Failures) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for tried in &all.tried {
        if let Some(by) = &tried.turned_back_by {
            let line = (call_word(&suite.plan, tried.call), by.clone());
            if !found.contains(&line) {
                found.push(line);
            }
        }
    }
    found
}

/// The calls on the way forward that wait for their participant without end.
pub(super) fn endless(suite: &Suite, all: &Failures) -> Vec<String> {
    let waits = all.tried.iter().filter(|tried| {
        let forward = tried.call.1 == model::Direction::Call;
        forward && tried.run.tx.outcome.is_none() && tried.remark.starts_with("waits for participant")
    });
    waits.map(|tried| call_word(&suite.plan, tried.call)).collect()
}

/// Calls, each with the failures after which the same was asked.
type Calls<'f> = Vec<(String, Vec<&'f str>)>;

/// What people are asked, and after which failures of which call:
///
/// ```text
/// undo fails at undo credit, still tried
///   after undo credit: refused; no answer ever, not done
/// ```
pub(super) fn people(suite: &Suite, all: &Failures) -> Vec<String> {
    let mut asked: Vec<(String, Calls<'_>)> = Vec::new();
    for tried in all.tried.iter().filter(|tried| tried.run.tx.attention.is_some()) {
        let remark = tried.remark.trim_start_matches("needs a person: ").to_owned();
        let place = asked.iter().position(|(known, _)| *known == remark).unwrap_or_else(|| {
            asked.push((remark, Vec::new()));
            asked.len() - 1
        });
        let call = call_word(&suite.plan, tried.call);
        let calls = &mut asked[place].1;
        match calls.iter_mut().find(|(known, _)| *known == call) {
            Some((_, faults)) => faults.push(tried.fault.as_str()),
            None => calls.push((call, vec![tried.fault.as_str()])),
        }
    }
    let mut lines = Vec::new();
    for (remark, calls) in asked {
        lines.push(remark);
        lines.extend(calls.into_iter().map(|(call, faults)| format!("  after {call}: {}", faults.join("; "))));
    }
    lines
}
