//! Everything that may be proposed to a partition: one closed enum in.

use std::sync::Arc;

use compact_str::CompactString;
use model::{Direction, Seq, StepIndex, Timestamp, TxId, Value};

use crate::evidence::Sample;

/// A proposal. The leader turns it into at most one entry per transaction it touches, or rejects it whole.
#[derive(Clone, PartialEq, Debug)]
pub enum Command {
    Begin(Box<Begin>),
    /// An attempt was answered.
    Answered {
        call: CallRef,
        sample: Sample,
    },
    /// The load manager will not start it now; it provably never left.
    Park(CallRef),
    /// The load manager has room for a parked call again.
    Unpark(CallRef),
    /// Something in this transaction is due.
    Wake(Seq),
    /// This process found an attempt of an earlier epoch outstanding.
    Recover(Seq),
    /// The lock that it waits for is free.
    Grant(Seq),
    Signal(Signal),
    Operate {
        tx: Seq,
        verb: Operator,
        who: CompactString,
        why: CompactString,
    },
}

impl Command {
    /// The live transaction that it is about; none for a Begin.
    pub fn subject(&self) -> Option<Seq> {
        match self {
            Self::Begin(_) => None,
            Self::Answered { call, .. } | Self::Park(call) | Self::Unpark(call) => Some(call.tx),
            Self::Wake(tx) | Self::Recover(tx) | Self::Grant(tx) | Self::Operate { tx, .. } => Some(*tx),
            Self::Signal(signal) => Some(signal.tx),
        }
    }
}

/// One attempt of one call, as it travels between partition, load manager and connector.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CallRef {
    pub tx: Seq,
    pub step: StepIndex,
    pub direction: Direction,
    /// Number of the attempt in its direction, from 1: an answer to another attempt is late.
    pub attempt: u32,
    pub round: u16,
}

/// A submission that has been checked: its input fits, its key is rendered, it is not known yet.
#[derive(Clone, PartialEq, Debug)]
pub struct Begin {
    /// Place in the partition's table of plans.
    pub plan: u32,
    pub idempotency_key: CompactString,
    pub submission_digest: u64,
    pub key: Option<CompactString>,
    pub input: Arc<Value>,
    pub deadline: Timestamp,
    pub priority: u8,
    pub traceparent: CompactString,
}

/// A signal to one transaction.
#[derive(Clone, PartialEq, Debug)]
pub struct Signal {
    pub tx: Seq,
    pub name: CompactString,
    pub idempotency_key: CompactString,
    pub body: Arc<Value>,
}

/// What a person can do to a live transaction.
#[derive(Clone, PartialEq, Debug)]
pub enum Operator {
    Cancel,
    /// Try at once what waits or needs attention.
    Retry,
    /// Decide what became of a call.
    Resolve {
        step: StepIndex,
        direction: Direction,
        done: bool,
        result: Option<Arc<Value>>,
    },
}

/// Why a command became no entry. Nothing was changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Rejected {
    #[error("no live transaction {0} here")]
    NotLive(Seq),
    #[error("{0} has ended")]
    Ended(TxId),
    #[error("the outcome is decided")]
    Decided,
    #[error("past the point of no return")]
    PastPivot,
    #[error("there is nothing to retry")]
    NothingToRetry,
    #[error("step \"{0}\" does not wait for a decision")]
    NotWaiting(CompactString),
    #[error("there is no step with that name")]
    NoSuchStep,
    #[error("another signal \"{0}\" came first")]
    AnotherSignal(CompactString),
    #[error("definition has no wait for the signal \"{0}\"")]
    NoSuchSignal(CompactString),
    #[error("{waiting} transactions wait for the lock \"{lock}\" of this key already")]
    KeyBusy { lock: CompactString, waiting: usize },
    #[error("the result is not an object")]
    BadResult,
    /// It changes nothing: a late answer, a wake-up for what has gone on already.
    #[error("nothing to do")]
    Stale,
    /// Another call's answer does not do for this attempt: it has to ask for itself. It is outstanding as before.
    #[error("another's answer does not do here")]
    AskYourself,
    #[error("the state machine refused it: {0}")]
    Illegal(String),
}
