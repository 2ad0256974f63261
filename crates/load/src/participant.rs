//! One participant: its limit, its ramp, its hold, its backlog.
//!
//! ```text
//!            not taken · does not know us · no answers · refusals jump
//!   admitting ────────────────────────────────────────────────────────► held ◄──┐
//!      ▲                                                                 │      │ tells nothing better:
//!      │ every success opens it by one                             one probe    │ next probe later
//!      └───────────── opening, from 2 ◄─────────────────────────────────┴──────┘
//! ```
//! Opening by one for each success doubles the limit with every round of calls: 2, 4, 8, … up to the limit, and
//! never a stampede.

pub(crate) mod ended;
mod outlook;

use hashbrown::HashMap;
use model::Timestamp;
use model::mutant::{Mutant, is_planted};

use crate::backlog::Backlog;
use crate::budget::Budget;
use crate::call::{CallRef, Class, Learn, ParkReason, ParticipantSpec, Released, Verdict};
use crate::endpoints::{Choice, Endpoints};
use crate::health::{Health, Hold};
use crate::learner::{By, Learner};
use crate::manager::{CallHash, Place};
use crate::pace::Pace;
use crate::quota::Quota;
use crate::room::Room;
use crate::throughput::Throughput;
use crate::{BACKLOG_CALLS_MAX, HELD_CALLS_MAX};

/// Calls asked for that have not come by then are asked for again.
const ASKED_FOR_US: u64 = 1_000_000;
/// Parked calls are here so long after they were asked for, as a rule: an entry of the journal is in between.
const ASKING_S: f64 = 0.05;
/// The backlog is searched for passed deadlines no more often than this.
const EXPIRY_EVERY_US: u64 = 50_000;
/// How often a gate is looked at when nothing ends at its participant.
const GATE_LOOK: std::time::Duration = std::time::Duration::from_millis(50);
/// Where learning begins.
const INITIAL: u32 = 20;

#[derive(Debug)]
pub(crate) struct Participant {
    pub(crate) spec: ParticipantSpec,
    pub(crate) is_paused: bool,
    /// What the ramp allows; at the declared limit once it has opened.
    open: u32,
    /// What was learned, of all endpoints together; `u32::MAX` if that does not rule.
    learned: u32,
    /// What a call takes at rest, in microseconds, at the best endpoint; 0 if nothing is known.
    rest_us: f64,
    /// Places still taken, it is supposed, by calls that were not answered in time: the participant may be at work
    /// on them. They go with the time that a call takes.
    ghosts: f64,
    ghosts_at: Timestamp,
    /// When they are counted again, should nothing else happen.
    ghosts_look: Timestamp,
    pub(crate) quota: Quota,
    pub(crate) budget: Budget,
    /// Calls in a row that were not taken, of those that started after the first of them was refused.
    push_run: u32,
    push_began: Timestamp,
    /// One bit for each of the last calls: set if it was taken.
    lately_taken: u32,
    /// First calls of transactions that need this participant later, and wait for it.
    pub(crate) gate: Backlog,
    /// When the gate is looked at again, should nothing else happen.
    gate_look: Timestamp,
    coming: outlook::Coming,
    /// Calls that came too late to be of use.
    pub(crate) doomed: u32,
    index: u32,
    pub(crate) in_flight: u32,
    pace: Option<Pace>,
    pub(crate) endpoints: Endpoints,
    pub(crate) backlog: Backlog,
    health: Health,
    pub(crate) hold: Option<Hold>,
    pub(crate) not_taken: u64,
    pub(crate) parked: u64,
    asked: u64,
    asked_until: Timestamp,
    expiry_at: Timestamp,
    pub(crate) throughput: Throughput,
}

