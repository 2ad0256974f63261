//! What an offline look at a room's files found. The looking itself lives beside each format.

use std::fmt;
use std::path::{Path, PathBuf};

/// How bad a finding is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// Left over from a crash; the next start cleans it up.
    Leftover,
    /// Redundant data is damaged; the next start repairs it from what is whole.
    Repairable,
    /// Something that was stored cannot be read back.
    Loss,
}

/// One thing that is wrong, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    pub severity: Severity,
    pub path: PathBuf,
    /// Byte in the file.
    pub offset: u64,
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.severity {
            Severity::Leftover => "leftover",
            Severity::Repairable => "repairable",
            Severity::Loss => "LOSS",
        };
        write!(f, "{word}: {} at byte {}: {}", self.path.display(), self.offset, self.what)
    }
}

/// The result of reading every byte of one room without changing any.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Inspection {
    pub files: u64,
    pub bytes: u64,
    /// Rows, records or objects that are whole and current.
    pub items: u64,
    pub findings: Vec<Finding>,
}

impl Inspection {
    pub(crate) fn note(&mut self, severity: Severity, path: &Path, offset: u64, what: impl Into<String>) {
        self.findings.push(Finding { severity, path: path.to_path_buf(), offset, what: what.into() });
    }

    /// The worst finding, or nothing when every byte is as written.
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|finding| finding.severity).max()
    }
}
