//! The words of the interface: what is handed in, and what is handed out.

use std::time::Duration;

use compact_str::CompactString;
use model::Timestamp;

/// Names one released call: the worker that owns it and a number of that worker's own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct CallRef {
    pub worker: u16,
    pub token: u64,
}

/// A call that may start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Released {
    pub call: CallRef,
    /// The number given to [`crate::LoadManager::set_participant`].
    pub participant: u32,
    /// The only endpoint that remembers its call key, if the promise is per endpoint and it was tried before.
    pub pinned_endpoint: Option<u16>,
    /// More is more urgent, within a class; 0 is normal.
    pub priority: u8,
    /// It may not start at or after this; [`Timestamp::NEVER`] for compensations.
    pub deadline: Timestamp,
    pub class: Class,
    /// How far its transaction is: 0 at the beginning, 255 at the last step.
    pub progress: u8,
    /// What kind of call it is, so that a change of the mix is not taken for congestion: any number, the same for
    /// calls that take about the same time; 0 if there is only one kind.
    pub operation: u16,
    /// Whose call it is: definition and label, as any number. Those that wait take turns by it.
    pub flow: u32,
    /// What its transaction will need after this call, as a number given to
    /// [`crate::LoadManager::set_route`]; 0 if nothing is known. Only first calls (`progress` 0) wait for it.
    pub route: u32,
}

/// A first call of nobody in particular, without a deadline: for filling in the rest.
impl Default for Released {
    fn default() -> Self {
        Self {
            call: CallRef::default(),
            participant: 0,
            pinned_endpoint: None,
            priority: 0,
            deadline: Timestamp::NEVER,
            class: Class::First,
            progress: 0,
            operation: 0,
            flow: 0,
            route: 0,
        }
    }
}

/// What a call is to its transaction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Class {
    /// The first attempt of a step.
    #[default]
    First,
    /// A later attempt.
    Retry,
    /// It undoes; it must happen.
    Compensate,
    /// There is no way back any more; it must happen.
    AfterPivot,
}

/// What becomes of a released call, at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// Send it now, to this endpoint.
    Start { endpoint: u16 },
    /// It waits in memory; a [`Verdict`] follows. Also said of a call that is here already.
    Queued,
    /// Write it down and forget it until [`Wants`] asks for parked calls of its participant.
    Park { reason: ParkReason },
    /// Its deadline has passed.
    Expired,
    /// Only for [`crate::LoadManager::release_shared`]: take the answer that was kept of that call. What it tells is no
    /// older than `age`.
    Answered { by: CallRef, age: Duration },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ParkReason {
    /// More calls wait for this participant than memory should hold.
    BacklogFull,
    /// The participant is held, and enough calls wait in memory to probe with.
    Held,
    /// A participant that its transaction needs later cannot take it in time, and enough such calls wait in memory.
    Bottleneck,
    /// Somebody paused it.
    Paused,
    /// The endpoint that the call is bound to is not there any more: a person must decide.
    EndpointGone,
    /// No such participant.
    Unknown,
}

/// What becomes of a call that waited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Send it now, to this endpoint.
    Start { call: CallRef, participant: u32, endpoint: u16 },
    /// Write it down and forget it until [`Wants`] asks for parked calls.
    Park { call: CallRef, participant: u32, reason: ParkReason },
    /// Its deadline passed while it waited; it never started.
    Expired { call: CallRef, participant: u32 },
    /// The call that it waited for is answered: take that answer. What it tells is no older than `age`.
    Answered { call: CallRef, participant: u32, by: CallRef, age: Duration },
}

impl Verdict {
    pub fn call(&self) -> CallRef {
        match self {
            Self::Start { call, .. }
            | Self::Park { call, .. }
            | Self::Expired { call, .. }
            | Self::Answered { call, .. } => *call,
        }
    }
}

