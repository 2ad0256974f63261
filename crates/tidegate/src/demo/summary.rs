//! What the demo says at its end: a table for people, the same as data for programs.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;
use stand::audit::Report;

use super::books::{Books, ByDefinition, BySystem, Money};
use super::crowd::Met;
use super::operator::Operator;
use super::roll::{Check, Line};
use super::traffic::Kind;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) seed: u64,
    pub(crate) took_s: f64,
    pub(crate) definitions: Vec<DefinitionLine>,
    pub(crate) systems: Vec<BySystem>,
    pub(crate) clients: Clients,
    pub(crate) engine: EngineLife,
    pub(crate) money: Money,
    pub(crate) audit: Report,
    pub(crate) checks: Vec<Check>,
    pub(crate) passed: bool,
}

/// One definition.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct DefinitionLine {
    pub(crate) name: String,
    pub(crate) submitted: u64,
    pub(crate) completed: u64,
    /// Aborted ones by their reason.
    pub(crate) aborted: BTreeMap<String, u64>,
    /// From acceptance to the outcome; waits for signals, times and participants are in it. None without a decision.
    pub(crate) decision_ms_p50: Option<u64>,
    pub(crate) decision_ms_p99: Option<u64>,
    #[serde(flatten)]
    pub(crate) books: ByDefinition,
}

/// What the clients met.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Clients {
    pub(crate) unanswered: u64,
    pub(crate) shed: u64,
    pub(crate) known_already: u64,
    pub(crate) repeats_replayed: u64,
    pub(crate) other_bodies_refused: u64,
    pub(crate) cancels_taken: u64,
    pub(crate) cancels_too_late: u64,
    pub(crate) signals_taken: u64,
    pub(crate) signals_repeated: u64,
    pub(crate) signals_too_late: u64,
    pub(crate) needed_a_person: u64,
    pub(crate) retried_by_hand: u64,
    pub(crate) resolved_by_hand: u64,
    pub(crate) given_up: u64,
}

impl Clients {
    pub(crate) fn of(met: &Met, operator: &Operator) -> Self {
        Self {
            unanswered: met.unanswered.get(),
            shed: met.shed.get(),
            known_already: met.known_already.get(),
            repeats_replayed: met.repeats.get(),
            other_bodies_refused: met.other_bodies_refused.get(),
            cancels_taken: met.cancels_taken.get(),
            cancels_too_late: met.cancels_too_late.get(),
            signals_taken: met.signals_taken.get(),
            signals_repeated: met.signals_repeated.get(),
            signals_too_late: met.signals_too_late.get(),
            needed_a_person: operator.seen(),
            retried_by_hand: operator.retried.get(),
            resolved_by_hand: operator.resolved.get(),
            given_up: operator.given_up.get(),
        }
    }
}

/// How the engine's process fared.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct EngineLife {
    /// Killed with -9 while it worked.
    pub(crate) kills: u64,
    /// Live transactions at the last look before the kill.
    pub(crate) live_at_kill: u64,
    /// From the start of the new process until it took work.
    pub(crate) ready_again_ms: Option<u64>,
    /// Outstanding calls that nobody was making (TX-4).
    pub(crate) stranded: u64,
}

/// The lines of all definitions.
pub(crate) fn definitions(roll: &[Line], books: &Books) -> Vec<DefinitionLine> {
    let line_of = |kind: Kind| {
        let of = || roll.iter().filter(move |line| line.definition == kind.definition());
        let mut aborted = BTreeMap::new();
        for line in of().filter(|line| line.outcome.as_deref() == Some("aborted")) {
            *aborted.entry(line.reason.clone().unwrap_or_default()).or_default() += 1;
        }
        let mut took: Vec<Duration> = of().filter_map(|line| line.decided_after).collect();
        took.sort();
        DefinitionLine {
            name: kind.definition().to_owned(),
            submitted: of().count() as u64,
            completed: of().filter(|line| line.outcome.as_deref() == Some("completed")).count() as u64,
            aborted,
            decision_ms_p50: quantile_ms(&took, 0.50),
            decision_ms_p99: quantile_ms(&took, 0.99),
            books: books.by_definition.get(&kind).cloned().unwrap_or_default(),
        }
    };
    Kind::ALL.into_iter().map(line_of).collect()
}

