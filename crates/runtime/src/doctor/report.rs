//! What an examination found: every check with how much it looked at, and every finding with its place.
//!
//! A check that looked at nothing says so, so that nobody takes silence for health. Left out: how it is printed.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Findings of one check that are told; more are only counted.
const TOLD_MAX: u64 = 50;

/// How bad a finding is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// As a crash leaves it, or something that the next start puts right by itself. Not a reason to worry.
    Note,
    /// Damage, or a promise that does not hold.
    Wrong,
}

/// One thing that was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    pub severity: Severity,
    /// The check's name.
    pub check: &'static str,
    /// File and byte, or partition and entry, or transaction.
    pub place: String,
    pub what: String,
    /// What to do about it.
    pub advice: String,
}

/// One check.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    pub name: &'static str,
    /// What it shows when it holds, with the invariant's name where it has one.
    pub shows: &'static str,
    /// What was looked at and how much of it, in the order of first mention.
    pub looked_at: Vec<(&'static str, u64)>,
    pub wrong: u64,
    pub notes: u64,
    /// Why it could not be done, or not wholly; there is a finding behind it.
    pub not_done: Option<String>,
}

impl Check {
    pub fn is_well(&self) -> bool {
        self.wrong == 0 && self.not_done.is_none()
    }
}

/// The result of [`examine`](super::examine).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    pub data: PathBuf,
    pub checks: Vec<Check>,
    /// In the order of the checks; at most 50 of each severity per check, the checks count all.
    pub findings: Vec<Finding>,
    pub took_ms: u64,
}

impl Report {
    /// Every check was done, and none found anything wrong.
    pub fn is_well(&self) -> bool {
        self.checks.iter().all(Check::is_well)
    }
}

/// Gathers a report.
#[derive(Debug, Default)]
pub(super) struct Notebook {
    checks: Vec<Check>,
    findings: BTreeMap<usize, Vec<Finding>>,
}

impl Notebook {
    /// Checks are listed in the order in which they are declared.
    pub(super) fn declare(&mut self, name: &'static str, shows: &'static str) {
        self.checks.push(Check { name, shows, looked_at: Vec::new(), wrong: 0, notes: 0, not_done: None });
    }

    fn place_of(&mut self, name: &'static str) -> usize {
        match self.checks.iter().position(|check| check.name == name) {
            Some(place) => place,
            None => {
                self.declare(name, "");
                self.checks.len() - 1
            }
        }
    }

    pub(super) fn looked_at(&mut self, name: &'static str, what: &'static str, count: u64) {
        let place = self.place_of(name);
        let looked_at = &mut self.checks[place].looked_at;
        match looked_at.iter_mut().find(|(known, _)| *known == what) {
            Some((_, sum)) => *sum += count,
            None => looked_at.push((what, count)),
        }
    }

    pub(super) fn not_done(&mut self, name: &'static str, why: impl Into<String>) {
        let place = self.place_of(name);
        self.checks[place].not_done.get_or_insert_with(|| why.into());
    }

    pub(super) fn wrong(
        &mut self,
        check: &'static str,
        place: impl Into<String>,
        what: impl Into<String>,
        advice: impl Into<String>,
    ) {
        self.find(Finding {
            severity: Severity::Wrong,
            check,
            place: place.into(),
            what: what.into(),
            advice: advice.into(),
        });
    }

    pub(super) fn note(
        &mut self,
        check: &'static str,
        place: impl Into<String>,
        what: impl Into<String>,
        advice: impl Into<String>,
    ) {
        self.find(Finding {
            severity: Severity::Note,
            check,
            place: place.into(),
            what: what.into(),
            advice: advice.into(),
        });
    }

    fn find(&mut self, finding: Finding) {
        let place = self.place_of(finding.check);
        let check = &mut self.checks[place];
        let count = match finding.severity {
            Severity::Note => &mut check.notes,
            Severity::Wrong => &mut check.wrong,
        };
        *count += 1;
        if *count <= TOLD_MAX {
            self.findings.entry(place).or_default().push(finding);
        }
    }

    pub(super) fn finish(self, data: PathBuf, took_ms: u64) -> Report {
        Report { data, checks: self.checks, findings: self.findings.into_values().flatten().collect(), took_ms }
    }
}
