//! Scenarios × arms × seeds, on all cores, in an order that no thread can change.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::arms::{self, ArmSpec, ORACLE};
use crate::dist;
use crate::scenario::Scenario;
use crate::score::{Curves, Score};
use crate::world;

/// All runs of one scenario.
#[derive(Clone, PartialEq, Debug)]
pub struct ScenarioRuns {
    pub scenario: Scenario,
    pub arms: Vec<ArmRuns>,
}

/// One arm in one scenario.
#[derive(Clone, PartialEq, Debug)]
pub struct ArmRuns {
    pub arm: ArmSpec,
    /// By seed, in the order of the seeds.
    pub scores: Vec<Score>,
    /// Of the first seed.
    pub curves: Curves,
}

/// What each arm did on one day, in the order of the arms; curves only of the first day.
type Day = Vec<(Score, Option<Curves>)>;

/// Runs everything. Equal arguments give equal results, whatever `threads` is.
pub fn run(
    scenarios: &[Scenario],
    specs: &[ArmSpec],
    seeds: &[u64],
    threads: usize,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Vec<ScenarioRuns> {
    let items: Vec<(usize, usize)> = (0..scenarios.len()).flat_map(|s| (0..seeds.len()).map(move |n| (s, n))).collect();
    let next = AtomicUsize::new(0);
    let done = Mutex::new(0);
    let results: Vec<Mutex<Day>> = items.iter().map(|_| Mutex::new(Vec::new())).collect();
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, items.len().max(1)) {
            scope.spawn(|| {
                while let Some((at, (scenario, seed))) = take(&next, &items) {
                    let scores = day(&scenarios[scenario], specs, seeds[seed], seed == 0);
                    *locked(&results[at]) = scores;
                    let mut done = locked(&done);
                    *done += 1;
                    progress(*done, items.len());
                }
            });
        }
    });
    let mut results = results.into_iter().map(|r| r.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner));
    let mut all = Vec::new();
    for scenario in scenarios {
        let mut runs: Vec<ArmRuns> = specs
            .iter()
            .map(|arm| ArmRuns { arm: arm.clone(), scores: Vec::new(), curves: Curves::default() })
            .collect();
        for day in results.by_ref().take(seeds.len()) {
            for (run, (score, curves)) in runs.iter_mut().zip(day) {
                run.scores.push(score);
                if let Some(curves) = curves {
                    run.curves = curves;
                }
            }
        }
        all.push(ScenarioRuns { scenario: scenario.clone(), arms: runs });
    }
    all
}

fn take(next: &AtomicUsize, items: &[(usize, usize)]) -> Option<(usize, (usize, usize))> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    items.get(at).map(|item| (at, *item))
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// One scenario with one seed: the same arrivals for all arms, the oracle first.
fn day(scenario: &Scenario, specs: &[ArmSpec], seed: u64, with_curves: bool) -> Day {
    let arrivals = dist::arrivals(scenario, seed);
    let knows = ArmSpec { name: ORACLE.into(), settings: crate::arm::Settings::default() };
    let one = |spec: &ArmSpec| world::run(scenario, &arrivals, seed, &|setup| arms::make(spec, setup));
    let oracle = one(&knows);
    specs
        .iter()
        .map(|spec| {
            let mut tally = one(spec);
            let score = Score::of(scenario, &mut tally, &oracle);
            (score, with_curves.then(|| Curves::of(scenario, &tally, &oracle)))
        })
        .collect()
}
