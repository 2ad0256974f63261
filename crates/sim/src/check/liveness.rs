//! Once faults have stopped, everything live ends within a bound, or says what it waits for that is not ours to bring:
//! a person, a signal, a time that is far off.

use model::Timestamp;
use partition::Transaction;
use partition::branch::Branch;
use partition::transaction::Phase;

use crate::event::{Checker, Event, View, Violation};

/// See the head of this file. Keeps nothing: `tx4` holds what wakes whom, this holds that it did.
#[derive(Debug, Default)]
pub struct Ends;

impl Checker for Ends {
    fn name(&self) -> &'static str {
        "liveness"
    }

    fn on(&mut self, _: Timestamp, event: &Event<'_>, world: &View<'_>) -> Result<(), Violation> {
        match event {
            Event::Quiescent => judge(world, true),
            _ => Ok(()),
        }
    }

    fn at_end(&mut self, _: Timestamp, world: &View<'_>) -> Result<(), Violation> {
        judge(world, false)
    }
}

fn judge(world: &View<'_>, people_are_asked: bool) -> Result<(), Violation> {
    let soon = world.node_now.after(world.patience);
    for place in world.partitions() {
        let Some(leader) = place.leader else {
            let what = format!("partition {} has no leader though all is calm", place.id);
            return Err(Violation::new("liveness", None, what));
        };
        for seq in leader.live_seqs() {
            // What left memory is the same in the follower, where nothing waits for the disk.
            match leader.get(seq).or_else(|| place.follower.get(seq)) {
                None => {
                    let what =
                        format!("seq {seq} of partition {} is live in the leader only, though all is calm", place.id);
                    return Err(Violation::new("liveness", None, what));
                }
                Some(tx) if waits_for_others(tx, soon, people_are_asked, leader) => {}
                Some(tx) => {
                    let branches: Vec<Branch> = tx.steps.iter().map(|s| s.branch).collect();
                    let what = format!("is {:?} though all is calm, its steps wait for {branches:?}", tx.phase);
                    return Err(Violation::new("liveness", tx.id, what));
                }
            }
        }
    }
    Ok(())
}

fn waits_for_others(tx: &Transaction, soon: Timestamp, people: bool, leader: &partition::Partition) -> bool {
    if people && tx.attention.is_some() {
        return true;
    }
    if tx.phase == Phase::Queued {
        // Whoever holds the lock is judged by itself.
        let lock = leader.plans.get(tx.plan).and_then(|slot| slot.saga.lock.as_ref());
        let queue = lock.zip(tx.key.as_ref()).and_then(|(lock, key)| leader.locks.queue(lock, key));
        return queue.is_some_and(|queue| queue.holder.is_some());
    }
    tx.steps.iter().any(|step| match step.branch {
        Branch::Signal { until } | Branch::Sleeping { until } | Branch::Quiet { until } | Branch::Backoff { until } => {
            until > soon
        }
        Branch::Attention => people,
        Branch::Idle | Branch::Outstanding { .. } | Branch::Parked => false,
    })
}
