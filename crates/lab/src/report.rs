//! What all runs say together: means over seeds, intervals, ranks, calls against the base, and every cell that we
//! lose. As JSON, and as text.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::arms::{BASE, ORACLE, OURS};
use crate::scenario::{Mix, Set};
use crate::score::{Curves, Figures, Score, mean};
use crate::stats::{self, Interval};
use crate::suite::{ArmRuns, ScenarioRuns};

/// Goodput that differs by less is the same, where ranks are given; so are calls and p99 by less than these shares.
const SAME_GOODPUT: f64 = 0.01;
const SAME_CALLS: f64 = 0.02;
const SAME_P99: f64 = 0.1;
/// A cell is lost if the other has this much more goodput, and the interval of the difference says so too.
const LOST: f64 = 0.01;

/// One arm in one scenario, over all seeds.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Cell {
    pub arm: String,
    #[serde(flatten)]
    pub figures: Figures,
    /// The median over seeds, where never is the longest; `None` if that is never.
    pub recovered_s: Option<f64>,
    /// Share of seeds in which it recovered within 60 s; `None` without a trigger.
    pub recovered_in_60s: Option<f64>,
    /// 1 − calls of this arm over calls of the base, from the trigger until nothing is left to do.
    pub r_calls: Option<f64>,
    /// The same for each commit in time of all that count.
    pub r_calls_per_commit: Option<f64>,
    /// Runs that were stopped because they made too many events: their figures are of what came before.
    pub cut_short: usize,
    /// Logarithm of this arm's goodput over ours, paired by seed: mean and 95 % interval.
    pub goodput_vs_ours: Option<[f64; 3]>,
    pub rank: Option<f64>,
    #[serde(skip)]
    pub curves: Curves,
}

#[derive(Clone, PartialEq, Debug)]
pub struct ScenarioReport {
    pub name: String,
    pub about: String,
    pub set: Set,
    pub mix: Mix,
    pub is_metastable: bool,
    pub trigger: Option<(f64, f64)>,
    pub cells: Vec<Cell>,
}

/// Ours against one other over all scenarios.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Duel {
    pub arm: String,
    /// Scenarios in which our goodput is higher, the same within 1 %, lower.
    pub won: usize,
    pub even: usize,
    pub lost: usize,
    /// Mean of the logarithm of our goodput over theirs, over scenarios.
    pub log_ratio: f64,
    /// Wilcoxon signed-rank over scenarios, corrected by Holm for all arms.
    pub p: f64,
}

/// A cell in which another arm has more goodput than ours.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Loss {
    pub scenario: String,
    pub arm: String,
    pub ours: f64,
    pub theirs: f64,
    /// Whether the interval of the difference leaves out zero.
    pub is_certain: bool,
}

/// Calls of one mix of scenarios against the base.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Calls {
    pub mix: &'static str,
    pub arm: String,
    /// 1 − calls over the base's, each scenario's calls added up.
    pub r_calls: f64,
    /// The same for each commit in time.
    pub r_calls_per_commit: f64,
    /// In-time commits over the base's, added up likewise.
    pub goodput_over_base: f64,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Report {
    pub seeds: usize,
    pub scenarios: Vec<ScenarioReport>,
    pub mean_rank: BTreeMap<String, f64>,
    pub duels: Vec<Duel>,
    pub losses: Vec<Loss>,
    pub calls: Vec<Calls>,
}

/// Less than a thousandth of the oracle counts as that: a logarithm needs something.
fn log_ratio(a: f64, b: f64) -> f64 {
    (a.max(1e-3) / b.max(1e-3)).ln()
}

/// Calls for each commit in time, over all seeds.
fn per_commit(runs: &ArmRuns) -> Option<f64> {
    let commits = mean(&runs.scores, |s| s.figures.goodput_per_s);
    (commits > 0.0).then(|| mean(&runs.scores, |s| s.figures.calls_from_trigger) / commits)
}

