//! One live transaction, and the one place where it changes: [`Transaction::make`].

use std::sync::Arc;

use compact_str::CompactString;
use model::mutant::{Mutant, is_planted};
use model::{CallKey, Direction, Epoch, Outcome, Seq, StepIndex, Timestamp, TxId, Value};
use smallvec::SmallVec;

use crate::branch::{Branch, Status, StepState};
use crate::entry::Move;
use crate::evidence::Shared;

/// The most attempts whose details are kept; further ones only count.
pub const ATTEMPTS_KEPT_MAX: usize = 40;

/// In place of an endpoint: the attempt was interrupted, and nobody knows where it went.
pub const ENDPOINT_UNKNOWN: u16 = u16::MAX;

/// How a transaction ended, or will have ended: decided once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TxOutcome {
    Completed,
    Aborted(Reason),
}

/// Why it was aborted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    Refused,
    Failed,
    Cancelled,
    TimedOut,
}

impl Reason {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timed_out",
        }
    }
}

/// Where the whole transaction stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Waits for its lock; no step has begun.
    Queued,
    Forward,
    /// Forward starts are forbidden; what is outstanding is awaited.
    Stopping(Reason),
    /// The outcome is `aborted`; effects are being undone.
    Undoing,
    Ended,
}

/// The lock of a definition, as this transaction has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LockState {
    /// The definition names none.
    None,
    Waiting,
    Held,
    Released,
}

/// What decided the outcome.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Cause {
    pub step: Option<StepIndex>,
    pub detail: CompactString,
}

/// Why a person is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AttentionCause {
    /// Unknown, and the definition says a person decides.
    Unknown,
    /// Refused where there is no way back.
    RefusedAfterPivot,
    /// An undo was refused or failed ten times.
    UndoFails,
    /// A Done answer lacks a field that the plan reads.
    ResultMissing,
    /// The participant calls our request malformed (3xx, 405, 415, …).
    OurMistake,
    /// The same call key would carry another request.
    RequestChanged,
    /// An expression could not be evaluated.
    Expression,
    /// The participant no longer remembers the call key.
    PromiseExpired,
    /// The transaction's timeout passed beyond the pivot.
    TimedOutAfterPivot,
    /// The state machine refused to go on with this transaction.
    Quarantined,
    /// The participant is no longer declared, or the one endpoint of it that may be asked.
    ParticipantGone,
}

impl AttentionCause {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::RefusedAfterPivot => "refused_after_pivot",
            Self::UndoFails => "undo_fails",
            Self::ResultMissing => "result_missing",
            Self::OurMistake => "our_mistake",
            Self::RequestChanged => "request_changed",
            Self::Expression => "expression",
            Self::PromiseExpired => "promise_expired",
            Self::TimedOutAfterPivot => "timed_out_after_pivot",
            Self::Quarantined => "quarantined",
            Self::ParticipantGone => "participant_gone",
        }
    }
}

/// A person is asked about one step.
#[derive(Clone, PartialEq, Debug)]
pub struct Attention {
    pub cause: AttentionCause,
    pub step: Option<StepIndex>,
    pub direction: Direction,
    pub detail: CompactString,
    pub since: Timestamp,
}

/// One attempt, as the history shows it.
#[derive(Clone, PartialEq, Debug)]
pub struct Attempt {
    pub step: StepIndex,
    pub direction: Direction,
    pub n: u32,
    pub endpoint: u16,
    pub started_at: Timestamp,
    pub took_us: u32,
    pub outcome: Outcome,
    /// HTTP status; 0 if there was no answer.
    pub status: u16,
    pub counted: bool,
    pub detail: CompactString,
    /// It called nobody: this is the answer of another call.
    pub shared: Option<Box<Shared>>,
}

/// A signal that has come.
#[derive(Clone, PartialEq, Debug)]
pub struct ReceivedSignal {
    pub name: CompactString,
    pub idempotency_key: CompactString,
    pub body: Arc<Value>,
}

