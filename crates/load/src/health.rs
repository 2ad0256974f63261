//! What the ends of calls say about a participant, and when to stop calling it.
//!
//! Four things hold a participant:
//! - It did not take a call (or said for how long it will not).
//! - It does not know us.
//! - It does not answer: 20 calls in a row, or 20 of the last 64 answered calls and more than half of them.
//! - It refuses far more than it used to. The last 64 judged calls are set against the share of all before them:
//!   held if the refusals among them pass the mean by five standard deviations of a binomial and 16 more. With a
//!   usual share of 1 % that is 21 of 64; with none or 90 % of refusals as its habit it never fires for noise.
//!   A call enters the history only when it leaves the 64, so a jump cannot hide by becoming its own past. Without
//!   200 calls of history nothing is called a jump.

use std::time::Duration;

use model::Timestamp;

use crate::call::CallRef;

const PROBE_FIRST: Duration = Duration::from_millis(200);
const PROBE_MAX: Duration = Duration::from_secs(5);
const PROBE_UNAUTHORIZED: Duration = Duration::from_secs(30);
/// A longer `Retry-After` is not believed.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);
const UNANSWERED: u32 = 20;
const WINDOW: u32 = 64;
const HISTORY_MIN: u32 = 200;
const HISTORY_LENGTH: u32 = 1_024;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Why {
    NotTaken,
    Unauthorized,
    Unanswered,
    /// So many of the last 64 calls, and how many of a thousand it used to be.
    Refuses {
        of_64: u32,
        usual_permille: u32,
    },
}

/// A participant that gets no calls but probes.
#[derive(Debug)]
pub(crate) struct Hold {
    pub(crate) why: Why,
    pub(crate) since: Timestamp,
    pub(crate) probe_at: Timestamp,
    backoff: Duration,
    /// The one call under way that will tell.
    pub(crate) probe: Option<CallRef>,
    /// Probes that told nothing better.
    pub(crate) probes_failed: u32,
}

impl Hold {
    pub(crate) fn new(why: Why, now: Timestamp, retry_after: Option<Duration>) -> Self {
        let backoff = if why == Why::Unauthorized { PROBE_UNAUTHORIZED } else { PROBE_FIRST };
        let mut hold = Self { why, since: now, probe_at: now.after(backoff), backoff, probe: None, probes_failed: 0 };
        hold.wait_for(now, retry_after);
        hold
    }

    pub(crate) fn backoff(&self) -> Duration {
        self.backoff
    }

    /// Whether a call may start now to see how things are.
    pub(crate) fn probe_is_due(&self, now: Timestamp) -> bool {
        self.probe.is_none() && now >= self.probe_at
    }

    /// The participant asked for time.
    pub(crate) fn wait_for(&mut self, now: Timestamp, retry_after: Option<Duration>) {
        if let Some(wait) = retry_after {
            self.probe_at = self.probe_at.max(now.after(wait.min(RETRY_AFTER_MAX)));
        }
    }

    /// A probe told that nothing is better.
    pub(crate) fn probe_failed(&mut self, now: Timestamp, why: Why, retry_after: Option<Duration>) {
        self.why = why;
        self.probes_failed = self.probes_failed.saturating_add(1);
        self.backoff = match why {
            Why::Unauthorized => PROBE_UNAUTHORIZED,
            _ => (self.backoff * 2).min(PROBE_MAX),
        };
        self.probe_at = now.after(self.backoff);
        self.wait_for(now, retry_after);
    }

    /// A probe told nothing at all.
    pub(crate) fn probe_lost(&mut self, now: Timestamp) {
        self.probe_at = now.after(self.backoff);
    }
}

/// What is remembered of the ends of calls. Fixed size.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// One bit for each of the last calls that were taken: set if it was not answered.
    unanswered: u64,
    unanswered_len: u32,
    unanswered_run: u32,
    /// When the first call of that run began.
    run_from: Timestamp,
    /// One bit for each of the last judged calls: set if it was refused.
    refused: u64,
    refused_len: u32,
    /// Of the judged calls before those.
    refused_share: f64,
    history_len: u32,
}

impl Health {
    pub(crate) fn answered(&mut self) {
        self.unanswered_run = 0;
        self.unanswered <<= 1;
        self.unanswered_len = (self.unanswered_len + 1).min(WINDOW);
    }

    /// A call that nobody answered; says whether that is one too many. A run of them counts once it lasts as long as
    /// a call takes: before, those that are under way have had no time to be answered.
    pub(crate) fn not_answered(&mut self, now: Timestamp, took: Duration, usual: Duration) -> Option<Why> {
        if self.unanswered_run == 0 {
            self.run_from = Timestamp(now.0.saturating_sub(took.as_micros() as u64));
        }
        self.unanswered_run += 1;
        self.unanswered = self.unanswered << 1 | 1;
        self.unanswered_len = (self.unanswered_len + 1).min(WINDOW);
        let count = self.unanswered.count_ones();
        let most = count >= UNANSWERED && count * 2 > self.unanswered_len;
        let is_long = now.since(self.run_from) >= usual;
        (self.unanswered_run >= UNANSWERED && is_long || most).then_some(Why::Unanswered)
    }

