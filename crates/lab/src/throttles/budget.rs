//! Retry budgets: how many of the attempts may be retries.
//!
//! | budget | source | rule |
//! |---|---|---|
//! | Finagle | tower 0.5.3 `retry/budget/tps_budget.rs`, itself after Finagle's `RetryBudget` | every request deposits, a retry costs 1/0.2 deposits of the last 10 s; 10 retries per second are free |
//! | gRPC | gRFC A6 (client retries) | a failure costs 1 token, a success gives back 0.1, at most 10; retries while more than half of them are left |
//! | Envoy | envoyproxy/envoy 1.40, `retry_budget` of a circuit breaker | retries under way ≤ 20 % of all under way, at least 3 |
//!
//! gRPC's two numbers are set by the service's owner; these are the ones of the gRFC's example.

use std::time::Duration;

use model::Timestamp;

use crate::arm::{Asking, Moment, Outcome, Permit, Retry, Throttle, ThrottleKind};
use crate::limiters::{even, geometric, whole};

const SLOTS: usize = 10;

/// Deposits and withdrawals over a window of ten slots.
#[derive(Clone, Debug)]
pub struct FinagleBudget {
    slots: [i64; SLOTS],
    writer: i64,
    index: usize,
    slot: Duration,
    since: Option<Timestamp>,
    reserve: i64,
    deposit: i64,
    withdrawal: i64,
}

impl FinagleBudget {
    /// A window of `ttl` (1 to 60 s), `min_per_second` free retries per second, and so many retries per request.
    pub fn new(ttl: Duration, min_per_second: u32, retry_percent: f64) -> Self {
        let (deposit, withdrawal) = if retry_percent <= 0.0 {
            (0, 1)
        } else if retry_percent <= 1.0 {
            (1, (1.0 / retry_percent) as i64)
        } else {
            (1_000, (1_000.0 / retry_percent) as i64)
        };
        let reserve = i64::from(min_per_second) * ttl.as_secs() as i64 * withdrawal;
        Self {
            slots: [0; SLOTS],
            writer: 0,
            index: 0,
            slot: (ttl / SLOTS as u32).max(Duration::from_micros(1)),
            since: None,
            reserve,
            deposit,
            withdrawal,
        }
    }

    /// Starts the window; without this it starts with the first request.
    pub fn start(&mut self, now: Timestamp) {
        self.since = Some(now);
    }

    fn expire(&mut self, now: Timestamp) {
        let since = *self.since.get_or_insert(now);
        let mut left = now.since(since);
        if left < self.slot {
            return;
        }
        self.slots[self.index] = std::mem::take(&mut self.writer);
        let mut index = (self.index + 1) % SLOTS;
        let mut cleared = 0;
        while left > self.slot && cleared < SLOTS {
            self.slots[index] = 0;
            left -= self.slot;
            index = (index + 1) % SLOTS;
            cleared += 1;
        }
        self.index = index;
        self.since = Some(now);
    }

    /// A request has been made.
    pub fn deposit(&mut self, now: Timestamp) {
        self.expire(now);
        self.writer += self.deposit;
    }

    /// Whether a retry may be made; if so, it is paid.
    pub fn withdraw(&mut self, now: Timestamp) -> bool {
        self.expire(now);
        let is_enough = self.writer + self.slots.iter().sum::<i64>() + self.reserve >= self.withdrawal;
        if is_enough {
            self.writer -= self.withdrawal;
        }
        is_enough
    }
}

impl Throttle for FinagleBudget {
    fn permit(&mut self, at: &mut Moment<'_>, asking: &Asking) -> Permit {
        if asking.attempt == 1 {
            self.deposit(at.now);
        }
        Permit::Now
    }

    fn ended(&mut self, _at: &mut Moment<'_>, _attempt: u16, _outcome: Option<Outcome>) {}

    fn retry(&mut self, at: &mut Moment<'_>, _attempt: u16, _outcome: Option<Outcome>, usual: Retry) -> Retry {
        if usual == Retry::GiveUp || self.withdraw(at.now) { usual } else { Retry::GiveUp }
    }
}

/// Tokens that failures cost and successes give back.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct GrpcBudget {
    tokens: f64,
    max: f64,
    ratio: f64,
}

impl GrpcBudget {
    pub fn new(max: f64, ratio: f64) -> Self {
        Self { tokens: max, max, ratio }
    }

    pub fn allows(&self) -> bool {
        self.tokens > self.max / 2.0
    }

    pub fn settled(&mut self, is_success: bool) {
        let change = if is_success { self.ratio } else { -1.0 };
        self.tokens = (self.tokens + change).min(self.max).max(0.0);
    }
}

