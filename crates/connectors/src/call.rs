//! The words of a call: what is asked, and what can be said about it afterwards.
//!
//! The variants of [`Reply`] are ordered by evidence. The first two are proof that nothing ran; the third is the
//! participant's own word; the last two prove nothing. Leaves out what any of it means for a transaction.

use std::time::Duration;

use bytes::Bytes;
use compact_str::CompactString;
use http::{HeaderName, HeaderValue, Method};
use model::Value;

/// The caller's name for a started call; unique among those in flight.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Token(pub u64);

/// A participant's place in the list of targets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ParticipantIndex(pub u32);

/// An endpoint's place in its participant's list.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct EndpointIndex(pub u16);

/// What to send. `Debug` shows neither path nor body: both carry people's data.
#[derive(Clone)]
pub struct Request {
    pub method: Method,
    /// Origin form, beginning with `/` (or `?`, or empty), already percent-encoded; appended to the endpoint's base
    /// path.
    pub path_and_query: String,
    /// Win over the target's headers of the same name; of two with one name the later stays.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// JSON text. Sets `content-type: application/json` unless a header says otherwise.
    pub body: Option<Bytes>,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("path_bytes", &self.path_and_query.len())
            .field("headers", &self.headers.len())
            .field("body_bytes", &self.body.as_ref().map(Bytes::len))
            .finish()
    }
}

/// One attempt at one endpoint.
#[derive(Clone, Debug)]
pub struct Call {
    pub token: Token,
    pub participant: ParticipantIndex,
    pub endpoint: EndpointIndex,
    pub request: Request,
    /// From `start` to the last byte of the answer, dialling included.
    pub timeout: Duration,
}

/// What became of a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    pub token: Token,
    pub participant: ParticipantIndex,
    pub endpoint: EndpointIndex,
    /// From `start` to now.
    pub took: Duration,
    pub reply: Reply,
}

/// The evidence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// Proof: no byte of the request left this process.
    NotSent { why: NotSent, detail: CompactString },
    /// Proof by protocol: HTTP/2 `REFUSED_STREAM`, or a `GOAWAY` whose last stream id is below ours.
    RefusedStream,
    /// A status line came back. Whatever happened to the body afterwards stands in `body`.
    Answered {
        status: u16,
        retry_after: Option<Duration>,
        /// Only those the target asked for (`keep_headers`).
        headers: Vec<(HeaderName, HeaderValue)>,
        body: Body,
    },
    /// Time ran out before a status line. `sent` says whether a byte of the request may have left; `false` is proof.
    TimedOut { sent: bool },
    /// The connection broke, or the answer was no HTTP, after the first byte may have left.
    Cut { detail: CompactString },
}

/// Why a request never left.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum NotSent {
    /// The name of the endpoint's host could not be resolved.
    Dns,
    /// Nobody listens there.
    ConnectRefused,
    /// No connection within the target's `connect_timeout`.
    ConnectTimeout,
    /// No way there (network, host, local addresses or descriptors used up).
    Unreachable,
    /// The TLS or HTTP/2 handshake failed.
    Tls,
    /// As many connections as the target allows are busy.
    PoolFull,
    /// The connection was closed before the first byte of this request.
    ClosedBefore,
    /// The request cannot be put into HTTP (a bad path), or names a target that is not there.
    Invalid,
    /// `close` came before the first byte.
    Withdrawn,
    /// The connector had been closed.
    Closed,
}

impl NotSent {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::ConnectRefused => "connect_refused",
            Self::ConnectTimeout => "connect_timeout",
            Self::Unreachable => "unreachable",
            Self::Tls => "tls",
            Self::PoolFull => "pool_full",
            Self::ClosedBefore => "closed_before",
            Self::Invalid => "invalid",
            Self::Withdrawn => "withdrawn",
            Self::Closed => "closed",
        }
    }
}

/// An answer's body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body {
    Empty,
    Json(Value),
    /// There was one, but it is not a value.
    Unusable {
        why: Unusable,
        detail: CompactString,
    },
}

/// Why a body is no value.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Unusable {
    /// Longer than the target's `body_bytes_max`.
    TooBig,
    /// Not JSON, or JSON nested too deep, or with a member twice.
    NotJson,
    /// JSON with a number that no 64 bits and no double hold.
    BadNumber,
    /// The connection broke before its end.
    Cut,
    /// Time ran out before its end.
    TimedOut,
}

/// What a cancelled call had done so far.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Cancelled {
    /// Proof: no byte of the request had left, and none will.
    NotSent,
    /// Some byte may have left.
    MayHaveLeft,
    /// No such call is in flight: it was answered, or never started.
    NotInFlight,
}