/// A person's act on this transaction.
#[derive(Clone, PartialEq, Debug)]
pub struct Act {
    pub at: Timestamp,
    pub verb: CompactString,
    pub who: CompactString,
    pub why: CompactString,
}

/// A live transaction: everything that its next move may depend on.
#[derive(Clone, PartialEq, Debug)]
pub struct Transaction {
    pub id: TxId,
    /// Place in the partition's table of plans.
    pub plan: u32,
    pub phase: Phase,
    pub lock: LockState,
    pub idempotency_key: CompactString,
    /// Digest of the submission, to tell the same from another under one idempotency key.
    pub submission_digest: u64,
    pub key: Option<CompactString>,
    pub input: Arc<Value>,
    pub began_at: Timestamp,
    pub deadline: Timestamp,
    pub priority: u8,
    pub traceparent: CompactString,
    pub outcome: Option<TxOutcome>,
    pub decided_at: Timestamp,
    pub ended_at: Timestamp,
    pub cause: Cause,
    pub output: Option<Arc<Value>>,
    pub attention: Option<Attention>,
    pub cancel_wish: bool,
    /// The deadline passed beyond the pivot: it binds no more.
    pub deadline_spent: bool,
    /// The last place given in the order of completion.
    pub order_last: u16,
    pub steps: SmallVec<[StepState; 4]>,
    pub attempts: SmallVec<[Attempt; 4]>,
    pub attempts_dropped: u32,
    pub signals: Vec<ReceivedSignal>,
    pub acts: Vec<Act>,
}

/// A move that the present state does not allow: a broken journal or a defect, never an input.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[error("{tx}: the move {what} is not allowed in {state}")]
pub struct IllegalMove {
    pub tx: TxId,
    pub what: String,
    pub state: String,
}

impl Transaction {
    pub fn seq(&self) -> Seq {
        self.id.seq()
    }

    pub fn call_key(&self, step: StepIndex, direction: Direction) -> CallKey {
        let state = &self.steps[usize::from(step)];
        let key = CallKey { tx: self.id, step, direction, round: state.round };
        if is_planted(Mutant::UndoUnderTheSameKey) {
            return CallKey { direction: Direction::Call, ..key };
        }
        if is_planted(Mutant::StepMissingInTheKey) {
            return CallKey { step: 0, ..key };
        }
        if is_planted(Mutant::KeyOfItsOwnForEachAttempt) {
            return CallKey { round: state.attempts as u16, ..key };
        }
        key
    }

    /// The last forward attempt of this step was given another call's answer.
    pub fn is_answered_by_another(&self, step: StepIndex) -> bool {
        let mut forward = self.attempts.iter().rev().filter(|a| a.step == step && a.direction == Direction::Call);
        forward.next().is_some_and(|last| last.shared.is_some())
    }

    /// Any forward attempt that has not been answered.
    pub fn has_outstanding(&self) -> bool {
        self.steps.iter().any(|s| s.status == Status::Active && matches!(s.branch, Branch::Outstanding { .. }))
    }

    /// A decision about it broke off: it waits for a person before its own clock and its parked calls go on.
    pub fn is_aside(&self) -> bool {
        self.attention.as_ref().is_some_and(|a| a.cause == AttentionCause::Quarantined)
    }

    /// When the clock should look at it again: the earliest of its branches and its own deadline.
    /// What is quarantined waits for a person only, or what failed once would fail at every turn.
    pub fn wakes_at(&self) -> Timestamp {
        if self.is_aside() {
            return Timestamp::NEVER;
        }
        let mut earliest = if self.deadline_binds() { self.deadline } else { Timestamp::NEVER };
        for step in &self.steps {
            earliest = earliest.min(step.branch.wakes_at());
            if step.status == Status::Active && step.branch == Branch::Parked {
                earliest = earliest.min(step.patience_until);
            }
        }
        earliest
    }

    /// The transaction's own timeout can still decide something.
    pub fn deadline_binds(&self) -> bool {
        if is_planted(Mutant::DeadlineForgottenWhileQueued) && self.phase == Phase::Queued {
            return false;
        }
        self.outcome.is_none() && !self.deadline_spent && matches!(self.phase, Phase::Queued | Phase::Forward)
    }

