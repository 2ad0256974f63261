//! The end of every rehearsal: promises against the roll, and the roll against the systems' books.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use stand::audit::Report;

use super::crowd::Crowd;
use super::roll::{self, Check, Line};
use super::stage::Stage;

/// What the clients were promised, against what the engine lists. `stranded`: its own TX-4 counter, over all its lives.
pub(crate) fn promises(crowd: &Crowd, roll: &[Line], stranded: u64) -> Vec<Check> {
    let mut checks = roll::compare(&crowd.acknowledged(), roll);
    let met = &crowd.met;
    let words =
        format!("{} repeats replayed, {} other bodies refused", met.repeats.get(), met.other_bodies_refused.get());
    checks.push(Check::none_of("the clients saw no broken promise", &words, &crowd.wrong()));
    let found = if stranded == 0 { Vec::new() } else { vec![format!("{stranded} calls that nobody was making")] };
    checks.push(Check::none_of("nothing live was stranded (TX-4)", "the engine's own counter is 0", &found));
    checks
}

/// Ends the engine and then the stand, so that the ledger is whole.
pub(crate) async fn clean_stop(stage: &mut Stage) -> Result<Check, String> {
    let stopped = stage.stop_engine().await;
    stage.stop_stand().await?;
    let detail = stopped.clone().err().unwrap_or_else(|| "SIGTERM, exit code 0".to_owned());
    Ok(Check { name: "the engine stopped cleanly", passed: stopped.is_ok(), detail })
}

/// The stand's audit of its ledger file.
pub(crate) fn effects(
    ledger: &Path,
    roll: &[Line],
    by_hand: &BTreeMap<String, BTreeSet<String>>,
) -> Result<(Report, Check), String> {
    let stories: Vec<_> = roll.iter().map(|line| roll::story(line, by_hand)).collect();
    let report = stand::audit::audit(ledger, stories).map_err(|why| why.to_string())?;
    let all: u64 = report.violations_count.values().sum();
    let shown = report.violations.iter().take(5);
    let broken: Vec<String> =
        shown.map(|v| format!("{} {} {} {} {}", v.rule.as_str(), v.tx, v.system, v.step, v.detail)).collect();
    let detail = match all {
        0 if report.is_empty() => "nothing was compared, so nothing is proven".to_owned(),
        0 => format!(
            "{} effects, {} undos, {} steps",
            report.counted.effects, report.counted.undoes, report.counted.steps
        ),
        _ => format!("{all} found: {}", broken.join("; ")),
    };
    let check = Check { name: "every effect kept or undone (TX-2, TX-3)", passed: report.passed(), detail };
    Ok((report, check))
}
