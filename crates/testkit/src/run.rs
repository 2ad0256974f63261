//! What came of one run: the calls that were made, the story, how the transaction stands, and what stays.

use std::time::Duration;

use model::{CallKey, Direction, StepIndex, Value};
use partition::Transaction;
use partition::branch::{Branch, Status};
use partition::transaction::{LockState, Phase, TxOutcome};
use plan::{Request, Saga, Undo};

use crate::ledger::Violation;
use crate::script::CallName;

/// One attempt that left.
#[derive(Clone, Debug)]
pub struct Made {
    pub call: CallName,
    /// From the submission.
    pub at: Duration,
    pub participant: String,
    pub key: CallKey,
    pub request: Request,
    /// The name of the header that carries the call key, if one does.
    pub key_header: Option<String>,
}

/// One line of the story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happening {
    /// From the submission.
    pub at: Duration,
    /// `charge`, `undo charge`, or empty.
    pub who: String,
    pub text: String,
}

/// Why the run went no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    Ended,
    /// The case stops the clock here.
    ClockStopped,
    /// Nothing will ever happen by itself: a person or a signal is waited for.
    Waits,
    /// One call is repeated without end.
    StillTrying,
}

/// Why an effect stays that the definition has no undo for.
pub(crate) const COMPENSATE_NONE: &str = "compensate: none";

/// An effect that is there although the transaction does not count it as done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stays {
    pub step: StepIndex,
    pub why: String,
    /// Nobody tries to undo it any more, or ever will.
    pub for_good: bool,
}

/// One run of one transaction.
#[derive(Clone, Debug)]
pub struct Run {
    pub tx: Transaction,
    pub calls: Vec<Made>,
    pub story: Vec<Happening>,
    pub stopped: Stopped,
    /// In order of their undoing.
    pub undone: Vec<StepIndex>,
    pub stays: Vec<Stays>,
    /// Somewhere on the way a person was asked.
    pub asked: bool,
    pub violations: Vec<Violation>,
    /// Virtual time, from the submission.
    pub took: Duration,
    /// When the outcome was decided, from the submission.
    pub decided_after: Option<Duration>,
    /// Places in the script of what waited for a call or a signal wait that never was.
    pub events_that_never_came: Vec<usize>,
    /// Entries in the journal.
    pub entries: usize,
    /// Bodies that were made up because nobody scripted them, by step.
    pub made_up: Vec<(StepIndex, Value)>,
}

/// What it waits for, and whose name that has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitsFor {
    pub kind: &'static str,
    pub name: String,
}

