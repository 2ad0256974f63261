//! What is to come: transactions on their way here, the time that a call needs, and whether more should begin.
//!
//! Left out: who waits at the gate for it, which is `manager.rs`'s, and what the numbers are learned from.

use model::Timestamp;

use super::Participant;
use crate::call::Learn;

/// Those on their way here count half after this long.
const EXPECTED_FADE_US: f64 = 3_000_000.0;
/// So many transactions that began are remembered in the share of those that came.
const BEGAN_MEMORY: f64 = 256.0;
/// At the beginning all are taken to come; this many of them have to be heard of before that is doubted much.
const CAME_PRIOR: f64 = 64.0;
/// How much more than is needed without any chance waits for a bottleneck.
const ROPE: f64 = 1.5;

/// Transactions that have begun elsewhere and will need this participant.
///
/// Not all of them come: steps are skipped, and transactions end before. Each counts as the share of those before it
/// that did come, so that the count stays right without anybody telling what became of each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Coming {
    count: f64,
    at: Timestamp,
    began: f64,
    came: f64,
}

impl Default for Coming {
    fn default() -> Self {
        Self { count: 0.0, at: Timestamp::ZERO, began: CAME_PRIOR, came: CAME_PRIOR }
    }
}

impl Coming {
    /// Of those that begin, so many come.
    fn share(&self) -> f64 {
        (self.came / self.began).min(1.0)
    }

    /// What of the count is left: fades, for those that took another way unseen.
    fn left(&self, now: Timestamp) -> f64 {
        let age = now.0.saturating_sub(self.at.0) as f64 / EXPECTED_FADE_US;
        self.count / (1.0 + age)
    }

    fn began(&mut self, now: Timestamp) {
        let keep = 1.0 - 1.0 / BEGAN_MEMORY;
        self.began = self.began * keep + 1.0;
        self.came *= keep;
        self.count = self.left(now) + self.share();
        self.at = now;
    }

    fn came(&mut self, now: Timestamp) {
        self.came = (self.came + 1.0).min(BEGAN_MEMORY);
        self.count = (self.left(now) - 1.0).max(0.0);
        self.at = now;
    }

    fn never_comes(&mut self, now: Timestamp) {
        self.count = (self.left(now) - self.share()).max(0.0);
        self.at = now;
    }
}

/// The time that calls need one after the other: what they take, and how far beyond that 95 of 100 reach. That all
/// are slow at once is rare, so what is beyond adds up by squares.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Need {
    us: f64,
    beyond_squared: f64,
}

impl Need {
    pub(crate) fn then(&mut self, later: Self) {
        self.us += later.us;
        self.beyond_squared += later.beyond_squared;
    }

    /// Microseconds.
    pub(crate) fn us(self) -> f64 {
        self.us + self.beyond_squared.sqrt()
    }
}

impl Participant {
    /// One more transaction has begun that will come here.
    pub(crate) fn expect(&mut self, now: Timestamp) {
        self.coming.began(now);
    }

    /// One of those that were expected has come.
    pub(crate) fn arrived(&mut self, now: Timestamp) {
        self.coming.came(now);
    }

    /// One of those that were expected has ended elsewhere.
    pub(crate) fn never_comes(&mut self, now: Timestamp) {
        self.coming.never_comes(now);
    }

    /// Whether a transaction that takes so long to get here should begin: what is here and on its way keeps the
    /// participant busy no longer than it takes to bring more.
    pub(crate) fn has_room_for_more(&self, now: Timestamp, way_us: f64) -> bool {
        let here = self.backlog.len() as f64 + self.parked as f64;
        let coming = self.coming.left(now);
        if self.hold.is_some() || self.is_paused {
            return here + coming < 2.0;
        }
        let Some(per_us) = self.capacity_per_us(now) else { return true };
        let limit = f64::from(self.limit());
        here + coming + f64::from(self.in_flight) < (limit + ROPE * (limit + per_us * way_us)).max(2.0)
    }

    /// What it can do, in calls per microsecond, if that is known.
    fn capacity_per_us(&self, now: Timestamp) -> Option<f64> {
        if self.spec.learn == Learn::Off {
            return None;
        }
        let rest = self.rest_us();
        let by_limit = (rest > 0.0).then(|| f64::from(self.limit()) / rest);
        let paced = match (self.quota.rate(now), self.spec.max_per_second) {
            (Some(rate), Some(most)) => Some(rate.min(f64::from(most))),
            (rate, most) => rate.or_else(|| most.map(f64::from)),
        };
        match (by_limit, paced.map(|rate| rate / 1e6)) {
            (Some(limit), Some(paced)) => Some(limit.min(paced)),
            (limit, paced) => limit.or(paced),
        }
    }

    /// What a call takes at rest, in microseconds; 0 if nothing is known.
    pub(crate) fn rest_us(&self) -> f64 {
        self.rest_us
    }

    /// The same of one kind of call.
    pub(crate) fn rest_of_us(&self, operation: u16) -> f64 {
        let rests = self.endpoints.all().iter().filter_map(|e| e.learner.as_ref()).map(|l| l.rest_of_us(operation));
        let least = rests.filter(|us| *us > 0.0).fold(f64::INFINITY, f64::min);
        if least.is_finite() { least } else { 0.0 }
    }

    /// How much work one kind of call is, in usual calls.
    pub(crate) fn work_of(&self, operation: u16) -> f64 {
        self.endpoints.all().first().and_then(|e| e.learner.as_ref()).map_or(1.0, |l| l.work_of(operation))
    }

    /// What a call needs from its start. Where others wait for the place, so much that it is done in time most
    /// probably; else, what it cannot be done without.
    pub(crate) fn need(&self, operation: u16, is_contested: bool) -> Need {
        if self.spec.learn != Learn::On {
            return Need::default();
        }
        let rest = self.rest_of_us(operation);
        if is_contested || self.is_contested() {
            let beyond = (self.throughput.usual_us() as f64 - rest).max(0.0);
            Need { us: rest, beyond_squared: beyond * beyond }
        } else {
            Need { us: 0.5 * rest, beyond_squared: 0.0 }
        }
    }

    /// The same for a call that comes here later, with the time that it will wait; `is_contested` if others wait
    /// for the place that its transaction takes first.
    pub(crate) fn need_later(&self, now: Timestamp, is_contested: bool) -> Need {
        let mut need = self.need(0, is_contested);
        if self.is_contested()
            && let Some(per_us) = self.capacity_per_us(now).filter(|per_us| *per_us > 0.0)
        {
            need.us += self.backlog.len() as f64 / per_us;
        }
        need
    }

    /// More wants to start than may.
    pub(crate) fn is_contested(&self) -> bool {
        !self.backlog.is_empty() || self.parked > 0 || self.in_flight >= self.limit()
    }
}
