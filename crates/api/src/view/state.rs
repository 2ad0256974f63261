//! From phases and branches to the six states, and to what a transaction waits for.

use model::{Direction, Outcome, Timestamp};
use partition::Transaction;
use partition::branch::Branch;
use partition::transaction::{Attempt, LockState, Phase};
use plan::saga::{Action, Saga, Undo, Wait};

/// One of `running`, `waiting`, `compensating`, `needs_attention`, `ended`.
///
/// Once the outcome is `completed`, trailing optional steps are `running`, whatever they wait for: nobody has to.
pub(super) fn of(tx: &Transaction, waits: bool) -> &'static str {
    match tx.phase {
        Phase::Ended => "ended",
        _ if tx.attention.is_some() => "needs_attention",
        Phase::Undoing => "compensating",
        Phase::Queued => "waiting",
        Phase::Forward | Phase::Stopping(_) if waits && tx.outcome.is_none() => "waiting",
        Phase::Forward | Phase::Stopping(_) => "running",
    }
}

/// What will wake a transaction that has no call under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Waits<'a> {
    /// `participant`, `lock`, `signal`, `time`, `backoff`, `quiet`.
    pub(super) kind: &'static str,
    /// The participant, the lock, the signal, or the step that waits for a time.
    pub(super) name: &'a str,
    pub(super) since: Timestamp,
}

/// `None` while a call is under way, and once it has ended. Of several waits the first in the order written.
pub(super) fn waits_for<'a>(tx: &Transaction, plan: &'a Saga) -> Option<Waits<'a>> {
    if tx.phase == Phase::Ended {
        return None;
    }
    if tx.phase == Phase::Queued && tx.lock == LockState::Waiting {
        let name = plan.lock.as_deref().unwrap_or_default();
        return Some(Waits { kind: "lock", name, since: tx.began_at });
    }
    let mut first = None;
    for (place, step) in tx.steps.iter().enumerate() {
        let kind = match step.branch {
            Branch::Outstanding { .. } => return None,
            Branch::Idle | Branch::Attention => continue,
            Branch::Parked => "participant",
            Branch::Backoff { .. } => "backoff",
            Branch::Signal { .. } => "signal",
            Branch::Sleeping { .. } => "time",
            Branch::Quiet { .. } => "quiet",
        };
        let better = match first {
            None => true,
            // An optional step is waited for by nobody: name it only if nothing else waits.
            Some((_, at)) => plan.steps.get(at).is_some_and(|s: &plan::saga::Step| s.optional),
        };
        if better {
            first = Some((kind, place));
        }
    }
    let (kind, place) = first?;
    let declared = plan.steps.get(place)?;
    let undoing = kind == "quiet" || super::direction_of(tx.steps[place].status) == Direction::Compensate;
    let name = match (&declared.action, &declared.compensate) {
        (_, Undo::Call { call, .. }) if undoing => call.participant.as_str(),
        (Action::Call(call), _) => call.participant.as_str(),
        (Action::Wait(Wait::Signal { name, .. }), _) => name.as_str(),
        (Action::Wait(_), _) => declared.name.as_str(),
    };
    let direction = if undoing { Direction::Compensate } else { Direction::Call };
    Some(Waits { kind, name, since: since(tx, plan, place, direction) })
}

/// When the present wait began: with the run of calls that were not taken, else with the last thing that happened
/// to the step, else with the end of the steps before it.
fn since(tx: &Transaction, plan: &Saga, place: usize, direction: Direction) -> Timestamp {
    let ended = |a: &Attempt| Timestamp(a.started_at.0.saturating_add(u64::from(a.took_us)));
    let mut own = None;
    for attempt in tx.attempts.iter().rev().filter(|a| usize::from(a.step) == place && a.direction == direction) {
        if attempt.outcome == Outcome::Failed && !attempt.counted {
            own = Some(attempt.started_at);
        } else {
            own = own.or_else(|| Some(ended(attempt)));
            break;
        }
    }
    if let Some(own) = own {
        return own;
    }
    let before = |a: &&Attempt| {
        direction == Direction::Compensate || plan.steps.get(place).is_some_and(|step| step.after.contains(&a.step))
    };
    let begun = if direction == Direction::Compensate { tx.decided_at.max(tx.began_at) } else { tx.began_at };
    tx.attempts.iter().filter(before).map(ended).max().map_or(begun, |at| at.max(begun))
}
