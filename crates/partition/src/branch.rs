//! One step of one transaction: how far it is, and the one thing that will wake it.

use std::sync::Arc;

use model::{Epoch, Timestamp, Value};

use crate::transaction::AttentionCause;

/// How far a step has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// Not begun, or taken back before anything could have executed.
    Pending,
    /// On its way forward; its [`Branch`] says what it waits for.
    Active,
    Done,
    Refused,
    Failed,
    /// Nobody can tell, and it is not asked again.
    Unknown,
    /// Its `when` was false.
    Skipped,
    /// On its way back; its [`Branch`] says what it waits for.
    Undoing,
    Compensated,
    /// A person gave the undo up.
    GivenUp,
}

impl Status {
    /// The word that expressions see as `steps.<name>.outcome`.
    pub fn outcome_word(self) -> &'static str {
        match self {
            Self::Pending | Self::Active => "pending",
            Self::Done | Self::Undoing | Self::Compensated | Self::GivenUp => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Skipped => "skipped",
        }
    }

    /// Nothing further will happen to it on the way forward.
    pub fn has_ended(self) -> bool {
        !matches!(self, Self::Pending | Self::Active)
    }
}

/// What will wake a step: exactly one thing at any time (SEMANTICS 18).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Branch {
    /// Nothing: the step is not on its way.
    #[default]
    Idle,
    /// The answer of an attempt, released to the load manager in this epoch.
    Outstanding { epoch: Epoch },
    /// The participant: provably not started.
    Parked,
    /// A time, and then another attempt.
    Backoff { until: Timestamp },
    /// A signal, at the latest a time.
    Signal { until: Timestamp },
    /// A time.
    Sleeping { until: Timestamp },
    /// The time by which a call that may still settle has settled; then its undo.
    Quiet { until: Timestamp },
    /// A person.
    Attention,
}

impl Branch {
    /// When the clock should look at it again.
    pub fn wakes_at(self) -> Timestamp {
        match self {
            Self::Backoff { until } | Self::Signal { until } | Self::Sleeping { until } | Self::Quiet { until } => {
                until
            }
            Self::Idle | Self::Outstanding { .. } | Self::Parked | Self::Attention => Timestamp::NEVER,
        }
    }
}

/// The state of one step.
#[derive(Clone, PartialEq, Debug)]
pub struct StepState {
    pub status: Status,
    pub branch: Branch,
    /// Sticky (SEMANTICS 1): only Done, declared proof for the same call key, or a person clears it.
    pub may_have_executed: bool,
    /// Decided by a person.
    pub by_hand: bool,
    /// The present branch is an undo that is still being tried while a person looks at it.
    pub still_trying: bool,
    /// Attempts made in the present direction, and how many of them count.
    pub attempts: u32,
    pub attempts_counted: u32,
    pub round: u16,
    /// Place in the order of completion, from 1; 0 while it has none.
    pub order: u16,
    /// Digest of the request that the call key stands for (SEMANTICS 25); 0 while there is none.
    pub digest: u64,
    pub undo_digest: u64,
    /// When the first attempt under this call key was released: the promise of idempotency runs from here.
    pub first_attempt_at: Timestamp,
    /// The same of the undo, which has a call key of its own.
    pub undo_first_attempt_at: Timestamp,
    /// Sticky like `may_have_executed`: an attempt of the undo may have executed, so a repeat needs a promise.
    pub undo_may_have_executed: bool,
    /// What a person is asked about this step, while its branch is [`Branch::Attention`].
    pub asked: Option<AttentionCause>,
    /// By then every attempt that may have executed has settled.
    pub settles_at: Timestamp,
    /// Endpoint of the last attempt that may have executed.
    pub endpoint: u16,
    /// An optional step that waits for its participant no longer than this.
    pub patience_until: Timestamp,
    /// The kept fields, an object.
    pub result: Option<Arc<Value>>,
}

impl Default for StepState {
    fn default() -> Self {
        Self {
            status: Status::Pending,
            branch: Branch::Idle,
            may_have_executed: false,
            by_hand: false,
            still_trying: false,
            attempts: 0,
            attempts_counted: 0,
            round: 0,
            order: 0,
            digest: 0,
            undo_digest: 0,
            first_attempt_at: Timestamp::ZERO,
            undo_first_attempt_at: Timestamp::ZERO,
            undo_may_have_executed: false,
            asked: None,
            settles_at: Timestamp::ZERO,
            endpoint: 0,
            patience_until: Timestamp::NEVER,
            result: None,
        }
    }
}

impl StepState {
    /// It did something, or may have.
    pub fn has_effect(&self) -> bool {
        self.status == Status::Done || self.may_have_executed
    }
}
