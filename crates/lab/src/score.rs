//! From what one run counted to figures: what an arm reached, beside what the oracle reached on the same day.

use serde::Serialize;

use crate::scenario::Scenario;
use crate::tally::{Sample, Tally};
use crate::world::SAMPLE_US;

/// What a change is given to settle, where a figure is for the settled state.
const SETTLE_S: f64 = 15.0;
/// Throughput is regained if so much of the oracle's is there over two windows of this many seconds.
const REGAINED: f64 = 0.95;
const REGAIN_WINDOW_S: usize = 5;

/// What one run reached, or several of them on average.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Figures {
    /// Commits in time of those who arrived in the measured span, over the oracle's.
    pub goodput_over_oracle: f64,
    /// The same without the 15 s after each change.
    pub settled_over_oracle: f64,
    /// Commits in time per second of the measured span.
    pub goodput_per_s: f64,
    /// From arrival to commit. `None` without commits.
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    pub p999_ms: Option<f64>,
    /// Median in the settled state, of the participant where it is greatest.
    pub inflight_over_knee: Option<f64>,
    /// The most calls that waited or ran inside a participant at once.
    pub inside_max: f64,
    /// All external calls of measured transactions, for each commit in time. `None` without commits.
    pub calls_per_commit: Option<f64>,
    pub busy_s_per_commit: Option<f64>,
    /// All external calls from the trigger until nothing is left to do.
    pub calls_from_trigger: f64,
    pub peak_calls_per_s: f64,
    /// Of all measured calls, those that no commit in time needed.
    pub waste_share: f64,
    pub compensations: f64,
    pub late: f64,
    pub unfinished: f64,
    pub timeouts: f64,
    pub not_taken: f64,
    /// Jain's index of in-time shares over definitions and labels.
    pub jain: Option<f64>,
    /// The same of calls in flight over nodes.
    pub jain_nodes: Option<f64>,
    /// The longest, in windows, until in flight was within 1.5 times a knee that had fallen.
    pub settle_windows: Option<f64>,
}

/// One arm in one scenario with one seed.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Score {
    #[serde(flatten)]
    pub figures: Figures,
    /// Seconds from the trigger's end until throughput is back; `None` if never, or if there is no trigger.
    pub recovered_s: Option<f64>,
    pub events: u64,
    /// The run made more events than a run may.
    pub is_cut_short: bool,
}

/// Curves of one run, coarse enough to draw.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Curves {
    /// Seconds between points.
    pub every_s: f64,
    /// Commits in time per second over the oracle's; smoothed.
    pub goodput_over_oracle: Vec<Option<f64>>,
    /// Of the tightest participant.
    pub inflight_over_knee: Vec<Option<f64>>,
    pub calls_per_s: Vec<f64>,
}