impl Participant {
    pub(crate) fn new(index: u32, spec: ParticipantSpec) -> Self {
        let mut participant = Self {
            is_paused: false,
            open: u32::MAX,
            learned: u32::MAX,
            rest_us: 0.0,
            ghosts: 0.0,
            ghosts_at: Timestamp::ZERO,
            ghosts_look: Timestamp::ZERO,
            quota: Quota::default(),
            budget: Budget::default(),
            push_run: 0,
            push_began: Timestamp::ZERO,
            lately_taken: 0,
            gate: Backlog::new(),
            gate_look: Timestamp::ZERO,
            coming: outlook::Coming::default(),
            doomed: 0,
            index,
            in_flight: 0,
            pace: None,
            endpoints: Endpoints::new(spec.endpoints),
            backlog: Backlog::new(),
            health: Health::default(),
            hold: None,
            not_taken: 0,
            parked: 0,
            asked: 0,
            asked_until: Timestamp::ZERO,
            expiry_at: Timestamp::ZERO,
            throughput: Throughput::new(),
            spec,
        };
        participant.pace = participant.spec.max_per_second.map(Pace::new);
        participant.open = participant.most();
        participant.fit_learners();
        participant
    }

    /// Gives every endpoint a learner, or none, and counts again what they allow.
    fn fit_learners(&mut self) {
        let (most, learn) = (self.most(), self.spec.learn);
        let each = self.spec.initial_in_flight.unwrap_or(INITIAL).div_ceil(u32::from(self.spec.endpoints.max(1)));
        let index = u64::from(self.index);
        for (place, endpoint) in self.endpoints.all_mut().iter_mut().enumerate() {
            match &mut endpoint.learner {
                _ if learn == Learn::Off => endpoint.learner = None,
                Some(learner) => learner.set_most(most),
                none => *none = Some(Box::new(Learner::new(index << 16 | place as u64, each, most))),
            }
        }
        self.count_learned();
    }

    fn count_learned(&mut self) {
        self.rest_us = self.endpoints.rest_us();
        self.learned = if self.spec.learn == Learn::On { self.endpoints.learned().max(1) } else { u32::MAX };
    }

    /// The learned limit rules.
    pub(crate) fn is_learning(&self) -> bool {
        self.spec.learn == Learn::On
    }

    /// Takes other numbers; calls under way and waiting stay.
    pub(crate) fn set(&mut self, spec: ParticipantSpec) {
        let was_open = self.open >= self.most();
        if spec.max_per_second != self.spec.max_per_second {
            self.pace = spec.max_per_second.map(Pace::new);
        }
        self.endpoints.set_count(spec.endpoints);
        self.spec = spec;
        self.open = if was_open { self.most() } else { self.open.min(self.most()) };
        self.fit_learners();
    }

    fn most(&self) -> u32 {
        self.spec.max_in_flight.max(1)
    }

    /// How many calls may be under way now.
    pub(crate) fn limit(&self) -> u32 {
        let steered = match self.spec.pinned_in_flight {
            Some(pinned) => pinned.max(1),
            None => self.learned.max(self.spec.min_in_flight.unwrap_or(1)),
        };
        self.open.min(steered).min(self.most())
    }

    /// The ramp is what limits it.
    pub(crate) fn is_opening(&self) -> bool {
        self.open < self.most() && self.limit() == self.open
    }

    /// Places taken: calls under way, and those that may still be at work over there.
    fn taken_places(&self, now: Timestamp) -> u32 {
        self.in_flight.saturating_add(self.ghosts(now).floor() as u32)
    }

    fn ghosts(&self, now: Timestamp) -> f64 {
        if self.ghosts < 0.05 {
            return 0.0;
        }
        let age = now.0.saturating_sub(self.ghosts_at.0) as f64 / self.usual_latency_us();
        // Gone after twice the usual latency.
        self.ghosts * (1.0 - age / 2.0).max(0.0)
    }

    /// What a call takes, in microseconds; a tenth of a second if nothing is known.
    fn usual_latency_us(&self) -> f64 {
        let rest = self.rest_us();
        if rest > 0.0 { rest.clamp(1_000.0, 30e6) } else { 100_000.0 }
    }

