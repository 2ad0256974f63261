//! All participants of one node, and the calls that are here.

use std::hash::{BuildHasher, Hasher};

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use model::Timestamp;
use model::mutant::{Mutant, is_planted};

use smallvec::SmallVec;

use crate::call::{
    CallRef, Class, Decision, Evidence, ParkReason, ParticipantSpec, Released, Sample, Verdict, Wants, Which, Withdraw,
};
use crate::participant::Participant;
use crate::participant::ended::At;
use crate::report::ParticipantReport;
use crate::share::{Asked, Joiner, Share, Shares};
use crate::snapshot::{self, BadSnapshot};

/// Decides when and where released calls start. One per node; the callers hold it one at a time.
///
/// `out` is always appended to, never cleared.
#[derive(Debug, Default)]
pub struct LoadManager {
    participants: Vec<Option<Participant>>,
    calls: HashMap<CallRef, Place, CallHash>,
    is_paused: bool,
    /// What transactions need after a call, by route.
    routes: Vec<SmallVec<[u32; ROUTE_MAX]>>,
    shares: Shares,
}

/// Participants of a route that are looked at; later ones are not.
const ROUTE_MAX: usize = 8;
/// Routes, at most; a number beyond has none.
const ROUTES_MAX: u32 = 65_536;

/// Where a call is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    Backlog {
        participant: u32,
        number: u32,
    },
    /// Before its first call: it waits for this participant, which it needs later.
    Gate {
        participant: u32,
        number: u32,
    },
    /// `route` only if its transaction is expected at the participants of that route.
    InFlight {
        participant: u32,
        endpoint: u16,
        operation: u16,
        route: u32,
        since: Timestamp,
        /// Others under way at that endpoint when it started.
        others: u32,
    },
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
            none => *none = Some(Participant::new(index, spec)),
        }
        self.shares.renew(index);
    }

    /// This process took over from another, or from its own earlier life: calls of that one may still be running
    /// over there, so every participant opens as a ramp, from half of its limit.
    pub fn new_epoch(&mut self) {
        for participant in self.participants.iter_mut().flatten() {
            let half = participant.spec.max_in_flight / 2;
            if !is_planted(Mutant::RestartOpensAtOnce) {
                participant.open_from(half.max(1));
            }
        }
    }

    /// A planted mistake: limits are never moved to see what happens. For participants that are set by now.
    #[cfg(feature = "mutants")]
    pub fn plant_no_dither(&mut self) {
        for participant in self.participants.iter_mut().flatten() {
            let learners = participant.endpoints.all_mut().iter_mut().filter_map(|e| e.learner.as_mut());
            learners.for_each(|learner| learner.plant_no_dither());
        }
    }

    /// What transactions need after a call that is released with this number: participants in the order of calls.
    /// Number 0 and numbers past 65,535 mean that nothing is known.
    pub fn set_route(&mut self, route: u32, participants: &[u32]) {
        if route == 0 || route >= ROUTES_MAX {
            return;
        }
        let at = route as usize;
        if self.routes.len() <= at {
            self.routes.resize_with(at + 1, SmallVec::new);
        }
        self.routes[at] = participants.iter().copied().take(ROUTE_MAX).collect();
    }

    /// A call may start. It ends in exactly one of: started, parked, withdrawn, expired.
    pub fn release(&mut self, now: Timestamp, released: Released) -> Decision {
        let index = released.participant;
        let Some(participant) = self.participants.get_mut(index as usize).and_then(Option::as_mut) else {
            return Decision::Park { reason: ParkReason::Unknown };
        };
        if self.calls.contains_key(&released.call) || self.shares.has_joined(released.call) {
            return Decision::Queued;
        }
        if released.deadline <= now && !is_planted(Mutant::ExpiredCallStarts) {
            return Decision::Expired;
        }
        if (self.is_paused || participant.is_paused) && !is_planted(Mutant::PausedIsCalled) {
            return Decision::Park { reason: ParkReason::Paused };
        }
        if released.progress > 0 && released.class == Class::First {
            participant.arrived(now);
        }
        let mut released = released;
        if released.deadline != Timestamp::NEVER {
            match self.latest_start(now, &released) {
                Some(latest) => released.deadline = latest,
                None => return Decision::Expired,
            }
        }
        if released.route != 0
            && let Some(decision) = self.wait_at_gate(now, &released)
        {
            return decision;
        }
        self.go_on(now, released)
    }

    /// Past the gate: starts, waits in the backlog, or is parked.
    fn go_on(&mut self, now: Timestamp, released: Released) -> Decision {
        let index = released.participant;
        let Some(participant) = self.participants.get_mut(index as usize).and_then(Option::as_mut) else {
            return Decision::Park { reason: ParkReason::Unknown };
        };
        let starts = participant.is_next(now) && participant.can_start(now) && participant.may_go(now, &released);
        // One that is bound to an endpoint may be better parked than let wait.
        let endpoint = match released.pinned_endpoint {
            None if !starts => None,
            _ => match participant.place(now, &released) {
                Ok(endpoint) => Some(endpoint),
                Err(reason) => return Decision::Park { reason },
            },
        };
        if let (true, Some(endpoint)) = (starts, endpoint) {
            let others = participant.start(now, &released, endpoint);
            let route = self.expect(now, &released);
            let operation = released.operation;
            let place = Place::InFlight { participant: index, endpoint, operation, route, since: now, others };
            self.calls.insert(released.call, place);
            return Decision::Start { endpoint };
        }
        match participant.may_queue(&released) {
            Ok(()) => {
                let was_empty = participant.backlog.is_empty();
                let work = participant.work_of(released.operation);
                let number = participant.backlog.push(released, work);
                self.calls.insert(released.call, Place::Backlog { participant: index, number });
                if was_empty {
                    participant.note_all(now);
                }
                Decision::Queued
            }
            Err(reason) => Decision::Park { reason },
        }
    }

    /// A read may start, or take the answer to an equal one: see [`Share`]. A call that waits for another's answer is
    /// [`Decision::Queued`], and ends in one of the ways that [`LoadManager::release`] says or in an answer.
    pub fn release_shared(&mut self, now: Timestamp, released: Released, share: Share) -> Decision {
        if self.calls.contains_key(&released.call) || self.shares.has_joined(released.call) {
            return Decision::Queued;
        }
        self.ask_shared(now, released, share, 0)
    }

    fn ask_shared(&mut self, now: Timestamp, released: Released, share: Share, joins: u8) -> Decision {
        let known = self.participants.get(released.participant as usize).and_then(Option::as_ref);
        if released.deadline <= now || self.is_paused || known.is_none_or(|p| p.is_paused) {
            return self.release(now, released);
        }
        match self.shares.ask(now, &released, &share, joins) {
            Asked::Answered { by, age } => Decision::Answered { by, age },
            Asked::Joined => Decision::Queued,
            Asked::Goes => {
                let decision = self.release(now, released);
                self.shares.lead(now, &released, &share, decision);
                decision
            }
        }
    }

    /// Those that waited for a call in vain ask again; the first of equal ones leads.
    fn ask_again(&mut self, now: Timestamp, joiners: Vec<Joiner>, out: &mut Vec<Verdict>) {
        for Joiner { released, share, joins, .. } in joiners {
            let (call, participant) = (released.call, released.participant);
            match self.ask_shared(now, released, share, joins) {
                Decision::Start { endpoint } => out.push(Verdict::Start { call, participant, endpoint }),
                Decision::Queued => {}
                Decision::Park { reason } => out.push(Verdict::Park { call, participant, reason }),
                Decision::Expired => out.push(Verdict::Expired { call, participant }),
                Decision::Answered { by, age } => out.push(Verdict::Answered { call, participant, by, age }),
            }
        }
    }

    /// Those that wait for the calls of these verdicts hear of them.
    fn follow(&mut self, now: Timestamp, from: usize, out: &mut Vec<Verdict>) {
        let mut at = from;
        while !self.shares.is_idle()
            && let Some(verdict) = out.get(at).copied()
        {
            match verdict {
                Verdict::Start { call, .. } => self.shares.started(now, call),
                Verdict::Park { call, .. } | Verdict::Expired { call, .. } => {
                    let joiners = self.shares.lost(call);
                    self.ask_again(now, joiners, out);
                }
                Verdict::Answered { .. } => {}
            }
            at += 1;
        }
    }

    /// Answers that are not kept any more, by the calls that they were given to: once each.
    pub fn take_dropped(&mut self) -> std::vec::Drain<'_, CallRef> {
        self.shares.take_dropped()
    }

    /// Answers that are kept, and their bytes.
    pub fn kept(&self) -> (usize, usize) {
        self.shares.kept()
    }

    /// Calls that wait for another's answer.
    pub fn joined(&self) -> usize {
        self.shares.waiting()
    }

    /// When it must start at the latest to be of use: its deadline, less what the work from here on takes. `None`:
    /// that is over. Every thirty-second goes all the same, so that a wrong idea does not last.
    fn latest_start(&mut self, now: Timestamp, released: &Released) -> Option<Timestamp> {
        let known = |index: u32| self.participants.get(index as usize).and_then(Option::as_ref);
        let first = known(released.participant);
        let is_contested = first.is_some_and(Participant::is_contested);
        let mut need = first.map(|p| p.need(released.operation, false)).unwrap_or_default();
        if let Some(route) = self.routes.get(released.route as usize) {
            for later in route.iter().filter_map(|index| known(*index)) {
                need.then(later.need_later(now, is_contested));
            }
        }
        let needed = need.us();
        let latest = Timestamp(released.deadline.0.saturating_sub(needed as u64));
        if latest > now {
            return Some(latest);
        }
        let participant = self.participants.get_mut(released.participant as usize).and_then(Option::as_mut)?;
        participant.doomed = participant.doomed.wrapping_add(1);
        participant.doomed.is_multiple_of(32).then_some(released.deadline)
    }

    /// A first call waits while a participant that its transaction needs later has enough to do.
    fn wait_at_gate(&mut self, now: Timestamp, released: &Released) -> Option<Decision> {
        let shut = self.shut_gate(now, released)?;
        let participant = self.participants.get_mut(shut as usize).and_then(Option::as_mut)?;
        if !participant.gate.has_room(released) {
            // Beyond that memory should hold no more; if it is down, what it needs is better parked.
            return participant.hold.is_some().then_some(Decision::Park { reason: ParkReason::Bottleneck });
        }
        let number = participant.gate.push(*released, 1.0);
        self.calls.insert(released.call, Place::Gate { participant: shut, number });
        Some(Decision::Queued)
    }

    /// Which of the participants that come later has enough to do.
    fn shut_gate(&self, now: Timestamp, released: &Released) -> Option<u32> {
        if released.progress > 0 || released.class != Class::First {
            return None;
        }
        let known = |index: u32| self.participants.get(index as usize).and_then(Option::as_ref);
        let mut way_us = known(released.participant).map_or(0.0, Participant::rest_us);
        for index in self.routes.get(released.route as usize)? {
            let Some(participant) = known(*index) else { continue };
            if *index != released.participant && !participant.has_room_for_more(now, way_us) {
                return Some(*index);
            }
            way_us += participant.rest_us();
        }
        None
    }

    /// A transaction has begun: it will arrive at the participants of its route. Returns the route, if so.
    fn expect(&mut self, now: Timestamp, released: &Released) -> u32 {
        if released.progress > 0 || released.class != Class::First || released.route == 0 {
            return 0;
        }
        let Some(route) = self.routes.get(released.route as usize) else { return 0 };
        for index in route {
            if let Some(Some(participant)) = self.participants.get_mut(*index as usize) {
                participant.expect(now);
            }
        }
        released.route
    }

    /// Lets those go on that wait for this participant, as far as it has room.
    fn open_gate(&mut self, index: u32, now: Timestamp, out: &mut Vec<Verdict>) {
        if let Some(Some(participant)) = self.participants.get_mut(index as usize) {
            participant.looks_at_gate(now);
        }
        loop {
            let Some(Some(participant)) = self.participants.get_mut(index as usize) else { return };
            if participant.gate.is_empty() || !participant.has_room_for_more(now, participant.rest_us()) {
                return;
            }
            let Some(released) = participant.gate.pop(true) else { return };
            self.calls.remove(&released.call);
            let decision = match self.wait_at_gate(now, &released) {
                // By the same gate: it is shut again.
                Some(Decision::Queued) => return,
                Some(decision) => decision,
                None => self.go_on(now, released),
            };
            let (call, participant) = (released.call, released.participant);
            match decision {
                Decision::Start { endpoint } => out.push(Verdict::Start { call, participant, endpoint }),
                Decision::Queued => {}
                Decision::Park { reason } => out.push(Verdict::Park { call, participant, reason }),
                Decision::Expired | Decision::Answered { .. } => out.push(Verdict::Expired { call, participant }),
            }
        }
    }

    /// Learned limits, quotas and rates in bytes, to be given to [`LoadManager::restore`] later.
    pub fn snapshot(&self, now: Timestamp) -> Vec<u8> {
        snapshot::write(now, self.participants.iter().flatten())
    }

    /// Takes what was learned before for the participants that are set by now, by name and aged: limits begin at
    /// half of what they were. Says how many were known. A snapshot that cannot be read changes nothing.
    pub fn restore(&mut self, now: Timestamp, bytes: &[u8]) -> Result<usize, BadSnapshot> {
        snapshot::restore(now, bytes, &mut self.participants)
    }

    /// Forgets everything that was learned of a participant: limits, latencies, quotas.
    pub fn forget(&mut self, participant: u32) {
        if let Some(Some(participant)) = self.participants.get_mut(participant as usize) {
            participant.forget();
        }
    }

    /// A started call has ended. Calls that are not under way here are ignored, so telling an end twice does no harm.
    pub fn finish(&mut self, now: Timestamp, call: CallRef, sample: Sample, out: &mut Vec<Verdict>) {
        let from = out.len();
        self.end(now, call, sample, out);
        if !self.shares.is_idle() {
            let joiners = self.shares.lost(call);
            self.ask_again(now, joiners, out);
            self.follow(now, from, out);
        }
    }

    /// As [`LoadManager::finish`], with an answer of so many bytes that says yes or no and may serve others: whoever
    /// waits for it is told to take it. True if it is to be kept under the name of this call, until
    /// [`LoadManager::take_dropped`] names it.
    pub fn finish_shared(
        &mut self,
        now: Timestamp,
        call: CallRef,
        sample: Sample,
        answer_bytes: usize,
        out: &mut Vec<Verdict>,
    ) -> bool {
        let from = out.len();
        self.end(now, call, sample, out);
        let is_kept = self.shares.answered(now, call, answer_bytes, out);
        self.follow(now, from, out);
        is_kept
    }

    fn end(&mut self, now: Timestamp, call: CallRef, sample: Sample, out: &mut Vec<Verdict>) {
        let Entry::Occupied(entry) = self.calls.entry(call) else { return };
        let Place::InFlight { participant: index, endpoint, operation, route, since, others } = *entry.get() else {
            return;
        };
        entry.remove();
        let Some(participant) = self.participants.get_mut(index as usize).and_then(Option::as_mut) else { return };
        if participant.ended(now, call, At { endpoint, others, since, operation }, sample) {
            participant.park_all_but(Participant::KEPT_WHILE_HELD, ParkReason::Held, index, &mut self.calls, out);
        }
        participant.drain(index, now, &mut self.calls, out);
        participant.note(now, endpoint);
        let has_gate = !participant.gate.is_empty();
        if route != 0 && sample.evidence == Evidence::Refused {
            // Its transaction goes no further.
            for later in self.routes.get(route as usize).into_iter().flatten() {
                if let Some(Some(participant)) = self.participants.get_mut(*later as usize) {
                    participant.never_comes(now);
                }
            }
        }
        if has_gate {
            self.open_gate(index, now, out);
        }
    }

    /// Takes a call back if it has not started.
    pub fn withdraw(&mut self, call: CallRef) -> Withdraw {
        if self.shares.leave(call) {
            return Withdraw::Withdrawn;
        }
        let withdrawn = self.take_back(call);
        if withdrawn == Withdraw::Withdrawn {
            self.shares.orphan(call);
        }
        withdrawn
    }

    fn take_back(&mut self, call: CallRef) -> Withdraw {
        match self.calls.get(&call) {
            None => Withdraw::Unheard,
            Some(Place::InFlight { .. }) => Withdraw::InFlight,
            Some(Place::Backlog { participant, number }) => {
                if let Some(Some(participant)) = self.participants.get_mut(*participant as usize)
                    && !is_planted(Mutant::WithdrawnStaysQueued)
                {
                    participant.backlog.remove(*number);
                }
                self.calls.remove(&call);
                Withdraw::Withdrawn
            }
            Some(Place::Gate { participant, number }) => {
                if let Some(Some(participant)) = self.participants.get_mut(*participant as usize) {
                    participant.gate.remove(*number);
                }
                self.calls.remove(&call);
                Withdraw::Withdrawn
            }
        }
    }

    /// Does what time alone brings: paced starts, probes, passed deadlines, and asks for parked calls.
    pub fn tick(&mut self, now: Timestamp, out: &mut Vec<Verdict>, wants: &mut Vec<Wants>) {
        let from = out.len();
        let orphans = self.shares.take_orphans();
        self.ask_again(now, orphans, out);
        self.shares.pass_time(now);
        for index in 0..self.participants.len() as u32 {
            self.open_gate(index, now, out);
            let Some(participant) = &mut self.participants[index as usize] else { continue };
            participant.throughput.turn(now);
            participant.expire(index, now, &mut self.calls, out);
            participant.drain(index, now, &mut self.calls, out);
            participant.note_all(now);
            if !self.is_paused {
                let count = participant.want(now);
                if count > 0 {
                    wants.push(Wants { participant: index, count });
                }
            }
        }
        self.follow(now, from, out);
    }

    /// When [`LoadManager::tick`] is next worth calling; a time that has come means now. It does not move while nothing
    /// else happens, so that asking again and again comes to it. `None`: only after a
    /// release, an end, or another change.
    pub fn next_wake(&self, now: Timestamp) -> Option<Timestamp> {
        if self.shares.has_orphans() {
            return Some(now);
        }
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

    /// No call starts any more; those that wait are parked, those under way go on. Calls that waited for an answer to
    /// one of them are parked by the next tick.
    pub fn pause(&mut self, which: Which, out: &mut Vec<Verdict>) {
        let from = out.len();
        match which {
            Which::All => self.is_paused = true,
            Which::One(_) => {}
        }
        for (index, slot) in self.participants.iter_mut().enumerate() {
            let Some(participant) = slot else { continue };
            if which == Which::All {
                participant.park_gate(&mut self.calls, out);
            }
            if which == Which::All || which == Which::One(index as u32) {
                participant.is_paused |= which != Which::All;
                participant.park_all_but(0, ParkReason::Paused, index as u32, &mut self.calls, out);
            }
        }
        for verdict in out.iter().skip(from) {
            self.shares.orphan(verdict.call());
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

    /// All calls are paused.
    pub fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// A call released now, with nothing special about it, would be parked: whoever releases it may as well write
    /// that down at once.
    pub fn would_park(&self, participant: u32) -> bool {
        match self.participants.get(participant as usize).and_then(Option::as_ref) {
            Some(participant) if is_planted(Mutant::PausedIsCalled) => participant.is_full(),
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
