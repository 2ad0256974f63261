//! Calls of this worker from release to answer, by token.

use hashbrown::HashMap;
use model::Timestamp;
use partition::{CallRef, OutgoingCall};

use crate::given::Lead;

/// One call that the load manager or the connector has.
pub(crate) struct CallSlot {
    /// Place of its partition among the worker's hosts.
    pub(crate) host: usize,
    pub(crate) call: CallRef,
    pub(crate) started_at: Timestamp,
    /// Until it starts.
    pub(crate) outgoing: Option<Box<OutgoingCall>>,
    /// From its start, if its answer may serve others.
    pub(crate) lead: Option<Box<Lead>>,
}

/// A slab with generations: a token is never taken for a later call in the same place.
#[derive(Default)]
pub(crate) struct Calls {
    slots: Vec<(u32, Option<CallSlot>)>,
    free: Vec<u32>,
    /// Those that have not started, so that they can be withdrawn.
    waiting: HashMap<(usize, CallRef), u64>,
}

impl Calls {
    pub(crate) fn add(&mut self, slot: CallSlot) -> u64 {
        let place = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, None));
            self.slots.len() as u32 - 1
        });
        let (generation, here) = &mut self.slots[place as usize];
        *here = Some(slot);
        u64::from(*generation) << 32 | u64::from(place)
    }

    pub(crate) fn get_mut(&mut self, token: u64) -> Option<&mut CallSlot> {
        let (generation, slot) = self.slots.get_mut(token as u32 as usize)?;
        if u64::from(*generation) == token >> 32 { slot.as_mut() } else { None }
    }

    pub(crate) fn remove(&mut self, token: u64) -> Option<CallSlot> {
        let (generation, slot) = self.slots.get_mut(token as u32 as usize)?;
        if u64::from(*generation) != token >> 32 {
            return None;
        }
        let gone = slot.take()?;
        *generation = generation.wrapping_add(1);
        self.free.push(token as u32);
        Some(gone)
    }

    pub(crate) fn waits(&mut self, token: u64) {
        if let Some(slot) = self.get_mut(token) {
            let name = (slot.host, slot.call);
            self.waiting.insert(name, token);
        }
    }

    /// The token of a call that has not started.
    pub(crate) fn waiting(&self, host: usize, call: CallRef) -> Option<u64> {
        self.waiting.get(&(host, call)).copied()
    }

    pub(crate) fn waits_no_more(&mut self, host: usize, call: CallRef) {
        self.waiting.remove(&(host, call));
    }

    /// How many there are, started or not.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Every call that is under way, for the sweep.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &CallSlot> {
        self.slots.iter().filter_map(|(_, slot)| slot.as_ref())
    }
}