impl Throttle for GrpcBudget {
    fn ended(&mut self, _at: &mut Moment<'_>, _attempt: u16, outcome: Option<Outcome>) {
        if let Some(outcome) = outcome {
            self.settled(outcome.is_answer());
        }
    }

    fn retry(&mut self, _at: &mut Moment<'_>, _attempt: u16, _outcome: Option<Outcome>, usual: Retry) -> Retry {
        if self.allows() { usual } else { Retry::GiveUp }
    }
}

/// Retries under way as a share of all calls under way.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct EnvoyBudget {
    share: f64,
    min: u32,
    all: u32,
    retries: u32,
}

impl EnvoyBudget {
    pub fn new(share: f64, min: u32) -> Self {
        Self { share, min, all: 0, retries: 0 }
    }

    /// Whether one more retry fits beside so many calls of which so many are retries.
    pub fn allows(&self) -> bool {
        let allowed = ((f64::from(self.all) * self.share) as u32).max(self.min);
        self.retries < allowed
    }
}

impl Throttle for EnvoyBudget {
    fn permit(&mut self, _at: &mut Moment<'_>, asking: &Asking) -> Permit {
        self.all = asking.in_flight + asking.queued + 1;
        Permit::Now
    }

    fn ended(&mut self, _at: &mut Moment<'_>, attempt: u16, _outcome: Option<Outcome>) {
        if attempt > 1 {
            self.retries = self.retries.saturating_sub(1);
        }
    }

    fn retry(&mut self, _at: &mut Moment<'_>, _attempt: u16, _outcome: Option<Outcome>, usual: Retry) -> Retry {
        if usual == Retry::GiveUp || !self.allows() {
            return Retry::GiveUp;
        }
        self.retries += 1;
        usual
    }
}

pub const FINAGLE: ThrottleKind = ThrottleKind {
    name: "finagle-budget",
    about: "Finagle's retry budget as in tower 0.5.3",
    settings: &[
        geometric("ttl_s", 10.0, 1.0, 60.0),
        even("min_per_second", 10.0, 0.0, 20.0),
        geometric("retry_percent", 0.2, 0.02, 1.0),
    ],
    make: |s| {
        let ttl = Duration::from_secs_f64(s.get("ttl_s").clamp(1.0, 60.0));
        Box::new(FinagleBudget::new(ttl, whole(s.get("min_per_second")), s.get("retry_percent")))
    },
};

pub const GRPC: ThrottleKind = ThrottleKind {
    name: "grpc-budget",
    about: "gRPC retry throttling (gRFC A6)",
    settings: &[geometric("max_tokens", 10.0, 2.0, 1_000.0), geometric("token_ratio", 0.1, 0.01, 1.0)],
    make: |s| Box::new(GrpcBudget::new(s.get("max_tokens"), s.get("token_ratio"))),
};

pub const ENVOY: ThrottleKind = ThrottleKind {
    name: "envoy-budget",
    about: "Envoy 1.40 retry budget of a circuit breaker",
    settings: &[even("budget_percent", 0.2, 0.02, 1.0), even("min_retry_concurrency", 3.0, 0.0, 20.0)],
    make: |s| Box::new(EnvoyBudget::new(s.get("budget_percent"), whole(s.get("min_retry_concurrency")))),
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_stops_at_half_and_comes_back_slowly() {
        let mut budget = GrpcBudget::new(10.0, 0.1);
        for _ in 0..4 {
            budget.settled(false);
        }
        assert!(budget.allows());
        budget.settled(false);
        assert!(!budget.allows());
        budget.settled(true);
        assert!(budget.allows());
        for _ in 0..50 {
            budget.settled(false);
        }
        for _ in 0..51 {
            assert!(!budget.allows());
            budget.settled(true);
        }
        assert!((budget.tokens - 5.1).abs() < 1e-9);
        assert!(budget.allows());
    }

    #[test]
    fn envoy_counts_what_is_under_way() {
        let mut dice = crate::dice::Dice::new(1);
        let mut at = Moment { now: Timestamp(1), dice: &mut dice };
        let mut budget = EnvoyBudget::new(0.2, 3);
        let usual = Retry::After(Duration::ZERO);
        let mut retry = |budget: &mut EnvoyBudget| budget.retry(&mut at, 1, Some(Outcome::Failed), usual) == usual;
        assert!(retry(&mut budget) && retry(&mut budget) && retry(&mut budget));
        assert!(!retry(&mut budget));
        budget.all = 20;
        assert!(retry(&mut budget) && !retry(&mut budget));
    }
}
