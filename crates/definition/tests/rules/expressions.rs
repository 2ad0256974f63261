//! What an expression may say and where: fine ones, mistakes, values that may not exist, what an undo may read.

use super::*;

#[test]
fn expressions_that_are_fine() {
    fine(&[
        "input.amount > 0",
        "input.amount + 1 >= 2.5 && input.amount < 1e3",
        "input.amount * 2.0 > 3",
        "has(input.rate) && input.rate > 0.5",
        "!has(input.rate) || input.rate > 0.5",
        "has(input.rate) ? input.rate > 0.5 : false",
        "!(!has(input.rate)) && input.rate == 1",
        "has(input.note) && input.note != null && input.note.startsWith('x')",
        "has(input.address) && input.address.city == 'Bonn'",
        "has(input.address) && has(input.address.zip) && input.address.zip.size() == 5",
        "has(input.extra) && has(input.extra.a) && input.extra.a > 1",
        "has(input.free) && has(input.free.x) && input.free.x == [1, {'a': 2}]",
        "input.tags.all(t, t.size() < 10) && input.tags.exists(t, t == 'a') && input.tags.exists_one(t, t in ['a'])",
        "input.tags.map(t, t + '!').filter(t, t != 'a!').size() > 0",
        "input.tags.map(t, t != 'a', t.upperAscii())[0] == 'B'",
        "input.tags.exists(t, input.tags.all(u, u != t))",
        "input['id'] == 'x' && 'a' in input.tags && input.id.matches(r'^\\d+$')",
        "string(input.amount) + 'x' == '1x' && int('5') == 5 && double('1.5') > 1",
        "steps.read.result.a == 1 || steps.read.result.a.b.c[0] > 2",
        "steps.read.outcome == 'done' && steps.read.call_key != transaction.id",
        "has(steps.read.result.a)",
        "-input.amount < -3 && 0x10 == 16u && '\\u00e9' == 'é'",
        "(input.amount in [1, 2, 3]) == true",
    ]);
}

