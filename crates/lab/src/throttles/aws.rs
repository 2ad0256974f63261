//! The AWS SDKs' retry quota, and their adaptive mode: a send rate that follows CUBIC.
//!
//! Source: botocore 1.44.5, `retries/{quota,standard,throttling,bucket,adaptive}.py`, and smithy-lang/smithy-rs
//! (`client_rate_limiter.rs`), which agree on the rate control:
//!
//! ```text
//! quota 500: a retry costs 14, after throttling 5; given back when the retry succeeds; +1 for a first success
//! measured rate: requests per half second, EMA 0.8
//! throttled: Rmax = min(measured, fill) , rate = 0.7·Rmax, bucket on        otherwise:
//! rate = 0.4·(t − ∛(Rmax·0.3/0.4))³ + Rmax,  at most 2·measured, at least 0.5 tokens per second
//! ```
//!
//! Until 2026 a retry cost 5 and one after a timeout 10; see [`Costs::BEFORE_2026`].

use std::time::Duration;

use model::Timestamp;

use crate::arm::{Asking, Moment, Outcome, Permit, Retry, Setting, Settings, Throttle, ThrottleKind};
use crate::limiters::{even, geometric, whole};

/// What a retry costs in tokens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Costs {
    pub retry: u32,
    pub after_throttling: u32,
    pub after_timeout: u32,
}

impl Costs {
    pub const SINCE_2026: Self = Self { retry: 14, after_throttling: 5, after_timeout: 14 };
    pub const BEFORE_2026: Self = Self { retry: 5, after_throttling: 5, after_timeout: 10 };

    fn of(self, outcome: Option<Outcome>) -> u32 {
        match outcome {
            Some(Outcome::Throttled { .. }) => self.after_throttling,
            Some(Outcome::TimedOut) => self.after_timeout,
            _ => self.retry,
        }
    }
}

/// A bucket that retries are paid from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RetryQuota {
    capacity: u32,
    available: u32,
}

impl RetryQuota {
    pub fn new(capacity: u32) -> Self {
        Self { capacity, available: capacity }
    }

    pub fn acquire(&mut self, amount: u32) -> bool {
        let is_enough = amount <= self.available;
        if is_enough {
            self.available -= amount;
        }
        is_enough
    }

    pub fn release(&mut self, amount: u32) {
        self.available = self.available.saturating_add(amount).min(self.capacity);
    }

    pub fn available(&self) -> u32 {
        self.available
    }
}

/// The send rate of the adaptive mode. Times are seconds since any fixed moment.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SendRate {
    beta: f64,
    scale: f64,
    is_enabled: bool,
    fill_rate: f64,
    capacity: f64,
    available: f64,
    refilled_s: f64,
    measured: f64,
    last_bucket_s: f64,
    count: u64,
    last_max: f64,
    last_throttle_s: f64,
}

const FILL_MIN: f64 = 0.5;
const SMOOTHING: f64 = 0.8;

impl SendRate {
    pub fn new(now_s: f64, beta: f64, scale: f64) -> Self {
        Self {
            beta,
            scale,
            is_enabled: false,
            fill_rate: 1.0,
            capacity: 1.0,
            available: 0.0,
            refilled_s: now_s,
            measured: 0.0,
            last_bucket_s: now_s.floor(),
            count: 0,
            last_max: 0.0,
            last_throttle_s: now_s,
        }
    }

    /// Tokens per second, tokens at hand, and the measured rate.
    pub fn state(&self) -> (f64, f64, f64) {
        (self.fill_rate, self.available, self.measured)
    }

    /// Whether throttling has ever been seen: before that everything may be sent.
    pub fn is_enabled(&self) -> bool {
        self.is_enabled
    }

    fn refill(&mut self, now_s: f64) {
        let gained = (now_s - self.refilled_s).max(0.0) * self.fill_rate;
        self.available = self.capacity.min(self.available + gained);
        self.refilled_s = now_s;
    }

