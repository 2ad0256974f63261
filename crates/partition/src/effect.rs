//! Everything a partition may ask of the world: one closed enum out.

use model::{CallKey, Seq, Timestamp};
use plan::render::Request;
use std::time::Duration;

use crate::command::CallRef;
use crate::transaction::Transaction;

/// Released only when the entry that caused it is durable.
#[derive(Debug)]
pub enum Effect {
    /// Make this call when and where the load manager says.
    Call(Box<OutgoingCall>),
    /// Nobody waits for this call any more: take it back if it has not started, else go on and report.
    Withdraw(CallRef),
    /// It is parked: count it, and unpark it in this order when its participant has room.
    Parked { call: CallRef, participant: u32 },
    /// The outcome of this transaction is decided.
    Decided(Seq),
    /// It has ended and is no longer live: to history with it.
    Ended(Box<Transaction>),
    /// Propose this at once.
    Grant(Seq),
}

/// A call, rendered.
#[derive(Debug)]
pub struct OutgoingCall {
    pub call: CallRef,
    pub key: CallKey,
    /// Place in the node's table of participants.
    pub participant: u32,
    pub request: Request,
    pub timeout: Duration,
    /// No start after this; `NEVER` for what must be repeated without end.
    pub deadline: Timestamp,
    /// The promise of idempotency holds at this endpoint only.
    pub endpoint: Option<u16>,
    pub priority: u8,
    /// Steps of the plan that have ended, and all of them: nearly finished work goes first.
    pub progress: (u16, u16),
    /// It only reads, and the participant lets its answer serve others.
    pub share: Option<Share>,
}

/// How an answer may go round. Whether it does is the node's to decide, and comes back as a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Share {
    /// By how much what an answer tells may be older than the moment of asking.
    pub max_age: Duration,
    /// It may take another's answer too. What may have been executed asks for itself.
    pub may_join: bool,
}
