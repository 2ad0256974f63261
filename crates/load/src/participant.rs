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

use hashbrown::HashMap;
use model::Timestamp;

use crate::backlog::Backlog;
use crate::call::{CallRef, Evidence, ParkReason, ParticipantSpec, Released, Sample, Verdict};
use crate::endpoints::{Choice, Endpoints};
use crate::health::{Health, Hold, Why};
use crate::manager::{CallHash, Place};
use crate::pace::Pace;
use crate::throughput::Throughput;
use crate::{BACKLOG_CALLS_MAX, HELD_CALLS_MAX};

/// Calls asked for that have not come by then are asked for again.
const ASKED_FOR_US: u64 = 1_000_000;
/// The backlog is searched for passed deadlines no more often than this.
const EXPIRY_EVERY_US: u64 = 50_000;

#[derive(Debug)]
pub(crate) struct Participant {
    pub(crate) spec: ParticipantSpec,
    pub(crate) is_paused: bool,
    /// What the ramp allows; at the declared limit once it has opened.
    open: u32,
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
    pub(crate) fn new(spec: ParticipantSpec) -> Self {
        let mut participant = Self {
            is_paused: false,
            open: u32::MAX,
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
        participant
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
    }

    fn most(&self) -> u32 {
        self.spec.max_in_flight.max(1)
    }

    /// How many calls may be under way now.
    pub(crate) fn limit(&self) -> u32 {
        self.open.min(self.most())
    }

    /// Opens again, from `from` on.
    pub(crate) fn open_from(&mut self, from: u32) {
        self.open = from.max(self.spec.min_in_flight.unwrap_or(0)).clamp(1, self.most());
    }

    /// Whether the next call may start now, wherever it goes.
    pub(crate) fn can_start(&self, now: Timestamp) -> bool {
        let by_limit = match &self.hold {
            Some(hold) => hold.probe_is_due(now) && self.in_flight < self.most(),
            None => self.in_flight < self.limit(),
        };
        by_limit && self.pace.as_ref().is_none_or(|pace| pace.next() <= now)
    }

    /// Where this call may go now, or why it must be parked.
    pub(crate) fn place(&mut self, now: Timestamp, call: &Released) -> Result<u16, ParkReason> {
        match self.endpoints.choose(now, call.pinned_endpoint) {
            Choice::To(endpoint) => Ok(endpoint),
            Choice::Gone => Err(ParkReason::EndpointGone),
            Choice::Held(until) => {
                // What is parked for this endpoint is not worth asking for before then.
                self.asked_until = self.asked_until.max(until);
                self.asked = self.asked.max(self.parked + 1);
                Err(ParkReason::Held)
            }
        }
    }

    pub(crate) fn start(&mut self, now: Timestamp, call: CallRef, endpoint: u16) {
        self.in_flight += 1;
        if let Some(pace) = &mut self.pace {
            pace.started(now);
        }
        self.endpoints.started(endpoint, call);
        if let Some(hold) = &mut self.hold {
            hold.probe = Some(call);
        }
    }

    /// Starts what may start of those that wait.
    pub(crate) fn drain(
        &mut self,
        index: u32,
        now: Timestamp,
        calls: &mut HashMap<CallRef, Place, CallHash>,
        out: &mut Vec<Verdict>,
    ) {
        while !self.backlog.is_empty() && self.can_start(now) {
            let Some(next) = self.backlog.pop() else { return };
            let call = next.call;
            out.push(if next.deadline <= now {
                calls.remove(&call);
                Verdict::Expired { call, participant: index }
            } else {
                match self.place(now, &next) {
                    Ok(endpoint) => {
                        self.start(now, call, endpoint);
                        calls.insert(call, Place::InFlight { participant: index, endpoint });
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

    /// Learns from the end of a call. Says whether the participant is held from now on.
    pub(crate) fn ended(&mut self, now: Timestamp, call: CallRef, endpoint: u16, sample: Sample) -> bool {
        self.in_flight = self.in_flight.saturating_sub(1);
        let was_endpoint_probe = self.endpoints.ended(endpoint, call);
        let was_probe = self.hold.as_ref().is_some_and(|hold| hold.probe == Some(call));
        if was_probe && let Some(hold) = &mut self.hold {
            hold.probe = None;
        }
        let held_before = self.hold.is_some();
        match sample.evidence {
            Evidence::Done | Evidence::Refused => {
                self.throughput.ended(now, sample.took);
                self.health.answered();
                if was_endpoint_probe {
                    self.endpoints.admit(endpoint);
                }
                let was_refused = sample.evidence == Evidence::Refused;
                let jump = self.health.judged(was_refused);
                self.taken(now, was_probe, was_refused, jump);
            }
            Evidence::NotTaken { retry_after } => {
                self.not_taken += 1;
                match &mut self.hold {
                    Some(hold) if was_probe => hold.probe_failed(now, Why::NotTaken, retry_after),
                    Some(hold) => hold.wait_for(now, retry_after),
                    None if was_endpoint_probe => self.endpoints.probe_failed(endpoint, now, retry_after),
                    // Where others still take calls, one endpoint is no proof about the participant.
                    None if self.endpoints.leave_out(endpoint, now, retry_after) => {}
                    None => self.hold(Why::NotTaken, now, retry_after),
                }
            }
            Evidence::Unauthorized => match &mut self.hold {
                Some(hold) if was_probe || hold.why != Why::Unauthorized => {
                    hold.probe_failed(now, Why::Unauthorized, None);
                }
                Some(_) => {}
                None => self.hold(Why::Unauthorized, now, None),
            },
            Evidence::Unknown => {
                if was_endpoint_probe {
                    self.endpoints.probe_failed(endpoint, now, None);
                }
                let too_many = self.health.not_answered();
                match (&mut self.hold, too_many) {
                    (Some(hold), _) if was_probe => hold.probe_failed(now, hold.why, None),
                    (None, Some(why)) => self.hold(why, now, None),
                    _ => {}
                }
            }
            Evidence::Cancelled => {
                if was_endpoint_probe {
                    self.endpoints.probe_lost(endpoint, now);
                }
                if was_probe && let Some(hold) = &mut self.hold {
                    hold.probe_lost(now);
                }
            }
        }
        !held_before && self.hold.is_some()
    }

    /// It took a call and answered it.
    fn taken(&mut self, now: Timestamp, was_probe: bool, was_refused: bool, jump: Option<Why>) {
        match &mut self.hold {
            Some(hold) if was_probe => {
                if was_refused && matches!(hold.why, Why::Refuses { .. }) {
                    hold.probe_failed(now, hold.why, None);
                } else {
                    self.release_hold();
                }
            }
            Some(_) => {}
            None => match jump {
                Some(why) => self.hold(why, now, None),
                None => self.open = self.open.saturating_add(1).min(self.most()),
            },
        }
    }

    fn hold(&mut self, why: Why, now: Timestamp, retry_after: Option<std::time::Duration>) {
        self.hold = Some(Hold::new(why, now, retry_after));
        self.endpoints.admit_all();
    }

    fn release_hold(&mut self) {
        self.hold = None;
        self.not_taken = 0;
        self.health.released();
        self.endpoints.admit_all();
        self.open_from(2);
    }

    /// A person says: go on. Opens as a ramp, and takes what it does now for right.
    pub(crate) fn resume(&mut self) {
        self.is_paused = false;
        self.hold = None;
        self.not_taken = 0;
        self.health.accept();
        self.endpoints.admit_all();
        self.open_from(1);
    }

    /// Takes those whose deadline has come.
    pub(crate) fn expire(
        &mut self,
        index: u32,
        now: Timestamp,
        calls: &mut HashMap<CallRef, Place, CallHash>,
        out: &mut Vec<Verdict>,
    ) {
        if now < self.backlog.deadline_min() || now < self.expiry_at {
            return;
        }
        self.expiry_at = Timestamp(now.0.saturating_add(EXPIRY_EVERY_US));
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
                // A round of calls under way and another that waits for it.
                let target = (2 * u64::from(self.limit())).min(BACKLOG_CALLS_MAX as u64 / 2);
                let here = u64::from(self.in_flight) + self.backlog.len() as u64 + asked;
                let room = target.saturating_sub(here);
                // Few large entries rather than many small ones.
                if room >= (target / 4).max(1) || room >= unasked { room.min(unasked) } else { 0 }
            }
        }
    }

    /// Asks for parked calls.
    pub(crate) fn want(&mut self, now: Timestamp) -> u32 {
        if self.parked == 0 || self.is_paused {
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
        let paced = self.pace.as_ref().map_or(Timestamp::ZERO, Pace::next);
        if !self.backlog.is_empty() {
            if self.backlog.deadline_min() != Timestamp::NEVER {
                wake = wake.min(self.backlog.deadline_min().max(self.expiry_at));
            }
            match &self.hold {
                Some(hold) if hold.probe.is_none() && self.in_flight < self.most() => {
                    wake = wake.min(hold.probe_at.max(paced));
                }
                Some(_) => {}
                None if self.in_flight < self.limit() => wake = wake.min(paced),
                None => {}
            }
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
