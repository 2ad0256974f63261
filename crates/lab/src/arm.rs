//! What a competitor of the laboratory is: the interface that every arm implements, at two levels.
//!
//! ```text
//!  level 2   Arm          a whole client side: entry, waiting, order, where to, retries      tidegate, oracle
//!               ▲
//!            client.rs    one common client that turns the small parts into an Arm
//!               ▲
//!  level 1   Limiter      may one more call start?          Envoy, Gradient2, Vegas, AIMD, …
//!            Throttle     may this attempt be made at all?  SRE, AWS, Finagle budget, …
//!            Balancer     which endpoint?                   round robin, P2C, peak EWMA, Prequal, C3, …
//! ```
//!
//! An arm is told the time and what happened; it owns no clock. Randomness comes from [`Dice`], which belongs to
//! the arm alone: what the world draws (arrivals, service times, refusals) is keyed by transaction, step and
//! attempt, so that no arm can shift another arm's luck.
//!
//! Left out: how an arm is scored (`score.rs`) and what the participants are like (`plant.rs`).

use std::fmt;
use std::time::Duration;

pub use load::Class;
use model::Timestamp;

use crate::dice::Dice;

/// Numbers a transaction within a run, in order of arrival.
pub type TxId = u32;
/// Numbers an attempt within a run.
pub type CallId = u32;

/// A transaction, as far as an arm may know it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Tx {
    pub id: TxId,
    pub node: u16,
    /// Which definition of the scenario; its steps are in [`Cx::definitions`].
    pub definition: u16,
    /// For fairness within a definition: a tenant, a label.
    pub label: u16,
    /// More is more urgent; 0 is normal.
    pub priority: u8,
    pub arrived: Timestamp,
    /// A commit after this is worth nothing; [`Timestamp::NEVER`] if there is none.
    pub deadline: Timestamp,
}

/// One attempt of one step, ready to start.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Call {
    pub id: CallId,
    pub tx: TxId,
    pub node: u16,
    pub definition: u16,
    pub label: u16,
    pub participant: u16,
    /// Which operation of the participant: calls of one operation are alike in service time.
    pub operation: u16,
    /// Which step of the definition, from 0.
    pub step: u8,
    /// From 1; earlier attempts of the same step that ended, counted or not, come before it.
    pub attempt: u16,
    pub class: Class,
    pub priority: u8,
    /// It may not start at or after this; [`Timestamp::NEVER`] for compensations.
    pub deadline: Timestamp,
    /// 0 at the first step, 255 at the last.
    pub progress: u8,
    /// Calls with the same key ask the same question; only if the scenario declares the operation shareable.
    pub key: Option<u64>,
    /// When it was released.
    pub released: Timestamp,
    /// No answer after this long from the start is a timeout.
    pub timeout: Duration,
}

/// How an attempt ended, as the client sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It did it.
    Done,
    /// It took the call and said no, by its own business.
    Refused,
    /// Connection refused, 503 with `Retry-After`: proof that nothing ran.
    NotTaken { retry_after: Option<Duration> },
    /// 429: nothing ran because there were too many.
    Throttled { retry_after: Option<Duration> },
    /// An answer that proves nothing: 500, 503 without `Retry-After`.
    Failed,
    /// No answer within the timeout. The server may be working on it still.
    TimedOut,
}

impl Outcome {
    /// The participant did its work; a refusal of the business is an answer like any other.
    pub fn is_answer(self) -> bool {
        matches!(self, Self::Done | Self::Refused)
    }

    /// The participant itself said that it has too much: what most limiters call a drop.
    pub fn is_pushback(self) -> bool {
        matches!(self, Self::NotTaken { .. } | Self::Throttled { .. } | Self::TimedOut)
    }
}

/// An attempt has ended.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Ended {
    pub endpoint: u16,
    pub started: Timestamp,
    /// From start to end.
    pub rtt: Duration,
    pub outcome: Outcome,
    /// This client's calls to the participant that were under way when it started, itself among them.
    pub in_flight_at_start: u32,
    /// The same now, itself no longer among them.
    pub in_flight: u32,
}

