//! What is known of an attempt is judged by what was proven, and whether a call may have executed is never forgotten
//! (SEMANTICS 1, 3).
//!
//! Keeps the sticky bit of every step a second time, from the evidence itself and the table of LANGUAGE, and compares
//! after each entry. Rules of a definition (`answers`) are believed as the engine applied them, except where they say
//! nothing about what the table says.

use model::{Direction, Outcome, Timestamp, TxId};
use partition::branch::Status;
use partition::evidence::Body;
use partition::transaction::Attempt;
use partition::{Command, Evidence, Move};
use plan::eval::{Response, Scope, Steps};
use plan::{AnswerRule, Participant, Step, Undo};
use smallvec::SmallVec;

use super::{Decision, called};
use crate::event::{Checker, Event, Told, View, Violation};
use crate::fixed::Map;

/// See the head of this file.
#[derive(Debug, Default)]
pub struct Judged {
    /// By transaction, a bit a step: it may have executed. Plans of a world have fewer steps than that.
    may: Map<TxId, u64>,
}

impl Checker for Judged {
    fn name(&self) -> &'static str {
        "evidence"
    }

    fn on(&mut self, _: Timestamp, event: &Event<'_>, world: &View<'_>) -> Result<(), Violation> {
        if let Event::Recovered { partition, .. } = event {
            // What was decided and not durable never was; what comes next is compared with what recovery built.
            self.may.retain(|tx, _| tx.partition().0 != *partition);
            return Ok(());
        }
        let Some(d) = Decision::of(event, world) else { return Ok(()) };
        self.judge(&d, world)
    }

    fn at_end(&mut self, _: Timestamp, _: &View<'_>) -> Result<(), Violation> {
        Ok(())
    }
}

/// The steps that may have executed, one bit each.
fn bits_of(may_have_executed: impl Iterator<Item = bool>) -> u64 {
    may_have_executed.enumerate().fold(0, |bits, (place, may)| bits | u64::from(may) << (place & 63))
}

impl Judged {
    fn judge(&mut self, d: &Decision<'_>, world: &View<'_>) -> Result<(), Violation> {
        let id = d.tx();
        let mut may = match self.may.get(&id) {
            Some(bits) => *bits,
            None => d.before.map_or(0, |tx| bits_of(tx.steps.iter().map(|s| s.may_have_executed))),
        };
        let is_put_aside = d.entry.puts_aside();
        for told in d.moves {
            match told {
                Move::Answer { attempt, settles_at, proves_not_executed, .. } => {
                    if !is_put_aside && let Some(evidence) = evidence_of(d, attempt) {
                        compare(d, attempt, evidence, world)?;
                        settles(d, attempt, evidence, *settles_at, world)?;
                    }
                    if attempt.direction == Direction::Call {
                        let bit = 1 << (attempt.step & 63);
                        if attempt.shared.is_none() && matches!(attempt.outcome, Outcome::Done | Outcome::Unknown) {
                            may |= bit;
                        }
                        if *proves_not_executed {
                            proof(d, attempt, world)?;
                            may &= !bit;
                        }
                    }
                }
                Move::LateDone { step, .. } => may |= 1 << (step & 63),
                Move::Settle { step, status, by_hand, .. } => match status {
                    // What was answered by another's call did nothing.
                    Status::Done if !by_hand && d.after.is_answered_by_another(*step) => {}
                    Status::Done => may |= 1 << (step & 63),
                    Status::Compensated | Status::Skipped => may &= !(1 << (step & 63)),
                    Status::Refused if *by_hand => may &= !(1 << (step & 63)),
                    _ => {}
                },
                _ => {}
            }
        }
        let told = bits_of(d.after.steps.iter().map(|s| s.may_have_executed));
        if told != may {
            let step = (told ^ may).trailing_zeros();
            let what =
                if may >> step & 1 == 1 { "may have executed, and that is forgotten" } else { "cannot have executed" };
            return Err(Violation::new("TX-3", id, format!("step {step} {what}")));
        }
        if d.after.phase == partition::transaction::Phase::Ended {
            self.may.remove(&id);
        } else {
            self.may.insert(id, may);
        }
        Ok(())
    }
}

/// What this attempt was judged by.
fn evidence_of<'d>(d: &Decision<'d>, attempt: &Attempt) -> Option<&'d Evidence> {
    const INTERRUPTED: &Evidence = &Evidence::Interrupted;
    match d.command {
        Told::Other(Command::Answered { call, sample }) if call.step == attempt.step => Some(&sample.evidence),
        Told::Other(Command::Recover(_)) => Some(INTERRUPTED),
        _ => None,
    }
}