impl Cell {
    fn of(runs: &ArmRuns, ours: Option<&ArmRuns>, base: Option<&ArmRuns>, can_recover: bool) -> Self {
        let scores = &runs.scores;
        let mut recovered: Vec<f64> = scores.iter().map(|s| s.recovered_s.unwrap_or(f64::INFINITY)).collect();
        recovered.sort_by(f64::total_cmp);
        let median = recovered.get(recovered.len() / 2).copied().filter(|s| s.is_finite());
        let quick = recovered.iter().filter(|s| **s <= 60.0).count() as f64 / recovered.len().max(1) as f64;
        let versus = ours.filter(|_| runs.arm.name != OURS).and_then(|ours| {
            let pairs = scores.iter().zip(&ours.scores);
            let logs: Vec<f64> =
                pairs.map(|(a, b)| log_ratio(a.figures.goodput_over_oracle, b.figures.goodput_over_oracle)).collect();
            stats::bootstrap(&logs).map(|Interval { mean, low, high }| [mean, low, high])
        });
        let calls = mean(scores, |s| s.figures.calls_from_trigger);
        let base_calls = base.map(|base| mean(&base.scores, |s| s.figures.calls_from_trigger));
        Self {
            arm: runs.arm.name.clone(),
            figures: Figures::mean_of(scores),
            recovered_s: median.filter(|_| can_recover),
            recovered_in_60s: can_recover.then_some(quick),
            r_calls: base_calls.filter(|b| *b > 0.0).map(|base| 1.0 - calls / base),
            r_calls_per_commit: base
                .and_then(|base| per_commit(base).zip(per_commit(runs)))
                .map(|(base, own)| 1.0 - own / base),
            cut_short: scores.iter().filter(|s| s.is_cut_short).count(),
            goodput_vs_ours: versus,
            rank: None,
            curves: runs.curves.clone(),
        }
    }

    /// Smaller is better: goodput first; where that is the same calls, and where they are the same p99.
    fn standing(&self) -> f64 {
        let step = |value: f64, of: f64| (value / of).round();
        let goodput = step(self.figures.goodput_over_oracle.min(1.2), SAME_GOODPUT);
        let calls = step(self.figures.calls_per_commit.unwrap_or(1e6).max(1e-3).ln(), SAME_CALLS).clamp(-1e3, 1e3);
        let p99 = step(self.figures.p99_ms.unwrap_or(1e9).max(1e-3).ln(), SAME_P99).clamp(-1e3, 1e3);
        -goodput * 1e8 + calls * 1e4 + p99
    }
}

impl Report {
    pub fn of(all: &[ScenarioRuns]) -> Self {
        let mut scenarios: Vec<ScenarioReport> = all.iter().map(scenario).collect();
        let mut ranked: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for report in &mut scenarios {
            let rivals: Vec<usize> = (0..report.cells.len()).filter(|n| report.cells[*n].arm != ORACLE).collect();
            let standings: Vec<f64> = rivals.iter().map(|n| report.cells[*n].standing()).collect();
            for (n, rank) in rivals.iter().zip(stats::ranks(&standings)) {
                report.cells[*n].rank = Some(rank);
                ranked.entry(report.cells[*n].arm.clone()).or_default().push(rank);
            }
        }
        let mean_rank = ranked.into_iter().map(|(arm, r)| (arm, r.iter().sum::<f64>() / r.len() as f64)).collect();
        Self {
            seeds: all.first().and_then(|s| s.arms.first()).map_or(0, |a| a.scores.len()),
            duels: duels(&scenarios),
            losses: losses(&scenarios),
            calls: calls(all),
            scenarios,
            mean_rank,
        }
    }

