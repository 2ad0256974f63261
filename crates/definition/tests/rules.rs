//! The rules of the language, one by one: what is refused, and what is next to it and fine.

use definition::{Checked, Known, SourceFile, check};
use expect_test::{Expect, expect};

mod expressions;
mod files;
mod shared_reads;

const PARTICIPANTS: &str = include_str!("../../../examples/telecom/participants.yaml");

const HEAD: &str = "\
apiVersion: tidegate/v1
kind: Saga
name: test
version: 1
input:
  type: object
  additionalProperties: false
  required: [id, amount, tags]
  properties:
    id: {type: string}
    amount: {type: integer}
    rate: {type: number}
    note: {type: [string, \"null\"]}
    tags: {type: array, items: {type: string}}
    flag: {type: boolean}
    address: {type: object, required: [city], properties: {city: {type: string}, zip: {type: string}}}
    extra: {type: object, additionalProperties: {type: integer}}
    free: {type: object}
";

fn run(text: String) -> Checked {
    let files =
        [SourceFile { path: "s.yaml".into(), text }, SourceFile { path: "p.yaml".into(), text: PARTICIPANTS.into() }];
    check(&files, &Known::default())
}

/// Findings as `code: message (marked text)`.
fn findings(checked: &Checked) -> String {
    let line = |d: &definition::Diagnostic| {
        let first = &d.labels[0];
        let marked: String = first.source.chars().skip(first.column - 1).take(first.length).collect();
        format!("{}: {} ({marked})\n", d.code.as_str(), d.message)
    };
    checked.diagnostics.iter().map(line).collect()
}

/// The steps of a saga, without the head.
fn steps(steps: &str, expected: &Expect) {
    expected.assert_eq(&findings(&run(format!("{HEAD}steps:\n{steps}"))));
}

/// A read whose condition is this expression.
fn when(expression: &str, expected: &Expect) {
    let quoted = expression.replace('\'', "''");
    steps(
        &format!(
            "  - name: read\n    call: {{participant: crm, method: GET, path: /a}}\n    result: {{a: '${{response.body.a}}'}}\n  \
             - name: next\n    when: '${{{quoted}}}'\n    call: {{participant: crm, method: GET, path: /b}}\n  \
             - name: last\n    call: {{participant: crm, method: PUT, path: /c, body: {{a: '${{steps.read.result.a}}'}}}}\n    compensate: none\n"
        ),
        expected,
    );
}

fn fine(expressions: &[&str]) {
    for expression in expressions {
        when(expression, &expect![[""]]);
    }
}

const GET: &str = "call: {participant: crm, method: GET, path: /a}";
const PUT: &str = "call: {participant: crm, method: PUT, path: /a}\n    compensate: none";

#[test]
fn order_and_its_mistakes() {
    let step = |name: &str, after: &str| format!("  - name: {name}\n    after: [{after}]\n    {GET}\n");
    steps(&(step("a", "") + &step("b", "a") + &step("c", "a") + &step("d", "b, c")), &expect![[""]]);
    // The first need not say it, and steps may stand before what they wait for.
    steps(&(format!("  - name: a\n    {GET}\n") + &step("b", "c") + &step("c", "a")), &expect![[""]]);
    steps(
        &(step("a", "c") + &step("b", "a") + &step("c", "b")),
        &expect![[r#"
            cycle: these steps wait for each other: a → b → c → a ([c])
        "#]],
    );
    steps(
        &(step("a", "a") + &step("b", "x, a, a")),
        &expect![[r#"
            cycle: step "a" waits for itself (a)
            unknown-step: there is no step "x" (x)
            duplicate-name: "a" stands twice (a)
        "#]],
    );
}

#[test]
fn the_pivot_and_its_sides() {
    let pivot = "  - name: point\n    pivot: true\n    call: {participant: hlr, method: DELETE, path: /a}\n";
    let with = |extra: &str| format!("{pivot}{extra}");
    steps(&with(&format!("  - name: after\n    {GET}\n")), &expect![[""]]);
    steps(
        &with("  - name: after\n    call: {participant: crm, method: PUT, path: /a}\n    compensate: none\n"),
        &expect![[""]],
    );
    steps(
        &with("  - name: after\n    call: {participant: sms, method: POST, path: /a}\n    unknown: compensate\n"),
        &expect![[r#"
            compensate-after-pivot: step "after" comes after the pivot, where nothing is undone (compensate)
        "#]],
    );
    steps(
        &with("  - name: after\n    call: {participant: sms, method: POST, path: /a}\n"),
        &expect![[r#"
            unknown-not-said: step "after" does not say what happens if its outcome stays unknown (POST)
        "#]],
    );
    steps(
        &pivot.replace("\n    call", "\n    compensate: {participant: hlr, method: PUT, path: /a}\n    call"),
        &expect![[r#"
            compensate-after-pivot: step "point" is the pivot and cannot be undone (compensate)
        "#]],
    );
    steps(
        "  - name: point\n    pivot: true\n    wait: {for: 1s}\n",
        &expect![[r#"
            wrong-value: a wait has no pivot (pivot)
        "#]],
    );
}

#[test]
fn what_changes_something_says_how_it_ends() {
    let step = |call: &str, more: &str| format!("  - name: a\n    call: {{{call}}}\n{more}");
    let none = "    compensate: none\n";
    steps(&step("participant: payments, method: POST, path: /a", none), &expect![[""]]);
    steps(&step("participant: crm, method: PUT, path: /a", none), &expect![[""]]);
    steps(
        &step("participant: crm, method: PATCH, path: /a", none),
        &expect![[r#"
            unknown-not-said: step "a" does not say what happens if its outcome stays unknown (PATCH)
        "#]],
    );
    steps(
        &step("participant: crm, method: PATCH, path: /a", "    unknown: operator\n    compensate: none\n"),
        &expect![[""]],
    );
    steps(
        &step("participant: crm, method: PATCH, path: /a", "    unknown: ignore\n    compensate: none\n"),
        &expect![[r#"
            wrong-value: only an optional step can ignore an unknown outcome, step "a" is not (ignore)
        "#]],
    );
    steps(
        &step("participant: crm, method: PATCH, path: /a", "    unknown: inquire\n    compensate: none\n"),
        &expect![[r#"
            not-yet: "inquire" is not part of this version of the language yet (inquire)
        "#]],
    );
    let undo = |call: &str| format!("    compensate: {{{call}}}\n");
    steps(
        &step("participant: crm, method: PUT, path: /a", &undo("participant: crm, method: POST, path: /b")),
        &expect![[r#"
            unknown-not-said: the undo of step "a" cannot be repeated safely (POST)
        "#]],
    );
    steps(
        &step(
            "participant: crm, method: PUT, path: /a",
            &undo("participant: crm, method: POST, path: /b, unknown: operator"),
        ),
        &expect![[""]],
    );
    steps(
        &step("participant: crm, method: PUT, path: /a", &undo("participant: crm, method: DELETE, path: /b")),
        &expect![[""]],
    );
    steps(
        &step("participant: crm, method: PUT, path: /a", &undo("participant: crm, method: GET, path: /b")),
        &expect![[r#"
            wrong-value: a GET changes nothing, so it undoes nothing (GET)
        "#]],
    );
    steps(
        &step("participant: crm, method: PUT, path: /a", "    compensate: nothing\n"),
        &expect![[r#"
            wrong-value: compensate is a call, or `none` (nothing)
        "#]],
    );
}

#[test]
fn the_call_key_in_a_body() {
    let key = "'${call.key}'";
    let step = |body: &str, undo: &str| {
        format!(
            "  - name: a\n    call: {{participant: mnp, method: POST, path: /a{body}}}\n    compensate: {{participant: mnp, method: POST, \
             path: /b{undo}}}\n"
        )
    };
    let with = format!(", body: {{external_id: {key}}}");
    steps(&step(&with, &with), &expect![[""]]);
    steps(
        &step(&with, ""),
        &expect![[r#"
            call-key-not-sent: the body has no "external_id", by which "mnp" knows repeats (compensate)
        "#]],
    );
    steps(
        &step(", body: {id: 1}", &with),
        &expect![[r#"
            call-key-not-sent: the body has no "external_id", by which "mnp" knows repeats (body)
        "#]],
    );
    steps(
        &step(", body: {external_id: 'x-${call.key}'}", &with),
        &expect![[r#"
            call-key-not-sent: "external_id" must be the call key, "mnp" knows repeats by it ('x-${call.key}')
        "#]],
    );
}

#[test]
fn waits() {
    let wait = |wait: &str, more: &str| format!("  - name: a\n    wait: {wait}\n{more}");
    steps(
        &wait("{signal: go, timeout: 1h}", "    result: {x: '${signal.body.x}'}\noutput: '${steps.a.result.x}'\n"),
        &expect![[""]],
    );
    steps(&wait("{for: 10m}", ""), &expect![[""]]);
    steps(&wait("{until: 2026-11-23T02:00:00Z}", ""), &expect![[""]]);
    steps(&wait("{until: '${input.id}'}", ""), &expect![[""]]);
    for (written, more, expected) in [
        (
            "{signal: go}",
            "",
            expect![[r#"
            missing-field: the wait of step "a" has no timeout; a signal may never come (signal)
        "#]],
        ),
        (
            "{for: 10m, timeout: 1h}",
            "",
            expect![[r#"
            wrong-value: only a wait for a signal has a timeout; this one ends by itself (timeout)
        "#]],
        ),
        (
            "{for: 10m, signal: go, timeout: 1h}",
            "",
            expect![[r#"
            wrong-value: a wait is for one of: signal, for, until (for)
        "#]],
        ),
        (
            "{timeout: 1h}",
            "",
            expect![[r#"
            missing-field: the wait of step "a" does not say for what (wait)
        "#]],
        ),
        (
            "{until: tomorrow}",
            "",
            expect![[r#"
            wrong-value: until is a time or an expression that gives one (tomorrow)
        "#]],
        ),
        (
            "{until: '${input.amount}'}",
            "",
            expect![[r#"
            type-mismatch: until must be text, this is a whole number (input.amount)
        "#]],
        ),
        (
            "{for: 1s}",
            "    retry: {attempts: 1, backoff: 1s, max_backoff: 1s}\n    unknown: operator\n    timeout: 1s\n",
            expect![[r#"
            wrong-value: a wait has no retry (retry)
            wrong-value: a wait has no unknown (unknown)
            wrong-value: a wait has no timeout (timeout)
        "#]],
        ),
        (
            "{for: 1s}",
            "    result: {x: '${response.body}'}\n",
            expect![[r#"
            wrong-value: only a call and a wait for a signal have result (result)
        "#]],
        ),
        (
            "{signal: go, timeout: 1h}",
            "    answers:\n      - {when: '${response.status == 1}', outcome: unknown}\n",
            expect![[r#"
            not-here: "response" cannot be named here (response)
            wrong-value: "unknown" is not a value of outcome (unknown)
        "#]],
        ),
        (
            "{signal: go, timeout: 1h, schema: {}}",
            "",
            expect![[r#"
            not-yet: "schema" is not part of this version of the language yet (schema)
        "#]],
        ),
        (
            "{signal: go, timeout: 1h}",
            "    call: {participant: crm, method: GET, path: /a}\n",
            expect![[r#"
            wrong-value: step "a" has a call and a wait; write two steps (wait)
        "#]],
        ),
    ] {
        steps(&wait(written, more), &expected);
    }
    steps(
        &(wait("{signal: go, timeout: 1h}", "") + &wait("{signal: go, timeout: 1h}", "").replace("name: a", "name: b")),
        &expect![[r#"
            duplicate-name: two steps wait for the signal "go"; only its first arrival counts (go)
        "#]],
    );
}

#[test]
fn requests() {
    let call = |call: &str| format!("  - name: a\n    call: {{participant: crm, {call}}}\n    compensate: none\n");
    steps(
        &call(
            "method: PUT, path: '/a/${input.id}', query: {n: 010, t: '${input.amount}'}, headers: {X-A: 'v ${input.id}'}",
        ),
        &expect![[""]],
    );
    for (written, expected) in [
        ("method: PUT, path: a", expect![["wrong-value: a path begins with / (a)\n"]]),
        ("method: PUT, path: '/a?b=1'", expect![["wrong-value: a path has no ? and no #; write a query ('/a?b=1')\n"]]),
        ("method: PUT, path: /a/../b", expect![["wrong-value: a path has no . and no .. between slashes (/a/../b)\n"]]),
        (
            "method: PUT, path: '/a b'",
            expect![[r#"
            wrong-value: a path has no spaces and none of " < > \ ^ ` { | } ('/a b')
        "#]],
        ),
        (
            "method: PUT, path: '/a/${input.tags}'",
            expect![[r#"
            type-mismatch: what stands in text must be a number or true or false or text, this is a list (input.tags)
        "#]],
        ),
        ("method: GET, path: /a, body: {}", expect![["wrong-value: a GET has no body; write a query (body)\n"]]),
        (
            "method: PUT, path: /a, headers: {Tidegate-Step: x}",
            expect![[r#"
            reserved-header: the header "Tidegate-Step" is not the author's to set (Tidegate-Step)
        "#]],
        ),
        (
            "method: PUT, path: /a, headers: {X-A: a, x-a: b}",
            expect![[r#"
            duplicate-field: the header "x-a" stands twice; upper and lower case do not count (x-a)
        "#]],
        ),
        (
            "method: PUT, path: /a, headers: {'X A': a}",
            expect![[r#"
            bad-name: "X A" is no name of a header ('X A')
        "#]],
        ),
        (
            "method: PUT, path: /a, headers: {Authorization: '${secret.token}'}",
            expect![[r#"
            not-here: "secret" cannot be named here (secret)
        "#]],
        ),
        (
            "method: PUT, path: /a, body: {n: 007}",
            expect![["quote-this: put quotes around this: YAML reads it as a number and drops the leading 0 (007)\n"]],
        ),
        (
            "method: PUT, path: /a, body: {n: +49}",
            expect![[r#"
            quote-this: put quotes around this: YAML reads it as a number and drops the "+" (+49)
        "#]],
        ),
        (
            "method: PUT, path: /a, body: {n: ${input.id}}",
            expect![["quote-this: an expression inside [ ] or { } needs quotes in YAML (${input.id})\n"]],
        ),
        (
            "method: PUT, path: /a, body_text: x",
            expect![[r#"
            not-yet: "body_text" is not part of this version of the language yet (body_text)
        "#]],
        ),
    ] {
        steps(&call(written), &expected);
    }
}
