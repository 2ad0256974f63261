//! Every failure by itself: at each call of a run, in both directions, each way it can go wrong, one after the other.
//!
//! The way back is reached by refusing the last call that can be; where none can, by losing the answers of the call
//! itself. Each run is looked at by the ledger: what the engine promises must hold, whatever the participants do.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Direction, StepIndex, Value};
use partition::transaction::{Phase, TxOutcome};
use plan::{Action, Participant, Saga, Side, Undo, Wait};

use crate::ledger::Violation;
use crate::made_up;
use crate::run::{Run, Stays, Stopped, call_word};
use crate::script::{Answer, CallName, Comes, Event, Script, What, When};
use crate::world::{NoRun, Setting, run};

/// A way in which one call goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Refused,
    /// Of an undo only: refused once, then done.
    RefusedOnce,
    /// Never taken again.
    Down,
    /// Not taken three times.
    DownForAWhile,
    /// The first answer is lost; it was not executed.
    UnknownOnce,
    /// The first answer is lost; it was executed.
    LostOnce,
    /// The first answer is lost, though it was executed; the repeat is refused, as a strict participant would.
    LostThenRefused,
    /// No answer ever; never executed.
    Unknown,
    /// No answer ever; executed.
    Lost,
    /// Done, and the body of the answer cannot be read.
    Garbled,
    /// The engine ends before the call is executed.
    CrashBefore,
    /// The engine ends after it.
    CrashAfter,
    /// The engine ends at every attempt, each executed as far as its participant lets it.
    CrashEveryTime,
    /// Somebody cancels while it is outstanding.
    Cancelled,
    /// The signal that it waits for never comes.
    NoSignal,
    /// The engine ends while it waits for its signal.
    CrashWaiting,
}

impl Fault {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::RefusedOnce => "refused once",
            Self::Down => "participant stays down",
            Self::DownForAWhile => "participant down for a while",
            Self::UnknownOnce => "one answer lost, not done",
            Self::LostOnce => "one answer lost, but done",
            Self::LostThenRefused => "done, answer lost, then refused",
            Self::Unknown => "no answer ever, not done",
            Self::Lost => "no answer ever, but done",
            Self::Garbled => "done, answer unreadable",
            Self::CrashBefore => "engine crashes, not done",
            Self::CrashAfter => "engine crashes, but done",
            Self::CrashEveryTime => "engine crashes at every attempt",
            Self::Cancelled => "cancelled meanwhile",
            Self::NoSignal => "signal never comes",
            Self::CrashWaiting => "engine crashes while waiting",
        }
    }

    fn answers(self) -> Option<Vec<Answer>> {
        let done = || Answer::of(Comes::Done);
        let timeout = || Answer::of(Comes::Timeout);
        Some(match self {
            Self::Refused => vec![Answer::status(422)],
            Self::RefusedOnce => vec![Answer::status(422), done()],
            Self::Down => vec![Answer::of(Comes::NotSent)],
            Self::DownForAWhile => {
                let down = || Answer::of(Comes::NotSent);
                vec![down(), down(), down(), done()]
            }
            Self::UnknownOnce => vec![timeout(), done()],
            Self::LostOnce => vec![timeout().executed(true), done()],
            Self::LostThenRefused => vec![timeout().executed(true), Answer::status(409)],
            Self::Unknown => vec![timeout()],
            Self::Lost => vec![timeout().executed(true)],
            Self::Garbled => vec![Answer::of(Comes::Garbled)],
            Self::CrashBefore => vec![Answer::of(Comes::Crash), done()],
            Self::CrashAfter => vec![Answer::of(Comes::Crash).executed(true), done()],
            Self::CrashEveryTime => vec![Answer::of(Comes::Crash).executed(true)],
            Self::Cancelled | Self::NoSignal | Self::CrashWaiting => return None,
        })
    }
}

const FORWARD: &[Fault] = &[
    Fault::Refused,
    Fault::Down,
    Fault::DownForAWhile,
    Fault::UnknownOnce,
    Fault::LostOnce,
    Fault::LostThenRefused,
    Fault::Unknown,
    Fault::Lost,
    Fault::Garbled,
    Fault::CrashBefore,
    Fault::CrashAfter,
    Fault::CrashEveryTime,
    Fault::Cancelled,
];