    /// Carries out one recorded verdict. The one place where a transaction changes; checks first, then changes.
    pub fn make(&mut self, step: &Move, at: Timestamp, epoch: Epoch) -> Result<(), IllegalMove> {
        if !self.allows(step) {
            return Err(IllegalMove { tx: self.id, what: format!("{step:?}"), state: format!("{:?}", self.phase) });
        }
        match step {
            Move::TakeLock => {
                self.lock = LockState::Held;
                self.phase = Phase::Forward;
            }
            Move::AwaitLock => {
                self.lock = LockState::Waiting;
                self.phase = Phase::Queued;
            }
            Move::FreeLock => self.lock = LockState::Released,
            Move::Start { step, direction, digest } => {
                let s = &mut self.steps[usize::from(*step)];
                s.branch = Branch::Outstanding { epoch };
                s.asked = None;
                s.attempts += 1;
                match direction {
                    Direction::Call => {
                        s.status = Status::Active;
                        s.digest = *digest;
                        if s.first_attempt_at == Timestamp::ZERO {
                            s.first_attempt_at = at;
                        }
                    }
                    Direction::Compensate => {
                        if s.status != Status::Undoing {
                            s.attempts = 1;
                            s.attempts_counted = 0;
                        }
                        s.status = Status::Undoing;
                        s.undo_digest = *digest;
                        if s.undo_first_attempt_at == Timestamp::ZERO {
                            s.undo_first_attempt_at = at;
                        }
                    }
                }
            }
            Move::Park { step, direction, patience_until } => {
                let s = &mut self.steps[usize::from(*step)];
                if matches!(s.branch, Branch::Outstanding { .. }) && s.attempts > 0 {
                    // Withdrawn before it started: the attempt never was.
                    s.attempts -= 1;
                }
                if *direction == Direction::Compensate && s.status != Status::Undoing {
                    s.attempts = 0;
                    s.attempts_counted = 0;
                }
                s.status = if *direction == Direction::Call { Status::Active } else { Status::Undoing };
                s.branch = Branch::Parked;
                s.asked = None;
                s.patience_until = s.patience_until.min(*patience_until);
            }
            Move::Answer { attempt, settles_at, proves_not_executed, result } => {
                let place = usize::from(attempt.step);
                if attempt.direction == Direction::Call && matches!(attempt.outcome, Outcome::Done | Outcome::Unknown) {
                    self.order_last = self.order_last.saturating_add(1);
                    self.steps[place].order = self.order_last;
                }
                let s = &mut self.steps[place];
                s.branch = Branch::Idle;
                s.attempts_counted += u32::from(attempt.counted);
                if attempt.direction == Direction::Call {
                    match attempt.outcome {
                        Outcome::Unknown => {
                            s.may_have_executed |= !is_planted(Mutant::UnknownIsForgotten);
                            s.endpoint = attempt.endpoint;
                            s.settles_at = s.settles_at.max(*settles_at);
                        }
                        // It did nothing over there, whatever it was told.
                        _ if attempt.shared.is_some() && !is_planted(Mutant::SharedCountsAsExecuted) => {}
                        Outcome::Done => {
                            s.may_have_executed = true;
                            s.endpoint = attempt.endpoint;
                        }
                        Outcome::Refused if is_planted(Mutant::RefusedClearsMayHaveExecuted) => {
                            s.may_have_executed = false;
                        }
                        Outcome::Refused | Outcome::Failed => {}
                    }
                    if *proves_not_executed {
                        s.may_have_executed = false;
                    }
                    if let Some(result) = result {
                        s.result = Some(Arc::clone(result));
                    }
                } else {
                    s.undo_may_have_executed |= attempt.outcome == Outcome::Unknown;
                }
                if self.attempts.len() < ATTEMPTS_KEPT_MAX {
                    self.attempts.push((**attempt).clone());
                } else {
                    // The first tell how it began, the last how it stands: drop from the middle.
                    self.attempts.remove(ATTEMPTS_KEPT_MAX / 2);
                    self.attempts.push((**attempt).clone());
                    self.attempts_dropped += 1;
                }
            }
            Move::Restored { step, direction: Direction::Call } => {
                self.order_last = self.order_last.saturating_add(1);
                let s = &mut self.steps[usize::from(*step)];
                s.order = self.order_last;
                s.may_have_executed = true;
                s.endpoint = ENDPOINT_UNKNOWN;
                if s.first_attempt_at == Timestamp::ZERO {
                    // Not before; when exactly, nobody remembers.
                    s.first_attempt_at = self.began_at;
                }
            }
            Move::Restored { step, direction: Direction::Compensate } => {
                let s = &mut self.steps[usize::from(*step)];
                s.undo_may_have_executed = true;
                if s.undo_first_attempt_at == Timestamp::ZERO {
                    s.undo_first_attempt_at = self.began_at;
                }
            }
            Move::LateDone { step, result } => {
                let s = &mut self.steps[usize::from(*step)];
                s.may_have_executed = true;
                if s.result.is_none() {
                    s.result.clone_from(result);
                }
            }
            Move::Backoff { step, until, still_trying } => {
                let s = &mut self.steps[usize::from(*step)];
                s.branch = Branch::Backoff { until: *until };
                s.still_trying = *still_trying;
            }
            Move::AwaitSignal { step, until } => {
                let s = &mut self.steps[usize::from(*step)];
                s.status = Status::Active;
                s.branch = Branch::Signal { until: *until };
            }
            Move::Sleep { step, until } => {
                let s = &mut self.steps[usize::from(*step)];
                s.status = Status::Active;
                s.branch = Branch::Sleeping { until: *until };
            }
            Move::Quiet { step, until } => {
                let s = &mut self.steps[usize::from(*step)];
                s.branch = Branch::Quiet { until: *until };
                s.asked = None;
            }
            Move::Settle { step, status, result, by_hand } => {
                let place = usize::from(*step);
                let is_shared = self.is_answered_by_another(*step) && !is_planted(Mutant::SharedCountsAsExecuted);
                if matches!(status, Status::Done | Status::Unknown) && self.steps[place].order == 0 {
                    self.order_last = self.order_last.saturating_add(1);
                    self.steps[place].order = self.order_last;
                }
                let s = &mut self.steps[place];
                s.status = *status;
                s.branch = Branch::Idle;
                s.asked = None;
                s.still_trying = false;
                s.by_hand |= *by_hand;
                if let Some(result) = result {
                    s.result = Some(Arc::clone(result));
                }
                match status {
                    Status::Done => s.may_have_executed |= *by_hand || !is_shared,
                    Status::Compensated | Status::Skipped => s.may_have_executed = false,
                    Status::Refused if *by_hand => s.may_have_executed = false,
                    _ => {}
                }
            }
            Move::Signal(signal) => self.signals.push(signal.clone()),
            Move::Ask(attention) => {
                if let Some(step) = attention.step {
                    let s = &mut self.steps[usize::from(step)];
                    if !s.still_trying {
                        s.branch = Branch::Attention;
                        s.asked = Some(attention.cause);
                        if attention.direction == Direction::Call && s.status == Status::Pending {
                            s.status = Status::Active;
                        }
                    }
                }
                self.deadline_spent |= attention.cause == AttentionCause::TimedOutAfterPivot;
                // The first open question stays in view until it is closed; a quarantine goes before all.
                let shows = match &self.attention {
                    None => true,
                    Some(open) => open.step.is_some() && open.step == attention.step,
                };
                if shows || attention.cause == AttentionCause::Quarantined {
                    self.attention = Some(attention.clone());
                }
            }
            Move::Unask => {
                if let Some(attention) = self.attention.take()
                    && let Some(step) = attention.step
                {
                    let s = &mut self.steps[usize::from(step)];
                    s.still_trying = false;
                    if s.branch == Branch::Attention {
                        s.branch = Branch::Idle;
                        s.asked = None;
                    }
                }
            }
            Move::Recount { step } => {
                let s = &mut self.steps[usize::from(*step)];
                s.attempts_counted = 0;
                s.still_trying = false;
                // That the undo may be repeated is the person's word now.
                s.undo_may_have_executed = false;
                s.undo_first_attempt_at = Timestamp::ZERO;
                if s.branch == Branch::Attention {
                    s.branch = Branch::Idle;
                    s.asked = None;
                }
            }
            Move::Wish => self.cancel_wish = true,
            Move::Stop { reason, cause } => {
                self.phase = Phase::Stopping(*reason);
                self.cause = cause.clone();
            }
            Move::Resume => {
                // The deadline has been judged: it decides nothing any more, and must not wake anybody again.
                self.deadline_spent |= self.phase == Phase::Stopping(Reason::TimedOut);
                self.phase = Phase::Forward;
                self.cause = Cause::default();
            }
            Move::Decide { outcome, cause, output } => {
                self.outcome = Some(*outcome);
                self.decided_at = at;
                if let Some(cause) = cause {
                    self.cause = cause.clone();
                }
                self.output.clone_from(output);
                if matches!(outcome, TxOutcome::Aborted(_)) {
                    self.phase = Phase::Undoing;
                }
            }
            Move::Act(act) => self.acts.push(act.clone()),
            Move::End => {
                self.phase = Phase::Ended;
                self.ended_at = at;
            }
        }
        Ok(())
    }

