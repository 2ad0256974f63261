//! Playing the cases of a file: one run each, judged; and what of the plan no case has reached.

use std::collections::BTreeSet;

use definition::document::{Problem, Report};
use definition::{Code, Diagnostic};
use model::{Direction, StepIndex};
use plan::Undo;

use crate::failures::{Base, every_failure};
use crate::judge::{covered, judge};
use crate::made_up;
use crate::report::{Outcome, PlayedFile, Varied};
use crate::run::{Run, call_word};
use crate::script::{CallName, Case};
use crate::suite::Suite;
use crate::world::{NoRun, Setting, run};

/// One case, played.
#[derive(Clone, Debug)]
pub struct Played {
    pub name: String,
    /// None if the input was to be refused, or it could not be run.
    pub run: Option<Run>,
    /// What is wrong, in order of place; empty if it passed.
    pub findings: Vec<Diagnostic>,
}

impl Played {
    pub fn passed(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Plays one case.
pub fn play(suite: &Suite, case: &Case) -> Played {
    let mut report = Report::default();
    let name = case.name.clone();
    if let Some(wanted) = &case.expect.input_refused {
        let violations = suite.plan.input.validate(&case.input);
        let mut got: Vec<String> =
            violations.iter().map(|v| v.pointer.trim_start_matches('/').replace('/', ".")).collect();
        let mut expected = wanted.value.clone();
        got.sort();
        expected.sort();
        if got != expected {
            let message = format!("refused of the input: [{}], expected [{}]", got.join(", "), expected.join(", "));
            let problem =
                Problem::new(Code::WrongValue, wanted.span, message).under(format!("got [{}]", got.join(", ")));
            let notes = violations.iter().map(|v| format!("input{} {}", v.pointer.replace('/', "."), v.detail));
            report.add(notes.fold(problem, |problem, note| problem.note(note)));
        }
        return Played { name, run: None, findings: report.into_diagnostics(&suite.file) };
    }
    let Suite { plan, participants, file, .. } = suite;
    let made_up = made_up::bodies(plan, participants, &case.input, &case.script, false);
    let setting = Setting { plan, participants, input: &case.input, made_up: &made_up, signals_come: false };
    match run(setting, &case.script) {
        Ok(run) => {
            let findings = judge(case, &run, plan, file);
            Played { name, run: Some(run), findings }
        }
        Err(no_run) => {
            report.add(Problem::new(Code::WrongValue, case.input_span, no_run.to_string()));
            Played { name, run: None, findings: report.into_diagnostics(file) }
        }
    }
}

impl std::fmt::Display for NoRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Input(violations) => {
                let all = violations.iter().map(|v| format!("input{} {}", v.pointer.replace('/', "."), v.detail));
                f.write_str(&all.collect::<Vec<_>>().join("; "))
            }
            Self::Engine(why) => f.write_str(why),
        }
    }
}

/// What shall be done with a file.
#[derive(Clone, Copy, Debug, Default)]
pub struct Choice<'c> {
    /// Only cases whose name contains this.
    pub filter: Option<&'c str>,
    pub every_failure: bool,
    /// Send the signals that no case sends.
    pub signals_come: bool,
}

/// Plays a file, or every failure of its cases. Gives how many cases the filter left out as well.
pub fn play_file(suite: Suite, choice: Choice<'_>) -> (Outcome, usize) {
    let wanted = |case: &&Case| choice.filter.is_none_or(|filter| case.name.contains(filter));
    let left_out = suite.cases.len() - suite.cases.iter().filter(wanted).count();
    let outcome = if choice.every_failure {
        let cases = suite.cases.iter().filter(wanted).filter_map(|case| vary(&suite, case, choice.signals_come));
        Outcome::Failures { cases: cases.collect(), suite }
    } else {
        let cases: Vec<Played> = suite.cases.iter().filter(wanted).map(|case| play(&suite, case)).collect();
        let coverage = coverage(&suite, cases.iter().filter_map(|case| case.run.as_ref()));
        Outcome::Cases(PlayedFile { suite, cases, coverage })
    };
    (outcome, left_out)
}

/// Every failure of one case. `None` for a case whose input is to be refused: it runs nothing.
fn vary(suite: &Suite, case: &Case, signals_come: bool) -> Option<Varied> {
    if case.expect.input_refused.is_some() {
        return None;
    }
    let Suite { plan, participants, file, .. } = suite;
    let base = Base { plan, participants, input: &case.input, script: &case.script, signals_come };
    let mut report = Report::default();
    let failures = match every_failure(base) {
        Ok(failures) => Some(failures),
        Err(no_run) => {
            report.add(Problem::new(Code::WrongValue, case.input_span, no_run.to_string()));
            None
        }
    };
    if let Some(failures) = &failures {
        for tried in failures.tried.iter().filter(|tried| !tried.violations.is_empty()) {
            let (call, fault) = (call_word(plan, tried.call), tried.fault.as_str());
            for violation in &tried.violations {
                let message = format!("{call}, {fault}: promise {} is broken: {}", violation.rule, violation.what);
                report.add(Problem::new(Code::WrongValue, case.span, message));
            }
        }
        if let Some(may) = &case.may_stay {
            for (step, (whys, count)) in failures.stays(true).iter().filter(|(step, _)| !may.value.contains(step)) {
                let name = &plan.steps[usize::from(*step)].name;
                let message =
                    format!("what step \"{name}\" did stays undone under {count} of the failures, and may not");
                let problem =
                    Problem::new(Code::WrongValue, may.span, message).note(format!("why: {}", whys.join("; ")));
                let first = failures
                    .tried
                    .iter()
                    .find(|tried| tried.stays.iter().any(|stays| stays.for_good && stays.step == *step));
                report.add(match first {
                    Some(first) => {
                        let (call, fault) = (call_word(plan, first.call), first.fault.as_str());
                        problem.note(format!("the first of them: {call}, {fault}"))
                    }
                    None => problem,
                });
            }
        }
    }
    Some(Varied { case: case.name.clone(), failures, findings: report.into_diagnostics(file) })
}

/// What of a plan the cases have reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    /// Steps that were called, or whose wait ended.
    pub steps: usize,
    pub steps_all: usize,
    /// Undos that were called.
    pub undos: usize,
    pub undos_all: usize,
    /// `network`, `undo fee`: in the order of the plan, what no case reached.
    pub missing: Vec<String>,
}

/// What all runs together have reached.
pub fn coverage<'r>(suite: &Suite, runs: impl Iterator<Item = &'r Run>) -> Coverage {
    let reached: BTreeSet<CallName> = runs.flat_map(covered).collect();
    let mut all: Vec<CallName> = Vec::new();
    for (place, step) in suite.plan.steps.iter().enumerate() {
        all.push((place as StepIndex, Direction::Call));
        if let Undo::Call { .. } = step.compensate {
            all.push((place as StepIndex, Direction::Compensate));
        }
    }
    let count = |direction, only: &dyn Fn(&CallName) -> bool| {
        all.iter().filter(|call| call.1 == direction && only(call)).count()
    };
    Coverage {
        steps: count(Direction::Call, &|call| reached.contains(call)),
        steps_all: count(Direction::Call, &|_| true),
        undos: count(Direction::Compensate, &|call| reached.contains(call)),
        undos_all: count(Direction::Compensate, &|_| true),
        missing: all.iter().filter(|call| !reached.contains(call)).map(|call| call_word(&suite.plan, *call)).collect(),
    }
}
