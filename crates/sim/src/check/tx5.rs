//! TX-5: the order per key holds. A lock of a key has one holder at a time; those who wait get it in the order in
//! which they were accepted; and it is held until everything done under it has been undone or the outcome stands.
//!
//! Kept a second time from the durable entries, without the engine's own queues.

use std::collections::BTreeSet;

use compact_str::CompactString;
use model::{Seq, Timestamp};
use partition::transaction::Phase;
use partition::{EntryKind, Move};
use plan::Undo;

use crate::event::{Checker, Event, View, Violation};
use crate::fixed::Map;

#[derive(Debug, Default)]
struct Queue {
    holder: Option<Seq>,
    waiting: BTreeSet<Seq>,
}

type Name = (u16, CompactString, CompactString);

/// See the head of this file.
#[derive(Debug, Default)]
pub struct Locks {
    queues: Map<Name, Queue>,
    /// Live transactions that have anything to do with a lock.
    names: Map<(u16, Seq), Name>,
}

impl Checker for Locks {
    fn name(&self) -> &'static str {
        "TX-5"
    }

    fn on(&mut self, _: Timestamp, event: &Event<'_>, world: &View<'_>) -> Result<(), Violation> {
        let Event::Applied { partition, entry, ended } = event else { return Ok(()) };
        let Some(moves) = entry.moves() else { return Ok(()) };
        let about_a_lock = |m: &&Move| matches!(m, Move::TakeLock | Move::AwaitLock | Move::FreeLock);
        if !moves.iter().any(|m| about_a_lock(&m)) {
            return Ok(());
        }
        let follower = world.partition(*partition).follower;
        let seq = match &entry.kind {
            EntryKind::Begin(begun) => {
                if let Some(slot) = follower.plans.get(begun.plan)
                    && let (Some(lock), Some(key)) = (&slot.saga.lock, &begun.key)
                {
                    self.names.insert((*partition, entry.seq), (*partition, lock.clone(), key.clone()));
                }
                entry.seq
            }
            EntryKind::Moves { tx, .. } => *tx,
            EntryKind::Epoch { .. } | EntryKind::Plan { .. } => return Ok(()),
        };
        let Some(name) = self.names.get(&(*partition, seq)).cloned() else { return Ok(()) };
        let queue = self.queues.entry(name.clone()).or_default();
        let (lock, key) = (&name.1, &name.2);
        let broken = |what: String| {
            let id = ended.map(|tx| tx.id).or_else(|| follower.get(seq).map(|tx| tx.id));
            Err(Violation::new("TX-5", id, format!("lock {lock} of {key}: {what}")))
        };
        for told in moves.iter().filter(about_a_lock) {
            match told {
                Move::AwaitLock => {
                    queue.waiting.insert(seq);
                }
                Move::TakeLock => {
                    if let Some(holder) = queue.holder {
                        return broken(format!("taken while seq {holder} holds it"));
                    }
                    queue.waiting.remove(&seq);
                    if let Some(first) = queue.waiting.first().filter(|first| **first < seq) {
                        return broken(format!("taken before seq {first}, which waits longer"));
                    }
                    queue.holder = Some(seq);
                }
                _ => {
                    queue.waiting.remove(&seq);
                    if queue.holder == Some(seq) {
                        queue.holder = None;
                    }
                }
            }
        }
        if queue.holder.is_none()
            && let Some(tx) = follower.get(seq)
            && tx.phase == Phase::Undoing
            && let Some(slot) = follower.plans.get(tx.plan)
        {
            let is_left = |(step, s): (&plan::Step, &partition::branch::StepState)| {
                s.has_effect() && matches!(step.compensate, Undo::Call { .. })
            };
            if slot.saga.steps.iter().zip(&tx.steps).any(is_left) {
                return broken("free before what was done under it has been undone".to_owned());
            }
        }
        if queue.holder.is_none() && queue.waiting.is_empty() {
            self.queues.remove(&name);
        }
        if ended.is_some() {
            self.names.remove(&(*partition, seq));
        }
        Ok(())
    }

    fn at_end(&mut self, _: Timestamp, _: &View<'_>) -> Result<(), Violation> {
        Ok(())
    }
}
