//! The campaign over the planted bugs: each is planted alone, and seeds are run until a checker sees it.
//!
//! A seed counts as finding a bug only if the same seed without it is clean. Where nothing is found, the table says
//! whether the planted place was met at all: a bug that is never met is missing from the world, one that is met and
//! not seen is missing a checker.
//!
//! Left out: the world (`world`), what a violation looks like to a reader (`story`).

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use model::mutant::{self, Mutant};

use crate::event::Violation;

/// What one seed led to: the name of the checker and what it saw.
pub type Seen = Option<(&'static str, Violation)>;

/// One planted bug and its fate.
#[derive(Clone, Debug)]
pub struct Row {
    pub mutant: Mutant,
    /// Seeds run, the one that found it included.
    pub seeds: u64,
    /// How often the planted place was met, in all seeds run.
    pub reached: u64,
    pub found: Option<Found>,
}

/// How a planted bug was seen.
#[derive(Clone, Debug)]
pub struct Found {
    pub seed: u64,
    pub checker: &'static str,
    pub violation: Violation,
}

/// The result of a campaign, in the order of the mutants.
#[derive(Clone, Debug, Default)]
pub struct Table {
    pub rows: Vec<Row>,
}

/// Lives one life.
pub fn run_seed(seed: u64) -> Seen {
    crate::world::live(&crate::Features::of(seed), &crate::world::Orders::default()).broken
}

/// Lives one life under the eyes of those who hold the promises, and not of those who hold the rules behind them.
pub fn run_seed_by_promises(seed: u64) -> Seen {
    let orders = crate::world::Orders { promises_only: true, ..crate::world::Orders::default() };
    crate::world::live(&crate::Features::of(seed), &orders).broken
}

/// Runs seeds from `first` on, at most `most`, until one shows the bug. `run` runs one seed to its end.
pub fn hunt(planted: Mutant, first: u64, most: u64, run: &(dyn Fn(u64) -> Seen + Sync)) -> Row {
    let mut row = Row { mutant: planted, seeds: 0, reached: 0, found: None };
    for seed in first..first.saturating_add(most) {
        row.seeds += 1;
        let guard = mutant::plant(planted);
        let seen = run_caught(seed, run);
        row.reached += mutant::reached();
        drop(guard);
        if let Some((checker, violation)) = seen
            && run_caught(seed, run).is_none()
        {
            row.found = Some(Found { seed, checker, violation });
            return row;
        }
    }
    row
}

/// A panic is seen by whoever looks at the process: nobody needs a checker for it.
fn run_caught(seed: u64, run: &(dyn Fn(u64) -> Seen + Sync)) -> Seen {
    catch_unwind(AssertUnwindSafe(|| run(seed))).unwrap_or_else(|panic| {
        let what = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_default();
        Some(("panic", Violation::new("panic", None, what)))
    })
}

/// Hunts each of `planted` on `threads` threads. `told` hears of each row as it is done.
pub fn campaign(
    planted: &[Mutant],
    first: u64,
    most: u64,
    threads: usize,
    run: &(dyn Fn(u64) -> Seen + Sync),
    told: &(dyn Fn(&Row) + Sync),
) -> Table {
    let next = AtomicUsize::new(0);
    let rows: Mutex<Vec<(usize, Row)>> = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, planted.len().max(1)) {
            scope.spawn(|| {
                while let Some((place, mutant)) = {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    planted.get(place).map(|mutant| (place, *mutant))
                } {
                    let row = hunt(mutant, first, most, run);
                    told(&row);
                    // A thread that panicked has left whole rows behind.
                    rows.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((place, row));
                }
            });
        }
    });
    let mut rows = rows.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    rows.sort_by_key(|(place, _)| *place);
    Table { rows: rows.into_iter().map(|(_, row)| row).collect() }
}

impl Table {
    pub fn found(&self) -> usize {
        self.rows.iter().filter(|row| row.found.is_some()).count()
    }

    /// Seeds until found, of those that were, in order.
    fn seeds(&self) -> Vec<u64> {
        let mut seeds: Vec<u64> = self.rows.iter().filter(|row| row.found.is_some()).map(|row| row.seeds).collect();
        seeds.sort_unstable();
        seeds
    }

