//! Sagas in one line a step, made into definition files and checked by `definition`, so that every plan under test
//! is one that a user could apply.
//!
//! ```text
//! saga timeout=30s lock=balance output=charge.id
//! charge@pay POST undo keep=id
//! network@crm PUT undo=PUT after=charge when=input.x>0
//! notify@sms POST optional undo=none unknown=ignore
//! window wait=signal:window_set:1h
//! ```
//! The participants are always the same; [`PARTICIPANTS`] says what each promises.

use std::sync::OnceLock;

use definition::{Known, SourceFile, check};
use plan::{Participant, Saga};

/// `pay`: keys for a day · `bill`: keys for an hour, at the endpoint · `crm`: no keys · `hlr`: no keys, settles at
/// once · `tomb`: an undo blocks a later do · `book`: as `hlr`, and the answers to `GET /look` may serve others.
pub(crate) const PARTICIPANTS: &str = r#"
apiVersion: tidegate/v1
kind: Participants
participants:
  - name: pay
    connector: http
    endpoints: ["http://pay.example"]
    idempotency: {header: Idempotency-Key, for: 24h}
    settles_within: 10s
    timeout: 3s
    retry: {attempts: 3, backoff: 1s, max_backoff: 8s}
    answers: &ANSWERS
    limits: {max_in_flight: 10}
  - name: bill
    connector: http
    endpoints: ["http://bill-1.example", "http://bill-2.example"]
    idempotency: {header: X-Request-ID, for: 1h, scope: endpoint}
    settles_within: 5s
    timeout: 2s
    retry: {attempts: 2, backoff: 1s, max_backoff: 4s}
    answers: &ANSWERS
    limits: {max_in_flight: 10}
  - name: crm
    connector: http
    endpoints: ["http://crm.example"]
    idempotency: none
    settles_within: 5s
    timeout: 2s
    retry: {attempts: 2, backoff: 1s, max_backoff: 4s}
    answers: &ANSWERS
    limits: {max_in_flight: 10}
  - name: hlr
    connector: http
    endpoints: ["http://hlr.example"]
    idempotency: none
    settles_within: 0s
    timeout: 1s
    retry: {attempts: 2, backoff: 1s, max_backoff: 4s}
    answers: &ANSWERS
    limits: {max_in_flight: 10}
  - name: tomb
    connector: http
    endpoints: ["http://tomb.example"]
    idempotency: {header: Idempotency-Key, for: 24h}
    settles_within: 10s
    undo_blocks_do: true
    timeout: 3s
    retry: {attempts: 2, backoff: 1s, max_backoff: 8s}
    answers: &ANSWERS
    limits: {max_in_flight: 10}
  - name: book
    connector: http
    endpoints: ["http://book.example"]
    idempotency: none
    settles_within: 0s
    timeout: 1s
    retry: {attempts: 2, backoff: 1s, max_backoff: 4s}
    answers: &ANSWERS
    limits: {max_in_flight: 10}
    shared_reads: [{method: GET, path: /look, max_age: 5s}]
"#;

/// Declared by every participant: what the table of LANGUAGE would judge otherwise.
const ANSWERS: &str = r#"[{when: "${response.status == 418}", outcome: not_executed, reason: declared}]"#;

const HEAD: &str = r#"apiVersion: tidegate/v1
kind: Saga
name: story
version: 1
description: A story.
owner: team-test
input:
  type: object
  required: [x, at]
  properties: {x: {type: integer}, at: {type: string}}
"#;

/// The participants, in the order of [`PARTICIPANTS`].
pub(crate) fn participants() -> Vec<Participant> {
    static CHECKED: OnceLock<Vec<Participant>> = OnceLock::new();
    let once = || {
        let checked = check(&[participants_file()], &Known::default());
        assert!(!checked.has_errors(), "{:#?}", checked.diagnostics);
        checked.participants.into_iter().map(|p| p.participant).collect()
    };
    CHECKED.get_or_init(once).clone()
}

/// Compiles the notation.
pub(crate) fn saga(text: &str) -> Saga {
    let yaml = to_yaml(text);
    let file = SourceFile { path: "story.yaml".into(), text: yaml.clone() };
    let participants = participants().into_iter().map(|p| (p.name.clone(), p)).collect();
    let checked = check(&[file], &Known { participants, complete: true });
    assert!(!checked.has_errors(), "{yaml}\n{:#?}", checked.diagnostics);
    checked.sagas.into_iter().next().expect("one saga").plan
}