    /// Takes a token, or says how many seconds until there is one.
    pub fn acquire(&mut self, now_s: f64) -> Result<(), f64> {
        if !self.is_enabled {
            return Ok(());
        }
        self.refill(now_s);
        if self.available >= 1.0 {
            self.available -= 1.0;
            return Ok(());
        }
        Err((1.0 - self.available) / self.fill_rate)
    }

    fn window_s(&self) -> f64 {
        (self.last_max * (1.0 - self.beta) / self.scale).cbrt()
    }

    /// An answer (or none) has come.
    pub fn responded(&mut self, now_s: f64, is_throttled: bool) {
        self.count += 1;
        let bucket_s = (now_s * 2.0).floor() / 2.0;
        if bucket_s > self.last_bucket_s {
            let rate = self.count as f64 / (bucket_s - self.last_bucket_s);
            self.measured = rate * SMOOTHING + self.measured * (1.0 - SMOOTHING);
            self.count = 0;
            self.last_bucket_s = bucket_s;
        }
        let rate = if is_throttled {
            self.last_max = if self.is_enabled { self.measured.min(self.fill_rate) } else { self.measured };
            self.last_throttle_s = now_s;
            self.is_enabled = true;
            self.last_max * self.beta
        } else {
            self.scale * (now_s - self.last_throttle_s - self.window_s()).powi(3) + self.last_max
        };
        let rate = rate.min(2.0 * self.measured);
        self.refill(now_s);
        self.fill_rate = rate.max(FILL_MIN);
        self.capacity = rate.max(1.0);
        self.available = self.available.min(self.capacity);
    }
}

/// The standard mode, and with a [`SendRate`] the adaptive one.
#[derive(Clone, Debug)]
pub struct Aws {
    costs: Costs,
    quota: RetryQuota,
    /// Paid for retries that are under way, after throttling and otherwise. The SDK keeps this with each request;
    /// here one that succeeds gives back from the kind of which more is outstanding.
    outstanding: [u32; 2],
    adaptive: Option<AdaptiveSettings>,
    rate: Option<SendRate>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
struct AdaptiveSettings {
    beta: f64,
    scale: f64,
}

fn seconds(now: Timestamp) -> f64 {
    now.0 as f64 / 1e6
}

impl Aws {
    pub fn standard(costs: Costs, capacity: u32) -> Self {
        Self { costs, quota: RetryQuota::new(capacity), outstanding: [0; 2], adaptive: None, rate: None }
    }

    pub fn adaptive(costs: Costs, capacity: u32, beta: f64, scale: f64) -> Self {
        Self { adaptive: Some(AdaptiveSettings { beta, scale }), ..Self::standard(costs, capacity) }
    }

    fn rate(&mut self, now: Timestamp) -> Option<&mut SendRate> {
        let AdaptiveSettings { beta, scale } = self.adaptive?;
        Some(self.rate.get_or_insert_with(|| SendRate::new(seconds(now), beta, scale)))
    }

    /// What the retry that has just ended had paid.
    fn settle(&mut self) -> u32 {
        let kind = usize::from(self.outstanding[1] > self.outstanding[0]);
        let cost = if kind == 1 { self.costs.after_throttling } else { self.costs.retry };
        let paid = cost.min(self.outstanding[kind]);
        self.outstanding[kind] -= paid;
        paid
    }
}

impl Throttle for Aws {
    fn permit(&mut self, at: &mut Moment<'_>, _asking: &Asking) -> Permit {
        match self.rate(at.now).map(|rate| rate.acquire(seconds(at.now))) {
            Some(Err(wait_s)) => Permit::Wait(Duration::from_secs_f64(wait_s.max(1e-6))),
            Some(Ok(())) | None => Permit::Now,
        }
    }

    fn ended(&mut self, at: &mut Moment<'_>, attempt: u16, outcome: Option<Outcome>) {
        let Some(outcome) = outcome else { return };
        let now_s = seconds(at.now);
        if let Some(rate) = self.rate(at.now) {
            rate.responded(now_s, matches!(outcome, Outcome::Throttled { .. }));
        }
        let paid = if attempt > 1 { self.settle() } else { 0 };
        if outcome.is_answer() {
            self.quota.release(if attempt > 1 { paid } else { 1 });
        }
    }

