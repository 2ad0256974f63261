//! What really happened at the participants, whatever they answered: the truth that TX-2 and TX-3 are judged by.

use std::collections::BTreeMap;

use model::{Direction, Seq, StepIndex, Timestamp};
use partition::branch::Status;
use partition::transaction::{Phase, TxOutcome};
use partition::{OutgoingCall, Transaction};
use plan::{OnUnknown, Participant, Saga, Undo};

use super::world::Flying;

/// One step of one transaction, at its participant.
#[derive(Debug, Default, Clone)]
pub(crate) struct Deed {
    /// The effect is there now.
    pub(crate) stands: bool,
    pub(crate) executions: u32,
    pub(crate) undo_executions: u32,
    /// An undo came to a participant that remembers it.
    blocked: bool,
    /// Attempts on their way that execute when they arrive.
    arrivals: Vec<Timestamp>,
    /// An attempt may have executed, as far as the engine can know.
    may: bool,
    first_start: Option<Timestamp>,
    undo_may: bool,
    undo_first_start: Option<Timestamp>,
    /// Until then an attempt that nobody waits for may still arrive.
    settles_at: Timestamp,
    /// Place in the order in which forward attempts ended as done or unknown.
    completed: u32,
    undo_begun_before_outcome: bool,
    changes: bool,
    repeats_execute: bool,
    /// Where the last attempt that may have executed went.
    endpoint: u16,
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    deeds: BTreeMap<(Seq, StepIndex), Deed>,
    last_completed: u32,
    /// The engine was restored from a backup, and must doubt what this ledger never saw.
    pub(crate) lost_life: bool,
}

/// What an attempt really does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Executes,
    /// After this long, within what the participant declares.
    ArrivesLater(std::time::Duration),
    Never,
}

impl Ledger {
    pub(crate) fn deed(&self, tx: Seq, step: StepIndex) -> Deed {
        self.deeds.get(&(tx, step)).cloned().unwrap_or_default()
    }

    /// A call leaves: may it?
    pub(crate) fn released(
        &mut self,
        tx: &Transaction,
        saga: &Saga,
        out: &OutgoingCall,
        participant: &Participant,
        flying: &[Flying],
        now: Timestamp,
    ) {
        // Past its deadline it never starts: fine only where the timeout is about to decide.
        let is_late = out.deadline <= now && tx.wakes_at() > now;
        assert!(!is_late, "released though it can never start: {:?} by {}", out.call, out.deadline);
        let step = &saga.steps[usize::from(out.call.step)];
        let others: Vec<(StepIndex, Deed)> =
            self.deeds.iter().filter(|((t, _), _)| *t == tx.seq()).map(|((_, s), d)| (*s, d.clone())).collect();
        let deed = self.deeds.entry((tx.seq(), out.call.step)).or_default();
        let promise = participant.idempotency.remembers();
        let remembered = |first: Option<Timestamp>| promise.zip(first).is_some_and(|(p, first)| now < first.after(p));
        let flies = |f: &&Flying| f.call.tx == tx.seq() && f.call.step == out.call.step;
        assert_eq!(flying.iter().filter(flies).count(), 0, "two attempts of one step at once: {:?}", out.call);
        match out.call.direction {
            Direction::Call => {
                let method = step.call().expect("a call").method;
                deed.changes = method.changes();
                deed.repeats_execute = promise.is_none() && !method.is_idempotent();
                assert!(
                    !deed.may || method.is_idempotent() || remembered(deed.first_start),
                    "asked again what may have executed, without a promise: {:?} {tx:#?}",
                    out.call
                );
                let by_endpoint = participant.name == "bill" && !method.is_idempotent();
                assert!(
                    !deed.may || !by_endpoint || out.endpoint == Some(deed.endpoint),
                    "asked again elsewhere, where the key is not known: {:?}",
                    out.call
                );
                assert!(matches!(tx.phase, Phase::Forward | Phase::Stopping(_)), "forward on the way back");
                assert!(!matches!(tx.outcome, Some(TxOutcome::Aborted(_))));
                deed.first_start.get_or_insert(now);
            }
            Direction::Compensate => {
                let Undo::Call { call, .. } = &step.compensate else { panic!("nothing to undo") };
                assert!(
                    !deed.undo_may || call.method.is_idempotent() || remembered(deed.undo_first_start),
                    "an undo that may have executed is repeated, without a promise: {:?}",
                    out.call
                );
                assert!(deed.may || self.lost_life, "undone although nothing can have executed: {:?}", out.call);
                assert!(
                    now >= deed.settles_at || participant.undo_blocks_do,
                    "undone before it settled: {:?}",
                    out.call
                );
                deed.undo_first_start.get_or_insert(now);
                if tx.phase == Phase::Undoing {
                    Self::check_order(tx, saga, out, deed, &others, flying);
                } else {
                    assert!(step.optional, "undone while going forward");
                    deed.undo_begun_before_outcome = true;
                }
            }
        }
    }

    /// One after the other, in reverse order of completion; what an optional step undoes by itself stands apart.
    fn check_order(
        tx: &Transaction,
        saga: &Saga,
        out: &OutgoingCall,
        deed: &Deed,
        others: &[(StepIndex, Deed)],
        flying: &[Flying],
    ) {
        // What an optional step undoes on its own may have been under way before the rest turned back.
        // Of what a lost life did, this ledger knows no order either.
        if !deed.may || deed.undo_begun_before_outcome || saga.steps[usize::from(out.call.step)].optional {
            return;
        }
        let own = |f: &&Flying| f.call.tx == tx.seq() && !saga.steps[usize::from(f.call.step)].optional;
        let in_flight = flying.iter().find(own);
        assert!(in_flight.is_none(), "undone while something of it is in flight: {:?} {in_flight:?}", out.call);
        for (place, other) in others {
            let state = &tx.steps[usize::from(*place)];
            let undoable = matches!(saga.steps[usize::from(*place)].compensate, Undo::Call { .. });
            let left = undoable && other.may && state.has_effect() && state.status != Status::GivenUp;
            assert!(
                !left || *place == out.call.step || other.completed < deed.completed,
                "step {} is undone before step {place}, which completed later: {tx:#?}",
                out.call.step
            );
        }
    }

