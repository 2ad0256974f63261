//! The leader's pipeline: a command and what may be looked up, decided into an entry and its effects.
//!
//! Deciding and applying are one: every verdict is made through [`Transaction::make`], the same function that a
//! replay uses, and recorded as it is made. A panic on the way (a poison transaction) leaves the verdicts made so far,
//! all of them legal, and puts the transaction aside as quarantined; the others go on (SEMANTICS 12).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;
use model::mutant::{Mutant, is_planted};
use model::{Direction, Epoch, Incarnation, Outcome, Seq, Timestamp};
use plan::{Participant, PlanHash};

use crate::branch::{Branch, Status};
use crate::command::{Begin, CallRef, Command, Rejected};
use crate::decide::Decider;
use crate::effect::Effect;
use crate::entry::{Begun, Entry, EntryKind, Move, Moves};
use crate::locks::WAITERS_MAX;
use crate::state::{ApplyError, Missing, Partition, begin};
use crate::transaction::{Attempt, Attention, AttentionCause, ENDPOINT_UNKNOWN, LockState, Transaction};

/// Raised when `decide` or `make` change their meaning (SEMANTICS 32).
pub const SEMANTICS: u16 = 1;

/// What the leader may look up while it decides. Everything it learns here ends as a value in the entry.
pub trait Surroundings {
    /// A participant by name, with its place in the node's table.
    fn participant(&self, name: &str) -> Option<(u32, &Participant)>;
    /// New calls to it would only wait: they are journaled as parked, and so are provably not started.
    fn is_held(&self, participant: u32) -> bool;
}

/// A partition and the right to add to its journal.
#[derive(Debug)]
pub struct Leader {
    pub partition: Partition,
}

impl Leader {
    pub fn new(partition: Partition) -> Self {
        Self { partition }
    }

    /// Opens a new epoch. Must be the first entry of every owner, and of every restart.
    pub fn open_epoch(&mut self, epoch: Epoch, incarnation: Incarnation, now: Timestamp) -> Result<Entry, ApplyError> {
        self.commit(now, EntryKind::Epoch { epoch, incarnation, semantics: SEMANTICS })
    }

    /// The place of a plan, and the entry that introduces it if this is its first use here.
    pub fn use_plan(
        &mut self,
        hash: PlanHash,
        bytes: &Arc<[u8]>,
        now: Timestamp,
    ) -> Result<(u32, Option<Entry>), ApplyError> {
        if let Some(place) = self.partition.plans.find(&hash) {
            return Ok((place, None));
        }
        let entry = self.commit(now, EntryKind::Plan { hash, bytes: bytes.clone() })?;
        Ok((self.partition.plans.len() as u32 - 1, Some(entry)))
    }

    fn commit(&mut self, now: Timestamp, kind: EntryKind) -> Result<Entry, ApplyError> {
        let entry = Entry { seq: self.partition.seq + 1, at: now.max(self.partition.at), kind };
        self.partition.apply(&entry)?;
        Ok(entry)
    }

    /// Decides a command into one entry, applied already; `effects` gets what to do once it is durable.
    ///
    /// # Errors
    /// A rejected command has changed nothing.
    pub fn propose(
        &mut self,
        command: Command,
        now: Timestamp,
        around: &dyn Surroundings,
        effects: &mut Vec<Effect>,
    ) -> Result<Entry, Rejected> {
        let at = if is_planted(Mutant::ClockGoesBack) { now } else { now.max(self.partition.at) };
        let seq = self.partition.seq + 1;
        let kind = match command {
            Command::Begin(begin) => self.begin(*begin, seq, at, around, effects)?,
            Command::Grant(tx) if !self.partition.is_next_for_lock(tx) => return Err(Rejected::Stale),
            other => {
                let tx = other.subject().unwrap_or_default();
                let told = Told::by(&other);
                let moves = self.change(tx, at, around, effects, told, |decider| decider.carry_out(other))?;
                EntryKind::Moves { tx, moves }
            }
        };
        self.partition.seq = seq;
        self.partition.at = at;
        Ok(Entry { seq, at, kind })
    }