// ------------------------------------------------------------------------------------------------ level 1

/// What every small part gets: the time and its own randomness.
#[derive(Debug)]
pub struct Moment<'a> {
    pub now: Timestamp,
    pub dice: &'a mut Dice,
}

/// What the common client does with a call that a limiter does not admit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Nature {
    /// It waits, first come first served, until there is room or its deadline has passed.
    Queue,
    /// It waits as above, newest first.
    Lifo,
    /// The attempt has failed at once, without an external call (a 503 of the proxy's own): backoff, next attempt.
    Reject,
}

/// One call that asks to start.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Asking {
    /// This client's calls to this participant that are under way.
    pub in_flight: u32,
    /// Calls that wait in the client's queue, itself not among them.
    pub queued: u32,
    /// How long it has waited here.
    pub waited: Duration,
    /// More is more urgent; 0 is normal.
    pub priority: u8,
    /// 1 for the first.
    pub attempt: u16,
}

/// How many calls may be under way to one participant; one instance for each participant and node.
///
/// Example of the order of events for one call: `admit` (true) → … → `ended`. `wake` comes at
/// [`Limiter::next_wake`], for algorithms with a clock of their own (sampling windows, probes).
pub trait Limiter: fmt::Debug {
    /// The limit in force, for plots; not necessarily a whole number.
    fn limit(&self) -> f64;

    fn nature(&self) -> Nature {
        Nature::Queue
    }

    /// Whether this call may start now. Called again for a waiting call whenever something has changed.
    fn admit(&mut self, _at: &mut Moment<'_>, asking: &Asking) -> bool {
        f64::from(asking.in_flight) < self.limit().max(1.0).floor()
    }

    /// A call that was admitted has ended.
    fn ended(&mut self, at: &mut Moment<'_>, ended: &Ended);

    fn next_wake(&self) -> Option<Timestamp> {
        None
    }

    fn wake(&mut self, _at: &mut Moment<'_>) {}
}

/// What a throttle says about an attempt that is about to be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Permit {
    Now,
    /// Not before this long has passed; it is asked again then.
    Wait(Duration),
    /// Not at all: the attempt has failed without an external call.
    Reject,
}

/// What follows a failed attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retry {
    After(Duration),
    /// The same, and this attempt does not count: the call is proven not to have run and the participant is known
    /// to be out of order.
    Uncounted(Duration),
    GiveUp,
}

/// Whether attempts are made at all, and whether again; one instance for each participant and node.
pub trait Throttle: fmt::Debug {
    /// Before every attempt, before the limiter is asked.
    fn permit(&mut self, _at: &mut Moment<'_>, _asking: &Asking) -> Permit {
        Permit::Now
    }

    /// An attempt has ended; `None` if it was rejected on this side (by this throttle or the limiter).
    fn ended(&mut self, at: &mut Moment<'_>, attempt: u16, outcome: Option<Outcome>);

    /// After a failed attempt. `usual` is what the common client would do: 3 attempts, exponential backoff with
    /// full jitter, `Retry-After` honoured.
    fn retry(&mut self, _at: &mut Moment<'_>, _attempt: u16, _outcome: Option<Outcome>, usual: Retry) -> Retry {
        usual
    }
}

/// What one endpoint looks like from this client.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct EndpointView {
    /// This client's calls to it that are under way.
    pub in_flight: u32,
}

