//! A rate that a participant enforces by refusing more (429, 503 with `Retry-After`), learned.
//!
//! A bucket is empty whenever it refuses. So what was accepted between two refusals, over the time between them, is
//! the rate at which it fills, whatever its size, unless it was full in between. Calls are then paced a
//! little under that rate, and while nothing is refused the pace creeps up, faster the longer it lasts, to find out
//! whether there is more by now.
//!
//! One that does not say why it fails calls at once may do so for the same reason (a proxy's rate limit that answers
//! 503). That is tried: if so many fail, calls are paced to what is done, and if then far fewer fail, it is so.
//! Where calls fail by chance as many fail as before, and it is not tried again for a while.
//!
//! What the participant announces itself (`RateLimit` headers) is taken as said, until the window it speaks of ends.
//!
//! Left out: outages. Refusals without anything accepted between them are the business of `health.rs`.

use std::time::Duration;

use model::Timestamp;

use crate::call::Quota as Announced;
use crate::trial::Rest;

/// Of the rate that was measured.
const UNDER: f64 = 0.97;
/// Refusals within this time are one.
const EPISODE_US: u64 = 250_000;
/// The pace creeps up by so much of itself in the first second without a refusal, and by so much more in the next.
const CREEP_PER_S: f64 = 0.01;
const CREEP_MAX_PER_S: f64 = 0.15;
/// Without a refusal for so long, and without being what holds calls back, it is forgotten.
const FORGET_US: u64 = 60_000_000;
/// Starts may run ahead of the pace by so much.
const AHEAD_US: f64 = 20_000.0;
/// After a longer time without a refusal the pace is cut by a step; a second refusal soon after tells the rest.
const LONG_S: f64 = 1.5;
const STEP_DOWN: f64 = 0.93;
const RATE_MIN: f64 = 0.01;
const RATE_MAX: f64 = 1e7;
/// What is announced for longer is not believed.
const ANNOUNCED_MAX: Duration = Duration::from_secs(3_600);

/// So much of what is called fails at once: worth a trial.
const SUSPECT: f64 = 0.1;
/// Of that share no more may be left when calls are paced.
const LEFT: f64 = 0.4;
/// So much, although calls are paced, is no quota any more.
const NO_QUOTA: f64 = 0.5;
/// A share is measured for so long at least, and over so many calls.
const SHARE_US: u64 = 1_000_000;
const SHARE_CALLS: u32 = 16;

/// What calls that fail at once are taken for.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
enum Taken {
    #[default]
    ForFailures,
    /// It is tried; so much failed before.
    OnTrial(f64),
    ForRefusals,
}

/// How many fail at once.
#[derive(Clone, Copy, Default, Debug)]
struct AtOnce {
    taken: Taken,
    from: Timestamp,
    calls: u32,
    failed: u32,
    rest: Rest,
}

#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Quota {
    /// Per second.
    rate: Option<f64>,
    accepted: u32,
    /// The first and the last refusal of the episode under way, or of the last one.
    first: Timestamp,
    last: Timestamp,
    crept: Timestamp,
    /// When the pace last held a call back.
    held_back: Timestamp,
    arrival_us: f64,
    announced: Option<(f64, Timestamp)>,
    at_once: AtOnce,
}

impl Quota {
    pub(crate) fn accepted(&mut self) {
        self.accepted = self.accepted.saturating_add(1);
        self.at_once.calls = self.at_once.calls.saturating_add(1);
    }

    /// A call failed at once, and nobody said why. Says whether that is taken for a refusal.
    pub(crate) fn failed_at_once(&mut self, now: Timestamp) -> bool {
        self.at_once.calls = self.at_once.calls.saturating_add(1);
        self.at_once.failed = self.at_once.failed.saturating_add(1);
        self.judge(now);
        match self.at_once.taken {
            Taken::ForFailures => false,
            Taken::OnTrial(_) => true,
            Taken::ForRefusals => {
                self.refused(now);
                true
            }
        }
    }

    fn judge(&mut self, now: Timestamp) {
        let AtOnce { taken, from, calls, failed, rest } = self.at_once;
        let us = now.0.saturating_sub(from.0);
        if us < SHARE_US || calls < SHARE_CALLS {
            return;
        }
        (self.at_once.from, self.at_once.calls, self.at_once.failed) = (now, 0, 0);
        let share = f64::from(failed) / f64::from(calls);
        let done = calls - failed.min(calls);
        // Too few are no rate, and the first window began when nothing had happened yet.
        let is_known = from != Timestamp::ZERO && done >= SHARE_CALLS / 2;
        self.at_once.taken = match taken {
            Taken::ForFailures if is_known && share >= SUSPECT && rest.is_over(now) && self.rate.is_none() => {
                self.recall(UNDER * f64::from(done) * 1e6 / us as f64, now);
                Taken::OnTrial(share)
            }
            Taken::OnTrial(before) if share <= LEFT * before => Taken::ForRefusals,
            Taken::ForRefusals if share <= NO_QUOTA => Taken::ForRefusals,
            Taken::ForFailures => Taken::ForFailures,
            Taken::OnTrial(_) | Taken::ForRefusals => {
                self.rate = None;
                self.first = Timestamp::ZERO;
                self.at_once.rest.begin(now);
                Taken::ForFailures
            }
        };
    }

