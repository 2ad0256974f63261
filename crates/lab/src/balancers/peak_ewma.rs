//! Peak EWMA: the cheaper of two, by latency that jumps up at once and forgets slowly.
//!
//! Source: tower 0.5.3, `load/peak_ewma.rs` (after Finagle's `PeakEwma`), with tower's power of two choices:
//!
//! ```text
//! rtt above the estimate: estimate = rtt      else: estimate = estimate·e^(−Δt/decay) + rtt·(1 − e^(−Δt/decay))
//! cost = estimate (decayed to now) · (pending + 1)
//! ```
//!
//! tower starts at 1 s, linkerd2-proxy (commit 29637b6, 2026-08-21) at 30 ms; both decay over 10 s. Whatever ended is
//! a measurement, failures too, which is what makes an endpoint that fails fast attractive. [`LINKERD`] charges a
//! failure 5 s, as linkerd's load biaser (pull request 4537, June 2026) does.

use std::time::Duration;

use model::Timestamp;

use crate::arm::{Balancer, BalancerKind, Ended, EndpointView, Moment, Outcome, Setting, Settings};
use crate::limiters::geometric;

/// Seconds, and when they were last brought up to date.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Estimate {
    rtt_s: f64,
    at: Timestamp,
}

impl Estimate {
    pub fn new(rtt_s: f64, at: Timestamp) -> Self {
        Self { rtt_s, at }
    }

    /// Takes a measurement; the new estimate in seconds.
    pub fn update(&mut self, now: Timestamp, rtt_s: f64, decay_s: f64) -> f64 {
        self.rtt_s = if self.rtt_s < rtt_s {
            rtt_s
        } else {
            let kept = (-now.since(self.at).as_secs_f64() / decay_s).exp();
            self.rtt_s * kept + rtt_s * (1.0 - kept)
        };
        self.at = now;
        self.rtt_s
    }

    /// The estimate in seconds, decayed to now.
    pub fn decayed(&mut self, now: Timestamp, decay_s: f64) -> f64 {
        self.update(now, 0.0, decay_s)
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct PeakEwma {
    default_rtt_s: f64,
    decay_s: f64,
    /// What a failed call is charged; `None`: as long as it took.
    penalty: Option<Duration>,
    estimates: Vec<Estimate>,
}

impl PeakEwma {
    pub fn new(default_rtt_s: f64, decay_s: f64, penalty: Option<Duration>) -> Self {
        Self { default_rtt_s, decay_s, penalty, estimates: Vec::new() }
    }

    fn estimate(&mut self, now: Timestamp, endpoint: usize) -> &mut Estimate {
        let fresh = Estimate::new(self.default_rtt_s, now);
        if self.estimates.len() <= endpoint {
            self.estimates.resize(endpoint + 1, fresh);
        }
        &mut self.estimates[endpoint]
    }

    fn cost(&mut self, now: Timestamp, endpoint: usize, in_flight: u32) -> f64 {
        let decay_s = self.decay_s;
        self.estimate(now, endpoint).decayed(now, decay_s) * (f64::from(in_flight) + 1.0)
    }
}

impl Balancer for PeakEwma {
    fn choose(&mut self, at: &mut Moment<'_>, endpoints: &[EndpointView]) -> usize {
        let n = endpoints.len();
        if n < 2 {
            return 0;
        }
        let a = at.dice.below(n);
        let b = (a + 1 + at.dice.below(n - 1)) % n;
        let cost_a = self.cost(at.now, a, endpoints[a].in_flight);
        let cost_b = self.cost(at.now, b, endpoints[b].in_flight);
        if cost_b < cost_a { b } else { a }
    }

    fn ended(&mut self, at: &mut Moment<'_>, ended: &Ended) {
        let failed = !ended.outcome.is_answer() && ended.outcome != Outcome::TimedOut;
        let rtt = self.penalty.filter(|_| failed).map_or(ended.rtt, |penalty| penalty.max(ended.rtt));
        let decay_s = self.decay_s;
        self.estimate(at.now, usize::from(ended.endpoint)).update(at.now, rtt.as_secs_f64(), decay_s);
    }
}

const TOWER: &[Setting] = &[geometric("default_rtt_s", 1.0, 0.001, 5.0), geometric("decay_s", 10.0, 0.5, 60.0)];

pub const KIND: BalancerKind = BalancerKind {
    name: "peak-ewma",
    about: "peak EWMA with two choices (tower 0.5.3)",
    settings: TOWER,
    make: |s: &Settings| Box::new(PeakEwma::new(s.get("default_rtt_s"), s.get("decay_s"), None)),
};

pub const LINKERD: BalancerKind = BalancerKind {
    name: "load-biaser",
    about: "peak EWMA with failures charged 5 s (linkerd2-proxy, June 2026)",
    settings: &[
        geometric("default_rtt_s", 0.03, 0.001, 5.0),
        geometric("decay_s", 10.0, 0.5, 60.0),
        geometric("penalty_s", 5.0, 0.1, 30.0),
    ],
    make: |s: &Settings| {
        let penalty = Duration::from_secs_f64(s.get("penalty_s"));
        Box::new(PeakEwma::new(s.get("default_rtt_s"), s.get("decay_s"), Some(penalty)))
    },
};
