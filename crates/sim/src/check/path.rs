//! The legal path of a transaction, entry by entry: what may start, what may be decided, in which order it is undone.
//!
//! SEMANTICS 4 (quiesce, then undo), 22 (the pivot, optional steps), 23 (order), 24 (one piece of work, one attempt at
//! a time), and that a person's decision and an answer reach what they are about. Named by the promise that breaks
//! with them. What is known about execution is `evidence`'s.

use model::{Direction, StepIndex, Timestamp};
use partition::branch::{Branch, Status};
use partition::transaction::{AttentionCause, Phase, Reason, TxOutcome};
use partition::{Command, Move, Operator};
use plan::{Action, Side, Undo, Wait};

use super::Decision;
use crate::event::{Checker, Event, Fault, Told, View, Violation};

/// See the head of this file.
#[derive(Debug, Default)]
pub struct Path {
    /// Poison was planted: quarantine is its right end.
    is_poisoned: bool,
}

impl Checker for Path {
    fn name(&self) -> &'static str {
        "path"
    }

    fn on(&mut self, _: Timestamp, event: &Event<'_>, world: &View<'_>) -> Result<(), Violation> {
        if let Event::FaultWindow { fault: Fault::Panic, .. } = event {
            self.is_poisoned = true;
        }
        let Some(decision) = Decision::of(event, world) else { return Ok(()) };
        self.judge(&decision)
    }

    fn at_end(&mut self, _: Timestamp, _: &View<'_>) -> Result<(), Violation> {
        Ok(())
    }
}

impl Path {
    fn judge(&self, d: &Decision<'_>) -> Result<(), Violation> {
        addressed(d)?;
        let mut decided = d.before.is_some_and(|tx| tx.is_decided);
        for (place, step) in d.moves.iter().enumerate() {
            match step {
                Move::Start { step, direction: Direction::Call, .. } => starts(d, *step, place)?,
                Move::Start { step, direction: Direction::Compensate, .. } => undoes(d, *step)?,
                Move::Decide { outcome, .. } => {
                    if std::mem::replace(&mut decided, true) {
                        return broken("TX-2", d, "the outcome is decided twice");
                    }
                    decides(d, *outcome)?;
                }
                Move::AwaitSignal { step, .. } => {
                    if let Action::Wait(Wait::Signal { name, .. }) = &d.plan.steps[usize::from(*step)].action
                        && d.after.signals.iter().any(|signal| signal.name == *name)
                    {
                        return broken("TX-4", d, format!("step {step} waits for a signal that has come"));
                    }
                }
                Move::Ask(attention) if attention.cause == AttentionCause::Quarantined && !self.is_poisoned => {
                    return broken("TX-4", d, format!("quarantined without poison: {}", attention.detail));
                }
                Move::End => ends(d)?,
                _ => {}
            }
        }
        Ok(())
    }
}

fn broken<T>(rule: &'static str, d: &Decision<'_>, what: impl Into<String>) -> Result<T, Violation> {
    Err(Violation::new(rule, d.tx(), what))
}

/// An answer is judged for its own attempt only, a person's decision reaches its own step only.
fn addressed(d: &Decision<'_>) -> Result<(), Violation> {
    let Told::Other(command) = d.command else { return Ok(()) };
    match command {
        Command::Answered { call, .. } => {
            let waits = d.before.and_then(|tx| tx.steps.get(usize::from(call.step)));
            let is_current = waits.is_some_and(|s| {
                s.attempts == call.attempt && s.round == call.round && matches!(s.branch, Branch::Outstanding { .. })
            });
            let judged = d.moves.iter().any(
                |m| matches!(m, Move::Answer { attempt, .. } if attempt.step == call.step && attempt.direction == call.direction),
            );
            if judged && !is_current {
                return broken("TX-3", d, format!("the answer to an attempt that is over is judged: {call:?}"));
            }
        }
        Command::Operate { verb: Operator::Resolve { step, .. }, .. } => {
            for told in d.moves {
                if let Move::Settle { step: settled, by_hand: true, .. } = told
                    && settled != step
                {
                    return broken("TX-2", d, format!("step {step} was resolved by a person, step {settled} settled"));
                }
            }
        }
        _ => {}
    }
    Ok(())
}

