//! Planted bugs that are found soon, one for each checker: enough to notice a checker that has gone blind.
//! The whole campaign is `cargo run --release -p sim -- mutants`.

use model::mutant::Mutant;
use sim::mutants::{hunt, run_seed};

/// With a checker that sees it.
const SOON: [(Mutant, &str); 21] = [
    (Mutant::RestartMeansNotSent, "evidence"),
    (Mutant::TimeoutMeansRefused, "evidence"),
    (Mutant::EarlySignalForgotten, "path"),
    (Mutant::UndoBeforeItSettled, "path"),
    (Mutant::PivotIgnored, "path"),
    (Mutant::UndoUnderTheSameKey, "effects"),
    (Mutant::ParkedIsForgotten, "effects"),
    (Mutant::AnswerBeforeCommit, "TX-1"),
    (Mutant::HistoryRowLost, "TX-2"),
    (Mutant::OptionalEffectStays, "TX-3"),
    (Mutant::RecoverForgotten, "TX-4"),
    (Mutant::LockIgnored, "TX-5"),
    (Mutant::EffectBeforeCommit, "TX-6"),
    (Mutant::VerdictNotRecorded, "JR-1"),
    (Mutant::CheckpointBeforeCommit, "JR-2"),
    (Mutant::PaceIgnored, "LD-1"),
    (Mutant::UndoHasADeadline, "LD-2"),
    (Mutant::BackoffForgotten, "LD-3"),
    (Mutant::OldestStarves, "LD-4"),
    (Mutant::PromiseNeverEnds, "conservation"),
    (Mutant::AnswerKeptTooLong, "shared"),
];
/// Twice what the slowest of them took when this was written, and a bit.
const SEEDS_MAX: u64 = 60;

#[test]
fn planted_bugs_are_found_by_whoever_should() {
    for (mutant, checker) in SOON {
        let row = hunt(mutant, 1, SEEDS_MAX, &run_seed);
        let found =
            row.found.unwrap_or_else(|| panic!("{mutant:?} is not seen in {SEEDS_MAX} seeds: {}", mutant.what()));
        assert_eq!(found.checker, checker, "{mutant:?} at seed {}: {}", found.seed, found.violation);
    }
}
