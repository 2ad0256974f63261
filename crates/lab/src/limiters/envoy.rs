//! Envoy's gradient controller: the least latency is measured by stepping down to a handful of calls now and then.
//!
//! Source: envoyproxy/envoy, `adaptive_concurrency/controller/gradient_controller.cc` (commit c35f67f), and pull
//! request 46602 (merged August 2026, in release 1.40), which gave the floor a setting of its own
//! (`min_concurrency_limit`) and made a probe never raise the limit.
//!
//! ```text
//! every update interval:  g = clamp(minRTT·(1 + buffer)/sampleRTT, 0.5, 2)
//!                         L ← clamp(⌊L·g + √(L·g)⌋, floor, max)         (no sample: no decision)
//! every interval·[1, 1.15): L ← min(L, min_concurrency) until 50 samples of calls that began since: minRTT ← their
//!                         quantile, L ← what it was. Five updates in a row at the floor: at once.
//! ```
//!
//! A complete answer is a sample whatever it says; a call that its caller gave up (a timeout here) is none.
//! The filter answers 503 above the limit: [`Nature::Reject`]. [`QUEUED`] is the same with a queue in front.
//!
//! Left out: `fixed_value` for the least latency, and the race between worker threads.

use std::time::Duration;

use model::Timestamp;

use super::histogram::Histogram;
use super::{even, geometric, whole};
use crate::arm::{Ended, Limiter, LimiterKind, Moment, Nature, Outcome, Setting, Settings};
use crate::dice::Dice;

/// What [`Envoy`] is made with. The two intervals have no default in Envoy; these are its documentation's.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct EnvoySettings {
    pub update_interval: Duration,
    pub min_rtt_interval: Duration,
    /// 0..1
    pub jitter: f64,
    pub max: u32,
    /// Samples that end a measurement of the least latency.
    pub request_count: u64,
    /// 0..1
    pub percentile: f64,
    /// The limit during a measurement.
    pub min_concurrency: u32,
    /// 0..1
    pub buffer: f64,
    /// `None`: as `min_concurrency`, which is how it was before August 2026.
    pub min_concurrency_limit: Option<u32>,
    pub nature: Nature,
}