const BACK: &[Fault] = &[
    Fault::RefusedOnce,
    Fault::Refused,
    Fault::Down,
    Fault::DownForAWhile,
    Fault::UnknownOnce,
    Fault::LostOnce,
    Fault::Unknown,
    Fault::Lost,
    Fault::CrashBefore,
    Fault::CrashAfter,
    Fault::Cancelled,
];

/// One failure, and what came of it.
#[derive(Clone, Debug)]
pub struct Tried {
    pub call: CallName,
    pub fault: Fault,
    /// What made the transaction turn back, if that was needed: `credit refused`.
    pub turned_back_by: Option<String>,
    pub outcome: &'static str,
    pub reason: Option<&'static str>,
    pub state: &'static str,
    /// In the order of their undoing.
    pub undone: Vec<StepIndex>,
    pub stays: Vec<Stays>,
    /// What it waits for, or which person; empty when it has ended.
    pub remark: String,
    pub violations: Vec<Violation>,
    /// Virtual time.
    pub took: Duration,
    pub run: Run,
}

/// All failures of one case.
#[derive(Clone, Debug)]
pub struct Failures {
    /// Without any of them.
    pub base: Run,
    pub tried: Vec<Tried>,
    /// Undos that could not be reached by any failure.
    pub unreached: Vec<CallName>,
}

impl Failures {
    pub fn violations(&self) -> usize {
        self.tried.iter().map(|tried| tried.violations.len()).sum::<usize>() + self.base.violations.len()
    }

    /// What stayed under some failure, for good or while its undo is tried on: by step, why (once each), and under
    /// how many.
    pub fn stays(&self, for_good: bool) -> BTreeMap<StepIndex, (Vec<String>, usize)> {
        let mut all: BTreeMap<StepIndex, (Vec<String>, usize)> = BTreeMap::new();
        for stays in self.tried.iter().flat_map(|tried| &tried.stays).filter(|stays| stays.for_good == for_good) {
            let (whys, count) = all.entry(stays.step).or_default();
            *count += 1;
            if !whys.contains(&stays.why) {
                whys.push(stays.why.clone());
            }
        }
        all
    }
}

/// One transaction as it runs when nothing fails.
#[derive(Clone, Copy, Debug)]
pub struct Base<'s> {
    pub plan: &'s Saga,
    pub participants: &'s [Participant],
    pub input: &'s Value,
    pub script: &'s Script,
    /// Send the signals that the script does not.
    pub signals_come: bool,
}

/// Tries every failure at every call.
///
/// # Errors
/// When the base itself cannot be run.
pub fn every_failure(base: Base<'_>) -> Result<Failures, NoRun> {
    let Base { plan, participants, input, script, signals_come } = base;
    let made_up = made_up::bodies(plan, participants, input, script, signals_come);
    let setting = Setting { plan, participants, input, made_up: &made_up, signals_come };
    let mut script = script.clone();
    // The whole way is looked at, wherever the case stops its clock.
    script.until = None;
    let first = run(setting, &script)?;
    let mut tried = Vec::new();
    let mut unreached = Vec::new();
    for (place, step) in plan.steps.iter().enumerate() {
        let forward = (place as StepIndex, Direction::Call);
        if first.calls.iter().any(|made| made.call == forward) {
            for fault in FORWARD {
                tried.push(try_one(setting, &with(&script, forward, *fault), forward, *fault, None)?);
            }
        }
        if let Action::Wait(Wait::Signal { name, .. }) = &step.action {
            tried.push(no_signal(setting, &script, forward, name)?);
            tried.push(crash_waiting(setting, &script, forward)?);
        }
    }
    for (place, step) in plan.steps.iter().enumerate().rev() {
        let forward = (place as StepIndex, Direction::Call);
        let undo = (place as StepIndex, Direction::Compensate);
        if !matches!(step.compensate, Undo::Call { .. }) || !first.calls.iter().any(|made| made.call == forward) {
            continue;
        }
        let Some((turned, by)) = turning_back(setting, &script, &first, undo)? else {
            unreached.push(undo);
            continue;
        };
        for fault in BACK {
            tried.push(try_one(setting, &with(&turned, undo, *fault), undo, *fault, by.clone())?);
        }
    }
    Ok(Failures { base: first, tried, unreached })
}

fn try_one(
    setting: Setting<'_>,
    script: &Script,
    call: CallName,
    fault: Fault,
    turned_back_by: Option<String>,
) -> Result<Tried, NoRun> {
    let mut run = run(setting, script)?;
    settle(&mut run);
    Ok(Tried {
        call,
        fault,
        turned_back_by,
        outcome: run.outcome(),
        reason: run.reason(),
        state: run.state(setting.plan),
        undone: run.undone.clone(),
        stays: run.stays.clone(),
        remark: run.remark(setting.plan),
        violations: run.violations.clone(),
        took: run.took,
        run,
    })
}

