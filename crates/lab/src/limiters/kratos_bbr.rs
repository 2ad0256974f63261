//! The BBR-like limiter of go-kratos (after Alibaba's Sentinel): the most that passed times the least latency.
//!
//! Source: go-kratos/aegis (commit e0742c6, 2025-09-12), `ratelimit/bbr/bbr.go` and `internal/window`:
//! 100 buckets of 100 ms; `L = ⌊maxPass · minRT · 10 / 1000⌋` with `maxPass` the most finished in one whole bucket
//! (at least 1) and `minRT` the least mean of one, in whole ms rounded up (at least 1). A call is refused if more
//! than one and more than L are under way.
//!
//! The original looks at this only while the server's own CPU (every 500 ms, EMA 0.95) is above 80 %, and for a
//! second after it last began to refuse. A caller cannot see that; here the busy share is guessed as 1 − minRT / mean
//! round trip of the last 500 ms, which is what one queue in front of one server would have. A threshold of 0 always
//! looks. What ended without an answer (timeout, not taken) has not passed; a timeout counts into the mean.

use std::time::Duration;

use model::Timestamp;

use super::{even, geometric, whole};
use crate::arm::{Asking, Ended, Limiter, LimiterKind, Moment, Nature, Outcome, Setting, Settings};

#[derive(Clone, Copy, Default, Debug)]
struct Bucket {
    /// Which bucket since time began.
    number: u64,
    passed: u32,
    rtt_ms_sum: u64,
}

/// What of the busy share is kept per tick.
const DECAY: f64 = 0.95;

/// See the module.
#[derive(Clone, Debug)]
pub struct KratosBbr {
    buckets: Vec<Bucket>,
    bucket_us: u64,
    nature: Nature,
    limit: f64,
    min_rt_ms: f64,
    computed_in: Option<u64>,
    busy_threshold: f64,
    busy: f64,
    tick: Option<Timestamp>,
    tick_rtt_ms: f64,
    tick_ended: f64,
    refusing_since: Option<Timestamp>,
}

impl KratosBbr {
    /// `window_us` microseconds in so many buckets; looks only while the guessed busy share is `busy_threshold` or
    /// more.
    pub fn new(window_us: u64, buckets: usize, busy_threshold: f64, nature: Nature) -> Self {
        let buckets = buckets.max(2);
        let bucket_us = (window_us / buckets as u64).max(1_000);
        Self {
            buckets: vec![Bucket::default(); buckets],
            bucket_us,
            nature,
            limit: 0.0,
            min_rt_ms: 1.0,
            computed_in: None,
            busy_threshold,
            busy: 0.0,
            tick: None,
            tick_rtt_ms: 0.0,
            tick_ended: 0.0,
            refusing_since: None,
        }
    }

    /// The guessed busy share, 0..1, brought up to date every 500 ms.
    fn busy(&mut self, now: Timestamp) -> f64 {
        let since = *self.tick.get_or_insert(now);
        let ticks = (now.since(since).as_millis() / 500).min(1_000) as i32;
        if ticks > 0 {
            let share = if self.tick_ended > 0.0 {
                (1.0 - self.min_rt_ms * self.tick_ended / self.tick_rtt_ms.max(1.0)).max(0.0)
            } else {
                0.0
            };
            let kept = DECAY.powi(ticks);
            self.busy = self.busy * kept + share * (1.0 - kept);
            self.tick = Some(now);
            self.tick_rtt_ms = 0.0;
            self.tick_ended = 0.0;
        }
        self.busy
    }

    /// Whether one more call is refused while so many are under way.
    pub fn refuses(&mut self, now: Timestamp, in_flight: u32) -> bool {
        let limit = self.max_in_flight(now);
        let is_too_many = in_flight > 1 && f64::from(in_flight) > limit;
        if self.busy(now) < self.busy_threshold {
            match self.refusing_since {
                Some(since) if now.since(since) <= Duration::from_secs(1) => return is_too_many,
                _ => self.refusing_since = None,
            }
            return false;
        }
        if is_too_many {
            self.refusing_since.get_or_insert(now);
        }
        is_too_many
    }

    fn number(&self, now: Timestamp) -> u64 {
        now.0 / self.bucket_us
    }

    /// A call ended at `now` after `rtt_ms` (rounded up).
    pub fn passed(&mut self, now: Timestamp, rtt_ms: u64) {
        let number = self.number(now);
        let place = (number % self.buckets.len() as u64) as usize;
        let bucket = &mut self.buckets[place];
        if bucket.number != number {
            *bucket = Bucket { number, ..Bucket::default() };
        }
        bucket.passed += 1;
        bucket.rtt_ms_sum = bucket.rtt_ms_sum.saturating_add(rtt_ms);
        self.ended_after(rtt_ms);
    }

    /// A call ended, with or without an answer, after so long.
    fn ended_after(&mut self, rtt_ms: u64) {
        self.tick_rtt_ms += rtt_ms as f64;
        self.tick_ended += 1.0;
    }

