//! The node's time: wall time at the start, and from then on the time since boot, which nobody can set.
//!
//! A wall clock that jumps (a resumed machine, a wrong server) would expire every live transaction at once and
//! irreversibly. So a jump is not followed: small differences are taken up slowly, a larger one is reported and
//! held until somebody restarts the node or the clock comes back (SEMANTICS 14).

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use model::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// A larger difference between wall time and ours is a jump.
const JUMP_US: i64 = 500_000;
/// Ours follows the wall at most this much at each comparison.
const SLEW_US: i64 = 500;

/// Shared by all workers of a node.
#[derive(Debug)]
pub(crate) struct Clock {
    /// Our time minus the time since boot, in µs.
    offset_us: AtomicI64,
    /// The last time given to anybody: it never goes back.
    last_us: AtomicU64,
    held: AtomicI64,
}

fn since_boot_us() -> i64 {
    let t = clock_gettime(ClockId::Boottime);
    t.tv_sec * 1_000_000 + t.tv_nsec / 1_000
}

fn wall_us() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_micros()).unwrap_or(i64::MAX))
}

impl Clock {
    /// Starts at wall time, or at `not_before` (the last time in the journal) if that is later.
    pub(crate) fn start(not_before: Timestamp) -> Self {
        let start = wall_us().max(i64::try_from(not_before.0).unwrap_or(i64::MAX));
        Self { offset_us: AtomicI64::new(start - since_boot_us()), last_us: AtomicU64::new(0), held: AtomicI64::new(0) }
    }

    pub(crate) fn now(&self) -> Timestamp {
        let us = u64::try_from(since_boot_us() + self.offset_us.load(Ordering::Relaxed)).unwrap_or(0);
        let last = self.last_us.fetch_max(us, Ordering::Relaxed);
        Timestamp(us.max(last))
    }

    /// Compares with the wall; call it about once a second. Gives the difference in µs while it is held.
    pub(crate) fn compare(&self) -> Option<i64> {
        let ahead = wall_us() - (since_boot_us() + self.offset_us.load(Ordering::Relaxed));
        if ahead.abs() >= JUMP_US {
            self.held.store(ahead, Ordering::Relaxed);
            return Some(ahead);
        }
        self.held.store(0, Ordering::Relaxed);
        self.offset_us.fetch_add(ahead.clamp(-SLEW_US, SLEW_US), Ordering::Relaxed);
        None
    }

    /// By how much the wall is away, in µs, while a jump is not followed; else 0.
    pub(crate) fn held_us(&self) -> i64 {
        self.held.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_goes_back_and_starts_no_earlier_than_the_journal() {
        let later = Timestamp(u64::try_from(wall_us()).unwrap_or(0) + 3_600_000_000);
        let clock = Clock::start(later);
        let first = clock.now();
        assert!(first >= later);
        assert!(clock.compare().is_some(), "an hour ahead of the wall is a jump, and reported");
        assert!(clock.now() >= first);
        assert!(clock.held_us() < -JUMP_US);
    }

    #[test]
    fn without_a_jump_nothing_is_held() {
        let clock = Clock::start(Timestamp::ZERO);
        assert_eq!(clock.compare(), None);
        assert_eq!(clock.held_us(), 0);
    }
}
