//! What a drill says at its end: for people, and the same as data.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

use serde::Serialize;
use stand::audit::Counted;

use crate::demo;
use crate::demo::roll::Check;

use super::blow::{Blow, Fates};
use super::load::Load;
use super::verdict::Verdict;

#[derive(Clone, Debug, Serialize)]
pub(super) struct Told {
    seed: u64,
    took_s: f64,
    /// How often the engine was killed while it was ready.
    kills: u64,
    /// Besides, one that was not ready yet.
    kills_while_starting: u64,
    /// Blows by kind.
    blows: BTreeMap<&'static str, u64>,
    /// Data directories that the doctor looked at between a kill and the next start.
    examined: u64,
    acknowledged: u64,
    unanswered: u64,
    known_already: u64,
    repeats_replayed: u64,
    needed_a_person: u64,
    /// From the start of a process until it took work, over all restarts.
    ready_again_ms_median: Option<u64>,
    ready_again_ms_p99: Option<u64>,
    ready_again_ms_max: Option<u64>,
    outcomes: BTreeMap<String, u64>,
    audited: Counted,
    checks: Vec<Check>,
    pub(super) passed: bool,
}

impl Told {
    pub(super) fn new(seed: u64, begun: Instant, load: &Load, mut fates: Fates, verdict: Verdict) -> Self {
        fates.ready_again.sort();
        let ready = |part| demo::quantile_ms(&fates.ready_again, part);
        let (kills, starting, torn) =
            (fates.count(Blow::Kill), fates.count(Blow::KillStarting), fates.count(Blow::TornTail));
        let mut checks = verdict.checks;
        checks.extend(fates.check());
        let met = &load.crowd.met;
        Self {
            seed,
            took_s: begun.elapsed().as_secs_f64(),
            kills: kills + starting + torn,
            kills_while_starting: starting,
            ready_again_ms_median: ready(0.5),
            ready_again_ms_p99: ready(0.99),
            ready_again_ms_max: ready(1.0),
            blows: fates.struck,
            examined: fates.examined,
            acknowledged: load.crowd.acknowledged_count(),
            unanswered: met.unanswered.get(),
            known_already: met.known_already.get(),
            repeats_replayed: met.repeats.get(),
            needed_a_person: load.operator.seen(),
            outcomes: verdict.outcomes,
            audited: verdict.audited,
            passed: checks.iter().all(|check| check.passed),
            checks,
        }
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |took: Option<u64>| took.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"));
        let blows: Vec<String> = self.blows.iter().map(|(kind, n)| format!("{n} {}", kind.replace('_', " "))).collect();
        writeln!(f, "blows       {}", blows.join(", "))?;
        writeln!(f, "kills       {} under load, {} more while it was starting", self.kills, self.kills_while_starting)?;
        writeln!(
            f,
            "ready again after {} in the median, {} at p99, {} at most",
            ms(self.ready_again_ms_median),
            ms(self.ready_again_ms_p99),
            ms(self.ready_again_ms_max)
        )?;
        writeln!(
            f,
            "clients     {} acknowledged; {} tries without an answer, all repeated; {} had arrived the first time",
            self.acknowledged, self.unanswered, self.known_already
        )?;
        let outcomes: Vec<String> = self.outcomes.iter().map(|(name, count)| format!("{count} {name}")).collect();
        writeln!(f, "outcomes    {}; {} needed a person", outcomes.join(", "), self.needed_a_person)?;
        let a = &self.audited;
        writeln!(
            f,
            "audit       {} effects, {} undos, {} repeats in {} rows\n",
            a.effects, a.undoes, a.repeats, a.rows
        )?;
        for check in &self.checks {
            writeln!(f, "{:<8}{}: {}", if check.passed { "ok" } else { "FAILED" }, check.name, check.detail)?;
        }
        write!(f, "\n{} in {:.1} s with seed {}", if self.passed { "passed" } else { "FAILED" }, self.took_s, self.seed)
    }
}
