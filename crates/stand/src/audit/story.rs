//! What an engine says about one transaction, and what follows for the systems.

use serde::{Deserialize, Serialize};

/// How a transaction stands according to the engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Completed,
    /// Aborted, and every undo has ended.
    Aborted,
    /// Not decided, or still undoing: only checked for effects that came twice.
    Live,
}

/// One line of an audit's input.
///
/// `must`, `may_stay` and `balanced` are filled in for the telecom definitions when they are left out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Story {
    /// As in `Tidegate-Transaction`.
    pub tx: String,
    pub verdict: Verdict,
    #[serde(default)]
    pub definition: Option<String>,
    /// Steps whose compensation a person gave up.
    #[serde(default)]
    pub uncompensated: Vec<String>,
    /// Steps that must have had an effect if it completed.
    #[serde(default)]
    pub must: Option<Vec<String>>,
    /// Steps whose effect may stand or not whatever the verdict: optional ones and those with `compensate: none`.
    #[serde(default)]
    pub may_stay: Option<Vec<String>>,
    /// Pairs of systems that must have moved the same amount if it completed.
    #[serde(default)]
    pub balanced: Option<Vec<(String, String)>>,
}

impl Story {
    pub fn new(tx: impl Into<String>, definition: &str, verdict: Verdict) -> Self {
        Self {
            tx: tx.into(),
            verdict,
            definition: Some(definition.to_owned()),
            uncompensated: Vec::new(),
            must: None,
            may_stay: None,
            balanced: None,
        }
    }

    pub(super) fn must(&self) -> Vec<String> {
        let known: &[&str] = match self.definition.as_deref() {
            Some("top-up") => &["charge", "credit"],
            Some("tariff-change") => &["network", "records"],
            Some("number-port-out") => &["accept", "release", "confirm", "close"],
            _ => &[],
        };
        self.must.clone().unwrap_or_else(|| known.iter().map(|step| (*step).to_owned()).collect())
    }

    pub(super) fn may_stay(&self) -> Vec<String> {
        let known: &[&str] = match self.definition.as_deref() {
            Some("top-up" | "tariff-change") => &["notify"],
            _ => &[],
        };
        self.may_stay.clone().unwrap_or_else(|| known.iter().map(|step| (*step).to_owned()).collect())
    }

    pub(super) fn balanced(&self) -> Vec<(String, String)> {
        self.balanced.clone().unwrap_or_else(|| match self.definition.as_deref() {
            Some("top-up") => vec![("payments".to_owned(), "billing".to_owned())],
            _ => Vec::new(),
        })
    }
}
