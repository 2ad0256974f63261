//! TX-2: a transaction ends once, as `completed` or as `aborted` with its reason, and stays that for whoever asks.
//!
//! Judged by the durable entries, by what clients are told, and by history. That an abort means that everything was
//! undone is `tx3`'s; what may be decided when is `path`'s.

use model::{Timestamp, TxId};
use partition::Move;
use partition::transaction::{Phase, TxOutcome};

use crate::event::{Checker, Event, View, Violation};
use crate::fixed::Map;

#[derive(Clone, Copy, Debug)]
struct Fate {
    outcome: TxOutcome,
    has_ended: bool,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub struct Outcomes {
    decided: Map<TxId, Fate>,
}

fn broken(tx: TxId, what: impl Into<String>) -> Result<(), Violation> {
    Err(Violation::new("TX-2", tx, what))
}

impl Checker for Outcomes {
    fn name(&self) -> &'static str {
        "TX-2"
    }

    fn on(&mut self, _: Timestamp, event: &Event<'_>, world: &View<'_>) -> Result<(), Violation> {
        match event {
            Event::Applied { partition, entry, ended } => {
                let Some(moves) = entry.moves() else { return Ok(()) };
                let outcome = moves.iter().find_map(|m| match m {
                    Move::Decide { outcome, .. } => Some(*outcome),
                    _ => None,
                });
                if let Some(outcome) = outcome {
                    let id = match (ended, &entry.kind) {
                        (Some(tx), _) => tx.id,
                        (None, partition::EntryKind::Moves { tx, .. }) => {
                            let follower = world.partition(*partition).follower;
                            let Some(live) = follower.get(*tx) else { return Ok(()) };
                            live.id
                        }
                        (None, partition::EntryKind::Begin(begun)) => begun.id,
                        _ => return Ok(()),
                    };
                    let fate = Fate { outcome, has_ended: false };
                    if let Some(first) = self.decided.insert(id, fate) {
                        return broken(id, format!("decided {outcome:?} after {:?}", first.outcome));
                    }
                }
                if let Some(tx) = ended {
                    let Some(fate) = self.decided.get_mut(&tx.id) else {
                        return broken(tx.id, "ended without an outcome");
                    };
                    if std::mem::replace(&mut fate.has_ended, true) {
                        return broken(tx.id, "ended twice");
                    }
                }
                Ok(())
            }
            Event::OutcomeTold { tx, outcome } => match self.decided.get(tx) {
                None => broken(*tx, format!("told {outcome:?} before that is durable")),
                Some(fate) if fate.outcome != *outcome => {
                    broken(*tx, format!("told {outcome:?}, decided is {:?}", fate.outcome))
                }
                Some(_) => Ok(()),
            },
            Event::Ended { tx, .. } => {
                let Some(fate) = self.decided.get(&tx.id).filter(|fate| fate.has_ended) else {
                    return broken(tx.id, "in history before its end is durable");
                };
                if tx.phase != Phase::Ended || tx.outcome != Some(fate.outcome) {
                    return broken(tx.id, format!("history says {:?}, decided is {:?}", tx.outcome, fate.outcome));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn at_end(&mut self, _: Timestamp, world: &View<'_>) -> Result<(), Violation> {
        let is_missing = |tx: &TxId, fate: &Fate| fate.has_ended && world.in_history(*tx).is_none();
        let missing = self.decided.iter().filter(|(tx, fate)| is_missing(tx, fate)).map(|(tx, _)| *tx).min();
        match missing {
            Some(tx) => broken(tx, "ended, and not in history"),
            None => Ok(()),
        }
    }
}
