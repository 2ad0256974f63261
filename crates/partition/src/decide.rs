//! Deciding: one command on one transaction, verdict by verdict.
//!
//! A [`Decider`] makes each verdict the moment it is reached, through the same `make` that a replay uses, so what is
//! decided next always sees what was decided before. Evaluation and rendering happen here and nowhere else.

mod abort;
mod answer;
mod classify;
mod forward;
mod operate;
mod pace;
mod signal;
mod undo;
mod wake;

use compact_str::CompactString;
use model::mutant::{Mutant, is_planted};
use model::{CallKey, Direction, Epoch, Incarnation, StepIndex, Timestamp, Value};
use plan::eval::{Response, Scope, Steps};
use plan::{Participant, Saga, Step};

use crate::branch::{Branch, Status};
use crate::command::{CallRef, Command, Rejected};
use crate::effect::{Effect, OutgoingCall, Share};
use crate::entry::{Move, Moves};
use crate::leader::Surroundings;
use crate::plans::PlanSlot;
use crate::state::Partition;
use crate::transaction::{Attention, AttentionCause, ENDPOINT_UNKNOWN, Phase, Transaction};

/// One command being decided on one transaction.
pub(crate) struct Decider<'a> {
    pub(crate) tx: &'a mut Transaction,
    pub(crate) plan: &'a Saga,
    pub(crate) at: Timestamp,
    pub(crate) incarnation: Incarnation,
    pub(crate) epoch: Epoch,
    pub(crate) around: &'a dyn Surroundings,
    pub(crate) moves: Moves,
    pub(crate) effects: &'a mut Vec<Effect>,
}

/// What expressions may see of a transaction's steps.
struct Known<'a>(&'a Transaction);

impl Steps for Known<'_> {
    fn result(&self, step: StepIndex) -> Option<&Value> {
        self.0.steps.get(usize::from(step)).and_then(|s| s.result.as_deref())
    }

    fn outcome(&self, step: StepIndex) -> &'static str {
        self.0.steps.get(usize::from(step)).map_or("pending", |s| s.status.outcome_word())
    }

    fn call_key(&self, step: StepIndex) -> CallKey {
        self.0.call_key(step, Direction::Call)
    }
}

impl<'a> Decider<'a> {
    pub(crate) fn new(
        tx: &'a mut Transaction,
        slot: &'a PlanSlot,
        at: Timestamp,
        (incarnation, epoch): (Incarnation, Epoch),
        around: &'a dyn Surroundings,
        effects: &'a mut Vec<Effect>,
    ) -> Self {
        Self { tx, plan: &slot.saga, at, incarnation, epoch, around, moves: Moves::new(), effects }
    }

    /// Makes a verdict and records it.
    pub(crate) fn make(&mut self, step: Move) -> Result<(), Rejected> {
        self.tx.make(&step, self.at, self.epoch).map_err(|e| Rejected::Illegal(e.to_string()))?;
        if !is_planted(Mutant::VerdictNotRecorded) || !matches!(step, Move::Backoff { .. }) {
            self.moves.push(step);
        }
        Ok(())
    }

    /// Decides one command.
    pub(crate) fn carry_out(&mut self, command: Command) -> Result<(), Rejected> {
        match command {
            Command::Begin(_) => Err(Rejected::Illegal("a transaction begins once".into())),
            Command::Answered { call, sample } => self.answered(call, &sample),
            Command::Park(call) => self.park(call),
            Command::Unpark(call) => self.unpark(call),
            Command::Wake(_) => self.wake(),
            Command::Recover(_) => self.recover(),
            Command::Grant(_) => self.grant(),
            Command::Signal(signal) => self.signal(signal),
            Command::Operate { verb, who, why, .. } => self.operate(verb, &who, &why),
        }
    }

    /// Goes on as far as it can, whatever the phase; ends the transaction when nothing is left.
    pub(crate) fn advance(&mut self) -> Result<(), Rejected> {
        match self.tx.phase {
            Phase::Queued | Phase::Ended => Ok(()),
            Phase::Forward => self.forward(),
            Phase::Stopping(reason) => self.resolve_stop(reason),
            Phase::Undoing => self.undo_next(),
        }
    }