    fn begin(
        &mut self,
        order: Begin,
        seq: Seq,
        at: Timestamp,
        around: &dyn Surroundings,
        effects: &mut Vec<Effect>,
    ) -> Result<EntryKind, Rejected> {
        let slot =
            self.partition.plans.get(order.plan).ok_or_else(|| Rejected::Illegal("no such plan".into()))?.clone();
        let mut must_wait = false;
        if let (Some(lock), Some(key)) = (&slot.saga.lock, &order.key)
            && let Some(queue) = self.partition.locks.queue(lock, key)
        {
            if queue.waiting.len() >= WAITERS_MAX {
                return Err(Rejected::KeyBusy { lock: lock.clone(), waiting: queue.waiting.len() });
            }
            must_wait = !is_planted(Mutant::LockIgnored);
        }
        let mut begun = Box::new(Begun {
            id: Transaction::id_at(&self.partition, at, seq),
            plan: order.plan,
            idempotency_key: order.idempotency_key,
            submission_digest: order.submission_digest,
            key: order.key,
            input: order.input,
            deadline: order.deadline,
            priority: order.priority,
            traceparent: order.traceparent,
            moves: Moves::new(),
        });
        let mut tx = begin(&begun, at, slot.saga.steps.len());
        let life = (self.partition.incarnation, self.partition.epoch);
        let mut decider = Decider::new(&mut tx, &slot, at, life, around, effects);
        guarded(&mut decider, Told::Nothing, |d| {
            if slot.saga.lock.is_some() && d.tx.key.is_some() {
                d.make(if must_wait { Move::AwaitLock } else { Move::TakeLock })?;
            }
            d.advance()
        })?;
        begun.moves = std::mem::take(&mut decider.moves);
        let ended = self.partition.insert(tx);
        self.after(ended, effects);
        Ok(EntryKind::Begin(begun))
    }

