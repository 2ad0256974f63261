//! brpc's `auto` limiter: Little's law on the least latency and the largest throughput, plus a share to explore.
//!
//! Source: apache/brpc (commit 71871ee9, 2026-08-22), `src/brpc/policy/auto_concurrency_limiter.cpp`:
//!
//! ```text
//! a window: 1 s with 100 samples or more (thrown away with fewer), or 200 samples
//! avg = ⌈(Σ rtt of successes + Σ rtt of failures) / successes⌉         least: down by EMA 0.1, never up
//! maxQPS: up at once, down by EMA 0.01
//! explore +0.02 (≤ 0.3)  if avg ≤ least·1.06 or qps ≤ maxQPS/1.06, else −0.02 (≥ 0.06)
//! L = least·maxQPS·(1 + explore)
//! every 25..50 s: L = ⌈0.9·least·maxQPS⌉, no samples for 2·avg, then the least latency starts over
//! all failed: L/2.   Never below 9 (the default number of worker threads).
//! ```
//!
//! It protects a server, which answers `ELIMIT` above the limit: [`Nature::Reject`]; [`QUEUED`] waits. A timeout is
//! a failure that took as long as the timeout.
//!
//! Left out: the threshold of the error punishment, which is off by default.

use super::{even, geometric, whole};
use crate::arm::{Asking, Ended, Limiter, LimiterKind, Moment, Nature, Setting, Settings};
use crate::dice::Dice;

/// What [`Brpc`] is made with; the defaults are the flags' own.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct BrpcSettings {
    pub initial: u32,
    pub min: u32,
    pub window_us: i64,
    pub samples_min: u32,
    pub samples_max: u32,
    pub sampling_interval_us: i64,
    pub remeasure_interval_ms: u32,
    pub ema: f64,
    pub explore_max: f64,
    pub explore_min: f64,
    pub explore_step: f64,
    pub reduce_ratio: f64,
    pub fail_punish: f64,
    pub nature: Nature,
}

impl Default for BrpcSettings {
    fn default() -> Self {
        Self {
            initial: 40,
            min: 9,
            window_us: 1_000_000,
            samples_min: 100,
            samples_max: 200,
            sampling_interval_us: 100,
            remeasure_interval_ms: 50_000,
            ema: 0.1,
            explore_max: 0.3,
            explore_min: 0.06,
            explore_step: 0.02,
            reduce_ratio: 0.9,
            fail_punish: 1.0,
            nature: Nature::Reject,
        }
    }
}

#[derive(Clone, Copy, Default, Debug)]
struct Window {
    start_us: i64,
    succeeded: u32,
    failed: u32,
    succeeded_us: i64,
    failed_us: i64,
}

/// See the module. Times are microseconds since any fixed moment but 0.
#[derive(Clone, Debug)]
pub struct Brpc {
    settings: BrpcSettings,
    limit: u32,
    window: Window,
    /// Successes of the window, sampled or not.
    succeeded: u32,
    least_us: Option<i64>,
    max_qps: f64,
    explore: f64,
    last_sample_us: i64,
    remeasure_at_us: Option<i64>,
    /// No samples until then, and then the least latency starts over.
    resume_at_us: Option<i64>,
}

impl Brpc {
    pub fn new(settings: BrpcSettings) -> Self {
        Self {
            settings,
            limit: settings.initial,
            window: Window::default(),
            succeeded: 0,
            least_us: None,
            max_qps: -1.0,
            explore: settings.explore_max,
            last_sample_us: 0,
            remeasure_at_us: None,
            resume_at_us: None,
        }
    }

