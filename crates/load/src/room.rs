//! How many calls at once an endpoint takes before it refuses more, learned from what it refuses.
//!
//! A refusal for there being too many (429, 503 with `Retry-After`) may mean too many a second (`quota.rs`) or too
//! many at once: a server without a queue refuses whatever comes while all its workers are busy. Pacing is the wrong
//! answer to the second: at an even pace a server that is a little slower refuses, and one that is faster idles.
//!
//! The two are told apart in two steps. Where there are too many at once, more is under way when a call is refused
//! than when one is taken; where there are too many a second, what is under way says nothing. So the two are
//! compared (the distance of the means in standard deviations), which finds the suspicion and no more: calls that are
//! started in bursts look alike. Then it is tried: calls are held back by their number instead of by a pace, and if
//! less is taken than before, it was wrong. Wrong suspicions are tried ever more rarely.
//!
//! One that fails at once and does not say why may do so for the same reason (a proxy that answers 503 when its
//! connections are used up), and is looked at in the same way.
//!
//! Left out: endpoints that take nothing (`health.rs`), and strangers who take the room at times.

use model::Timestamp;

use crate::trial::Rest;

/// Refusals that are compared, at least; of each round trip one counts, since calls of one burst meet the same fate.
const REFUSALS: f64 = 8.0;
const TAKEN_MEMORY: f64 = 64.0;
/// Standard deviations between the two.
const APART: f64 = 1.0;
/// A rate is measured for so long at least, and over so many calls.
const WINDOW_US: u64 = 1_000_000;
const WINDOW_CALLS: u32 = 48;
/// A trial takes so many times as long.
const TRIAL_WINDOWS: u32 = 3;
/// Of the rate before, so much must be reached when it is tried, and of the best since then later on.
const TRIED_AT_LEAST: f64 = 0.97;
const LATER_AT_LEAST: f64 = 0.8;
/// Calls start no faster than so many times what is taken.
const BURST: f64 = 1.5;
/// After so many calls taken, one more at once is tried. A refusal costs next to nothing, but not nothing.
const TRY_AFTER: u32 = 64;

/// What was under way when calls started: mean and variance of the last ones.
#[derive(Clone, Copy, Default, Debug)]
struct Spread {
    mean: f64,
    variance: f64,
    count: f64,
}

impl Spread {
    fn add(&mut self, others: u32, memory: f64) {
        self.count = (self.count + 1.0).min(memory);
        let off = f64::from(others) - self.mean;
        let share = 1.0 / self.count;
        self.mean += off * share;
        self.variance = (1.0 - share) * (self.variance + share * off * off);
    }
}

#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Room {
    taken_at: Spread,
    refused_at: Spread,
    /// Calls that started before this met the same fate as one that has counted.
    counted: Timestamp,
    /// How much is taken: measured from here on.
    from: Timestamp,
    calls: u32,
    waited: bool,
    /// Calls a second in the last window in which some waited; before it was tried, and the best since.
    rate: f64,
    /// It is believed: no more than this at once. 0 otherwise.
    bound: u32,
    is_trial: bool,
    rest: Rest,
    /// When the bound was last lowered: what started before says nothing about it.
    lowered: Timestamp,
    /// Calls taken since it last refused one.
    taken: u32,
    /// How many more at once are tried next.
    step: u32,
}

impl Room {
    /// It took a call that started while so many others were under way there; others wait for a place. Says whether
    /// the limit moved.
    pub(crate) fn taken(&mut self, now: Timestamp, started: Timestamp, others: u32, waits: bool) -> bool {
        self.taken_at.add(others, TAKEN_MEMORY);
        let before = self.limit();
        self.measure(now, waits);
        if self.bound > 0 {
            self.taken = self.taken.saturating_add(1);
            if others >= self.bound && started >= self.lowered {
                self.bound = others.saturating_add(1);
                if self.taken >= TRY_AFTER {
                    // There is more room than there was, perhaps much more.
                    self.step = self.step.saturating_mul(2);
                }
            }
        }
        self.limit() != before
    }

