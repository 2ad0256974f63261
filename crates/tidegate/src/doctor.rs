//! `tidegate doctor`: examines a data directory that no node uses, and prints what was looked at and what is wrong.
//!
//! The examination is `runtime::doctor`; here is only how it is shown.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use runtime::doctor::{CannotLook, Check, Finding, Progress, Report, Settings, Severity, examine};
use serde_json::{Value, json};

use crate::cli::{Ended, Exit, Failed, show};

/// How often progress is told where nobody watches a terminal.
const TELL_EVERY: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 everything holds, 1 something is wrong, 2 wrong usage, 3 the directory is in use \
or cannot be read. Nothing in the directory is changed."
)]
pub(crate) struct Args {
    /// The data directory; its node must be stopped
    data: PathBuf,
    /// Rows of live transactions in memory at once, about 1 KiB each; fewer means more readings of the journal
    #[arg(long, value_name = "ROWS", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    rows_at_once: u64,
}

pub(crate) fn run(args: &Args, is_json: bool) -> Ended {
    let mut watched = Watched::start();
    let settings = Settings { rows_at_once: args.rows_at_once };
    let found = examine(&args.data, settings, &mut |progress| watched.show(progress));
    watched.bar.finish_and_clear();
    let report = found.map_err(|why| match why {
        CannotLook::InUse { .. } | CannotLook::NoDirectory { .. } | CannotLook::Io { .. } => {
            Failed::new(Exit::TryAgain, why.to_string())
        }
    })?;
    show::say(&if is_json { as_json(&report).to_string() } else { as_text(&report) });
    Ok(if report.is_well() { Exit::Done } else { Exit::Refused })
}

/// Progress on standard error: a moving line on a terminal, else a line now and then.
struct Watched {
    bar: ProgressBar,
    on_terminal: bool,
    doing: &'static str,
    since: Instant,
    told: Instant,
}

impl Watched {
    fn start() -> Self {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        let now = Instant::now();
        Self { bar, on_terminal: std::io::stderr().is_terminal(), doing: "", since: now, told: now }
    }

    fn show(&mut self, progress: &Progress) {
        let now = Instant::now();
        if self.doing != progress.doing {
            (self.doing, self.since) = (progress.doing, now);
        }
        let seconds = now.duration_since(self.since).as_secs_f64();
        let rate = if seconds > 0.5 { format!(", {:.0}/s", progress.done as f64 / seconds) } else { String::new() };
        let line = match progress.done {
            0 => progress.doing.to_owned(),
            done => format!("{}: {done} {}{rate}", progress.doing, progress.unit),
        };
        if self.on_terminal {
            self.bar.set_message(line);
            self.bar.tick();
        } else if now.duration_since(self.told) >= TELL_EVERY {
            self.told = now;
            show::note(&line);
        }
    }
}

fn as_json(report: &Report) -> Value {
    let check = |check: &Check| {
        let looked_at: serde_json::Map<String, Value> =
            check.looked_at.iter().map(|(what, count)| ((*what).to_owned(), Value::from(*count))).collect();
        json!({
            "name": check.name,
            "shows": check.shows,
            "well": check.is_well(),
            "looked_at": looked_at,
            "wrong": check.wrong,
            "notes": check.notes,
            "not_done": check.not_done,
        })
    };
    let finding = |finding: &Finding| {
        json!({
            "severity": match finding.severity { Severity::Wrong => "wrong", Severity::Note => "note" },
            "check": finding.check,
            "place": finding.place,
            "what": finding.what,
            "advice": finding.advice,
        })
    };
    json!({
        "data": report.data.display().to_string(),
        "well": report.is_well(),
        "took_ms": report.took_ms,
        "checks": report.checks.iter().map(check).collect::<Vec<_>>(),
        "findings": report.findings.iter().map(finding).collect::<Vec<_>>(),
    })
}

