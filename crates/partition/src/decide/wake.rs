//! What time brings: backoffs that are over, waits that end, deadlines that pass; and what a restart finds.

use compact_str::format_compact;
use model::mutant::{Mutant, is_planted};
use model::{Direction, StepIndex};
use plan::Side;

use super::Decider;
use crate::branch::{Branch, Status};
use crate::command::Rejected;
use crate::evidence::{Evidence, Sample};
use crate::transaction::{AttentionCause, Cause, ENDPOINT_UNKNOWN, Phase, Reason};

impl Decider<'_> {
    /// Does everything that is due in this transaction.
    pub(crate) fn wake(&mut self) -> Result<(), Rejected> {
        for step in self.step_indices() {
            let state = &self.tx.steps[usize::from(step)];
            match (state.status, state.branch) {
                (Status::Active, Branch::Backoff { until }) if until <= self.at => self.forward_due(step)?,
                (Status::Undoing, Branch::Backoff { until }) if until <= self.at => {
                    self.release(step, Direction::Compensate, false)?;
                }
                (Status::Active, Branch::Signal { until }) if until <= self.at => self.signal_missed(step)?,
                (Status::Active, Branch::Sleeping { until }) if until <= self.at => self.settle(step, Status::Done)?,
                (_, Branch::Quiet { until }) if until <= self.at => self.undo(step)?,
                (Status::Active, Branch::Parked)
                    if state.patience_until <= self.at && !is_planted(Mutant::PatienceWithoutEnd) =>
                {
                    // An earlier attempt may have executed before it had to wait.
                    let status = if state.may_have_executed { Status::Unknown } else { Status::Failed };
                    self.optional_ended(step, status)?;
                }
                _ => {}
            }
            if self.tx.phase == Phase::Ended {
                return Ok(());
            }
        }
        if self.tx.deadline_binds() && self.tx.deadline <= self.at {
            let cause = Cause { step: self.slowest(), detail: "the transaction's timeout passed".into() };
            if self.pivot_done() {
                let detail = "the timeout passed after the point of no return; the rest is still being done";
                self.ask(AttentionCause::TimedOutAfterPivot, None, Direction::Call, detail)?;
            } else {
                self.stop(Reason::TimedOut, cause)?;
            }
        }
        if self.moves.is_empty() {
            return Err(Rejected::Stale);
        }
        if self.tx.phase == Phase::Ended { Ok(()) } else { self.advance() }
    }

    fn forward_due(&mut self, step: StepIndex) -> Result<(), Rejected> {
        match self.tx.phase {
            Phase::Forward => self.again(step, false),
            Phase::Stopping(_) if self.asks_on(step) => self.again(step, false),
            Phase::Stopping(_) | Phase::Undoing => self.take_back(step),
            Phase::Queued | Phase::Ended => Ok(()),
        }
    }

    fn signal_missed(&mut self, step: StepIndex) -> Result<(), Rejected> {
        let definition = self.step(step);
        if let plan::Action::Wait(plan::Wait::Signal { name, .. }) = &definition.action
            && let Some(signal) = self.tx.signals.iter().find(|s| s.name == *name)
        {
            // It came, and something kept it from being looked at.
            let body = std::sync::Arc::clone(&signal.body);
            return self.receive(step, &body);
        }
        if definition.optional {
            return self.settle(step, Status::Failed);
        }
        if definition.side == Side::After {
            return self.ask(
                AttentionCause::TimedOutAfterPivot,
                Some(step),
                Direction::Call,
                "the signal did not come in time",
            );
        }
        self.settle(step, Status::Failed)?;
        if self.tx.phase != Phase::Forward {
            // Turning back already, for another reason.
            return Ok(());
        }
        let detail = format_compact!("the signal did not come in time");
        self.abort(Reason::Failed, Cause { step: Some(step), detail })
    }

    fn slowest(&self) -> Option<StepIndex> {
        self.step_indices().find(|step| self.status(*step) == Status::Active)
    }

    /// A restart: what was outstanding in an earlier epoch may have executed, and nobody will hear its answer.
    pub(crate) fn recover(&mut self) -> Result<(), Rejected> {
        for step in self.step_indices() {
            let state = &self.tx.steps[usize::from(step)];
            let Branch::Outstanding { epoch } = state.branch else { continue };
            if epoch >= self.epoch {
                continue;
            }
            let direction = if state.status == Status::Undoing { Direction::Compensate } else { Direction::Call };
            let call = self.call_ref(step, direction, state.attempts);
            let sample = Sample {
                // A first attempt went wherever there was room; a repeat went where the one before it did.
                endpoint: if state.may_have_executed { state.endpoint } else { ENDPOINT_UNKNOWN },
                started_at: self.at,
                took: std::time::Duration::ZERO,
                evidence: Evidence::Interrupted,
                shared: None,
            };
            self.answered(call, &sample)?;
            if self.tx.phase == Phase::Ended {
                return Ok(());
            }
        }
        if self.moves.is_empty() { Err(Rejected::Stale) } else { Ok(()) }
    }
}
