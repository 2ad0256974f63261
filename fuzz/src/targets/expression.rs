//! One expression, then JSON for what it may read: it is refused at its place, or has a value or an error of its own
//! on any input, within what an evaluation may cost; twice the same.

use definition::{Known, SourceFile, check};
use model::Value;

use crate::scope::{Nothing, scope};

/// The expression up to the first zero byte, then the value of `input` and of the answer's body.
pub(crate) fn run(data: &[u8]) {
    let (text, json) = data.split_at(data.iter().position(|b| *b == 0).unwrap_or(data.len()));
    let Ok(text) = std::str::from_utf8(text) else { return };
    let value = model::json::parse(json.get(1..).unwrap_or_default()).unwrap_or(Value::Null);
    let file = SourceFile { path: "fuzz.yaml".into(), text: saga(text) };
    let known = Known::default();
    let checked = check(&[file], &known);
    let Some(saga) = checked.sagas.first() else {
        assert!(checked.has_errors(), "neither a plan nor an error");
        return;
    };
    let steps = Nothing;
    let scope = scope(&value, &steps, &value);
    let Some(step) = saga.plan.steps.first() else { return };
    for (_, expression) in &step.result {
        let first = expression.eval(&scope).map(std::borrow::Cow::into_owned);
        let second = expression.eval(&scope).map(std::borrow::Cow::into_owned);
        assert_eq!(first, second, "an expression has one value");
        if let Ok(value) = first {
            let mut text = Vec::new();
            model::json::write(&value, &mut text);
            if let Ok(again) = model::json::parse_within(&text, 4_096) {
                assert_eq!(again, value, "what leaves an expression is JSON");
            } else {
                panic!("what leaves an expression is no JSON: {}", String::from_utf8_lossy(&text));
            }
        }
    }
}

/// As a YAML string in double quotes, so that only the expression is under test.
fn saga(expression: &str) -> String {
    let mut quoted = Vec::new();
    model::json::write_text(expression, &mut quoted);
    let quoted = String::from_utf8_lossy(&quoted);
    let inner = quoted.trim_matches('"');
    format!(
        "apiVersion: tidegate/v1\nkind: Saga\nname: fuzz\nversion: 1\ninput: {{type: object}}\nsteps:\n  - name: one\n    call: {{participant: p, method: GET, path: /x}}\n    result:\n      r: \"${{{inner}}}\"\n"
    )
}
