//! What is known of an attempt: what the wire proves, before anybody judges it.

use compact_str::CompactString;
use model::{StepIndex, Timestamp, TxId, Value};
use std::time::Duration;

/// One answered attempt, as the edge saw it.
#[derive(Clone, PartialEq, Debug)]
pub struct Sample {
    pub endpoint: u16,
    pub started_at: Timestamp,
    pub took: Duration,
    pub evidence: Evidence,
    /// No call was made for this attempt: the answer was given to another.
    pub shared: Option<Shared>,
}

/// Whose answer an attempt was given, and how old it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shared {
    pub way: SharedWay,
    /// The attempt that called.
    pub tx: TxId,
    pub step: StepIndex,
    pub attempt: u32,
    /// From the start of that call to the moment in which this attempt asked, µs: what the answer tells is no older
    /// than that. 0 if it started later.
    pub age_us: u64,
}

/// How an attempt came by another's answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SharedWay {
    /// It waited for a call that was on its way.
    Joined,
    /// The answer was here.
    Kept,
}

impl SharedWay {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Joined => "joined",
            Self::Kept => "kept",
        }
    }
}

/// What the edge can prove.
#[derive(Clone, PartialEq, Debug)]
pub enum Evidence {
    /// No byte of the request left, or HTTP/2 says that the stream was not processed.
    NotSent(CompactString),
    Answered {
        status: u16,
        has_retry_after: bool,
        body: Body,
    },
    /// No complete answer in time.
    TimedOut,
    /// The connection ended after the first byte may have left.
    Cut(CompactString),
    /// This process ended while it was outstanding.
    Interrupted,
}

/// The body of an answer.
#[derive(Clone, PartialEq, Debug)]
pub enum Body {
    Empty,
    Json(Value),
    /// Too big, cut, or not JSON.
    Unusable(CompactString),
}