    fn change(
        &mut self,
        tx: Seq,
        at: Timestamp,
        around: &dyn Surroundings,
        effects: &mut Vec<Effect>,
        told: Told,
        act: impl FnOnce(&mut Decider<'_>) -> Result<(), Rejected>,
    ) -> Result<Moves, Rejected> {
        let mut live = self.partition.check_out(tx).map_err(|missing| match missing {
            Missing::NotLive => Rejected::NotLive(tx),
            Missing::NotResident => Rejected::Illegal("its row was not brought back first".into()),
        })?;
        let Some(slot) = self.partition.plans.get(live.plan).cloned() else {
            self.partition.return_unchanged(live);
            return Err(Rejected::Illegal("its plan is not in the journal".into()));
        };
        let effects_before = effects.len();
        let lock_before = live.lock;
        let life = (self.partition.incarnation, self.partition.epoch);
        let mut decider = Decider::new(&mut live, &slot, at, life, around, effects);
        let result = guarded(&mut decider, told, act);
        let moves = std::mem::take(&mut decider.moves);
        match result {
            Err(rejected) if moves.is_empty() => {
                effects.truncate(effects_before);
                self.partition.return_unchanged(live);
                Err(rejected)
            }
            _ if moves.is_empty() => {
                self.partition.return_unchanged(live);
                Err(Rejected::Stale)
            }
            _ => {
                let freed = lock_before != LockState::Released && live.lock == LockState::Released;
                let name =
                    freed.then(|| (slot.saga.lock.clone().unwrap_or_default(), live.key.clone().unwrap_or_default()));
                let ended = self.partition.check_in(live);
                self.after(ended, effects);
                if let Some((lock, key)) = name
                    && let Some(queue) = self.partition.locks.queue(&lock, &key)
                    && let Some(next) = queue.next()
                    && !is_planted(Mutant::LockNotHandedOn)
                {
                    effects.push(Effect::Grant(next));
                }
                Ok(moves)
            }
        }
    }

    fn after(&mut self, ended: Option<Box<Transaction>>, effects: &mut Vec<Effect>) {
        if let Some(tx) = ended {
            effects.push(Effect::Ended(tx));
        }
    }
}

/// Re-derives what a new epoch must do for one live transaction: its `effects_of`.
///
/// What was outstanding is proposed as [`Command::Recover`]; what is parked is reported again.
pub fn effects_of(tx: &Transaction, partition: &Partition, around: &dyn Surroundings) -> Vec<Effect> {
    crate::decide::effects_of(tx, partition, around)
}

/// What a command tells that nobody will tell again, so that it must not be lost with the decision.
#[derive(Clone, Copy)]
enum Told {
    Nothing,
    /// This attempt is over.
    Answered(CallRef),
    /// This attempt never started.
    Parked(CallRef),
    /// Attempts of earlier epochs are over.
    Restarted,
}

impl Told {
    fn by(command: &Command) -> Self {
        match command {
            Command::Answered { call, .. } => Self::Answered(*call),
            Command::Park(call) => Self::Parked(*call),
            Command::Recover(_) => Self::Restarted,
            _ => Self::Nothing,
        }
    }
}

/// How long what was answered to a quarantined transaction may take to settle: its participant's own word for it
/// may be what could not be looked up.
const SETTLES_WITHIN_QUARANTINED: Duration = Duration::from_secs(3_600);

/// Runs a decision; a panic quarantines this transaction and nothing else.
fn guarded<'a>(
    decider: &mut Decider<'a>,
    told: Told,
    act: impl FnOnce(&mut Decider<'a>) -> Result<(), Rejected>,
) -> Result<(), Rejected> {
    match catch_unwind(AssertUnwindSafe(|| act(decider))) {
        Ok(Err(Rejected::Illegal(what))) if !decider.moves.is_empty() => decider.quarantine(&what, told),
        Ok(result) => result,
        Err(panic) => {
            let what = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("a panic without words");
            decider.quarantine(what, told)
        }
    }
}

impl Decider<'_> {
    fn quarantine(&mut self, what: &str, told: Told) -> Result<(), Rejected> {
        if !matches!(told, Told::Nothing) {
            self.keep_what_was(told)?;
        }
        let attention = Attention {
            cause: AttentionCause::Quarantined,
            step: None,
            direction: Direction::Call,
            detail: CompactString::from(what),
            since: self.at,
        };
        self.make(Move::Ask(attention))
    }

    /// Records without judging it that an attempt is over: nothing is outstanding that nobody will answer.
    fn keep_what_was(&mut self, told: Told) -> Result<(), Rejected> {
        for step in self.step_indices() {
            let state = &self.tx.steps[usize::from(step)];
            let Branch::Outstanding { epoch } = state.branch else { continue };
            let direction = if state.status == Status::Undoing { Direction::Compensate } else { Direction::Call };
            let call = self.call_ref(step, direction, state.attempts);
            let outcome = match told {
                Told::Answered(over) if over == call => Outcome::Unknown,
                Told::Parked(over) if over == call => Outcome::Failed,
                Told::Restarted if epoch < self.epoch => Outcome::Unknown,
                _ => continue,
            };
            let attempt = Box::new(Attempt {
                step,
                direction,
                n: state.attempts,
                endpoint: if state.may_have_executed { state.endpoint } else { ENDPOINT_UNKNOWN },
                started_at: self.at,
                took_us: 0,
                outcome,
                status: 0,
                counted: outcome == Outcome::Unknown,
                detail: "its answer could not be judged".into(),
                shared: None,
            });
            let settles_at = self.at.after(SETTLES_WITHIN_QUARANTINED);
            self.make(Move::Answer { attempt, settles_at, proves_not_executed: false, result: None })?;
        }
        Ok(())
    }
}
