//! SEMANTICS 27: an answer that a step was given without a call was really given, by that participant, to the same
//! request, and not too long before the step asked; it says yes or no, and the step has done nothing by it.

use std::time::Duration;

use model::{Outcome, StepIndex, Timestamp, TxId};
use partition::{Command, Effect, Evidence, Move, Shared};
use plan::render::Request;

use super::Decision;
use crate::event::{Checker, Event, Told, View, Violation};
use crate::fixed::Map;

/// An attempt by its transaction, step and number. A read is never undone, so its round is always the first.
type Name = (TxId, StepIndex, u32);

/// A read that was released.
#[derive(Debug)]
struct Read {
    participant: u32,
    request: Request,
    max_age: Duration,
    asked_at: Timestamp,
    started_at: Option<Timestamp>,
    answer: Option<Evidence>,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub struct Answers {
    reads: Map<Name, Read>,
    /// How far two readings of the node's clock may be apart for the same time.
    slack: Duration,
}

impl Checker for Answers {
    fn name(&self) -> &'static str {
        "shared"
    }

    fn on(&mut self, at: Timestamp, event: &Event<'_>, world: &View<'_>) -> Result<(), Violation> {
        match event {
            Event::WorldBegins { features, .. } => {
                self.slack = super::wobble(features);
            }
            Event::Released { effect: Effect::Call(out), .. } => {
                if let Some(share) = out.share {
                    let (participant, request) = (out.participant, out.request.clone());
                    let name = (out.key.tx, out.call.step, out.call.attempt);
                    let max_age = share.max_age;
                    let read = Read { participant, request, max_age, asked_at: at, started_at: None, answer: None };
                    self.reads.insert(name, read);
                }
            }
            Event::Started { tx, call, .. } => {
                if let Some(read) = self.reads.get_mut(&(*tx, call.step, call.attempt)) {
                    read.started_at = Some(at);
                }
            }
            Event::Heard { tx, call, evidence, .. } => {
                if let Some(read) = self.reads.get_mut(&(*tx, call.step, call.attempt)) {
                    read.answer = Some((*evidence).clone());
                }
            }
            Event::Proposed { .. } => {
                if let Some(d) = Decision::of(event, world) {
                    return self.judge(&d);
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

impl Answers {
    fn judge(&self, d: &Decision<'_>) -> Result<(), Violation> {
        for told in d.moves {
            let Move::Answer { attempt, .. } = told else { continue };
            let Some(shared) = attempt.shared.as_deref() else { continue };
            let broken = |what: String| {
                Err(Violation::new("SEMANTICS-27", d.tx(), format!("step {}: {what}: {shared:?}", attempt.step)))
            };
            let Told::Other(Command::Answered { sample, .. }) = d.command else {
                return broken("nobody handed it an answer".into());
            };
            let Some(own) = self.reads.get(&(d.tx(), attempt.step, attempt.n)) else {
                return broken("its read may not be shared".into());
            };
            if !matches!(attempt.outcome, Outcome::Done | Outcome::Refused) {
                return broken(format!("{} by another's answer", attempt.outcome.as_str()));
            }
            if d.after.steps[usize::from(attempt.step)].may_have_executed {
                return broken("it made no call and may have executed".into());
            }
            if let Err(what) = self.was_given(own, shared, &sample.evidence) {
                return broken(what);
            }
        }
        Ok(())
    }

    fn was_given(&self, own: &Read, shared: &Shared, evidence: &Evidence) -> Result<(), String> {
        let lead = self.reads.get(&(shared.tx, shared.step, shared.attempt)).ok_or("nobody made that call")?;
        let started_at = lead.started_at.ok_or("that call has not started")?;
        if (lead.participant, &lead.request) != (own.participant, &own.request) {
            return Err(format!("that call asked {:?}, this one {:?}", lead.request, own.request));
        }
        if lead.answer.as_ref() != Some(evidence) {
            return Err(format!("that call was answered {:?}, this one {evidence:?}", lead.answer));
        }
        let age = own.asked_at.since(started_at);
        if age > own.max_age + self.slack {
            return Err(format!("its answer is {age:?} old, declared is {:?}", own.max_age));
        }
        Ok(())
    }
}