impl Run {
    /// `running`, `waiting`, `compensating`, `needs_attention`, `ended`: as the API shows it.
    pub fn state(&self, plan: &Saga) -> &'static str {
        match self.tx.phase {
            Phase::Ended => "ended",
            _ if self.tx.attention.is_some() => "needs_attention",
            Phase::Undoing => "compensating",
            Phase::Queued | Phase::Forward | Phase::Stopping(_) if self.waits_for(plan).is_some() => "waiting",
            Phase::Queued | Phase::Forward | Phase::Stopping(_) => "running",
        }
    }

    /// `completed`, `aborted` or `undecided`.
    pub fn outcome(&self) -> &'static str {
        match self.tx.outcome {
            None => "undecided",
            Some(TxOutcome::Completed) => "completed",
            Some(TxOutcome::Aborted(_)) => "aborted",
        }
    }

    pub fn reason(&self) -> Option<&'static str> {
        match self.tx.outcome {
            Some(TxOutcome::Aborted(reason)) => Some(reason.as_str()),
            _ => None,
        }
    }

    /// What wakes it next, if nothing of it is outstanding.
    pub fn waits_for(&self, plan: &Saga) -> Option<WaitsFor> {
        if self.tx.lock == LockState::Waiting {
            return Some(WaitsFor { kind: "lock", name: plan.lock.as_deref().unwrap_or_default().into() });
        }
        if self.tx.phase == Phase::Ended || self.tx.steps.iter().any(|s| matches!(s.branch, Branch::Outstanding { .. }))
        {
            return None;
        }
        plan.steps.iter().zip(&self.tx.steps).find_map(|(step, state)| {
            let named = |kind, name: &str| Some(WaitsFor { kind, name: name.into() });
            match state.branch {
                Branch::Idle | Branch::Outstanding { .. } | Branch::Attention => None,
                Branch::Parked => {
                    let undo = match &step.compensate {
                        Undo::Call { call, .. } if state.status == Status::Undoing => Some(call),
                        _ => None,
                    };
                    named("participant", undo.or_else(|| step.call()).map_or("", |call| call.participant.as_str()))
                }
                Branch::Backoff { .. } => named("backoff", &step.name),
                Branch::Signal { .. } => match &step.action {
                    plan::Action::Wait(plan::Wait::Signal { name, .. }) => named("signal", name),
                    _ => named("signal", &step.name),
                },
                Branch::Sleeping { .. } => named("time", &step.name),
                Branch::Quiet { .. } => named("quiet", &step.name),
            }
        })
    }

    fn tried_on(&self, plan: &Saga, name: &str) -> String {
        let undoing =
            plan.step(name).is_some_and(|(step, _)| self.tx.steps[usize::from(step)].status == Status::Undoing);
        if undoing { format!("undo {name}") } else { name.to_owned() }
    }

    /// The state of a step, in the words of the API.
    pub fn step_state(&self, step: StepIndex) -> &'static str {
        let state = &self.tx.steps[usize::from(step)];
        match (state.status, state.branch) {
            (Status::Pending, _) => "pending",
            (Status::Active, Branch::Outstanding { .. }) => "calling",
            (Status::Active, _) => "waiting",
            (Status::Done, _) => "done",
            (Status::Refused, _) => "refused",
            (Status::Failed, _) => "failed",
            (Status::Unknown, _) => "unknown",
            (Status::Skipped, _) => "skipped",
            (Status::Undoing, _) => "compensating",
            (Status::Compensated, _) => "compensated",
            (Status::GivenUp, _) => "given_up",
        }
    }

    /// The whole in one sentence: `aborted: refused by billing at step credit (account blocked)`.
    pub fn sentence(&self, plan: &Saga) -> String {
        let outcome = match (self.tx.outcome, self.reason()) {
            (Some(TxOutcome::Completed), _) if self.tx.cause.detail.is_empty() => "completed".to_owned(),
            (Some(TxOutcome::Completed), _) => format!("completed ({})", self.tx.cause.detail),
            (Some(TxOutcome::Aborted(_)), Some(reason)) => {
                let mut words = format!("aborted: {}", reason.replace('_', " "));
                if let Some(step) = self.tx.cause.step.and_then(|step| plan.steps.get(usize::from(step))) {
                    if let Some(call) = step.call() {
                        words.push_str(if reason == "refused" { " by " } else { " with " });
                        words.push_str(&call.participant);
                    }
                    words.push_str(&format!(" at step {}", step.name));
                }
                if !self.tx.cause.detail.is_empty() {
                    words.push_str(&format!(" ({})", self.tx.cause.detail));
                }
                words
            }
            _ => "undecided".to_owned(),
        };
        match self.remark(plan) {
            remark if remark.is_empty() => outcome,
            remark => format!("{outcome}; {remark}"),
        }
    }

    /// What it waits for, or which person; empty when it has ended.
    pub fn remark(&self, plan: &Saga) -> String {
        if self.tx.phase == Phase::Ended {
            return String::new();
        }
        if let Some(asked) = &self.tx.attention {
            let step =
                asked.step.map_or_else(String::new, |step| format!(" at {}", call_word(plan, (step, asked.direction))));
            let trying = asked.step.is_some_and(|step| self.tx.steps[usize::from(step)].still_trying);
            let tail = if trying || asked.step.is_none() { ", still tried" } else { "" };
            return format!("needs a person: {}{step}{tail}", asked.cause.as_str().replace('_', " "));
        }
        let waits = self.waits_for(plan);
        match (self.stopped, waits) {
            (Stopped::StillTrying, Some(waits)) if waits.kind == "backoff" => {
                format!("tries {} without end", self.tried_on(plan, &waits.name))
            }
            (_, Some(waits)) => format!("waits for {} {}", waits.kind, waits.name),
            (_, None) => "under way".into(),
        }
    }
}

/// `charge`, `undo charge`.
pub fn call_word(plan: &Saga, call: CallName) -> String {
    let name = plan.steps.get(usize::from(call.0)).map_or("?", |step| step.name.as_str());
    match call.1 {
        Direction::Call => name.to_owned(),
        Direction::Compensate => format!("undo {name}"),
    }
}