    /// The most that may be under way; computed once per bucket, from whole buckets.
    pub fn max_in_flight(&mut self, now: Timestamp) -> f64 {
        let number = self.number(now);
        if self.computed_in != Some(number) {
            let oldest = number.saturating_sub(self.buckets.len() as u64 - 1);
            let whole = self.buckets.iter().filter(|b| b.passed > 0 && (oldest..number).contains(&b.number));
            let (mut max_pass, mut min_rt_ms) = (1.0f64, f64::INFINITY);
            for bucket in whole {
                max_pass = max_pass.max(f64::from(bucket.passed));
                min_rt_ms = min_rt_ms.min(bucket.rtt_ms_sum as f64 / f64::from(bucket.passed));
            }
            let min_rt_ms = if min_rt_ms.is_finite() { min_rt_ms.ceil().max(1.0) } else { 1.0 };
            let per_second = (1_000_000 / self.bucket_us) as f64;
            self.min_rt_ms = min_rt_ms;
            self.limit = (max_pass * min_rt_ms * per_second / 1000.0).floor();
            self.computed_in = Some(number);
        }
        self.limit
    }
}

impl Limiter for KratosBbr {
    fn limit(&self) -> f64 {
        self.limit.max(1.0) + 1.0
    }

    fn nature(&self) -> Nature {
        self.nature
    }

    fn admit(&mut self, at: &mut Moment<'_>, asking: &Asking) -> bool {
        !self.refuses(at.now, asking.in_flight)
    }

    fn ended(&mut self, at: &mut Moment<'_>, ended: &Ended) {
        let rtt_ms = u64::try_from(ended.rtt.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX);
        match ended.outcome {
            Outcome::Done | Outcome::Refused | Outcome::Failed => self.passed(at.now, rtt_ms),
            Outcome::TimedOut => self.ended_after(rtt_ms),
            Outcome::NotTaken { .. } | Outcome::Throttled { .. } => {}
        }
    }
}

const SETTINGS: &[Setting] = &[
    geometric("window_s", 10.0, 1.0, 60.0),
    geometric("buckets", 100.0, 10.0, 200.0),
    even("busy_threshold", 0.8, 0.0, 0.95),
];

fn bbr(s: &Settings, nature: Nature) -> Box<dyn Limiter> {
    let window_us = (s.get("window_s") * 1e6) as u64;
    Box::new(KratosBbr::new(window_us, whole(s.get("buckets")) as usize, s.get("busy_threshold"), nature))
}

pub const KIND: LimiterKind = LimiterKind {
    name: "kratos-bbr",
    about: "go-kratos/aegis BBR limiter (September 2025), refusing above the limit",
    settings: SETTINGS,
    make: |s| bbr(s, Nature::Reject),
};

pub const QUEUED: LimiterKind = LimiterKind {
    name: "kratos-bbr-queued",
    about: "go-kratos/aegis BBR limiter (September 2025), waiting above the limit",
    settings: SETTINGS,
    make: |s| bbr(s, Nature::Queue),
};

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers of the original's `TestBBRMaxQps`: ten buckets of 100 ms; the i-th has (i + 2)·100 passes at
    /// i·10 + 1 … i·10 + 10 ms. It expects 60: the whole buckets' most is 1000, the least mean 5.5 → 6 ms.
    #[test]
    fn the_originals_own_example() {
        let mut bbr = KratosBbr::new(1_000_000, 10, 0.0, Nature::Reject);
        let start = 5_000_000;
        for i in 0..10u64 {
            let now = Timestamp(start + i * 100_000);
            for n in 0..(i + 2) * 100 {
                bbr.passed(now, i * 10 + 1 + n % 10);
            }
        }
        assert_eq!(bbr.max_in_flight(Timestamp(start + 9 * 100_000 + 50_000)), 60.0);
    }

    #[test]
    fn with_nothing_known_two_may_go() {
        let mut bbr = KratosBbr::new(10_000_000, 100, 0.0, Nature::Reject);
        assert_eq!(bbr.max_in_flight(Timestamp(1)), 0.0);
        // Buckets older than the window are forgotten.
        for n in 0..50 {
            bbr.passed(Timestamp(1_000_000 + n), 20);
        }
        assert_eq!(bbr.max_in_flight(Timestamp(1_200_000)), 10.0);
        assert_eq!(bbr.max_in_flight(Timestamp(11_200_000)), 0.0);
    }
    /// After the original's `TestBBRShouldDrop`: refuses while busy and above the limit, and a second longer.
    #[test]
    fn it_looks_only_while_busy_and_a_second_longer() {
        let mut bbr = KratosBbr::new(1_000_000, 10, 0.8, Nature::Reject);
        let at = |ms: u64| Timestamp::from_millis(5_000 + ms);
        for n in 0..10 {
            for _ in 0..100 {
                bbr.passed(at(n * 100), 6);
            }
        }
        // 100 in a bucket of 100 ms at 6 ms: 6 in flight.
        let now = at(950);
        bbr.busy = 0.9;
        assert!(!bbr.refuses(now, 6) && bbr.refuses(now, 7));
        bbr.busy = 0.5;
        assert!(bbr.refuses(at(1_400), 7));
        assert!(!bbr.refuses(at(2_100), 7) && !bbr.refuses(at(2_200), 70));
        // With twenty times the least latency for long enough the guess says busy.
        for n in 0..200 {
            bbr.passed(at(3_000 + n * 500), 5);
            bbr.passed(at(3_400 + n * 500), 195);
            bbr.refuses(at(3_500 + n * 500), 1);
        }
        assert!(bbr.busy > 0.8, "{}", bbr.busy);
    }
}