    /// Tells the learner of an endpoint how many calls are under way there.
    pub(crate) fn note(&mut self, now: Timestamp, endpoint: u16) {
        if self.spec.learn == Learn::Off {
            return;
        }
        let waits = !self.backlog.is_empty() || self.parked > 0;
        if !self.backlog.is_empty() && self.quota.next(now) > now {
            self.quota.holds_back(now);
        }
        let is_full = self.taken_places(now) >= self.limit();
        // Right after a start a pace always holds the next; where all places are taken it is what holds calls back only
        // if it does so for longer than until the next place is free.
        let (in_flight, paced) = (f64::from(self.in_flight.max(1)), self.paced(now));
        let is_wanted = waits && self.hold.is_none();
        // What a person has fixed is looked at as it is: it is known what is there when they let go.
        let is_learning = self.is_learning() && self.spec.pinned_in_flight.is_none();
        let ghosts = self.ghosts > 0.0;
        let Some(endpoint) = self.endpoints.all_mut().get_mut(usize::from(endpoint)) else { return };
        let Some(learner) = &mut endpoint.learner else { return };
        let is_bound = if is_learning { endpoint.in_flight >= learner.limit() || is_full && ghosts } else { is_full };
        let free_us = if is_full { learner.latency_us() / in_flight } else { 0.0 };
        let is_paced = paced.0 > now.0.saturating_add(free_us as u64);
        let by = match is_wanted {
            true if is_paced => By::Pace,
            true if is_bound => By::Limit,
            _ => By::Nothing,
        };
        learner.moved(now, endpoint.in_flight, by);
    }

    /// Opens again, from `from` on.
    pub(crate) fn open_from(&mut self, from: u32) {
        self.open = from.max(self.spec.min_in_flight.unwrap_or(0)).clamp(1, self.most());
    }

    /// Whether the next call may start now, wherever it goes.
    pub(crate) fn can_start(&self, now: Timestamp) -> bool {
        let by_limit = match &self.hold {
            Some(_) if is_planted(Mutant::HeldIsFlooded) => self.in_flight < self.most(),
            Some(hold) => hold.probe_is_due(now) && self.in_flight < self.most(),
            None if is_planted(Mutant::LimitExceededByOne) => self.in_flight <= self.limit(),
            None => self.taken_places(now) < self.limit(),
        };
        by_limit && self.paced(now) <= now
    }

    /// When pace and quota allow the next start; a time that has come means now.
    fn paced(&self, now: Timestamp) -> Timestamp {
        let declared = self.pace.as_ref().map_or(Timestamp::ZERO, Pace::next);
        declared.max(self.quota.next(now))
    }

    /// Whether this call is one that only the budget of repeats may let go.
    pub(crate) fn may_go(&self, now: Timestamp, call: &Released) -> bool {
        call.class != Class::Retry || self.budget.allows(now)
    }

    /// Nothing waits whose turn could come.
    pub(crate) fn is_next(&self, now: Timestamp) -> bool {
        self.backlog.is_empty() || !self.backlog.has_next(self.repeats_may_go(now))
    }

    /// The budget is looked at only if it matters.
    fn repeats_may_go(&self, now: Timestamp) -> bool {
        !self.backlog.has_repeats() || self.budget.allows(now)
    }

    /// Tells all learners: something began to wait.
    pub(crate) fn note_all(&mut self, now: Timestamp) {
        for endpoint in 0..self.endpoints.count() {
            self.note(now, endpoint as u16);
        }
    }

    /// Where this call may go now, or why it must be parked.
    pub(crate) fn place(&mut self, now: Timestamp, call: &Released) -> Result<u16, ParkReason> {
        match self.endpoints.choose(now, call.pinned_endpoint, self.spec.learn == Learn::On) {
            Choice::To(endpoint) => Ok(endpoint),
            Choice::Gone => Err(ParkReason::EndpointGone),
            Choice::Held(until) => {
                // What is parked for this endpoint is not worth asking for before then.
                self.asked_until = self.asked_until.max(until);
                self.asked = self.asked.max(self.parked.saturating_add(1));
                Err(ParkReason::Held)
            }
        }
    }

