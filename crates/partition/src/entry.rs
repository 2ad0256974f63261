//! What the journal keeps: commands decided, stamped and ordered. Every verdict is a [`Move`].

use std::sync::Arc;

use compact_str::CompactString;
use model::{Direction, Epoch, Incarnation, Seq, StepIndex, Timestamp, TxId, Value};
use plan::PlanHash;
use smallvec::SmallVec;

use crate::branch::Status;
use crate::transaction::{Act, Attempt, Attention, AttentionCause, Cause, Reason, ReceivedSignal, TxOutcome};

/// One position of a partition's journal.
#[derive(Clone, PartialEq, Debug)]
pub struct Entry {
    pub seq: Seq,
    /// The leader's time, monotone along the journal.
    pub at: Timestamp,
    pub kind: EntryKind,
}

#[derive(Clone, PartialEq, Debug)]
#[allow(clippy::large_enum_variant, reason = "moves are what nearly every entry has, and they stay off the heap")]
pub enum EntryKind {
    /// A new owner, or a restart: all that was outstanding may have executed.
    Epoch { epoch: Epoch, incarnation: Incarnation, semantics: u16 },
    /// First use of a plan in this partition; later entries name it by its place in the table.
    Plan { hash: PlanHash, bytes: Arc<[u8]> },
    /// A transaction begins, and its first verdicts.
    Begin(Box<Begun>),
    /// Verdicts on a live transaction.
    Moves { tx: Seq, moves: Moves },
}

impl Entry {
    /// Its verdicts, if it is about a transaction.
    pub fn moves(&self) -> Option<&Moves> {
        match &self.kind {
            EntryKind::Begin(begun) => Some(&begun.moves),
            EntryKind::Moves { moves, .. } => Some(moves),
            EntryKind::Epoch { .. } | EntryKind::Plan { .. } => None,
        }
    }

    /// The state machine broke off, and a person must look (SEMANTICS 12).
    pub fn puts_aside(&self) -> bool {
        let aside = |told: &Move| matches!(told, Move::Ask(a) if a.cause == AttentionCause::Quarantined);
        self.moves().is_some_and(|moves| moves.iter().any(aside))
    }
}

/// The verdicts of one entry, in order.
pub type Moves = SmallVec<[Move; 4]>;

/// What a transaction begins with.
#[derive(Clone, PartialEq, Debug)]
pub struct Begun {
    pub id: TxId,
    pub plan: u32,
    pub idempotency_key: CompactString,
    pub submission_digest: u64,
    pub key: Option<CompactString>,
    pub input: Arc<Value>,
    pub deadline: Timestamp,
    pub priority: u8,
    pub traceparent: CompactString,
    pub moves: Moves,
}

/// One recorded verdict. `apply` takes these values and evaluates nothing.
#[derive(Clone, PartialEq, Debug)]
pub enum Move {
    TakeLock,
    AwaitLock,
    FreeLock,
    /// The call is released: from here on it may have been made.
    Start {
        step: StepIndex,
        direction: Direction,
        digest: u64,
    },
    /// The call is provably not started; it waits for its participant.
    Park {
        step: StepIndex,
        direction: Direction,
        patience_until: Timestamp,
    },
    /// An attempt was answered, or given up on.
    Answer {
        attempt: Box<Attempt>,
        /// By then it has settled, if it may have executed.
        settles_at: Timestamp,
        /// The participant declares this answer as proof for the call key.
        proves_not_executed: bool,
        result: Option<Arc<Value>>,
    },
    /// The data was restored from a backup: in the life after the backup, which is lost, this call may have been made
    /// (SEMANTICS 35).
    Restored {
        step: StepIndex,
        direction: Direction,
    },
    /// The answer of an attempt that was already given up: it was done after all.
    LateDone {
        step: StepIndex,
        result: Option<Arc<Value>>,
    },
    Backoff {
        step: StepIndex,
        until: Timestamp,
        still_trying: bool,
    },
    AwaitSignal {
        step: StepIndex,
        until: Timestamp,
    },
    Sleep {
        step: StepIndex,
        until: Timestamp,
    },
    Quiet {
        step: StepIndex,
        until: Timestamp,
    },
    /// The step has ended, or its undo has.
    Settle {
        step: StepIndex,
        status: Status,
        result: Option<Arc<Value>>,
        by_hand: bool,
    },
    Signal(ReceivedSignal),
    Ask(Attention),
    Unask,
    /// A person gives a step its attempts back, and has it tried again.
    Recount {
        step: StepIndex,
    },
    /// Somebody wishes to cancel; what is outstanding may still win.
    Wish,
    /// The stop is void: forward again.
    Resume,
    /// No further forward starts; awaiting what is outstanding.
    Stop {
        reason: Reason,
        cause: Cause,
    },
    Decide {
        outcome: TxOutcome,
        cause: Option<Cause>,
        output: Option<Arc<Value>>,
    },
    Act(Act),
    End,
}
