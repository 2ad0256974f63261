//! failsafe-go's adaptive limiter: Vegas on a percentile, held back by how throughput and latency follow concurrency.
//!
//! Source: failsafe-go/failsafe-go 0.9.7 (commit 5759a5e, 2026-08-16), `adaptivelimiter/adaptivelimiter.go` and
//! `internal/util`. Per window (1 to 30 s and at least 50 samples): the 90th percentile, a moving median of 5, an
//! average of age 5 is *recent*; an average of age 10 of that is the *baseline*; q = ⌈L·(1 − baseline/recent)⌉.
//!
//! ```text
//! down by lg   if q > 6·lg, or the limit is full and:  corr(in flight, throughput) < 0
//!                                                      or < 0.3 while corr(in flight, rtt) > 0.5
//!                                                      or throughput varies by < 20 % while corr(in flight, rtt) > 0.5
//! up by lg     if q < 3·lg, never above 5 × the most in flight
//! ```
//!
//! Without a queue it refuses at once, as by default; [`QUEUED`] waits (its `WithMaxWaitTime`).
//!
//! Left out: decay of the maximum factor, prioritised rejection. A percentile is exact here where the original asks
//! a t-digest.

pub mod series;

use std::time::Duration;

use model::Timestamp;

use self::series::{Correlation, MovingAverage, MovingMedian, Quantile};
use super::{even, geometric, whole};
use crate::arm::{Ended, Limiter, LimiterKind, Moment, Nature, Outcome, Setting, Settings};

const WARM_UP: u32 = 10;
const SMOOTHED: usize = 5;

/// What [`Failsafe`] is made with; the defaults are the authors'.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct FailsafeSettings {
    pub initial: u32,
    pub min: u32,
    pub max: u32,
    pub max_factor: f64,
    pub window_min: Duration,
    pub window_max: Duration,
    pub samples_min: usize,
    pub quantile: f64,
    /// In windows.
    pub baseline_age: u32,
    /// In windows.
    pub correlation_windows: usize,
    pub nature: Nature,
}