    fn grant(&mut self) -> Result<(), Rejected> {
        if self.tx.phase != Phase::Queued {
            return Err(Rejected::Stale);
        }
        self.make(Move::TakeLock)?;
        self.advance()
    }

    pub(crate) fn step(&self, step: StepIndex) -> &'a Step {
        &self.plan.steps[usize::from(step)]
    }

    pub(crate) fn status(&self, step: StepIndex) -> Status {
        self.tx.steps[usize::from(step)].status
    }

    pub(crate) fn branch(&self, step: StepIndex) -> Branch {
        self.tx.steps[usize::from(step)].branch
    }

    pub(crate) fn step_indices(&self) -> std::ops::Range<StepIndex> {
        0..self.plan.steps.len() as StepIndex
    }

    /// Asks a person about a step.
    pub(crate) fn ask(
        &mut self,
        cause: AttentionCause,
        step: Option<StepIndex>,
        direction: Direction,
        detail: impl Into<CompactString>,
    ) -> Result<(), Rejected> {
        let attention = Attention { cause, step, direction, detail: detail.into(), since: self.at };
        self.make(Move::Ask(attention))
    }

    /// Shows the next open question, when the one that was shown is closed.
    pub(crate) fn raise_open(&mut self) -> Result<(), Rejected> {
        if self.tx.attention.is_some() {
            return Ok(());
        }
        let Some(step) = self.step_indices().find(|step| self.branch(*step) == Branch::Attention) else {
            return Ok(());
        };
        let direction = if self.status(step) == Status::Active { Direction::Call } else { Direction::Compensate };
        let last = self.tx.attempts.iter().rev().find(|a| a.step == step && a.direction == direction);
        let detail = last.map_or_else(CompactString::default, |a| a.detail.clone());
        let cause = self.tx.steps[usize::from(step)].asked.unwrap_or(AttentionCause::Unknown);
        self.ask(cause, Some(step), direction, detail)
    }

    pub(crate) fn settle(&mut self, step: StepIndex, status: Status) -> Result<(), Rejected> {
        self.make(Move::Settle { step, status, result: None, by_hand: false })
    }

    /// Runs `with` on what an expression at this place may see.
    pub(crate) fn seeing<T>(
        &self,
        response: Option<Response<'_>>,
        signal: Option<&Value>,
        call: Option<CallKey>,
        with: impl FnOnce(&Scope<'_>) -> T,
    ) -> T {
        let known = Known(self.tx);
        with(&Scope { tx: self.tx.id, input: &self.tx.input, steps: &known, response, signal, call })
    }

    /// The participant of a call in this direction, if it is still declared.
    pub(crate) fn participant_of(&self, step: StepIndex, direction: Direction) -> Option<(u32, &'a Participant)> {
        let call = match direction {
            Direction::Call => self.step(step).call()?,
            Direction::Compensate => match &self.step(step).compensate {
                plan::Undo::Call { call, .. } => call,
                plan::Undo::Nothing => return None,
            },
        };
        self.around.participant(&call.participant)
    }

    /// Releases a rendered call, or parks it if its participant is held anyway.
    pub(crate) fn release(
        &mut self,
        step: StepIndex,
        direction: Direction,
        even_if_held: bool,
    ) -> Result<(), Rejected> {
        let definition = self.step(step);
        let (call, own_timeout) = match (direction, &definition.compensate) {
            (Direction::Call, _) => match definition.call() {
                Some(call) => (call, definition.timeout),
                None => return Err(Rejected::Illegal("a wait makes no call".into())),
            },
            (Direction::Compensate, plan::Undo::Call { call, timeout, .. }) => (call, *timeout),
            (Direction::Compensate, plan::Undo::Nothing) => {
                return Err(Rejected::Illegal("there is nothing to undo".into()));
            }
        };
        let Some((place, participant)) = self.around.participant(&call.participant) else {
            return self.ask(AttentionCause::ParticipantGone, Some(step), direction, call.participant.clone());
        };
        self.doubt_lost_life(step, direction)?;
        if !self.may_be_asked(step, direction, participant) {
            return match direction {
                Direction::Call => self.not_asked_again(step, participant, "it was held too long".into()),
                Direction::Compensate => self.undo_not_asked_again(step, participant, CompactString::default()),
            };
        }
        let patience = if definition.optional && direction == Direction::Call {
            self.at.after(own_timeout.unwrap_or(participant.timeout))
        } else {
            Timestamp::NEVER
        };
        if !even_if_held && self.around.is_held(place) {
            self.make(Move::Park { step, direction, patience_until: patience })?;
            let call = self.call_ref(step, direction, 1);
            self.effects.push(Effect::Parked { call, participant: place });
            return Ok(());
        }
        let key = self.tx.call_key(step, direction);
        let rendered = self.seeing(None, None, Some(key), |scope| plan::render::render_call(call, scope, 192));
        let request = match rendered {
            Ok(request) => request,
            Err(e) => {
                let detail = compact_str::format_compact!("the request cannot be made: {e}");
                return self.ask(AttentionCause::Expression, Some(step), direction, detail);
            }
        };
        let digest = request.digest();
        let share = self.share_of(step, direction, participant, &request.path_and_query);
        let state = &self.tx.steps[usize::from(step)];
        let known = if direction == Direction::Call { state.digest } else { state.undo_digest };
        if known != 0 && known != digest {
            let detail = "the same call key would carry another request than before";
            return self.ask(AttentionCause::RequestChanged, Some(step), direction, detail);
        }
        let pinned = state.may_have_executed && remembers_by_endpoint(participant) && !is_planted(Mutant::PinForgotten);
        let mut endpoint = self.known_endpoint(step, direction).filter(|_| pinned);
        let is_gone = endpoint.is_some_and(|place| usize::from(place) >= participant.endpoints.len());
        if is_gone && is_planted(Mutant::GoneEndpointIsReplaced) {
            endpoint = None;
        } else if is_gone && !is_planted(Mutant::GoneEndpointIsAwaited) {
            // No other would recognise it, and this one can be asked by nobody: parked, it would only go round.
            let detail = "the endpoint that would recognise the call key is no longer declared";
            return self.ask(AttentionCause::ParticipantGone, Some(step), direction, detail);
        }
        self.make(Move::Start { step, direction, digest })?;
        let attempt = self.tx.steps[usize::from(step)].attempts;
        // When the outcome is decided, or the timeout is spent, nothing hangs on it any more: with it the call could
        // never start, and would be parked and asked for again without end.
        let mut binds = direction == Direction::Call
            && definition.side != plan::Side::After
            && !self.pivot_touched()
            && self.tx.deadline_binds();
        binds |= is_planted(Mutant::UndoHasADeadline);
        let ended = self.tx.steps.iter().filter(|s| s.status.has_ended()).count() as u16;
        self.effects.push(Effect::Call(Box::new(OutgoingCall {
            call: self.call_ref(step, direction, attempt),
            key,
            participant: place,
            request,
            timeout: own_timeout.unwrap_or(participant.timeout),
            deadline: if binds { self.tx.deadline } else { Timestamp::NEVER },
            endpoint,
            priority: self.tx.priority,
            progress: (ended, self.plan.steps.len() as u16),
            share,
        })));
        Ok(())
    }

    /// Whether the answer to this call may be another's, or serve another. Never where something is undone, or where
    /// there is no way back; the files have been checked one after the other, so all of it is looked at here again.
    fn share_of(&self, step: StepIndex, direction: Direction, participant: &Participant, path: &str) -> Option<Share> {
        let definition = self.step(step);
        let reads = direction == Direction::Call
            && definition.call().is_some_and(|call| !call.method.changes())
            && definition.compensate == plan::Undo::Nothing
            && definition.side != plan::Side::Pivot;
        if !reads || participant.shared_reads.is_empty() {
            return None;
        }
        let max_age = participant.shares(path)?;
        Some(Share { max_age, may_join: !self.tx.steps[usize::from(step)].may_have_executed })
    }

    pub(crate) fn call_ref(&self, step: StepIndex, direction: Direction, attempt: u32) -> CallRef {
        CallRef { tx: self.tx.seq(), step, direction, attempt, round: self.tx.steps[usize::from(step)].round }
    }

    /// The transaction began before the data was restored from a backup: what it does next may have been done already
    /// in the life that is lost (SEMANTICS 35).
    pub(crate) fn doubt_lost_life(&mut self, step: StepIndex, direction: Direction) -> Result<(), Rejected> {
        let state = &self.tx.steps[usize::from(step)];
        let in_doubt = match direction {
            Direction::Call => state.may_have_executed,
            Direction::Compensate => state.undo_may_have_executed,
        };
        if self.tx.id.incarnation() == self.incarnation || in_doubt {
            return Ok(());
        }
        self.make(Move::Restored { step, direction })
    }

    /// The pivot may have executed: there may be no way back.
    pub(crate) fn pivot_touched(&self) -> bool {
        !is_planted(Mutant::PivotIgnored)
            && self.plan.pivot().is_some_and(|pivot| self.tx.steps[usize::from(pivot)].has_effect())
    }

    /// The pivot is done, or skipped, which is as good: there is no way back.
    pub(crate) fn pivot_done(&self) -> bool {
        !is_planted(Mutant::PivotIgnored)
            && self.plan.pivot().is_some_and(|pivot| matches!(self.status(pivot), Status::Done | Status::Skipped))
    }

    /// Whether this forward step goes on although nothing new may start: a pivot of which nobody knows.
    pub(crate) fn asks_on(&self, step: StepIndex) -> bool {
        matches!(self.tx.phase, Phase::Stopping(_)) && self.step(step).side == plan::Side::Pivot && self.pivot_touched()
    }

    /// A call that may have executed is made again only where a repeat is harmless, or is promised to be recognised
    /// still (SEMANTICS 2). Looked at before every start: a call may have been parked for days.
    pub(crate) fn may_be_asked(&self, step: StepIndex, direction: Direction, participant: &Participant) -> bool {
        let state = &self.tx.steps[usize::from(step)];
        let (call, may, first) = match (direction, &self.step(step).compensate) {
            (Direction::Compensate, plan::Undo::Call { call, .. }) => {
                (Some(call), state.undo_may_have_executed, state.undo_first_attempt_at)
            }
            _ => (self.step(step).call(), state.may_have_executed, state.first_attempt_at),
        };
        let harmless = call.is_some_and(|call| call.method.is_idempotent()) || is_planted(Mutant::PromiseNeverEnds);
        let promised = participant.idempotency.remembers();
        // That it has one endpoint now does not say that it had no other then.
        let found = !remembers_by_endpoint(participant) || self.known_endpoint(step, direction).is_some();
        !may || harmless || (found && promised.is_some_and(|remembers| self.at < first.after(remembers)))
    }

    /// Where the attempts under this call key went, and so will the next: an undo goes where its call went.
    fn known_endpoint(&self, step: StepIndex, direction: Direction) -> Option<u16> {
        let definition = self.step(step);
        let same = match (direction, &definition.compensate) {
            (Direction::Compensate, plan::Undo::Call { call, .. }) => {
                definition.call().is_some_and(|forward| forward.participant == call.participant)
            }
            _ => true,
        };
        let endpoint = self.tx.steps[usize::from(step)].endpoint;
        (same && endpoint != ENDPOINT_UNKNOWN).then_some(endpoint)
    }
}

