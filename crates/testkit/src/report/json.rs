//! For scripts: everything that the text says, and every call with its request.

use definition::Diagnostic;
use serde_json::{Value, json};

use super::{Outcome, Report};
use crate::failures::Tried;
use crate::ledger::Violation;
use crate::run::{Run, call_word};
use crate::suite::Suite;

/// The whole report. Durations are whole milliseconds of virtual time, `took_ms` at the top of real time.
pub fn json(report: &Report) -> Value {
    let (passed, failed) = report.counts();
    let files: Vec<Value> = report.files.iter().map(file).collect();
    json!({
        "passed": passed,
        "failed": failed,
        "left_out": report.left_out,
        "took_ms": report.took.as_millis() as u64,
        "files": files,
    })
}

fn file(file: &Outcome) -> Value {
    match file {
        Outcome::Cases(played) => {
            let suite = &played.suite;
            let cases = played.cases.iter().map(|case| {
                json!({
                    "name": case.name,
                    "passed": case.passed(),
                    "findings": case.findings.iter().map(finding).collect::<Vec<_>>(),
                    "run": case.run.as_ref().map(|run| of_run(run, suite)),
                })
            });
            let covered = &played.coverage;
            json!({
                "path": suite.file.path,
                "definition": suite.plan.name.as_str(),
                "version": suite.plan.version,
                "cases": cases.collect::<Vec<_>>(),
                "coverage": {
                    "steps": covered.steps, "steps_all": covered.steps_all,
                    "undos": covered.undos, "undos_all": covered.undos_all,
                    "missing": covered.missing,
                },
            })
        }
        Outcome::Failures { suite, cases } => {
            let cases = cases.iter().map(|varied| {
                let all = varied.failures.as_ref();
                let words = |calls: &[crate::script::CallName]| {
                    calls.iter().map(|call| call_word(&suite.plan, *call)).collect::<Vec<_>>()
                };
                json!({
                    "name": varied.case,
                    "passed": varied.findings.is_empty(),
                    "findings": varied.findings.iter().map(finding).collect::<Vec<_>>(),
                    "without_failure": all.map(|all| of_run(&all.base, suite)),
                    "failures": all.map(|all| all.tried.iter().map(|t| tried(t, suite)).collect::<Vec<_>>()),
                    "unreached": all.map(|all| words(&all.unreached)),
                })
            });
            json!({
                "path": suite.file.path,
                "definition": suite.plan.name.as_str(),
                "version": suite.plan.version,
                "cases": cases.collect::<Vec<_>>(),
            })
        }
    }
}

fn finding(found: &Diagnostic) -> Value {
    json!({
        "path": found.path,
        "line": found.line,
        "column": found.column,
        "message": found.message,
        "notes": found.notes,
    })
}

fn violations(all: &[Violation]) -> Vec<Value> {
    all.iter().map(|v| json!({"rule": v.rule, "what": v.what})).collect()
}

fn tried(tried: &Tried, suite: &Suite) -> Value {
    json!({
        "call": call_word(&suite.plan, tried.call),
        "failure": tried.fault.as_str(),
        "turned_back_by": tried.turned_back_by,
        "outcome": tried.outcome,
        "reason": tried.reason,
        "state": tried.state,
        "undone": tried.undone.iter().map(|step| name(suite, *step)).collect::<Vec<_>>(),
        "stays_undone": stays(&tried.run, suite),
        "then": tried.remark,
        "asked": tried.run.asked,
        "violations": violations(&tried.violations),
        "took_ms": tried.took.as_millis() as u64,
    })
}

fn name(suite: &Suite, step: model::StepIndex) -> &str {
    &suite.plan.steps[usize::from(step)].name
}

fn stays(run: &Run, suite: &Suite) -> Vec<Value> {
    run.stays.iter().map(|s| json!({"step": name(suite, s.step), "why": s.why, "for_good": s.for_good})).collect()
}

/// Exact: what is no number of `serde_json` stays the text that it was.
fn value(value: &model::Value) -> Value {
    serde_json::from_str(&value.to_string()).unwrap_or_else(|_| Value::String(value.to_string()))
}

fn of_run(run: &Run, suite: &Suite) -> Value {
    let plan = &suite.plan;
    let calls = run.calls.iter().map(|made| {
        let body = made.request.body.as_ref().and_then(|body| model::json::parse(body).ok());
        json!({
            "call": call_word(plan, made.call),
            "at_ms": made.at.as_millis() as u64,
            "participant": made.participant,
            "method": made.request.method.as_str(),
            "path": made.request.path_and_query,
            "call_key": made.key.to_string(),
            "body": body.as_ref().map(value),
        })
    });
    let steps = (0..plan.steps.len()).map(|place| {
        let state = run.step_state(place as model::StepIndex);
        (plan.steps[place].name.to_string(), Value::from(state))
    });
    let story =
        run.story.iter().map(|line| json!({"at_ms": line.at.as_millis() as u64, "who": line.who, "text": line.text}));
    let waits = run.waits_for(plan).map(|waits| json!({"kind": waits.kind, "name": waits.name}));
    let attention = run.tx.attention.as_ref().map(|asked| {
        json!({"cause": asked.cause.as_str(), "step": asked.step.map(|step| name(suite, step)), "detail": asked.detail.as_str()})
    });
    json!({
        "outcome": run.outcome(),
        "reason": run.reason(),
        "state": run.state(plan),
        "cause": {"step": run.tx.cause.step.map(|step| name(suite, step)), "detail": run.tx.cause.detail.as_str()},
        "output": run.tx.output.as_deref().map(value),
        "decided_after_ms": run.decided_after.map(|after| after.as_millis() as u64),
        "took_ms": run.took.as_millis() as u64,
        "waits_for": waits,
        "attention": attention,
        "steps": steps.collect::<serde_json::Map<_, _>>(),
        "undone": run.undone.iter().map(|step| name(suite, *step)).collect::<Vec<_>>(),
        "stays_undone": stays(run, suite),
        "violations": violations(&run.violations),
        "calls": calls.collect::<Vec<_>>(),
        "story": story.collect::<Vec<_>>(),
    })
}
