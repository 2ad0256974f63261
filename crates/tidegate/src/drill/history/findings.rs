//! What a checker of histories says.

use std::fmt;

use serde::Serialize;

/// Findings that are told; all are counted.
const TOLD_MAX: usize = 20;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Findings {
    pub(crate) ops: u64,
    pub(crate) ok: u64,
    pub(crate) failed: u64,
    pub(crate) unknown: u64,
    /// Reads that were compared with what was written.
    pub(crate) reads_compared: u64,
    /// Writes whose fate a later read shows.
    pub(crate) writes_proven: u64,
    /// What could not be decided within bounds.
    pub(crate) undecided: u64,
    pub(crate) violations: u64,
    pub(crate) told: Vec<String>,
}

impl Findings {
    pub(crate) fn wrong(&mut self, rule: &str, what: impl fmt::Display) {
        self.violations += 1;
        if self.told.len() < TOLD_MAX {
            self.told.push(format!("{rule}: {what}"));
        }
    }

    /// Nothing wrong, and something compared.
    pub(crate) fn passed(&self) -> bool {
        self.violations == 0 && self.undecided == 0 && self.reads_compared > 0 && self.writes_proven > 0
    }

    pub(crate) fn count(&mut self, ops: &[super::op::Op]) {
        use super::op::Kind;
        let of = |kind| ops.iter().filter(|op| op.kind == kind).count() as u64;
        (self.ops, self.ok, self.failed, self.unknown) =
            (ops.len() as u64, of(Kind::Ok), of(Kind::Fail), of(Kind::Info));
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "operations  {}: {} ok, {} failed, {} unknown", self.ops, self.ok, self.failed, self.unknown)?;
        writeln!(
            f,
            "compared    {} reads, {} writes proven, {} undecided",
            self.reads_compared, self.writes_proven, self.undecided
        )?;
        for told in &self.told {
            writeln!(f, "WRONG       {told}")?;
        }
        write!(f, "{}", if self.passed() { "valid" } else { "NOT VALID" })
    }
}