/// A repeat is recognised only at the endpoint that had the first.
fn remembers_by_endpoint(participant: &Participant) -> bool {
    use plan::{Idempotency, PromiseScope};
    matches!(
        participant.idempotency,
        Idempotency::Header { scope: PromiseScope::Endpoint, .. }
            | Idempotency::Body { scope: PromiseScope::Endpoint, .. }
    )
}

/// What a new epoch must do for one live transaction.
pub(crate) fn effects_of(tx: &Transaction, partition: &Partition, around: &dyn Surroundings) -> Vec<Effect> {
    let mut effects = Vec::new();
    let Some(slot) = partition.plans.get(tx.plan) else { return effects };
    for (place, state) in tx.steps.iter().enumerate() {
        if state.branch != Branch::Parked {
            continue;
        }
        let step = &slot.saga.steps[place];
        let (direction, call) = match (state.status, &step.compensate) {
            (Status::Undoing, plan::Undo::Call { call, .. }) => (Direction::Compensate, Some(call)),
            _ => (Direction::Call, step.call()),
        };
        let Some((participant, _)) = call.and_then(|c| around.participant(&c.participant)) else { continue };
        let call = CallRef {
            tx: tx.seq(),
            step: place as StepIndex,
            direction,
            attempt: state.attempts + 1,
            round: state.round,
        };
        effects.push(Effect::Parked { call, participant });
    }
    effects
}
