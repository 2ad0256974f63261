//! Vector's adaptive request concurrency: AIMD on the mean latency of about one round trip.
//!
//! Source: vectordotdev/vector (commit 05b56b7, 2026), `src/sinks/util/adaptive_concurrency/controller.rs` and
//! `vector-common/src/stats/ewma.rs`. Once per round trip (the average of past ones):
//!
//! ```text
//! +1               if the limit was reached, nothing pushed back, and mean rtt ≤ average of past ones
//! max(1, ⌊0.9 L⌋)  if something pushed back, or mean rtt ≥ average + 2.5·deviation
//! ```
//!
//! Average and deviation are exponential with 0.4. Only what the participant processed is timed; a failure that
//! may be retried (429, 5xx, a timeout) is push-back.

use std::time::Duration;

use model::Timestamp;

use super::{even, geometric, whole};
use crate::arm::{Asking, Ended, Limiter, LimiterKind, Moment, Settings};

/// What [`VectorArc`] is made with; the defaults are the authors'.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct VectorArcSettings {
    pub initial: u32,
    pub max: u32,
    pub decrease_ratio: f64,
    pub ewma_alpha: f64,
    pub deviation_scale: f64,
}

impl Default for VectorArcSettings {
    fn default() -> Self {
        Self { initial: 1, max: 200, decrease_ratio: 0.9, ewma_alpha: 0.4, deviation_scale: 2.5 }
    }
}

/// Seconds.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Past {
    mean: f64,
    variance: f64,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct VectorArc {
    settings: VectorArcSettings,
    limit: u32,
    past: Option<Past>,
    next_update: Timestamp,
    current_mean: f64,
    current_count: u32,
    had_back_pressure: bool,
    reached_limit: bool,
}

impl VectorArc {
    pub fn new(settings: VectorArcSettings) -> Self {
        Self {
            settings,
            limit: settings.initial,
            past: None,
            next_update: Timestamp::ZERO,
            current_mean: 0.0,
            current_count: 0,
            had_back_pressure: false,
            reached_limit: false,
        }
    }

    /// The limit in force.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// A call starts; `in_flight` counts it.
    pub fn started(&mut self, in_flight: u32) {
        self.reached_limit |= in_flight >= self.limit;
    }

    /// A call ended; `rtt_s` only if it was processed.
    pub fn ended(&mut self, now: Timestamp, rtt_s: Option<f64>, is_back_pressure: bool) {
        self.had_back_pressure |= is_back_pressure;
        if let Some(rtt_s) = rtt_s {
            self.current_count = self.current_count.saturating_add(1);
            self.current_mean += (rtt_s - self.current_mean) / f64::from(self.current_count);
        }
        let current = (self.current_count > 0).then_some(self.current_mean);
        let Some(past) = self.past else {
            if let Some(mean) = current {
                self.past = Some(Past { mean, variance: 0.0 });
                self.next_update = now.after(Duration::from_secs_f64(mean));
            }
            return;
        };
        if now < self.next_update {
            return;
        }
        self.manage(past, current);
        let past = current.map_or(past, |point| {
            let difference = point - past.mean;
            let increment = self.settings.ewma_alpha * difference;
            let variance = (1.0 - self.settings.ewma_alpha) * difference.mul_add(increment, past.variance);
            Past { mean: past.mean + increment, variance }
        });
        self.past = Some(past);
        self.next_update = now.after(Duration::from_secs_f64(past.mean.max(0.0)));
        self.current_mean = 0.0;
        self.current_count = 0;
        self.had_back_pressure = false;
        self.reached_limit = false;
    }

    fn manage(&mut self, past: Past, current: Option<f64>) {
        let threshold = past.variance.sqrt() * self.settings.deviation_scale;
        let is_quick = current.is_some_and(|rtt| rtt <= past.mean);
        if self.limit < self.settings.max && self.reached_limit && !self.had_back_pressure && is_quick {
            self.limit += 1;
        } else if self.limit > 1 && (self.had_back_pressure || current.unwrap_or(0.0) >= past.mean + threshold) {
            self.limit = ((f64::from(self.limit) * self.settings.decrease_ratio) as u32).max(1);
        }
    }
}

impl Limiter for VectorArc {
    fn limit(&self) -> f64 {
        f64::from(self.limit)
    }

    fn admit(&mut self, _at: &mut Moment<'_>, asking: &Asking) -> bool {
        let admits = asking.in_flight < self.limit;
        if admits {
            self.started(asking.in_flight + 1);
        }
        admits
    }

    fn ended(&mut self, at: &mut Moment<'_>, ended: &Ended) {
        let is_answer = ended.outcome.is_answer();
        self.ended(at.now, is_answer.then_some(ended.rtt.as_secs_f64()), !is_answer);
    }
}

pub const KIND: LimiterKind = LimiterKind {
    name: "vector-arc",
    about: "Vector adaptive request concurrency (2026)",
    settings: &[
        geometric("initial", 1.0, 1.0, 200.0),
        geometric("max", 200.0, 50.0, 10_000.0),
        even("decrease_ratio", 0.9, 0.5, 0.99),
        even("ewma_alpha", 0.4, 0.05, 0.9),
        even("deviation_scale", 2.5, 0.5, 5.0),
    ],
    make: |s: &Settings| {
        Box::new(VectorArc::new(VectorArcSettings {
            initial: whole(s.get("initial")),
            max: whole(s.get("max")),
            decrease_ratio: s.get("decrease_ratio"),
            ewma_alpha: s.get("ewma_alpha"),
            deviation_scale: s.get("deviation_scale"),
        }))
    },
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn average_and_variance_as_in_the_originals_own_example() {
        // alpha 0.5, points 2, 2, 1, 2: mean 1.75 and variance 0.1875 in `ewma_variance_update_works`.
        let mut arc = VectorArc::new(VectorArcSettings { ewma_alpha: 0.5, ..VectorArcSettings::default() });
        let mut now = Timestamp(1);
        for rtt in [2.0, 2.0, 1.0, 2.0] {
            arc.ended(now, Some(rtt), false);
            arc.current_count = 0;
            arc.current_mean = 0.0;
            now = now.after(Duration::from_secs(10));
        }
        assert_eq!(arc.past, Some(Past { mean: 1.75, variance: 0.1875 }));
    }

    #[test]
    fn one_more_for_each_quick_round_trip_and_a_tenth_less_when_pushed_back() {
        let mut arc = VectorArc::new(VectorArcSettings { initial: 20, ..VectorArcSettings::default() });
        let mut now = Timestamp(1);
        let mut round = |arc: &mut VectorArc, rtt_s: f64, in_flight, pushed| {
            arc.started(in_flight);
            now = now.after(Duration::from_secs(1));
            arc.ended(now, Some(rtt_s), pushed);
            arc.limit()
        };
        assert_eq!(round(&mut arc, 0.1, 20, false), 20); // the first only sets the average
        assert_eq!(round(&mut arc, 0.1, 20, false), 21);
        assert_eq!(round(&mut arc, 0.1, 10, false), 18); // not reached, and no deviation yet: ⌊21·0.9⌋
        assert_eq!(round(&mut arc, 0.05, 18, false), 19);
        assert_eq!(round(&mut arc, 0.08, 19, true), 17);
        assert_eq!(round(&mut arc, 0.5, 17, false), 15);
    }
}
