//! How long a wrong suspicion rests before it is tried again: twice as long after each time.

use model::Timestamp;

const REST_US: u64 = 10_000_000;
const REST_MAX_US: u64 = 320_000_000;

#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Rest {
    until: Timestamp,
    us: u64,
}

impl Rest {
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        now >= self.until
    }

    /// It was tried, and was wrong.
    pub(crate) fn begin(&mut self, now: Timestamp) {
        self.us = (2 * self.us).clamp(REST_US, REST_MAX_US);
        self.until = Timestamp(now.0.saturating_add(self.us));
    }
}
