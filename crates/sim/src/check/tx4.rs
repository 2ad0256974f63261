//! TX-4: nothing live is stranded. Whenever nothing waits for the disk, every branch of every live transaction has
//! what will wake it: a call that somebody makes, a place among the parked, a timer, a lock's queue, a person.

use std::time::Duration;

use model::{Direction, StepIndex, Timestamp};
use partition::branch::{Branch, Status};
use partition::state::Presence;
use partition::transaction::{LockState, Phase};
use partition::{CallRef, Command, Partition, Rejected, Transaction};

use crate::event::{Checker, Event, PartitionView, Told, View, Violation, is_aside};

/// A deadline is judged by then, in the node's time.
const LATE_MAX: Duration = Duration::from_secs(2);

/// See the head of this file. Keeps nothing.
#[derive(Debug, Default)]
pub struct Awake;

impl Checker for Awake {
    fn name(&self) -> &'static str {
        "TX-4"
    }

    fn on(&mut self, _: Timestamp, event: &Event<'_>, world: &View<'_>) -> Result<(), Violation> {
        match event {
            Event::Pulse | Event::Quiescent => all(world),
            // What is due and does nothing is due for ever.
            Event::Rejected { partition, command: Told::Other(Command::Wake(seq)), why: Rejected::Stale } => {
                let live = world.partition(*partition).leader.and_then(|leader| leader.get(*seq));
                let what = format!("seq {seq} of partition {partition} is due, and nothing is done about it");
                Err(Violation::new("TX-4", live.map(|tx| tx.id), what))
            }
            _ => Ok(()),
        }
    }

    fn at_end(&mut self, _: Timestamp, world: &View<'_>) -> Result<(), Violation> {
        all(world)
    }
}

fn all(world: &View<'_>) -> Result<(), Violation> {
    for place in world.partitions() {
        let Some(leader) = place.leader else { continue };
        if place.is_clean {
            partition(&place, leader, world)?;
        }
    }
    Ok(())
}

fn partition(place: &PartitionView<'_>, leader: &Partition, world: &View<'_>) -> Result<(), Violation> {
    // Sorted lists: this is looked at often, and seldom has much in it.
    let mut parked: Vec<(u64, StepIndex)> = place.parked.values().flatten().map(|call| (call.tx, call.step)).collect();
    parked.sort_unstable();
    let mut timed = leader.due(Timestamp(u64::MAX - 1), usize::MAX);
    timed.sort_unstable();
    let mut earliest = Timestamp::NEVER;
    for seq in leader.live_seqs() {
        let Some(tx) = leader.get(seq) else {
            // It left memory; the follower has it, and where nothing waits for the disk it is the same.
            let waits = place
                .follower
                .get(seq)
                .is_some_and(|tx| !is_aside(tx) && tx.steps.iter().any(|step| step.branch == Branch::Parked));
            let first = parked.partition_point(|(parked, _)| *parked < seq);
            let is_parked = parked.get(first).is_some_and(|(parked, _)| *parked == seq);
            if waits && leader.presence(seq) == Presence::Evicted && !is_parked {
                let what = format!("seq {seq} of partition {} left memory, and is not among the parked", place.id);
                return Err(Violation::new("TX-4", None, what));
            }
            continue;
        };
        earliest = earliest.min(tx.wakes_at());
        let may_expire =
            tx.outcome.is_none() && !tx.deadline_spent && matches!(tx.phase, Phase::Queued | Phase::Forward);
        if may_expire && !is_aside(tx) && tx.deadline.after(LATE_MAX) < world.node_now {
            return stranded(tx, format!("its deadline was {}, it is {:?} still", tx.deadline, tx.phase));
        }
        if tx.wakes_at() != Timestamp::NEVER && timed.binary_search(&seq).is_err() {
            return stranded(tx, format!("is due at {}, and no timer knows", tx.wakes_at()));
        }
        transaction(place, leader, tx, &parked, world)?;
    }
    // Rows that left memory have timers too, so the index may be earlier than what is seen here; never later.
    if leader.next_wake().unwrap_or(Timestamp::NEVER) > earliest {
        let what = format!("partition {} wakes at {:?}, something is due at {earliest}", place.id, leader.next_wake());
        return Err(Violation::new("TX-4", None, what));
    }
    for (lock, key, queue) in leader.locks.iter() {
        if queue.holder.is_none() && !queue.waiting.is_empty() {
            let what = format!("the lock {lock} of {key} is free, and {:?} wait for it", queue.waiting);
            return Err(Violation::new("TX-4", None, what));
        }
    }
    Ok(())
}

fn stranded<T>(tx: &Transaction, what: String) -> Result<T, Violation> {
    Err(Violation::new("TX-4", tx.id, what))
}

fn transaction(
    place: &PartitionView<'_>,
    leader: &Partition,
    tx: &Transaction,
    parked: &[(u64, StepIndex)],
    world: &View<'_>,
) -> Result<(), Violation> {
    let mut is_awake = tx.attention.is_some();
    for (step, state) in tx.steps.iter().enumerate() {
        let step = step as StepIndex;
        match state.branch {
            Branch::Idle => {
                let is_left = matches!(state.status, Status::Active | Status::Undoing);
                if is_left && !is_aside(tx) {
                    return stranded(tx, format!("step {step} is {:?}, and nothing wakes it", state.status));
                }
                continue;
            }
            Branch::Outstanding { epoch } if epoch < leader.epoch => {
                if place.to_recover == 0 {
                    return stranded(
                        tx,
                        format!("step {step} is outstanding since epoch {epoch}, and nobody recovers it"),
                    );
                }
            }
            Branch::Outstanding { .. } => {
                let direction = if state.status == Status::Undoing { Direction::Compensate } else { Direction::Call };
                let call = CallRef { tx: tx.seq(), step, direction, attempt: state.attempts, round: state.round };
                if !world.is_known(place.id, call) {
                    return stranded(tx, format!("step {step} is outstanding, and nobody makes the call {call:?}"));
                }
            }
            // What a panic put aside goes on when a person says so, and is parked anew then.
            Branch::Parked if parked.binary_search(&(tx.seq(), step)).is_err() && !is_aside(tx) && !is_stopping(tx) => {
                return stranded(tx, format!("step {step} is parked, and nobody will ask for it"));
            }
            Branch::Parked
            | Branch::Backoff { .. }
            | Branch::Signal { .. }
            | Branch::Sleeping { .. }
            | Branch::Quiet { .. }
            | Branch::Attention => {}
        }
        is_awake = true;
    }
    if tx.phase == Phase::Queued {
        is_awake |= tx.lock == LockState::Waiting;
    }
    if is_awake { Ok(()) } else { stranded(tx, format!("is {:?}, and nothing wakes it", tx.phase)) }
}

/// What is outstanding decides how it goes on, and wakes the rest with it.
fn is_stopping(tx: &Transaction) -> bool {
    matches!(tx.phase, Phase::Stopping(_)) && tx.has_outstanding()
}
