//! The sampling window that Netflix puts in front of a limit: samples of about a second become one.
//!
//! Source: Netflix/concurrency-limits 0.5.4 (commit 78a74b9, 2026-01-12), `WindowedLimit` with
//! `ImmutableAverageSampleWindow`. A window ends with the first sample past `end + clamp(2 · least rtt, min, max)`,
//! counts only with 10 samples or more, hands on the mean rtt, the most in flight and whether anything was dropped.
//! Samples below 100 µs are thrown away.
//!
//! Left out: the percentile window, which is not the default.

use super::{dropped, rtt_ns};
use crate::arm::{Ended, Moment};
use crate::dice::Dice;

/// A limit that learns from samples: the `Limit` of the Netflix library.
pub trait SampleLimit: std::fmt::Debug {
    /// The limit in force.
    fn limit(&self) -> u32;

    /// One call (or one window of calls) ended after `rtt_ns` nanoseconds; `in_flight` were under way when it began,
    /// itself among them.
    fn on_sample(&mut self, dice: &mut Dice, rtt_ns: i64, in_flight: u32, dropped: bool);
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Windowed<L> {
    pub inner: L,
    min_window_ns: i64,
    max_window_ns: i64,
    samples_min: u32,
    next_update_ns: i64,
    window: Window,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    rtt_min_ns: i64,
    rtt_sum_ns: i64,
    in_flight_max: u32,
    samples: u32,
    dropped: bool,
}

const EMPTY: Window = Window { rtt_min_ns: i64::MAX, rtt_sum_ns: 0, in_flight_max: 0, samples: 0, dropped: false };
/// Anything faster is no call but a cache or a refusal on the spot.
const RTT_MIN_NS: i64 = 100_000;

impl<L: SampleLimit> Windowed<L> {
    /// A window of at least `min_window_ns` and at most `max_window_ns` nanoseconds (1 s and 1 s by default).
    pub fn new(inner: L, min_window_ns: i64, max_window_ns: i64) -> Self {
        Self { inner, min_window_ns, max_window_ns, samples_min: 10, next_update_ns: 0, window: EMPTY }
    }

    /// A call as the lab tells it.
    pub(crate) fn finished(&mut self, at: &mut Moment<'_>, ended: &Ended) {
        if let Some(dropped) = dropped(ended.outcome) {
            let start_ns = i64::try_from(ended.started.0.saturating_mul(1_000)).unwrap_or(i64::MAX);
            self.on_sample(at.dice, start_ns, rtt_ns(ended), ended.in_flight_at_start, dropped);
        }
    }

    /// A call that began at `start_ns`.
    pub fn on_sample(&mut self, dice: &mut Dice, start_ns: i64, rtt_ns: i64, in_flight: u32, dropped: bool) {
        if rtt_ns < RTT_MIN_NS {
            return;
        }
        let window = &mut self.window;
        window.rtt_min_ns = window.rtt_min_ns.min(rtt_ns);
        window.rtt_sum_ns = window.rtt_sum_ns.saturating_add(rtt_ns);
        window.in_flight_max = window.in_flight_max.max(in_flight);
        window.samples = window.samples.saturating_add(1);
        window.dropped |= dropped;
        let end_ns = start_ns.saturating_add(rtt_ns);
        if end_ns > self.next_update_ns {
            let done = std::mem::replace(&mut self.window, EMPTY);
            let length_ns = done.rtt_min_ns.saturating_mul(2).max(self.min_window_ns).min(self.max_window_ns);
            self.next_update_ns = end_ns.saturating_add(length_ns);
            if done.samples >= self.samples_min {
                let mean_ns = done.rtt_sum_ns / i64::from(done.samples);
                self.inner.on_sample(dice, mean_ns, done.in_flight_max, done.dropped);
            }
        }
    }
}
