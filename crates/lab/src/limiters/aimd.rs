//! Additive increase, multiplicative decrease: the oldest of them, without a model of latency.
//!
//! Source: Netflix/concurrency-limits 0.5.4 (commit 78a74b9, 2026-01-12), `AIMDLimit`: a drop or an rtt above the
//! timeout (5 s) leaves ⌊0.9 L⌋, otherwise one more if at least half of the limit was in use. Whole numbers.

use super::windowed::SampleLimit;
use super::{dropped, even, geometric, rtt_ns, whole};
use crate::arm::{Ended, Limiter, LimiterKind, Moment, Settings};
use crate::dice::Dice;

/// See the module.
#[derive(Clone, Debug)]
pub struct Aimd {
    limit: u32,
    min: u32,
    max: u32,
    backoff_ratio: f64,
    timeout_ns: i64,
}

impl Aimd {
    pub fn new(initial: u32, min: u32, max: u32, backoff_ratio: f64, timeout_ns: i64) -> Self {
        Self { limit: initial, min, max, backoff_ratio, timeout_ns }
    }
}

impl SampleLimit for Aimd {
    fn limit(&self) -> u32 {
        self.limit
    }

    fn on_sample(&mut self, _dice: &mut Dice, rtt_ns: i64, in_flight: u32, dropped: bool) {
        let mut limit = self.limit;
        if dropped || rtt_ns > self.timeout_ns {
            limit = (f64::from(limit) * self.backoff_ratio) as u32;
        } else if in_flight.saturating_mul(2) >= limit {
            limit = limit.saturating_add(1);
        }
        self.limit = limit.max(self.min).min(self.max);
    }
}

impl Limiter for Aimd {
    fn limit(&self) -> f64 {
        f64::from(self.limit)
    }

    fn ended(&mut self, at: &mut Moment<'_>, ended: &Ended) {
        if let Some(dropped) = dropped(ended.outcome) {
            self.on_sample(at.dice, rtt_ns(ended), ended.in_flight_at_start, dropped);
        }
    }
}

pub const KIND: LimiterKind = LimiterKind {
    name: "aimd",
    about: "Netflix concurrency-limits 0.5.4, AIMDLimit",
    settings: &[
        geometric("initial", 20.0, 1.0, 200.0),
        geometric("min", 20.0, 1.0, 50.0),
        geometric("max", 200.0, 50.0, 1000.0),
        even("backoff_ratio", 0.9, 0.5, 0.99),
        geometric("timeout_s", 5.0, 0.05, 10.0),
    ],
    make: |s: &Settings| {
        let timeout_ns = (s.get("timeout_s") * 1e9) as i64;
        Box::new(Aimd::new(
            whole(s.get("initial")),
            whole(s.get("min")),
            whole(s.get("max")),
            s.get("backoff_ratio"),
            timeout_ns,
        ))
    },
};