impl Default for FailsafeSettings {
    fn default() -> Self {
        Self {
            initial: 20,
            min: 1,
            max: 200,
            max_factor: 5.0,
            window_min: Duration::from_secs(1),
            window_max: Duration::from_secs(30),
            samples_min: 50,
            quantile: 0.9,
            baseline_age: 10,
            correlation_windows: 50,
            nature: Nature::Reject,
        }
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Failsafe {
    settings: FailsafeSettings,
    limit: f64,
    window: Quantile,
    in_flight_max: u32,
    rtt_min: Duration,
    median: MovingMedian<SMOOTHED>,
    recent: MovingAverage,
    baseline: MovingAverage,
    next_update: Timestamp,
    throughput: Correlation,
    rtt: Correlation,
}

/// ⌊log10⌋ of a limit, at least 1.
fn log10(limit: f64) -> f64 {
    limit.trunc().log10().trunc().max(1.0)
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Change {
    Up,
    Down,
    Hold,
}

fn change(queue: f64, lg: f64, is_full: bool, corr_throughput: f64, cv_throughput: f64, corr_rtt: f64) -> Change {
    let drifts = is_full
        && (corr_throughput < 0.0
            || (corr_throughput < 0.3 && corr_rtt > 0.5)
            || (cv_throughput < 0.2 && corr_rtt > 0.5));
    if queue > 6.0 * lg || drifts {
        Change::Down
    } else if queue < 3.0 * lg {
        Change::Up
    } else {
        Change::Hold
    }
}

impl Failsafe {
    pub fn new(settings: FailsafeSettings) -> Self {
        Self {
            settings,
            limit: f64::from(settings.initial),
            window: Quantile::default(),
            in_flight_max: 0,
            rtt_min: Duration::MAX,
            median: MovingMedian::default(),
            recent: MovingAverage::new(SMOOTHED as u32, WARM_UP),
            baseline: MovingAverage::new(settings.baseline_age, WARM_UP),
            next_update: Timestamp::ZERO,
            throughput: Correlation::new(settings.correlation_windows, WARM_UP as usize),
            rtt: Correlation::new(settings.correlation_windows, WARM_UP as usize),
        }
    }

    /// The limit in force.
    pub fn limit(&self) -> u32 {
        self.limit as u32
    }

    /// Gives the baseline a start, as the original's own tests do.
    pub fn seed_baseline(&mut self, rtt_ns: f64) {
        self.baseline.add(rtt_ns);
    }

    /// A call ended; `in_flight_at_start` had begun with it, `in_flight` are under way still, both counting itself.
    /// A call that was given up (`is_counted` false) ends a window but is no sample.
    pub fn record(&mut self, now: Timestamp, rtt: Duration, in_flight_at_start: u32, in_flight: u32, is_counted: bool) {
        let s = self.settings;
        if is_counted {
            self.window.add(rtt.as_nanos() as f64);
            self.in_flight_max = self.in_flight_max.max(in_flight_at_start);
            self.rtt_min = self.rtt_min.min(rtt);
        }
        if now > self.next_update && self.window.samples() >= s.samples_min.max(1) {
            let quantile = self.window.take(s.quantile);
            let recent = self.recent.add(self.median.add(quantile));
            let most = std::mem::take(&mut self.in_flight_max);
            self.update(recent, most, in_flight >= self.limit());
            let shortest = std::mem::replace(&mut self.rtt_min, Duration::MAX);
            let length = shortest.saturating_mul(2).max(s.window_min).min(s.window_max);
            self.next_update = now.after(length);
        }
    }

    fn update(&mut self, recent_ns: f64, in_flight: u32, is_full: bool) {
        let baseline_ns = self.baseline.add(recent_ns);
        let queue = (self.limit * (1.0 - baseline_ns / recent_ns)).ceil();
        let in_flight = f64::from(in_flight);
        let (corr_throughput, cv_throughput) = self.throughput.add(in_flight, in_flight / (recent_ns / 1e9));
        let (corr_rtt, _) = self.rtt.add(in_flight, recent_ns);
        let old = self.limit;
        let lg = log10(old);
        let mut new = match change(queue, lg, is_full, corr_throughput, cv_throughput, corr_rtt) {
            Change::Up => old + lg,
            Change::Down => old - lg,
            Change::Hold => old,
        };
        let ceiling = in_flight * self.settings.max_factor;
        if new > ceiling {
            // Down a step at a time, so that a dip of the demand does not cost the whole limit.
            new = if old > ceiling { old - lg } else { ceiling };
        }
        self.limit = new.min(f64::from(self.settings.max)).max(f64::from(self.settings.min));
    }
}

impl Limiter for Failsafe {
    fn limit(&self) -> f64 {
        self.limit
    }

    fn nature(&self) -> Nature {
        self.settings.nature
    }

    fn ended(&mut self, at: &mut Moment<'_>, ended: &Ended) {
        // Its executor drops what was cancelled (a timeout) and records everything else.
        let is_counted = ended.outcome != Outcome::TimedOut;
        self.record(at.now, ended.rtt, ended.in_flight_at_start, ended.in_flight + 1, is_counted);
    }
}

const SETTINGS: &[Setting] = &[
    geometric("initial", 20.0, 1.0, 200.0),
    geometric("min", 1.0, 1.0, 50.0),
    geometric("max", 200.0, 50.0, 10_000.0),
    even("max_factor", 5.0, 1.2, 10.0),
    geometric("window_min_s", 1.0, 0.1, 5.0),
    geometric("samples_min", 50.0, 10.0, 200.0),
    even("quantile", 0.9, 0.5, 0.99),
    geometric("baseline_age", 10.0, 3.0, 100.0),
    geometric("correlation_windows", 50.0, 10.0, 200.0),
];

fn failsafe(s: &Settings, nature: Nature) -> Box<dyn Limiter> {
    Box::new(Failsafe::new(FailsafeSettings {
        initial: whole(s.get("initial")),
        min: whole(s.get("min")),
        max: whole(s.get("max")),
        max_factor: s.get("max_factor"),
        window_min: Duration::from_secs_f64(s.get("window_min_s")),
        window_max: Duration::from_secs(30),
        samples_min: whole(s.get("samples_min")) as usize,
        quantile: s.get("quantile"),
        baseline_age: whole(s.get("baseline_age")),
        correlation_windows: whole(s.get("correlation_windows")) as usize,
        nature,
    }))
}

pub const KIND: LimiterKind = LimiterKind {
    name: "failsafe-go",
    about: "failsafe-go 0.9.7 adaptivelimiter, refusing above the limit",
    settings: SETTINGS,
    make: |s| failsafe(s, Nature::Reject),
};

pub const QUEUED: LimiterKind = LimiterKind {
    name: "failsafe-go-queued",
    about: "failsafe-go 0.9.7 adaptivelimiter, waiting above the limit",
    settings: SETTINGS,
    make: |s| failsafe(s, Nature::Queue),
};