fn as_text(report: &Report) -> String {
    let rows: Vec<Vec<String>> = report
        .checks
        .iter()
        .map(|check| {
            let looked_at: Vec<String> = check.looked_at.iter().map(|(what, n)| format!("{n} {what}")).collect();
            let looked_at = if looked_at.is_empty() { "nothing".to_owned() } else { looked_at.join(", ") };
            vec![check.name.to_owned(), verdict(check), looked_at]
        })
        .collect();
    let mut text = show::table(&["CHECK", "RESULT", "LOOKED AT"], &rows);
    for finding in &report.findings {
        let word = match finding.severity {
            Severity::Wrong => "WRONG",
            Severity::Note => "note",
        };
        text.push_str(&format!(
            "\n\n{word}  {}\n  where: {}\n  what:  {}\n  do:    {}",
            finding.check, finding.place, finding.what, finding.advice
        ));
    }
    for check in &report.checks {
        if let Some(why) = &check.not_done {
            text.push_str(&format!("\n\nNOT DONE  {}\n  why:   {why}", check.name));
        }
        let told = report.findings.iter().filter(|f| f.check == check.name).count() as u64;
        if check.wrong + check.notes > told {
            let more = check.wrong + check.notes - told;
            text.push_str(&format!("\n\n{}: {more} more of these are not shown", check.name));
        }
    }
    let wrong: u64 = report.checks.iter().map(|check| check.wrong).sum();
    let not_done = report.checks.iter().filter(|check| check.not_done.is_some()).count() as u64;
    let took = show::duration(Duration::from_millis(report.took_ms));
    let data = report.data.display();
    text.push_str(&if report.is_well() {
        format!("\n\n{data} is well: {} in {took}.", counted(report.checks.len() as u64, "check"))
    } else {
        let undone = if not_done > 0 { format!(", {} not done", counted(not_done, "check")) } else { String::new() };
        format!("\n\n{data} is not well: {} wrong{undone}, in {took}.", counted(wrong, "thing"))
    });
    text
}

fn counted(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn verdict(check: &Check) -> String {
    match (check.wrong, &check.not_done, check.notes) {
        (0, None, 0) => "holds".to_owned(),
        (0, None, notes) => format!("holds, {}", counted(notes, "note")),
        (0, Some(_), _) => "NOT DONE".to_owned(),
        (wrong, ..) => format!("{wrong} WRONG"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(wrong: u64) -> Report {
        let check = Check {
            name: "history.once",
            shows: "TX-1",
            looked_at: vec![("records", 3), ("ends in the journal", 2)],
            wrong,
            notes: 0,
            not_done: None,
        };
        let finding = Finding {
            severity: Severity::Wrong,
            check: "history.once",
            place: "history-00000001.seg, byte 64".to_owned(),
            what: "it is there twice".to_owned(),
            advice: "report it".to_owned(),
        };
        let findings = if wrong > 0 { vec![finding] } else { Vec::new() };
        Report { data: "d".into(), checks: vec![check], findings, took_ms: 12 }
    }

    #[test]
    fn text_says_what_was_looked_at_and_where_it_is_wrong() {
        expect_test::expect![[r#"
            CHECK         RESULT  LOOKED AT
            history.once  holds   3 records, 2 ends in the journal

            d is well: 1 check in 12 ms."#]]
        .assert_eq(&as_text(&report(0)));
        expect_test::expect![[r#"
            CHECK         RESULT   LOOKED AT
            history.once  2 WRONG  3 records, 2 ends in the journal

            WRONG  history.once
              where: history-00000001.seg, byte 64
              what:  it is there twice
              do:    report it

            history.once: 1 more of these are not shown

            d is not well: 2 things wrong, in 12 ms."#]]
        .assert_eq(&as_text(&report(2)));
    }

    #[test]
    fn json_has_the_same() {
        let value = as_json(&report(2));
        assert_eq!(value["well"], false);
        assert_eq!(value["checks"][0]["looked_at"]["records"], 3);
        assert_eq!(value["findings"][0]["place"], "history-00000001.seg, byte 64");
    }
}
