//! The plans that a partition's journal contains, by their place of first use.

use std::sync::Arc;

use plan::{Action, PlanHash, Saga, Wait};

/// Append-only: an entry names a plan by its place, for ever.
#[derive(Debug, Default, Clone)]
pub struct Plans {
    slots: Vec<Arc<PlanSlot>>,
    /// Decoded elsewhere: where the journal brings the same bytes, they are not decoded once more.
    known: Vec<Arc<PlanSlot>>,
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

impl PlanSlot {
    /// Decodes a plan.
    ///
    /// # Errors
    /// When the bytes are no plan.
    pub fn decode(hash: PlanHash, bytes: Arc<[u8]>) -> Result<Self, plan::saga::BadPlan> {
        let saga = Saga::from_bytes(&bytes)?;
        let takes_signals = saga.steps.iter().any(|s| matches!(s.action, Action::Wait(Wait::Signal { .. })));
        Ok(Self { hash, bytes, saga, takes_signals })
    }
}

impl Plans {
    pub fn get(&self, place: u32) -> Option<&Arc<PlanSlot>> {
        self.slots.get(place as usize)
    }

    pub fn find(&self, hash: &PlanHash) -> Option<u32> {
        self.slots.iter().position(|slot| slot.hash == *hash).map(|place| place as u32)
    }

    /// A plan that was decoded for somebody else and may turn up here: partitions share it then.
    pub fn know(&mut self, slot: Arc<PlanSlot>) {
        self.known.push(slot);
    }

    /// Adds a plan and gives its place.
    pub fn add(&mut self, hash: PlanHash, bytes: Arc<[u8]>) -> Result<u32, plan::saga::BadPlan> {
        let slot = match self.known.iter().find(|slot| slot.hash == hash && slot.bytes == bytes) {
            Some(slot) => Arc::clone(slot),
            None => Arc::new(PlanSlot::decode(hash, bytes)?),
        };
        self.slots.push(slot);
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
