//! Expected against got: every difference with its place in the case file, what was expected and what came.

use std::fmt::Write as _;

use definition::document::{Problem, Report};
use definition::{Code, Diagnostic, SourceFile, Span};
use model::{Direction, StepIndex, Value};
use plan::Saga;

use crate::pattern::{Names, Pattern};
use crate::run::{Made, Run, call_word};
use crate::script::{At, CallName, CallWanted, Case};
use crate::world::span_text;

/// What is wrong with one run of a case; empty if nothing is.
pub fn judge(case: &Case, run: &Run, plan: &Saga, file: &SourceFile) -> Vec<Diagnostic> {
    let mut judge = Judge { run, plan, report: Report::default() };
    judge.outcome(case);
    judge.calls(case);
    judge.undoing(case);
    judge.standing(case);
    for place in &run.events_that_never_came {
        let at = case.script.events[*place].span;
        judge.wrong(at, "this never happened: the call, the wait or the time that it is for did not come", "");
    }
    for own in case.own_answers.iter().filter(|own| run.calls.iter().all(|made| made.call != own.value)) {
        let message = format!("{} is never called, so what it answers tests nothing", call_word(plan, own.value));
        judge.wrong(own.span, message, "");
    }
    for violation in &run.violations {
        let message = format!("the engine broke its promise {}: {}", violation.rule, violation.what);
        judge.report.add(
            Problem::new(Code::WrongValue, case.span, message)
                .note("this is a defect of the engine, not of the definition: please report it with the case"),
        );
    }
    judge.report.into_diagnostics(file)
}

struct Judge<'r> {
    run: &'r Run,
    plan: &'r Saga,
    report: Report,
}

