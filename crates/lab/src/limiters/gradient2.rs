//! Gradient2: the ratio of a long and a short average of latency.
//!
//! Source: Netflix/concurrency-limits 0.5.4 (commit 78a74b9, 2026-01-12), `Gradient2Limit` with
//! `ExpAvgMeasurement`, behind a `WindowedLimit` as its README has it:
//!
//! ```text
//! long ← mean of the first 10, then long·(1−2/601) + rtt·2/601;   long ← 0.95·long if long/rtt > 2
//! hold if in flight < L/2, else   g = clamp(1.5·long/rtt, 0.5, 1);   L ← 0.8·L + 0.2·(g·L + 4), clamped
//! ```
//!
//! Drops do not matter to it: `didDrop` is never read.

use super::windowed::{SampleLimit, Windowed};
use super::{even, geometric, whole};
use crate::arm::{Ended, Limiter, LimiterKind, Moment, Setting, Settings};
use crate::dice::Dice;

/// Exponential average that begins as a plain mean.
#[derive(Clone, Copy, Debug)]
struct LongAverage {
    factor: f64,
    warm_up: u32,
    count: u32,
    sum: f64,
    value: f64,
}

impl LongAverage {
    fn add(&mut self, sample: f64) -> f64 {
        if self.count < self.warm_up {
            self.count += 1;
            self.sum += sample;
            self.value = self.sum / f64::from(self.count);
        } else {
            self.value = self.value * (1.0 - self.factor) + sample * self.factor;
        }
        self.value
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Gradient2 {
    estimated: f64,
    limit: u32,
    min: f64,
    max: f64,
    smoothing: f64,
    queue_size: f64,
    tolerance: f64,
    long: LongAverage,
}

/// What [`Gradient2`] is made with; the defaults are the authors'.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Gradient2Settings {
    pub initial: u32,
    pub min: u32,
    pub max: u32,
    pub smoothing: f64,
    pub queue_size: f64,
    /// In samples.
    pub long_window: u32,
    pub tolerance: f64,
}

impl Default for Gradient2Settings {
    fn default() -> Self {
        Self { initial: 20, min: 20, max: 200, smoothing: 0.2, queue_size: 4.0, long_window: 600, tolerance: 1.5 }
    }
}

impl Gradient2 {
    pub fn new(s: &Gradient2Settings) -> Self {
        let factor = 2.0 / (f64::from(s.long_window) + 1.0);
        Self {
            estimated: f64::from(s.initial),
            limit: s.initial,
            min: f64::from(s.min),
            max: f64::from(s.max),
            smoothing: s.smoothing,
            queue_size: s.queue_size,
            tolerance: s.tolerance,
            long: LongAverage { factor, warm_up: 10, count: 0, sum: 0.0, value: 0.0 },
        }
    }
}

impl SampleLimit for Gradient2 {
    fn limit(&self) -> u32 {
        self.limit
    }

    fn on_sample(&mut self, _dice: &mut Dice, rtt_ns: i64, in_flight: u32, _dropped: bool) {
        let short = rtt_ns.max(1) as f64;
        let long = self.long.add(short);
        if long / short > 2.0 {
            self.long.value *= 0.95;
        }
        if f64::from(in_flight) >= self.estimated / 2.0 {
            let gradient = (self.tolerance * long / short).clamp(0.5, 1.0);
            let target = self.estimated * gradient + self.queue_size;
            let smoothed = self.estimated * (1.0 - self.smoothing) + target * self.smoothing;
            self.estimated = smoothed.min(self.max).max(self.min);
        }
        self.limit = self.estimated as u32;
    }
}

impl Limiter for Windowed<Gradient2> {
    fn limit(&self) -> f64 {
        f64::from(self.inner.limit)
    }

    fn ended(&mut self, at: &mut Moment<'_>, ended: &Ended) {
        self.finished(at, ended);
    }
}

const fn settings(max: f64) -> [Setting; 8] {
    [
        geometric("initial", 20.0, 1.0, 200.0),
        geometric("min", 20.0, 1.0, 50.0),
        geometric("max", max, 50.0, 10_000.0),
        even("smoothing", 0.2, 0.05, 1.0),
        even("queue_size", 4.0, 1.0, 16.0),
        geometric("long_window", 600.0, 10.0, 1200.0),
        even("tolerance", 1.5, 1.0, 3.0),
        geometric("window_s", 1.0, 0.1, 2.0),
    ]
}

fn make(s: &Settings) -> Box<dyn Limiter> {
    let window_ns = (s.get("window_s") * 1e9) as i64;
    let inner = Gradient2::new(&Gradient2Settings {
        initial: whole(s.get("initial")),
        min: whole(s.get("min")),
        max: whole(s.get("max")),
        smoothing: s.get("smoothing"),
        queue_size: s.get("queue_size"),
        long_window: whole(s.get("long_window")),
        tolerance: s.get("tolerance"),
    });
    Box::new(Windowed::new(inner, window_ns, window_ns))
}

pub const KIND: LimiterKind = LimiterKind {
    name: "gradient2",
    about: "Netflix concurrency-limits 0.5.4, Gradient2Limit in a WindowedLimit",
    settings: const { &settings(200.0) },
    make,
};

/// The same with a ceiling that no scenario reaches, to see where it would go.
pub const UNBOUNDED: LimiterKind = LimiterKind {
    name: "gradient2-unbounded",
    about: "Netflix concurrency-limits 0.5.4, Gradient2Limit in a WindowedLimit, maxConcurrency 10000",
    settings: const { &settings(10_000.0) },
    make,
};
