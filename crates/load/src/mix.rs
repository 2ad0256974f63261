//! How much longer one kind of call takes than another, so that a change of the mix is not taken for congestion.
//!
//! In each window every kind's mean duration is split in two: what all kinds share (the participant is slow today)
//! and what is its own. Only the difference between kinds in the same window teaches, so a slow day moves no
//! ratio, and a window with one kind alone moves none either. (Two-way effects, fitted one window at a time.)
//!
//! Left out: telling kinds apart by themselves; the caller names them.

use std::time::Duration;

use crate::math::{exp, ln};

/// Kinds that are told apart; all others are one more.
const KINDS: usize = 15;

#[derive(Clone, Copy, Debug)]
struct Kind {
    /// Logarithm of how much longer it takes than the usual call, and that itself.
    ratio: f64,
    weight: f64,
    /// Windows that taught it.
    looks: u32,
    count: u32,
    nanos: u64,
}

impl Kind {
    const NEW: Self = Self { ratio: 0.0, weight: 1.0, looks: 0, count: 0, nanos: 0 };

    fn seconds(&self) -> f64 {
        self.nanos as f64 * 1e-9
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Mix {
    /// The first so many have a place of their own.
    operations: [u16; KINDS],
    used: usize,
    kinds: [Kind; KINDS + 1],
    /// Logarithm of the seconds that the usual call took in the last window.
    common: f64,
    is_known: bool,
    /// What a call of the slowest kind that takes a good part of the time takes, in seconds.
    slowest: f64,
}

/// Waiting makes kinds more alike than they are, so a ratio is believed faster when it says that they differ more.
const OUTWARD: f64 = 0.15;
const INWARD: f64 = 0.01;
/// A kind that takes less of the time than this does not fill the places.
const FILLS: f64 = 0.2;

impl Default for Mix {
    fn default() -> Self {
        Self {
            operations: [0; KINDS],
            used: 0,
            kinds: [Kind::NEW; KINDS + 1],
            common: 0.0,
            is_known: false,
            slowest: 0.0,
        }
    }
}

impl Mix {
    fn find(&self, operation: u16) -> Option<usize> {
        self.operations[..self.used].iter().position(|known| *known == operation)
    }

    /// A call of this kind was done. Says how much work that is, in usual calls.
    pub(crate) fn done(&mut self, operation: u16, took: Duration) -> f64 {
        let place = match self.find(operation) {
            Some(place) => place,
            None if self.used < KINDS => {
                self.operations[self.used] = operation;
                self.used += 1;
                self.used - 1
            }
            None => KINDS,
        };
        let kind = &mut self.kinds[place];
        kind.count += 1;
        kind.nanos = kind.nanos.saturating_add((took.as_nanos() as u64).max(1_000));
        kind.weight
    }

    /// How much longer than the usual call this kind takes; 1 if nothing is known.
    pub(crate) fn ratio(&self, operation: u16) -> f64 {
        self.find(operation).map_or(1.0, |place| self.kinds[place].weight)
    }

    /// More than one kind is called.
    pub(crate) fn has_kinds(&self) -> bool {
        self.used > 1
    }

    /// What a call of the slowest kind that counts takes, in microseconds; 0 if nothing is known.
    pub(crate) fn slowest_us(&self) -> f64 {
        self.slowest * 1e6
    }

    /// Ends the window: how much was done, in usual calls, and how many calls would make that uncertain alike.
    pub(crate) fn take(&mut self) -> (f64, f64) {
        self.learn();
        let (mut work, mut squares) = (0.0, 0.0);
        for kind in self.kinds.iter_mut().filter(|kind| kind.count > 0) {
            work += f64::from(kind.count) * kind.weight;
            squares += f64::from(kind.count) * kind.weight * kind.weight;
        }
        self.drop_window();
        (work, if squares > 0.0 { work * work / squares } else { 0.0 })
    }

    /// Forgets the window.
    pub(crate) fn drop_window(&mut self) {
        for kind in &mut self.kinds {
            kind.count = 0;
            kind.nanos = 0;
        }
    }

    fn learn(&mut self) {
        let used = self.kinds.iter().filter(|kind| kind.count > 0).count();
        if used == 0 {
            return;
        }
        // What is shared: each kind's word counts by the time that went into it.
        let (mut shared, mut time) = (0.0, 0.0);
        for kind in self.kinds.iter().filter(|kind| kind.count > 0 && (kind.looks > 0 || !self.is_known)) {
            shared += kind.seconds() * (ln(kind.seconds() / f64::from(kind.count)) - kind.ratio);
            time += kind.seconds();
        }
        if time > 0.0 {
            self.common = shared / time;
        }
        self.is_known = true;
        let all: f64 = self.kinds.iter().map(Kind::seconds).sum();
        let filling = self.kinds.iter().filter(|kind| kind.count > 0 && kind.seconds() >= FILLS * all);
        let slowest = filling.map(|kind| kind.seconds() / f64::from(kind.count)).fold(0.0, f64::max);
        self.slowest += if self.slowest == 0.0 { slowest } else { 0.3 * (slowest - self.slowest) };
        // The work of those that were known before, as it was counted and as it is counted from now on.
        let (mut work_before, mut work_after) = (0.0, 0.0);
        for kind in self.kinds.iter_mut().filter(|kind| kind.count > 0) {
            let (before, was_known) = (kind.weight, kind.looks > 0);
            let own = ln(kind.seconds() / f64::from(kind.count)) - self.common;
            let gain = if kind.looks == 0 {
                1.0
            } else if used == 1 {
                0.0
            } else {
                let is_outward = (own - kind.ratio) * kind.ratio > 0.0;
                (f64::from(kind.count) / 50.0).min(1.0) * if is_outward { OUTWARD } else { INWARD }
            };
            kind.ratio = (kind.ratio + gain * (own - kind.ratio)).clamp(-9.0, 9.0);
            kind.weight = exp(kind.ratio);
            kind.looks = (kind.looks + 1).min(1_000);
            if was_known {
                work_before += f64::from(kind.count) * before;
                work_after += f64::from(kind.count) * kind.weight;
            }
        }
        // Only ratios between kinds were learned: what the usual call is stays, or capacity would seem to drift.
        if work_before > 0.0 && work_after > 0.0 {
            let scale = ln(work_before / work_after);
            for kind in self.kinds.iter_mut().filter(|kind| kind.looks > 0) {
                kind.ratio = (kind.ratio + scale).clamp(-9.0, 9.0);
                kind.weight = exp(kind.ratio);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(mix: &mut Mix, short: u32, long: u32, slow: f64) -> f64 {
        for _ in 0..short {
            mix.done(1, Duration::from_secs_f64(0.010 * slow));
        }
        for _ in 0..long {
            mix.done(2, Duration::from_secs_f64(2.0 * slow));
        }
        mix.take().0
    }

    #[test]
    fn a_change_of_the_mix_is_no_change_of_work() {
        let mut mix = Mix::default();
        for _ in 0..20 {
            window(&mut mix, 80, 20, 1.0);
        }
        // The same slots for the same time: 40.8 s of work, then 160.8 s.
        let (before, after) = (window(&mut mix, 80, 20, 1.0), window(&mut mix, 20, 80, 1.0));
        let per_second = |work: f64, seconds: f64| work / seconds;
        let ratio = per_second(after, 160.2) / per_second(before, 40.8);
        assert!((0.97..1.03).contains(&ratio), "{ratio}");
    }

    #[test]
    fn what_a_usual_call_is_does_not_drift() {
        let mut mix = Mix::default();
        let first = window(&mut mix, 80, 20, 1.0);
        // Waiting makes the short ones more alike the long ones, now more, now less.
        for n in 0..2_000u32 {
            for _ in 0..80 {
                mix.done(1, Duration::from_millis(10 + 15 * u64::from(n % 3)));
            }
            for _ in 0..20 {
                mix.done(2, Duration::from_millis(2_000 + 40 * u64::from(n % 5)));
            }
            mix.take();
        }
        let last = window(&mut mix, 80, 20, 1.0);
        assert!((0.8..1.25).contains(&(last / first)), "{first} {last}");
    }

    #[test]
    fn a_slow_day_is_no_change_of_ratios() {
        let mut mix = Mix::default();
        for _ in 0..20 {
            window(&mut mix, 80, 20, 1.0);
        }
        let before = window(&mut mix, 80, 20, 1.0);
        for _ in 0..50 {
            window(&mut mix, 80, 20, 3.0);
            window(&mut mix, 80, 0, 3.0);
        }
        let after = window(&mut mix, 80, 20, 3.0);
        assert!((after / before - 1.0).abs() < 0.02, "{before} {after}");
    }
}