    /// It refused a call that started while so many others were under way there, or failed it at once.
    pub(crate) fn refused(&mut self, now: Timestamp, started: Timestamp, others: u32) {
        (self.taken, self.step) = (0, 1);
        if started >= self.counted {
            self.counted = now;
            self.refused_at.add(others, REFUSALS);
        }
        if self.bound == 0 {
            if self.rate > 0.0 && self.rest.is_over(now) && self.is_suspect() {
                let middle = (self.taken_at.mean + self.refused_at.mean) / 2.0;
                self.bound = (middle.ceil() as u32).max(1);
                (self.from, self.calls, self.is_trial) = (now, 0, true);
            }
        } else if others < self.bound {
            // Calls on their way there are under way and take no room yet, those on their way back take none any
            // more. So one that met it at a bad moment lowers it by one; many lower it as fast as they come.
            (self.bound, self.lowered) = ((self.bound - 1).max(1), now);
        }
    }

    /// More is under way when it refuses than when it does not.
    fn is_suspect(&self) -> bool {
        let (taken, refused) = (self.taken_at, self.refused_at);
        let apart = refused.mean - taken.mean;
        let deviation = ((taken.variance + refused.variance) / 2.0).sqrt();
        refused.count >= REFUSALS && taken.count >= REFUSALS && apart >= APART * deviation.max(0.5)
    }

    /// How much is taken, and whether that speaks against what is believed.
    fn measure(&mut self, now: Timestamp, waits: bool) {
        self.calls = self.calls.saturating_add(1);
        let us = now.0.saturating_sub(self.from.0);
        let windows = if self.is_trial { TRIAL_WINDOWS } else { 1 };
        if us < u64::from(windows) * WINDOW_US || self.calls < windows * WINDOW_CALLS {
            return;
        }
        let rate = f64::from(self.calls) * 1e6 / us as f64;
        let is_busy = waits && self.waited;
        (self.from, self.calls, self.waited) = (now, 0, waits);
        if !is_busy {
            return;
        }
        if self.bound == 0 {
            self.rate = rate;
            return;
        }
        let least = if self.is_trial { TRIED_AT_LEAST } else { LATER_AT_LEAST };
        if rate < least * self.rate {
            // Wrong from the beginning, or it has changed: then it is looked at afresh, and at once.
            if self.is_trial {
                self.rest.begin(now);
            }
            *self = Self { rest: self.rest, from: now, waited: true, ..Self::default() };
        } else {
            self.is_trial = false;
            self.rate = rate.max(0.9 * self.rate);
        }
    }

    /// Starts a second that are never worth exceeding: a burst would meet more under way than there are as a rule.
    pub(crate) fn most_per_s(&self) -> f64 {
        BURST * self.rate
    }