    pub fn to_json(&self) -> Value {
        let scenarios: Vec<Value> = self
            .scenarios
            .iter()
            .map(|s| {
                json!({
                    "name": s.name,
                    "about": s.about,
                    "set": if s.set == Set::Training { "training" } else { "held-out" },
                    "mix": mix_name(s.mix),
                    "metastable": s.is_metastable,
                    "arms": s.cells,
                })
            })
            .collect();
        let rank: Map<String, Value> = self.mean_rank.iter().map(|(arm, rank)| (arm.clone(), json!(rank))).collect();
        json!({
            "scenarios": scenarios,
            "mean_rank": rank,
            "seeds": self.seeds,
            "duels": self.duels,
            "losses": self.losses,
            "calls": self.calls,
        })
    }

    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let number = |n: Option<f64>, digits: usize| n.map_or_else(|| "-".into(), |n| format!("{n:.digits$}"));
        for scenario in &self.scenarios {
            let _ = writeln!(
                text,
                "{} ({}, {}): {}",
                scenario.name,
                set_name(scenario.set),
                mix_name(scenario.mix),
                scenario.about
            );
            let _ = writeln!(
                text,
                "  {:18}{:>9}{:>9}{:>9}{:>9}{:>8}{:>8}{:>8}{:>8}{:>8}{:>7}",
                "arm",
                "goodput",
                "settled",
                "p50 ms",
                "p99 ms",
                "if/L*",
                "calls/c",
                "R calls",
                "waste",
                "back s",
                "rank"
            );
            for cell in &scenario.cells {
                let _ = writeln!(
                    text,
                    "  {:18}{:>9.3}{:>9.3}{:>9}{:>9}{:>8}{:>8}{:>8}{:>8.2}{:>8}{:>7}",
                    cell.arm,
                    cell.figures.goodput_over_oracle,
                    cell.figures.settled_over_oracle,
                    number(cell.figures.p50_ms, 0),
                    number(cell.figures.p99_ms, 0),
                    number(cell.figures.inflight_over_knee, 2),
                    number(cell.figures.calls_per_commit, 2),
                    number(cell.r_calls, 2),
                    cell.figures.waste_share,
                    number(cell.recovered_s, 0),
                    number(cell.rank, 1),
                );
                if cell.cut_short > 0 {
                    let _ = writeln!(
                        text,
                        "    {} runs of {} made too many events and were stopped",
                        cell.cut_short, cell.arm
                    );
                }
            }
            text.push('\n');
        }
        let mut ranks: Vec<(&String, &f64)> = self.mean_rank.iter().collect();
        ranks.sort_by(|a, b| a.1.total_cmp(b.1));
        let _ = writeln!(text, "mean rank over {} scenarios, {} seeds", self.scenarios.len(), self.seeds);
        for (arm, rank) in ranks {
            let duel = self.duels.iter().find(|d| d.arm == *arm);
            let against = duel.map_or(String::new(), |d| {
                format!("  against ours: {} won by us, {} even, {} lost; p = {:.3}", d.won, d.even, d.lost, d.p)
            });
            let _ = writeln!(text, "  {arm:18}{rank:6.2}{against}");
        }
        for calls in &self.calls {
            let _ = writeln!(
                text,
                "calls, {} mix, {:18} {:5.1} % fewer than {BASE}, {:5.1} % fewer for each commit, goodput {:.3} of its",
                calls.mix,
                calls.arm,
                calls.r_calls * 100.0,
                calls.r_calls_per_commit * 100.0,
                calls.goodput_over_base
            );
        }
        if !self.losses.is_empty() {
            let _ = writeln!(text, "cells that we lose:");
        }
        for loss in &self.losses {
            let sure = if loss.is_certain { "" } else { " (within noise)" };
            let _ = writeln!(
                text,
                "  {:22}{:18}{:.3} against {:.3}{sure}",
                loss.scenario, loss.arm, loss.ours, loss.theirs
            );
        }
        text
    }
}

pub(crate) fn set_name(set: Set) -> &'static str {
    if set == Set::Training { "training" } else { "held-out" }
}

pub(crate) fn mix_name(mix: Mix) -> &'static str {
    if mix == Mix::Healthy { "healthy" } else { "stress" }
}

