//! How many calls at once one endpoint gets: measures windows, believes (`knee.rs`), and moves the limit.
//!
//! ```text
//!   limit moved │ settle: one latency │ measure: three latencies or more │ belief │ limit moves, a little up or down
//! ```
//! Only windows in which the limit was what held calls back teach; without such a window the limit stays as it is.
//! The limit is never still: it goes a few per cent up and down by turns, by dice, since what does not move
//! cannot be measured. Calls that were not answered have taken place and time but count as nothing done.
//!
//! Left out: ramps, holds and quotas (`participant.rs`), and which endpoint gets a call (`endpoints.rs`).

use std::time::Duration;

use model::Timestamp;

use crate::knee::{Belief, Knee, Look, What};
use crate::math::{Dice, exp, ln};
use crate::mix::Mix;

/// No call counts for longer than an hour, whatever clocks say.
const CALL_US_MAX: f64 = 3.6e9;
/// A window is measured for so long at least.
const WINDOW_MIN_US: f64 = 40_000.0;
/// And ends after this, however slow calls are.
const WINDOW_MAX_US: f64 = 20_000_000.0;
/// Latencies that a window is measured for.
const WINDOW_LATENCIES: f64 = 3.0;
/// Fewer calls than this make a window wait for more, for up to four times its length.
const WINDOW_CALLS: u32 = 48;
/// So much of a window must the limit have held calls back.
const BOUND: f64 = 0.8;
/// Or so much of it, if for the rest it was a pace: what is done then is what so many at once do as well.
const BOUND_BESIDE_PACE: f64 = 0.2;
/// Where it is our own turns that take the time, so little of it is enough to raise the limit.
const OURS_BOUND: f64 = 0.02;
/// One window moves the limit by no more than these (logarithms).
const DOWN_MAX: f64 = 0.9;
const UP_MAX: f64 = 0.4;
/// And upwards by this share of what is believed.
const UP_SHARE: f64 = 0.8;
/// While nothing is known the first windows are short and the limit may double: a start from low costs little.
const START_LOOKS: u64 = 12;
const START_CALLS: u32 = 12;
const START_UP_MAX: f64 = 0.8;
/// And no few calls take it down far: what was seen of them scatters more than the step.
const START_DOWN_MAX: f64 = 0.45;
/// The dither is as wide as what is believed is uncertain, up to this; wider while nothing is known, since a step that
/// is lost in the scatter of a dozen calls teaches nothing.
const DITHER_MAX: f64 = 0.15;
const START_DITHER_MAX: f64 = 0.3;
/// With this share of calls unanswered the limit goes up no more.
const LOST_MAX: f64 = 0.1;
/// So much less done with more at once, and beyond chance, is no reason to try still more.
const LESS_DONE: f64 = 0.15;
/// How far down it goes when the participant does not answer, or is held again and again (a logarithm).
const CUT: f64 = 0.6;
/// Now and then the dither looks further up. Two calls more harm nobody; where only a few are under way they tell at
/// once whether there is room again, which one call more does not.
const FURTHER_EVERY: u32 = 3;
const FURTHER: u32 = 2;
/// Calls may wait over there for so many times as long as they wait in our own hands: nobody gains by control that is
/// finer than the clock it works by, and what answers at once is held back by our own turns and by nothing else.
const GRAINS: f64 = 4.0;
/// Whatever limit it is told to begin with, it begins no higher.
const START_MAX: u32 = 5;

/// How one call ended, for the limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    Done,
    /// It took a place and a time, and nothing is known to be done.
    NoAnswer,
    /// It took neither.
    Nothing,
}

/// What holds the next call back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum By {
    Nothing,
    Limit,
    Pace,
}

/// The last change that was noticed.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct ChangePoint {
    pub(crate) at: Timestamp,
    pub(crate) what: What,
    /// The limit before.
    pub(crate) from: u32,
}

#[derive(Clone, Debug)]
struct Window {
    /// Measured from here on.
    from: Timestamp,
    /// Up to here is summed up.
    at: Timestamp,
    in_flight: u32,
    /// The most at once.
    peak: u32,
    by: By,
    /// In call-microseconds.
    area: f64,
    bound_us: f64,
    paced_us: f64,
    /// How long calls counted as under way beyond what they took, in all.
    ours_us: f64,
    done: u32,
    unanswered: u32,
    /// Of what calls took, in usual calls: sum and sum of squares.
    sum_us: f64,
    squares: f64,
}