/// Which endpoint gets the next call; one instance for each participant and node.
pub trait Balancer: fmt::Debug {
    /// An index into `endpoints`, which is never empty.
    fn choose(&mut self, at: &mut Moment<'_>, endpoints: &[EndpointView]) -> usize;

    fn ended(&mut self, at: &mut Moment<'_>, ended: &Ended);

    /// Endpoints to ask for their state now, after a choice (Prequal). Answers come one network round trip later.
    fn probes(&mut self, _at: &mut Moment<'_>, _endpoints: usize) -> Vec<usize> {
        Vec::new()
    }

    /// An endpoint's answer to a probe: its requests in flight from everybody, and the median latency it has seen
    /// of late at about that number. No answer comes from an endpoint that is down.
    fn probed(&mut self, _at: &mut Moment<'_>, _endpoint: usize, _in_flight: u32, _latency: Duration) {}
}

/// One setting of an arm, with the range that tuning may search.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Setting {
    pub name: &'static str,
    /// The authors' own.
    pub default: f64,
    pub low: f64,
    pub high: f64,
    /// Search evenly in the logarithm.
    pub is_log: bool,
}

/// The settings of one arm, by name.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Settings(pub Vec<(&'static str, f64)>);

impl Settings {
    pub fn defaults(of: &[Setting]) -> Self {
        Self(of.iter().map(|s| (s.name, s.default)).collect())
    }

    /// # Panics
    /// If the arm asks for a setting that it does not declare: a mistake of its code.
    pub fn get(&self, name: &str) -> f64 {
        self.0.iter().find(|(n, _)| *n == name).map(|(_, v)| *v).expect("an arm asks only for settings it declares")
    }

    pub fn set(&mut self, name: &str, value: f64) -> bool {
        let found = self.0.iter_mut().find(|(n, _)| *n == name);
        found.map(|(_, v)| *v = value).is_some()
    }
}

/// A kind of small part: its name, whose it is, its settings, and how to make one.
///
/// `limiters::KINDS`, `throttles::KINDS` and `balancers::KINDS` are slices of these; `arms.rs` makes an arm of
/// each. A name is what stands in tables: lower case, no spaces.
#[derive(Clone, Copy, Debug)]
pub struct Kind<Part: 'static> {
    pub name: &'static str,
    /// One line: whose algorithm, which version.
    pub about: &'static str,
    pub settings: &'static [Setting],
    pub make: fn(&Settings) -> Part,
}

pub type LimiterKind = Kind<Box<dyn Limiter>>;
pub type ThrottleKind = Kind<Box<dyn Throttle>>;
pub type BalancerKind = Kind<Box<dyn Balancer>>;

// ------------------------------------------------------------------------------------------------ level 2

/// What an arm wants done. Every transaction that arrived is begun or refused; every call that was released ends in
/// exactly one of started, rejected, expired or answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    /// The transaction may make its first call.
    Begin(TxId),
    /// It will not be done; nothing was called.
    Turn(TxId),
    Start {
        call: CallId,
        endpoint: u16,
    },
    /// The attempt has failed without an external call; [`Arm::retry`] is asked what follows.
    Reject(CallId),
    /// The step is given up: its deadline has passed or cannot be met.
    Expire(CallId),
    /// The answer of another call with the same key serves for this one as well; no external call.
    Answer {
        call: CallId,
        from: CallId,
    },
    /// Asks an endpoint for its state; [`Arm::probed`] follows.
    Probe {
        participant: u16,
        endpoint: u16,
    },
}

/// A definition of the scenario, as an arm may know it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Definition {
    /// The participant of each step, in order.
    pub participants: Vec<u16>,
    /// The operation of each step.
    pub operations: Vec<u16>,
}

/// What is true now, which only the oracle may see.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Truth {
    /// By participant, what its endpoints can do for this client.
    pub participants: Vec<TrueParticipant>,
}

#[derive(Clone, PartialEq, Debug, Default)]
pub struct TrueParticipant {
    /// Completions per second that the caller can have; 0 while it is down.
    pub mu: f64,
    /// Seconds of a call that meets no other.
    pub w0_s: f64,
    /// The knee of each endpoint, in calls in flight, a quota apart; 0 for one that should get none.
    pub knee: Vec<f64>,
    /// L*: the knee of all endpoints, quota and all.
    pub knee_all: f64,
    /// The most that may start each second; infinite if there is no quota.
    pub quota_per_s: f64,
    /// So many may start at once after a pause.
    pub quota_burst: f64,
}