    /// The limit in force.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    fn next_remeasure(&self, now_us: i64, dice: &mut Dice) -> i64 {
        let half = self.settings.remeasure_interval_ms / 2;
        now_us + (i64::from(half) + dice.below(half as usize) as i64) * 1_000
    }

    fn clear(&mut self, now_us: i64) {
        self.succeeded = 0;
        self.window = Window { start_us: now_us, ..Window::default() };
    }

    fn set_limit(&mut self, next: f64) {
        self.limit = (next as u32).max(self.settings.min);
    }

    /// A call ended.
    pub fn responded(&mut self, dice: &mut Dice, now_us: i64, latency_us: i64, is_success: bool) {
        if self.remeasure_at_us.is_none() {
            self.remeasure_at_us = Some(self.next_remeasure(now_us, dice));
        }
        if is_success {
            self.succeeded = self.succeeded.saturating_add(1);
        }
        if self.last_sample_us == 0 || now_us - self.last_sample_us >= self.settings.sampling_interval_us {
            self.last_sample_us = now_us;
            self.add_sample(dice, now_us, latency_us, is_success);
        }
    }

    fn add_sample(&mut self, dice: &mut Dice, now_us: i64, latency_us: i64, is_success: bool) {
        let s = self.settings;
        if let Some(resume_at_us) = self.resume_at_us {
            if resume_at_us > now_us {
                return;
            }
            self.least_us = None;
            self.resume_at_us = None;
            self.remeasure_at_us = Some(self.next_remeasure(now_us, dice));
            self.clear(now_us);
        }
        let window = &mut self.window;
        if window.start_us == 0 {
            window.start_us = now_us;
        }
        if is_success {
            window.succeeded += 1;
            window.succeeded_us = window.succeeded_us.saturating_add(latency_us);
        } else {
            window.failed += 1;
            window.failed_us = window.failed_us.saturating_add(latency_us);
        }
        let samples = window.succeeded + window.failed;
        let is_over = now_us - window.start_us >= s.window_us;
        if samples < s.samples_min {
            if is_over {
                self.clear(now_us);
            }
            return;
        }
        if !is_over && samples < s.samples_max {
            return;
        }
        if window.succeeded > 0 {
            self.update(now_us);
        } else {
            self.set_limit(f64::from(self.limit / 2));
        }
        self.clear(now_us);
    }

    fn update(&mut self, now_us: i64) {
        let s = self.settings;
        let punish_us = self.window.failed_us as f64 * s.fail_punish;
        let avg_us = ((punish_us + self.window.succeeded_us as f64) / f64::from(self.window.succeeded)).ceil() as i64;
        let qps = 1e6 * f64::from(self.succeeded) / (now_us - self.window.start_us).max(1) as f64;
        let least_us = match self.least_us {
            Some(least) if least > 0 && avg_us < least => (avg_us as f64 * s.ema + least as f64 * (1.0 - s.ema)) as i64,
            Some(least) if least > 0 => least,
            _ => avg_us,
        };
        self.least_us = Some(least_us);
        let down = s.ema / 10.0;
        self.max_qps = if qps >= self.max_qps { qps } else { qps * down + self.max_qps * (1.0 - down) };
        let least = least_us as f64;
        if self.remeasure_at_us.is_some_and(|due| due <= now_us) {
            self.resume_at_us = Some(now_us + avg_us * 2);
            self.set_limit((self.max_qps * least / 1e6 * s.reduce_ratio).ceil());
            return;
        }
        let is_easy = avg_us as f64 <= least * (1.0 + s.explore_min) || qps <= self.max_qps / (1.0 + s.explore_min);
        self.explore = if is_easy {
            s.explore_max.min(self.explore + s.explore_step)
        } else {
            s.explore_min.max(self.explore - s.explore_step)
        };
        self.set_limit(least * self.max_qps / 1e6 * (1.0 + self.explore));
    }
}

impl Limiter for Brpc {
    fn limit(&self) -> f64 {
        f64::from(self.limit)
    }

    fn nature(&self) -> Nature {
        self.settings.nature
    }

    fn admit(&mut self, _at: &mut Moment<'_>, asking: &Asking) -> bool {
        asking.in_flight < self.limit
    }

    fn ended(&mut self, at: &mut Moment<'_>, ended: &Ended) {
        let now_us = i64::try_from(at.now.0).unwrap_or(i64::MAX);
        let latency_us = i64::try_from(ended.rtt.as_micros()).unwrap_or(i64::MAX);
        self.responded(at.dice, now_us, latency_us, ended.outcome.is_answer());
    }
}

const SETTINGS: &[Setting] = &[
    geometric("initial", 40.0, 1.0, 200.0),
    geometric("min", 9.0, 1.0, 50.0),
    geometric("window_s", 1.0, 0.1, 5.0),
    geometric("samples_min", 100.0, 10.0, 200.0),
    geometric("samples_max", 200.0, 50.0, 1000.0),
    geometric("remeasure_interval_s", 50.0, 5.0, 300.0),
    geometric("ema", 0.1, 0.01, 0.5),
    even("explore_max", 0.3, 0.1, 1.0),
    even("explore_min", 0.06, 0.01, 0.1),
    even("explore_step", 0.02, 0.005, 0.1),
    even("reduce_ratio", 0.9, 0.5, 0.99),
    even("fail_punish", 1.0, 0.0, 2.0),
];