impl Default for EnvoySettings {
    fn default() -> Self {
        Self {
            update_interval: Duration::from_millis(100),
            min_rtt_interval: Duration::from_secs(60),
            jitter: 0.15,
            max: 1000,
            request_count: 50,
            percentile: 0.5,
            min_concurrency: 3,
            buffer: 0.25,
            min_concurrency_limit: None,
            nature: Nature::Reject,
        }
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Envoy {
    settings: EnvoySettings,
    floor: u32,
    limit: u32,
    /// The limit to return to while the least latency is being measured.
    deferred: Option<u32>,
    samples: Histogram,
    min_rtt_us: u64,
    epoch: Timestamp,
    times_at_floor: u32,
    is_running: bool,
    sample_timer: Option<Timestamp>,
    min_rtt_timer: Option<Timestamp>,
}

/// The next limit from the present one; rtts in microseconds.
pub fn next_limit(s: &EnvoySettings, floor: u32, limit: u32, min_rtt_us: u64, sample_rtt_us: u64) -> u32 {
    let buffered = min_rtt_us as f64 + min_rtt_us as f64 * s.buffer;
    let gradient = (buffered / sample_rtt_us.max(1) as f64).clamp(0.5, 2.0);
    let scaled = f64::from(limit) * gradient;
    ((scaled + scaled.sqrt()) as u32).min(s.max).max(floor)
}

impl Envoy {
    pub fn new(settings: EnvoySettings) -> Self {
        let floor = settings.min_concurrency_limit.unwrap_or(settings.min_concurrency);
        Self {
            settings,
            floor,
            limit: settings.min_concurrency,
            deferred: None,
            samples: Histogram::default(),
            min_rtt_us: 0,
            epoch: Timestamp::ZERO,
            times_at_floor: 0,
            is_running: false,
            sample_timer: None,
            min_rtt_timer: None,
        }
    }

    /// The limit in force.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// Whether the least latency is being measured.
    pub fn is_measuring(&self) -> bool {
        self.deferred.is_some()
    }

    /// The first call starts the controller: it begins with a measurement.
    pub fn start(&mut self, now: Timestamp) {
        if !self.is_running {
            self.is_running = true;
            self.measure(now);
            self.sample_timer = Some(now.after(self.settings.update_interval));
        }
    }

    fn measure(&mut self, now: Timestamp) {
        if self.is_measuring() {
            return;
        }
        self.deferred = Some(self.limit);
        self.set_limit(now, self.limit.min(self.settings.min_concurrency));
        self.samples.clear();
        self.epoch = now;
    }

    fn set_limit(&mut self, now: Timestamp, new: u32) {
        let old = std::mem::replace(&mut self.limit, new);
        let at_floor = !self.is_measuring() && old == self.floor && new == self.floor;
        self.times_at_floor = if at_floor { self.times_at_floor + 1 } else { 0 };
        if self.times_at_floor >= 5 {
            self.min_rtt_timer = Some(now);
        }
    }

    fn take_quantile_us(&mut self) -> Option<u64> {
        let quantile = self.samples.quantile(self.settings.percentile)?;
        self.samples.clear();
        Some(quantile as u64)
    }

    /// A complete answer to a call that began at `started`.
    pub fn sampled(&mut self, now: Timestamp, dice: &mut Dice, started: Timestamp, rtt_us: u64) {
        if started < self.epoch {
            return;
        }
        self.samples.insert(rtt_us);
        if let Some(before) = self.deferred
            && self.samples.samples() >= self.settings.request_count
            && let Some(min_rtt_us) = self.take_quantile_us()
        {
            self.min_rtt_us = min_rtt_us;
            self.set_limit(now, before);
            self.deferred = None;
            let interval_ms = self.settings.min_rtt_interval.as_millis() as u64;
            let range_ms = (interval_ms as f64 * self.settings.jitter).ceil() as usize;
            let jitter_ms = dice.below(range_ms) as u64;
            self.min_rtt_timer = Some(now.after(Duration::from_millis(interval_ms + jitter_ms)));
            self.sample_timer = Some(now.after(self.settings.update_interval));
        }
    }

    /// When [`Self::tick`] is due.
    pub fn next_tick(&self) -> Option<Timestamp> {
        [self.sample_timer, self.min_rtt_timer].into_iter().flatten().min()
    }

    /// Lets the timers that are due act.
    pub fn tick(&mut self, now: Timestamp) {
        if self.min_rtt_timer.is_some_and(|due| due <= now) {
            self.min_rtt_timer = None;
            self.measure(now);
        }
        if self.sample_timer.is_some_and(|due| due <= now) {
            self.sample_timer = None;
            if self.is_measuring() {
                return;
            }
            if let Some(sample_us) = self.take_quantile_us() {
                self.set_limit(now, next_limit(&self.settings, self.floor, self.limit, self.min_rtt_us, sample_us));
            }
            self.sample_timer = Some(now.after(self.settings.update_interval));
        }
    }
}

impl Limiter for Envoy {
    fn limit(&self) -> f64 {
        f64::from(self.limit)
    }

    fn nature(&self) -> Nature {
        self.settings.nature
    }

    fn admit(&mut self, at: &mut Moment<'_>, asking: &crate::arm::Asking) -> bool {
        self.start(at.now);
        asking.in_flight < self.limit
    }

    fn ended(&mut self, at: &mut Moment<'_>, ended: &Ended) {
        if ended.outcome != Outcome::TimedOut {
            self.sampled(at.now, at.dice, ended.started, ended.rtt.as_micros() as u64);
        }
    }

    fn next_wake(&self) -> Option<Timestamp> {
        self.next_tick()
    }

    fn wake(&mut self, at: &mut Moment<'_>) {
        self.tick(at.now);
    }
}

const SETTINGS: &[Setting] = &[
    geometric("update_interval_s", 0.1, 0.02, 2.0),
    geometric("min_rtt_interval_s", 60.0, 5.0, 300.0),
    even("jitter", 0.15, 0.05, 0.5),
    geometric("max", 1000.0, 50.0, 10_000.0),
    geometric("request_count", 50.0, 10.0, 200.0),
    even("percentile", 0.5, 0.3, 0.95),
    geometric("min_concurrency", 3.0, 1.0, 50.0),
    even("buffer", 0.25, 0.05, 1.0),
    // 0 leaves it unset.
    even("min_concurrency_limit", 0.0, 0.0, 20.0),
];

fn envoy(s: &Settings, nature: Nature) -> Box<dyn Limiter> {
    Box::new(Envoy::new(EnvoySettings {
        update_interval: Duration::from_secs_f64(s.get("update_interval_s")),
        min_rtt_interval: Duration::from_secs_f64(s.get("min_rtt_interval_s")),
        jitter: s.get("jitter"),
        max: whole(s.get("max")),
        request_count: u64::from(whole(s.get("request_count"))),
        percentile: s.get("percentile"),
        min_concurrency: whole(s.get("min_concurrency")).max(1),
        buffer: s.get("buffer"),
        min_concurrency_limit: Some(whole(s.get("min_concurrency_limit"))).filter(|floor| *floor > 0),
        nature,
    }))
}

pub const KIND: LimiterKind = LimiterKind {
    name: "envoy",
    about: "Envoy 1.40 adaptive_concurrency, gradient controller, 503 above the limit",
    settings: SETTINGS,
    make: |s| envoy(s, Nature::Reject),
};

pub const QUEUED: LimiterKind = LimiterKind {
    name: "envoy-queued",
    about: "Envoy 1.40 gradient controller, as a limit with a queue in front",
    settings: SETTINGS,
    make: |s| envoy(s, Nature::Queue),
};

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + ms)
    }

    #[test]
    fn the_formula_of_the_documentation() {
        let s = EnvoySettings::default();
        // gradient 1: 100 + √100; gradient 1.25: 125 + √125; slower twofold: 62.5 + √62.5; clamped at 0.5 and 2.
        for (min_rtt, sample, want) in
            [(800, 1000, 110), (1000, 1000, 136), (1000, 2000, 70), (1000, 9000, 57), (9000, 1000, 214)]
        {
            assert_eq!(next_limit(&s, 3, 100, min_rtt, sample), want, "{min_rtt} {sample}");
        }
        assert_eq!(next_limit(&s, 3, 900, 9000, 1000), 1000);
        assert_eq!(next_limit(&s, 3, 3, 1000, 9000), 3);
        assert_eq!(next_limit(&s, 40, 41, 1000, 9000), 40);
    }

    #[test]
    fn a_measurement_pins_the_limit_and_ends_after_fifty_samples() {
        let mut dice = Dice::new(1);
        let mut envoy = Envoy::new(EnvoySettings { min_concurrency_limit: Some(2), ..EnvoySettings::default() });
        envoy.start(at(0));
        assert_eq!((envoy.limit(), envoy.is_measuring()), (3, true));
        // A call from before the measurement does not count.
        envoy.sampled(at(0), &mut dice, at(0), 1_000);
        for n in 1..49 {
            envoy.sampled(at(n), &mut dice, at(1), 1_000);
        }
        assert!(envoy.is_measuring());
        envoy.sampled(at(50), &mut dice, at(1), 1_000);
        assert_eq!((envoy.limit(), envoy.is_measuring()), (3, false));
        // The buckets are 100 µs wide at 1 ms: the median of equal samples is the middle of their bucket.
        assert_eq!(envoy.min_rtt_us, 1_050);
        let due = envoy.min_rtt_timer.unwrap();
        assert!(due >= at(50 + 60_000) && due < at(50 + 69_000), "{due}");
        // 3 → ⌊3.75 + √3.75⌋ = 5 → ⌊6.25 + √6.25⌋ = 8
        for (ms, want) in [(150, 5), (250, 8)] {
            envoy.sampled(at(ms - 1), &mut dice, at(100), 1_000);
            envoy.tick(at(ms));
            assert_eq!(envoy.limit(), want);
        }
        // An empty window decides nothing.
        envoy.tick(at(350));
        assert_eq!(envoy.limit(), 8);
        // The next measurement: down to min_concurrency, then back to 8.
        envoy.tick(due);
        assert_eq!((envoy.limit(), envoy.is_measuring()), (3, true));
        for _ in 0..50 {
            envoy.sampled(due.after(Duration::from_millis(5)), &mut dice, due, 1_000);
        }
        assert_eq!((envoy.limit(), envoy.is_measuring()), (8, false));
    }

    #[test]
    fn five_updates_at_the_floor_measure_again_and_a_probe_never_raises_the_limit() {
        let mut dice = Dice::new(1);
        let mut envoy = Envoy::new(EnvoySettings {
            min_concurrency: 10,
            min_concurrency_limit: Some(2),
            ..EnvoySettings::default()
        });
        envoy.start(at(0));
        for _ in 0..50 {
            envoy.sampled(at(10), &mut dice, at(0), 1_000);
        }
        let mut seen = Vec::new();
        for n in 0.. {
            let now = envoy.next_tick().unwrap();
            envoy.tick(now);
            if envoy.is_measuring() {
                break;
            }
            envoy.sampled(now, &mut dice, at(20), 50_000);
            seen.push(envoy.limit());
            assert!(n < 50, "{seen:?}");
        }
        // Halved with √ headroom each time, to the floor of 2, which is below the probe's 10.
        assert_eq!(seen, [10, 7, 5, 4, 3, 2, 2, 2, 2, 2, 2]);
        assert_eq!(envoy.limit(), 2);
    }
}
