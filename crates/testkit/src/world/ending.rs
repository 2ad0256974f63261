//! What a run is told by: the verdicts that belong in its story, how it stands at its end, and what stays.

use model::{Direction, StepIndex};
use partition::branch::{Branch, Status};
use partition::transaction::{Phase, Reason, TxOutcome};
use partition::{Move, Transaction};
use plan::Undo;

use super::{NoRun, STARTS_AT, World};
use crate::run::{COMPENSATE_NONE, Run, Stays, Stopped, call_word};

impl World<'_> {
    /// What a verdict says that the story should tell.
    pub(super) fn heard(&mut self, made: &Move) {
        let plan = self.setting.plan;
        let name = |step: StepIndex| plan.steps[usize::from(step)].name.to_string();
        match made {
            Move::Settle { step, status: Status::Skipped, .. } => self.tell(name(*step), "skipped"),
            Move::Settle { step, status: Status::Compensated, .. } => self.undone.push(*step),
            Move::Settle { step, status: Status::Failed, .. } if plan.steps[usize::from(*step)].call().is_none() => {
                self.tell(name(*step), "failed: the signal did not come in time");
            }
            Move::AwaitSignal { step, .. } => self.tell(name(*step), "waits for its signal"),
            Move::Sleep { step, until } => self.tell(name(*step), format!("sleeps until {until}")),
            Move::Quiet { step, until } => {
                let wait = until.since(self.now);
                let text = format!("waits {} until nothing can arrive any more", crate::report::span(wait));
                self.tell(format!("undo {}", name(*step)), text);
            }
            Move::Recount { step } => self.ledger.tried_afresh(*step),
            Move::Ask(asked) => {
                self.asked = true;
                let who = asked.step.map_or_else(String::new, |step| call_word(plan, (step, asked.direction)));
                let detail = if asked.detail.is_empty() { String::new() } else { format!(" ({})", asked.detail) };
                self.tell(who, format!("needs a person: {}{detail}", asked.cause.as_str().replace('_', " ")));
            }
            Move::Decide { outcome, cause, .. } => {
                if self.decided_at.replace(self.now).is_some() {
                    self.ledger.note("TX-2", "the outcome is decided a second time");
                }
                let wish = matches!(outcome, TxOutcome::Aborted(Reason::Cancelled | Reason::TimedOut));
                if wish && self.flying.iter().any(|flown| flown.call.direction == Direction::Call) {
                    self.ledger.note("TX-2", "a wish decides although a call is outstanding that may still win");
                }
                let detail = cause.as_ref().map(|c| c.detail.as_str()).filter(|d| !d.is_empty());
                let detail = detail.map_or_else(String::new, |d| format!(" ({d})"));
                let text = match outcome {
                    TxOutcome::Completed => "completed".to_owned(),
                    TxOutcome::Aborted(reason) => format!("aborted: {}", reason.as_str().replace('_', " ")),
                };
                self.tell("", format!("{text}{detail}"));
            }
            _ => {}
        }
    }

    pub(super) fn finish(mut self, stopped: Stopped) -> Result<Run, NoRun> {
        let start = self.script.starts_at.unwrap_or(STARTS_AT);
        let Some(tx) = self.ended.clone().or_else(|| self.live().cloned()) else {
            return Err(NoRun::Engine("the transaction is neither live nor ended".into()));
        };
        // Ended or not: something must wake what lives (TX-4).
        let idle = tx.phase != Phase::Ended
            && stopped == Stopped::Waits
            && tx.attention.is_none()
            && tx.steps.iter().all(|s| s.branch == Branch::Idle);
        if idle {
            self.ledger.note("TX-4", "it lives, and nothing will wake it");
        }
        let stays = self.stays(&tx);
        let made_up = self.setting.made_up.iter().filter(|(step, _)| self.made_up_used.contains(step));
        let made_up = made_up.map(|(step, body)| (*step, body.clone())).collect();
        let never = (0..self.fired.len()).filter(|place| !self.fired[*place]).collect();
        Ok(Run {
            stays,
            events_that_never_came: never,
            took: self.now.since(start),
            decided_after: self.decided_at.map(|at| at.since(start)),
            entries: self.journal.len(),
            tx,
            calls: self.calls,
            story: self.story,
            stopped,
            undone: self.undone,
            asked: self.asked,
            violations: self.ledger.violations,
            made_up,
        })
    }

    /// Effects that are there although the transaction does not count them as done, each with its reason.
    pub(super) fn stays(&self, tx: &Transaction) -> Vec<Stays> {
        let mut stays = Vec::new();
        for step in self.ledger.standing() {
            let (plan, state) = (&self.setting.plan.steps[usize::from(step)], &tx.steps[usize::from(step)]);
            let counts = matches!(state.status, Status::Done);
            let kept = !matches!(tx.outcome, Some(TxOutcome::Aborted(_))) && counts;
            if kept || tx.outcome.is_none() && !counts && tx.phase != Phase::Ended && !state.status.has_ended() {
                continue;
            }
            let tried = tx.phase != Phase::Ended && state.branch != Branch::Attention;
            let behind = state.status != Status::Undoing && !matches!(state.branch, Branch::Quiet { .. });
            let (why, for_good) = match &plan.compensate {
                _ if self.ledger.broke_its_word(step) && state.status != Status::GivenUp => {
                    ("the participant did what it denied, or later than it says", true)
                }
                _ if state.status == Status::GivenUp => ("a person gave its undo up", true),
                Undo::Call { .. } if state.by_hand => ("a person decided", true),
                Undo::Call { .. } if plan.optional && state.status != Status::Done => ("unknown: ignore", true),
                Undo::Call { .. } if state.branch == Branch::Attention => {
                    ("a person is to say what became of its undo", true)
                }
                Undo::Call { .. } if tried && behind => ("waits for the undo of what came later", false),
                Undo::Call { .. } if tried => ("its undo is tried on without end", false),
                Undo::Call { .. } => ("not undone", true),
                Undo::Nothing if plan.optional => ("optional, compensate: none", true),
                Undo::Nothing => (COMPENSATE_NONE, true),
            };
            stays.push(Stays { step, why: why.into(), for_good });
        }
        stays
    }
}