/// What an arm is handed with every event.
#[derive(Debug)]
pub struct Cx<'a> {
    pub now: Timestamp,
    pub dice: &'a mut Dice,
    pub acts: &'a mut Vec<Act>,
    pub definitions: &'a [Definition],
    /// `Some` only for an arm that says [`Arm::is_oracle`].
    pub truth: Option<&'a Truth>,
}

/// A participant as it is declared to every arm.
#[derive(Clone, PartialEq, Debug)]
pub struct Declared {
    pub endpoints: u16,
    /// What a person without knowledge of the true capacity would have declared; the start of every learner.
    pub initial_limit: u32,
    pub max_in_flight: u32,
    pub min_in_flight: Option<u32>,
    pub max_per_second: Option<u32>,
    pub timeout: Duration,
    /// Reads may be shared for so long; `None` if not declared.
    pub share_for: Option<Duration>,
}

/// A whole client side for one node.
pub trait Arm: fmt::Debug {
    /// A transaction has arrived. Answer now or later with [`Act::Begin`] or [`Act::Turn`].
    fn arrived(&mut self, cx: &mut Cx<'_>, tx: &Tx) {
        cx.acts.push(Act::Begin(tx.id));
    }

    /// An attempt may start, as far as its transaction is concerned.
    fn released(&mut self, cx: &mut Cx<'_>, call: &Call);

    /// A started attempt has ended. What follows for its transaction comes after this.
    fn ended(&mut self, cx: &mut Cx<'_>, call: &Call, ended: &Ended);

    /// A failed attempt; `outcome` is `None` if it was rejected on this side, `counted` how many attempts have
    /// counted so far, this one included.
    fn retry(&mut self, cx: &mut Cx<'_>, call: &Call, outcome: Option<Outcome>, counted: u16) -> Retry;

    /// A transaction is over: committed (also late), or aborted with everything undone.
    fn over(&mut self, _cx: &mut Cx<'_>, _tx: &Tx, _committed: bool) {}

    /// When [`Arm::wake`] is next worth calling; a time that has come means now.
    fn next_wake(&self, _now: Timestamp) -> Option<Timestamp> {
        None
    }

    fn wake(&mut self, _cx: &mut Cx<'_>) {}

    fn probed(&mut self, _cx: &mut Cx<'_>, _participant: u16, _endpoint: u16, _in_flight: u32, _latency: Duration) {}

    /// The limits in force, one for each participant in order, for plots.
    fn limits(&self, now: Timestamp, out: &mut Vec<f64>);

    /// Whether it may see the [`Truth`].
    fn is_oracle(&self) -> bool {
        false
    }
}

/// The attempts of the common client (docs/load-manager.md, B0): so many in all, and between them a wait drawn evenly
/// between nothing and an exponentially growing ceiling (full jitter), or what `Retry-After` says if that is more.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Backoff {
    pub attempts: u16,
    pub base: Duration,
    pub ceiling: Duration,
}

impl Backoff {
    pub const USUAL: Self = Self { attempts: 3, base: Duration::from_millis(100), ceiling: Duration::from_secs(10) };

    /// `counted` attempts have failed, the last one with `outcome`.
    pub fn after(&self, dice: &mut Dice, counted: u16, outcome: Option<Outcome>) -> Retry {
        if counted >= self.attempts { Retry::GiveUp } else { Retry::After(self.wait(dice, counted, outcome)) }
    }

    pub fn wait(&self, dice: &mut Dice, counted: u16, outcome: Option<Outcome>) -> Duration {
        let doublings = u32::from(counted.saturating_sub(1)).min(20);
        let ceiling = self.base.saturating_mul(1 << doublings).min(self.ceiling);
        let jittered = ceiling.mul_f64(dice.unit());
        match outcome {
            Some(Outcome::NotTaken { retry_after: Some(asked) } | Outcome::Throttled { retry_after: Some(asked) }) => {
                jittered + asked
            }
            _ => jittered,
        }
    }
}
