//! How much, when and where: limits, pacing, backlog, holding, probing.
//!
//! ```text
//!  release ──► room now? ──► Start                      finish ──► what it says about the participant
//!                 │ no                                                │
//!                 ▼                                                   ▼
//!              backlog (bounded, in memory) ◄── Wants ── parked    held, probed, opened as a ramp
//!                 │ full, paused or held                              │
//!                 ▼                                                   ▼
//!               Park (the caller writes it down)                   Start, Park, Expired for those that wait
//! ```
//!
//! It chooses only *when* and *where* a released call starts; it knows no saga, no socket and no clock, draws no
//! random number, and the same inputs give the same decisions. Limits are the declared ones in this version;
//! the interface is made for limits that are learned.
//!
//! What is promised, by the names of DESIGN.md: LD-1 in-flight calls of a participant never exceed its limit;
//! LD-2 no call starts at or after its deadline; LD-4 every eighth start goes to the call that waits longest.
//! Every released call ends in exactly one of started, parked, withdrawn, expired.
//!
//! Left out: the retry budget (LD-3), shared limits of several nodes, hedging.

#![forbid(unsafe_code)]
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

mod backlog;
mod call;
mod endpoints;
mod health;
mod manager;
mod pace;
mod participant;
mod report;
mod throughput;

pub use call::{
    CallRef, Class, Decision, Evidence, ParkReason, ParticipantSpec, Released, Sample, Verdict, Wants, Which, Withdraw,
};
pub use manager::LoadManager;
pub use report::{ParticipantReport, State};

/// Calls that wait in memory for one participant, at most; the last eighth is kept for work that ends
/// transactions (compensations, steps after the pivot, the nearly finished).
pub const BACKLOG_CALLS_MAX: usize = 4_096;
/// Calls that stay in memory while their participant is held, to probe with and to start again from.
pub const HELD_CALLS_MAX: usize = 64;
