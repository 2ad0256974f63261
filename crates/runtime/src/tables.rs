//! What is in force at this moment: definitions and participants, shared as one immutable snapshot.

use std::collections::BTreeMap;
use std::sync::Arc;

use compact_str::CompactString;
use plan::{Participant, PlanHash, Saga};

use crate::catalog::{PauseReport, PinReport};

/// One applied version of a definition.
#[derive(Debug)]
pub(crate) struct PlanVersion {
    pub(crate) hash: PlanHash,
    pub(crate) bytes: Arc<[u8]>,
    pub(crate) saga: Arc<Saga>,
    /// The text as applied.
    pub(crate) text: String,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Definition {
    pub(crate) active: u32,
    pub(crate) versions: BTreeMap<u32, Arc<PlanVersion>>,
    pub(crate) paused: Option<PauseReport>,
}

/// A participant with its place, which never changes while the node runs.
#[derive(Clone, Debug)]
pub(crate) struct Declared {
    pub(crate) spec: Arc<Participant>,
    pub(crate) paused: Option<PauseReport>,
    pub(crate) pinned: Option<PinReport>,
}

/// Everything in force. Replaced as a whole.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tables {
    /// Grows with every change, so that workers notice.
    pub(crate) generation: u64,
    /// All calls of the node are paused.
    pub(crate) paused: Option<PauseReport>,
    pub(crate) definitions: BTreeMap<CompactString, Definition>,
    pub(crate) participants: Vec<Declared>,
    pub(crate) places: BTreeMap<CompactString, u32>,
    pub(crate) plans: BTreeMap<PlanHash, Arc<PlanVersion>>,
    /// See `settings::Faults`.
    #[cfg(feature = "faults")]
    pub(crate) poison: Option<String>,
}

impl Tables {
    pub(crate) fn participant(&self, name: &str) -> Option<(u32, &Participant)> {
        #[cfg(feature = "faults")]
        assert!(self.poison.as_deref() != Some(name), "poison: the test asked for this panic");
        let place = *self.places.get(name)?;
        Some((place, self.participants[place as usize].spec.as_ref()))
    }

    /// Adds or replaces a participant; its place stays.
    pub(crate) fn put_participant(&mut self, spec: Participant) {
        match self.places.get(&spec.name) {
            Some(place) => self.participants[*place as usize].spec = Arc::new(spec),
            None => {
                self.places.insert(spec.name.clone(), self.participants.len() as u32);
                self.participants.push(Declared { spec: Arc::new(spec), paused: None, pinned: None });
            }
        }
    }

    pub(crate) fn put_version(&mut self, version: PlanVersion) {
        let version = Arc::new(version);
        let definition = self.definitions.entry(version.saga.name.clone()).or_default();
        definition.versions.insert(version.saga.version, Arc::clone(&version));
        self.plans.insert(version.hash, version);
    }

    pub(crate) fn active(&self, name: &str, version: Option<u32>) -> Option<(&Definition, &Arc<PlanVersion>)> {
        let definition = self.definitions.get(name)?;
        let version = definition.versions.get(&version.unwrap_or(definition.active))?;
        Some((definition, version))
    }
}
