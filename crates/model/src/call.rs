//! One call to a participant: its name, its direction, its outcome.

use std::fmt;

use crate::id::{StepIndex, TxId};

/// Whether a call does or undoes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Direction {
    Call,
    Compensate,
}

impl Direction {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Compensate => "compensate",
        }
    }
}

/// What became of one attempt.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Outcome {
    /// The participant did it.
    Done,
    /// The participant said no. Proves nothing about earlier attempts (SEMANTICS 1).
    Refused,
    /// Proof that nothing was executed.
    Failed,
    /// It may have been executed.
    Unknown,
}

impl Outcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

/// Names one piece of work to a participant: (transaction, step, direction, round).
///
/// Round grows whenever a step goes forward again after its undo began, so a participant that
/// deduplicates by this key never swallows new work. Every attempt of the same work has the same key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CallKey {
    pub tx: TxId,
    pub step: StepIndex,
    pub direction: Direction,
    pub round: u16,
}

impl fmt::Display for CallKey {
    /// `01k8q3v6m2f9r4t7w0x5y8z1bc-2c0`: 26 characters of the transaction, the step's place, `c` or `u`, the round.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.tx.text();
        let letter = match self.direction {
            Direction::Call => 'c',
            Direction::Compensate => 'u',
        };
        write!(f, "{}-{}{letter}{}", std::str::from_utf8(&text).unwrap_or("?"), self.step, self.round)
    }
}
