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

#[derive(Clone, Copy, Default, Debug)]
struct Kind {
    operation: u16,
    is_used: bool,
    /// Logarithm of how much longer it takes than the usual call.
    ratio: f64,
    /// Windows that taught it.
    looks: u32,
    count: u32,
    seconds: f64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Mix {
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

impl Mix {
    fn place(&mut self, operation: u16) -> usize {
        for (place, kind) in self.kinds[..KINDS].iter_mut().enumerate() {
            if kind.is_used && kind.operation == operation {
                return place;
            }
            if !kind.is_used {
                *kind = Kind { operation, is_used: true, ..Kind::default() };
                return place;
            }
        }
        self.kinds[KINDS].is_used = true;
        KINDS
    }

    /// A call of this kind was done.
    pub(crate) fn done(&mut self, operation: u16, took: Duration) {
        let place = self.place(operation);
        let kind = &mut self.kinds[place];
        kind.count += 1;
        kind.seconds += took.as_secs_f64().max(1e-6);
    }

    /// How much longer than the usual call this kind takes; 1 if nothing is known.
    pub(crate) fn ratio(&self, operation: u16) -> f64 {
        let known = self.kinds[..KINDS].iter().find(|kind| kind.is_used && kind.operation == operation);
        known.map_or(1.0, |kind| exp(kind.ratio))
    }

    /// More than one kind is called.
    pub(crate) fn has_kinds(&self) -> bool {
        self.kinds[1].is_used
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
            let weight = exp(kind.ratio);
            work += f64::from(kind.count) * weight;
            squares += f64::from(kind.count) * weight * weight;
            kind.count = 0;
            kind.seconds = 0.0;
        }
        (work, if squares > 0.0 { work * work / squares } else { 0.0 })
    }

    /// Forgets the window.
    pub(crate) fn drop_window(&mut self) {
        for kind in &mut self.kinds {
            kind.count = 0;
            kind.seconds = 0.0;
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
            shared += kind.seconds * (ln(kind.seconds / f64::from(kind.count)) - kind.ratio);
            time += kind.seconds;
        }
        if time > 0.0 {
            self.common = shared / time;
        }
        self.is_known = true;
        let all: f64 = self.kinds.iter().map(|kind| kind.seconds).sum();
        let filling = self.kinds.iter().filter(|kind| kind.count > 0 && kind.seconds >= FILLS * all);
        let slowest = filling.map(|kind| kind.seconds / f64::from(kind.count)).fold(0.0, f64::max);
        self.slowest += if self.slowest == 0.0 { slowest } else { 0.3 * (slowest - self.slowest) };
        for kind in self.kinds.iter_mut().filter(|kind| kind.count > 0) {
            let own = ln(kind.seconds / f64::from(kind.count)) - self.common;
            let gain = if kind.looks == 0 {
                1.0
            } else if used == 1 {
                0.0
            } else {
                let is_outward = (own - kind.ratio) * kind.ratio > 0.0;
                (f64::from(kind.count) / 50.0).min(1.0) * if is_outward { OUTWARD } else { INWARD }
            };
            kind.ratio = (kind.ratio + gain * (own - kind.ratio)).clamp(-9.0, 9.0);
            kind.looks = (kind.looks + 1).min(1_000);
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
