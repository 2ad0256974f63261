//! LD-3: retries stay within the budget. A step is tried as often as its `retry` says and no oftener, with the waits it
//! says; what an outage costs is not counted, what a restart cut off is (SEMANTICS 21); and an undo that does not work
//! slows down, and is never given up by itself.
//!
//! Beside the step's own budget a participant has one for the repeats of all transactions: a share of its successes,
//! and a few a second. Both are held; the second is counted from starts and answers, at its most generous.

use std::time::Duration;

use model::{Direction, StepIndex, Timestamp, TxId};
use partition::branch::Branch;
use partition::transaction::Attempt;
use partition::{CallRef, Command, Evidence, Move};
use plan::{Retry, Side, Undo};

use super::{Decision, called, retry_of};
use crate::event::{Checker, Event, Fault, Told, View, Violation};
use crate::fixed::Set;

/// See the head of this file.
#[derive(Debug, Default)]
pub struct Attempts {
    /// What is declared changes under way: how often was allowed depends on when.
    has_changed: bool,
    /// Repeats that were asked for.
    repeats: Set<(TxId, CallRef)>,
    budgets: Vec<Budget>,
    /// The load manager decides by dice.
    is_unbound: bool,
}

/// What repeats a participant may get now.
#[derive(Clone, Copy, Debug)]
struct Budget {
    tokens: f64,
    at: Timestamp,
}

/// Paid for one success, a second, and saved up at most; one more for each reading of a clock that is not exact.
const PER_SUCCESS: f64 = 0.5;
const PER_SECOND: f64 = 10.0;
const SAVED_MAX: f64 = 20.0;
const INEXACT: f64 = 1.0;

impl Checker for Attempts {
    fn name(&self) -> &'static str {
        "LD-3"
    }

    fn on(&mut self, _: Timestamp, event: &Event<'_>, world: &View<'_>) -> Result<(), Violation> {
        match event {
            Event::Changed { .. } | Event::FaultWindow { fault: Fault::Definitions, .. } => self.has_changed = true,
            Event::Proposed { .. } => {
                if let Some(d) = Decision::of(event, world) {
                    return self.judge(&d, world);
                }
            }
            Event::WorldBegins { features, .. } => self.is_unbound = features.contains(&"load lies"),
            Event::Asked { tx, call, class: load::Class::Retry, .. } => drop(self.repeats.insert((*tx, *call))),
            Event::GivenBack { tx, call, .. } => drop(self.repeats.remove(&(*tx, *call))),
            Event::Started { tx, call, participant, .. } if self.repeats.remove(&(*tx, *call)) => {
                let is_unbound = self.is_unbound;
                let budget = self.budget(*participant, world.node_now);
                if budget.tokens < 1.0 - INEXACT && !is_unbound {
                    let what = format!("{call:?} repeats at participant {participant} beyond the budget of repeats");
                    return Err(Violation::new("LD-3", *tx, what));
                }
                budget.tokens -= 1.0;
            }
            Event::Heard { participant, evidence: Evidence::Answered { status: 200..=299, .. }, .. } => {
                let budget = self.budget(*participant, world.node_now);
                budget.tokens = (budget.tokens + PER_SUCCESS).min(SAVED_MAX);
            }
            Event::Opened { .. } => {
                self.repeats.clear();
                self.budgets.clear();
            }
            _ => {}
        }
        Ok(())
    }

    fn at_end(&mut self, _: Timestamp, _: &View<'_>) -> Result<(), Violation> {
        Ok(())
    }
}

fn broken(d: &Decision<'_>, what: String) -> Result<(), Violation> {
    Err(Violation::new("LD-3", d.tx(), what))
}

impl Attempts {
    fn budget(&mut self, participant: u32, now: Timestamp) -> &mut Budget {
        let place = participant as usize;
        if self.budgets.len() <= place {
            self.budgets.resize(place + 1, Budget { tokens: 1.0, at: now });
        }
        let budget = &mut self.budgets[place];
        let seconds = now.since(budget.at).as_secs_f64();
        // Time alone saves up no more than one.
        budget.tokens = (budget.tokens + seconds * PER_SECOND).min(budget.tokens.max(1.0));
        budget.at = budget.at.max(now);
        budget
    }

