//! DAGOR: admission by priority, moved so that the queue of the overloaded service stays short.
//!
//! Source: Zhou et al., Overload Control for Scaling WeChat Microservices, SoCC 2018, algorithm 1. Per window (1 s
//! or 2000 requests) the service is overloaded if requests waited longer than 20 ms on average; then 5 % less than
//! what was admitted is to be admitted, otherwise 1 % of what came in more. A histogram of the window by (business
//! priority, one of 128 user priorities) says which priority that is; everything below it is refused.
//!
//! It belongs into the service, which knows its own queue. A caller can only guess: here the wait is the mean round
//! trip of the window less the least such mean of late, and the user priority is drawn for every call.
//!
//! Left out: the cursor that rides on answers so that callers refuse by themselves; here the caller is the one.

use std::time::Duration;

use model::Timestamp;

use super::{even, geometric};
use crate::arm::{Asking, Ended, Limiter, LimiterKind, Moment, Nature, Outcome, Settings};

const USERS: usize = 128;
/// Business priorities told apart: 0 (most urgent) to 7.
const BUSINESS: usize = 8;
const LEVELS: usize = USERS * BUSINESS;
/// Fewer requests than this are no mean.
const FINISHED_MIN: u32 = 10;

/// What [`Dagor`] is made with; the defaults are the paper's.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct DagorSettings {
    pub window: Duration,
    pub window_calls: u32,
    pub queueing: Duration,
    pub alpha: f64,
    pub beta: f64,
    /// How long a least mean round trip counts.
    pub least_age: Duration,
}

impl Default for DagorSettings {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(1),
            window_calls: 2_000,
            queueing: Duration::from_millis(20),
            alpha: 0.05,
            beta: 0.01,
            least_age: Duration::from_secs(60),
        }
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Dagor {
    settings: DagorSettings,
    histogram: Box<[u32; LEVELS]>,
    arrived: u32,
    admitted: u32,
    /// The last level that is admitted.
    cursor: usize,
    window_start: Option<Timestamp>,
    rtt: Duration,
    finished: u32,
    /// The least mean round trip of a window, and when that was.
    least: Option<(Timestamp, Duration)>,
    limit: f64,
}

impl Dagor {
    pub fn new(settings: DagorSettings) -> Self {
        Self {
            settings,
            histogram: Box::new([0; LEVELS]),
            arrived: 0,
            admitted: 0,
            cursor: LEVELS - 1,
            window_start: None,
            rtt: Duration::ZERO,
            finished: 0,
            least: None,
            limit: f64::from(u16::MAX),
        }
    }

    /// A request of a level (0 is the most urgent) arrives: whether it is admitted.
    pub fn arrives(&mut self, now: Timestamp, level: usize) -> bool {
        let start = *self.window_start.get_or_insert(now);
        if now.since(start) >= self.settings.window || self.arrived >= self.settings.window_calls {
            self.close(now);
        }
        let level = level.min(LEVELS - 1);
        self.histogram[level] = self.histogram[level].saturating_add(1);
        self.arrived += 1;
        let admits = level <= self.cursor;
        self.admitted += u32::from(admits);
        admits
    }

    /// A request ended.
    pub fn finishes(&mut self, rtt: Duration) {
        self.rtt = self.rtt.saturating_add(rtt);
        self.finished = self.finished.saturating_add(1);
    }

    /// Whether requests of the window waited too long; too few to tell is no.
    fn is_overloaded(&mut self, now: Timestamp) -> bool {
        if self.finished < FINISHED_MIN {
            return false;
        }
        let mean = self.rtt / self.finished;
        let age = self.settings.least_age;
        let (since, least) =
            self.least.filter(|(since, least)| now.since(*since) <= age && *least <= mean).unwrap_or((now, mean));
        self.least = Some((since, least));
        mean - least > self.settings.queueing
    }

    fn close(&mut self, now: Timestamp) {
        let is_overloaded = self.is_overloaded(now);
        let admitted = f64::from(self.admitted);
        let target = if is_overloaded {
            (1.0 - self.settings.alpha) * admitted
        } else {
            admitted + self.settings.beta * f64::from(self.arrived)
        };
        if self.arrived > 0 {
            let mut up_to = 0.0;
            self.cursor = LEVELS - 1;
            for (level, count) in self.histogram.iter().enumerate() {
                up_to += f64::from(*count);
                if up_to > target {
                    // The most urgent level always passes, or nothing would tell that the overload is over.
                    self.cursor = level.saturating_sub(1);
                    break;
                }
            }
        }
        let window_s = self.window_start.map_or(1.0, |start| now.since(start).as_secs_f64().max(1e-3));
        if self.finished > 0 {
            self.limit = target / window_s * (self.rtt / self.finished).as_secs_f64();
        }
        self.histogram.fill(0);
        self.arrived = 0;
        self.admitted = 0;
        self.rtt = Duration::ZERO;
        self.finished = 0;
        self.window_start = Some(now);
    }
}

impl Limiter for Dagor {
    /// What it would have in flight: what it means to admit, times how long that takes.
    fn limit(&self) -> f64 {
        self.limit
    }

    fn nature(&self) -> Nature {
        Nature::Reject
    }

    fn admit(&mut self, at: &mut Moment<'_>, asking: &Asking) -> bool {
        let business = (BUSINESS - 1).saturating_sub(usize::from(asking.priority));
        self.arrives(at.now, business * USERS + at.dice.below(USERS))
    }

    fn ended(&mut self, _at: &mut Moment<'_>, ended: &Ended) {
        if !matches!(ended.outcome, Outcome::NotTaken { .. } | Outcome::Throttled { .. }) {
            self.finishes(ended.rtt);
        }
    }
}

pub const KIND: LimiterKind = LimiterKind {
    name: "dagor",
    about: "DAGOR (SoCC 2018) with the queue guessed by the caller",
    settings: &[
        geometric("window_s", 1.0, 0.1, 5.0),
        geometric("queueing_ms", 20.0, 2.0, 500.0),
        even("alpha", 0.05, 0.01, 0.3),
        even("beta", 0.01, 0.002, 0.1),
    ],
    make: |s: &Settings| {
        Box::new(Dagor::new(DagorSettings {
            window: Duration::from_secs_f64(s.get("window_s")),
            queueing: Duration::from_secs_f64(s.get("queueing_ms") / 1e3),
            alpha: s.get("alpha"),
            beta: s.get("beta"),
            ..DagorSettings::default()
        }))
    },
};

#[cfg(test)]
mod tests {
    use super::*;

    /// 1000 requests of a window, one of each of 1000 levels, 100 of them finished after `rtt_ms`.
    fn window(dagor: &mut Dagor, start_ms: u64, rtt_ms: u64) -> usize {
        let admitted = (0..1000).filter(|level| dagor.arrives(Timestamp::from_millis(start_ms), *level)).count();
        for _ in 0..100 {
            dagor.finishes(Duration::from_millis(rtt_ms));
        }
        admitted
    }

    #[test]
    fn the_cursor_follows_the_queue() {
        let mut dagor = Dagor::new(DagorSettings::default());
        assert_eq!(window(&mut dagor, 1_000, 10), 1000);
        assert_eq!(window(&mut dagor, 2_000, 50), 1000); // waited 40 ms each: overloaded
        assert_eq!(window(&mut dagor, 3_000, 50), 950);
        assert_eq!(window(&mut dagor, 4_000, 30), 902); // ⌊0.95 · 950⌋; now 20 ms, which is not more than 20
        assert_eq!(window(&mut dagor, 5_000, 10), 912); // + 1 % of 1000
        assert!(dagor.limit() > 0.0);
    }
}