fn brpc(s: &Settings, nature: Nature) -> Box<dyn Limiter> {
    let samples_min = whole(s.get("samples_min"));
    Box::new(Brpc::new(BrpcSettings {
        initial: whole(s.get("initial")),
        min: whole(s.get("min")),
        window_us: (s.get("window_s") * 1e6) as i64,
        samples_min,
        samples_max: whole(s.get("samples_max")).max(samples_min),
        remeasure_interval_ms: (s.get("remeasure_interval_s") * 1e3) as u32,
        ema: s.get("ema"),
        explore_max: s.get("explore_max"),
        explore_min: s.get("explore_min"),
        explore_step: s.get("explore_step"),
        reduce_ratio: s.get("reduce_ratio"),
        fail_punish: s.get("fail_punish"),
        nature,
        ..BrpcSettings::default()
    }))
}

pub const KIND: LimiterKind = LimiterKind {
    name: "brpc",
    about: "apache/brpc auto concurrency limiter (August 2026), refusing above the limit",
    settings: SETTINGS,
    make: |s| brpc(s, Nature::Reject),
};

pub const QUEUED: LimiterKind = LimiterKind {
    name: "brpc-queued",
    about: "apache/brpc auto concurrency limiter (August 2026), waiting above the limit",
    settings: SETTINGS,
    make: |s| brpc(s, Nature::Queue),
};

#[cfg(test)]
mod tests {
    use super::*;

    /// 200 successes, one every `gap_us`, of `latency_us` each: one window.
    fn window(brpc: &mut Brpc, dice: &mut Dice, now_us: &mut i64, gap_us: i64, latency_us: i64, is_success: bool) {
        for _ in 0..200 {
            *now_us += gap_us;
            brpc.responded(dice, *now_us, latency_us, is_success);
        }
    }

    #[test]
    fn the_limit_is_littles_law_plus_what_is_explored() {
        let mut dice = Dice::new(1);
        let mut brpc = Brpc::new(BrpcSettings::default());
        let mut now_us = 1_000_000;
        // 1000/s at 20 ms. The first window spans 199 gaps: 200/0.199 = 1005.03/s; explore is at its most, 0.3.
        window(&mut brpc, &mut dice, &mut now_us, 1_000, 20_000, true);
        assert_eq!(brpc.limit(), 26); // 0.02 · 1005.03 · 1.3 = 26.1
        // Twice the latency at the same rate: 1000/s is above 1005/1.06, so explore shrinks: 20.1 · 1.28 = 25.7
        window(&mut brpc, &mut dice, &mut now_us, 1_000, 40_000, true);
        assert_eq!(brpc.limit(), 25);
        // Half the rate: maxQPS falls by a hundredth of the difference (1000.0), explore grows again to 0.3.
        window(&mut brpc, &mut dice, &mut now_us, 2_000, 40_000, true);
        assert_eq!(brpc.limit(), 25); // 0.02 · 999.9 · 1.3 = 25.997
        // Nothing but failures: half.
        window(&mut brpc, &mut dice, &mut now_us, 2_000, 40_000, false);
        assert_eq!(brpc.limit(), 12);
        window(&mut brpc, &mut dice, &mut now_us, 2_000, 40_000, false);
        assert_eq!(brpc.limit(), 9);
    }

    #[test]
    fn the_least_latency_starts_over_after_a_pause() {
        let mut dice = Dice::new(1);
        let mut brpc = Brpc::new(BrpcSettings { remeasure_interval_ms: 2_000, ..BrpcSettings::default() });
        let mut now_us = 1_000_000;
        window(&mut brpc, &mut dice, &mut now_us, 1_000, 10_000, true);
        assert_eq!(brpc.least_us, Some(10_000));
        // Latency has doubled for good: forgotten only by the remeasurement, due 1 to 2 s after the first call.
        for _ in 0..12 {
            window(&mut brpc, &mut dice, &mut now_us, 1_000, 20_000, true);
        }
        assert_eq!(brpc.least_us, Some(20_000));
    }

    #[test]
    fn a_window_with_too_few_samples_is_thrown_away() {
        let mut dice = Dice::new(1);
        let mut brpc = Brpc::new(BrpcSettings::default());
        for n in 1..=500 {
            brpc.responded(&mut dice, n * 20_000, 5_000, true);
        }
        assert_eq!((brpc.limit(), brpc.least_us), (40, None));
    }
}