    /// The upper of the two in the middle, if there are two.
    pub fn median_seeds(&self) -> u64 {
        let seeds = self.seeds();
        seeds.get(seeds.len() / 2).copied().unwrap_or_default()
    }

    pub fn max_seeds(&self) -> u64 {
        self.seeds().last().copied().unwrap_or_default()
    }

    /// One JSON object, one line.
    pub fn json(&self) -> String {
        let rows: Vec<serde_json::Value> = self
            .rows
            .iter()
            .map(|row| {
                let found = row.found.as_ref();
                serde_json::json!({
                    "mutant": row.mutant.name(),
                    "hazard": row.mutant.hazard(),
                    "seeds": row.seeds,
                    "reached": row.reached,
                    "found": found.is_some(),
                    "seed": found.map(|found| found.seed),
                    "checker": found.map(|found| found.checker),
                    "rule": found.map(|found| found.violation.rule),
                    "what": found.map(|found| found.violation.to_string()),
                })
            })
            .collect();
        serde_json::json!({
            "planted": self.rows.len(),
            "found": self.found(),
            "median_seeds": self.median_seeds(),
            "max_seeds": self.max_seeds(),
            "mutants": rows,
        })
        .to_string()
    }

    /// The table for people, in Markdown. `promises`: the same campaign by the promises alone.
    pub fn markdown(&self, promises: Option<&Self>) -> String {
        let mut out = String::from("| planted bug | what it does | hazard | seeds | found by |");
        out.push_str(if promises.is_some() {
            " by promises alone |\n|---|---|---|---|---|---|\n"
        } else {
            "\n|---|---|---|---|---|\n"
        });
        for row in &self.rows {
            let hazard = match row.mutant.hazard() {
                0 => String::new(),
                hazard => hazard.to_string(),
            };
            let (seeds, by) = told(row);
            let _ = write!(out, "| {} | {} | {hazard} | {seeds} | {by} |", row.mutant.name(), row.mutant.what());
            if let Some(alone) = promises.and_then(|table| table.rows.iter().find(|r| r.mutant == row.mutant)) {
                let (seeds, by) = told(alone);
                let _ = write!(out, " {seeds}, {by} |");
            }
            out.push('\n');
        }
        out
    }
}

/// How many seeds it took, and who saw it.
fn told(row: &Row) -> (String, &'static str) {
    match &row.found {
        Some(found) => (row.seeds.to_string(), found.checker),
        None => (format!("not in {}", row.seeds), "nobody"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A world in which one bug shows at every fifth seed, and everything at seed 3.
    fn toy(seed: u64) -> Seen {
        let shows = seed == 3 || (seed.is_multiple_of(5) && mutant::is_planted(Mutant::PivotIgnored));
        shows.then(|| ("toy", Violation::new("TX-2", None, "seen")))
    }

    #[test]
    fn a_bug_counts_as_found_only_where_the_seed_is_clean_without_it() {
        let table = campaign(&[Mutant::PivotIgnored, Mutant::LockIgnored], 1, 20, 2, &toy, &|_| {});
        assert_eq!((table.found(), table.median_seeds(), table.max_seeds()), (1, 5, 5));
        assert_eq!(table.rows[0].found.as_ref().map(|found| found.seed), Some(5));
        assert!(table.rows[1].found.is_none() && table.rows[1].reached == 0 && table.rows[1].seeds == 20);
        assert!(
            table.json().starts_with(r#"{"planted":2,"found":1,"median_seeds":5,"max_seeds":5"#),
            "{}",
            table.json()
        );
        assert!(table.markdown(Some(&table)).contains("| not in 20 | nobody | not in 20, nobody |"));
    }

    #[test]
    fn a_panic_is_a_finding() {
        let row = hunt(Mutant::PivotIgnored, 1, 3, &|_| {
            assert!(!mutant::is_planted(Mutant::PivotIgnored), "met");
            None
        });
        assert_eq!(row.found.map(|found| found.checker), Some("panic"));
    }

    #[test]
    fn a_bug_is_planted_on_one_thread_only() {
        let guard = mutant::plant(Mutant::PivotIgnored);
        let elsewhere = std::thread::scope(|s| s.spawn(|| mutant::is_planted(Mutant::PivotIgnored)).join());
        assert!(elsewhere.is_ok_and(|planted| !planted) && mutant::is_planted(Mutant::PivotIgnored));
        drop(guard);
    }
}
