//! The handle to a running node: cheap to clone, safe to share between threads.

use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;
use model::TxId;

use crate::answer::{Answer, Until};
use crate::catalog::{Applied, ApplyRefused, DefinitionReport, SourceText};
use crate::query::{Counted, Filter, GroupBy, Page};
use crate::refusal::Refusal;
use crate::report::{Family, NodeReport, ParticipantReport, Readiness};
use crate::settings::{Components, Settings};
use crate::submission::{SignalOrder, Submission, Verb};
use crate::view::Detail;

/// A running node.
#[derive(Clone, Debug)]
pub struct Engine {
    #[allow(dead_code)]
    shared: Arc<()>,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

impl Engine {
    /// Opens the data directory, replays, and starts the workers. Returns when it may take work.
    pub fn start(_settings: Settings, _components: Components) -> Result<Self, StartError> {
        Err(StartError("under construction".into()))
    }

    /// Begins a transaction and waits for it, at most `wait`. Zero: answers as soon as it is accepted.
    pub async fn submit(&self, _order: Submission, _wait: Duration, _until: Until) -> Result<Answer, Refusal> {
        Err(Refusal::Internal("under construction".into()))
    }

    /// A transaction by id, at once or after waiting until it is decided or ended, at most `wait`.
    pub async fn get(&self, _id: TxId, _wait: Duration, _until: Until, _detail: Detail) -> Result<Answer, Refusal> {
        Err(Refusal::Internal("under construction".into()))
    }

    pub async fn list(&self, _filter: Filter, _limit: usize, _cursor: Option<String>) -> Result<Page, Refusal> {
        Err(Refusal::Internal("under construction".into()))
    }

    pub async fn count(&self, _filter: Filter, _group_by: Vec<GroupBy>) -> Result<Vec<Counted>, Refusal> {
        Err(Refusal::Internal("under construction".into()))
    }

    /// Cancel, retry or resolve. `who` and `why` go into the history for ever.
    pub async fn operate(&self, _id: TxId, _verb: Verb, _who: CompactString, _why: CompactString) -> Result<Answer, Refusal> {
        Err(Refusal::Internal("under construction".into()))
    }

    /// Delivers a signal; the answer names the transaction that took it.
    pub async fn signal(&self, _order: SignalOrder) -> Result<Answer, Refusal> {
        Err(Refusal::Internal("under construction".into()))
    }

    /// Checks and applies files, all or nothing.
    pub async fn apply(&self, _files: Vec<SourceText>, _dry_run: bool, _who: &str) -> Result<Applied, ApplyRefused> {
        Err(ApplyRefused::Unavailable("under construction".into()))
    }

    pub fn definitions(&self) -> Vec<DefinitionReport> {
        Vec::new()
    }

    pub fn definition(&self, name: &str) -> Option<DefinitionReport> {
        self.definitions().into_iter().find(|d| d.name == name)
    }

    pub async fn activate(&self, _name: &str, _version: u32, _who: &str) -> Result<DefinitionReport, Refusal> {
        Err(Refusal::Internal("under construction".into()))
    }

    /// Pauses a definition (new submissions are refused with 409) or resumes it.
    pub async fn pause_definition(&self, _name: &str, _pause: Option<String>, _who: &str) -> Result<DefinitionReport, Refusal> {
        Err(Refusal::Internal("under construction".into()))
    }

    pub fn participants(&self) -> Vec<ParticipantReport> {
        Vec::new()
    }

    /// Pauses all calls to a participant with a reason, or resumes them (`None`) as a ramp.
    pub async fn pause_participant(&self, _name: &str, _pause: Option<String>, _who: &str) -> Result<ParticipantReport, Refusal> {
        Err(Refusal::Internal("under construction".into()))
    }

    pub fn readiness(&self) -> Readiness {
        Readiness::NotReady("starting".into())
    }

    pub fn node(&self) -> Option<NodeReport> {
        None
    }

    /// The numbers for `/metrics`, gathered now.
    pub fn metrics(&self) -> Vec<Family> {
        Vec::new()
    }

    /// Takes no new work, waits for calls in flight, seals the journal. Blocks until done.
    pub fn stop(&self) {}
}
