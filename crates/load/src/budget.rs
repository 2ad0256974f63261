//! LD-3: repeats are a share of successes.
//!
//! A call that is repeated because it was not answered is load that nobody asked for. While a participant has room
//! to spare a success pays for half a repeat, so single failures are made good at once. While its limit holds calls
//! back a success pays for a tenth: in an overload repeats are then a tenth of the load and not three times the load
//! (Beyer and others, Site Reliability Engineering, chapter 21). Beside that a few a second are always allowed. It
//! starts empty, so that a process that restarts again and again has nothing to give away.
//!
//! Left out: undoing, and what comes after the pivot: those must happen and are not counted.

use model::Timestamp;
use model::mutant::{Mutant, is_planted};

const PER_SUCCESS: f64 = 0.5;
const PER_SUCCESS_BOUND: f64 = 0.1;
const PER_SECOND: f64 = 10.0;
/// Saved up at most, beyond a second's worth.
const SAVED_MAX: f64 = 20.0;

#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Budget {
    tokens: f64,
    at: Timestamp,
}

impl Budget {
    fn refresh(&mut self, now: Timestamp) {
        if self.at == Timestamp::ZERO {
            // One is there from the beginning.
            self.tokens = 1.0;
        } else if now > self.at {
            let seconds = (now.0 - self.at.0) as f64 / 1e6;
            // Time alone saves up no more than one repeat.
            self.tokens = (self.tokens + seconds * PER_SECOND).min(self.tokens.max(1.0));
        }
        self.at = self.at.max(now);
    }

    pub(crate) fn succeeded(&mut self, now: Timestamp, is_bound: bool) {
        self.refresh(now);
        let pay = if is_bound { PER_SUCCESS_BOUND } else { PER_SUCCESS };
        self.tokens = (self.tokens + pay).min(SAVED_MAX);
    }

    /// Whether a repeat may start.
    pub(crate) fn allows(&self, now: Timestamp) -> bool {
        let mut copy = *self;
        copy.refresh(now);
        copy.tokens >= 1.0 || is_planted(Mutant::RepeatsWithoutBudget)
    }

    pub(crate) fn took(&mut self, now: Timestamp) {
        self.refresh(now);
        self.tokens = (self.tokens - 1.0).max(0.0);
    }

    /// When one may start, at the latest.
    pub(crate) fn next(&self, now: Timestamp) -> Timestamp {
        if self.allows(now) {
            return now;
        }
        let at = self.at.max(now);
        let mut copy = *self;
        copy.refresh(now);
        Timestamp(at.0.saturating_add(((1.0 - copy.tokens) / PER_SECOND * 1e6) as u64 + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_of_successes_and_ten_a_second() {
        let mut budget = Budget::default();
        let (mut repeats, mut ms) = (0, 1_000u64);
        // 1,000 successes a second for ten seconds, and always a repeat that wants to go.
        while ms < 11_000 {
            let now = Timestamp::from_millis(ms);
            budget.succeeded(now, true);
            if budget.allows(now) {
                budget.took(now);
                repeats += 1;
            }
            ms += 1;
        }
        assert!((1_000..=1_120).contains(&repeats), "{repeats}");
        // Nothing succeeds any more: ten a second.
        let mut repeats = 0;
        while ms < 21_000 {
            let now = Timestamp::from_millis(ms);
            if budget.allows(now) {
                budget.took(now);
                repeats += 1;
            }
            assert!(budget.next(now) <= now.after(std::time::Duration::from_millis(101)));
            ms += 1;
        }
        assert!((90..=102).contains(&repeats), "{repeats}");
    }

    #[test]
    fn an_hour_of_rest_saves_up_one() {
        let mut budget = Budget::default();
        assert!(budget.allows(Timestamp::from_millis(1)));
        budget.took(Timestamp::from_millis(1));
        let later = Timestamp::from_millis(3_600_000);
        assert!(budget.allows(later));
        budget.took(later);
        assert!(!budget.allows(later));
    }
}