    fn judge(&self, d: &Decision<'_>, world: &View<'_>) -> Result<(), Violation> {
        let mut over = None;
        for told in d.moves {
            match told {
                Move::Answer { attempt, .. } => {
                    over = Some(&**attempt);
                    if attempt.direction == Direction::Call {
                        counts(d, attempt, world)?;
                    }
                }
                Move::Start { step, direction: Direction::Call, .. } if !self.has_changed => again(d, *step, world)?,
                Move::Backoff { step, until, .. } => waits(d, over, *step, *until, world)?,
                _ => {}
            }
        }
        Ok(())
    }
}

/// Proof that it was not taken spends nothing; everything else does.
fn counts(d: &Decision<'_>, attempt: &Attempt, world: &View<'_>) -> Result<(), Violation> {
    let step = &d.plan.steps[usize::from(attempt.step)];
    let evidence = match d.command {
        Told::Other(Command::Answered { sample, .. }) => &sample.evidence,
        Told::Other(Command::Recover(_)) => &Evidence::Interrupted,
        _ => return Ok(()),
    };
    let expected = match evidence {
        Evidence::NotSent(_) => step.optional,
        Evidence::TimedOut | Evidence::Cut(_) | Evidence::Interrupted => true,
        Evidence::Answered { status, has_retry_after, .. } => {
            let has_rules = !step.answers.is_empty() || called(step, world).is_none_or(|p| !p.answers.is_empty());
            if has_rules {
                return Ok(());
            }
            step.optional || !matches!((*status, *has_retry_after), (401 | 407 | 429, _) | (503, true))
        }
    };
    let is_put_aside =
        d.after.attention.as_ref().is_some_and(|a| a.cause == partition::transaction::AttentionCause::Quarantined);
    if attempt.counted == expected || is_put_aside {
        return Ok(());
    }
    let (is, word) = if expected { ("not ", "spends") } else { ("", "does not spend") };
    broken(d, format!("step {}: {evidence:?} {word} an attempt, it was {is}counted", attempt.step))
}

/// A step that can be undone is not tried once more than it may.
fn again(d: &Decision<'_>, place: StepIndex, world: &View<'_>) -> Result<(), Violation> {
    let step = &d.plan.steps[usize::from(place)];
    if step.side != Side::Before || step.optional {
        return Ok(());
    }
    let Some(participant) = called(step, world) else { return Ok(()) };
    let (state, most) = (&d.after.steps[usize::from(place)], retry_of(step, participant).attempts);
    if state.attempts_counted >= most && matches!(state.branch, Branch::Outstanding { .. }) {
        return broken(d, format!("step {place} is tried again after {} of {most} attempts", state.attempts_counted));
    }
    Ok(())
}

/// The wait after the attempt that this entry tells of is the declared one, jittered down to half. What stands after
/// the whole entry is another matter: the step may have turned back by then, and begun to count its undo.
fn waits(
    d: &Decision<'_>,
    over: Option<&Attempt>,
    place: StepIndex,
    until: Timestamp,
    world: &View<'_>,
) -> Result<(), Violation> {
    let step = &d.plan.steps[usize::from(place)];
    let Some(over) = over.filter(|attempt| attempt.step == place) else {
        return broken(d, format!("step {place} waits for another attempt, and none is over"));
    };
    let state = &d.after.steps[usize::from(place)];
    let is_undo = over.direction == Direction::Compensate;
    // Waiting until it has settled is another wait.
    if is_undo && until == state.settles_at {
        return Ok(());
    }
    let declared = match (is_undo, &step.compensate) {
        (true, Undo::Call { call, .. }) => {
            world.participants.iter().find(|p| p.name == call.participant).map(|p| p.retry)
        }
        (true, Undo::Nothing) => None,
        (false, _) => called(step, world).map(|p| retry_of(step, p)),
    };
    let Some(declared) = declared else { return Ok(()) };
    let n = if is_undo { state.attempts_counted.max(1) } else { over.n };
    let full = doubling(declared, n);
    let wait = until.since(d.entry.at);
    let is_slow = is_undo && n >= 10;
    if wait + Duration::from_micros(1) < full / 2 || (!is_slow && wait > full) {
        return broken(d, format!("step {place} waits {wait:?} after attempt {n}, declared is up to {full:?}"));
    }
    Ok(())
}

fn doubling(retry: Retry, n: u32) -> Duration {
    let times = 1_u32.checked_shl(n.saturating_sub(1).min(30)).unwrap_or(u32::MAX);
    retry.backoff.saturating_mul(times).min(retry.max_backoff)
}
