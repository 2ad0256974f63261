//! What is known of an attempt: what the wire proves, before anybody judges it.

use compact_str::CompactString;
use model::{Timestamp, Value};
use std::time::Duration;

/// One answered attempt, as the edge saw it.
#[derive(Clone, PartialEq, Debug)]
pub struct Sample {
    pub endpoint: u16,
    pub started_at: Timestamp,
    pub took: Duration,
    pub evidence: Evidence,
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
