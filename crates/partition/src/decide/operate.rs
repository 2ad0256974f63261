//! What a person does: cancel, retry, resolve. Every act is an entry, with who and why, for ever.

use compact_str::CompactString;
use model::{Direction, StepIndex, Value};
use plan::Side;
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
        let waits = |branch: Branch| matches!(branch, Branch::Backoff { .. } | Branch::Parked | Branch::Attention);
        let stuck = |status: Status, branch: Branch| {
            matches!(status, Status::Active | Status::Undoing) && branch == Branch::Idle
        };
        let any = self.tx.steps.iter().any(|s| waits(s.branch) || stuck(s.status, s.branch));
        if !any && self.tx.attention.is_none() {
            return Err(Rejected::NothingToRetry);
        }
        self.act("retry", who, why)?;
        if self.tx.attention.is_some() {
            self.make(Move::Unask)?;
        }
        for step in self.step_indices() {
            let state = &self.tx.steps[usize::from(step)];
            if !(waits(state.branch) || stuck(state.status, state.branch)) {
                continue;
            }
            match state.status {
                Status::Undoing => self.release(step, Direction::Compensate, true)?,
                Status::Active if self.tx.phase == Phase::Forward => {
                    self.make(Move::Recount { step })?;
                    self.again(step, true)?;
                }
                _ => {}
            }
        }
        self.advance()
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
                state.status == Status::Undoing || (self.tx.phase == Phase::Undoing && state.has_effect())
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
        if self.tx.attention.as_ref().is_some_and(|a| a.step == Some(step) || a.step.is_none()) {
            self.make(Move::Unask)?;
        }
        let status = match (direction, done) {
            (Direction::Call, true) => Status::Done,
            (Direction::Call, false) => Status::Refused,
            (Direction::Compensate, true) => Status::Compensated,
            (Direction::Compensate, false) => Status::GivenUp,
        };
        self.make(Move::Settle { step, status, result, by_hand: true })?;
        let refused = direction == Direction::Call && !done;
        if refused && !definition.optional && definition.side != Side::After && self.tx.phase == Phase::Forward {
            return self.abort(Reason::Refused, Cause { step: Some(step), detail: why.clone() });
        }
        self.advance()
    }
}
