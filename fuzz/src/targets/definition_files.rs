//! Definition files, YAML and the expressions in them: checked or refused with a place, and what is accepted is a plan
//! that the journal can keep, that can be rendered and that judges any answer without falling over.

use definition::{Known, Severity, SourceFile, check};
use model::Value;
use plan::{Action, Participant, Saga, Undo};

use crate::scope::{Nothing, scope};

pub(crate) fn run(data: &[u8]) {
    let file = SourceFile::from_bytes("fuzz.yaml", data);
    let lines = file.text.lines().count() + 1;
    let files = [file, SourceFile { path: "participants.yaml".into(), text: PARTICIPANTS.into() }];
    let checked = check(&files, &Known { complete: true, ..Known::default() });
    for found in &checked.diagnostics {
        assert!(!found.message.is_empty());
        assert!(found.path != "fuzz.yaml" || (1..=lines).contains(&found.line), "{found:?} of {lines} lines");
        assert!(!found.render().is_empty());
    }
    let errors = checked.diagnostics.iter().filter(|d| d.severity == Severity::Error).count();
    assert_eq!(errors > 0, checked.has_errors());
    assert!(!checked.closing_line().is_empty());
    for saga in &checked.sagas {
        judge_saga(&saga.plan);
    }
    for participant in &checked.participants {
        let bytes = participant.participant.to_bytes();
        let again = Participant::from_bytes(&bytes).expect("a checked participant can be kept");
        assert_eq!(again, participant.participant);
    }
}

fn judge_saga(saga: &Saga) {
    let bytes = saga.to_bytes();
    let again = Saga::from_bytes(&bytes).expect("a checked plan can be kept");
    assert_eq!(&again, saga);
    assert_eq!(again.to_bytes(), bytes, "canonical");
    let input = model::json::parse(INPUT.as_bytes()).expect("JSON");
    let _ = saga.input.validate(&input);
    let _ = saga.input.mask(&input);
    let steps = Nothing;
    let body = Value::Null;
    let scope = scope(&input, &steps, &body);
    if let Some(key) = &saga.key {
        let _ = plan::render_text(key, &scope);
    }
    for step in &saga.steps {
        assert!(step.after.iter().all(|after| usize::from(*after) < saga.steps.len()), "{}", step.name);
        if let Some(when) = &step.when {
            let _ = when.eval_bool(&scope);
        }
        if let Action::Call(call) = &step.action {
            let _ = plan::render_call(call, &scope, 0);
        }
        if let Undo::Call { call, answers, .. } = &step.compensate {
            let _ = plan::render_call(call, &scope, 0);
            answers.iter().for_each(|rule| drop(rule.when.eval_bool(&scope)));
        }
        step.result.iter().for_each(|(_, expression)| drop(expression.eval(&scope)));
        step.answers.iter().for_each(|rule| drop(rule.when.eval_bool(&scope)));
    }
    if let Some(output) = &saga.output {
        let _ = plan::render_value(output, &scope);
    }
}

const PARTICIPANTS: &str = include_str!("../../../examples/telecom/participants.yaml");
const INPUT: &str =
    r#"{"msisdn":"491701234567","amount_minor":500,"currency":"EUR","card_token":"tok","n":2.5,"list":[1,"a",null]}"#;