    /// A call starts. Gives how many others are under way where it goes.
    pub(crate) fn start(&mut self, now: Timestamp, released: &Released, endpoint: u16) -> u32 {
        let call = released.call;
        if released.class == Class::Retry {
            self.budget.took(now);
        }
        self.in_flight += 1;
        if let Some(pace) = &mut self.pace
            && !is_planted(Mutant::PaceIgnored)
        {
            pace.started(now);
        }
        self.quota.started(now);
        let others = self.endpoints.started(endpoint, call);
        if let Some(hold) = &mut self.hold {
            hold.probe = Some(call);
        }
        self.note(now, endpoint);
        others
    }

    /// Starts what may start of those that wait.
    pub(crate) fn drain(
        &mut self,
        index: u32,
        now: Timestamp,
        calls: &mut HashMap<CallRef, Place, CallHash>,
        out: &mut Vec<Verdict>,
    ) {
        self.ghosts_look = now.after(std::time::Duration::from_micros((self.usual_latency_us() / 4.0) as u64));
        while !self.backlog.is_empty() && self.can_start(now) {
            let Some(next) = self.backlog.pop(self.repeats_may_go(now)) else { return };
            let call = next.call;
            out.push(if next.deadline <= now && !is_planted(Mutant::ExpiredCallStarts) {
                calls.remove(&call);
                Verdict::Expired { call, participant: index }
            } else {
                match self.place(now, &next) {
                    Ok(endpoint) => {
                        let others = self.start(now, &next, endpoint);
                        let (operation, route, since) = (next.operation, 0, now);
                        let place = Place::InFlight { participant: index, endpoint, operation, route, since, others };
                        calls.insert(call, place);
                        Verdict::Start { call, participant: index, endpoint }
                    }
                    Err(reason) => {
                        calls.remove(&call);
                        Verdict::Park { call, participant: index, reason }
                    }
                }
            });
        }
    }

    /// Parks the newest of those that wait until no more than `keep` are left.
    pub(crate) fn park_all_but(
        &mut self,
        keep: usize,
        reason: ParkReason,
        index: u32,
        calls: &mut HashMap<CallRef, Place, CallHash>,
        out: &mut Vec<Verdict>,
    ) {
        while self.backlog.len() > keep {
            let Some(Released { call, .. }) = self.backlog.pop_newest() else { return };
            calls.remove(&call);
            out.push(Verdict::Park { call, participant: index, reason });
        }
    }

    /// The gate is looked at now.
    pub(crate) fn looks_at_gate(&mut self, now: Timestamp) {
        self.gate_look = now.after(GATE_LOOK);
    }

    /// Parks all that wait at the gate.
    pub(crate) fn park_gate(&mut self, calls: &mut HashMap<CallRef, Place, CallHash>, out: &mut Vec<Verdict>) {
        while let Some(Released { call, participant, .. }) = self.gate.pop_newest() {
            calls.remove(&call);
            out.push(Verdict::Park { call, participant, reason: ParkReason::Paused });
        }
    }

    /// Begins to learn anew.
    pub(crate) fn forget(&mut self) {
        for endpoint in self.endpoints.all_mut() {
            endpoint.learner = None;
            endpoint.room = Room::default();
        }
        self.quota.forget();
        self.ghosts = 0.0;
        self.fit_learners();
    }

    /// Counts again after its learners were told something.
    pub(crate) fn recalled(&mut self) {
        self.count_learned();
    }

    /// Takes those whose deadline has come.
    pub(crate) fn expire(
        &mut self,
        index: u32,
        now: Timestamp,
        calls: &mut HashMap<CallRef, Place, CallHash>,
        out: &mut Vec<Verdict>,
    ) {
        if now < self.backlog.deadline_min().min(self.gate.deadline_min()) || now < self.expiry_at {
            return;
        }
        self.expiry_at = Timestamp(now.0.saturating_add(EXPIRY_EVERY_US));
        self.gate.take_expired(now, |late| {
            calls.remove(&late.call);
            out.push(Verdict::Expired { call: late.call, participant: late.participant });
        });
        self.backlog.take_expired(now, |late| {
            calls.remove(&late.call);
            out.push(Verdict::Expired { call: late.call, participant: index });
        });
    }

