//! The end of every drill: all must have ended, and everything is compared with everything.
//!
//! Promises against the engine's list, the engine's list against the systems' ledger, the data directory against
//! itself (`tidegate doctor`). A check that compared nothing has not passed.

use std::collections::BTreeMap;

use runtime::doctor::{Report, Severity, examine};
use stand::audit::Counted;

use crate::demo::roll::{self, Check};
use crate::demo::stage::Stage;
use crate::demo::{judge, stranded};

use super::load::Load;

/// Findings of the doctor that are told.
const TOLD_MAX: usize = 5;

/// What the comparison came to.
pub(super) struct Verdict {
    pub(super) checks: Vec<Check>,
    /// Transactions by outcome, those aborted by their reason.
    pub(super) outcomes: BTreeMap<String, u64>,
    pub(super) audited: Counted,
}

/// Ends everything, compares everything. `stranded_before`: the engine's own TX-4 counter of earlier lives, added up.
pub(super) async fn reach(stage: &mut Stage, load: &Load, stranded_before: u64) -> Result<Verdict, String> {
    load.until_all_ended(stage).await?;
    load.repeat_some().await;
    let roll = roll::read(&load.crowd.asker).await?;
    let by_hand = load.operator.by_hand(&load.crowd.asker).await?;
    let mut checks = judge::promises(&load.crowd, &roll, stranded_before + stranded(&load.crowd.asker).await?);
    checks.push(judge::clean_stop(stage).await?);
    let (report, check) = judge::effects(&stage.ledger(), &roll, &by_hand)?;
    checks.push(check);
    checks.push(data_is_well("the doctor finds the stopped data well (JR-1, JR-2)", &doctor(stage)?));
    let mut outcomes: BTreeMap<String, u64> = BTreeMap::new();
    for line in &roll {
        let outcome = line.reason.as_ref().or(line.outcome.as_ref());
        *outcomes.entry(outcome.cloned().unwrap_or_else(|| "none".to_owned())).or_default() += 1;
    }
    Ok(Verdict { checks, outcomes, audited: report.counted })
}

/// Examines the data of an engine that does not run.
pub(super) fn doctor(stage: &Stage) -> Result<Report, String> {
    examine(&stage.data(), runtime::doctor::Settings::default(), &mut |_| {}).map_err(|why| why.to_string())
}

pub(super) fn data_is_well(name: &'static str, report: &Report) -> Check {
    let told = |f: &runtime::doctor::Finding| format!("{} at {}: {}", f.check, f.place, f.what);
    let mut wrong: Vec<String> =
        report.findings.iter().filter(|f| f.severity == Severity::Wrong).map(told).take(TOLD_MAX).collect();
    wrong.extend(report.checks.iter().filter_map(|c| c.not_done.as_ref().map(|why| format!("{}: {why}", c.name))));
    if wrong.is_empty() && !report.is_well() {
        wrong.push("not well, without a finding".to_owned());
    }
    let looked_at: u64 = report.checks.iter().flat_map(|c| c.looked_at.iter().map(|(_, n)| n)).sum();
    Check::none_of(name, &format!("{} checks over {looked_at} things", report.checks.len()), &wrong)
}