#[test]
fn expressions_that_are_not() {
    for (expression, expected) in [
        (
            "input.amount",
            expect![["type-mismatch: when must be true or false, this is a whole number (input.amount)\n"]],
        ),
        (
            "input.amount == '1'",
            expect![[r#"
            type-mismatch: these can never be equal (input.amount == ''1'')
        "#]],
        ),
        ("input.id < 1", expect![["type-mismatch: these have no order (input.id < 1)\n"]]),
        ("input.id + 1 == 'x'", expect![["type-mismatch: + does not join these (input.id + 1)\n"]]),
        ("1 in input.tags", expect![["type-mismatch: this can never be in it (1 in input.tags)\n"]]),
        (
            "!input.amount",
            expect![[
                "type-mismatch: what stands after ! must be true or false, this is a whole number (input.amount)\n"
            ]],
        ),
        (
            "input.id.foo == 1",
            expect![[r#"type-mismatch: "foo" is read from an object, this is text (input.id)
"#]],
        ),
        (
            "input.tags['x'] == 1",
            expect![[r#"type-mismatch: "x" is read from an object, this is a list (input.tags)
"#]],
        ),
        (
            "input.tags[input.id] == 'x'",
            expect![["type-mismatch: a place in a list must be a number, this is text (input.id)\n"]],
        ),
        (
            "input.rate > 1",
            expect![[r#"input-not-required: "rate" is not required, so it may be missing (input.rate)
"#]],
        ),
        (
            "has(input.rate) || input.rate > 1",
            expect![[r#"input-not-required: "rate" is not required, so it may be missing (input.rate)
"#]],
        ),
        (
            "has(input.address) && input.address.zip == 'a'",
            expect![[r#"input-not-required: "zip" is not required, so it may be missing (input.address.zip)
"#]],
        ),
        (
            "has(input.address) && input.address.street == 'a'",
            expect![[r#"unknown-input: input.address has no "street" (input.address.street)
"#]],
        ),
        (
            "has(input.nte)",
            expect![[r#"unknown-input: input has no "nte" (input.nte)
"#]],
        ),
        (
            "inptu.amount > 1",
            expect![[r#"not-here: "inptu" is not a name (inptu)
"#]],
        ),
        (
            "read.result.a == 1",
            expect![[r#"not-here: "read" is not a name (read)
"#]],
        ),
        (
            "response.status == 200",
            expect![[r#"not-here: "response" cannot be named here (response)
"#]],
        ),
        (
            "call.key == ''",
            expect![[r#"not-here: "call" cannot be named here (call)
"#]],
        ),
        (
            "secret.x == ''",
            expect![[r#"not-here: "secret" cannot be named here (secret)
"#]],
        ),
        (
            "steps == 1",
            expect![[r#"not-here: "steps" alone is no value; write steps.<name>.result.<field> (steps)
"#]],
        ),
        (
            "steps.read == 1",
            expect![[
                "not-here: a step alone is no value; write steps.read.result.<field>, .outcome or .call_key (steps.read)\n"
            ]],
        ),
        (
            "steps.read.a == 1",
            expect![[r#"not-here: steps.read has no "a" (steps.read.a)
"#]],
        ),
        (
            "steps.read.outcome == 'ok'",
            expect![[r#"
            type-mismatch: "ok" is no outcome of a step (steps.read.outcome == ''ok'')
        "#]],
        ),
        (
            "steps.last.outcome == 'done'",
            expect![[r#"may-not-have-run: step "last" does not come before "next" (steps.last.outcome)
"#]],
        ),
        (
            "steps.next.outcome == 'done'",
            expect![[r#"
            may-not-have-run: step "next" has no outcome while it runs (steps.next.outcome)
        "#]],
        ),
        (
            "now() > 1",
            expect![[r#"unknown-function: there is no function "now" (now())
"#]],
        ),
        (
            "size(1) == 1",
            expect![[
                "type-mismatch: what has a size must be text or a list or an object, this is a whole number (1)\n"
            ]],
        ),
        (
            "contains('a', 'b')",
            expect![[r#"
            unknown-function: contains is not called like this; write text.contains("part") (contains(''a'', ''b''))
        "#]],
        ),
        ("has(input)", expect![["bad-expression: has() asks for a field: has(input.name) (input)\n"]]),
        (
            "has(response.body)",
            expect![[r#"not-here: "response" cannot be named here (response)
"#]],
        ),
        (
            "input.tags.all(1, true)",
            expect![["bad-expression: the first argument names the element, for instance x (1)\n"]],
        ),
        (
            "input.id.matches('(')",
            expect![[r#"
            bad-expression: this pattern cannot be used: unclosed group (''('')
        "#]],
        ),
        (
            "input.id.matches(input.id)",
            expect![["bad-expression: a pattern is written out, so that it is checked and compiled once (input.id)\n"]],
        ),
        (
            "b'x' == 1",
            expect![[r#"
            bad-expression: bytes are not part of the language; use text (b'')
        "#]],
        ),
        ("input.amount = 1", expect![["bad-expression: to compare, write == (=)\n"]]),
        (
            "input.amount > 1 and true",
            expect![[r#"bad-expression: "and" is not expected here (and)
"#]],
        ),
        (
            "99999999999999999999 > 1",
            expect![["bad-expression: a whole number that does not fit 64 bits (99999999999999999999)\n"]],
        ),
        (
            "'abc",
            expect![[r#"
            bad-expression: this text has no end ('')
        "#]],
        ),
        (
            "(1",
            expect![[r#"
            bad-expression: this bracket is not closed (()
        "#]],
        ),
        ("", expect![["bad-expression: an empty expression (})\n"]]),
        ("é == 1", expect![["bad-expression: this sign is not part of an expression (é)\n"]]),
        ("M{a: 1} == 1", expect![["bad-expression: typed messages are not part of the language ({)\n"]]),
        (
            "{'a': 1, 'a': 2} == 1",
            expect![[r#"
            bad-expression: a map names one member twice (''a'')
        "#]],
        ),
        (
            "input.while == 1",
            expect![[r#"unknown-input: input has no "while" (input.while)
"#]],
        ),
        (
            "while == 1",
            expect![[r#"bad-expression: "while" is a reserved word of CEL (while)
"#]],
        ),
        (
            "input.amount == 1 ? true",
            expect![[r#"
            bad-expression: the expression ends too early (true)
        "#]],
        ),
        (
            "input.?amount == 1",
            expect![[r#"bad-expression: "." is not expected here (.)
"#]],
        ),
    ] {
        when(expression, &expected);
    }
}

#[test]
fn results_of_steps_that_may_not_have_run() {
    let read =
        |extra: &str| format!("  - name: read\n    {extra}\n    {GET}\n    result: {{a: '${{response.body.a}}'}}\n");
    let use_it = |extra: &str| {
        format!(
            "  - name: next\n    {extra}\n    call: {{participant: crm, method: GET, path: '/b/${{steps.read.result.a}}'}}\n"
        )
    };
    // The same condition, another order of its parts, and more.
    let guarded = "when: '${input.amount > 1 && has(input.rate)}'";
    steps(&(read(guarded) + &use_it(guarded)), &expect![[""]]);
    steps(&(read(guarded) + &use_it("when: '${has(input.rate) && true && input.amount > 1}'")), &expect![[""]]);
    steps(&(read(guarded) + &use_it("when: '${steps.read.outcome == \"done\"}'")), &expect![[""]]);
    steps(
        &(read(guarded) + &use_it("when: '${input.amount > 1}'")),
        &expect![[r#"
            may-not-have-run: step "read" may have been skipped (steps.read.result.a)
        "#]],
    );
    steps(
        &(read(guarded) + &use_it("when: '${steps.read.outcome != \"done\"}'")),
        &expect![[r#"
            may-not-have-run: step "read" may have been skipped (steps.read.result.a)
        "#]],
    );
    // By way of a third step: it is done only if its own condition held.
    let third = format!("  - name: third\n    {guarded}\n    {GET}\n");
    steps(&(read(guarded) + &third + &use_it("when: '${steps.third.outcome == \"done\"}'")), &expect![[""]]);
    steps(
        &(read("optional: true") + &use_it("optional: false")),
        &expect![[r#"
            may-not-have-run: step "read" is optional and may not be done (steps.read.result.a)
        "#]],
    );
    steps(&(read("optional: true") + &use_it("when: '${\"done\" == steps.read.outcome}'")), &expect![[""]]);
    // Side by side, one may not read the other; nor by a join that does not include it.
    steps(
        &(read("after: []") + &use_it("after: []")),
        &expect![[r#"
            may-not-have-run: step "read" does not come before "next" (steps.read.result.a)
        "#]],
    );
}

#[test]
fn what_an_undo_may_read() {
    let undo = |body: &str| {
        format!(
            "  - name: read\n    {GET}\n    result: {{a: '${{response.body.a}}'}}\n  - name: change\n    call: {{participant: crm, method: PUT, \
             path: /a}}\n    result: {{b: '${{response.body.b}}'}}\n    compensate: {{participant: crm, method: PUT, path: /a, body: {{x: '{body}'}}}}\n  \
             - name: later\n    {GET}\n    result: {{c: '${{response.body.c}}'}}\noutput: {{c: '${{steps.later.result.c}}'}}\n"
        )
    };
    steps(&undo("${steps.read.result.a}"), &expect![[""]]);
    steps(
        &undo("${steps.change.result.b}"),
        &expect![[r#"
            unused-result: nothing reads "a", which step "read" keeps (a)
            compensation-needs-answer: the undo of step "change" uses what its own answer said (steps.change.result.b)
        "#]],
    );
    steps(&undo("${steps.change.outcome == \"done\" ? steps.change.result.b : steps.read.result.a}"), &expect![[""]]);
    steps(
        &undo("${steps.later.result.c}"),
        &expect![[r#"
            may-not-have-run: step "later" may not have run when "change" is undone (steps.later.result.c)
        "#]],
    );
    steps(&undo("${steps.later.outcome == \"done\" ? steps.later.result.c : steps.read.result.a}"), &expect![[""]]);
}
