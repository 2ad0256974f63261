//! The addresses of one participant: the one with the fewest calls gets the next.
//!
//! Where limits are learned, each endpoint has its own: a call goes to the one that is expected to be done with it
//! first (what a call takes there, times the calls it has) among those with room.
//!
//! An endpoint that does not take calls while others do is left out and probed by one call at a time. If all are
//! left out it is the participant that is held, and that is not decided here.

use std::time::Duration;

use model::Timestamp;

use crate::call::CallRef;
use crate::health::{Hold, Why};
use crate::learner::Learner;
use crate::room::Room;

#[derive(Debug, Default)]
pub(crate) struct Endpoint {
    pub(crate) in_flight: u32,
    pub(crate) hold: Option<Hold>,
    /// Where limits are learned or observed.
    pub(crate) learner: Option<Box<Learner>>,
    /// What it takes at once before it refuses.
    pub(crate) room: Room,
    /// What a call costs there, in microseconds: one that fails costs more than one that is done.
    cost_us: f64,
    cost_at: Timestamp,
    /// One bit for each of the last calls there: set if it was not answered.
    unanswered: u16,
    /// How many of them there are.
    heard: u32,
}

/// What is known of a cost is forgotten by half in this time, so that a bad endpoint is looked at again.
const COST_HALF_LIFE_US: f64 = 10_000_000.0;
/// A failed call is counted as if it had taken so many times what calls take elsewhere.
const FAILURE_COST: f64 = 20.0;

/// So many of the last sixteen calls of an endpoint unanswered are a reason to leave it out, if there is another one
/// that answers so many of its own. Where half of all calls fail by chance, a difference like that is one in thousands.
const UNANSWERED: u32 = 8;
const ANSWERED: u32 = 14;

#[derive(Debug)]
pub(crate) struct Endpoints {
    /// Never shrinks: calls to one that was taken away may still be under way.
    all: Vec<Endpoint>,
    count: usize,
    /// Where the search begins, so that equals take turns.
    turn: usize,
}

/// Where a call may go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Choice {
    To(u16),
    /// The only one it may go to is left out until then.
    Held(Timestamp),
    Gone,
}

impl Endpoint {
    /// What was learned: no more at once than this; `None` where nothing is learned.
    pub(crate) fn learned(&self) -> Option<u32> {
        let limit = self.learner.as_ref()?.limit();
        Some(self.room.limit().map_or(limit, |room| limit.min(room)))
    }

    /// Microseconds; on its way back to the usual while nothing is heard.
    fn cost(&self, now: Timestamp, usual: f64) -> f64 {
        if self.cost_us == 0.0 {
            return usual;
        }
        let age = now.0.saturating_sub(self.cost_at.0) as f64 / COST_HALF_LIFE_US;
        usual + (self.cost_us - usual) / (1.0 + age * age)
    }
}

impl Endpoints {
    pub(crate) fn new(count: u16) -> Self {
        let mut endpoints = Self { all: Vec::new(), count: 0, turn: 0 };
        endpoints.set_count(count);
        endpoints
    }

