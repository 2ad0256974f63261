//! TX-6: a fenced owner's effect never reaches a participant as current; and no effect leaves at all before the
//! journal has confirmed its entry, in order (SEMANTICS 6, 7, 13).

use model::{Epoch, Seq, Timestamp};
use partition::branch::Branch;

use crate::event::{Checker, Event, View, Violation};

#[derive(Clone, Copy, Debug, Default)]
struct Owner {
    durable: Seq,
    /// The highest epoch that an append was refused to.
    fenced: Epoch,
    current: Epoch,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub struct Current {
    owners: Vec<Owner>,
}

impl Current {
    fn owner(&mut self, partition: u16) -> &mut Owner {
        let place = usize::from(partition);
        if self.owners.len() <= place {
            self.owners.resize(place + 1, Owner::default());
        }
        &mut self.owners[place]
    }
}

impl Checker for Current {
    fn name(&self) -> &'static str {
        "TX-6"
    }

    fn on(&mut self, _: Timestamp, event: &Event<'_>, world: &View<'_>) -> Result<(), Violation> {
        match event {
            Event::Durable { partition, last_seq, .. } => {
                let owner = self.owner(*partition);
                owner.durable = owner.durable.max(*last_seq);
            }
            Event::Recovered { partition, tail, .. } => {
                let owner = self.owner(*partition);
                owner.durable = owner.durable.max(*tail);
            }
            Event::Opened { partition, epoch, .. } => {
                let owner = self.owner(*partition);
                if *epoch <= owner.current {
                    let what = format!("partition {partition} opens epoch {epoch} after {}", owner.current);
                    return Err(Violation::new("TX-6", None, what));
                }
                owner.current = *epoch;
            }
            Event::Fenced { partition, epoch } => {
                let owner = self.owner(*partition);
                owner.fenced = owner.fenced.max(*epoch);
            }
            Event::Released { partition, entry, effect } => {
                let durable = self.owner(*partition).durable;
                if *entry > durable {
                    let what = format!("partition {partition}: {effect:?} leaves, entry {entry} is not durable");
                    return Err(Violation::new("TX-6", None, what));
                }
            }
            Event::Started { tx, call, epoch, .. } => {
                let owner = *self.owner(tx.partition().0);
                if *epoch <= owner.fenced && *epoch < owner.current {
                    let what = format!("{call:?} starts in epoch {epoch}, which has been fenced off");
                    return Err(Violation::new("TX-6", *tx, what));
                }
                let follower = world.partition(tx.partition().0).follower;
                // A row that the follower no longer has has ended: then nobody may be called for it.
                let state = follower.get(call.tx).and_then(|live| live.steps.get(usize::from(call.step)));
                let is_meant = state.is_some_and(|s| {
                    s.branch == Branch::Outstanding { epoch: *epoch }
                        && s.attempts == call.attempt
                        && s.round == call.round
                });
                if !is_meant && *epoch == owner.current {
                    let now = state.map(|s| (s.branch, s.attempts));
                    let what = format!("{call:?} starts in epoch {epoch}, and no durable entry says so: {now:?}");
                    return Err(Violation::new("TX-6", *tx, what));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn at_end(&mut self, _: Timestamp, _: &View<'_>) -> Result<(), Violation> {
        Ok(())
    }
}
