//! Conservation: the participants' ledgers agree with the engine's history, money included. For every participant, what
//! is there is what the transactions that ended account for, plus what the named exceptions and live work explain;
//! and no piece of work is done twice.

use model::{Timestamp, TxId};
use partition::branch::Status;
use partition::transaction::TxOutcome;
use plan::{OnUnknown, Undo};

use crate::event::{Checker, Event, Fault, View, Violation, Work};
use crate::fixed::Map;

/// What history says of one transaction, a bit a step.
#[derive(Clone, Copy, Debug, Default)]
struct Account {
    /// Its money is there.
    paid: u64,
    /// Nobody says: a person decided, or the definition lets it be.
    open: u64,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub struct Money {
    ended: Map<TxId, Account>,
    /// Participants forget beyond what they declare, so nothing keeps them from doing it twice.
    is_forgetful: bool,
}

impl Checker for Money {
    fn name(&self) -> &'static str {
        "conservation"
    }

    fn on(&mut self, _: Timestamp, event: &Event<'_>, world: &View<'_>) -> Result<(), Violation> {
        match event {
            Event::FaultWindow { fault: Fault::Forgetful, .. } => self.is_forgetful = true,
            Event::Worked { key, deed: Work::Done | Work::Undone, participant, .. } => {
                let deed = world.ledger.deed(key.tx, key.step);
                if !(0..=1).contains(&deed.standing) {
                    let what = format!(
                        "step {} stands {} times at participant {participant}: {deed:?}",
                        key.step, deed.standing
                    );
                    return Err(Violation::new("conservation", key.tx, what));
                }
            }
            Event::Worked { key, deed: Work::Reused, participant, .. } => {
                let what = format!("{key} came to participant {participant} with another request than before");
                return Err(Violation::new("conservation", key.tx, what));
            }
            Event::Ended { tx, plan, .. } => {
                let mut account = Account::default();
                for (place, (step, state)) in plan.steps.iter().zip(&tx.steps).enumerate() {
                    let bit = 1 << (place & 63);
                    let is_final = matches!(step.compensate, Undo::Nothing) && state.status != Status::Done;
                    let is_let_be = step.unknown == Some(OnUnknown::Ignore) && state.may_have_executed;
                    if state.by_hand || state.status == Status::GivenUp || is_final || is_let_be {
                        account.open |= bit;
                    } else if state.status == Status::Done
                        && (tx.outcome == Some(TxOutcome::Completed) || matches!(step.compensate, Undo::Nothing))
                    {
                        account.paid |= bit;
                    }
                }
                self.ended.insert(tx.id, account);
            }
            _ => {}
        }
        Ok(())
    }

    fn at_end(&mut self, _: Timestamp, world: &View<'_>) -> Result<(), Violation> {
        let mut expected = vec![0_i64; world.participants.len()];
        for tx in world.ledger.transactions() {
            let account = self.ended.get(&tx).copied();
            for (place, deed) in world.ledger.deeds(tx).iter().enumerate() {
                let Some(sum) = expected.get_mut(deed.participant as usize) else { continue };
                let bit = 1 << (place & 63);
                *sum += match account {
                    Some(account) if account.open & bit == 0 => {
                        if account.paid & bit != 0 && deed.changes {
                            deed.amount
                        } else {
                            0
                        }
                    }
                    // Live still, or explained by name: what is there is what is there.
                    _ => deed.amount * i64::from(deed.standing),
                };
            }
        }
        for (participant, expected) in expected.into_iter().enumerate() {
            let there = world.ledger.balance(participant as u32);
            if there != expected {
                let name = &world.participants[participant].name;
                let what = format!("{there} is at {name}, history accounts for {expected}");
                return Err(Violation::new("conservation", None, what));
            }
        }
        Ok(())
    }
}