    /// The caller says how many are parked.
    pub(crate) fn set_parked(&mut self, count: u64) {
        self.asked = self.asked.saturating_sub(self.parked.saturating_sub(count));
        self.parked = count;
    }

    /// How many parked calls would find room, beyond those asked for already.
    fn wanted(&self, now: Timestamp) -> u64 {
        let asked = if now >= self.asked_until { 0 } else { self.asked };
        let unasked = self.parked.saturating_sub(asked);
        match &self.hold {
            Some(hold) => u64::from(hold.probe_is_due(now) && self.backlog.is_empty() && asked == 0).min(unasked),
            None => {
                // A round of calls under way and another that waits for it, or what gets done until more can be here.
                let meanwhile = (self.throughput.per_second(now) * ASKING_S) as u64;
                let target = (2 * u64::from(self.limit())).max(meanwhile).min(BACKLOG_CALLS_MAX as u64 / 2);
                let here = u64::from(self.in_flight) + self.backlog.len() as u64 + asked;
                let room = target.saturating_sub(here);
                // Few large entries rather than many small ones.
                if room >= (target / 4).max(1) || room >= unasked { room.min(unasked) } else { 0 }
            }
        }
    }

    /// Asks for parked calls.
    pub(crate) fn want(&mut self, now: Timestamp) -> u32 {
        if self.parked == 0 || self.is_paused || is_planted(Mutant::ParkedNeverAskedFor) {
            return 0;
        }
        let count = self.wanted(now);
        if count > 0 {
            if now >= self.asked_until {
                self.asked = 0;
            }
            self.asked += count;
            self.asked_until = Timestamp(now.0.saturating_add(ASKED_FOR_US));
        }
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// When there is something to do without anybody asking; a time that has come means now.
    pub(crate) fn next_wake(&self, now: Timestamp) -> Timestamp {
        let mut wake = Timestamp::NEVER;
        if !self.backlog.is_empty() {
            let mut paced = self.paced(now);
            if !self.backlog.has_next(self.repeats_may_go(now)) {
                paced = paced.max(self.budget.next(now));
            }
            if self.backlog.deadline_min() != Timestamp::NEVER {
                wake = wake.min(self.backlog.deadline_min().max(self.expiry_at));
            }
            match &self.hold {
                Some(hold) if hold.probe.is_none() && self.in_flight < self.most() => {
                    wake = wake.min(hold.probe_at.max(paced));
                }
                Some(_) => {}
                None if self.taken_places(now) < self.limit() => wake = wake.min(paced),
                // Those that may still be at work go with time.
                None if self.in_flight < self.limit() => wake = wake.min(self.ghosts_look),
                None => {}
            }
        }
        if !self.gate.is_empty() {
            let deadline = self.gate.deadline_min();
            if deadline != Timestamp::NEVER {
                wake = wake.min(deadline.max(self.expiry_at));
            }
            // What is expected fades.
            wake = wake.min(self.gate_look);
        }
        if self.parked > 0 && !self.is_paused {
            if self.wanted(now) > 0 {
                wake = wake.min(now);
            } else if self.asked > 0 && self.asked_until > now {
                wake = wake.min(self.asked_until);
            }
            if let Some(hold) = &self.hold
                && hold.probe.is_none()
                && self.backlog.is_empty()
                && hold.probe_at > now
            {
                wake = wake.min(hold.probe_at);
            }
        }
        wake
    }

    /// Whether a call may wait in memory now.
    pub(crate) fn may_queue(&self, call: &Released) -> Result<(), ParkReason> {
        if self.hold.is_some() {
            if self.backlog.has_room_while_held() { Ok(()) } else { Err(ParkReason::Held) }
        } else if self.backlog.has_room(call) {
            Ok(())
        } else {
            Err(ParkReason::BacklogFull)
        }
    }

    /// An ordinary call finds no place to wait.
    pub(crate) fn is_full(&self) -> bool {
        if self.hold.is_some() { !self.backlog.has_room_while_held() } else { !self.backlog.has_ordinary_room() }
    }

    /// How many stay in memory when a hold begins.
    pub(crate) const KEPT_WHILE_HELD: usize = HELD_CALLS_MAX;
}