    /// A call was refused because there were too many.
    pub(crate) fn refused(&mut self, now: Timestamp) {
        let is_same = self.first != Timestamp::ZERO && now.0.saturating_sub(self.first.0) < EPISODE_US;
        if is_same {
            self.last = self.last.max(now);
            return;
        }
        let since = now.0.saturating_sub(self.first.0) as f64 / 1e6;
        if self.first == Timestamp::ZERO {
            // Nothing is known before the bucket was empty twice.
        } else if since > 0.0 && self.accepted > 0 {
            let seen = f64::from(self.accepted) / since;
            let weight = f64::from(self.accepted) / (f64::from(self.accepted) + 10.0);
            let rate = match self.rate {
                // Paced below the rate for long, the bucket was full and ran over: what was accepted is too little.
                Some(rate) if seen < rate && since > LONG_S => (STEP_DOWN / UNDER * rate).max(seen),
                // Less than thought is believed at once.
                Some(rate) if seen < rate => rate + weight.max(0.5) * (seen - rate),
                Some(rate) => rate + 0.5 * weight * (seen - rate),
                None => seen,
            };
            self.rate = Some((UNDER * rate).clamp(RATE_MIN, RATE_MAX));
        } else if let Some(rate) = &mut self.rate {
            *rate = (*rate * 0.7).max(RATE_MIN);
        }
        self.first = now;
        self.last = now;
        self.crept = now;
        self.accepted = 0;
    }

    /// Calls start again after a rest in which the bucket may have run over: what is measured begins here.
    pub(crate) fn rested(&mut self, now: Timestamp) {
        if self.first != Timestamp::ZERO {
            self.first = now;
            self.accepted = 0;
        }
    }

    /// The participant said what is left.
    pub(crate) fn announced(&mut self, now: Timestamp, quota: Announced) {
        let reset = quota.reset_after.min(ANNOUNCED_MAX).as_secs_f64();
        if reset > 0.0 {
            let rate = (UNDER * f64::from(quota.remaining) / reset).max(RATE_MIN);
            self.announced = Some((rate, now.after(quota.reset_after.min(ANNOUNCED_MAX))));
        }
    }

    /// What is paced to, per second.
    pub(crate) fn rate(&self, now: Timestamp) -> Option<f64> {
        let announced = self.announced.filter(|(_, until)| now < *until).map(|(rate, _)| rate);
        match (self.rate, announced) {
            (Some(learned), Some(announced)) => Some(learned.min(announced)),
            (learned, announced) => learned.or(announced),
        }
    }

    pub(crate) fn started(&mut self, now: Timestamp) {
        self.creep(now);
        if let Some(rate) = self.rate(now) {
            self.arrival_us = self.arrival_us.max(now.0 as f64) + 1e6 / rate;
        }
    }

    fn creep(&mut self, now: Timestamp) {
        let Some(rate) = self.rate else { return };
        let step = now.0.saturating_sub(self.crept.0) as f64 / 1e6;
        if step < 1.0 {
            return;
        }
        self.crept = now;
        if now.0.saturating_sub(self.last.0) > FORGET_US && now.0.saturating_sub(self.held_back.0) > FORGET_US {
            self.rate = None;
            self.first = Timestamp::ZERO;
            return;
        }
        // Only a pace that holds calls back is worth raising.
        if now.0.saturating_sub(self.held_back.0) < 1_000_000 {
            let quiet = now.0.saturating_sub(self.last.0) as f64 / 1e6;
            let creep = (CREEP_PER_S * quiet).min(CREEP_MAX_PER_S) * step.min(2.0);
            self.rate = Some((rate * (1.0 + creep)).min(RATE_MAX));
            self.catch_up(now);
        }
    }

    /// No pace makes anybody wait for more than two of its intervals, whatever it was before.
    fn catch_up(&mut self, now: Timestamp) {
        if let Some(rate) = self.rate(now) {
            self.arrival_us = self.arrival_us.min(now.0 as f64 + 2e6 / rate + AHEAD_US);
        }
    }

    /// When the next start is allowed; a time that has come means now.
    pub(crate) fn next(&self, now: Timestamp) -> Timestamp {
        match self.rate(now) {
            None => Timestamp::ZERO,
            Some(rate) => {
                let ahead = AHEAD_US.max(1e6 / rate) - 1e6 / rate;
                // No pace makes anybody wait for more than two of its intervals.
                let mut at = (self.arrival_us - ahead).min(now.0 as f64 + 2e6 / rate);
                if let Some((announced, until)) = self.announced
                    && announced <= rate
                {
                    at = at.min(until.0 as f64);
                }
                Timestamp(at.max(0.0).ceil() as u64)
            }
        }
    }

    /// A call is waiting for the pace.
    pub(crate) fn holds_back(&mut self, now: Timestamp) {
        self.held_back = now;
    }

