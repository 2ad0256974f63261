//! The way forward: which steps are ready, how they start, when the outcome is decided.

use std::sync::Arc;

use compact_str::{CompactString, format_compact};
use model::mutant::{Mutant, is_planted};
use model::{Direction, StepIndex, Timestamp, Value};
use plan::{Action, Wait};

use super::Decider;
use crate::branch::{Branch, Status};
use crate::command::{CallRef, Rejected};
use crate::effect::Effect;
use crate::entry::Move;
use crate::transaction::{AttentionCause, Cause, LockState, Phase, TxOutcome};

/// The kept fields of an answer, an object; none if nothing is to be kept.
type Kept = Option<Arc<Value>>;

/// How deep a kept value may be nested: what the journal's format can read back.
const NESTING_MAX: usize = 64;
/// Bytes that the results of a step, or the output, may take: an entry must fit a batch with room to spare.
const KEPT_BYTES_MAX: usize = 256 << 10;

/// Whether a value may be kept: `None`, or what is wrong with it.
fn unfit(value: &Value) -> Option<&'static str> {
    match weight(value, NESTING_MAX) {
        None => Some("is nested too deep"),
        Some(bytes) if bytes > KEPT_BYTES_MAX => Some("takes more than 256 KiB"),
        Some(_) => None,
    }
}

/// About how many bytes a value takes; `None` if it is nested deeper than `levels`.
fn weight(value: &Value, levels: usize) -> Option<usize> {
    match value {
        Value::List(items) => {
            let deeper = levels.checked_sub(1)?;
            items.iter().try_fold(2, |sum, item| Some(sum + 1 + weight(item, deeper)?))
        }
        Value::Map(map) => {
            let deeper = levels.checked_sub(1)?;
            map.iter().try_fold(2, |sum, (name, member)| Some(sum + 2 + name.len() + weight(member, deeper)?))
        }
        Value::Text(text) => Some(2 + text.len()),
        Value::Number(model::Number::Decimal(text)) => Some(text.len()),
        Value::Null | Value::Bool(_) | Value::Number(_) => Some(10),
    }
}

