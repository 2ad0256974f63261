//! What must happen: the deterministic state machine of one partition, and the pipeline that leads it.
//!
//! A [`Command`] comes in with the time and what the leader may look up. The leader decides it into an [`Entry`]:
//! a list of [`Move`]s, each a recorded verdict. [`apply`](transaction::Transaction::make) takes moves and evaluates
//! nothing, so a replay can only repeat what was decided. Effects leave the process when their entry is durable.
//!
//! Nothing here knows a clock, a thread, a socket, a journal or the load manager (SEMANTICS 11, 27).

#![forbid(unsafe_code)]
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

pub mod branch;
pub mod command;
pub mod effect;
pub mod entry;
pub mod evidence;
pub mod leader;
pub mod locks;
pub mod plans;
pub mod state;
pub mod transaction;

mod decide;

pub use command::{Begin, CallRef, Command, Operator, Rejected, Signal};
pub use effect::{Effect, OutgoingCall, Share};
pub use entry::{Entry, EntryKind, Move};
pub use evidence::{Body, Evidence, Sample, Shared, SharedWay};
pub use leader::{Leader, Surroundings};
pub use state::Partition;
pub use transaction::{Transaction, TxOutcome};
