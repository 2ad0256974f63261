//! Every failure of many small sagas: of each kind of step beside each other kind, in a line and side by side. What
//! the ledger calls broken here is a defect of the engine, or of the ledger.

use std::fmt::Write as _;

use definition::{Known, SourceFile, check};
use model::Value;
use plan::{Participant, Saga};
use testkit::failures::{Base, completes, every_failure};
use testkit::script::Script;

const PARTICIPANTS: &str = r#"apiVersion: tidegate/v1
kind: Participants
participants:
  - {name: pay, connector: http, endpoints: [http://pay.example], idempotency: {header: Idempotency-Key, for: 24h},
     settles_within: 10s, timeout: 3s, retry: {attempts: 3, backoff: 1s, max_backoff: 8s}, limits: {max_in_flight: 9}}
  - {name: short, connector: http, endpoints: [http://short.example], idempotency: {header: X-Request-ID, for: 4s},
     settles_within: 5s, timeout: 2s, retry: {attempts: 4, backoff: 1s, max_backoff: 4s}, limits: {max_in_flight: 9}}
  - {name: crm, connector: http, endpoints: [http://crm.example], idempotency: none,
     settles_within: 5s, timeout: 2s, retry: {attempts: 2, backoff: 1s, max_backoff: 4s}, limits: {max_in_flight: 9}}
  - {name: tomb, connector: http, endpoints: [http://tomb.example], idempotency: {header: Idempotency-Key, for: 24h},
     settles_within: 10s, undo_blocks_do: true, timeout: 3s, retry: {attempts: 2, backoff: 1s, max_backoff: 8s},
     limits: {max_in_flight: 9}}
"#;

/// Lines of a step below its name; `{n}` is its place.
const STEPS: &[&str] = &[
    "call: {participant: pay, method: POST, path: /a{n}}\n    compensate: {participant: pay, method: POST, path: /u{n}}",
    "call: {participant: short, method: POST, path: /a{n}}\n    unknown: operator\n    compensate: {participant: short, method: POST, path: /u{n}}",
    "call: {participant: crm, method: PUT, path: /a{n}}\n    compensate: {participant: crm, method: PUT, path: /u{n}}",
    "call: {participant: crm, method: POST, path: /a{n}}\n    unknown: compensate\n    compensate: {participant: crm, method: DELETE, path: /a{n}}",
    "call: {participant: tomb, method: POST, path: /a{n}}\n    compensate: {participant: tomb, method: POST, path: /u{n}}",
    "optional: true\n    call: {participant: pay, method: POST, path: /a{n}}\n    compensate: {participant: pay, method: POST, path: /u{n}}",
    "optional: true\n    call: {participant: crm, method: POST, path: /a{n}}\n    unknown: ignore\n    compensate: none",
    "call: {participant: crm, method: GET, path: /a{n}}",
    "wait: {signal: go{n}, timeout: 30s}",
    "wait: {for: 5s}",
    "pivot: true\n    call: {participant: pay, method: POST, path: /a{n}}",
];

fn saga(kinds: [usize; 3], parallel: bool, timeout: bool) -> String {
    let mut text =
        String::from("apiVersion: tidegate/v1\nkind: Saga\nname: shape\nversion: 1\ninput: {type: object}\n");
    if timeout {
        text.push_str("timeout: 2m\n");
    }
    text.push_str("steps:\n");
    for (place, kind) in kinds.iter().enumerate() {
        let after = match (parallel, place) {
            (false, _) | (true, 0) => "",
            (true, _) => "    after: [s0]\n",
        };
        let _ = write!(text, "  - name: s{place}\n{after}    {}\n", STEPS[*kind].replace("{n}", &place.to_string()));
    }
    text
}

fn participants() -> Vec<Participant> {
    let file = SourceFile { path: "participants.yaml".into(), text: PARTICIPANTS.into() };
    let checked = check(&[file], &Known::default());
    assert_eq!(checked.diagnostics, []);
    checked.participants.into_iter().map(|checked| checked.participant).collect()
}

fn plan(text: &str, participants: &[Participant]) -> Option<Saga> {
    let known = participants.iter().map(|p| (p.name.clone(), p.clone())).collect();
    let file = SourceFile { path: "shape.yaml".into(), text: text.into() };
    let mut checked = check(&[file], &Known { participants: known, complete: true });
    if checked.has_errors() { None } else { checked.sagas.pop().map(|saga| saga.plan) }
}

#[test]
fn every_failure_of_every_small_shape_keeps_every_promise() {
    let participants = participants();
    let (mut shapes, mut tried) = (0, 0);
    let kinds = STEPS.len();
    // Each kind beside each other, one way round; the third varies along.
    for pair in (0..kinds * kinds).step_by(2) {
        let (first, second) = (pair / kinds, pair % kinds);
        let third = (first * 5 + second * 3 + 1) % kinds;
        let text = saga([first, second, third], (first + second) % 2 == 1, second % 3 != 0);
        let Some(plan) = plan(&text, &participants) else { continue };
        shapes += 1;
        let input = Value::Map(model::Map::new());
        let script = Script::default();
        let base =
            Base { plan: &plan, participants: &participants, input: &input, script: &script, signals_come: true };
        let all = every_failure(base).unwrap_or_else(|e| panic!("{e}\n{text}"));
        assert!(completes(&all.base), "{text}");
        tried += all.tried.len();
        for one in &all.tried {
            let story: String =
                one.run.story.iter().map(|line| format!("{:>10?} {:10} {}\n", line.at, line.who, line.text)).collect();
            assert_eq!(one.violations, [], "{text}\n{:?} {:?}\n{story}", one.call, one.fault);
            // It ends, or it says what it waits for.
            assert!(one.state == "ended" || !one.remark.is_empty(), "{text}\n{:?} {:?}\n{story}", one.call, one.fault);
        }
    }
    assert!(shapes > 40 && tried > 1_000, "{shapes} shapes, {tried} failures");
}
