//! What a participant can take, as a belief: a cloud of hypotheses about its capacity and its latency at rest.
//!
//! Each hypothesis says: it does at most so much per second, and a call takes so long when nothing waits there. Then
//! with `n` calls at once it does
//!
//! ```text
//!   per second    capacity ┤        ______________        X(n) = capacity · u / (1 + u^p)^(1/p),   u = n / knee
//!                          │      ╱                       knee = capacity · latency at rest
//!                          │    ╱
//!                          └───┴───────────────── n       the slope of log X over log n is the elasticity:
//!                             knee                        1 far below the knee, 0 far above it
//! ```
//! with a sharper or softer bend `p`, or one that falls again behind the knee. What is seen in a window (so many at
//! once, so many done) makes hypotheses more or less credible (a particle filter; Gordon, Salmond and Smith 1993).
//! Throughput against concurrency is all that is looked at: no latency is called normal once and for all, so a bad
//! hour never becomes the yardstick.
//!
//! In every window some hypotheses are new: that capacity has changed to what was just seen, that latency has, that
//! there is more capacity than was ever asked for. If they explain what is seen better, they take over within a
//! window or two: that is the detection of changes. Which of the two it was, the next windows tell, since after a
//! loss of capacity fewer calls at once do as much, and after a rise of latency they do less.
//!
//! Left out: what is done about it (`learner.rs`), and where the numbers come from.

use crate::math::{Dice, exp, ln};

const HYPOTHESES: usize = 96;
/// Of them new in every window.
const NEW: usize = 16;
/// How likely it is taken to be that something changes within one window.
const CHANGE: f64 = 0.03;
/// How far capacity and latency are taken to drift within one window, as a share.
const DRIFT: f64 = 0.012;
/// Windows differ by no more than so many times the chance of independent calls.
const SCATTER_MAX: f64 = 6.0;
/// One of so many begins with the belief that the first look was above the knee already. A start is from low, so that
/// is rare; and whoever stays low for want of calls to learn from never gets them.
const BEGIN_ABOVE: usize = 8;
/// What the curve is never better than, as a share.
const MISFIT: f64 = 0.012;
/// The bend, the fall behind the knee, and the logarithm of where the elasticity is 0.15, in knees: that is what is
/// aimed at. There, a tenth more calls at once would do 1.5 % more.
const SHAPES: [(f64, f64, f64); 4] = [(12.0, 0.0, 0.145), (5.0, 0.0, 0.347), (2.5, 0.0, 0.694), (12.0, 0.6, 0.0)];

/// One window in which the limit was what held calls back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// On the average.
    pub(crate) in_flight: f64,
    /// Done per second, in calls of the usual kind.
    pub(crate) per_second: f64,
    /// How many calls that is, for its uncertainty.
    pub(crate) calls: f64,
    /// The squared deviation of what calls took, as a share of the squared mean.
    pub(crate) spread: f64,
}

#[derive(Clone, Copy, Debug)]
struct Hypothesis {
    /// Logarithm of calls per second.
    capacity: f64,
    /// Logarithm of seconds.
    latency: f64,
    shape: u8,
    weight: f64,
}

impl Hypothesis {
    const NONE: Self = Self { capacity: 0.0, latency: 0.0, shape: 0, weight: 0.0 };

    /// Logarithm of the calls per second with `n` (its logarithm) at once.
    fn throughput(&self, n: f64) -> f64 {
        let (bend, fall, _) = SHAPES[usize::from(self.shape)];
        let u = n - self.capacity - self.latency;
        let t = bend * u;
        // ln(1 + e^-t), which is what is missing to the capacity, times the bend.
        let missing = if t > 30.0 {
            0.0
        } else if t < -30.0 {
            -t
        } else {
            ln(1.0 + exp(-t))
        };
        let fallen = if fall > 0.0 && u > 0.0 { ln(1.0 + fall * (exp(u) - 1.0)) } else { 0.0 };
        self.capacity - missing / bend - fallen
    }

    /// Logarithm of how many calls at once it would have.
    fn aim(&self) -> f64 {
        self.capacity + self.latency + SHAPES[usize::from(self.shape)].2
    }
}

/// What changed, most probably.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum What {
    Capacity,
    Latency,
}