    pub(crate) fn set_count(&mut self, count: u16) {
        self.count = usize::from(count.max(1));
        if self.all.len() < self.count {
            self.all.resize_with(self.count, Endpoint::default);
        }
        for gone in &mut self.all[self.count..] {
            gone.hold = None;
        }
        if self.up() == 0 {
            self.admit_all();
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    pub(crate) fn up(&self) -> usize {
        self.all[..self.count].iter().filter(|e| e.hold.is_none()).count()
    }

    pub(crate) fn admit_all(&mut self) {
        for endpoint in &mut self.all {
            endpoint.hold = None;
        }
    }

    /// Where a call may go now. One that is due for a probe goes before the others.
    pub(crate) fn choose(&self, now: Timestamp, pinned: Option<u16>, by_cost: bool) -> Choice {
        let usable = |at: usize| self.all[at].hold.as_ref().is_none_or(|hold| hold.probe_is_due(now));
        if let Some(pinned) = pinned {
            let at = usize::from(pinned);
            return match self.all[..self.count].get(at) {
                None => Choice::Gone,
                Some(_) if usable(at) => Choice::To(pinned),
                Some(endpoint) => Choice::Held(endpoint.hold.as_ref().map_or(now, |hold| hold.probe_at)),
            };
        }
        if self.count == 1 {
            return Choice::To(0);
        }
        if by_cost {
            return self.cheapest(now, usable);
        }
        let mut best: Option<(bool, u32, usize)> = None;
        for step in 0..self.count {
            let at = (self.turn + step) % self.count;
            if usable(at) {
                let candidate = (self.all[at].hold.is_none(), self.all[at].in_flight, at);
                if best.is_none_or(|best| (candidate.0, candidate.1) < (best.0, best.1)) {
                    best = Some(candidate);
                }
            }
        }
        match best {
            Some((_, _, at)) => Choice::To(at as u16),
            // Cannot be while the participant is not held; then any will do.
            None => Choice::To((self.turn % self.count) as u16),
        }
    }

    /// The one that is expected to be done first, of those with room; each is looked at, from the last one on.
    fn cheapest(&self, now: Timestamp, usable: impl Fn(usize) -> bool) -> Choice {
        let usual = self.usual_cost();
        let mut best: Option<(u8, f64, usize)> = None;
        for step in 0..self.count {
            let at = (self.turn + step) % self.count;
            if !usable(at) {
                continue;
            }
            let endpoint = &self.all[at];
            // A probe that is due goes first, one that is full last.
            let rank = match (&endpoint.hold, endpoint.learned()) {
                (Some(_), _) => 0,
                (None, Some(limit)) if endpoint.in_flight >= limit => 2,
                (None, _) => 1,
            };
            let cost = endpoint.cost(now, usual) * f64::from(endpoint.in_flight + 1);
            if best.is_none_or(|(r, c, _)| (rank, cost) < (r, c)) {
                best = Some((rank, cost, at));
            }
        }
        match best {
            Some((_, _, at)) => Choice::To(at as u16),
            None => Choice::To((self.turn % self.count) as u16),
        }
    }

    /// What a call costs at the endpoints on the average, in microseconds.
    fn usual_cost(&self) -> f64 {
        let (mut sum, mut count) = (0.0, 0.0);
        for endpoint in self.all[..self.count].iter().filter(|e| e.cost_us > 0.0 && e.hold.is_none()) {
            // The harmonic mean: what the good ones cost.
            sum += 1.0 / endpoint.cost_us;
            count += 1.0;
        }
        if sum > 0.0 { count / sum } else { 1_000.0 }
    }

    /// What one call that has ended cost.
    pub(crate) fn cost(&mut self, endpoint: u16, now: Timestamp, took: Duration, failed: bool) {
        if self.count == 1 {
            return;
        }
        let usual = self.usual_cost();
        let endpoint = &mut self.all[usize::from(endpoint)];
        let us = (took.as_micros() as f64).clamp(1.0, 3.6e9);
        let us = if failed { us.max(FAILURE_COST * usual) } else { us };
        let before = endpoint.cost(now, usual);
        endpoint.cost_us = if endpoint.cost_us == 0.0 { us } else { before + (us - before) / 16.0 };
        endpoint.cost_at = now;
    }

    /// What became of a call there: remembered for [`Endpoints::is_worse`].
    pub(crate) fn answered(&mut self, endpoint: u16, answered: bool) {
        let endpoint = &mut self.all[usize::from(endpoint)];
        endpoint.unanswered = endpoint.unanswered << 1 | u16::from(!answered);
        endpoint.heard = (endpoint.heard + 1).min(u16::BITS);
    }

    /// It leaves calls unanswered while another endpoint answers. One that fails at once would otherwise get all the
    /// calls that the others have no room for.
    pub(crate) fn is_worse(&self, endpoint: u16) -> bool {
        let answers = |e: &Endpoint| e.heard - e.unanswered.count_ones();
        let others = self.all().iter().enumerate().filter(|(at, e)| *at != usize::from(endpoint) && e.hold.is_none());
        self.all[usize::from(endpoint)].unanswered.count_ones() >= UNANSWERED
            && others.map(|(_, e)| answers(e)).max().is_some_and(|best| best >= ANSWERED)
    }

    pub(crate) fn all(&self) -> &[Endpoint] {
        &self.all[..self.count]
    }

    pub(crate) fn all_mut(&mut self) -> &mut [Endpoint] {
        &mut self.all
    }

    /// The learned limits of those that take calls, together.
    pub(crate) fn learned(&self) -> u32 {
        let up = self.all().iter().filter(|e| e.hold.is_none());
        up.filter_map(Endpoint::learned).fold(0, u32::saturating_add)
    }

    /// What a call takes at rest where it takes least, in microseconds; 0 if nothing is known.
    pub(crate) fn rest_us(&self) -> f64 {
        let rests = self.all().iter().filter_map(|e| e.learner.as_ref()).map(|l| l.rest_us());
        let least = rests.filter(|us| *us > 0.0).fold(f64::INFINITY, f64::min);
        if least.is_finite() { least } else { 0.0 }
    }

    /// A call starts there. Gives how many others are under way.
    pub(crate) fn started(&mut self, endpoint: u16, call: CallRef) -> u32 {
        self.turn = usize::from(endpoint) + 1;
        let endpoint = &mut self.all[usize::from(endpoint)];
        let others = endpoint.in_flight;
        endpoint.in_flight += 1;
        if let Some(hold) = &mut endpoint.hold {
            hold.probe = Some(call);
        }
        others
    }

    /// A call ended. Says whether it was this endpoint's probe.
    pub(crate) fn ended(&mut self, endpoint: u16, call: CallRef) -> bool {
        let endpoint = &mut self.all[usize::from(endpoint)];
        endpoint.in_flight = endpoint.in_flight.saturating_sub(1);
        match &mut endpoint.hold {
            Some(hold) if hold.probe == Some(call) => {
                hold.probe = None;
                true
            }
            _ => false,
        }
    }

    /// It takes calls again.
    pub(crate) fn admit(&mut self, endpoint: u16) {
        let endpoint = &mut self.all[usize::from(endpoint)];
        endpoint.hold = None;
        (endpoint.unanswered, endpoint.heard) = (0, 0);
    }

    /// It did not take a call while others do. `false` if it is the last one: then it is the participant.
    pub(crate) fn leave_out(&mut self, endpoint: u16, now: Timestamp, retry_after: Option<Duration>) -> bool {
        let at = usize::from(endpoint);
        if at >= self.count {
            return true;
        }
        let is_last = self.up() <= 1;
        match &mut self.all[at].hold {
            Some(hold) => hold.wait_for(now, retry_after),
            None if is_last => return false,
            none => *none = Some(Hold::new(Why::NotTaken, now, retry_after)),
        }
        true
    }

    /// Its probe told that nothing is better.
    pub(crate) fn probe_failed(&mut self, endpoint: u16, now: Timestamp, retry_after: Option<Duration>) {
        if let Some(hold) = &mut self.all[usize::from(endpoint)].hold {
            hold.probe_failed(now, Why::NotTaken, retry_after);
        }
    }

    /// Its probe told nothing.
    pub(crate) fn probe_lost(&mut self, endpoint: u16, now: Timestamp) {
        if let Some(hold) = &mut self.all[usize::from(endpoint)].hold {
            hold.probe_lost(now);
        }
    }

    /// How long the longest one has been left out.
    pub(crate) fn left_out(&self, now: Timestamp) -> Option<(usize, Duration)> {
        let holds = self.all[..self.count].iter().filter_map(|e| e.hold.as_ref());
        let longest = holds.map(|hold| now.since(hold.since)).max()?;
        Some((self.count - self.up(), longest))
    }
}