/// It ends, or it says what it waits for: nothing else will do.
fn settle(run: &mut Run) {
    let says = run.tx.attention.is_some()
        || run.tx.steps.iter().any(|step| step.branch != partition::branch::Branch::Idle)
        || run.stopped == Stopped::StillTrying;
    if run.tx.phase != Phase::Ended && !says {
        run.violations.push(Violation { rule: "TX-4", what: "it neither ends nor says what it waits for".into() });
    }
}

fn with(script: &Script, call: CallName, fault: Fault) -> Script {
    let mut script = script.clone();
    match (fault.answers(), fault) {
        (Some(mut answers), _) => {
            // What is done after the failure is done as the case says.
            if let (Some(last), Some(said)) = (answers.last_mut(), script.answers.get(&call))
                && last.comes == Comes::Done
                && let Some(good) = said.iter().rev().find(|answer| is_good(answer))
            {
                *last = good.clone();
            }
            script.answers.insert(call, answers);
        }
        (None, _) => script.events.push(Event {
            when: When::During(call),
            what: What::Cancel("every failure".into()),
            span: definition::Span::default(),
        }),
    }
    script
}

fn is_good(answer: &Answer) -> bool {
    match &answer.comes {
        Comes::Done => true,
        Comes::Status { status, .. } => (200..300).contains(status),
        _ => false,
    }
}

fn no_signal(setting: Setting<'_>, script: &Script, call: CallName, name: &str) -> Result<Tried, NoRun> {
    let mut script = script.clone();
    script.events.retain(|event| !matches!(&event.what, What::Signal { name: sent, .. } if *sent == name));
    let setting = Setting { signals_come: false, ..setting };
    try_one(setting, &script, call, Fault::NoSignal, None)
}

fn crash_waiting(setting: Setting<'_>, script: &Script, call: CallName) -> Result<Tried, NoRun> {
    let mut script = script.clone();
    script.events.push(Event { when: When::Awaiting(call.0), what: What::Restart, span: definition::Span::default() });
    try_one(setting, &script, call, Fault::CrashWaiting, None)
}

/// A script under which this undo is called, and what made it turn back.
fn turning_back(
    setting: Setting<'_>,
    script: &Script,
    first: &Run,
    undo: CallName,
) -> Result<Option<(Script, Option<String>)>, NoRun> {
    let reaches = |run: &Run| run.calls.iter().any(|made| made.call == undo);
    if reaches(first) {
        return Ok(Some((script.clone(), None)));
    }
    let plan = setting.plan;
    let mut causes: Vec<(CallName, Fault)> = Vec::new();
    for made in first.calls.iter().rev() {
        let step = &plan.steps[usize::from(made.call.0)];
        let can = !step.optional && step.side != Side::After && made.call.1 == Direction::Call;
        if can && made.call.0 != undo.0 && !causes.iter().any(|(call, _)| *call == made.call) {
            causes.push((made.call, Fault::Refused));
        }
    }
    causes.push(((undo.0, Direction::Call), Fault::Lost));
    for (call, fault) in causes {
        let turned = with(script, call, fault);
        if reaches(&run(setting, &turned)?) {
            let by = format!("{} {}", call_word(plan, call), if fault == Fault::Refused { "refused" } else { "lost" });
            return Ok(Some((turned, Some(by))));
        }
    }
    for (place, step) in plan.steps.iter().enumerate() {
        if let Action::Wait(Wait::Signal { name, .. }) = &step.action {
            let mut turned = script.clone();
            turned.events.retain(|event| !matches!(&event.what, What::Signal { name: sent, .. } if sent == name));
            turned.events.push(Event {
                when: When::Awaiting(place as StepIndex),
                what: What::Cancel("every failure".into()),
                span: definition::Span::default(),
            });
            let setting = Setting { signals_come: false, ..setting };
            if reaches(&run(setting, &turned)?) {
                return Ok(Some((turned, Some(format!("cancelled during {}", step.name)))));
            }
        }
    }
    Ok(None)
}

/// Whether the transaction completes when nothing fails.
pub fn completes(run: &Run) -> bool {
    run.tx.outcome == Some(TxOutcome::Completed)
}
