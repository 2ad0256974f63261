//! The way back: quiesce, then undo, strictly in reverse order of completion, one after the other, without end.

use model::mutant::{Mutant, is_planted};
use model::{Direction, StepIndex};
use plan::Undo;

use super::Decider;
use crate::branch::{Branch, Status};
use crate::command::Rejected;
use crate::entry::Move;
use crate::transaction::Phase;

impl Decider<'_> {
    /// Undoes the latest effect that is left; ends when none is.
    pub(crate) fn undo_next(&mut self) -> Result<(), Rejected> {
        debug_assert_eq!(self.tx.phase, Phase::Undoing);
        if self.tx.has_outstanding() && !is_planted(Mutant::UndoBeforeQuiet) {
            return Ok(());
        }
        for step in self.step_indices() {
            // Left behind by a decision that broke off: it goes forward no more.
            if self.status(step) == Status::Active && self.branch(step) == Branch::Idle {
                self.take_back(step)?;
            }
        }
        // One undo at a time, and a person's decision is waited for.
        if self.tx.steps.iter().any(|s| s.status == Status::Undoing && s.branch != Branch::Idle) {
            return Ok(());
        }
        if self.tx.steps.iter().any(|s| matches!(s.branch, Branch::Quiet { .. } | Branch::Attention)) {
            return Ok(());
        }
        match self.latest_effect() {
            Some(step) => self.undo(step),
            None => {
                self.free_lock()?;
                self.end()
            }
        }
    }

    fn latest_effect(&self) -> Option<StepIndex> {
        self.step_indices()
            .filter(|step| {
                let state = &self.tx.steps[usize::from(*step)];
                state.has_effect()
                    && !matches!(state.status, Status::Compensated | Status::GivenUp)
                    && matches!(self.step(*step).compensate, Undo::Call { .. })
            })
            .max_by_key(|step| {
                let order = self.tx.steps[usize::from(*step)].order;
                if is_planted(Mutant::OldestUndoneFirst) { !order } else { order }
            })
    }

    /// Starts one undo, or waits until what it undoes has settled.
    pub(crate) fn undo(&mut self, step: StepIndex) -> Result<(), Rejected> {
        let state = &self.tx.steps[usize::from(step)];
        if state.settles_at > self.at && !is_planted(Mutant::UndoBeforeItSettled) {
            let until = state.settles_at;
            return self.make(Move::Quiet { step, until });
        }
        self.release(step, Direction::Compensate, false)
    }
}
