//! Calls of a process from release to answer, by token: a slab with generations, as the runtime has it.

use partition::{CallRef, OutgoingCall};

use super::handing::Lead;
use crate::fixed::Map;

/// One call that the load manager or the network has.
pub(crate) struct Slot {
    pub(crate) host: usize,
    pub(crate) call: CallRef,
    pub(crate) participant: u32,
    pub(crate) started_at: model::Timestamp,
    /// Until it starts.
    pub(crate) outgoing: Option<Box<OutgoingCall>>,
    /// From its start, if its answer may serve others.
    pub(crate) lead: Option<Lead>,
}

/// See the head of this file.
#[derive(Default)]
pub(crate) struct Calls {
    slots: Vec<(u32, Option<Slot>)>,
    free: Vec<u32>,
    by_name: Map<(usize, CallRef), u64>,
}

impl Calls {
    pub(crate) fn add(&mut self, slot: Slot) -> u64 {
        let place = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, None));
            self.slots.len() as u32 - 1
        });
        let name = (slot.host, slot.call);
        let (generation, here) = &mut self.slots[place as usize];
        *here = Some(slot);
        let token = u64::from(*generation) << 32 | u64::from(place);
        self.by_name.insert(name, token);
        token
    }

    pub(crate) fn get_mut(&mut self, token: u64) -> Option<&mut Slot> {
        let (generation, slot) = self.slots.get_mut(token as u32 as usize)?;
        if u64::from(*generation) == token >> 32 { slot.as_mut() } else { None }
    }

    pub(crate) fn get(&self, token: u64) -> Option<&Slot> {
        let (generation, slot) = self.slots.get(token as u32 as usize)?;
        if u64::from(*generation) == token >> 32 { slot.as_ref() } else { None }
    }

    pub(crate) fn remove(&mut self, token: u64) -> Option<Slot> {
        let (generation, slot) = self.slots.get_mut(token as u32 as usize)?;
        if u64::from(*generation) != token >> 32 {
            return None;
        }
        let gone = slot.take()?;
        *generation = generation.wrapping_add(1);
        self.free.push(token as u32);
        let name = (gone.host, gone.call);
        if self.by_name.get(&name) == Some(&token) {
            self.by_name.remove(&name);
        }
        Some(gone)
    }

    pub(crate) fn has(&self, host: usize, call: CallRef) -> bool {
        self.by_name.contains_key(&(host, call))
    }

    /// The token of a call that has not started.
    pub(crate) fn waiting(&self, host: usize, call: CallRef) -> Option<u64> {
        let token = *self.by_name.get(&(host, call))?;
        self.get(token).is_some_and(|slot| slot.outgoing.is_some()).then_some(token)
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}
