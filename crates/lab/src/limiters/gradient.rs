//! Gradient (the first): the ratio of the least latency seen and the latest one.
//!
//! Source: Netflix/concurrency-limits 0.5.4 (commit 78a74b9, 2026-01-12), `GradientLimit` with
//! `MinimumMeasurement` and `SquareRootFunction(4)`:
//!
//! ```text
//! every 1000..2000 samples:  L ← max(min, q), forget the least rtt
//! g = clamp(2·least/rtt, 0.5, 1),   q = max(4, ⌊√L⌋)
//! drop: N = 0.9·L     in flight < L/2: hold     else N = g·L + q
//! N < L: N ← max(min, 0.8·L + 0.2·N)            L ← max(q, min(max, N))
//! ```
//!
//! [`WINDOWED`] puts the one-second window in front, as the README does with Gradient2.

use super::windowed::{SampleLimit, Windowed};
use super::{dropped, even, geometric, rtt_ns, whole};
use crate::arm::{Ended, Limiter, LimiterKind, Moment, Setting, Settings};
use crate::dice::Dice;

/// See the module.
#[derive(Clone, Debug)]
pub struct Gradient {
    estimated: f64,
    settings: GradientSettings,
    /// Samples until the least rtt is forgotten; `None` before the first draw.
    until_probe: Option<u32>,
    least_ns: Option<i64>,
}

/// What [`Gradient`] is made with; the defaults are the authors'.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct GradientSettings {
    pub initial: u32,
    pub min: u32,
    pub max: u32,
    pub smoothing: f64,
    pub tolerance: f64,
    pub backoff_ratio: f64,
    /// In samples; `None` never probes.
    pub probe_interval: Option<u32>,
}

impl Default for GradientSettings {
    fn default() -> Self {
        Self {
            initial: 50,
            min: 1,
            max: 1000,
            smoothing: 0.2,
            tolerance: 2.0,
            backoff_ratio: 0.9,
            probe_interval: Some(1000),
        }
    }
}

impl Gradient {
    pub fn new(settings: GradientSettings) -> Self {
        Self { estimated: f64::from(settings.initial), settings, until_probe: None, least_ns: None }
    }

    fn queue_size(&self) -> f64 {
        self.estimated.trunc().sqrt().trunc().max(4.0)
    }

    /// Whether this sample is the one that starts over.
    fn probes(&mut self, dice: &mut Dice) -> bool {
        let Some(interval) = self.settings.probe_interval else { return false };
        let mut draw = || interval.saturating_add(dice.below(interval as usize) as u32);
        let left = self.until_probe.unwrap_or_else(&mut draw);
        self.until_probe = Some(if left == 0 { draw() } else { left - 1 });
        left == 0
    }
}

impl SampleLimit for Gradient {
    fn limit(&self) -> u32 {
        self.estimated as u32
    }

    fn on_sample(&mut self, dice: &mut Dice, rtt_ns: i64, in_flight: u32, dropped: bool) {
        let s = self.settings;
        let rtt_ns = rtt_ns.max(1);
        let queue_size = self.queue_size();
        let (min, max) = (f64::from(s.min), f64::from(s.max));
        if self.probes(dice) {
            self.estimated = min.max(queue_size);
            self.least_ns = None;
            return;
        }
        let least_ns = self.least_ns.map_or(rtt_ns, |least| least.min(rtt_ns));
        self.least_ns = Some(least_ns);
        let gradient = (s.tolerance * least_ns as f64 / rtt_ns as f64).clamp(0.5, 1.0);
        let mut new = if dropped {
            self.estimated * s.backoff_ratio
        } else if f64::from(in_flight) < self.estimated / 2.0 {
            return;
        } else {
            self.estimated * gradient + queue_size
        };
        if new < self.estimated {
            new = min.max(self.estimated * (1.0 - s.smoothing) + s.smoothing * new);
        }
        self.estimated = queue_size.max(max.min(new));
    }
}

impl Limiter for Gradient {
    fn limit(&self) -> f64 {
        self.estimated.trunc()
    }

    fn ended(&mut self, at: &mut Moment<'_>, ended: &Ended) {
        if let Some(dropped) = dropped(ended.outcome) {
            self.on_sample(at.dice, rtt_ns(ended), ended.in_flight_at_start, dropped);
        }
    }
}

impl Limiter for Windowed<Gradient> {
    fn limit(&self) -> f64 {
        self.inner.estimated.trunc()
    }

    fn ended(&mut self, at: &mut Moment<'_>, ended: &Ended) {
        self.finished(at, ended);
    }
}

fn gradient(s: &Settings) -> Gradient {
    Gradient::new(GradientSettings {
        initial: whole(s.get("initial")),
        min: whole(s.get("min")),
        max: whole(s.get("max")),
        smoothing: s.get("smoothing"),
        tolerance: s.get("tolerance"),
        backoff_ratio: s.get("backoff_ratio"),
        probe_interval: Some(whole(s.get("probe_interval")).max(1)),
    })
}

const SETTINGS: [Setting; 7] = [
    geometric("initial", 50.0, 1.0, 200.0),
    geometric("min", 1.0, 1.0, 50.0),
    geometric("max", 1000.0, 50.0, 10_000.0),
    even("smoothing", 0.2, 0.05, 1.0),
    even("tolerance", 2.0, 1.0, 3.0),
    even("backoff_ratio", 0.9, 0.5, 0.99),
    geometric("probe_interval", 1000.0, 20.0, 10_000.0),
];

pub const KIND: LimiterKind = LimiterKind {
    name: "gradient",
    about: "Netflix concurrency-limits 0.5.4, GradientLimit",
    settings: &SETTINGS,
    make: |s| Box::new(gradient(s)),
};

pub const WINDOWED: LimiterKind = LimiterKind {
    name: "gradient-windowed",
    about: "Netflix concurrency-limits 0.5.4, GradientLimit in a WindowedLimit",
    settings: &[
        SETTINGS[0],
        SETTINGS[1],
        SETTINGS[2],
        SETTINGS[3],
        SETTINGS[4],
        SETTINGS[5],
        SETTINGS[6],
        geometric("window_s", 1.0, 0.1, 2.0),
    ],
    make: |s| {
        let window_ns = (s.get("window_s") * 1e9) as i64;
        Box::new(Windowed::new(gradient(s), window_ns, window_ns))
    },
};