#[derive(Clone, Debug)]
pub(crate) struct Learner {
    knee: Knee,
    mix: Mix,
    dice: Dice,
    window: Window,
    /// Logarithm of the limit, without the dither.
    level: f64,
    most: u32,
    limit: u32,
    /// The last window that taught: how many at once, and what was done a second.
    last: Option<(f64, f64)>,
    /// +1, -1; the next of a pair is the other.
    phase: i8,
    is_second: bool,
    ups: u32,
    /// What a call takes, in microseconds, smoothed and with outliers cut.
    latency_us: f64,
    rest_us: f64,
    /// How long a call counts as under way while it is in our own hands: before it is sent, and after its answer.
    grain_us: f64,
    /// A planted mistake: no dither.
    is_still: bool,
    pub(crate) change: Option<ChangePoint>,
    /// Windows that taught.
    pub(crate) looks: u64,
}

impl Learner {
    pub(crate) fn new(seed: u64, initial: u32, most: u32) -> Self {
        let most = most.max(1);
        let initial = initial.min(START_MAX).clamp(1, most);
        Self {
            knee: Knee::new(seed),
            mix: Mix::default(),
            dice: Dice::new(seed ^ 0xd17),
            window: Window {
                from: Timestamp::ZERO,
                at: Timestamp::ZERO,
                in_flight: 0,
                peak: 0,
                by: By::Nothing,
                area: 0.0,
                bound_us: 0.0,
                paced_us: 0.0,
                ours_us: 0.0,
                done: 0,
                unanswered: 0,
                sum_us: 0.0,
                squares: 0.0,
            },
            level: ln(f64::from(initial)),
            most,
            limit: initial,
            last: None,
            phase: 1,
            is_second: false,
            ups: 0,
            latency_us: 0.0,
            rest_us: 0.0,
            grain_us: 0.0,
            is_still: false,
            change: None,
            looks: 0,
        }
    }

    #[cfg(feature = "mutants")]
    pub(crate) fn plant_no_dither(&mut self) {
        self.is_still = true;
    }

    pub(crate) fn limit(&self) -> u32 {
        self.limit
    }

    /// Without the dither.
    pub(crate) fn level(&self) -> f64 {
        exp(self.level)
    }

    pub(crate) fn belief(&self) -> Option<Belief> {
        self.knee.belief()
    }

    /// What a call takes at rest, in microseconds; 0 if nothing is known.
    pub(crate) fn rest_us(&self) -> f64 {
        self.rest_us
    }

    /// What a call takes now, in microseconds; 0 if none has ended.
    pub(crate) fn latency_us(&self) -> f64 {
        self.latency_us
    }

    /// The same of one kind of call.
    pub(crate) fn rest_of_us(&self, operation: u16) -> f64 {
        self.rest_us * self.mix.ratio(operation)
    }

    /// How much work one kind of call is, in usual calls.
    pub(crate) fn work_of(&self, operation: u16) -> f64 {
        self.mix.ratio(operation)
    }

    pub(crate) fn set_most(&mut self, most: u32) {
        self.most = most.max(1);
        self.level = self.level.min(ln(f64::from(self.most)));
        self.limit = self.limit.min(self.most);
    }

    /// What was known before, aged: half of the limit, to begin with.
    pub(crate) fn recall(&mut self, level: f64, capacity: f64, latency: f64, deviation: f64) {
        self.level = ln((level * 0.5).clamp(1.0, f64::from(self.most)));
        self.limit = self.rounded(self.level);
        if capacity > 0.0 && latency > 0.0 {
            self.knee.recall(capacity, latency, deviation);
            self.latency_us = latency * 1e6;
            self.rest_us = self.latency_us;
            self.looks = START_LOOKS;
        }
    }

    /// The participant had to be held: the same again would be too much, if it was too much.
    pub(crate) fn cut(&mut self) {
        self.level = (self.level - CUT).max(0.0);
        self.limit = self.rounded(self.level);
    }