#[derive(Clone, Debug)]
pub(crate) struct Knee {
    cloud: [Hypothesis; HYPOTHESES],
    is_known: bool,
    dice: Dice,
    /// How much more than by chance of single calls windows differ; 1 for independent calls.
    scatter: f64,
    /// Share of the belief that something changed just now, and what.
    pub(crate) changed: Option<What>,
}

/// The belief in numbers.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Belief {
    /// Calls per second.
    pub(crate) capacity: f64,
    /// Seconds.
    pub(crate) latency: f64,
    /// Calls at once.
    pub(crate) knee: f64,
    /// Logarithm of the number of calls at once that is aimed at, and its deviation.
    pub(crate) aim: f64,
    pub(crate) deviation: f64,
}

impl Knee {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            cloud: [Hypothesis::NONE; HYPOTHESES],
            is_known: false,
            dice: Dice::new(seed),
            scatter: 1.0,
            changed: None,
        }
    }

    /// What was known before, as uncertain as it has become.
    pub(crate) fn recall(&mut self, capacity: f64, latency: f64, deviation: f64) {
        let (capacity, latency) = (ln(capacity), ln(latency));
        let deviation = deviation.clamp(0.05, 1.0);
        for place in 0..HYPOTHESES {
            self.cloud[place] = Hypothesis {
                capacity: capacity + deviation * self.dice.bell(),
                latency: latency + 0.5 * deviation * self.dice.bell(),
                shape: (place % SHAPES.len()) as u8,
                weight: 1.0 / HYPOTHESES as f64,
            };
        }
        self.is_known = true;
    }

    /// Learns from one window.
    pub(crate) fn see(&mut self, look: Look) {
        let n = ln(look.in_flight.clamp(0.01, 1e7));
        let y = ln(look.per_second.clamp(1e-6, 1e9));
        let calls = look.calls.clamp(0.5, 1e6);
        if !self.is_known {
            // What is done by busy workers scatters as the calls' own durations do (renewal theory).
            self.scatter = look.spread.clamp(0.3, SCATTER_MAX);
            self.begin(n, y);
        }
        let before = self.mean_throughput(n);
        let mut next = [Hypothesis::NONE; HYPOTHESES];
        self.survive(&mut next);
        self.propose(&mut next, n, y, calls, y - before.0);
        let variance = self.scatter / calls + MISFIT * MISFIT;
        let mut total = 0.0;
        for hypothesis in &mut next {
            let off = y - hypothesis.throughput(n);
            // Student's t with four degrees of freedom: one odd window proves little.
            let q = 1.0 + off * off / (4.0 * variance);
            hypothesis.weight *= 1.0 / (q * q * q.sqrt());
            total += hypothesis.weight;
        }
        if !(total.is_finite() && total > 0.0) {
            return;
        }
        let (mut capacity_news, mut latency_news) = (0.0, 0.0);
        for (place, hypothesis) in next.iter_mut().enumerate() {
            hypothesis.weight /= total;
            match place.checked_sub(HYPOTHESES - NEW) {
                Some(0..=5) => capacity_news += hypothesis.weight,
                Some(6..=8) => latency_news += hypothesis.weight,
                _ => {}
            }
        }
        self.changed = (capacity_news + latency_news > 0.5).then_some(if capacity_news > latency_news {
            What::Capacity
        } else {
            What::Latency
        });
        self.cloud = next;
        let (mean, spread) = before;
        let surprise = ((y - mean) * (y - mean) - spread).max(0.0) * calls;
        self.scatter += 0.04 * (surprise.min(9.0) - self.scatter);
        self.scatter = self.scatter.clamp(0.15, SCATTER_MAX);
    }

    /// Mean and variance of what is expected.
    fn mean_throughput(&self, n: f64) -> (f64, f64) {
        let (mut mean, mut square) = (0.0, 0.0);
        for hypothesis in &self.cloud {
            let x = hypothesis.throughput(n);
            mean += hypothesis.weight * x;
            square += hypothesis.weight * x * x;
        }
        (mean, (square - mean * mean).max(0.0))
    }

    /// The first look: it may be far below its knee, or above already.
    fn begin(&mut self, n: f64, y: f64) {
        for (place, hypothesis) in self.cloud.iter_mut().enumerate() {
            let u = self.dice.share();
            let (capacity, latency) =
                if place % BEGIN_ABOVE == 0 { (y, n - y - 2.3 * u) } else { (y + 3.0 * u, n - y) };
            *hypothesis = Hypothesis {
                capacity,
                latency,
                shape: (self.dice.bits() % SHAPES.len() as u64) as u8,
                weight: 1.0 / HYPOTHESES as f64,
            };
        }
        self.is_known = true;
    }

    /// Those that go on, as often as they are credible, each a little adrift.
    fn survive(&mut self, next: &mut [Hypothesis; HYPOTHESES]) {
        const STAY: usize = HYPOTHESES - NEW;
        let step = 1.0 / STAY as f64;
        let mut at = self.dice.share() * step;
        let mut sum = self.cloud[0].weight;
        let mut from = 0;
        for slot in &mut next[..STAY] {
            while sum < at && from + 1 < HYPOTHESES {
                from += 1;
                sum += self.cloud[from].weight;
            }
            let mut hypothesis = self.cloud[from];
            hypothesis.capacity += DRIFT * self.dice.bell();
            hypothesis.latency += DRIFT * self.dice.bell();
            if self.dice.bits().is_multiple_of(32) {
                hypothesis.shape = (self.dice.bits() % SHAPES.len() as u64) as u8;
            }
            hypothesis.weight = (1.0 - CHANGE) * step;
            *slot = hypothesis;
            at += step;
        }
    }

    /// New ones: what was just seen is explained by a change of something.
    fn propose(&mut self, next: &mut [Hypothesis; HYPOTHESES], n: f64, y: f64, calls: f64, surprise: f64) {
        let noise = (self.scatter / calls).sqrt().min(0.3);
        for place in 0..NEW {
            let mut new = next[(self.dice.bits() % (HYPOTHESES - NEW) as u64) as usize];
            let news = y + noise * self.dice.bell();
            match place {
                // More was done than was thought possible: then what holds it back is how many were sent, and nobody
                // knows what its capacity is by now, but that it is more.
                2..=5 if surprise > noise => {
                    new.capacity = news + 2.5 * self.dice.share();
                    new.latency = n - news;
                }
                // Capacity is what was seen.
                0..=5 => {
                    let bend = new.throughput(n) - new.capacity;
                    // A hypothesis that was not at its capacity cannot explain it that way alone.
                    new.capacity = if bend > -0.2 { news - bend } else { news };
                }
                // A call takes longer, or shorter, and nothing else.
                6..=8 => new.latency = n - news,
                // There is more than was ever asked for.
                9..=11 => new.capacity += 1.4 * self.dice.share(),
                // About as it was.
                12..=13 => {
                    new.capacity += 0.15 * self.dice.bell();
                    new.latency += 0.15 * self.dice.bell();
                }
                // It was too much all along.
                _ => {
                    new.capacity = news;
                    new.latency = n - news - 2.0 * self.dice.share();
                }
            }
            new.capacity = new.capacity.clamp(-14.0, 18.0);
            new.latency = new.latency.clamp(-14.0, 9.0);
            new.weight = CHANGE / NEW as f64;
            next[HYPOTHESES - NEW + place] = new;
        }
    }

    /// How far to go from `at` (a logarithm): the mean of what each hypothesis would have, none of which may ask
    /// for more than `down` and `up`. Each may have so many calls more as come in `slack_s`.
    pub(crate) fn pull(&self, at: f64, slack_s: f64, down: f64, up: f64) -> f64 {
        let slack = |h: &Hypothesis| match slack_s > 1e-6 {
            true => ln(1.0 + slack_s * exp(h.capacity - h.aim())),
            false => 0.0,
        };
        self.cloud.iter().map(|h| h.weight * (h.aim() + slack(h) - at).clamp(-down, up)).sum()
    }

    /// How much more than by chance of single calls windows differ.
    pub(crate) fn scatter(&self) -> f64 {
        self.scatter
    }

    pub(crate) fn belief(&self) -> Option<Belief> {
        if !self.is_known {
            return None;
        }
        let (mut capacity, mut latency, mut aim, mut square) = (0.0, 0.0, 0.0, 0.0);
        for hypothesis in &self.cloud {
            capacity += hypothesis.weight * hypothesis.capacity;
            latency += hypothesis.weight * hypothesis.latency;
            let x = hypothesis.aim();
            aim += hypothesis.weight * x;
            square += hypothesis.weight * x * x;
        }
        let deviation = (square - aim * aim).max(0.0).sqrt();
        Some(Belief { capacity: exp(capacity), latency: exp(latency), knee: exp(capacity + latency), aim, deviation })
    }
}
