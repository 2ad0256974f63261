//! What the end of a call says: learned from, held for, opened for.
//!
//! Left out: what counts as too many failures (`health.rs`), and what a quota is (`quota.rs`).

use model::Timestamp;
use model::mutant::{Mutant, is_planted};

use super::Participant;
use crate::call::{CallRef, Evidence, Learn, Sample};
use crate::health::{Hold, Why};
use crate::learner::End;

/// Calls in a row that may be refused as too many before it is held.
const PUSHED_BACK_MAX: u32 = 8;
/// Calls in a row that may be not taken, where most were before.
const NOT_TAKEN_MAX: u32 = 1;
/// What fails in less than this part of the usual time has not been worked at.
const AT_ONCE: f64 = 3.0;

/// Where and when the call that has ended had started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At {
    pub(crate) endpoint: u16,
    pub(crate) operation: u16,
    pub(crate) since: Timestamp,
    /// Under way at that endpoint then.
    pub(crate) others: u32,
}

impl Participant {
    /// Learns from the end of a call. Says whether the participant is held from now on.
    pub(crate) fn ended(&mut self, now: Timestamp, call: CallRef, at: At, sample: Sample) -> bool {
        let endpoint = at.endpoint;
        self.learn(now, at, &sample);
        if sample.evidence != Evidence::Unknown || !is_planted(Mutant::UnknownKeepsItsPlace) {
            self.in_flight = self.in_flight.saturating_sub(1);
        }
        let was_endpoint_probe = self.endpoints.ended(endpoint, call);
        let was_probe = self.hold.as_ref().is_some_and(|hold| hold.probe == Some(call));
        if was_probe && let Some(hold) = &mut self.hold {
            hold.probe = None;
        }
        let held_before = self.hold.is_some();
        if let Some(quota) = sample.quota {
            self.quota.announced(now, quota);
        }
        match sample.evidence {
            Evidence::Done | Evidence::Refused => {
                self.lately_taken = self.lately_taken << 1 | 1;
                self.push_run = 0;
                self.quota.accepted();
                self.found_room(now, at);
                if sample.evidence == Evidence::Done {
                    let is_bound = !self.backlog.is_empty() || self.parked > 0;
                    self.budget.succeeded(now, is_bound);
                }
                self.throughput.ended(now, sample.took);
                self.health.answered();
                self.endpoints.answered(endpoint, true);
                if was_endpoint_probe {
                    self.endpoints.admit(endpoint);
                }
                let was_refused = sample.evidence == Evidence::Refused;
                let jump = self.health.judged(was_refused);
                self.taken(now, was_probe, was_refused, jump);
            }
            Evidence::NotTaken { retry_after } | Evidence::Throttled { retry_after } => {
                self.not_taken += 1;
                // To be asked for time is to be told that there is some.
                let is_throttled = matches!(sample.evidence, Evidence::Throttled { .. }) || retry_after.is_some();
                let is_pressure = self.hold.is_none() && !was_endpoint_probe && self.is_pressure(now, at, is_throttled);
                match &mut self.hold {
                    Some(hold) if was_probe => hold.probe_failed(now, Why::NotTaken, retry_after),
                    Some(hold) => hold.wait_for(now, retry_after),
                    None if is_pressure => self.too_many(now, at, is_throttled),
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
                self.endpoints.answered(endpoint, false);
                if was_endpoint_probe {
                    self.endpoints.probe_failed(endpoint, now, None);
                } else if self.endpoints.is_worse(endpoint) {
                    self.endpoints.leave_out(endpoint, now, None);
                }
                let usual_us = self.usual_latency_us();
                let at_once = sample.took.as_micros() as f64 * AT_ONCE < usual_us;
                if !at_once {
                    self.quota.accepted();
                }
                let is_refusal = at_once && (self.no_room(now, at) || self.failed_at_once(now));
                let usual = std::time::Duration::from_micros(usual_us as u64);
                let too_many = if is_refusal { None } else { self.health.not_answered(now, sample.took, usual) };
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

    fn learn(&mut self, now: Timestamp, at: At, sample: &Sample) {
        let At { endpoint, operation, since, .. } = at;
        if self.spec.learn == Learn::Off {
            return;
        }
        let end = match sample.evidence {
            Evidence::Done | Evidence::Refused => End::Done,
            Evidence::Unknown => End::NoAnswer,
            Evidence::NotTaken { .. } | Evidence::Throttled { .. } | Evidence::Unauthorized | Evidence::Cancelled => {
                End::Nothing
            }
        };
        if end == End::NoAnswer {
            let usual = self.usual_latency_us();
            // One that was waited for may still be at work over there. One that failed at once has left no work
            // behind, but it keeps its place for the rest of the time that a call takes: else a participant that
            // fails fast would be asked for more the more it fails.
            let rest = (1.0 - sample.took.as_micros() as f64 / usual).max(0.0);
            let places = if rest > 0.0 { rest } else { 1.0 };
            self.ghosts = (self.ghosts(now) + places).min(f64::from(self.most()));
            self.ghosts_at = now;
        }
        if end != End::Nothing {
            self.endpoints.cost(endpoint, now, sample.took, end == End::NoAnswer);
        }
        let Some(at) = self.endpoints.all_mut().get_mut(usize::from(endpoint)) else { return };
        if let Some(learner) = &mut at.learner
            && learner.ended(now, operation, since, sample.took, end)
        {
            self.count_learned();
        }
    }

    /// It took a call.
    fn found_room(&mut self, now: Timestamp, at: At) {
        let waits = !self.backlog.is_empty() || self.parked > 0;
        if self.is_learning()
            && let Some(endpoint) = self.endpoints.all_mut().get_mut(usize::from(at.endpoint))
            && endpoint.room.taken(now, at.since, at.others, waits)
        {
            self.count_learned();
        }
    }

    /// It refused a call, because there were too many: at once, or a second.
    fn too_many(&mut self, now: Timestamp, at: At, is_throttled: bool) {
        if is_throttled && self.no_room(now, at) {
            let most = self.endpoints.all().get(usize::from(at.endpoint)).map_or(0.0, |e| e.room.most_per_s());
            self.quota.forget_learned();
            self.quota.recall(most * self.endpoints.count() as f64, now);
        } else {
            self.quota.refused(now);
        }
    }

    /// The same, where it may be for there being too many a second. With several endpoints, a bad one is left out.
    fn failed_at_once(&mut self, now: Timestamp) -> bool {
        self.is_learning() && self.hold.is_none() && self.endpoints.count() == 1 && self.quota.failed_at_once(now)
    }

    /// A call came back at once with nothing done. Says whether that is for too many being under way.
    fn no_room(&mut self, now: Timestamp, at: At) -> bool {
        if !self.is_learning() {
            return false;
        }
        let Some(endpoint) = self.endpoints.all_mut().get_mut(usize::from(at.endpoint)) else { return false };
        endpoint.room.refused(now, at.since, at.others);
        let is_so = endpoint.room.limit().is_some();
        self.count_learned();
        is_so
    }

    /// A call was not taken, but so many others were of late that it is not down: it takes only so many. Not so if
    /// nothing that started since then was taken.
    fn is_pressure(&mut self, now: Timestamp, at: At, is_throttled: bool) -> bool {
        self.lately_taken <<= 1;
        if is_throttled && at.others > 0 && self.is_learning() {
            // Others are under way there: what becomes of them will tell whether it is down.
            return true;
        }
        if self.push_run == 0 {
            self.push_began = now;
        }
        if self.push_run == 0 || at.since >= self.push_began {
            self.push_run += 1;
        }
        let endures = if is_throttled { PUSHED_BACK_MAX } else { NOT_TAKEN_MAX };
        let mostly_taken = (self.lately_taken & 0xffff).count_ones() >= 8;
        let is_alive = mostly_taken || self.push_run > 1 || is_throttled && self.quota.rate(now).is_some();
        // Where there are others, an endpoint that takes none is left out rather than paced for.
        is_alive && self.push_run <= endures && (is_throttled || self.endpoints.count() == 1)
    }

    /// It took a call and answered it.
    fn taken(&mut self, now: Timestamp, was_probe: bool, was_refused: bool, jump: Option<Why>) {
        match &mut self.hold {
            Some(hold) if was_probe => {
                if was_refused && matches!(hold.why, Why::Refuses { .. }) {
                    hold.probe_failed(now, hold.why, None);
                } else {
                    self.release_hold();
                    self.quota.rested(now);
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
        // Held again before it has opened: the same limit would bring it here again and again, and nothing is learned
        // on the way. A participant that is gone for once loses nothing.
        let is_again = why == Why::NotTaken && self.open < self.most();
        if why == Why::Unanswered || is_again {
            self.endpoints.all_mut().iter_mut().filter_map(|e| e.learner.as_mut()).for_each(|l| l.cut());
            self.count_learned();
        }
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
}
