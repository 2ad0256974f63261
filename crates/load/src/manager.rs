//! All participants of one node, and the calls that are here.

use std::hash::{BuildHasher, Hasher};

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use model::Timestamp;

use crate::call::{CallRef, Decision, ParkReason, ParticipantSpec, Released, Sample, Verdict, Wants, Which, Withdraw};
use crate::participant::Participant;
use crate::report::ParticipantReport;

/// Decides when and where released calls start. One per node; the callers hold it one at a time.
///
/// `out` is always appended to, never cleared.
#[derive(Debug, Default)]
pub struct LoadManager {
    participants: Vec<Option<Participant>>,
    calls: HashMap<CallRef, Place, CallHash>,
    is_paused: bool,
}

/// Where a call is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    Backlog { participant: u32, number: u32 },
    InFlight { participant: u32, endpoint: u16 },
}

impl LoadManager {
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a participant's numbers, or makes it. What waits and what is under way stays.
    ///
    /// A lower limit holds at once, for starts; a higher one too, unless the participant is still opening.
    pub fn set_participant(&mut self, index: u32, spec: ParticipantSpec) {
        let at = index as usize;
        if self.participants.len() <= at {
            self.participants.resize_with(at + 1, || None);
        }
        match &mut self.participants[at] {
            Some(participant) => participant.set(spec),
            none => *none = Some(Participant::new(spec)),
        }
    }

    /// This process took over from another, or from its own earlier life: calls of that one may still be running
    /// over there, so every participant opens as a ramp, from half of its limit.
    pub fn new_epoch(&mut self) {
        for participant in self.participants.iter_mut().flatten() {
            let half = participant.spec.max_in_flight / 2;
            participant.open_from(half.max(1));
        }
    }

    /// A call may start. It ends in exactly one of: started, parked, withdrawn, expired.
    pub fn release(&mut self, now: Timestamp, released: Released) -> Decision {
        let index = released.participant;
        let participant = self.participants.get_mut(index as usize).and_then(Option::as_mut);
        let Some(participant) = participant else {
            return Decision::Park { reason: ParkReason::Unknown };
        };
        let entry = match self.calls.entry(released.call) {
            Entry::Occupied(_) => return Decision::Queued,
            Entry::Vacant(entry) => entry,
        };
        if released.deadline <= now {
            return Decision::Expired;
        }
        if self.is_paused || participant.is_paused {
            return Decision::Park { reason: ParkReason::Paused };
        }
        let endpoint = match participant.place(now, &released) {
            Ok(endpoint) => endpoint,
            Err(reason) => return Decision::Park { reason },
        };
        if participant.backlog.is_empty() && participant.can_start(now) {
            participant.start(now, released.call, endpoint);
            entry.insert(Place::InFlight { participant: index, endpoint });
            return Decision::Start { endpoint };
        }
        match participant.may_queue(&released) {
            Ok(()) => {
                let number = participant.backlog.push(released);
                entry.insert(Place::Backlog { participant: index, number });
                Decision::Queued
            }
            Err(reason) => Decision::Park { reason },
        }
    }

    /// A started call has ended. Calls that are not under way here are ignored, so telling an end twice does no harm.
    pub fn finish(&mut self, now: Timestamp, call: CallRef, sample: Sample, out: &mut Vec<Verdict>) {
        let Entry::Occupied(entry) = self.calls.entry(call) else { return };
        let Place::InFlight { participant: index, endpoint } = *entry.get() else { return };
        entry.remove();
        let Some(participant) = self.participants.get_mut(index as usize).and_then(Option::as_mut) else { return };
        if participant.ended(now, call, endpoint, sample) {
            participant.park_all_but(Participant::KEPT_WHILE_HELD, ParkReason::Held, index, &mut self.calls, out);
        }
        participant.drain(index, now, &mut self.calls, out);
    }

    /// Takes a call back if it has not started.
    pub fn withdraw(&mut self, call: CallRef) -> Withdraw {
        match self.calls.get(&call) {
            None => Withdraw::Unheard,
            Some(Place::InFlight { .. }) => Withdraw::InFlight,
            Some(Place::Backlog { participant, number }) => {
                if let Some(Some(participant)) = self.participants.get_mut(*participant as usize) {
                    participant.backlog.remove(*number);
                }
                self.calls.remove(&call);
                Withdraw::Withdrawn
            }
        }
    }

