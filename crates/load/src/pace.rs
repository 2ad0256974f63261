//! Pacing: so many starts a second, evenly.
//!
//! The generic cell rate algorithm (ITU-T I.371): one time in place of a bucket and its refill. A start moves the
//! theoretical arrival time one interval on; a start is allowed while that time is no more than the burst ahead.

use model::Timestamp;

#[derive(Debug)]
pub(crate) struct Pace {
    /// Nanoseconds between starts.
    interval: u64,
    /// How far ahead of the clock starts may run, in nanoseconds: a tenth of a second's worth, less the one start
    /// that is always allowed.
    ahead: u64,
    /// In nanoseconds since 1970: good until the year 2500.
    arrival: u64,
}

impl Pace {
    pub(crate) fn new(per_second: u32) -> Self {
        let per_second = u64::from(per_second.max(1));
        let interval = 1_000_000_000u64.div_ceil(per_second);
        Self { interval, ahead: interval * (per_second / 10).max(1) - interval, arrival: 0 }
    }

    /// When the next start is allowed; a time that has come means now.
    pub(crate) fn next(&self) -> Timestamp {
        Timestamp(self.arrival.saturating_sub(self.ahead).div_ceil(1_000))
    }

    pub(crate) fn started(&mut self, now: Timestamp) {
        self.arrival = self.arrival.max(now.0.saturating_mul(1_000)).saturating_add(self.interval);
    }
}