fn participants_file() -> SourceFile {
    SourceFile { path: "participants.yaml".into(), text: PARTICIPANTS.replace("&ANSWERS", ANSWERS) }
}

fn to_yaml(text: &str) -> String {
    let mut out = String::from(HEAD);
    let mut output = String::new();
    let mut steps = String::new();
    for line in text.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let (name, options) = line.split_once(' ').unwrap_or((line, ""));
        if name == "saga" {
            for option in options.split_whitespace() {
                match option.split_once('=') {
                    Some(("timeout", t)) => out += &format!("timeout: {t}\n"),
                    Some(("lock", l)) => out += &format!("key: subscriber\nlock: {l}\n"),
                    Some(("output", of)) => {
                        let (step, field) = of.split_once('.').expect("step.field");
                        let name = if output.is_empty() { "output:\n  v" } else { "  w" };
                        output += &format!("{name}: ${{steps.{step}.result.{field}}}\n");
                    }
                    _ => panic!("what is {option}?"),
                }
            }
        } else {
            steps += &step(name, options);
        }
    }
    format!("{out}steps:\n{steps}{output}")
}

fn step(head: &str, options: &str) -> String {
    let (name, participant) = head.split_once('@').unwrap_or((head, ""));
    let mut out = format!("  - name: {name}\n");
    let mut body = String::from("{to: a}");
    let mut method = "POST";
    let mut undo = None;
    for option in options.split_whitespace() {
        let (word, value) = option.split_once('=').unwrap_or((option, ""));
        match word {
            "GET" | "POST" | "PUT" | "PATCH" | "DELETE" => method = word,
            "after" => out += &format!("    after: [{}]\n", value.trim_matches('-')),
            "optional" | "pivot" => out += &format!("    {word}: true\n"),
            "when" => out += &format!("    when: \"${{{value}}}\"\n"),
            "unknown" => out += &format!("    unknown: {value}\n"),
            "keep" => out += &format!("    result: {{{value}: \"${{response.body.{value}}}\"}}\n"),
            "kept_signal" => out += &format!("    result: {{{value}: \"${{signal.body.{value}}}\"}}\n"),
            "refused_if" | "done_if" | "unknown_if" => {
                let outcome = word.trim_end_matches("_if");
                out += &format!("    answers: [{{when: \"${{{value}}}\", outcome: {outcome}, reason: said so}}]\n")
            }
            "reads" => {
                let (step, field) = value.split_once('.').expect("step.field");
                body = format!("{{v: \"${{steps.{step}.result.{field}}}\"}}");
            }
            "undo" => undo = Some(value),
            "wait" => {
                let mut parts = value.splitn(3, ':');
                out += &match (parts.next(), parts.next(), parts.next()) {
                    (Some("signal"), Some(signal), Some(t)) => {
                        format!("    wait: {{signal: {signal}, timeout: {t}}}\n")
                    }
                    (Some("for"), Some(t), None) => format!("    wait: {{for: {t}}}\n"),
                    (Some("until"), Some(e), None) => format!("    wait: {{until: \"${{{e}}}\"}}\n"),
                    _ => panic!("what is {option}?"),
                };
            }
            _ => panic!("what is {option}?"),
        }
    }
    if !participant.is_empty() {
        let body = if method == "GET" { String::new() } else { format!(", body: {body}") };
        out += &format!("    call: {{participant: {participant}, method: {method}, path: /{name}{body}}}\n");
    }
    out + &undo.map_or_else(String::new, |undo| compensation(name, participant, undo))
}

/// `undo`, `undo=PUT`, `undo=operator` (unknown: operator), `undo=gone` (404 is nothing_to_undo), `undo=reads` (needs
/// the step's own result), `undo=none`.
fn compensation(name: &str, participant: &str, undo: &str) -> String {
    let call = |method: &str, body: &str, more: &str| {
        format!(
            "    compensate: {{participant: {participant}, method: {method}, path: /undo/{name}, body: {body}{more}}}\n"
        )
    };
    let plain = format!("{{what: \"${{steps.{name}.call_key}}\"}}");
    match undo {
        "none" => "    compensate: none\n".to_owned(),
        "" => call("POST", &plain, ""),
        "PUT" => call("PUT", &plain, ""),
        "operator" => call("POST", &plain, ", unknown: operator"),
        "reads" => call("POST", &format!("{{what: \"${{steps.{name}.result.id}}\"}}"), ""),
        "gone" => call("POST", &plain, ", answers: [{when: \"${response.status == 404}\", outcome: nothing_to_undo}]"),
        other => panic!("what is undo={other}?"),
    }
}