    /// So many at once, if that is what it refuses for.
    pub(crate) fn limit(&self) -> Option<u32> {
        let more = if self.taken >= TRY_AFTER { self.step } else { 0 };
        (self.bound > 0).then(|| self.bound.saturating_add(more))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::Dice;

    fn ms(n: u64) -> Timestamp {
        Timestamp(1_000_000_000 + n * 1_000)
    }

    /// Whoever decides what is refused: so many at once, or one token every so many ms (up to three are saved).
    enum Door {
        Workers(usize),
        Bucket { every_ms: f64, full_at: f64 },
    }

    #[derive(Default, Debug, PartialEq)]
    struct Seen {
        taken: u32,
        refused: u32,
        /// Calls that were not started because of what is believed.
        held_back: u32,
    }

    /// Calls that would start every so many ms, by dice, and take 40 to 60; there is always one more that waits.
    fn run(room: &mut Room, door: &mut Door, from_ms: u64, to_ms: u64, every_ms: u64) -> Seen {
        let mut dice = Dice::new(from_ms + 7);
        let mut under_way: Vec<(u64, u64, u32)> = Vec::new();
        let (mut seen, mut at) = (Seen::default(), from_ms);
        while at < to_ms {
            at += 1 + dice.bits() % (2 * every_ms - 1);
            under_way.sort_unstable();
            while under_way.first().is_some_and(|(end, ..)| *end <= at) {
                let (end, started, others) = under_way.remove(0);
                room.taken(ms(end), ms(started), others, true);
            }
            let others = under_way.len() as u32;
            if room.limit().is_some_and(|limit| others >= limit) {
                seen.held_back += 1;
                continue;
            }
            let is_open = match door {
                Door::Workers(workers) => under_way.len() < *workers,
                Door::Bucket { every_ms, full_at } => {
                    let is_open = *full_at <= at as f64 + 2.0 * *every_ms;
                    if is_open {
                        *full_at = full_at.max(at as f64) + *every_ms;
                    }
                    is_open
                }
            };
            if is_open {
                under_way.push((at + 40 + dice.bits() % 21, at, others));
                seen.taken += 1;
            } else {
                room.refused(ms(at), ms(at), others);
                seen.refused += 1;
            }
        }
        seen
    }

    #[test]
    fn a_server_without_a_queue_is_found_out_and_its_workers_work() {
        let mut room = Room::default();
        run(&mut room, &mut Door::Workers(10), 0, 5_000, 4);
        assert!(room.limit().is_some_and(|limit| (9..=12).contains(&limit)), "{room:?}");
        // Ten workers do 200 a second; 250 would come.
        let seen = run(&mut room, &mut Door::Workers(10), 5_000, 25_000, 4);
        assert!(seen.refused * 40 <= seen.taken, "{seen:?}");
        assert!(seen.taken > 3_500, "{seen:?}");
    }

    #[test]
    fn it_follows_when_workers_become_fewer_and_more() {
        let mut room = Room::default();
        run(&mut room, &mut Door::Workers(12), 0, 10_000, 3);
        let fewer = run(&mut room, &mut Door::Workers(6), 10_000, 30_000, 3);
        assert!(fewer.refused * 8 <= fewer.taken && fewer.taken > 2_100, "{fewer:?}");
        let more = run(&mut room, &mut Door::Workers(12), 30_000, 50_000, 3);
        assert!(more.refused * 20 <= more.taken && more.taken > 4_200, "{more:?}");
    }

    #[test]
    fn who_refuses_too_many_a_second_is_not_held_back_by_number_for_long() {
        // Sixty a second are taken, seventy come; every trial costs a little.
        let mut room = Room::default();
        let seen = run(&mut room, &mut Door::Bucket { every_ms: 16.7, full_at: 0.0 }, 0, 300_000, 14);
        assert!(seen.held_back * 7 <= seen.taken, "{seen:?} {room:?}");
        assert!(seen.taken > 16_500, "{seen:?}");
    }

    #[test]
    fn a_wrong_suspicion_is_given_up_and_rests() {
        let mut room = Room { rate: 100.0, bound: 2, is_trial: true, from: ms(0), waited: true, ..Room::default() };
        for n in 1..=200u64 {
            room.taken(ms(n * 25), ms(n * 25 - 20), 1, true);
        }
        assert_eq!(room.limit(), None, "forty a second where a hundred were taken before: {room:?}");
        assert!(!room.rest.is_over(ms(10_000)), "{room:?}");
    }

    #[test]
    fn no_numbers_and_no_clock_break_it() {
        let (mut room, mut dice) = (Room::default(), Dice::new(3));
        for n in 0..200_000u32 {
            let bits = dice.bits();
            let others = if bits & 8 == 0 { u32::MAX - (bits % 3) as u32 } else { (bits >> 8) as u32 % 20 };
            let (now, started) = (Timestamp(bits >> 1), Timestamp(bits.rotate_left(17)));
            if n % 3 == 0 {
                room.refused(now, started, others);
            } else {
                room.taken(now, started, others, bits & 16 == 0);
            }
            assert!(room.limit().is_none_or(|limit| limit > 0), "{room:?}");
            assert!(room.rate.is_finite() && room.taken_at.mean.is_finite() && room.refused_at.variance >= 0.0);
        }
    }
}