impl Figures {
    /// The mean of each over all runs; of what not every run has, over those that have it.
    pub(crate) fn mean_of(scores: &[Score]) -> Self {
        let mean = |of: fn(&Figures) -> f64| mean(scores, |s| of(&s.figures));
        let known = |of: fn(&Figures) -> Option<f64>| {
            let known: Vec<f64> = scores.iter().filter_map(|s| of(&s.figures)).collect();
            (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
        };
        Self {
            goodput_over_oracle: mean(|f| f.goodput_over_oracle),
            settled_over_oracle: mean(|f| f.settled_over_oracle),
            goodput_per_s: mean(|f| f.goodput_per_s),
            p50_ms: known(|f| f.p50_ms),
            p99_ms: known(|f| f.p99_ms),
            p999_ms: known(|f| f.p999_ms),
            inflight_over_knee: known(|f| f.inflight_over_knee),
            inside_max: mean(|f| f.inside_max),
            calls_per_commit: known(|f| f.calls_per_commit),
            busy_s_per_commit: known(|f| f.busy_s_per_commit),
            calls_from_trigger: mean(|f| f.calls_from_trigger),
            peak_calls_per_s: mean(|f| f.peak_calls_per_s),
            waste_share: mean(|f| f.waste_share),
            compensations: mean(|f| f.compensations),
            late: mean(|f| f.late),
            unfinished: mean(|f| f.unfinished),
            timeouts: mean(|f| f.timeouts),
            not_taken: mean(|f| f.not_taken),
            jain: known(|f| f.jain),
            jain_nodes: known(|f| f.jain_nodes),
            settle_windows: known(|f| f.settle_windows),
        }
    }
}

pub(crate) fn mean(scores: &[Score], of: impl Fn(&Score) -> f64) -> f64 {
    scores.iter().map(of).sum::<f64>() / scores.len().max(1) as f64
}

impl Score {
    pub(crate) fn of(scenario: &Scenario, tally: &mut Tally, oracle: &Tally) -> Self {
        let span_s = scenario.duration_s - scenario.measure_from_s;
        let commits = tally.in_time as f64;
        let per_commit = |n: f64| (commits > 0.0).then(|| n / commits);
        tally.latencies_us.sort_unstable();
        let percentile = |p: f64| {
            let all = &tally.latencies_us;
            let at = ((all.len() as f64 * p).ceil() as usize).clamp(1, all.len().max(1)) - 1;
            all.get(at).map(|us| *us as f64 / 1e3)
        };
        let calm = Calm::of(scenario);
        let settled = |tally: &Tally| -> u64 {
            let each = tally.cohorts.iter().enumerate().filter(|(s, _)| calm.has(*s as f64));
            each.map(|(_, c)| u64::from(c.in_time)).sum()
        };
        let over = |own: f64, best: f64| if best > 0.0 { own / best } else { 1.0 };
        let mut peak: Vec<u32> = tally.calls_per_s.clone();
        peak.sort_unstable();
        let figures = Figures {
            goodput_over_oracle: over(commits, oracle.in_time as f64),
            settled_over_oracle: over(settled(tally) as f64, settled(oracle) as f64),
            goodput_per_s: commits / span_s.max(1e-9),
            p50_ms: percentile(0.5),
            p99_ms: percentile(0.99),
            p999_ms: percentile(0.999),
            inflight_over_knee: tally.samples.iter().filter_map(|s| median_over_knee(s, &calm)).reduce(f64::max),
            inside_max: tally.samples.iter().flatten().map(|s| f64::from(s.inside)).fold(0.0, f64::max),
            calls_per_commit: per_commit(tally.calls as f64),
            busy_s_per_commit: per_commit(tally.busy_s),
            calls_from_trigger: tally.calls_from_trigger as f64,
            peak_calls_per_s: peak
                .get((peak.len() * 99 / 100).min(peak.len().saturating_sub(1)))
                .map_or(0.0, |n| f64::from(*n)),
            waste_share: if tally.calls > 0 { 1.0 - tally.useful as f64 / tally.calls as f64 } else { 0.0 },
            compensations: tally.compensations as f64,
            late: tally.late as f64,
            unfinished: tally.unfinished as f64,
            timeouts: tally.timeouts as f64,
            not_taken: tally.not_taken as f64,
            jain: jain(tally.groups.iter().flatten().filter(|g| g.0 > 0).map(|g| g.1 as f64 / g.0 as f64)),
            jain_nodes: (tally.nodes_jain.1 > 0).then(|| tally.nodes_jain.0 / tally.nodes_jain.1 as f64),
            settle_windows: settle_windows(scenario, &tally.samples),
        };
        Self {
            figures,
            recovered_s: scenario.trigger.and_then(|(_, to)| recovered_s(scenario, tally, oracle, to)),
            events: tally.events,
            is_cut_short: tally.is_cut_short,
        }
    }
}

/// When nothing has changed of late.
struct Calm {
    from_s: f64,
    to_s: f64,
    changes: Vec<f64>,
}

impl Calm {
    fn of(scenario: &Scenario) -> Self {
        let mut changes = Vec::new();
        for change in scenario.participants.iter().flat_map(|p| &p.changes) {
            // On a slow line there is no moment of change: it is what has to be followed.
            changes.push(change.at_s);
        }
        changes.extend(scenario.arrivals.points.iter().skip(1).map(|p| p.at_s));
        changes.extend(scenario.arrivals.shares.iter().map(|s| s.0).filter(|at| *at > 0.0));
        changes.extend(scenario.nodes.iter().skip(1).map(|n| n.0));
        Self { from_s: scenario.measure_from_s, to_s: scenario.duration_s, changes }
    }