fn scenario(runs: &ScenarioRuns) -> ScenarioReport {
    let by_name = |name: &str| runs.arms.iter().find(|a| a.arm.name == name);
    let (ours, base) = (by_name(OURS), by_name(BASE));
    let spec = &runs.scenario;
    // A trigger that lasts to the end leaves nothing to recover in.
    let can_recover = spec.trigger.is_some_and(|(_, to)| to < spec.duration_s);
    ScenarioReport {
        name: spec.name.clone(),
        about: spec.about.clone(),
        set: spec.set,
        mix: spec.mix,
        is_metastable: spec.is_metastable,
        trigger: spec.trigger,
        cells: runs.arms.iter().map(|arm| Cell::of(arm, ours, base, can_recover)).collect(),
    }
}

fn duels(scenarios: &[ScenarioReport]) -> Vec<Duel> {
    let Some(first) = scenarios.first() else { return Vec::new() };
    let rivals = first.cells.iter().map(|c| c.arm.as_str()).filter(|arm| *arm != OURS && *arm != ORACLE);
    let mut duels: Vec<Duel> = rivals
        .filter_map(|arm| {
            // Their goodput over ours, by scenario.
            let logs: Option<Vec<f64>> = scenarios
                .iter()
                .map(|s| s.cells.iter().find(|c| c.arm == arm).and_then(|c| c.goodput_vs_ours).map(|v| -v[0]))
                .collect();
            let logs = logs?;
            let beyond = |sign: f64| logs.iter().filter(|l| sign * **l > LOST).count();
            let (won, lost) = (beyond(1.0), beyond(-1.0));
            Some(Duel {
                arm: arm.to_owned(),
                won,
                lost,
                even: logs.len() - won - lost,
                log_ratio: logs.iter().sum::<f64>() / logs.len() as f64,
                p: stats::signed_rank(&logs),
            })
        })
        .collect();
    let held = stats::holm(&duels.iter().map(|d| d.p).collect::<Vec<_>>());
    duels.iter_mut().zip(held).for_each(|(duel, p)| duel.p = p);
    duels
}

fn losses(scenarios: &[ScenarioReport]) -> Vec<Loss> {
    let mut losses = Vec::new();
    for scenario in scenarios {
        let Some(ours) = scenario.cells.iter().find(|c| c.arm == OURS) else { continue };
        for cell in scenario.cells.iter().filter(|c| c.arm != OURS && c.arm != ORACLE) {
            if cell.figures.goodput_over_oracle > ours.figures.goodput_over_oracle * (1.0 + LOST) {
                losses.push(Loss {
                    scenario: scenario.name.clone(),
                    arm: cell.arm.clone(),
                    ours: ours.figures.goodput_over_oracle,
                    theirs: cell.figures.goodput_over_oracle,
                    is_certain: cell.goodput_vs_ours.is_some_and(|v| v[1] > 0.0),
                });
            }
        }
    }
    losses
}

fn calls(all: &[ScenarioRuns]) -> Vec<Calls> {
    let mut found = Vec::new();
    for mix in [Mix::Stress, Mix::Healthy] {
        let of_mix: Vec<&ScenarioRuns> = all.iter().filter(|s| s.scenario.mix == mix).collect();
        let sum = |arm: &str, of: &dyn Fn(&Score) -> f64| -> f64 {
            let runs = of_mix.iter().filter_map(|s| s.arms.iter().find(|a| a.arm.name == arm));
            runs.map(|a| mean(&a.scores, of)).sum()
        };
        let base_calls = sum(BASE, &|s| s.figures.calls_from_trigger);
        let base_commits = sum(BASE, &|s| s.figures.goodput_per_s);
        if base_calls <= 0.0 {
            continue;
        }
        let Some(first) = of_mix.first() else { continue };
        for arm in first.arms.iter().filter(|a| a.arm.name != BASE) {
            let name = &arm.arm.name;
            let calls = sum(name, &|s| s.figures.calls_from_trigger) / base_calls;
            let goodput = sum(name, &|s| s.figures.goodput_per_s) / base_commits.max(1e-9);
            found.push(Calls {
                mix: mix_name(mix),
                arm: name.clone(),
                r_calls: 1.0 - calls,
                r_calls_per_commit: 1.0 - calls / goodput.max(1e-9),
                goodput_over_base: goodput,
            });
        }
    }
    found
}