/// The smallest value that at least this part does not exceed (nearest rank).
pub(crate) fn quantile_ms(sorted: &[Duration], part: f64) -> Option<u64> {
    let rank = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).map(|took| took.as_millis() as u64)
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<16}{:>10}{:>11}{:>9}{:>8}{:>11}{:>11}{:>9}{:>9}{:>9}{:>9}{:>8}{:>9}",
            "DEFINITION",
            "SUBMITTED",
            "COMPLETED",
            "REFUSED",
            "FAILED",
            "CANCELLED",
            "TIMED OUT",
            "P50",
            "P99",
            "CALLS",
            "EFFECTS",
            "UNDONE",
            "REPEATS"
        )?;
        for line in &self.definitions {
            let aborted = |reason: &str| line.aborted.get(reason).copied().unwrap_or(0);
            let ms = |took: Option<u64>| took.map_or_else(|| "-".to_owned(), milliseconds);
            let DefinitionLine { name, submitted, completed, books, .. } = line;
            writeln!(
                f,
                "{name:<16}{submitted:>10}{completed:>11}{:>9}{:>8}{:>11}{:>11}{:>9}{:>9}{:>9}{:>9}{:>8}{:>9}",
                aborted("refused"),
                aborted("failed"),
                aborted("cancelled"),
                aborted("timed_out"),
                ms(line.decision_ms_p50),
                ms(line.decision_ms_p99),
                books.calls,
                books.effects,
                books.undone,
                books.repeats,
            )?;
        }
        writeln!(
            f,
            "\n{:<16}{:>10}{:>11}{:>9}{:>9}{:>13}{:>8}{:>15}",
            "SYSTEM", "REQUESTS", "EFFECTS", "REPEATS", "REFUSED", "TURNED AWAY", "FAULTS", "AT ONCE, MOST"
        )?;
        for system in &self.systems {
            let BySystem { name, requests, effects, repeats, refused, turned_away, faults, in_flight_max } = system;
            writeln!(
                f,
                "{name:<16}{requests:>10}{effects:>11}{repeats:>9}{refused:>9}{turned_away:>13}{faults:>8}{in_flight_max:>15}"
            )?;
        }
        let c = &self.clients;
        writeln!(
            f,
            "\nclients    {} repeats replayed, {} other bodies under a used key refused",
            c.repeats_replayed, c.other_bodies_refused
        )?;
        writeln!(
            f,
            "           {} tries without an answer, {} turned away, all repeated; {} had arrived the first time",
            c.unanswered, c.shed, c.known_already
        )?;
        writeln!(
            f,
            "           {} cancels taken, {} too late; {} signals taken, {} repeated, {} too late",
            c.cancels_taken, c.cancels_too_late, c.signals_taken, c.signals_repeated, c.signals_too_late
        )?;
        writeln!(
            f,
            "operator   {} needed a person: {} retries, {} resolved by hand, {} undos given up",
            c.needed_a_person, c.retried_by_hand, c.resolved_by_hand, c.given_up
        )?;
        let e = &self.engine;
        match e.ready_again_ms {
            Some(ms) => writeln!(
                f,
                "engine     killed with -9 at {} live transactions, ready again after {}",
                e.live_at_kill,
                milliseconds(ms)
            )?,
            None => writeln!(f, "engine     not killed")?,
        }
        let m = &self.money;
        writeln!(
            f,
            "money      {} charged, {} credited, {} in fees; aborted transactions kept {}, besides {} given up by hand",
            amount(m.charged_minor),
            amount(m.credited_minor),
            amount(m.fees_minor),
            amount(m.aborted_minor),
            amount(m.given_up_minor)
        )?;
        let a = &self.audit.counted;
        let violations: u64 = self.audit.violations_count.values().sum();
        writeln!(
            f,
            "audit      {} completed and {} aborted against {} effects, {} undos, {} repeats: {} steps, {} of them required, {} balances; {violations} violations",
            a.completed, a.aborted, a.effects, a.undoes, a.repeats, a.steps, a.musts, a.balances
        )?;
        writeln!(f)?;
        for check in &self.checks {
            writeln!(f, "{:<8}{}: {}", if check.passed { "ok" } else { "FAILED" }, check.name, check.detail)?;
        }
        write!(f, "\n{} in {:.1} s with seed {}", if self.passed { "passed" } else { "FAILED" }, self.took_s, self.seed)
    }
}

fn milliseconds(ms: u64) -> String {
    if ms < 10_000 { format!("{ms} ms") } else { format!("{:.1} s", ms as f64 / 1e3) }
}

/// Minor units as people write them.
fn amount(minor: i64) -> String {
    let sign = if minor < 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", minor.unsigned_abs() / 100, minor.unsigned_abs() % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_there() {
        let took: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!((quantile_ms(&took, 0.5), quantile_ms(&took, 0.99)), (Some(100), Some(198)));
        assert_eq!(quantile_ms(&took[..1], 0.99), Some(1));
        assert_eq!(quantile_ms(&[], 0.5), None);
    }

    #[test]
    fn amounts_have_two_decimals() {
        assert_eq!((amount(123_456), amount(-5), amount(0)), ("1234.56".into(), "-0.05".into(), "0.00".into()));
    }
}