    fn has(&self, at_s: f64) -> bool {
        at_s >= self.from_s && at_s < self.to_s && !self.changes.iter().any(|c| at_s >= *c - 1.0 && at_s < c + SETTLE_S)
    }
}

fn sample_s(n: usize) -> f64 {
    n as f64 * SAMPLE_US as f64 / 1e6
}

fn median_over_knee(samples: &[Sample], calm: &Calm) -> Option<f64> {
    let calm = samples.iter().enumerate().filter(|(n, s)| s.knee > 0.0 && calm.has(sample_s(*n)));
    let mut ratios: Vec<f64> = calm.map(|(_, s)| f64::from(s.in_flight / s.knee)).collect();
    ratios.sort_by(f64::total_cmp);
    ratios.get(ratios.len() / 2).copied()
}

/// (Σx)² / (n Σx²): 1 if all are equal, 1/n if one has everything (Jain, Chiu, Hawe 1984).
fn jain(shares: impl Iterator<Item = f64>) -> Option<f64> {
    let (mut n, mut sum, mut squares) = (0.0, 0.0, 0.0);
    for share in shares {
        n += 1.0;
        sum += share;
        squares += share * share;
    }
    (n > 1.0 && squares > 0.0).then(|| sum * sum / squares / n)
}

fn recovered_s(scenario: &Scenario, tally: &Tally, oracle: &Tally, from_s: f64) -> Option<f64> {
    let within = |t: &Tally, from: usize| -> f64 {
        t.commits_per_s.iter().skip(from).take(REGAIN_WINDOW_S).map(|n| f64::from(*n)).sum()
    };
    let is_back = |from: usize| within(tally, from) >= REGAINED * within(oracle, from);
    let last = (scenario.duration_s as usize).saturating_sub(2 * REGAIN_WINDOW_S);
    let first = from_s.ceil() as usize;
    (first..=last.max(first)).find(|s| is_back(*s) && is_back(s + REGAIN_WINDOW_S)).map(|s| s as f64 - from_s)
}

/// How fast calls in flight follow a knee that falls by 30 % or more, in windows of 64 completions or two round
/// trips, whichever is longer (docs/load-manager.md).
fn settle_windows(scenario: &Scenario, participants: &[Vec<Sample>]) -> Option<f64> {
    let mut worst: Option<f64> = None;
    let last = (scenario.duration_s * 1e6 / SAMPLE_US as f64) as usize;
    for samples in participants {
        let samples = &samples[..samples.len().min(last)];
        for n in 1..samples.len() {
            let (before, now) = (samples[n - 1], samples[n]);
            let fell = now.knee > 0.0 && now.knee < 0.7 * before.knee && sample_s(n) > scenario.measure_from_s;
            if !fell {
                continue;
            }
            let is_within = |s: &Sample| s.in_flight <= 1.5 * s.knee + 1.0;
            let after = &samples[n..];
            let settled = after.windows(3).position(|three| three.iter().all(is_within)).unwrap_or(after.len());
            let window_s = f64::from(64.0 / now.mu.max(1e-3)).max(2.0 * f64::from(now.w0_s)).max(0.02);
            let windows = sample_s(settled) / window_s;
            worst = Some(worst.map_or(windows, |w| w.max(windows)));
        }
    }
    worst
}

impl Curves {
    pub(crate) fn of(scenario: &Scenario, tally: &Tally, oracle: &Tally) -> Self {
        const POINTS: usize = 120;
        let seconds =
            (tally.commits_per_s.len().max(oracle.commits_per_s.len()).max(scenario.duration_s as usize)).max(1);
        let step = seconds.div_ceil(POINTS);
        let sum = |v: &[u32], at: usize| v.iter().skip(at).take(step).map(|n| f64::from(*n)).sum::<f64>();
        let mut curves = Self { every_s: step as f64, ..Self::default() };
        for at in (0..seconds).step_by(step) {
            let best = sum(&oracle.commits_per_s, at);
            let own = sum(&tally.commits_per_s, at);
            curves.goodput_over_oracle.push((best > 0.0).then(|| own / best));
            curves.calls_per_s.push(sum(&tally.calls_per_s, at) / step as f64);
            let per_s = (1_000_000 / SAMPLE_US) as usize;
            let most = tally.samples.iter().filter_map(|s| {
                let part = s.iter().skip(at * per_s).take(step * per_s).filter(|s| s.knee > 0.0);
                let ratios: Vec<f64> = part.map(|s| f64::from(s.in_flight / s.knee)).collect();
                (!ratios.is_empty()).then(|| ratios.iter().sum::<f64>() / ratios.len() as f64)
            });
            curves.inflight_over_knee.push(most.reduce(f64::max));
        }
        curves
    }
}
