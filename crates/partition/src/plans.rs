//! The plans that a partition's journal contains, by their place of first use.

use std::sync::Arc;

use plan::{Action, PlanHash, Saga, Wait};

/// Append-only: an entry names a plan by its place, for ever.
#[derive(Debug, Default, Clone)]
pub struct Plans {
    slots: Vec<Arc<PlanSlot>>,
}

/// One plan, decoded.
#[derive(Debug)]
pub struct PlanSlot {
    pub hash: PlanHash,
    pub bytes: Arc<[u8]>,
    pub saga: Saga,
    /// Some step waits for a signal, so its live transactions are found by key.
    pub takes_signals: bool,
}

impl Plans {
    pub fn get(&self, place: u32) -> Option<&Arc<PlanSlot>> {
        self.slots.get(place as usize)
    }

    pub fn find(&self, hash: &PlanHash) -> Option<u32> {
        self.slots.iter().position(|slot| slot.hash == *hash).map(|place| place as u32)
    }

    /// Adds a plan and gives its place.
    pub fn add(&mut self, hash: PlanHash, bytes: Arc<[u8]>) -> Result<u32, plan::saga::BadPlan> {
        let saga = Saga::from_bytes(&bytes)?;
        let takes_signals = saga.steps.iter().any(|s| matches!(s.action, Action::Wait(Wait::Signal { .. })));
        self.slots.push(Arc::new(PlanSlot { hash, bytes, saga, takes_signals }));
        Ok(self.slots.len() as u32 - 1)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<PlanSlot>> {
        self.slots.iter()
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}
