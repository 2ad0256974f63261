//! What an audit found and how much it looked at.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Violations kept with their details; beyond them only the numbers grow.
const SHOWN_MAX: usize = 1_000;

/// A broken rule; the words are those of the table in `audit`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    Lost,
    Undone,
    Kept,
    Doubled,
    UnknownTx,
    ForeignUndo,
    Money,
}

impl Rule {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Undone => "undone",
            Self::Kept => "kept",
            Self::Doubled => "doubled",
            Self::UnknownTx => "unknown-tx",
            Self::ForeignUndo => "foreign-undo",
            Self::Money => "money",
        }
    }
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Violation {
    pub rule: Rule,
    /// `-` if the effect names none.
    pub tx: String,
    pub system: String,
    pub step: String,
    pub detail: String,
}

/// How much was compared.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Counted {
    /// Of the ledger.
    pub rows: u64,
    /// Rows that did something.
    pub effects: u64,
    /// Rows that took something back.
    pub undoes: u64,
    /// Rows that were answered from memory.
    pub repeats: u64,
    /// Transactions by the engine's word.
    pub completed: u64,
    pub aborted: u64,
    pub live: u64,
    /// Steps with effects that were compared.
    pub steps: u64,
    /// Steps that were looked for because they must be there.
    pub musts: u64,
    /// Pairs of amounts that were compared.
    pub balances: u64,
}

/// The sum of what one system moved, by what became of the transactions.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Money {
    pub completed_minor: i64,
    /// 0, but for what a person gave up.
    pub aborted_minor: i64,
    pub live_minor: i64,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    pub counted: Counted,
    pub money: BTreeMap<String, Money>,
    /// All of them, by rule.
    pub violations_count: BTreeMap<Rule, u64>,
    /// The first of them, with details.
    pub violations: Vec<Violation>,
}

impl Report {
    /// No rule is broken, and there was something to compare: ended transactions and effects.
    pub fn passed(&self) -> bool {
        self.violations_count.is_empty() && !self.is_empty()
    }

    /// Nothing could be compared, so nothing is proven.
    pub fn is_empty(&self) -> bool {
        self.counted.effects == 0 || self.counted.completed + self.counted.aborted == 0
    }

    pub(super) fn add(&mut self, rule: Rule, tx: &str, system: &str, step: &str, detail: String) {
        *self.violations_count.entry(rule).or_default() += 1;
        if self.violations.len() < SHOWN_MAX {
            let (tx, system, step) = (tx.to_owned(), system.to_owned(), step.to_owned());
            self.violations.push(Violation { rule, tx, system, step, detail });
        }
    }

    pub(super) fn sort(&mut self) {
        self.violations.sort();
    }
}

impl fmt::Display for Report {
    /// A table for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let c = &self.counted;
        writeln!(f, "compared   {} completed, {} aborted, {} live", c.completed, c.aborted, c.live)?;
        writeln!(f, "with       {} effects, {} undoes, {} repeats in {} rows", c.effects, c.undoes, c.repeats, c.rows)?;
        writeln!(f, "checked    {} steps, {} of them required, {} balances", c.steps, c.musts, c.balances)?;
        if !self.money.is_empty() {
            writeln!(f, "\n{:<16}{:>16}{:>16}{:>16}", "MONEY (minor)", "COMPLETED", "ABORTED", "LIVE")?;
        }
        for (system, money) in &self.money {
            let Money { completed_minor, aborted_minor, live_minor } = money;
            writeln!(f, "{system:<16}{completed_minor:>16}{aborted_minor:>16}{live_minor:>16}")?;
        }
        writeln!(f)?;
        for (rule, count) in &self.violations_count {
            writeln!(f, "{:<14}{count:>8}", rule.as_str())?;
        }
        for violation in self.violations.iter().take(20) {
            let Violation { rule, tx, system, step, detail } = violation;
            writeln!(f, "{:<14}{tx}  {system}  {step}  {detail}", rule.as_str())?;
        }
        let shown = self.violations.len().min(20) as u64;
        let all: u64 = self.violations_count.values().sum();
        if all > shown {
            writeln!(f, "… and {} more", all - shown)?;
        }
        match (all, self.is_empty()) {
            (0, false) => f.write_str("every effect agrees with the engine's word"),
            (0, true) => f.write_str("nothing was compared, so nothing is proven"),
            (1, _) => f.write_str("1 violation"),
            (n, _) => write!(f, "{n} violations"),
        }
    }
}
