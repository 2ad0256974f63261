//! Signals: kept from the moment of acceptance, also when they come before the step waits; the first counts.

use std::sync::Arc;

use compact_str::CompactString;
use model::{Direction, StepIndex, Value};
use plan::{Action, AnswerOutcome, Side, Wait};

use super::Decider;
use crate::branch::{Branch, Status};
use crate::command::{Rejected, Signal};
use crate::entry::Move;
use crate::transaction::{AttentionCause, Cause, Phase, Reason, ReceivedSignal};

impl Decider<'_> {
    /// Keeps a signal, and wakes the step that waits for it.
    pub(crate) fn signal(&mut self, signal: Signal) -> Result<(), Rejected> {
        let waits =
            |step: &plan::Step| matches!(&step.action, Action::Wait(Wait::Signal { name, .. }) if *name == signal.name);
        if !self.plan.steps.iter().any(waits) {
            return Err(Rejected::NoSuchSignal(signal.name));
        }
        if let Some(first) = self.tx.signals.iter().find(|s| s.name == signal.name) {
            let same = first.idempotency_key == signal.idempotency_key;
            return Err(if same { Rejected::Stale } else { Rejected::AnotherSignal(signal.name) });
        }
        // An optional wait may outlast the outcome of what is completed.
        let awaited = self.step_indices().any(|step| waits(self.step(step)) && !self.status(step).has_ended());
        if self.tx.outcome.is_some() && !(self.tx.phase == Phase::Forward && awaited) {
            return Err(Rejected::Decided);
        }
        let body = Arc::clone(&signal.body);
        self.make(Move::Signal(ReceivedSignal {
            name: signal.name.clone(),
            idempotency_key: signal.idempotency_key,
            body: signal.body,
        }))?;
        for step in self.step_indices() {
            // Too late where there is no way back is still in time to go on.
            let missed = self.status(step) == Status::Active && self.branch(step) == Branch::Attention;
            if waits(self.step(step)) && (missed || matches!(self.branch(step), Branch::Signal { .. })) {
                if self.tx.attention.as_ref().is_some_and(|a| a.step == Some(step)) {
                    self.make(Move::Unask)?;
                }
                self.receive(step, &body)?;
                self.raise_open()?;
                return self.advance();
            }
        }
        Ok(())
    }

    /// A waiting step has its signal: judged by its `answers`, kept by its `result`.
    pub(crate) fn receive(&mut self, step: StepIndex, body: &Value) -> Result<(), Rejected> {
        let definition = self.step(step);
        let judged = self.seeing(None, Some(body), None, |scope| {
            definition
                .answers
                .iter()
                .find(|rule| rule.when.eval_bool(scope).unwrap_or(false))
                .map(|rule| (rule.outcome, rule.reason.clone().unwrap_or_default()))
        });
        let (outcome, reason) = judged.unwrap_or_else(|| (AnswerOutcome::Done, CompactString::default()));
        match outcome {
            AnswerOutcome::Done | AnswerOutcome::NothingToUndo => match self.keep(step, None, Some(body)) {
                Ok(result) => self.make(Move::Settle { step, status: Status::Done, result, by_hand: false }),
                Err((_, what)) => self.ask(AttentionCause::ResultMissing, Some(step), Direction::Call, what),
            },
            AnswerOutcome::Refused | AnswerOutcome::NotExecuted | AnswerOutcome::Unknown => {
                let refused = outcome == AnswerOutcome::Refused;
                if definition.side == Side::After && !definition.optional {
                    return self.ask(AttentionCause::RefusedAfterPivot, Some(step), Direction::Call, reason);
                }
                self.settle(step, if refused { Status::Refused } else { Status::Failed })?;
                if definition.optional || matches!(self.tx.phase, Phase::Stopping(_)) {
                    return Ok(());
                }
                let why = if refused { Reason::Refused } else { Reason::Failed };
                self.abort(why, Cause { step: Some(step), detail: reason })
            }
        }
    }
}
