//! Concurrency limiters of other projects: how many calls may be under way to one participant.
//!
//! One file per algorithm, each naming the source and the version it was read in. The numbers are the authors' own
//! defaults; [`Setting`] says what tuning may change. Every file keeps the formula (plain numbers in, a number out)
//! apart from [`Limiter`], so that `tests/vectors` can hold it against values recorded from the real code.
//!
//! What they are told is the same for all: a refusal of the business is an answer, a timeout and a "not taken" are
//! what their authors call a drop, a failure that proves nothing is left out unless the original counts it.
//! A setting called `initial` is the limit at the start, where there is one.
//!
//! Left out: who waits and in which order (`client.rs`), and what is tried again (`throttles.rs`).

pub mod aimd;
pub mod brpc;
pub mod dagor;
pub mod envoy;
pub mod failsafe;
pub mod fixed;
pub mod gradient;
pub mod gradient2;
pub mod histogram;
pub mod kratos_bbr;
pub mod vector_arc;
pub mod vegas;
pub mod windowed;

use crate::arm::{Ended, LimiterKind, Outcome, Setting};

/// Every limiter that an arm can be made of.
pub const KINDS: &[LimiterKind] = &[
    fixed::FIXED_5,
    fixed::FIXED_10,
    fixed::FIXED_20,
    fixed::FIXED_50,
    fixed::FIXED_100,
    fixed::FIXED_200,
    fixed::FIXED_500,
    aimd::KIND,
    gradient::KIND,
    gradient::WINDOWED,
    gradient2::KIND,
    gradient2::UNBOUNDED,
    vegas::KIND,
    vegas::WINDOWED,
    envoy::KIND,
    envoy::QUEUED,
    failsafe::KIND,
    failsafe::QUEUED,
    brpc::KIND,
    brpc::QUEUED,
    kratos_bbr::KIND,
    kratos_bbr::QUEUED,
    vector_arc::KIND,
    dagor::KIND,
];

/// A setting searched evenly between `low` and `high`.
pub(crate) const fn even(name: &'static str, default: f64, low: f64, high: f64) -> Setting {
    Setting { name, default, low, high, is_log: false }
}

/// A setting searched evenly in the logarithm between `low` and `high`.
pub(crate) const fn geometric(name: &'static str, default: f64, low: f64, high: f64) -> Setting {
    Setting { name, default, low, high, is_log: true }
}

/// A whole number out of a setting; what is not one (negative, NaN, too large) becomes the nearest that is.
pub(crate) fn whole(value: f64) -> u32 {
    value.round() as u32
}

/// Nanoseconds of a finished call, as the original limiters count.
pub(crate) fn rtt_ns(ended: &Ended) -> i64 {
    i64::try_from(ended.rtt.as_nanos()).unwrap_or(i64::MAX)
}

/// What the Netflix family is told of a call: `Some(true)` a drop, `Some(false)` a success, `None` ignored
/// (`onDropped`, `onSuccess`, `onIgnore` of its gRPC client interceptor).
pub(crate) fn dropped(outcome: Outcome) -> Option<bool> {
    match outcome {
        Outcome::Done | Outcome::Refused => Some(false),
        Outcome::NotTaken { .. } | Outcome::Throttled { .. } | Outcome::TimedOut => Some(true),
        Outcome::Failed => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use model::Timestamp;

    use super::*;
    use crate::arm::{Asking, Moment, Settings};
    use crate::dice::Dice;

    /// Every default lies in the range that tuning searches, and no two kinds or settings share a name.
    #[test]
    fn kinds_and_settings_are_well_formed() {
        let settings = KINDS.iter().map(|k| (k.name, k.settings));
        let settings = settings.chain(crate::throttles::KINDS.iter().map(|k| (k.name, k.settings)));
        let settings = settings.chain(crate::balancers::KINDS.iter().map(|k| (k.name, k.settings)));
        let mut names = Vec::new();
        for (name, settings) in settings {
            names.push(name);
            for (n, s) in settings.iter().enumerate() {
                let is_low_valid = if s.is_log { s.low > 0.0 } else { s.low >= 0.0 };
                assert!(is_low_valid && s.low <= s.default && s.default <= s.high && s.low < s.high, "{name} {s:?}");
                assert!(settings[..n].iter().all(|other| other.name != s.name), "{name} {s:?}");
            }
        }
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    fn draw_settings(dice: &mut Dice, of: &[Setting]) -> Settings {
        let mut settings = Settings::defaults(of);
        for s in of {
            let value = if s.is_log {
                s.low * (s.high / s.low).powf(dice.unit())
            } else {
                s.low + (s.high - s.low) * dice.unit()
            };
            assert!(settings.set(s.name, value));
        }
        settings
    }

    /// Clocks that stand still or leap an hour, calls of no length and of days, all failures, huge bursts: the limit
    /// stays a number, and somebody is let in when nothing is under way.
    #[test]
    fn hostile_samples_leave_a_finite_limit() {
        let outcomes = [
            Outcome::Done,
            Outcome::Refused,
            Outcome::Failed,
            Outcome::TimedOut,
            Outcome::NotTaken { retry_after: None },
            Outcome::Throttled { retry_after: Some(Duration::from_secs(1)) },
        ];
        for kind in KINDS {
            for seed in 0..40 {
                let mut dice = Dice::new(seed);
                let mut luck = Dice::new(seed + 1_000);
                let settings =
                    if seed == 0 { Settings::defaults(kind.settings) } else { draw_settings(&mut luck, kind.settings) };
                let mut limiter = (kind.make)(&settings);
                let mut now = Timestamp::from_millis(1_700_000_000_000);
                let the_only = outcomes[luck.below(outcomes.len())];
                let only = luck.chance(0.3).then_some(the_only);
                for n in 0..3_000u32 {
                    let steps = if n < 2_500 { 5 } else { 6 };
                    let step = [0, 0, 1, 1_000, 50_000, 3_600_000_000][luck.below(steps)];
                    now = now.after(Duration::from_micros(step));
                    let mut at = Moment { now, dice: &mut dice };
                    while limiter.next_wake().is_some_and(|due| due <= now) {
                        limiter.wake(&mut at);
                    }
                    let most = if luck.chance(0.01) { 1_000_000 } else { 50 };
                    let in_flight = luck.below(most) as u32;
                    let asking = Asking { in_flight, queued: 0, waited: Duration::ZERO, priority: 0, attempt: 1 };
                    limiter.admit(&mut at, &asking);
                    let rtt_us = [0, 1, 99, 20_000, 1_000_000, 200_000_000_000][luck.below(6)];
                    let ended = Ended {
                        endpoint: 0,
                        started: Timestamp(now.0.saturating_sub(rtt_us)),
                        rtt: Duration::from_micros(rtt_us),
                        outcome: only.unwrap_or_else(|| outcomes[luck.below(outcomes.len())]),
                        in_flight_at_start: in_flight + 1,
                        in_flight,
                    };
                    limiter.ended(&mut at, &ended);
                    let limit = limiter.limit();
                    assert!(limit.is_finite() && limit >= 0.0, "{} seed {seed} call {n}: {limit}", kind.name);
                }
                let mut at = Moment { now, dice: &mut dice };
                let idle = Asking { in_flight: 0, queued: 0, waited: Duration::ZERO, priority: 7, attempt: 1 };
                let lets_in = (0..200).any(|_| limiter.admit(&mut at, &idle));
                assert!(lets_in, "{} seed {seed} with {settings:?} lets nobody in", kind.name);
            }
        }
    }
}