fn starts(d: &Decision<'_>, step: StepIndex, place: usize) -> Result<(), Violation> {
    let definition = &d.plan.steps[usize::from(step)];
    if let Some(before) = definition.after.iter().find(|b| !d.after.steps[usize::from(**b)].status.has_ended()) {
        return broken("TX-2", d, format!("step {step} starts before step {before} has ended"));
    }
    // What starts first and is taken back by the same decision never was.
    let is_decided = d.moves[..place].iter().any(|m| matches!(m, Move::Decide { outcome: TxOutcome::Aborted(_), .. }));
    if d.before.is_some_and(|tx| tx.phase == Phase::Undoing) || is_decided {
        return broken("TX-3", d, format!("step {step} starts forward on the way back"));
    }
    let was_outstanding = d
        .before
        .and_then(|tx| tx.steps.get(usize::from(step)))
        .is_some_and(|s| matches!(s.branch, Branch::Outstanding { .. }));
    let over = d.moves[..place].iter().any(|m| match m {
        Move::Answer { attempt, .. } => attempt.step == step,
        Move::Park { step: parked, .. } => *parked == step,
        _ => false,
    });
    if was_outstanding && !over {
        return broken("TX-1", d, format!("step {step} is called again while an attempt is outstanding"));
    }
    Ok(())
}

fn undoes(d: &Decision<'_>, step: StepIndex) -> Result<(), Violation> {
    let state = &d.after.steps[usize::from(step)];
    if state.settles_at > d.entry.at {
        return broken("TX-3", d, format!("step {step} is undone before it has settled ({})", state.settles_at));
    }
    if d.after.phase != Phase::Undoing {
        if !d.plan.steps[usize::from(step)].optional {
            return broken("TX-3", d, format!("step {step} is undone while the transaction goes forward"));
        }
        return Ok(());
    }
    // What an optional step undoes on its own may have been under way before the rest turned back.
    if d.plan.steps[usize::from(step)].optional {
        return Ok(());
    }
    if d.after.has_outstanding() {
        return broken("TX-3", d, format!("step {step} is undone while a forward call is outstanding"));
    }
    if let Some(pivot) = d.plan.pivot()
        && d.after.steps[usize::from(pivot)].status == Status::Done
    {
        return broken("TX-3", d, format!("step {step} is undone beyond the point of no return"));
    }
    let is_first = d.before.is_none_or(|tx| tx.steps[usize::from(step)].status != Status::Undoing);
    // What an optional step undoes on its own account may have been waiting before the rest turned back.
    if !is_first || d.plan.steps[usize::from(step)].optional {
        return Ok(());
    }
    for (place, other) in d.after.steps.iter().enumerate() {
        let undoable = matches!(d.plan.steps[place].compensate, Undo::Call { .. });
        let is_left = undoable && other.has_effect() && !matches!(other.status, Status::Compensated | Status::GivenUp);
        if is_left && other.order > state.order {
            return broken("TX-3", d, format!("step {step} is undone before step {place}, which completed later"));
        }
    }
    Ok(())
}

fn decides(d: &Decision<'_>, outcome: TxOutcome) -> Result<(), Violation> {
    let steps = || d.plan.steps.iter().zip(&d.after.steps).enumerate();
    match outcome {
        TxOutcome::Completed => {
            let open = steps().find(|(_, (step, s))| {
                let is_closed =
                    matches!(s.status, Status::Done | Status::Skipped) || (s.by_hand && s.status.has_ended());
                !step.optional && !is_closed
            });
            match open {
                Some((place, (_, s))) => broken("TX-2", d, format!("completed while step {place} is {:?}", s.status)),
                None => Ok(()),
            }
        }
        TxOutcome::Aborted(reason) => {
            if let Some(pivot) = d.plan.pivot()
                && d.after.steps[usize::from(pivot)].status == Status::Done
            {
                return broken("TX-2", d, "aborted beyond the point of no return");
            }
            if matches!(reason, Reason::Cancelled | Reason::TimedOut) && d.after.has_outstanding() {
                return broken("TX-3", d, "decided by a wish while a forward call is outstanding");
            }
            if matches!(reason, Reason::Refused | Reason::Failed)
                && let Some(step) = d.after.cause.step
            {
                let definition = &d.plan.steps[usize::from(step)];
                if definition.optional {
                    return broken("TX-2", d, format!("aborted by the optional step {step}"));
                }
                if definition.side == Side::After {
                    return broken("TX-2", d, format!("aborted by step {step}, beyond the point of no return"));
                }
            }
            Ok(())
        }
    }
}

fn ends(d: &Decision<'_>) -> Result<(), Violation> {
    if d.after.attention.is_some() {
        return broken("TX-2", d, "ended with an open question");
    }
    match d.after.steps.iter().position(|s| s.branch != Branch::Idle) {
        Some(step) => broken("TX-2", d, format!("ended while step {step} is {:?}", d.after.steps[step].branch)),
        None => Ok(()),
    }
}