    fn retry(&mut self, _at: &mut Moment<'_>, _attempt: u16, outcome: Option<Outcome>, usual: Retry) -> Retry {
        if usual == Retry::GiveUp {
            return usual;
        }
        let cost = self.costs.of(outcome);
        if !self.quota.acquire(cost) {
            return Retry::GiveUp;
        }
        self.outstanding[usize::from(matches!(outcome, Some(Outcome::Throttled { .. })))] += cost;
        usual
    }
}

const QUOTA: [Setting; 3] = [
    geometric("capacity", 500.0, 20.0, 5_000.0),
    geometric("retry_cost", 14.0, 1.0, 50.0),
    geometric("throttling_cost", 5.0, 1.0, 50.0),
];

fn costs(s: &Settings) -> Costs {
    let retry = whole(s.get("retry_cost"));
    Costs { retry, after_throttling: whole(s.get("throttling_cost")), after_timeout: retry }
}

pub const STANDARD: ThrottleKind = ThrottleKind {
    name: "aws-standard",
    about: "AWS SDK retry quota (botocore 1.44.5, costs of 2026)",
    settings: &QUOTA,
    make: |s| Box::new(Aws::standard(costs(s), whole(s.get("capacity")))),
};

pub const ADAPTIVE: ThrottleKind = ThrottleKind {
    name: "aws-adaptive",
    about: "AWS SDK adaptive retry mode: quota and CUBIC send rate (botocore 1.44.5)",
    settings: &[QUOTA[0], QUOTA[1], QUOTA[2], even("beta", 0.7, 0.3, 0.95), geometric("scale", 0.4, 0.05, 4.0)],
    make: |s| Box::new(Aws::adaptive(costs(s), whole(s.get("capacity")), s.get("beta"), s.get("scale"))),
};

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers that smithy-rs's own `test_calculated_rate_with_successes` expects: throttled at 10/s at 5 s.
    #[test]
    fn cubic_grows_as_in_smithys_own_example() {
        let rate = SendRate { last_max: 10.0, last_throttle_s: 5.0, ..SendRate::new(5.0, 0.7, 0.4) };
        for (now_s, want) in [
            (5.0, 7.0),
            (6.0, 9.648_936_009_66),
            (7.0, 10.000_030_849_917_364),
            (8.0, 10.453_284_520_772_092),
            (9.0, 13.408_697_022_224_185),
            (10.0, 21.266_268_354_273_64),
            (11.0, 36.425_998_516_920_465),
        ] {
            let mut at = rate;
            at.measured = 1e9;
            at.last_bucket_s = now_s;
            at.responded(now_s, false);
            assert!((at.fill_rate - want).abs() < 1e-8, "{now_s}: {} {want}", at.fill_rate);
        }
    }

    #[test]
    fn a_quota_is_spent_and_given_back() {
        let mut aws = Aws::standard(Costs::SINCE_2026, 30);
        let mut dice = crate::dice::Dice::new(1);
        let mut at = Moment { now: Timestamp(1), dice: &mut dice };
        let usual = Retry::After(Duration::ZERO);
        assert_eq!(aws.retry(&mut at, 1, Some(Outcome::Failed), usual), usual);
        assert_eq!(aws.retry(&mut at, 1, Some(Outcome::TimedOut), usual), usual);
        assert_eq!(aws.retry(&mut at, 1, Some(Outcome::Failed), usual), Retry::GiveUp);
        assert_eq!(aws.quota.available(), 2);
        aws.ended(&mut at, 2, Some(Outcome::Done));
        assert_eq!(aws.quota.available(), 16);
        aws.ended(&mut at, 2, Some(Outcome::Failed));
        aws.ended(&mut at, 1, Some(Outcome::Done));
        assert_eq!((aws.quota.available(), aws.outstanding), (17, [0, 0]));
        assert_eq!(Costs::BEFORE_2026.of(Some(Outcome::TimedOut)), 10);
    }
}
