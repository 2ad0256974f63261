//! The addresses of one participant: the one with the fewest calls gets the next.
//!
//! An endpoint that does not take calls while others do is left out and probed by one call at a time. If all are
//! left out it is the participant that is held, and that is not decided here.

use std::time::Duration;

use model::Timestamp;

use crate::call::CallRef;
use crate::health::{Hold, Why};

#[derive(Debug, Default)]
struct Endpoint {
    in_flight: u32,
    hold: Option<Hold>,
}

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
    pub(crate) fn choose(&self, now: Timestamp, pinned: Option<u16>) -> Choice {
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

    pub(crate) fn started(&mut self, endpoint: u16, call: CallRef) {
        self.turn = usize::from(endpoint) + 1;
        let endpoint = &mut self.all[usize::from(endpoint)];
        endpoint.in_flight += 1;
        if let Some(hold) = &mut endpoint.hold {
            hold.probe = Some(call);
        }
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
        self.all[usize::from(endpoint)].hold = None;
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
