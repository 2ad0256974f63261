//! TX-3: every step that may have executed is part of a completed transaction, or compensated. Judged where it counts:
//! by what really stands at the participants, whatever the engine believes.
//!
//! Named exceptions, as DESIGN.md has them: `compensate: none`, a step resolved by hand, an undo that a person gave
//! up, an optional step whose definition says that an unknown outcome may be ignored.

use model::{StepIndex, Timestamp, TxId};
use partition::Transaction;
use partition::branch::Status;
use partition::transaction::TxOutcome;
use plan::{OnUnknown, Saga, Undo};

use crate::event::{Checker, Event, View, Violation, Work};
use crate::fixed::Map;
use crate::ledger::Deed;

/// What must stand for ever, a bit a step.
#[derive(Clone, Copy, Debug, Default)]
struct Last {
    must_stand: u64,
    must_not: u64,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub struct Undone {
    ended: Map<TxId, Last>,
}

impl Checker for Undone {
    fn name(&self) -> &'static str {
        "TX-3"
    }

    fn on(&mut self, _: Timestamp, event: &Event<'_>, world: &View<'_>) -> Result<(), Violation> {
        match event {
            Event::Ended { tx, plan, .. } => {
                let last = last_of(tx, plan);
                self.ended.insert(tx.id, last);
                holds(tx.id, last, world)
            }
            // What arrives after everything was over is what nobody will undo.
            Event::Worked { key, deed: Work::Done | Work::Undone, .. } => match self.ended.get(&key.tx) {
                Some(last) => holds(key.tx, *last, world),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn at_end(&mut self, _: Timestamp, world: &View<'_>) -> Result<(), Violation> {
        for tx in world.ledger.transactions() {
            if let Some(last) = self.ended.get(&tx) {
                holds(tx, *last, world)?;
            }
        }
        Ok(())
    }
}

fn last_of(tx: &Transaction, plan: &Saga) -> Last {
    let mut last = Last::default();
    for (place, (step, state)) in plan.steps.iter().zip(&tx.steps).enumerate() {
        let bit = 1 << (place & 63);
        let changes = step.call().is_some_and(|call| call.method.changes());
        let is_undoable = matches!(step.compensate, Undo::Call { .. });
        if !changes || state.by_hand || state.status == Status::GivenUp {
            continue;
        }
        match tx.outcome {
            Some(TxOutcome::Completed) if state.status == Status::Done => last.must_stand |= bit,
            Some(TxOutcome::Completed) if step.unknown == Some(OnUnknown::Ignore) => {}
            Some(_) if is_undoable => last.must_not |= bit,
            // It cannot be undone: nothing proves more than that it was not begun.
            Some(_) if state.status == Status::Pending && state.attempts == 0 => last.must_not |= bit,
            _ => {}
        }
    }
    last
}

fn holds(tx: TxId, last: Last, world: &View<'_>) -> Result<(), Violation> {
    for place in 0..64 - (last.must_stand | last.must_not).leading_zeros() {
        let deed: Deed = world.ledger.deed(tx, place as StepIndex);
        let stands = deed.standing > 0 && !deed.undone_by_hand;
        if last.must_stand >> place & 1 == 1 && !stands {
            let what = format!("completed, and step {place} does not stand at its participant: {deed:?}");
            return Err(Violation::new("TX-3", tx, what));
        }
        if last.must_not >> place & 1 == 1 && stands {
            let what = format!("over, and step {place} still stands at its participant: {deed:?}");
            return Err(Violation::new("TX-3", tx, what));
        }
    }
    Ok(())
}
