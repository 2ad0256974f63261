//! Whether ours is still itself: a quick set, and mutants that must not pass for it.
//!
//! The scenarios are small and of this file alone, so that a debug build runs them in seconds; the published
//! figures come from `scenarios/`.

use crate::arms::{self, OURS};
use crate::scenario::{self, Scenario};
use crate::score::{Figures, Score};
use crate::suite;

const SEEDS: [u64; 2] = [1, 2];

fn read(name: &str, head: &str, participant: &str, arrivals: &str) -> Scenario {
    read_step(name, head, participant, arrivals, "{ call = \"p\" }")
}

fn read_step(name: &str, head: &str, participant: &str, arrivals: &str, step: &str) -> Scenario {
    let text = format!(
        "name = \"{name}\"\nmeasure_from_s = 15\n{head}\n[participants.p]\nservice_ms = 100\nnetwork_ms = 4\n{participant}\n\
         [definitions.d]\nsteps = [{step}]\n[arrivals]\n{arrivals}\n"
    );
    let none = |name: &str| Err(format!("no {name} here"));
    scenario::read(name, &text, &none)
        .unwrap_or_else(|all| panic!("{}", all.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")))
}

/// Each asks something else of a limit: to grow, to shrink, not to be as large as it may, not to trust luck; and the
/// last, not to be needed.
fn quick() -> Vec<Scenario> {
    vec![
        read(
            "grow",
            "duration_s = 75\ndeadline_s = 5",
            "workers = 24\ntimeout_ms = 2000\ninitial_limit = 4",
            "load = 0.8",
        ),
        read(
            "shrink",
            "duration_s = 90\ndeadline_s = 5\ntrigger_s = [30, 60]",
            "workers = 20\ntimeout_ms = 1000\ninitial_limit = 60\ngc = 0.05\nchanges = [{ at_s = 30, capacity = 0.4 }, { at_s = 60, capacity = 1.0 }]",
            "load = 0.7",
        ),
        read(
            "stuck",
            "duration_s = 90\ndeadline_s = 5\ntrigger_s = [30, 50]",
            "workers = 20\ntimeout_ms = 400\ninitial_limit = 60\nchanges = [{ at_s = 30, capacity = 0.05 }, { at_s = 50, capacity = 1.0 }]",
            "load = 0.7",
        ),
        read(
            "collapse",
            "duration_s = 90\ndeadline_s = 8\ntrigger_s = [30, 40]",
            "workers = 1000\ndiscipline = \"sharing\"\nusl_sigma = 0.02\nusl_kappa = 0.0012\ntimeout_ms = 1500\ninitial_limit = 150",
            "load = 0.75\nchanges = [{ at_s = 30, load = 1.8 }, { at_s = 40, load = 0.75 }]",
        ),
        equal_reads(),
    ]
}

/// More than can be answered, unless equal reads share their answers.
fn equal_reads() -> Scenario {
    read_step(
        "reads",
        "duration_s = 75\ndeadline_s = 2",
        "workers = 20\ntimeout_ms = 1000\nshare_for_s = 2",
        "load = 1.5",
        "{ call = \"p\", keys = { count = 2000, zipf = 1.0 } }",
    )
}

/// What a memo can answer is known in closed form: of a key with the share p of λ reads a second, one in 1 + λpT is a
/// call. Joining what is under way makes it no more than that.
#[test]
fn equal_reads_make_as_few_calls_as_the_formula_says() {
    let specs = arms::chosen(&[OURS, "mutant-alone"].map(str::to_owned)).unwrap_or_else(|e| panic!("{e}"));
    let runs = suite::run(&[equal_reads()], &specs, &[1, 2, 3, 4], 2, &|_, _| {});
    let calls = |arm: usize| Figures::mean_of(&runs[0].arms[arm].scores).calls_per_commit.unwrap_or(0.0);
    let (rate, age) = (1.5 * 200.0, 2.0);
    let harmonic: f64 = (1..=2_000).map(|rank| 1.0 / f64::from(rank)).sum();
    let share = |rank: i32| 1.0 / f64::from(rank) / harmonic;
    let expected: f64 = (1..=2_000).map(|rank| share(rank) / (1.0 + rate * share(rank) * age)).sum();
    let (ours, alone) = (calls(0), calls(1));
    assert!((ours / expected - 1.0).abs() < 0.03, "{ours:.3} calls for each commit, {expected:.3} by the formula");
    assert!(alone > 0.99, "{alone:.3} without sharing");
}

fn mean(scores: &[Score]) -> f64 {
    scores.iter().map(|s| s.figures.goodput_over_oracle).sum::<f64>() / scores.len() as f64
}

#[test]
fn ours_holds_and_no_mutant_does() {
    let names: Vec<String> = [OURS, "mutants"].map(str::to_owned).to_vec();
    let specs = arms::chosen(&names).unwrap_or_else(|e| panic!("{e}"));
    let runs = suite::run(&quick(), &specs, &SEEDS, 2, &|_, _| {});
    let by_arm: Vec<(&str, Vec<f64>)> = (0..specs.len())
        .map(|n| (specs[n].name.as_str(), runs.iter().map(|scenario| mean(&scenario.arms[n].scores)).collect()))
        .collect();
    let (_, ours) = &by_arm[0];
    assert!(ours.iter().zip(OURS_AT_LEAST).all(|(reached, least)| *reached >= least), "ours: {by_arm:?}");
    for (name, theirs) in &by_arm[1..] {
        let behind = ours.iter().zip(theirs).map(|(o, t)| o - t).fold(0.0, f64::max);
        assert!(behind > MUTANT_BEHIND, "{name} passes for ours: {by_arm:?}");
    }
}

/// Without the dither a falling capacity is followed late: what is not moved cannot be measured.
#[test]
fn without_the_dither_the_queue_over_there_is_longer() {
    let drift = read(
        "drift",
        "duration_s = 110\ndeadline_s = 5\ntrigger_s = [20, 100]",
        "workers = 20\ntimeout_ms = 1500\ninitial_limit = 20\nchanges = [{ at_s = 20, over_s = 50, capacity = 0.35 }, { at_s = 70, over_s = 30, capacity = 1.0 }]",
        "load = 0.95",
    );
    let specs = arms::chosen(&[OURS, "mutant-still"].map(str::to_owned)).unwrap_or_else(|e| panic!("{e}"));
    let runs = suite::run(&[drift], &specs, &[1, 2, 3, 4], 2, &|_, _| {});
    let knees = |arm: usize| {
        let scores = &runs[0].arms[arm].scores;
        Figures::mean_of(scores).inflight_over_knee.unwrap_or(0.0)
    };
    let (ours, still) = (knees(0), knees(1));
    assert!(still > 1.15 * ours, "in flight over the knee: {ours:.2}, and {still:.2} without the dither");
}

/// What ours reaches of the oracle in each of them, with something to spare.
const OURS_AT_LEAST: [f64; 5] = [0.97, 0.85, 0.9, 0.95, 0.99];
/// How far every mutant falls behind in one of them.
const MUTANT_BEHIND: f64 = 0.1;
