//! What a person does: cancel, retry, resolve. Every act is an entry, with who and why, for ever.

use compact_str::CompactString;
use model::mutant::{Mutant, is_planted};
use model::{Direction, StepIndex, Value};
use plan::Side;
use smallvec::SmallVec;
use std::sync::Arc;

use super::Decider;
use super::answer::as_result;
use crate::branch::{Branch, Status};
use crate::command::{Operator, Rejected};
use crate::entry::Move;
use crate::transaction::{Act, Cause, Phase, Reason};

impl Decider<'_> {
    pub(crate) fn operate(&mut self, verb: Operator, who: &CompactString, why: &CompactString) -> Result<(), Rejected> {
        match verb {
            Operator::Cancel => self.cancel(who, why),
            Operator::Retry => self.retry(who, why),
            Operator::Resolve { step, direction, done, result } => {
                self.resolve(step, direction, done, as_result(result)?, who, why)
            }
        }
    }

    fn act(&mut self, verb: &str, who: &CompactString, why: &CompactString) -> Result<(), Rejected> {
        self.make(Move::Act(Act { at: self.at, verb: verb.into(), who: who.clone(), why: why.clone() }))
    }

    /// A wish: the last step may still win.
    fn cancel(&mut self, who: &CompactString, why: &CompactString) -> Result<(), Rejected> {
        if is_planted(Mutant::OutcomeDecidedTwice) && self.tx.outcome.is_some() {
            let outcome = crate::transaction::TxOutcome::Aborted(Reason::Cancelled);
            return self.make(Move::Decide { outcome, cause: None, output: None });
        }
        if self.tx.outcome.is_some() {
            return Err(Rejected::Decided);
        }
        if self.pivot_done() {
            return Err(Rejected::PastPivot);
        }
        if self.tx.cancel_wish {
            return Err(Rejected::Stale);
        }
        self.act("cancel", who, why)?;
        self.make(Move::Wish)?;
        self.stop(Reason::Cancelled, Cause { step: None, detail: why.clone() })
    }

    /// Tries at once what waits for a backoff, its participant or a person.
    fn retry(&mut self, who: &CompactString, why: &CompactString) -> Result<(), Rejected> {
        let due: SmallVec<[StepIndex; 4]> = self.step_indices().filter(|step| self.is_retryable(*step)).collect();
        let about_no_step = self.tx.attention.as_ref().is_some_and(|a| a.step.is_none());
        if due.is_empty() && !about_no_step {
            return Err(Rejected::NothingToRetry);
        }
        self.act("retry", who, why)?;
        if self.tx.attention.as_ref().is_some_and(|a| a.step.is_none_or(|step| due.contains(&step))) {
            self.make(Move::Unask)?;
        }
        for step in due {
            // What an earlier one led to may have turned everything back.
            if !self.is_retryable(step) && self.branch(step) != Branch::Idle {
                continue;
            }
            match self.status(step) {
                Status::Undoing => {
                    self.make(Move::Recount { step })?;
                    self.release(step, Direction::Compensate, true)?;
                }
                Status::Active if self.tx.phase == Phase::Forward || self.asks_on(step) => {
                    self.make(Move::Recount { step })?;
                    self.again(step, true)?;
                }
                status if status.has_ended() => self.make(Move::Recount { step })?,
                _ => {}
            }
        }
        self.raise_open()?;
        self.advance()
    }

    /// It waits for a backoff, its participant or a person, or nothing would wake it; and a person may have it
    /// tried again. A forward call that may have executed and is not recognised is for a person to decide, not to
    /// repeat (SEMANTICS 2).
    fn is_retryable(&self, step: StepIndex) -> bool {
        let state = &self.tx.steps[usize::from(step)];
        match (state.status, state.branch) {
            (Status::Active, Branch::Backoff { .. } | Branch::Parked | Branch::Idle) => true,
            (Status::Active, Branch::Attention) => {
                let found = self.participant_of(step, Direction::Call);
                found.is_none_or(|(_, participant)| self.may_be_asked(step, Direction::Call, participant))
            }
            (Status::Undoing, Branch::Backoff { .. } | Branch::Parked | Branch::Attention | Branch::Idle) => true,
            // An undo that could not even begin.
            (_, Branch::Attention) => true,
            _ => false,
        }
    }

    /// A person knows what became of a call.
    fn resolve(
        &mut self,
        step: StepIndex,
        direction: Direction,
        done: bool,
        result: Option<Arc<Value>>,
        who: &CompactString,
        why: &CompactString,
    ) -> Result<(), Rejected> {
        let Some(state) = self.tx.steps.get(usize::from(step)) else { return Err(Rejected::NoSuchStep) };
        let definition = self.step(step);
        let undecided = match direction {
            Direction::Call => state.status == Status::Active,
            Direction::Compensate => {
                let due = self.tx.phase == Phase::Undoing || state.branch != Branch::Idle;
                state.status == Status::Undoing || (due && state.status.has_ended() && state.has_effect())
            }
        };
        let idle =
            !matches!(state.branch, Branch::Outstanding { .. } | Branch::Signal { .. } | Branch::Sleeping { .. });
        if !undecided || !idle || state.status == Status::Compensated {
            return Err(Rejected::NotWaiting(definition.name.clone()));
        }
        let verb = match (direction, done) {
            (Direction::Call, true) => "resolve call as done",
            (Direction::Call, false) => "resolve call as refused",
            (Direction::Compensate, true) => "resolve compensate as done",
            (Direction::Compensate, false) => "resolve compensate as refused",
        };
        self.act(verb, who, why)?;
        let was_aside = self.tx.is_aside();
        if self.tx.attention.as_ref().is_some_and(|a| a.step == Some(step) || a.step.is_none()) {
            self.make(Move::Unask)?;
        }
        let status = match (direction, done) {
            (Direction::Call, true) => Status::Done,
            (Direction::Call, false) => Status::Refused,
            (Direction::Compensate, true) => Status::Compensated,
            (Direction::Compensate, false) => Status::GivenUp,
        };
        let place = if is_planted(Mutant::ResolvesTheWrongStep) { 0 } else { step };
        self.make(Move::Settle { step: place, status, result, by_hand: true })?;
        self.raise_open()?;
        if was_aside {
            self.report_all_parked();
        }
        let refused = direction == Direction::Call && !done;
        if refused && !definition.optional && definition.side != Side::After && self.tx.phase == Phase::Forward {
            return self.abort(Reason::Refused, Cause { step: Some(step), detail: why.clone() });
        }
        if was_aside {
            self.take_up()?;
        }
        self.advance()
    }
}
