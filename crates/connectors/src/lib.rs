//! Reach external systems and report exactly what happened, with proof instead of a guess (HTTP first).
//!
//! A caller starts a [`Call`] under a [`Token`] of its own choosing and later gets one [`Answer`] for it. One `start`
//! writes at most one request to at most one socket: nothing here repeats, hedges, queues or limits. What an answer
//! means for a transaction (`Done`, `Refused`, `Failed`, `Unknown`) is decided elsewhere; this crate only says what
//! was seen, and separates "no byte of the request left this process" from "some may have" ([`Reply`]).
//!
//! Everything lives on one thread: a worker's tokio `current_thread` runtime and its `LocalSet`. No locks, no `Send`.
//! Secrets are not known here; a caller puts the finished header values into a [`Target`].

#![forbid(unsafe_code)]

mod call;
mod compose;
mod flight;
mod http1;
mod http2;
mod http_connector;
mod local;
mod pool;
mod reading;
mod target;
mod transport;
mod verdict;

pub use call::{
    Answer, Body, Call, Cancelled, EndpointIndex, NotSent, ParticipantIndex, Reply, Request, Token, Unusable,
};
pub use http_connector::{HttpConnector, HttpSettings};
pub use local::{Delivery, LocalConnector};
pub use reading::reply_of;
pub use target::{ClientCertificate, EndpointSpec, Protocol, Target, TargetError, Tls};

/// What starts calls and reports what became of them.
///
/// Every started call is answered exactly once through the sink the connector was made with, unless it is cancelled:
/// then it is answered never.
pub trait Connector {
    /// Starts `call` now. The answer comes through the sink; a token must not be in flight twice.
    fn start(&self, call: Call);

    /// Nobody waits for `token` any more: its connection or stream is dropped and no answer will come. Says whether
    /// a byte of the request may have left before.
    fn cancel(&self, token: Token) -> Cancelled;

    /// Calls started and neither answered nor cancelled.
    fn in_flight(&self) -> usize;

    /// Drops every connection. What is in flight is answered ([`NotSent::Withdrawn`] or [`Reply::Cut`]), and so is
    /// whatever is started later ([`NotSent::Closed`]).
    fn close(&self);
}
