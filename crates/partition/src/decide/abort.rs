//! Turning back: a wish or a deadline stops the way forward, a refusal decides at once.

use model::mutant::{Mutant, is_planted};
use model::{Direction, StepIndex, Timestamp};

use super::Decider;
use crate::branch::{Branch, Status};
use crate::command::Rejected;
use crate::effect::Effect;
use crate::entry::Move;
use crate::transaction::{AttentionCause, Cause, Phase, Reason, TxOutcome};

impl Decider<'_> {
    /// A wish or the deadline: no further starts; what is outstanding may still win.
    pub(crate) fn stop(&mut self, reason: Reason, cause: Cause) -> Result<(), Rejected> {
        if self.tx.phase == Phase::Queued {
            return self.abort(reason, cause);
        }
        if self.tx.phase != Phase::Forward {
            return Ok(());
        }
        self.make(Move::Stop { reason, cause })?;
        self.withdraw_outstanding()?;
        self.resolve_stop(reason)
    }

    /// While stopping: waits for what is outstanding, then completes, goes on, or aborts.
    pub(crate) fn resolve_stop(&mut self, reason: Reason) -> Result<(), Rejected> {
        for step in self.step_indices() {
            // Left behind by a decision that broke off: it goes forward no more.
            if self.status(step) == Status::Active && self.branch(step) == Branch::Idle && !self.asks_on(step) {
                self.take_back(step)?;
            }
        }
        if self.tx.has_outstanding() && !is_planted(Mutant::StopDoesNotWait) {
            return Ok(());
        }
        if self.pivot_done() {
            // There is no way back: the wish is void, the deadline becomes a question.
            self.make(Move::Resume)?;
            if reason == Reason::TimedOut {
                let detail = "the timeout passed after the point of no return; the rest is still being done";
                self.ask(AttentionCause::TimedOutAfterPivot, None, Direction::Call, detail)?;
            }
            return self.restart_idle();
        }
        if self.pivot_touched() {
            // While nobody knows whether the pivot happened, nothing is undone: it is asked on.
            return Ok(());
        }
        let all_done = self
            .step_indices()
            .all(|step| self.step(step).optional || matches!(self.status(step), Status::Done | Status::Skipped));
        if all_done {
            self.make(Move::Resume)?;
            return self.restart_idle();
        }
        let cause = self.tx.cause.clone();
        self.abort(reason, cause)
    }

    /// After a resume: branches that nothing would wake are started again.
    fn restart_idle(&mut self) -> Result<(), Rejected> {
        for step in self.step_indices() {
            if self.status(step) == Status::Active && self.branch(step) == Branch::Parked {
                // Whoever had room for it was told that it would not go on.
                self.report_parked(step, Direction::Call);
            }
            if self.status(step) == Status::Active && self.branch(step) == Branch::Idle {
                self.again(step, false)?;
            }
        }
        self.forward()
    }

    /// Decides `aborted` and turns to undoing.
    pub(crate) fn abort(&mut self, reason: Reason, cause: Cause) -> Result<(), Rejected> {
        if self.tx.outcome.is_some() {
            return self.advance();
        }
        self.make(Move::Decide { outcome: TxOutcome::Aborted(reason), cause: Some(cause), output: None })?;
        if is_planted(Mutant::LockFreedBeforeTheUndo) {
            self.free_lock()?;
        }
        self.effects.push(Effect::Decided(self.tx.seq()));
        self.withdraw_outstanding()?;
        let was_aside = self.tx.is_aside();
        if self.tx.attention.as_ref().is_some_and(|a| a.direction == Direction::Call) {
            self.make(Move::Unask)?;
        }
        for step in self.step_indices() {
            if self.status(step) == Status::Active && !matches!(self.branch(step), Branch::Outstanding { .. }) {
                self.take_back(step)?;
            }
        }
        self.raise_open()?;
        if was_aside {
            self.report_all_parked();
        }
        self.undo_next()
    }

    /// What was put aside counts again: whoever had room for its parked calls was told that they would not go on.
    pub(crate) fn report_all_parked(&mut self) {
        for step in self.step_indices() {
            match (self.status(step), self.branch(step)) {
                (Status::Active, Branch::Parked) => self.report_parked(step, Direction::Call),
                (Status::Undoing, Branch::Parked) => self.report_parked(step, Direction::Compensate),
                _ => {}
            }
        }
    }

    /// What was put aside is taken up: branches that nothing would wake go on, with no more trust in a repeat than
    /// they had before.
    pub(crate) fn take_up(&mut self) -> Result<(), Rejected> {
        for step in self.step_indices() {
            let goes_on = match self.tx.phase {
                Phase::Forward => true,
                Phase::Stopping(_) => self.status(step) == Status::Undoing || self.asks_on(step),
                // Turning back wakes what it needs, one after the other.
                Phase::Queued | Phase::Undoing | Phase::Ended => false,
            };
            match (self.status(step), self.branch(step)) {
                (Status::Active, Branch::Idle) if goes_on => self.again(step, false)?,
                (Status::Undoing, Branch::Idle) if goes_on => self.release(step, Direction::Compensate, false)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// A forward step that is not outstanding goes no further.
    pub(crate) fn take_back(&mut self, step: StepIndex) -> Result<(), Rejected> {
        if self.step(step).call().is_some() {
            self.doubt_lost_life(step, Direction::Call)?;
        }
        let may = self.tx.steps[usize::from(step)].may_have_executed;
        self.settle(step, if may { Status::Unknown } else { Status::Pending })
    }

    fn withdraw_outstanding(&mut self) -> Result<(), Rejected> {
        for step in self.step_indices() {
            let state = &self.tx.steps[usize::from(step)];
            // What an earlier epoch made is beyond anybody's reach.
            if state.status != Status::Active || state.branch != (Branch::Outstanding { epoch: self.epoch }) {
                continue;
            }
            let call = self.call_ref(step, Direction::Call, state.attempts);
            let mine = self.effects.iter().position(|e| matches!(e, Effect::Call(out) if out.call == call));
            match mine {
                // A pivot of which nobody knows is asked on, whatever is wished: parked here, nobody would wake it.
                Some(_) if self.asks_on(step) => {}
                // Started by this very decision, so nobody has heard of it: it never was.
                Some(place) => {
                    self.effects.remove(place);
                    self.make(Move::Park { step, direction: Direction::Call, patience_until: Timestamp::NEVER })?;
                }
                None => self.effects.push(Effect::Withdraw(call)),
            }
        }
        Ok(())
    }
}