    /// Does what time alone brings: paced starts, probes, passed deadlines, and asks for parked calls.
    pub fn tick(&mut self, now: Timestamp, out: &mut Vec<Verdict>, wants: &mut Vec<Wants>) {
        for (index, slot) in self.participants.iter_mut().enumerate() {
            let Some(participant) = slot else { continue };
            let index = index as u32;
            participant.throughput.turn(now);
            participant.expire(index, now, &mut self.calls, out);
            participant.drain(index, now, &mut self.calls, out);
            if !self.is_paused {
                let count = participant.want(now);
                if count > 0 {
                    wants.push(Wants { participant: index, count });
                }
            }
        }
    }

    /// When [`LoadManager::tick`] is next worth calling; a time that has come means now. `None`: only after a
    /// release, an end, or another change.
    pub fn next_wake(&self, now: Timestamp) -> Option<Timestamp> {
        if self.is_paused {
            return None;
        }
        let earliest = self.participants.iter().flatten().map(|p| p.next_wake(now)).min()?;
        (earliest != Timestamp::NEVER).then_some(earliest)
    }

    /// So many calls of this participant are parked; told whenever it changes.
    pub fn set_parked(&mut self, participant: u32, count: u64) {
        if let Some(Some(participant)) = self.participants.get_mut(participant as usize) {
            participant.set_parked(count);
        }
    }

    /// No call starts any more; those that wait are parked, those under way go on.
    pub fn pause(&mut self, which: Which, out: &mut Vec<Verdict>) {
        match which {
            Which::All => self.is_paused = true,
            Which::One(_) => {}
        }
        for (index, slot) in self.participants.iter_mut().enumerate() {
            let Some(participant) = slot else { continue };
            if which == Which::All || which == Which::One(index as u32) {
                participant.is_paused |= which != Which::All;
                participant.park_all_but(0, ParkReason::Paused, index as u32, &mut self.calls, out);
            }
        }
    }

    /// Calls start again, as a ramp. Also ends a hold of that participant, and takes what it does now for right.
    /// Resuming all does not resume what was paused by itself.
    pub fn resume(&mut self, which: Which) {
        match which {
            Which::All => {
                self.is_paused = false;
                for participant in self.participants.iter_mut().flatten().filter(|p| !p.is_paused) {
                    participant.open_from(1);
                }
            }
            Which::One(index) => {
                if let Some(Some(participant)) = self.participants.get_mut(index as usize) {
                    participant.resume();
                }
            }
        }
    }

    /// How everything stands, by participant.
    pub fn report(&self, now: Timestamp) -> Vec<ParticipantReport> {
        let known = self.participants.iter().enumerate().filter_map(|(i, p)| Some((i, p.as_ref()?)));
        known.map(|(index, p)| ParticipantReport::of(index as u32, p, self.is_paused, now)).collect()
    }

    /// Whether a participant is paused, held, or well.
    pub fn report_state(&self, participant: u32) -> Option<crate::State> {
        let found = self.participants.get(participant as usize)?.as_ref()?;
        Some(ParticipantReport::of(participant, found, self.is_paused, Timestamp::ZERO).state)
    }

    /// A call released now, with nothing special about it, would be parked: whoever releases it may as well write
    /// that down at once.
    pub fn would_park(&self, participant: u32) -> bool {
        match self.participants.get(participant as usize).and_then(Option::as_ref) {
            Some(participant) => self.is_paused || participant.is_paused || participant.is_full(),
            None => false,
        }
    }

    /// Calls under way to this participant, counted here.
    pub fn in_flight(&self, participant: u32) -> u32 {
        self.participants.get(participant as usize).and_then(Option::as_ref).map_or(0, |p| p.in_flight)
    }
}

/// Mixes the two numbers of a [`CallRef`]. The map is never iterated, so its order cannot be seen.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct CallHash(u64);

impl BuildHasher for CallHash {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        Self(0)
    }
}

impl Hasher for CallHash {
    fn finish(&self) -> u64 {
        // The map looks at the low and at the high bits.
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u16(&mut self, n: u16) {
        self.write_u64(u64::from(n));
    }

    fn write_u64(&mut self, n: u64) {
        // Knuth's multiplicative hashing, by the golden ratio of 2^64.
        self.0 = (self.0.rotate_left(29) ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