fn rules_of<'d>(d: &Decision<'d>, attempt: &Attempt, world: &View<'d>) -> SmallVec<[&'d [AnswerRule]; 2]> {
    let step: &'d Step = &d.plan.steps[usize::from(attempt.step)];
    let (own, name) = match (attempt.direction, &step.compensate) {
        (Direction::Compensate, Undo::Call { call, answers, .. }) => (answers, Some(&call.participant)),
        _ => (&step.answers, step.call().map(|call| &call.participant)),
    };
    let theirs: Option<&'d Participant> = name.and_then(|name| world.participants.iter().find(|p| p.name == *name));
    let mut rules: SmallVec<[&'d [AnswerRule]; 2]> = SmallVec::new();
    rules.push(own.as_slice());
    if let Some(theirs) = theirs {
        rules.push(theirs.answers.as_slice());
    }
    rules
}

struct Nothing;

impl Steps for Nothing {
    fn result(&self, _: model::StepIndex) -> Option<&model::Value> {
        None
    }

    fn outcome(&self, _: model::StepIndex) -> &'static str {
        "pending"
    }

    fn call_key(&self, step: model::StepIndex) -> model::CallKey {
        model::CallKey { tx: TxId(0), step, direction: Direction::Call, round: 0 }
    }
}

/// The outcome recorded is the one that the table gives, where no rule of a definition speaks.
fn compare(d: &Decision<'_>, attempt: &Attempt, evidence: &Evidence, world: &View<'_>) -> Result<(), Violation> {
    let expected = match evidence {
        Evidence::NotSent(_) => Outcome::Failed,
        Evidence::TimedOut | Evidence::Cut(_) | Evidence::Interrupted => Outcome::Unknown,
        Evidence::Answered { status, has_retry_after, body } => {
            let rules = rules_of(d, attempt, world);
            if rules.iter().any(|list| !list.is_empty()) {
                let value = match body {
                    Body::Json(value) => value,
                    Body::Empty | Body::Unusable(_) => &model::Value::Null,
                };
                let response = Some(Response { status: *status, body: value });
                let scope = Scope {
                    tx: d.after.id,
                    input: &d.after.input,
                    steps: &Nothing,
                    response,
                    signal: None,
                    call: None,
                };
                let mut all = rules.iter().flat_map(|list| list.iter());
                if all.any(|rule| rule.when.eval_bool(&scope).unwrap_or(true)) {
                    return Ok(());
                }
            }
            by_table(*status, *has_retry_after)
        }
    };
    if attempt.outcome == expected {
        return Ok(());
    }
    let what = format!(
        "step {} {}: {evidence:?} was judged {}, it proves {}",
        attempt.step,
        attempt.direction.as_str(),
        attempt.outcome.as_str(),
        expected.as_str()
    );
    Err(Violation::new("TX-3", d.tx(), what))
}

/// The table of LANGUAGE, a second time.
fn by_table(status: u16, has_retry_after: bool) -> Outcome {
    match (status, has_retry_after) {
        (200..=299, _) => Outcome::Done,
        (401 | 407 | 429, _) | (503, true) => Outcome::Failed,
        (408 | 425, _) => Outcome::Unknown,
        (300..=499, _) => Outcome::Refused,
        _ => Outcome::Unknown,
    }
}

/// What may have executed is given the time that its participant declares.
fn settles(
    d: &Decision<'_>,
    attempt: &Attempt,
    evidence: &Evidence,
    settles_at: Timestamp,
    world: &View<'_>,
) -> Result<(), Violation> {
    if attempt.direction == Direction::Compensate || attempt.outcome != Outcome::Unknown {
        return Ok(());
    }
    let Some(participant) = called(&d.plan.steps[usize::from(attempt.step)], world) else { return Ok(()) };
    let least = if participant.undo_blocks_do { d.entry.at } else { d.entry.at.after(participant.settles_within) };
    if settles_at < least {
        let what = format!("step {}: {evidence:?} settles at {settles_at}, declared is {least}", attempt.step);
        return Err(Violation::new("TX-3", d.tx(), what));
    }
    Ok(())
}

/// Declared proof holds only when no earlier attempt can still arrive.
fn proof(d: &Decision<'_>, attempt: &Attempt, world: &View<'_>) -> Result<(), Violation> {
    let place = usize::from(attempt.step);
    let Some(before) = d.before.and_then(|tx| tx.steps.get(place)) else { return Ok(()) };
    let Some(participant) = called(&d.plan.steps[place], world) else { return Ok(()) };
    let can_arrive =
        before.settles_at > d.entry.at || (participant.undo_blocks_do && !participant.settles_within.is_zero());
    if before.may_have_executed && can_arrive {
        let what = format!("step {place}: an answer is taken as proof while an earlier attempt may still arrive");
        return Err(Violation::new("TX-3", d.tx(), what));
    }
    Ok(())
}
