//! How a transaction goes from step to step: forward, again, or back.
//!
//! ```text
//!  arrives ─► entry ─► step 1 ─► step 2 ─► … ─► committed (in time, or late and worth nothing)
//!               │         │ refused, given up, deadline passed
//!             turned      └─► undo what was done, newest first ─► aborted
//! ```
//! The rules are the engine's: a deadline binds forward calls only; what may have been done (a timeout, a 500) is
//! undone as well; an undo is tried until it is done.

use std::time::Duration;

use crate::agenda::Event;
use crate::arm::{Backoff, CallId, Class, Outcome, Retry, Tx};
use crate::world::{World, stamp};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// No call yet.
    Entry,
    Forward,
    Undo,
    Over,
}

#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) tx: Tx,
    pub(crate) arrived: u64,
    pub(crate) size: f64,
    pub(crate) phase: Phase,
    pub(crate) step: u8,
    /// The next one to be made, or the one under way; from 1.
    pub(crate) attempt: u16,
    /// Attempts of this step that count.
    counted: u16,
    /// An attempt of this step may have been done.
    may_be_done: bool,
    /// External calls so far, and those among them that its commit needed.
    pub(crate) calls: u32,
    pub(crate) useful: u32,
}

impl Life {
    pub(crate) fn new(tx: Tx, arrived: u64, size: f64) -> Self {
        Self {
            tx,
            arrived,
            size,
            phase: Phase::Entry,
            step: 0,
            attempt: 1,
            counted: 0,
            may_be_done: false,
            calls: 0,
            useful: 0,
        }
    }

    fn go_to_step(&mut self, step: u8) {
        self.step = step;
        self.attempt = 1;
        self.counted = 0;
        self.may_be_done = false;
    }
}

/// An undo waits no longer than this between attempts.
const UNDO: Backoff =
    Backoff { attempts: u16::MAX, base: Duration::from_millis(100), ceiling: Duration::from_secs(10) };

impl World<'_> {
    /// The next attempt is due.
    pub(crate) fn release(&mut self, tx: u32) {
        let life = &self.lives[tx as usize];
        match life.phase {
            Phase::Forward if life.tx.deadline <= stamp(self.now) => self.abort(tx),
            Phase::Forward => {
                let class = if life.attempt > 1 { Class::Retry } else { Class::First };
                self.hand_over(tx, class);
            }
            Phase::Undo => self.hand_over(tx, Class::Compensate),
            Phase::Entry | Phase::Over => {}
        }
    }

    pub(crate) fn again(&mut self, tx: u32) {
        self.release(tx);
    }

    /// The participant has answered; or another call's answer served.
    pub(crate) fn answered(&mut self, id: CallId, outcome: Outcome, by_call: bool) {
        let tx = self.call(id).tx;
        let life = &mut self.lives[tx as usize];
        match (life.phase, outcome) {
            (Phase::Forward, Outcome::Done) => {
                life.useful += u32::from(by_call);
                let steps = self.scenario.definitions[usize::from(life.tx.definition)].steps.len();
                if usize::from(life.step) + 1 == steps {
                    self.over(tx, true);
                } else {
                    life.go_to_step(life.step + 1);
                    self.release(tx);
                }
            }
            (Phase::Forward, _) => self.abort(tx),
            (Phase::Undo, _) => self.undo_next(tx),
            (Phase::Entry | Phase::Over, _) => {}
        }
    }

    /// An attempt has failed; `None`: on this side.
    pub(crate) fn attempt_failed(&mut self, id: CallId, outcome: Option<Outcome>) {
        let call = self.call(id);
        let life = &mut self.lives[call.tx as usize];
        life.may_be_done |= matches!(outcome, Some(Outcome::TimedOut | Outcome::Failed));
        let counted = life.counted.saturating_add(1);
        let is_undo = life.phase == Phase::Undo;
        let (node, tx) = (call.node, call.tx);
        let retry = self.with(node, |arm, cx| match arm.retry(cx, &call, outcome, counted) {
            Retry::GiveUp if is_undo => Retry::After(UNDO.wait(cx.dice, counted, outcome)),
            other => other,
        });
        let life = &mut self.lives[tx as usize];
        let wait = match retry {
            Retry::GiveUp => return self.abort(tx),
            Retry::After(wait) => {
                life.counted = counted;
                wait
            }
            Retry::Uncounted(wait) => wait,
        };
        life.attempt = life.attempt.saturating_add(1);
        let mut at = self.now.saturating_add(wait.as_micros() as u64).max(self.now + 1);
        if !is_undo {
            // Nobody waits beyond the deadline for an attempt that may not start any more.
            at = at.min(self.now + life.tx.deadline.since(stamp(self.now)).as_micros() as u64).max(self.now + 1);
        }
        self.agenda.at(at, Event::Again(tx));
    }

    /// The arm says that a call will not start.
    pub(crate) fn gave_up(&mut self, id: CallId) {
        let call = self.call(id);
        if self.lives[call.tx as usize].phase == Phase::Undo {
            self.attempt_failed(id, None);
        } else {
            self.tally.expired += 1;
            self.abort(call.tx);
        }
    }

    fn abort(&mut self, tx: u32) {
        let life = &mut self.lives[tx as usize];
        life.phase = Phase::Undo;
        let from_here = life.may_be_done;
        let step = life.step;
        if from_here && self.has_undo(tx, step) {
            self.lives[tx as usize].go_to_step(step);
            self.compensate(tx);
        } else {
            self.undo_below(tx, step);
        }
    }

    fn has_undo(&self, tx: u32, step: u8) -> bool {
        let definition = self.lives[tx as usize].tx.definition;
        self.scenario.definitions[usize::from(definition)].steps[usize::from(step)].undo
    }

    fn undo_next(&mut self, tx: u32) {
        let step = self.lives[tx as usize].step;
        self.undo_below(tx, step);
    }

    fn undo_below(&mut self, tx: u32, step: u8) {
        match (0..step).rev().find(|s| self.has_undo(tx, *s)) {
            Some(step) => {
                self.lives[tx as usize].go_to_step(step);
                self.compensate(tx);
            }
            None => self.over(tx, false),
        }
    }

    fn compensate(&mut self, tx: u32) {
        self.tally.compensations += 1;
        self.release(tx);
    }

    pub(crate) fn over(&mut self, tx: u32, committed: bool) {
        let life = &mut self.lives[tx as usize];
        life.phase = Phase::Over;
        self.open -= 1;
        self.tally.over(self.now, life, committed, life.tx.deadline >= stamp(self.now));
        let (node, tx) = (life.tx.node, life.tx);
        self.with(node, |arm, cx| arm.over(cx, &tx, committed));
    }
}