    /// The one match that knows all legal moves.
    fn allows(&self, step: &Move) -> bool {
        let has = |place: &StepIndex| usize::from(*place) < self.steps.len();
        if self.phase == Phase::Ended {
            return false;
        }
        match step {
            Move::TakeLock => matches!(self.lock, LockState::None | LockState::Waiting),
            Move::AwaitLock => self.lock == LockState::None,
            Move::FreeLock => matches!(self.lock, LockState::Held | LockState::Waiting),
            Move::Start { step, direction, .. } | Move::Park { step, direction, .. } => {
                has(step) && {
                    let s = &self.steps[usize::from(*step)];
                    match direction {
                        Direction::Call => matches!(s.status, Status::Pending | Status::Active),
                        Direction::Compensate => !matches!(
                            s.status,
                            Status::Pending | Status::Compensated | Status::GivenUp | Status::Skipped
                        ),
                    }
                }
            }
            Move::Answer { attempt, .. } => {
                has(&attempt.step)
                    && matches!(
                        self.steps[usize::from(attempt.step)].branch,
                        Branch::Outstanding { .. } | Branch::Signal { .. }
                    )
            }
            Move::LateDone { step, .. } | Move::Restored { step, .. } | Move::Recount { step } => has(step),
            Move::Backoff { step, .. } => {
                has(step) && matches!(self.steps[usize::from(*step)].status, Status::Active | Status::Undoing)
            }
            Move::AwaitSignal { step, .. } | Move::Sleep { step, .. } => {
                has(step) && matches!(self.steps[usize::from(*step)].status, Status::Pending | Status::Active)
            }
            Move::Quiet { step, .. } => has(step) && self.steps[usize::from(*step)].has_effect(),
            Move::Settle { step, status, .. } => {
                has(step) && {
                    let s = &self.steps[usize::from(*step)];
                    match status {
                        Status::Compensated | Status::GivenUp => s.status != Status::Pending,
                        Status::Undoing => false,
                        _ => matches!(s.status, Status::Pending | Status::Active),
                    }
                }
            }
            Move::Ask(attention) => attention.step.as_ref().is_none_or(has),
            Move::Decide { .. } | Move::Stop { .. } => {
                self.outcome.is_none() || is_planted(Mutant::OutcomeDecidedTwice)
            }
            Move::Signal(_) | Move::Unask | Move::Wish | Move::Act(_) => true,
            Move::Resume => matches!(self.phase, Phase::Stopping(_)),
            Move::End => self.outcome.is_some(),
        }
    }
}
