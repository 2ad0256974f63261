//! An attempt was answered: what became of it, and what follows.

use compact_str::CompactString;
use model::mutant::{Mutant, is_planted};
use model::{Direction, StepIndex};
use plan::eval::Response;
use plan::{OnUnknown, Participant, Retry, Side, Undo};
use std::sync::Arc;

use super::Decider;
use super::classify::{Kind, Verdict};
use super::pace::{self, UNDO_ATTEMPTS_BEFORE_ASKING};
use crate::branch::{Branch, Status};
use crate::command::{CallRef, Rejected};
use crate::effect::Effect;
use crate::entry::Move;
use crate::evidence::{Body, Evidence, Sample};
use crate::transaction::{Attempt, AttentionCause, Cause, Phase, Reason};

const FORGOTTEN: &str = "the participant may not recognise the call key any more, so it may not be asked again";

impl Decider<'_> {
    /// The answer to an attempt. Only the attempt that the step waits for decides; a late Done is evidence.
    pub(crate) fn answered(&mut self, call: CallRef, sample: &Sample) -> Result<(), Rejected> {
        if !self.is_current(call) {
            return self.late(call, sample);
        }
        match call.direction {
            Direction::Call => self.forward_answered(call.step, sample),
            Direction::Compensate => self.undo_answered(call.step, sample),
        }
    }

    fn late(&mut self, call: CallRef, sample: &Sample) -> Result<(), Rejected> {
        let Some(state) = self.tx.steps.get(usize::from(call.step)) else { return Err(Rejected::NoSuchStep) };
        let tells = call.direction == Direction::Call
            && sample.shared.is_none()
            && call.round == state.round
            && call.attempt <= state.attempts
            && matches!(state.status, Status::Active | Status::Pending | Status::Refused | Status::Failed)
            && !state.may_have_executed
            && matches!(sample.evidence, Evidence::Answered { status: 200..=299, .. });
        if !tells {
            return Err(Rejected::Stale);
        }
        self.make(Move::LateDone { step: call.step, result: None })?;
        if self.tx.phase == Phase::Undoing || self.status(call.step).has_ended() { self.advance() } else { Ok(()) }
    }

    fn attempt(
        &self,
        step: StepIndex,
        direction: Direction,
        sample: &Sample,
        verdict: &Verdict,
        counted: bool,
    ) -> Box<Attempt> {
        Box::new(Attempt {
            step,
            direction,
            n: self.tx.steps[usize::from(step)].attempts,
            endpoint: sample.endpoint,
            started_at: sample.started_at,
            took_us: u32::try_from(sample.took.as_micros()).unwrap_or(u32::MAX),
            outcome: verdict.kind.outcome(),
            status: verdict.status,
            counted,
            detail: verdict.detail.clone(),
            shared: sample.shared.map(Box::new),
        })
    }

    /// Another call's answer is taken if it says yes or no to this step, by its own rules, and has what the plan reads.
    /// Whatever else it is would judge an attempt that was never made.
    fn does(&self, step: StepIndex, verdict: &Verdict, lacks: bool) -> bool {
        let may = self.tx.steps[usize::from(step)].may_have_executed;
        match verdict.kind {
            Kind::Done => !may && !lacks,
            Kind::Refused => !may,
            Kind::Unknown => is_planted(Mutant::LeadFailsJoiners),
            _ => false,
        }
    }

    fn forward_answered(&mut self, step: StepIndex, sample: &Sample) -> Result<(), Rejected> {
        let definition = self.step(step);
        let found = self.participant_of(step, Direction::Call);
        let rules = [definition.answers.as_slice(), found.map_or(&[][..], |(_, p)| p.answers.as_slice())];
        let mut verdict = self.classify(&sample.evidence, rules);
        // Keeping comes first: a Done that lacks what the plan reads is answered by a person, not undone.
        let mut missing = None;
        let mut result = None;
        if verdict.kind == Kind::Done {
            let null = model::Value::Null;
            let body = match &sample.evidence {
                Evidence::Answered { body: Body::Json(value), .. } => value,
                _ => &null,
            };
            match self.keep(step, Some(Response { status: verdict.status, body }), None) {
                Ok(kept) => result = kept,
                Err((kept, what)) => {
                    result = kept;
                    missing = Some(what);
                }
            }
        }
        if sample.shared.is_some() && !self.does(step, &verdict, missing.is_some()) {
            return Err(Rejected::AskYourself);
        }
        let mut counted = verdict.kind.counts() || definition.optional;
        counted |= is_planted(Mutant::OutageBurnsAttempts);
        counted &= !(is_planted(Mutant::RestartCountsNoAttempt) && sample.evidence == Evidence::Interrupted);
        let settles_at = match found {
            Some((_, p)) if !p.undo_blocks_do => self.at.after(p.settles_within),
            _ => self.at,
        };
        let attempt = self.attempt(step, Direction::Call, sample, &verdict, counted);
        let proves_not_executed = verdict.kind == Kind::NotExecuted && self.is_proof(step, found);
        self.make(Move::Answer { attempt, settles_at, proves_not_executed, result })?;
        if verdict.kind == Kind::Done {
            return match missing {
                // On the way back nobody reads it any more.
                Some(what) if self.tx.phase == Phase::Forward || definition.side == Side::Pivot => {
                    self.ask(AttentionCause::ResultMissing, Some(step), Direction::Call, what)
                }
                _ => {
                    self.settle(step, Status::Done)?;
                    self.advance()
                }
            };
        }
        let turning_back = matches!(self.tx.phase, Phase::Stopping(_) | Phase::Undoing);
        if turning_back && !self.asks_on(step) {
            return match verdict.kind {
                Kind::Refused => {
                    self.settle(step, Status::Refused)?;
                    self.advance()
                }
                _ => self.take_back_and_go(step),
            };
        }
        let Some((place, participant)) = found else {
            return self.ask(AttentionCause::ParticipantGone, Some(step), Direction::Call, "");
        };
        let mut retry = definition.retry.unwrap_or(participant.retry);
        if is_planted(Mutant::OneAttemptTooMany) {
            retry.attempts += 1;
        }
        match verdict.kind {
            Kind::Refused | Kind::NothingToUndo => self.forward_refused(step, &mut verdict),
            Kind::OurMistake => self.ask(AttentionCause::OurMistake, Some(step), Direction::Call, verdict.detail),
            Kind::NotTaken | Kind::Unauthorized if !definition.optional && !is_planted(Mutant::OutageBurnsAttempts) => {
                self.park_untaken(step, Direction::Call, place)
            }
            Kind::NotTaken | Kind::Unauthorized | Kind::NotExecuted => self.forward_failed(step, retry, &verdict),
            Kind::Unknown => self.forward_unknown(step, retry, participant, &verdict),
            Kind::Done => Ok(()),
        }
    }

    /// "Nothing ran for this call key" clears what earlier attempts may have done (SEMANTICS 1), but only when none
    /// of them can still arrive. That an undo blocks a later do says nothing about a do after this answer.
    fn is_proof(&self, step: StepIndex, found: Option<(u32, &Participant)>) -> bool {
        let state = &self.tx.steps[usize::from(step)];
        let settled = found.is_some_and(|(_, p)| !p.undo_blocks_do || p.settles_within.is_zero());
        let settled = settled && state.settles_at <= self.at;
        state.may_have_executed && (settled || is_planted(Mutant::ProofBelievedTooEarly))
    }

    fn take_back_and_go(&mut self, step: StepIndex) -> Result<(), Rejected> {
        self.take_back(step)?;
        self.advance()
    }

    fn park_untaken(&mut self, step: StepIndex, direction: Direction, participant: u32) -> Result<(), Rejected> {
        self.make(Move::Park { step, direction, patience_until: model::Timestamp::NEVER })?;
        let call = self.call_ref(step, direction, self.tx.steps[usize::from(step)].attempts + 1);
        if !is_planted(Mutant::ParkedIsForgotten) {
            self.effects.push(Effect::Parked { call, participant });
        }
        Ok(())
    }

    fn forward_refused(&mut self, step: StepIndex, verdict: &mut Verdict) -> Result<(), Rejected> {
        let definition = self.step(step);
        let detail = std::mem::take(&mut verdict.detail);
        let may = self.tx.steps[usize::from(step)].may_have_executed;
        match definition.side {
            _ if definition.optional => self.optional_ended(step, Status::Refused),
            Side::After if is_planted(Mutant::RefusalAfterPivotAborts) => {
                self.settle(step, Status::Refused)?;
                self.abort(Reason::Refused, Cause { step: Some(step), detail })
            }
            Side::After => self.ask(AttentionCause::RefusedAfterPivot, Some(step), Direction::Call, detail),
            // Refused now, but an earlier attempt may have passed the point of no return.
            Side::Pivot if may => self.ask(AttentionCause::RefusedAfterPivot, Some(step), Direction::Call, detail),
            Side::Before | Side::Pivot => {
                self.settle(step, Status::Refused)?;
                self.abort(Reason::Refused, Cause { step: Some(step), detail })
            }
        }
    }

    fn forward_failed(&mut self, step: StepIndex, retry: Retry, verdict: &Verdict) -> Result<(), Rejected> {
        let definition = self.step(step);
        let state = &self.tx.steps[usize::from(step)];
        let exhausted = state.attempts_counted >= retry.attempts;
        if definition.optional && exhausted {
            return self.optional_ended(step, Status::Failed);
        }
        let ends = exhausted && definition.side != Side::After && !state.may_have_executed;
        if ends {
            self.settle(step, Status::Failed)?;
            return self.abort(Reason::Failed, Cause { step: Some(step), detail: verdict.detail.clone() });
        }
        if exhausted && definition.side == Side::Before {
            self.settle(step, Status::Unknown)?;
            return self.abort(Reason::Failed, Cause { step: Some(step), detail: verdict.detail.clone() });
        }
        self.back_off(step, retry)
    }

    fn back_off(&mut self, step: StepIndex, retry: Retry) -> Result<(), Rejected> {
        let attempts = self.tx.steps[usize::from(step)].attempts;
        let mut until = self.at.after(pace::backoff(retry, self.tx.id, step, attempts));
        if is_planted(Mutant::BackoffForgotten) {
            until = self.at;
        }
        self.make(Move::Backoff { step, until, still_trying: false })
    }

    fn forward_unknown(
        &mut self,
        step: StepIndex,
        retry: Retry,
        participant: &Participant,
        verdict: &Verdict,
    ) -> Result<(), Rejected> {
        let definition = self.step(step);
        let state = &self.tx.steps[usize::from(step)];
        let may_ask = self.may_be_asked(step, Direction::Call, participant);
        let endless = definition.side != Side::Before && !definition.optional;
        if may_ask && (endless || state.attempts_counted < retry.attempts) {
            return self.back_off(step, retry);
        }
        if may_ask && !definition.optional {
            // Asked as often as it may be: perhaps done, so it is undone with the rest.
            self.settle(step, Status::Unknown)?;
            return self.abort(Reason::Failed, Cause { step: Some(step), detail: verdict.detail.clone() });
        }
        self.not_asked_again(step, participant, verdict.detail.clone())
    }

    /// A forward call that may have executed, and may not be made again.
    pub(crate) fn not_asked_again(
        &mut self,
        step: StepIndex,
        participant: &Participant,
        detail: CompactString,
    ) -> Result<(), Rejected> {
        let definition = self.step(step);
        if definition.optional {
            return self.optional_ended(step, Status::Unknown);
        }
        match definition.unknown {
            Some(OnUnknown::Compensate) if definition.side == Side::Before => {
                self.settle(step, Status::Unknown)?;
                self.abort(Reason::Failed, Cause { step: Some(step), detail })
            }
            _ if participant.idempotency.remembers().is_some() => {
                self.ask(AttentionCause::PromiseExpired, Some(step), Direction::Call, FORGOTTEN)
            }
            _ => self.ask(AttentionCause::Unknown, Some(step), Direction::Call, detail),
        }
    }

    /// An undo that may have executed, and may not be made again: twice refunded is lost money too.
    pub(crate) fn undo_not_asked_again(
        &mut self,
        step: StepIndex,
        participant: &Participant,
        detail: CompactString,
    ) -> Result<(), Rejected> {
        match participant.idempotency.remembers() {
            Some(_) => self.ask(AttentionCause::PromiseExpired, Some(step), Direction::Compensate, FORGOTTEN),
            None => self.ask(AttentionCause::Unknown, Some(step), Direction::Compensate, detail),
        }
    }

    /// An optional step did not work out. What it may have done is undone on its own; nobody waits for it.
    pub(crate) fn optional_ended(&mut self, step: StepIndex, status: Status) -> Result<(), Rejected> {
        self.settle(step, status)?;
        if is_planted(Mutant::OptionalFailureAborts) {
            return self.abort(Reason::Failed, Cause { step: Some(step), detail: CompactString::default() });
        }
        self.advance()
    }

    /// Undoes what an optional step that ended without Done may have done, unless nobody cares or it has begun.
    pub(crate) fn undo_optional(&mut self, step: StepIndex) -> Result<(), Rejected> {
        let definition = self.step(step);
        let state = &self.tx.steps[usize::from(step)];
        let left = matches!(state.status, Status::Refused | Status::Failed | Status::Unknown)
            && state.may_have_executed
            && state.branch == Branch::Idle
            && !is_planted(Mutant::OptionalEffectStays);
        let undoable =
            matches!(definition.compensate, Undo::Call { .. }) && definition.unknown != Some(OnUnknown::Ignore);
        if definition.optional && left && undoable { self.undo(step) } else { Ok(()) }
    }

    fn undo_answered(&mut self, step: StepIndex, sample: &Sample) -> Result<(), Rejected> {
        let Undo::Call { answers, .. } = &self.step(step).compensate else {
            return Err(Rejected::Illegal("there is nothing to undo".into()));
        };
        if sample.shared.is_some() {
            return Err(Rejected::AskYourself);
        }
        let found = self.participant_of(step, Direction::Compensate);
        let rules = [answers.as_slice(), found.map_or(&[][..], |(_, p)| p.answers.as_slice())];
        let verdict = self.classify(&sample.evidence, rules);
        let attempt = self.attempt(step, Direction::Compensate, sample, &verdict, verdict.kind.counts());
        self.make(Move::Answer { attempt, settles_at: self.at, proves_not_executed: false, result: None })?;
        if verdict.kind == Kind::Done {
            // Whoever did it may be declared no longer: it is done.
            return self.compensated(step);
        }
        let Some((place, participant)) = found else {
            return self.ask(AttentionCause::ParticipantGone, Some(step), Direction::Compensate, "");
        };
        let state = &self.tx.steps[usize::from(step)];
        let settles_at = state.settles_at;
        match verdict.kind {
            Kind::Done => Ok(()),
            Kind::Refused if is_planted(Mutant::RefusedUndoIsDone) => self.compensated(step),
            Kind::Unknown | Kind::Refused if is_planted(Mutant::UndoEndsTooSoon) && state.attempts_counted >= 3 => {
                self.compensated(step)
            }
            Kind::NothingToUndo if settles_at <= self.at => self.compensated(step),
            Kind::NothingToUndo => {
                // Believed only when what it would undo can no longer arrive.
                self.make(Move::Backoff { step, until: settles_at, still_trying: false })
            }
            Kind::NotTaken | Kind::Unauthorized => self.park_untaken(step, Direction::Compensate, place),
            Kind::Unknown if !self.may_be_asked(step, Direction::Compensate, participant) => {
                self.undo_not_asked_again(step, participant, verdict.detail)
            }
            Kind::Unknown | Kind::Refused | Kind::NotExecuted | Kind::OurMistake => {
                let counted = state.attempts_counted;
                let until = self.at.after(pace::undo_backoff(participant.retry, self.tx.id, step, counted.max(1)));
                let still_trying = counted >= UNDO_ATTEMPTS_BEFORE_ASKING;
                self.make(Move::Backoff { step, until, still_trying })?;
                if still_trying && self.tx.attention.is_none() {
                    self.ask(AttentionCause::UndoFails, Some(step), Direction::Compensate, verdict.detail)?;
                }
                Ok(())
            }
        }
    }

    pub(crate) fn compensated(&mut self, step: StepIndex) -> Result<(), Rejected> {
        self.settle(step, Status::Compensated)?;
        if self.tx.attention.as_ref().is_some_and(|a| a.step == Some(step)) {
            self.make(Move::Unask)?;
            self.raise_open()?;
        }
        self.advance()
    }
}

/// The kept fields of a result given by a person.
pub(crate) fn as_result(value: Option<Arc<model::Value>>) -> Result<Option<Arc<model::Value>>, Rejected> {
    match value {
        Some(value) if value.as_map().is_none() => Err(Rejected::BadResult),
        other => Ok(other),
    }
}
