//! For people, in a terminal or in the log of a CI run.

use std::fmt::Write as _;
use std::time::Duration;

use definition::Diagnostic;
use definition::document::duration_text;
use model::StepIndex;

use super::{Outcome, PlayedFile, Report, Show, Varied, tables};
use crate::failures::completes;
use crate::play::Played;
use crate::run::{COMPENSATE_NONE, Run, call_word};
use crate::suite::Suite;

/// A line of a story is cut there.
const LINE_CHARS_MAX: usize = 180;

/// All of it, without a line end at its end.
pub fn text(report: &Report, show: Show) -> String {
    let mut out = String::new();
    for file in &report.files {
        match file {
            // The filter left nothing of it.
            Outcome::Cases(played) if played.cases.is_empty() && report.left_out > 0 => {}
            Outcome::Cases(played) => {
                cases(played, show, &mut out);
                out.push('\n');
            }
            Outcome::Failures { suite, cases } => {
                for varied in cases {
                    failures(suite, varied, show, &mut out);
                    out.push('\n');
                }
            }
        }
    }
    out.push_str(&closing(report));
    out
}

fn many(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn closing(report: &Report) -> String {
    let (passed, failed) = report.counts();
    let tried: usize = report
        .files
        .iter()
        .map(|file| match file {
            Outcome::Cases(_) => 0,
            Outcome::Failures { cases, .. } => {
                cases.iter().flat_map(|case| &case.failures).map(|all| all.tried.len()).sum()
            }
        })
        .sum();
    let mut text = many(passed + failed, "case");
    if tried > 0 {
        let _ = write!(text, ", {}", many(tried, "failure"));
    }
    let _ = match failed {
        0 => write!(text, ", all passed"),
        failed => write!(text, ", {failed} failed"),
    };
    if report.left_out > 0 {
        let _ = write!(text, ", {} left out", report.left_out);
    }
    let _ = write!(text, "   in {} ms", report.took.as_millis());
    text
}

fn cases(played: &PlayedFile, show: Show, out: &mut String) {
    let PlayedFile { suite, cases, coverage } = played;
    let _ = writeln!(out, "{}   {} {}", suite.file.path, suite.plan.name, suite.plan.version);
    let width = cases.iter().map(|case| case.name.chars().count()).max().unwrap_or(0);
    for case in cases {
        let mark = if case.passed() { "ok  " } else { "FAIL" };
        let line = match &case.run {
            Some(run) => format!("  {mark}  {:width$}  {}", case.name, outcome(run, suite)),
            None if case.passed() => format!("  {mark}  {:width$}  input refused", case.name),
            None => format!("  {mark}  {}", case.name),
        };
        let _ = writeln!(out, "{}", line.trim_end());
        if show.stories && case.passed() {
            story(case, suite, out);
        }
    }
    for case in cases.iter().filter(|case| !case.passed()) {
        let _ = writeln!(out, "\nFAIL  {}", case.name);
        for found in &case.findings {
            out.push_str(&finding(found));
        }
        if case.run.is_some() {
            out.push_str("what happened:\n");
            story(case, suite, out);
        }
    }
    if cases.iter().any(|case| !case.passed()) {
        out.push('\n');
    }
    let _ = write!(
        out,
        "  covered: {} of {}, {} of {}",
        coverage.steps,
        many(coverage.steps_all, "step"),
        coverage.undos,
        many(coverage.undos_all, "undo")
    );
    match coverage.missing.as_slice() {
        [] => out.push('\n'),
        missing => {
            let _ = writeln!(out, "; in no case: {}", missing.join(", "));
        }
    }
}

/// A finding as `check` prints its own, under the word `failed`.
pub fn finding(found: &Diagnostic) -> String {
    found.render_as("failed")
}

fn outcome(run: &Run, suite: &Suite) -> String {
    let calls = many(run.calls.len(), "call");
    let when = run.decided_after.map_or_else(String::new, |after| format!(" after {}", span(after)));
    let sentence = run.sentence(&suite.plan);
    match sentence.split_once([':', ';', ' ']) {
        Some((word, _)) => format!("{word}{when}{}, {calls}", &sentence[word.len()..]),
        None => format!("{sentence}{when}, {calls}"),
    }
}

fn story(case: &Played, suite: &Suite, out: &mut String) {
    let Some(run) = &case.run else { return };
    story_of(run, suite, out);
}

fn story_of(run: &Run, suite: &Suite, out: &mut String) {
    let who = run.story.iter().map(|line| line.who.chars().count()).max().unwrap_or(0);
    for line in &run.story {
        let mut text = line.text.clone();
        if text.chars().count() > LINE_CHARS_MAX {
            text = text.chars().take(LINE_CHARS_MAX).chain(['…']).collect();
        }
        let line = format!("  {:>12}  {:who$}  {text}", span(line.at), line.who);
        let _ = writeln!(out, "{}", line.trim_end());
    }
    let made_up: Vec<String> = run
        .made_up
        .iter()
        .map(|(step, body)| {
            let name = &suite.plan.steps[usize::from(*step)].name;
            format!("{name} {}", crate::pattern::one_line(body))
        })
        .collect();
    if !made_up.is_empty() {
        let _ = writeln!(out, "  {:>12}  made up, since no body is scripted: {}", "", made_up.join(", "));
    }
}

/// `3 ms`, `12.345 s`, `2 m 3 s`, `5 h 10 m`, `3 d 4 h`.
pub fn span(span: Duration) -> String {
    let (ms, s) = (span.as_millis(), span.as_secs());
    match s {
        0 => format!("{ms} ms"),
        1..=119 if ms % 1_000 == 0 => format!("{s} s"),
        1..=119 => format!("{s}.{:03} s", ms % 1_000),
        120..=3_599 => format!("{} m {} s", s / 60, s % 60),
        3_600..=172_799 => format!("{} h {} m", s / 3_600, s / 60 % 60),
        _ => format!("{} d {} h", s / 86_400, s / 3_600 % 24),
    }
}

/// The table of every failure of one case, and what is worth a look in it.
fn failures(suite: &Suite, varied: &Varied, show: Show, out: &mut String) {
    let plan = &suite.plan;
    let _ = writeln!(out, "{}   {} {}   {}", suite.file.path, plan.name, plan.version, varied.case);
    let Some(all) = &varied.failures else {
        return varied.findings.iter().for_each(|found| out.push_str(&finding(found)));
    };
    let _ = writeln!(out, "  without a failure: {}", outcome(&all.base, suite));
    // One table a file is enough to read: of the cases that pin what may stay, else of those that complete. The
    // promises of the others are looked at all the same.
    let pins = |name: Option<&str>| {
        suite.cases.iter().any(|case| case.may_stay.is_some() && name.is_none_or(|name| case.name == name))
    };
    let told = if pins(None) { pins(Some(&varied.case)) } else { completes(&all.base) };
    if !told && !show.stories && varied.findings.is_empty() {
        let _ = writeln!(out, "  {} tried, every promise kept", many(all.tried.len(), "failure"));
        return;
    }
    let rows = tables::rows(suite, all);
    out.push('\n');
    out.push_str(&tables::table(&["STEP", "FAILURE", "OUTCOME", "UNDONE", "STAYS UNDONE", "THEN"], &rows));
    out.push('\n');
    let turned = tables::turned_back(suite, all);
    for (undo, by) in &turned {
        let _ = writeln!(out, "  {undo}: reached by {by}");
    }
    for call in &all.unreached {
        let _ = writeln!(out, "  {}: no failure leads to it", call_word(plan, *call));
    }
    if !turned.is_empty() || !all.unreached.is_empty() {
        out.push('\n');
    }
    let stays = all.stays(true);
    if stays.is_empty() {
        out.push_str("  nothing stays undone for good\n");
    } else {
        out.push_str("  stays undone for good\n");
        let name = |step: &StepIndex| plan.steps[usize::from(*step)].name.as_str();
        let width = stays.keys().map(|step| name(step).chars().count()).max().unwrap_or(0);
        for (step, (whys, count)) in &stays {
            let (name, whys) = (name(step), whys.join("; "));
            let _ = writeln!(out, "    {name:width$}  {whys}   (under {})", many(*count, "failure"));
        }
        if stays.values().any(|(whys, _)| whys.iter().any(|why| why == COMPENSATE_NONE)) {
            out.push_str("    what helps: a compensate; pivot: true, if there is no way back from it; a later place in the order\n");
        }
    }
    let endless = tables::endless(suite, all);
    if !endless.is_empty() {
        out.push_str("  waits as long as a participant is down\n");
        let _ = writeln!(out, "    {}   (a timeout of the definition would end it)", endless.join(", "));
    }
    let people = tables::people(suite, all);
    if !people.is_empty() {
        out.push_str("  needs a person\n");
        for line in people {
            let _ = writeln!(out, "    {line}");
        }
    }
    let broken = all.violations();
    let _ = match broken {
        0 => writeln!(out, "  {} tried, every promise kept", many(all.tried.len(), "failure")),
        broken => writeln!(out, "  {} tried, {} BROKEN", many(all.tried.len(), "failure"), many(broken, "promise")),
    };
    for found in &varied.findings {
        out.push('\n');
        out.push_str(&finding(found));
    }
    let wanted = |violated: bool| show.stories || violated;
    for tried in all.tried.iter().filter(|tried| wanted(!tried.violations.is_empty())) {
        let _ = writeln!(out, "\n{}: {}", call_word(plan, tried.call), tried.fault.as_str());
        for violation in &tried.violations {
            let _ = writeln!(out, "  BROKEN {}: {}", violation.rule, violation.what);
        }
        story_of(&tried.run, suite, out);
    }
    if all.base.violations.is_empty() {
        return;
    }
    for violation in &all.base.violations {
        let _ = writeln!(out, "  BROKEN without a failure, {}: {}", violation.rule, violation.what);
    }
    let _ = writeln!(out, "  after {}", duration_text(all.base.took));
}