impl Decider<'_> {
    /// Starts every step that is ready, decides the outcome when it can be, ends when nothing is left.
    pub(crate) fn forward(&mut self) -> Result<(), Rejected> {
        for step in self.step_indices() {
            self.undo_optional(step)?;
        }
        let mut changed = true;
        while changed && self.tx.phase == Phase::Forward {
            changed = false;
            for step in self.step_indices() {
                if self.tx.phase == Phase::Forward && self.status(step) == Status::Pending && self.is_ready(step) {
                    self.begin_step(step, false)?;
                    changed |= self.status(step).has_ended();
                }
            }
        }
        if self.tx.phase != Phase::Forward {
            return Ok(());
        }
        if self.tx.outcome.is_none() && self.all_decided() {
            self.complete()?;
        }
        self.end_if_nothing_is_left()
    }

    fn is_ready(&self, step: StepIndex) -> bool {
        // Skipped is done (LANGUAGE A.5.2), and an optional step that did not work out holds nobody up.
        self.step(step).after.iter().all(|before| self.status(*before).has_ended())
            || is_planted(Mutant::StepsDoNotWait)
    }

    fn all_decided(&self) -> bool {
        self.step_indices().all(|step| self.step(step).optional || self.status(step).has_ended())
    }

    fn complete(&mut self) -> Result<(), Rejected> {
        let mut cause = None;
        let output = match &self.plan.output {
            None => None,
            Some(template) => {
                match self.seeing(None, None, None, |scope| plan::render::render_value(template, scope)) {
                    // Everything is done, and no person could do more: it is completed, and says what is missing.
                    Ok(value) => match unfit(&value) {
                        None => Some(Arc::new(value)),
                        Some(what) => {
                            cause = Some(Cause { step: None, detail: format_compact!("the output {what}") });
                            None
                        }
                    },
                    Err(e) => {
                        let detail = format_compact!("the output cannot be made: {e}");
                        cause = Some(Cause { step: None, detail });
                        None
                    }
                }
            }
        };
        self.make(Move::Decide { outcome: TxOutcome::Completed, cause, output })?;
        if self.tx.attention.as_ref().is_some_and(|a| a.cause == AttentionCause::TimedOutAfterPivot) {
            self.make(Move::Unask)?;
            self.raise_open()?;
        }
        self.effects.push(Effect::Decided(self.tx.seq()));
        self.free_lock()
    }

    pub(crate) fn free_lock(&mut self) -> Result<(), Rejected> {
        if matches!(self.tx.lock, LockState::Held | LockState::Waiting) { self.make(Move::FreeLock) } else { Ok(()) }
    }

    pub(crate) fn end_if_nothing_is_left(&mut self) -> Result<(), Rejected> {
        // An optional step that has ended may still have its undo before it.
        let all_ended = self
            .tx
            .steps
            .iter()
            .all(|s| s.status.has_ended() && s.status != Status::Undoing && s.branch == Branch::Idle);
        if self.tx.outcome == Some(TxOutcome::Completed) && all_ended {
            self.end()?;
        }
        Ok(())
    }

    /// Nothing is left to do, so nothing is left to ask.
    pub(crate) fn end(&mut self) -> Result<(), Rejected> {
        if self.tx.attention.is_some() {
            self.make(Move::Unask)?;
        }
        self.make(Move::End)
    }

    /// Begins one ready step: skips it, waits, or calls.
    pub(crate) fn begin_step(&mut self, step: StepIndex, even_if_held: bool) -> Result<(), Rejected> {
        let definition = self.step(step);
        if let Some(when) = &definition.when {
            match self.seeing(None, None, None, |scope| when.eval_bool(scope)) {
                Ok(true) => {}
                Ok(false) => return self.settle(step, Status::Skipped),
                Err(e) => {
                    let detail = format_compact!("\"when\" has no value: {e}");
                    return self.ask(AttentionCause::Expression, Some(step), Direction::Call, detail);
                }
            }
        }
        match &definition.action {
            Action::Call(_) => self.release(step, Direction::Call, even_if_held),
            Action::Wait(Wait::For(duration)) => self.make(Move::Sleep { step, until: self.at.after(*duration) }),
            Action::Wait(Wait::Until(expr)) => {
                let until = self.seeing(None, None, None, |scope| {
                    expr.eval(scope).map(|value| value.as_str().and_then(Timestamp::parse_rfc3339))
                });
                match until {
                    Ok(Some(until)) if until <= self.at => self.settle(step, Status::Done),
                    Ok(Some(until)) => self.make(Move::Sleep { step, until }),
                    Ok(None) => {
                        let detail = "\"until\" is no RFC 3339 time, such as 2026-11-23T02:00:00Z";
                        self.ask(AttentionCause::Expression, Some(step), Direction::Call, detail)
                    }
                    Err(e) => {
                        let detail = format_compact!("\"until\" has no value: {e}");
                        self.ask(AttentionCause::Expression, Some(step), Direction::Call, detail)
                    }
                }
            }
            Action::Wait(Wait::Signal { name, timeout }) => {
                if let Some(signal) = self.tx.signals.iter().find(|s| s.name == *name)
                    && !is_planted(Mutant::EarlySignalForgotten)
                {
                    let body = Arc::clone(&signal.body);
                    return self.receive(step, &body);
                }
                self.make(Move::AwaitSignal { step, until: self.at.after(*timeout) })
            }
        }
    }

    /// Tries a forward step again, from wherever it stands.
    pub(crate) fn again(&mut self, step: StepIndex, even_if_held: bool) -> Result<(), Rejected> {
        match self.step(step).action {
            Action::Call(_) if self.tx.steps[usize::from(step)].first_attempt_at != Timestamp::ZERO => {
                self.release(step, Direction::Call, even_if_held)
            }
            // It may not have come past its `when` yet.
            Action::Call(_) | Action::Wait(_) => self.begin_step(step, even_if_held),
        }
    }

    /// The load manager gives a call back that never left.
    pub(crate) fn park(&mut self, call: CallRef) -> Result<(), Rejected> {
        if !self.is_current(call) {
            return Err(Rejected::Stale);
        }
        let patience_until = match self.participant_of(call.step, call.direction) {
            Some((_, participant)) if self.step(call.step).optional && call.direction == Direction::Call => {
                self.at.after(self.step(call.step).timeout.unwrap_or(participant.timeout))
            }
            _ => Timestamp::NEVER,
        };
        self.make(Move::Park { step: call.step, direction: call.direction, patience_until })?;
        if call.direction == Direction::Call && self.tx.phase != Phase::Forward && !self.asks_on(call.step) {
            self.take_back(call.step)?;
            return self.advance();
        }
        self.report_parked(call.step, call.direction);
        Ok(())
    }

    pub(crate) fn report_parked(&mut self, step: StepIndex, direction: Direction) {
        if let Some((participant, _)) = self.participant_of(step, direction) {
            let call = self.call_ref(step, direction, self.tx.steps[usize::from(step)].attempts + 1);
            self.effects.push(Effect::Parked { call, participant });
        }
    }

    /// The load manager has room for a parked call.
    pub(crate) fn unpark(&mut self, call: CallRef) -> Result<(), Rejected> {
        let Some(state) = self.tx.steps.get(usize::from(call.step)) else { return Err(Rejected::NoSuchStep) };
        let goes = match call.direction {
            Direction::Call => {
                state.status == Status::Active && (self.tx.phase == Phase::Forward || self.asks_on(call.step))
            }
            Direction::Compensate => state.status == Status::Undoing,
        };
        // What was put aside waits for a person: its timeout wakes nobody, so past it a call would be asked for, found
        // too late and parked without end. Whoever closes the question takes it up again.
        if state.branch != Branch::Parked || !goes || self.tx.is_aside() {
            return Err(Rejected::Stale);
        }
        self.release(call.step, call.direction, true)
    }

    /// The attempt that this step is waiting for, and no other.
    pub(crate) fn is_current(&self, call: CallRef) -> bool {
        self.tx.steps.get(usize::from(call.step)).is_some_and(|s| {
            let on_its_way = match call.direction {
                Direction::Call => s.status == Status::Active,
                Direction::Compensate => s.status == Status::Undoing,
            };
            on_its_way
                && matches!(s.branch, Branch::Outstanding { .. })
                && (s.attempts == call.attempt || is_planted(Mutant::LateAnswerDecides))
                && s.round == call.round
        })
    }

    /// Keeps the named fields of an answer. `Err` names the first that is missing although the plan reads it.
    pub(crate) fn keep(
        &self,
        step: StepIndex,
        response: Option<plan::eval::Response<'_>>,
        signal: Option<&Value>,
    ) -> Result<Kept, (Kept, CompactString)> {
        let definition = self.step(step);
        if definition.result.is_empty() {
            return Ok(None);
        }
        let mut members = Vec::with_capacity(definition.result.len());
        let mut missing = None;
        self.seeing(response, signal, None, |scope| {
            for (name, expr) in &definition.result {
                match expr.eval(scope) {
                    Ok(value) => members.push((name.clone(), value.into_owned())),
                    Err(e) => {
                        missing.get_or_insert_with(|| format_compact!("result \"{name}\": {e}"));
                    }
                }
            }
        });
        let kept = model::Map::from_members(members).map(Value::Map);
        if let Some(what) = kept.as_ref().and_then(unfit) {
            return Err((None, format_compact!("the result {what}")));
        }
        let kept = kept.map(Arc::new);
        match missing {
            Some(what) if definition.result_is_read => Err((kept, what)),
            _ => Ok(kept),
        }
    }
}
