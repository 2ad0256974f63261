//! Vegas: an estimate of the queue from the least latency, kept between two bounds.
//!
//! Source: Netflix/concurrency-limits 0.5.4 (commit 78a74b9, 2026-01-12), `VegasLimit`:
//!
//! ```text
//! lg = max(1, ⌊log10 L⌋),  q = ⌈L·(1 − least/rtt)⌉
//! drop: L − lg       in flight < L/2: hold
//! q ≤ lg: L + 6·lg   q < 3·lg: L + lg   q > 6·lg: L − lg   else hold
//! ```
//!
//! Every U(0.5, 1)·30·L samples the latest rtt, congested or not, becomes the least.
//! Its default limiter updates with every sample; [`WINDOWED`] puts the one-second window in front.

use super::windowed::{SampleLimit, Windowed};
use super::{dropped, even, geometric, rtt_ns, whole};
use crate::arm::{Ended, Limiter, LimiterKind, Moment, Settings};
use crate::dice::Dice;

/// See the module.
#[derive(Clone, Debug)]
pub struct Vegas {
    estimated: f64,
    settings: VegasSettings,
    least_ns: Option<i64>,
    samples_since_probe: u64,
    /// Evenly in [0.5, 1); `None` before the first draw.
    probe_jitter: Option<f64>,
}

/// What [`Vegas`] is made with; the defaults are the authors'.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct VegasSettings {
    pub initial: u32,
    pub max: u32,
    pub smoothing: f64,
    pub alpha: f64,
    pub beta: f64,
    pub probe_multiplier: f64,
}

impl Default for VegasSettings {
    fn default() -> Self {
        Self { initial: 20, max: 1000, smoothing: 1.0, alpha: 3.0, beta: 6.0, probe_multiplier: 30.0 }
    }
}

fn log10(limit: f64) -> f64 {
    limit.trunc().log10().trunc().max(1.0)
}

impl Vegas {
    pub fn new(settings: VegasSettings) -> Self {
        let estimated = f64::from(settings.initial);
        Self { estimated, settings, least_ns: None, samples_since_probe: 0, probe_jitter: None }
    }

    fn draw(dice: &mut Dice) -> f64 {
        0.5 + 0.5 * dice.unit()
    }
}

impl SampleLimit for Vegas {
    fn limit(&self) -> u32 {
        self.estimated as u32
    }

    fn on_sample(&mut self, dice: &mut Dice, rtt_ns: i64, in_flight: u32, dropped: bool) {
        let s = self.settings;
        let rtt_ns = rtt_ns.max(1);
        self.samples_since_probe += 1;
        let jitter = *self.probe_jitter.get_or_insert_with(|| Self::draw(dice));
        if jitter * s.probe_multiplier * self.estimated <= self.samples_since_probe as f64 {
            self.probe_jitter = Some(Self::draw(dice));
            self.samples_since_probe = 0;
            self.least_ns = Some(rtt_ns);
            return;
        }
        let Some(least_ns) = self.least_ns.filter(|least| *least <= rtt_ns) else {
            self.least_ns = Some(rtt_ns);
            return;
        };
        let limit = self.estimated;
        let lg = log10(limit);
        let queue = (limit * (1.0 - least_ns as f64 / rtt_ns as f64)).ceil();
        let new = if dropped {
            limit - lg
        } else if f64::from(in_flight) * 2.0 < limit {
            return;
        } else if queue <= lg {
            limit + s.beta * lg
        } else if queue < s.alpha * lg {
            limit + lg
        } else if queue > s.beta * lg {
            limit - lg
        } else {
            return;
        };
        let clamped = new.min(f64::from(s.max)).max(1.0);
        self.estimated = (1.0 - s.smoothing) * limit + s.smoothing * clamped;
    }
}

impl Limiter for Vegas {
    fn limit(&self) -> f64 {
        self.estimated.trunc()
    }

    fn ended(&mut self, at: &mut Moment<'_>, ended: &Ended) {
        if let Some(dropped) = dropped(ended.outcome) {
            self.on_sample(at.dice, rtt_ns(ended), ended.in_flight_at_start, dropped);
        }
    }
}

impl Limiter for Windowed<Vegas> {
    fn limit(&self) -> f64 {
        self.inner.estimated.trunc()
    }

    fn ended(&mut self, at: &mut Moment<'_>, ended: &Ended) {
        self.finished(at, ended);
    }
}

fn vegas(s: &Settings) -> Vegas {
    Vegas::new(VegasSettings {
        initial: whole(s.get("initial")),
        max: whole(s.get("max")),
        smoothing: s.get("smoothing"),
        alpha: s.get("alpha"),
        beta: s.get("beta"),
        probe_multiplier: s.get("probe_multiplier"),
    })
}

pub const KIND: LimiterKind = LimiterKind {
    name: "vegas",
    about: "Netflix concurrency-limits 0.5.4, VegasLimit",
    settings: &[
        geometric("initial", 20.0, 1.0, 200.0),
        geometric("max", 1000.0, 50.0, 10_000.0),
        even("smoothing", 1.0, 0.1, 1.0),
        even("alpha", 3.0, 1.0, 8.0),
        even("beta", 6.0, 2.0, 16.0),
        geometric("probe_multiplier", 30.0, 5.0, 500.0),
    ],
    make: |s: &Settings| Box::new(vegas(s)),
};

pub const WINDOWED: LimiterKind = LimiterKind {
    name: "vegas-windowed",
    about: "Netflix concurrency-limits 0.5.4, VegasLimit in a WindowedLimit",
    settings: &[
        geometric("initial", 20.0, 1.0, 200.0),
        geometric("max", 1000.0, 50.0, 10_000.0),
        even("smoothing", 1.0, 0.1, 1.0),
        even("alpha", 3.0, 1.0, 8.0),
        even("beta", 6.0, 2.0, 16.0),
        geometric("probe_multiplier", 30.0, 0.5, 500.0),
        geometric("window_s", 1.0, 0.1, 2.0),
    ],
    make: |s: &Settings| {
        let window_ns = (s.get("window_s") * 1e9) as i64;
        Box::new(Windowed::new(vegas(s), window_ns, window_ns))
    },
};