impl Judge<'_> {
    fn wrong(&mut self, at: Span, message: impl Into<String>, under: impl Into<String>) {
        let under: String = under.into();
        self.report.add(Problem::new(Code::WrongValue, at, message).under(under));
    }

    fn word<T: PartialEq + std::fmt::Display>(&mut self, what: &str, wanted: Option<&At<T>>, got: &T, why: &str) {
        if let Some(wanted) = wanted.filter(|wanted| wanted.value != *got) {
            let why = if why.is_empty() { String::new() } else { format!(" ({why})") };
            let message = format!("{what} is {got}{why}, expected {}", wanted.value);
            self.wrong(wanted.span, message, format!("got {got}"));
        }
    }

    fn step_name(&self, step: StepIndex) -> &str {
        &self.plan.steps[usize::from(step)].name
    }

    fn outcome(&mut self, case: &Case) {
        let (run, plan) = (self.run, self.plan);
        let expect = &case.expect;
        let sentence = run.sentence(plan);
        let why = sentence.split_once(": ").map_or_else(|| run.remark(plan), |(_, why)| why.to_owned());
        self.word("outcome", expect.outcome.as_ref(), &run.outcome(), &why);
        self.word("reason", expect.reason.as_ref(), &run.reason().unwrap_or("none"), "");
        self.word("state", expect.state.as_ref(), &run.state(plan), &run.remark(plan));
        if let Some(wanted) = &expect.cause_step
            && run.tx.cause.step != Some(wanted.value)
        {
            let got = run.tx.cause.step.map_or("no step", |step| self.step_name(step)).to_owned();
            let message = format!("the cause is {got}, expected step {}", self.step_name(wanted.value));
            self.wrong(wanted.span, message, format!("got {got}"));
        }
        let detail = run.tx.cause.detail.to_string();
        self.word("the cause's detail", expect.cause_detail.as_ref(), &detail, "");
        if let Some(wanted) = &expect.output {
            self.value(wanted, run.tx.output.as_deref(), "output", None);
        }
        for (step, wanted) in &expect.steps {
            let name = format!("step {}", self.step_name(*step));
            self.word(&name, Some(wanted), &run.step_state(*step), "");
        }
        if let Some(wanted) = &expect.attention {
            let got = run.tx.attention.as_ref().map(|asked| asked.cause.as_str());
            if got != wanted.value.as_deref() {
                let said =
                    |cause: Option<&str>| cause.map_or_else(|| "nobody is asked".to_owned(), |c| format!("asked: {c}"));
                let message = format!("attention: {}, expected {}", said(got), said(wanted.value.as_deref()));
                self.wrong(wanted.span, message, format!("got {}", got.unwrap_or("none")));
            }
        }
        if let Some(wanted) = &expect.attention_step {
            let got = run.tx.attention.as_ref().and_then(|asked| asked.step);
            if got != Some(wanted.value) {
                let got = got.map_or("no step", |step| self.step_name(step)).to_owned();
                let message = format!("attention is asked for {got}, expected {}", self.step_name(wanted.value));
                self.wrong(wanted.span, message, format!("got {got}"));
            }
        }
        let waits = run.waits_for(plan);
        let kind = waits.as_ref().map_or("nothing", |waits| waits.kind);
        self.word("waits_for", expect.waits_for.as_ref(), &kind, "");
        let name = waits.map_or_else(String::new, |waits| waits.name);
        self.word("the name of what it waits for", expect.waits_for_name.as_ref(), &name, "");
        if let Some(wanted) = &expect.decided_within {
            match run.decided_after {
                Some(after) if after <= wanted.value => {}
                Some(after) => {
                    let message =
                        format!("decided after {}, expected within {}", span_text(after), span_text(wanted.value));
                    self.wrong(wanted.span, message, format!("took {}", span_text(after)));
                }
                None => self.wrong(wanted.span, "the outcome is not decided", run.remark(plan)),
            }
        }
    }

    fn value(&mut self, wanted: &Pattern, got: Option<&Value>, path: &str, made: Option<&Made>) {
        let names = Names { tx: &self.run.tx, call: made.map(|made| made.key) };
        for difference in wanted.differences(got, path, &names) {
            let (path, got) = (&difference.path, &difference.got);
            let message = format!("{path} is {got}, expected {}", difference.wanted);
            self.wrong(difference.span, message, format!("got {got}"));
        }
    }

    fn calls(&mut self, case: &Case) {
        let Some(wanted) = &case.expect.calls else { return };
        let run = self.run;
        let names: Vec<CallName> = wanted.value.iter().map(|call| call.call).collect();
        let made: Vec<CallName> = run.calls.iter().map(|made| made.call).collect();
        if names != made {
            let same = names.iter().zip(&made).take_while(|(wanted, made)| wanted == made).count();
            let got = made.get(same).map_or_else(|| "no further call".into(), |call| call_word(self.plan, *call));
            let (at, expected) = match wanted.value.get(same) {
                Some(call) => (call.span, call_word(self.plan, call.call)),
                None => (wanted.span, "no further call".into()),
            };
            let message = format!("call {} is {got}, expected {expected}", same + 1);
            let mut problem = Problem::new(Code::WrongValue, at, message).under(format!("got {got}"));
            problem.push_note(format!("expected: {}", self.in_order(&names)));
            problem.push_note(format!("got:      {}", self.in_order(&made)));
            self.report.add(problem);
        }
        for (wanted, made) in wanted.value.iter().zip(&run.calls).filter(|(w, m)| w.call == m.call) {
            self.request(wanted, made);
        }
    }

    fn in_order(&self, calls: &[CallName]) -> String {
        let mut text = String::new();
        for call in calls {
            let _ = write!(text, "{}{}", if text.is_empty() { "" } else { ", " }, call_word(self.plan, *call));
        }
        if text.is_empty() { "no calls".into() } else { text }
    }

    fn request(&mut self, wanted: &CallWanted, made: &Made) {
        let method = made.request.method.as_str().to_owned();
        self.word("method", wanted.method.as_ref(), &method, "");
        if let Some(path) = &wanted.path {
            let got = Value::text(made.request.path_and_query.as_str());
            self.value(path, Some(&got), "path", Some(made));
        }
        if let Some(body) = &wanted.body {
            let got = made.request.body.as_ref().and_then(|body| model::json::parse(body).ok());
            self.value(body, got.as_ref(), "body", Some(made));
        }
        for (name, pattern) in &wanted.headers {
            let own = made.request.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.clone());
            let key = made.key_header.as_ref().filter(|key| key.eq_ignore_ascii_case(name));
            let got = own.or_else(|| key.map(|_| made.key.to_string())).map(Value::text);
            self.value(pattern, got.as_ref(), &format!("header {name}"), Some(made));
        }
    }

    fn list(&self, steps: &[StepIndex]) -> String {
        let names: Vec<&str> = steps.iter().map(|step| self.step_name(*step)).collect();
        format!("[{}]", names.join(", "))
    }

    fn undoing(&mut self, case: &Case) {
        let Some(wanted) = &case.expect.undone else { return };
        let expected: Vec<StepIndex> = wanted.value.iter().map(|step| step.value).collect();
        if expected != self.run.undone {
            let got = self.list(&self.run.undone);
            let message = format!("undone, in this order: {got}, expected {}", self.list(&expected));
            self.wrong(wanted.span, message, format!("got {got}"));
        }
    }

    fn standing(&mut self, case: &Case) {
        let Some(wanted) = &case.expect.stays_undone else { return };
        let mut expected: Vec<StepIndex> = wanted.value.iter().map(|step| step.value).collect();
        expected.sort_unstable();
        let got: Vec<StepIndex> = self.run.stays.iter().map(|stays| stays.step).collect();
        if expected == got {
            return;
        }
        let list = self.list(&got);
        let message = format!("what stays undone is {list}, expected {}", self.list(&expected));
        let mut problem = Problem::new(Code::WrongValue, wanted.span, message).under(format!("got {list}"));
        for stays in &self.run.stays {
            problem.push_note(format!("{}: {}", self.step_name(stays.step), stays.why));
        }
        self.report.add(problem);
    }
}

/// The steps that were called, undone or skipped in some run: what cases cover.
pub(crate) fn covered(run: &Run) -> impl Iterator<Item = CallName> {
    let made = run.calls.iter().map(|made| made.call);
    let waited = run.tx.steps.iter().enumerate().filter(|(_, s)| s.status == partition::branch::Status::Done);
    made.chain(waited.map(|(step, _)| (step as StepIndex, Direction::Call)))
}