    /// It was not a rate that was refused: what was announced stays.
    pub(crate) fn forget_learned(&mut self) {
        *self = Self { announced: self.announced, ..Self::default() };
    }

    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn recall(&mut self, rate: f64, now: Timestamp) {
        if rate.is_finite() && rate > 0.0 {
            self.rate = Some(rate.clamp(RATE_MIN, RATE_MAX));
            self.first = now;
            self.last = now;
            self.crept = now;
            self.catch_up(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bucket, and a caller that always has more; what is done and refused per second in the last half.
    fn against_a_bucket(per_second: f64, depth: f64, seconds: u64) -> (f64, f64) {
        let mut quota = Quota::default();
        let (mut tokens, mut done, mut refused) = (depth, 0u32, 0u32);
        let steps = seconds * 2_000;
        for step in 0..steps {
            let now = Timestamp(1_000_000_000 + step * 500);
            tokens = (tokens + per_second / 2_000.0).min(depth);
            for _ in 0..4 {
                if quota.next(now) > now {
                    quota.holds_back(now);
                    break;
                }
                quota.started(now);
                let counted = u32::from(step > steps / 2);
                if tokens >= 1.0 {
                    tokens -= 1.0;
                    quota.accepted();
                    done += counted;
                } else {
                    quota.refused(now);
                    refused += counted;
                }
            }
        }
        let half = seconds as f64 / 2.0;
        (f64::from(done) / half / per_second, f64::from(refused) / half / per_second)
    }

    #[test]
    fn a_bucket_is_found_and_kept_to() {
        for (per_second, depth) in [(600.0, 60.0), (600.0, 1_200.0), (20.0, 2.0), (20.0, 40.0), (1_500.0, 15.0)] {
            let (done, refused) = against_a_bucket(per_second, depth, 120);
            assert!(done > 0.94, "{per_second}/s, bucket of {depth}: {done} done");
            assert!(refused < 0.03, "{per_second}/s, bucket of {depth}: {refused} refused");
        }
    }

    #[test]
    fn a_quota_that_says_nothing_is_found_by_what_fails_at_once() {
        // A hundred come in a second, forty are done, the rest fails at once, until they are paced.
        let mut quota = Quota::default();
        let (mut tokens, mut done, mut failed) = (4.0_f64, 0, 0);
        for step in 0..6_000u64 {
            let now = Timestamp(1_000_000_000 + step * 10_000);
            tokens = (tokens + 0.4).min(4.0);
            if quota.next(now) > now {
                quota.holds_back(now);
                continue;
            }
            quota.started(now);
            let counted = u32::from(step > 1_000);
            if tokens >= 1.0 {
                tokens -= 1.0;
                quota.accepted();
                done += counted;
            } else {
                quota.failed_at_once(now);
                failed += counted;
            }
        }
        assert_eq!(quota.at_once.taken, Taken::ForRefusals);
        assert!(done > 1_650 && failed < 100, "{done} of 2,000 done, {failed} failed");
    }

    #[test]
    fn what_fails_by_chance_is_paced_for_a_moment_and_rarely() {
        let (mut quota, mut dice) = (Quota::default(), crate::math::Dice::new(5));
        let (mut paced, mut taken_for_refusals) = (0, 0);
        let steps = 60_000;
        for step in 0..steps {
            let now = Timestamp(1_000_000_000 + step * 10_000);
            paced += u32::from(quota.rate(now).is_some());
            if quota.next(now) > now {
                quota.holds_back(now);
                continue;
            }
            quota.started(now);
            if dice.bits() % 10 >= 3 {
                quota.accepted();
            } else if quota.failed_at_once(now) {
                taken_for_refusals += 1;
            }
        }
        // Ten minutes: at 2 s, and then 20, 40, 80, 160 and 320 s later.
        assert!((100..=1_000).contains(&paced), "{paced} of {steps} hundredths of a second");
        assert_eq!(quota.at_once.taken, Taken::ForFailures);
        assert!(taken_for_refusals < 300, "{taken_for_refusals} failures");
    }

    #[test]
    fn what_is_announced_is_taken_as_said() {
        let mut quota = Quota::default();
        let now = Timestamp::from_millis(1_000_000);
        quota.announced(now, Announced { remaining: 100, reset_after: Duration::from_secs(10) });
        assert!(quota.rate(now).is_some_and(|rate| (rate - 9.7).abs() < 1e-9));
        quota.announced(now, Announced { remaining: 0, reset_after: Duration::from_secs(10) });
        quota.started(now);
        assert_eq!(quota.next(now), now.after(Duration::from_secs(10)));
        assert_eq!(quota.rate(now.after(Duration::from_secs(10))), None);
    }

    #[test]
    fn it_is_forgotten_when_it_is_gone() {
        let mut quota = Quota::default();
        let at = |s: u64| Timestamp::from_millis(1_000_000 + s * 1_000);
        quota.refused(at(0));
        (0..100).for_each(|_| quota.accepted());
        quota.refused(at(1));
        assert!(quota.rate(at(1)).is_some_and(|rate| (rate - 97.0).abs() < 1e-6));
        for s in 2..200 {
            quota.started(at(s));
        }
        assert_eq!(quota.rate(at(200)), None);
    }
}
