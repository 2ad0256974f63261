//! TX-1: no acknowledged transaction is lost or begun twice.
//!
//! What counts is what the follower has read back from durable bytes: a submission may be told as accepted only after
//! its Begin is there, one submission has one Begin for ever, and every later answer to it names the same transaction.

use std::hash::{BuildHasher, Hasher};

use model::{Timestamp, TxId};
use partition::EntryKind;

use crate::event::{Checker, Event, View, Violation};
use crate::fixed::{Fixed, Map};

/// What is known of one begun transaction.
#[derive(Clone, Copy, Debug)]
struct Begun {
    scope: u64,
    digest: u64,
    is_acknowledged: bool,
    has_ended: bool,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub struct Acknowledged {
    /// By transaction, from its durable Begin on.
    begun: Map<TxId, Begun>,
    /// By (definition, idempotency key).
    by_scope: Map<u64, TxId>,
}

impl Checker for Acknowledged {
    fn name(&self) -> &'static str {
        "TX-1"
    }

    fn on(&mut self, _: Timestamp, event: &Event<'_>, world: &View<'_>) -> Result<(), Violation> {
        match event {
            Event::Applied { partition, entry, ended } => {
                if let EntryKind::Begin(begun) = &entry.kind {
                    let follower = world.partition(*partition).follower;
                    let Some(slot) = follower.plans.get(begun.plan) else { return Ok(()) };
                    let scope = scope(&slot.saga.name, &begun.idempotency_key);
                    if let Some(first) = self.by_scope.insert(scope, begun.id)
                        && first != begun.id
                    {
                        let what = format!("the submission \"{}\" was begun as {first} before", begun.idempotency_key);
                        return Err(Violation::new("TX-1", begun.id, what));
                    }
                    let digest = begun.submission_digest;
                    let new = Begun { scope, digest, is_acknowledged: false, has_ended: false };
                    if self.begun.insert(begun.id, new).is_some() {
                        return Err(Violation::new("TX-1", begun.id, "this id has been given before"));
                    }
                }
                if let Some(ended) = ended
                    && let Some(begun) = self.begun.get_mut(&ended.id)
                {
                    begun.has_ended = true;
                }
                Ok(())
            }
            Event::Acknowledged { definition, idempotency_key, digest, tx, .. } => {
                let Some(begun) = self.begun.get_mut(tx) else {
                    return Err(Violation::new("TX-1", *tx, "acknowledged before its Begin is durable"));
                };
                begun.is_acknowledged = true;
                if begun.scope != scope(definition, idempotency_key) || begun.digest != *digest {
                    let what = format!("\"{idempotency_key}\" is answered with another submission's transaction");
                    return Err(Violation::new("TX-1", *tx, what));
                }
                Ok(())
            }
            Event::Recovered { partition, restored, .. } => {
                // Sorted, so that the first one found is the same in every run.
                let mut lost: Option<TxId> = None;
                for (tx, begun) in &self.begun {
                    let here = tx.partition().0 == *partition && begun.is_acknowledged && !begun.has_ended;
                    if here && restored.presence(tx.seq()) == partition::state::Presence::Absent {
                        lost = Some(lost.map_or(*tx, |other| other.min(*tx)));
                    }
                }
                match lost {
                    Some(tx) => Err(Violation::new("TX-1", tx, "acknowledged, and gone after a recovery")),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    fn at_end(&mut self, _: Timestamp, world: &View<'_>) -> Result<(), Violation> {
        let mut lost: Option<TxId> = None;
        for (tx, begun) in &self.begun {
            let follower = world.partition(tx.partition().0).follower;
            let is_there = begun.has_ended || follower.presence(tx.seq()) != partition::state::Presence::Absent;
            if begun.is_acknowledged && !is_there {
                lost = Some(lost.map_or(*tx, |other| other.min(*tx)));
            }
        }
        match lost {
            Some(tx) => Err(Violation::new("TX-1", tx, "acknowledged, and neither live nor ended")),
            None => Ok(()),
        }
    }
}

fn scope(definition: &str, idempotency_key: &str) -> u64 {
    let mut hasher = Fixed.build_hasher();
    hasher.write(definition.as_bytes());
    hasher.write_u8(0);
    hasher.write(idempotency_key.as_bytes());
    hasher.finish()
}