/// An answer to a wish to take a call back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Withdraw {
    /// It had not started and will not.
    Withdrawn,
    /// It has started; its end will be told as usual.
    InFlight,
    /// It is not here: never released, or ended, parked or expired already.
    Unheard,
}

/// What an ended call says about its participant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sample {
    /// From start to end.
    pub took: Duration,
    pub evidence: Evidence,
    /// What the answer said of a quota (`RateLimit` headers), if anything.
    pub quota: Option<Quota>,
}

/// A call done at once: for filling in the rest.
impl Default for Sample {
    fn default() -> Self {
        Self { took: Duration::ZERO, evidence: Evidence::Done, quota: None }
    }
}

/// What a participant says it will still take: so many calls until its window ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quota {
    pub remaining: u32,
    pub reset_after: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Evidence {
    /// It did it.
    Done,
    /// It took the call and said no.
    Refused,
    /// It did not take the call: connection refused, 503 with `Retry-After` (for how long is `retry_after`).
    NotTaken { retry_after: Option<Duration> },
    /// It did not take the call because there were too many: 429.
    Throttled { retry_after: Option<Duration> },
    /// 401 or 407: it does not know us.
    Unauthorized,
    /// No answer, or one that says nothing: a timeout, a cut, a 5xx.
    Unknown,
    /// We ended it ourselves; says nothing about the participant. Also an answer that is a mistake of ours.
    Cancelled,
}

impl Evidence {
    /// What an HTTP status says: 2xx did it; 429 and 503 with `Retry-After` did not take it; 401 and 407 do not know
    /// us; another 5xx, 408 and 425 say nothing sure; what only a mistake of ours can bring (3xx, 405, 415, 421, 426,
    /// 431) says nothing about the participant; the rest took the call and said no.
    pub fn of_http_status(status: u16, retry_after: Option<Duration>) -> Self {
        match status {
            200..=299 => Self::Done,
            429 => Self::Throttled { retry_after },
            503 if retry_after.is_some() => Self::NotTaken { retry_after },
            401 | 407 => Self::Unauthorized,
            300..=399 | 405 | 415 | 421 | 426 | 431 => Self::Cancelled,
            408 | 425 | 500..=u16::MAX => Self::Unknown,
            _ => Self::Refused,
        }
    }
}

/// So many parked calls of a participant would find room now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wants {
    pub participant: u32,
    pub count: u32,
}

/// A participant as far as load is concerned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParticipantSpec {
    pub name: CompactString,
    /// How many; at least 1.
    pub endpoints: u16,
    /// Never more calls at once; at least 1.
    pub max_in_flight: u32,
    /// Calls started per second; no burst beyond a tenth of a second's worth.
    pub max_per_second: Option<u32>,
    /// A ramp opens with no less than this, and nothing learned goes below it.
    pub min_in_flight: Option<u32>,
    /// Whether the limit is learned.
    pub learn: Learn,
    /// Where learning begins when nothing is known; `None`: at 20, or `max_in_flight` if that is less.
    pub initial_in_flight: Option<u32>,
    /// A person says: exactly so many, whatever is learned (within `max_in_flight`).
    pub pinned_in_flight: Option<u32>,
}

/// One endpoint, 100 calls at once, learned: for filling in the rest.
impl Default for ParticipantSpec {
    fn default() -> Self {
        Self {
            name: CompactString::default(),
            endpoints: 1,
            max_in_flight: 100,
            max_per_second: None,
            min_in_flight: None,
            learn: Learn::On,
            initial_in_flight: None,
            pinned_in_flight: None,
        }
    }
}

/// Whether limits are learned.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Learn {
    /// The declared limit rules.
    Off,
    /// The declared limit rules; reports show what the learner would have done.
    Observe,
    /// The learned limit rules, within the declared ones.
    #[default]
    On,
}

impl Learn {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Observe => "observe",
            Self::On => "on",
        }
    }
}

/// What to pause or resume.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which {
    /// All outgoing calls of the node.
    All,
    One(u32),
}
