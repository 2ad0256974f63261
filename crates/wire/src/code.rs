//! Closed enums as single bytes. A code, once released, means the same for ever.

use model::{Direction, Outcome};
use partition::SharedWay;
use partition::branch::Status;
use partition::transaction::{AttentionCause, LockState, Phase, Reason, TxOutcome};

use crate::primitive::Error;

/// An enum with a byte for each of its members.
pub(crate) trait Coded: Sized + Copy + 'static {
    const WHAT: &'static str;
    const CODES: &'static [(u8, Self)];

    fn code(self) -> u8
    where
        Self: PartialEq,
    {
        Self::CODES.iter().find(|(_, member)| *member == self).map_or(u8::MAX, |(code, _)| *code)
    }

    fn from_code(code: u8) -> Result<Self, Error> {
        let found = Self::CODES.iter().find(|(c, _)| *c == code).map(|(_, member)| *member);
        found.ok_or_else(|| Error::Code { what: Self::WHAT, code: u64::from(code) })
    }
}

impl Coded for Direction {
    const WHAT: &'static str = "a direction";
    const CODES: &'static [(u8, Self)] = &[(0, Self::Call), (1, Self::Compensate)];
}

impl Coded for Outcome {
    const WHAT: &'static str = "an outcome";
    const CODES: &'static [(u8, Self)] = &[(0, Self::Done), (1, Self::Refused), (2, Self::Failed), (3, Self::Unknown)];
}

impl Coded for SharedWay {
    const WHAT: &'static str = "a way to another's answer";
    const CODES: &'static [(u8, Self)] = &[(0, Self::Joined), (1, Self::Kept)];
}

impl Coded for Status {
    const WHAT: &'static str = "a step's status";
    const CODES: &'static [(u8, Self)] = &[
        (0, Self::Pending),
        (1, Self::Active),
        (2, Self::Done),
        (3, Self::Refused),
        (4, Self::Failed),
        (5, Self::Unknown),
        (6, Self::Skipped),
        (7, Self::Undoing),
        (8, Self::Compensated),
        (9, Self::GivenUp),
    ];
}

impl Coded for Reason {
    const WHAT: &'static str = "a reason";
    const CODES: &'static [(u8, Self)] =
        &[(0, Self::Refused), (1, Self::Failed), (2, Self::Cancelled), (3, Self::TimedOut)];
}

impl Coded for TxOutcome {
    const WHAT: &'static str = "an outcome of a transaction";
    const CODES: &'static [(u8, Self)] = &[
        (1, Self::Completed),
        (2, Self::Aborted(Reason::Refused)),
        (3, Self::Aborted(Reason::Failed)),
        (4, Self::Aborted(Reason::Cancelled)),
        (5, Self::Aborted(Reason::TimedOut)),
    ];
}

impl Coded for Phase {
    const WHAT: &'static str = "a phase";
    const CODES: &'static [(u8, Self)] = &[
        (0, Self::Queued),
        (1, Self::Forward),
        (2, Self::Stopping(Reason::Refused)),
        (3, Self::Stopping(Reason::Failed)),
        (4, Self::Stopping(Reason::Cancelled)),
        (5, Self::Stopping(Reason::TimedOut)),
        (6, Self::Undoing),
        (7, Self::Ended),
    ];
}

impl Coded for LockState {
    const WHAT: &'static str = "a lock's state";
    const CODES: &'static [(u8, Self)] = &[(0, Self::None), (1, Self::Waiting), (2, Self::Held), (3, Self::Released)];
}

impl Coded for AttentionCause {
    const WHAT: &'static str = "a cause of attention";
    const CODES: &'static [(u8, Self)] = &[
        (0, Self::Unknown),
        (1, Self::RefusedAfterPivot),
        (2, Self::UndoFails),
        (3, Self::ResultMissing),
        (4, Self::OurMistake),
        (5, Self::RequestChanged),
        (6, Self::Expression),
        (7, Self::PromiseExpired),
        (8, Self::TimedOutAfterPivot),
        (9, Self::Quarantined),
        (10, Self::ParticipantGone),
    ];
}