    /// So many calls are under way from now on, and what keeps them from being more.
    pub(crate) fn moved(&mut self, now: Timestamp, in_flight: u32, by: By) {
        if self.window.at == Timestamp::ZERO {
            (self.window.from, self.window.at) = (now, now);
        }
        self.sum_up(now);
        self.window.in_flight = in_flight;
        self.window.peak = self.window.peak.max(in_flight);
        self.window.by = by;
    }

    fn sum_up(&mut self, now: Timestamp) {
        let window = &mut self.window;
        let from = window.at.max(window.from);
        if now > from {
            let us = (now.0 - from.0) as f64;
            window.area += us * f64::from(window.in_flight);
            match window.by {
                By::Nothing => {}
                By::Limit => window.bound_us += us,
                By::Pace => window.paced_us += us,
            }
        }
        window.at = window.at.max(now);
    }

    /// A call has ended that counted as under way since then. Says whether something was learned by it.
    pub(crate) fn ended(&mut self, now: Timestamp, operation: u16, since: Timestamp, took: Duration, end: End) -> bool {
        if end == End::Nothing {
            return false;
        }
        let us = (took.as_micros() as f64).clamp(1.0, CALL_US_MAX);
        if self.latency_us == 0.0 {
            self.latency_us = us;
        } else {
            self.latency_us += (us.min(4.0 * self.latency_us) - self.latency_us) / 32.0;
        }
        self.sum_up(now);
        if now < self.window.from {
            return false;
        }
        self.window.ours_us += (now.0.saturating_sub(since.0) as f64 - us).clamp(0.0, CALL_US_MAX);
        match end {
            End::Done => {
                self.window.done += 1;
                let usual = us / self.mix.done(operation, took).max(1e-4);
                self.window.sum_us += usual;
                self.window.squares += usual * usual;
            }
            End::NoAnswer => {
                self.window.unanswered += 1;
                // One that fails at once keeps its place for as long as a call takes (`ended.rs`).
                self.window.area += (self.rest_us - us).max(0.0);
            }
            End::Nothing => {}
        }
        let measured = (now.0 - self.window.from.0) as f64;
        let (latencies, enough_calls) =
            if self.is_starting() { (1.5, START_CALLS) } else { (WINDOW_LATENCIES, WINDOW_CALLS) };
        let enough = (latencies * self.span_us()).clamp(WINDOW_MIN_US, WINDOW_MAX_US);
        let calls = self.window.done + self.window.unanswered;
        if measured < enough || (calls < enough_calls && measured < 4.0 * enough) {
            return false;
        }
        self.close(now, measured)
    }

    /// How long what fills the places stays there.
    fn span_us(&self) -> f64 {
        if self.mix.has_kinds() { self.latency_us.max(self.mix.slowest_us()) } else { self.latency_us }
    }

    fn is_starting(&self) -> bool {
        self.looks < START_LOOKS
    }

    fn begin_window(&mut self, now: Timestamp, settle_us: f64) {
        self.sum_up(now);
        self.mix.drop_window();
        let window = &mut self.window;
        window.from = Timestamp(now.0.saturating_add(settle_us as u64));
        window.peak = window.in_flight;
        window.area = 0.0;
        window.bound_us = 0.0;
        window.paced_us = 0.0;
        window.ours_us = 0.0;
        window.done = 0;
        window.unanswered = 0;
        window.sum_us = 0.0;
        window.squares = 0.0;
    }

