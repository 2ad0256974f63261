//! Live effects are what the state asks for, at every seq (SEMANTICS 18).
//!
//! For each entry: a call that became outstanding has exactly one effect that makes it, a call that became parked is
//! reported, an outcome and an end are told once, a lock that became free is offered to whoever is next; and nothing
//! else leaves. What a restart re-derives from the state is then the same by construction: `tx4` compares that.

use model::{Direction, Timestamp};
use partition::branch::{Branch, Status};
use partition::transaction::{LockState, Phase};
use partition::{Effect, Move};

use super::Decision;
use crate::event::{Checker, Event, View, Violation, is_aside};

/// See the head of this file. Keeps nothing.
#[derive(Debug, Default)]
pub struct Effects;

impl Checker for Effects {
    fn name(&self) -> &'static str {
        "effects"
    }

    fn on(&mut self, _: Timestamp, event: &Event<'_>, world: &View<'_>) -> Result<(), Violation> {
        let Event::Proposed { effects, .. } = event else { return Ok(()) };
        let Some(d) = Decision::of(event, world) else { return Ok(()) };
        // A decision that broke off is put aside as it stands, and taken up by a person.
        if is_aside(d.after) || d.before.is_some_and(|tx| tx.is_aside) {
            return Ok(());
        }
        steps(&d, effects)?;
        whole(&d, effects)?;
        locks(&d, effects, world)
    }

    fn at_end(&mut self, _: Timestamp, _: &View<'_>) -> Result<(), Violation> {
        Ok(())
    }
}

fn wrong<T>(d: &Decision<'_>, what: String) -> Result<T, Violation> {
    Err(Violation::new("TX-4", d.tx(), what))
}

fn direction(status: Status) -> Direction {
    if status == Status::Undoing { Direction::Compensate } else { Direction::Call }
}

fn steps(d: &Decision<'_>, effects: &[Effect]) -> Result<(), Violation> {
    for (place, after) in d.after.steps.iter().enumerate() {
        let before = d.before.and_then(|tx| tx.steps.get(place));
        let was = before.map_or(Branch::Idle, |s| s.branch);
        // The last thing that was decided about it is what stands.
        let is_new = matches!(after.branch, Branch::Outstanding { .. })
            && d.moves.iter().any(|m| matches!(m, Move::Start { step, .. } if usize::from(*step) == place));
        let (mut calls, mut parked) = (0, 0);
        for effect in effects {
            match effect {
                Effect::Call(out) if usize::from(out.call.step) == place => {
                    calls += 1;
                    let state = (direction(after.status), after.attempts, after.round);
                    if (out.call.direction, out.call.attempt, out.call.round) != state {
                        return wrong(d, format!("step {place}: the call {:?} is not what is outstanding", out.call));
                    }
                    let key = model::CallKey {
                        tx: d.after.id,
                        step: out.call.step,
                        direction: out.call.direction,
                        round: out.call.round,
                    };
                    if out.key != key {
                        let what = format!("step {place}: the call key is {}, the work is {key}", out.key);
                        return Err(Violation::new("TX-1", d.tx(), what));
                    }
                }
                Effect::Parked { call, .. } if usize::from(call.step) == place => parked += 1,
                _ => {}
            }
        }
        if calls != u32::from(is_new) {
            return wrong(d, format!("step {place} is {:?}, and {calls} calls leave for it", after.branch));
        }
        // A stop takes back what it started itself, and whatever the stop leads to takes the step up again.
        let side = d.plan.steps[place].side;
        let is_taken_back = matches!(d.after.phase, Phase::Stopping(_))
            && !(side == plan::Side::Pivot && after.has_effect())
            && after.status == Status::Active;
        let became_parked = after.branch == Branch::Parked && was != Branch::Parked && !is_taken_back;
        // Parked and taken back by one decision: reported once too often, and refused when it is asked for.
        let was_parked = d.moves.iter().any(|m| matches!(m, Move::Park { step, .. } if usize::from(*step) == place));
        if parked > u32::from(after.branch == Branch::Parked || was_parked) || (became_parked && parked == 0) {
            return wrong(d, format!("step {place} is {:?}, and {parked} times reported as parked", after.branch));
        }
    }
    Ok(())
}

fn whole(d: &Decision<'_>, effects: &[Effect]) -> Result<(), Violation> {
    let count = |of: fn(&Effect) -> bool| effects.iter().filter(|effect| of(effect)).count();
    let decided = d.after.outcome.is_some() && !d.before.is_some_and(|tx| tx.is_decided);
    if count(|e| matches!(e, Effect::Decided(_))) != usize::from(decided) {
        return wrong(d, format!("decided: {decided}, and it is told otherwise"));
    }
    let ended = d.after.phase == Phase::Ended;
    if count(|e| matches!(e, Effect::Ended(_))) != usize::from(ended) {
        return wrong(d, format!("ended: {ended}, and it is told otherwise"));
    }
    Ok(())
}

fn locks(d: &Decision<'_>, effects: &[Effect], world: &View<'_>) -> Result<(), Violation> {
    if d.after.lock != LockState::Released || d.before.is_some_and(|tx| tx.lock == LockState::Released) {
        return Ok(());
    }
    let (Some(lock), Some(key)) = (&d.plan.lock, &d.after.key) else { return Ok(()) };
    let leader = world.partition(d.partition).leader;
    let Some(queue) = leader.and_then(|leader| leader.locks.queue(lock, key)) else { return Ok(()) };
    let next = queue.waiting.first().filter(|_| queue.holder.is_none());
    let told = effects.iter().find_map(|effect| match effect {
        Effect::Grant(to) => Some(to),
        _ => None,
    });
    if told == next {
        return Ok(());
    }
    let what = format!("the lock {lock} of {key} is free, next is {next:?}, it is offered to {told:?}");
    Err(Violation::new("TX-5", d.tx(), what))
}
