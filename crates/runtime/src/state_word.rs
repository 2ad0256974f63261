//! The six words of a transaction's state, and those of its outcome: the same everywhere they are shown or asked for.

use partition::Transaction;
use partition::branch::Branch;
use partition::transaction::{Phase, TxOutcome};

/// `running`, `waiting`, `compensating`, `needs_attention` or `ended`.
pub fn state_word(tx: &Transaction) -> &'static str {
    if tx.phase == Phase::Ended {
        return "ended";
    }
    if tx.attention.is_some() {
        return "needs_attention";
    }
    match tx.phase {
        Phase::Undoing => "compensating",
        Phase::Queued => "waiting",
        _ if tx.steps.iter().any(|s| matches!(s.branch, Branch::Outstanding { .. })) => "running",
        _ if tx.steps.iter().any(|s| s.branch != Branch::Idle) => "waiting",
        _ => "running",
    }
}

/// `completed`, `aborted`, or empty while it is not decided.
pub fn outcome_word(tx: &Transaction) -> &'static str {
    match tx.outcome {
        None => "",
        Some(TxOutcome::Completed) => "completed",
        Some(TxOutcome::Aborted(_)) => "aborted",
    }
}

/// `refused`, `failed`, `cancelled`, `timed_out`, or empty.
pub fn reason_word(tx: &Transaction) -> &'static str {
    match tx.outcome {
        Some(TxOutcome::Aborted(reason)) => reason.as_str(),
        None | Some(TxOutcome::Completed) => "",
    }
}