    fn close(&mut self, now: Timestamp, measured: f64) -> bool {
        let beside_pace = match self.window.bound_us >= BOUND_BESIDE_PACE * measured {
            true => self.window.paced_us,
            false => 0.0,
        };
        let is_bound = self.window.bound_us + beside_pace >= BOUND * measured;
        let most = self.window.peak.max(self.limit);
        let in_flight = (self.window.area / measured).min(f64::from(most));
        let (done, unanswered, peak) = (self.window.done, self.window.unanswered, self.window.peak);
        let spread = match f64::from(done) * self.window.squares / (self.window.sum_us * self.window.sum_us) - 1.0 {
            spread if done > 1 && spread.is_finite() => spread,
            _ => 1.0,
        };
        let (work, calls) = self.mix.take();
        let grain_us = self.window.ours_us / f64::from((done + unanswered).max(1));
        self.grain_us += if self.grain_us == 0.0 { 1.0 } else { 0.3 } * (grain_us - self.grain_us);
        let before = self.limit;
        // Calls spend as long in our own hands as over there: then it is our own turns that the limit would cut into
        // pieces, and what is asked of the participant is next to nothing.
        let is_ours = unanswered == 0 && 2.0 * self.window.ours_us >= self.window.area;
        if is_ours && done > 0 && self.window.bound_us >= OURS_BOUND * measured {
            self.level = (self.level + UP_MAX).min(ln(2.0 * f64::from(peak.max(1)))).max(self.level);
            self.level = self.level.min(ln(f64::from(self.most)));
            self.limit = self.rounded(self.level);
        }
        if is_bound && in_flight > 0.0 {
            self.looks += 1;
            if done == 0 {
                // Nothing at all came back: there is no curve to look at.
                self.level -= 0.5;
            } else {
                let seconds = measured / 1e6;
                // Places taken by calls that were never answered make it worse, not less certain.
                let calls = calls * f64::from(done) / f64::from(done + unanswered);
                self.knee.see(Look { in_flight, per_second: work / seconds, calls, spread });
                if let Some(what) = self.knee.changed {
                    self.change = Some(ChangePoint { at: now, what, from: before });
                }
                let up = if self.is_starting() { START_UP_MAX } else { UP_MAX };
                let up_share = if self.is_starting() { 1.0 } else { UP_SHARE };
                let down = if self.is_starting() { START_DOWN_MAX } else { DOWN_MAX };
                let lost = f64::from(unanswered) / f64::from(done + unanswered);
                // Where calls go unanswered nobody is asked for more.
                let up = up * (1.0 - lost / LOST_MAX).max(0.0);
                let per_second = work / seconds;
                // More at once, and less done: whatever it was, it is not more that is wanted.
                let noise = 2.0 * (2.0 * self.knee.scatter() / calls.max(1.0)).sqrt();
                let back =
                    self.last.filter(|(n, done)| in_flight > *n && per_second < *done * (1.0 - noise.max(LESS_DONE)));
                let up = if back.is_some() { 0.0 } else { up };
                self.last = Some((in_flight, per_second));
                let pull = self.knee.pull(self.level, GRAINS * self.grain_us / 1e6, down, up);
                // Never further up than to twice of what was tried: a person may hold it far below.
                let tried = ln(2.0 * f64::from(peak.max(1))) - self.level;
                self.level += if pull > 0.0 { (up_share * pull).min(tried.max(0.0)) } else { pull };
                if let Some((n, _)) = back {
                    self.level = self.level.min(ln(n));
                }
            }
            self.level = self.level.clamp(0.0, ln(f64::from(self.most)));
            self.turn();
        }
        let settle = if self.limit == before { 0.0 } else { self.span_us().min(WINDOW_MAX_US) };
        self.begin_window(now, settle);
        is_bound || self.limit != before
    }

    /// The next step of the dither: pairs of up and down, in an order that dice give.
    fn turn(&mut self) {
        if self.is_second {
            self.phase = -self.phase;
        } else {
            self.phase = if self.dice.bits() & 1 == 0 { 1 } else { -1 };
        }
        self.is_second = !self.is_second;
        let belief = self.knee.belief();
        let deviation = belief.map_or(0.3, |b| b.deviation);
        self.rest_us = belief.map_or(0.0, |b| b.latency * 1e6);
        let size = (0.6 * deviation).clamp(0.04, if self.is_starting() { START_DITHER_MAX } else { DITHER_MAX });
        if self.is_still {
            self.limit = self.rounded(self.level);
            return;
        }
        let (low, high) = (self.rounded(self.level - size), self.rounded(self.level + size));
        let high = if high == low { (low + 1).min(self.most) } else { high };
        self.ups += u32::from(self.phase > 0);
        let further = if self.ups.is_multiple_of(FURTHER_EVERY) { FURTHER } else { 0 };
        self.limit = if self.phase > 0 { (high + further).min(self.most) } else { low };
    }

    fn rounded(&self, level: f64) -> u32 {
        (exp(level).round() as u32).clamp(1, self.most)
    }
}