    /// A call that was done or refused; says whether refusals have jumped.
    pub(crate) fn judged(&mut self, was_refused: bool) -> Option<Why> {
        if self.refused_len == WINDOW {
            let leaving = f64::from(u8::from(self.refused >> (WINDOW - 1) == 1));
            self.history_len = (self.history_len + 1).min(HISTORY_LENGTH);
            self.refused_share += (leaving - self.refused_share) / f64::from(self.history_len);
        }
        self.refused = self.refused << 1 | u64::from(was_refused);
        self.refused_len = (self.refused_len + 1).min(WINDOW);
        if !was_refused || self.refused_len < WINDOW || self.history_len < HISTORY_MIN {
            return None;
        }
        let window = f64::from(WINDOW);
        let usual = self.refused_share;
        let expected = window * usual;
        let spread = (expected * (1.0 - usual)).max(0.0).sqrt();
        let count = self.refused.count_ones();
        (f64::from(count) > expected + 5.0 * spread + 16.0)
            .then_some(Why::Refuses { of_64: count, usual_permille: (usual * 1_000.0) as u32 })
    }

    /// After a hold: what was seen then does not count against the participant again. Half of a jump becomes
    /// history, so one that stays is held a few times and then is the habit.
    pub(crate) fn released(&mut self) {
        if self.refused_len == WINDOW && self.history_len >= HISTORY_MIN {
            let share = f64::from(self.refused.count_ones()) / f64::from(WINDOW);
            self.refused_share = (self.refused_share + share) / 2.0;
        }
        self.refused_len = 0;
        self.refused = 0;
        self.unanswered = 0;
        self.unanswered_len = 0;
        self.unanswered_run = 0;
    }

    /// A person says that what it does now is right.
    pub(crate) fn accept(&mut self) {
        if self.refused_len == WINDOW {
            self.refused_share = f64::from(self.refused.count_ones()) / f64::from(WINDOW);
        }
        self.released();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A call that was waited for in vain, longer than calls take.
    fn waited(health: &mut Health) -> Option<Why> {
        health.not_answered(Timestamp::from_millis(10_000), Duration::from_secs(1), Duration::from_millis(200))
    }

    #[test]
    fn those_that_fail_at_once_prove_nothing_before_others_could_have_answered() {
        let mut health = Health::default();
        (0..64).for_each(|_| health.answered());
        let mut fails = |ms: u64| {
            let now = Timestamp::from_millis(10_000 + ms);
            health.not_answered(now, Duration::from_millis(1), Duration::from_millis(200))
        };
        assert!((0..30).all(|n| fails(6 * n).is_none()), "within the time that a call takes");
        assert_eq!(fails(200), Some(Why::Unanswered));
    }

    #[test]
    fn twenty_without_an_answer() {
        let mut health = Health::default();
        for _ in 0..100 {
            health.answered();
        }
        let held = (1..).find(|_| waited(&mut health).is_some());
        assert_eq!(held, Some(20));

        // Every second one is not enough, two of three are.
        let mut half = Health::default();
        assert!((0..1_000).all(|n| {
            if n % 2 == 0 {
                half.answered();
                true
            } else {
                waited(&mut half).is_none()
            }
        }));
        let mut most = Health::default();
        let held = (0..200).find(|n| {
            if n % 3 == 0 {
                most.answered();
                false
            } else {
                waited(&mut most).is_some()
            }
        });
        assert!(held.is_some_and(|n| (28..=32).contains(&n)), "{held:?}");
    }

    #[test]
    fn a_jump_of_refusals() {
        let mut health = Health::default();
        assert!((0..2_000).all(|n| health.judged(n % 100 == 0).is_none()), "1 % is its habit");
        let held = (1..).find_map(|n| health.judged(true).map(|why| (n, why)));
        assert!(matches!(held, Some((15..=22, Why::Refuses { of_64: 18..=23, .. }))), "{held:?}");
    }

    #[test]
    fn a_habit_is_no_jump() {
        // A fixed linear congruential sequence stands for noise.
        for usual in [0, 5, 30, 60, 90, 100] {
            let mut health = Health::default();
            let mut state = 12_345u32;
            for n in 0..200_000 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let refused = state >> 16 < usual * 65_536 / 100;
                assert_eq!(health.judged(refused), None, "usual {usual} %, call {n}");
            }
        }
    }

    #[test]
    fn without_history_there_is_no_jump() {
        let mut health = Health::default();
        assert!((0..10_000).all(|_| health.judged(true).is_none()), "all it ever did was refuse");
    }

    #[test]
    fn a_person_can_accept_a_jump() {
        let mut health = Health::default();
        for _ in 0..2_000 {
            health.judged(false);
        }
        while health.judged(true).is_none() {}
        for _ in 0..64 {
            health.judged(true);
        }
        health.accept();
        assert!((0..10_000).all(|_| health.judged(true).is_none()));
    }

    #[test]
    fn a_jump_that_stays_becomes_the_habit() {
        let mut health = Health::default();
        for _ in 0..2_000 {
            health.judged(false);
        }
        let mut holds = 0;
        for n in 0..20_000 {
            if health.judged(n % 5 < 3).is_some() {
                holds += 1;
                health.released();
            }
        }
        assert!((1..=8).contains(&holds), "{holds}");
    }

    #[test]
    fn probes_back_off_and_respect_retry_after() {
        let at = Timestamp::from_millis;
        let mut hold = Hold::new(Why::NotTaken, at(0), None);
        let mut waits = Vec::new();
        let mut now = at(0);
        for _ in 0..7 {
            waits.push(hold.probe_at.since(now).as_millis());
            now = hold.probe_at;
            hold.probe_failed(now, Why::NotTaken, None);
        }
        assert_eq!(waits, [200, 400, 800, 1600, 3200, 5000, 5000]);
        hold.probe_failed(at(100_000), Why::NotTaken, Some(Duration::from_secs(60)));
        assert_eq!(hold.probe_at, at(160_000));
        hold.wait_for(at(100_000), Some(Duration::from_secs(1_000_000)));
        assert_eq!(hold.probe_at, at(400_000));
        assert_eq!(Hold::new(Why::Unauthorized, at(0), None).probe_at, at(30_000));
    }
}