    /// An attempt ended for the engine; `known` says what the answer told.
    pub(crate) fn answered(
        &mut self,
        flown: &Flying,
        participant: &Participant,
        tells: Tells,
        fate: Fate,
        now: Timestamp,
    ) {
        self.last_completed += 1;
        let completed = self.last_completed;
        let deed = self.deeds.entry((flown.call.tx, flown.call.step)).or_default();
        if flown.call.direction == Direction::Call && matches!(tells, Tells::Done | Tells::Unknown) {
            deed.endpoint = flown.endpoint;
        }
        match (flown.call.direction, tells) {
            (Direction::Call, Tells::Done) => {
                deed.may = true;
                deed.completed = completed;
            }
            (Direction::Call, Tells::Unknown) => {
                deed.may = true;
                deed.completed = completed;
                deed.settles_at = deed.settles_at.max(now.after(participant.settles_within));
            }
            (Direction::Call, Tells::Proof) if deed.settles_at <= now && !participant.undo_blocks_do => {
                deed.may = false
            }
            (Direction::Compensate, Tells::Unknown) => deed.undo_may = true,
            _ => {}
        }
        match (flown.call.direction, fate) {
            (_, Fate::Never) => {}
            (Direction::Call, Fate::Executes) => deed.execute(),
            (Direction::Call, Fate::ArrivesLater(after)) => deed.arrivals.push(now.after(after)),
            (Direction::Compensate, _) => deed.undo(participant),
        }
    }

    /// This process ended while it was outstanding: it may have executed, and here it arrives as late as it can.
    pub(crate) fn interrupted(&mut self, lost: &Flying, participant: &Participant, now: Timestamp) {
        let fate = match lost.call.attempt % 3 {
            0 => Fate::Never,
            1 => Fate::ArrivesLater(participant.settles_within),
            _ => Fate::Executes,
        };
        self.answered(lost, participant, Tells::Unknown, fate, now);
    }

    /// A person did the undo, outside.
    pub(crate) fn undone_by_hand(&mut self, tx: Seq, step: StepIndex) {
        self.deeds.entry((tx, step)).or_default().stands = false;
    }

    /// A person allows the undo again: they know that it has not executed, or that a repeat is harmless.
    pub(crate) fn undo_allowed_again(&mut self, tx: Seq, step: StepIndex) {
        let deed = self.deeds.entry((tx, step)).or_default();
        deed.undo_may = false;
        deed.undo_first_start = None;
    }

    pub(crate) fn next_arrival(&self) -> Option<Timestamp> {
        self.deeds.values().flat_map(|d| d.arrivals.iter().copied()).min()
    }

    pub(crate) fn arrive(&mut self, now: Timestamp) {
        for deed in self.deeds.values_mut() {
            let due = deed.arrivals.iter().filter(|at| **at <= now).count();
            deed.arrivals.retain(|at| *at > now);
            for _ in 0..due {
                deed.execute();
            }
        }
    }

    /// TX-2, TX-3: what an ended transaction says is what happened.
    pub(crate) fn judge(&self, tx: &Transaction, saga: &Saga) {
        for (place, (step, state)) in saga.steps.iter().zip(&tx.steps).enumerate() {
            let deed = self.deed(tx.seq(), place as StepIndex);
            if step.call().is_none() || !deed.changes {
                continue;
            }
            assert!(deed.arrivals.is_empty(), "judged too early");
            assert!(!deed.repeats_execute || deed.executions <= 1, "executed twice: step {place} {tx:#?}");
            let undoable = matches!(step.compensate, Undo::Call { .. });
            let excepted = state.by_hand || state.status == Status::GivenUp;
            match tx.outcome {
                Some(TxOutcome::Completed) => match state.status {
                    Status::Done => assert!(deed.stands || state.by_hand, "TX-3: step {place} does not stand {tx:#?}"),
                    _ if undoable && step.unknown != Some(OnUnknown::Ignore) => {
                        assert!(!deed.stands || excepted, "TX-3: step {place} stands {deed:#?} {tx:#?}");
                    }
                    _ => {}
                },
                Some(TxOutcome::Aborted(_)) => {
                    assert!(
                        !deed.stands || !undoable || excepted,
                        "TX-3: step {place} stands after abort {deed:#?} {tx:#?}"
                    );
                }
                None => panic!("ended without outcome"),
            }
        }
    }
}

/// What an answer told the engine, as this test understands the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tells {
    Done,
    /// It was taken, and nothing was done by this attempt.
    No,
    /// As declared: nothing was done for this call key.
    Proof,
    Unknown,
}

impl Deed {
    fn execute(&mut self) {
        if self.blocked || (self.executions > 0 && !self.repeats_execute) {
            return;
        }
        self.executions += 1;
        self.stands = true;
    }

    fn undo(&mut self, participant: &Participant) {
        self.undo_executions += u32::from(self.stands);
        self.stands = false;
        self.blocked |= participant.undo_blocks_do;
    }
}
