//! What came of a file, as people and as machines read it: text, JSON, JUnit. Written to nowhere: the caller prints.

mod json;
mod junit;
mod tables;
mod text;

use std::time::Duration;

use crate::failures::Failures;
use crate::play::{Coverage, Played};
use crate::suite::Suite;
use definition::Diagnostic;

pub use json::json;
pub use junit::junit;
pub use text::{finding, span, text};

/// Everything about one file.
#[derive(Debug)]
pub struct PlayedFile {
    pub suite: Suite,
    pub cases: Vec<Played>,
    pub coverage: Coverage,
}

/// Every failure of one case.
#[derive(Debug)]
pub struct Varied {
    pub case: String,
    /// None if the case cannot be run.
    pub failures: Option<Failures>,
    /// What is wrong; empty if every promise was kept and nothing stays that may not.
    pub findings: Vec<Diagnostic>,
}

/// One file, played.
#[derive(Debug)]
pub enum Outcome {
    /// Its cases.
    Cases(PlayedFile),
    /// Every failure of its cases.
    Failures { suite: Suite, cases: Vec<Varied> },
}

/// How much is shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Show {
    /// The story of every case, not only of those that failed.
    pub stories: bool,
}

/// The whole run.
#[derive(Debug)]
pub struct Report {
    pub files: Vec<Outcome>,
    /// Cases that the filter left out.
    pub left_out: usize,
    /// Real time.
    pub took: Duration,
}

impl Report {
    /// How many cases (or failures) passed, and how many did not.
    pub fn counts(&self) -> (usize, usize) {
        let mut counts = (0, 0);
        let mut add = |passed: bool| if passed { counts.0 += 1 } else { counts.1 += 1 };
        for file in &self.files {
            match file {
                Outcome::Cases(played) => played.cases.iter().for_each(|case| add(case.passed())),
                Outcome::Failures { cases, .. } => cases.iter().for_each(|case| add(case.findings.is_empty())),
            }
        }
        counts
    }
}
