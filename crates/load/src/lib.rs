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
//! random number (its dice are a counter), and the same inputs give the same decisions.
//!
//! How much: each endpoint has a learner ([`Learn`]) that moves the limit a little up and down, looks at what
//! throughput does, and believes in a capacity and a latency at rest (`knee.rs`, `learner.rs`). What a participant
//! refuses because there are too many, a second or at once, is learned from its refusals (`quota.rs`, `room.rs`);
//! repeats have a budget (`budget.rs`). The declared limits always hold.
//!
//! When: what must happen first, then what is nearly finished; flows take turns (`backlog.rs`). A call that cannot
//! be done before its deadline is not sent, and a transaction makes no first call while a participant that it needs
//! later has enough to do ([`LoadManager::set_route`]).
//!
//! What is promised, by the names of DESIGN.md: LD-1 in-flight calls of a participant never exceed its limit;
//! LD-2 no call starts at or after its deadline; LD-3 repeats are a share of successes; LD-4 every eighth start goes
//! to the call that waits longest. Every released call ends in exactly one of started, parked, withdrawn, expired,
//! answered by another.
//!
//! Whether at all: reads that are declared shareable wait for one call, or take its answer while it is young enough
//! ([`Share`], `share.rs`).
//!
//! Left out: shared limits of several nodes, hedging, coalescing of reads into a batch.

#![forbid(unsafe_code)]
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

mod backlog;
mod budget;
mod call;
mod endpoints;
mod health;
mod knee;
mod learner;
mod manager;
mod math;
mod mix;
mod pace;
mod participant;
mod quota;
mod report;
mod room;
mod share;
mod snapshot;
mod throughput;
mod trial;

pub use call::{
    CallRef, Class, Decision, Evidence, Learn, ParkReason, ParticipantSpec, Quota, Released, Sample, Verdict, Wants,
    Which, Withdraw,
};
pub use manager::LoadManager;
pub use report::{Learned, ParticipantReport, State};
pub use share::Share;
pub use snapshot::BadSnapshot;

/// Calls that wait in memory for one participant, at most; the last eighth is kept for work that ends
/// transactions (compensations, steps after the pivot, the nearly finished).
pub const BACKLOG_CALLS_MAX: usize = 4_096;
/// Calls that stay in memory while their participant is held, to probe with and to start again from.
pub const HELD_CALLS_MAX: usize = 64;
