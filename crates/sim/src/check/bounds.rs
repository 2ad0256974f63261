//! Bounded memory and queues: nothing grows beyond what it may, whatever happens outside (SEMANTICS 28).

use model::Timestamp;
use partition::locks::WAITERS_MAX;
use partition::transaction::ATTEMPTS_KEPT_MAX;

use super::Decision;
use crate::event::{Checker, Event, Sizes, View, Violation};

/// Parts at the journal at once.
const PARTS_MAX: usize = 2;

/// See the head of this file.
#[derive(Debug, Default)]
pub struct Bounds {
    /// The most that was ever seen.
    most: Sizes,
}

impl Checker for Bounds {
    fn name(&self) -> &'static str {
        "bounds"
    }

    fn on(&mut self, _: Timestamp, event: &Event<'_>, world: &View<'_>) -> Result<(), Violation> {
        match event {
            Event::Proposed { .. } => {
                let Some(d) = Decision::of(event, world) else { return Ok(()) };
                let kept = d.after.attempts.len();
                if kept > ATTEMPTS_KEPT_MAX {
                    let what = format!("{kept} attempts are kept, {ATTEMPTS_KEPT_MAX} may be");
                    return Err(Violation::new("bounds", d.tx(), what));
                }
                Ok(())
            }
            Event::Pulse | Event::Quiescent => self.compare(world),
            _ => Ok(()),
        }
    }

    fn at_end(&mut self, _: Timestamp, world: &View<'_>) -> Result<(), Violation> {
        self.compare(world)
    }
}

impl Bounds {
    fn compare(&mut self, world: &View<'_>) -> Result<(), Violation> {
        let sizes = world.sizes();
        let broken = |what: String| Err(Violation::new("bounds", None, what));
        if sizes.parts_under_way > PARTS_MAX {
            return broken(format!("{} parts are at the journal at once", sizes.parts_under_way));
        }
        if sizes.backlog_max > load::BACKLOG_CALLS_MAX as u64 {
            return broken(format!("{} calls wait in memory for one participant", sizes.backlog_max));
        }
        if sizes.held_backlog_max > load::HELD_CALLS_MAX as u64 {
            return broken(format!("{} calls wait in memory for a participant that is held", sizes.held_backlog_max));
        }
        // Each live transaction has at most one call a step; what was parked may be listed again before it is tidied.
        let steps = world
            .partitions()
            .filter_map(|place| place.leader)
            .flat_map(|leader| leader.plans.iter())
            .map(|slot| slot.saga.steps.len())
            .max()
            .unwrap_or(1);
        let lists = world.partitions().count() * world.participants.len().max(1);
        if sizes.parked > steps * (2 * sizes.live + 1_024 * lists) {
            return broken(format!("{} calls are listed as parked, {} transactions live", sizes.parked, sizes.live));
        }
        if sizes.calls
            > steps * sizes.live + world.participants.iter().map(|p| p.limits.max_in_flight as usize).sum::<usize>()
        {
            return broken(format!("{} calls are held in memory, {} transactions live", sizes.calls, sizes.live));
        }
        if sizes.resident > sizes.live {
            return broken(format!("{} rows in memory, {} live", sizes.resident, sizes.live));
        }
        for place in world.partitions() {
            let Some(leader) = place.leader else { continue };
            for (lock, key, queue) in leader.locks.iter() {
                if queue.waiting.len() > WAITERS_MAX {
                    return broken(format!("{} wait for the lock {lock} of {key}", queue.waiting.len()));
                }
            }
        }
        self.most.calls = self.most.calls.max(sizes.calls);
        self.most.live = self.most.live.max(sizes.live);
        Ok(())
    }
}
