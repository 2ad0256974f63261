//! Definitions and participants in force: applied whole or not at all, durable, versioned.

/// One file to apply.
#[derive(Clone, Debug)]
pub struct SourceText {
    pub path: String,
    pub text: String,
}

/// What an apply did, or a dry run would do.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    pub objects: Vec<AppliedObject>,
    /// Warnings only; errors are in the `Err`.
    pub diagnostics: Vec<definition::Diagnostic>,
}

#[derive(Clone, Debug)]
pub struct AppliedObject {
    /// `participant` or `definition`.
    pub kind: &'static str,
    pub name: String,
    pub version: Option<u32>,
    pub change: Change,
    pub active: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    Created,
    Changed,
    Unchanged,
}

/// Why nothing was applied.
#[derive(Clone, Debug)]
pub enum ApplyRefused {
    /// Every error of every file.
    Invalid(Vec<definition::Diagnostic>),
    /// Other content under a version that exists, or a changed `key` expression, … with where and what to do.
    Conflict(Vec<ApplyConflict>),
    Unavailable(String),
}

#[derive(Clone, Debug)]
pub struct ApplyConflict {
    pub kind: &'static str,
    pub name: String,
    /// `version 1 exists with other content (step "credit": timeout 1500ms, now 2s)`.
    pub what: String,
    /// `set "version: 2" in telecom/top-up.yaml:4`.
    pub hint: String,
}

/// A definition as shown to people.
#[derive(Clone, Debug)]
pub struct DefinitionReport {
    pub name: String,
    pub active_version: u32,
    pub versions: Vec<VersionReport>,
    /// Who paused it, when and why, if it is.
    pub paused: Option<PauseReport>,
}

#[derive(Clone, Debug)]
pub struct VersionReport {
    pub version: u32,
    pub running: u64,
    /// The text as applied.
    pub text: String,
    pub plan: std::sync::Arc<plan::Saga>,
}

/// A limit that a person has fixed.
#[derive(Clone, Debug)]
pub struct PinReport {
    /// Calls at once; never more than the declared `max_in_flight`.
    pub in_flight: u32,
    pub reason: String,
    pub who: String,
    pub since: model::Timestamp,
}

#[derive(Clone, Debug)]
pub struct PauseReport {
    pub reason: String,
    pub who: String,
    pub since: model::Timestamp,
}
