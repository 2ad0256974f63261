//! What a whole file must say: the input's schema, participants, and what is no definition at all.

use super::*;

#[test]
fn the_input_s_schema() {
    let file = |schema: &str| {
        format!(
            "apiVersion: tidegate/v1\nkind: Saga\nname: t\nversion: 1\ninput: {schema}\nsteps:\n  - name: a\n    {PUT}\n"
        )
    };
    for (schema, expected) in [
        (
            "{type: object, properties: {a: {type: [string, \"null\"], enum: [a, null]}, b: {type: array, items: {type: object, properties: {c: {const: 1}}}}}}",
            expect![[""]],
        ),
        (
            "{type: object, properties: {a: {$ref: x}}}",
            expect![[r#"
            unsupported-schema: "$ref" cannot be used in the schema of an input ($ref)
        "#]],
        ),
        (
            "{type: object, properties: {a: {anyOf: []}, b: {typ: string}, c: {type: strng}, d: {format: ipv4}}}",
            expect![[r#"
            unsupported-schema: "anyOf" cannot be used in the schema of an input (anyOf)
            unsupported-schema: "typ" is not a word of the schema of input.b (typ)
            wrong-value: "strng" is no type (strng)
            unsupported-schema: "ipv4" is no format that is checked (ipv4)
        "#]],
        ),
        ("{type: string}", expect![["wrong-type: the input is an object: write type: object (string)\n"]]),
        ("[]", expect![["wrong-type: the schema of input is an object, this is a list ([])\n"]]),
        (
            "{type: object, additionalProperties: false, required: [a, b], properties: {a: {}}}",
            expect![[r#"
            unknown-input: input requires "b", which its properties do not have (required)
        "#]],
        ),
        (
            "{type: object, properties: {a: {minLength: 5, maxLength: 4, pattern: '('}}}",
            expect![["wrong-value: this pattern cannot be used: unclosed group ('(')\n"]],
        ),
        (
            "{type: object, properties: {a: {minLength: 5, maxLength: 4}}}",
            expect![["wrong-value: maxLength of input.a is below its minimum (maxLength)\n"]],
        ),
        (
            "{type: object, properties: {a: {minLength: -1}, b: {multipleOf: 0}, c: {minimum: x}}}",
            expect![[r#"
            wrong-value: minLength is from 0 to 4294967295 (-1)
            wrong-value: multipleOf is greater than 0 (0)
            wrong-type: minimum is a number, this is text (x)
        "#]],
        ),
    ] {
        expected.assert_eq(&findings(&run(file(schema))));
    }
}

#[test]
fn participants_say_everything() {
    let base = "apiVersion: tidegate/v1\nkind: Participants\nparticipants:\n  - name: a\n    connector: http\n    endpoints: [http://a:1/x/]\n    \
                idempotency: {header: Key, for: 1d}\n    settles_within: 0s\n    timeout: 1s\n    retry: {attempts: 1, backoff: 1s, max_backoff: 1s}\n    \
                limits: {max_in_flight: 1}\n";
    let fine = run(base.into());
    assert_eq!(findings(&fine), "");
    assert_eq!(fine.participants[0].participant.endpoints, ["http://a:1/x"]);
    assert_eq!(fine.participants[0].participant.limits.learn, plan::Learn::On);
    for (from, to, expected) in [
        (
            "    timeout: 1s\n",
            "",
            expect![[r#"
            missing-field: participant "a" has no timeout (name)
        "#]],
        ),
        (
            "connector: http",
            "connector: grpc",
            expect![[r#"
            not-yet: the connector "grpc" is not part of this version yet (grpc)
        "#]],
        ),
        (
            "http://a:1/x/",
            "ftp://a",
            expect![["wrong-value: this is no address of an endpoint: it begins with http:// or https:// (ftp://a)\n"]],
        ),
        (
            "http://a:1/x/",
            "'http://u:p@a'",
            expect![[
                "wrong-value: this is no address of an endpoint: user and password do not stand in an address; use headers and ${secret.name} ('http://u:p@a')\n"
            ]],
        ),
        (
            "http://a:1/x/",
            "'http://a:70000'",
            expect![[
                "wrong-value: this is no address of an endpoint: its port is no number from 1 to 65535 ('http://a:70000')\n"
            ]],
        ),
        (
            "http://a:1/x/",
            "http://a/?k=1",
            expect![["wrong-value: this is no address of an endpoint: the query stands in the call (http://a/?k=1)\n"]],
        ),
        ("http://a:1/x/", "'http://[::1]:80/x'", expect![[""]]),
        (
            "http://a:1/x/",
            "http://a:1/x, http://a:1/x/",
            expect![["duplicate-name: this endpoint stands twice (http://a:1/x/)\n"]],
        ),
        ("{max_in_flight: 1}", "{max_in_flight: 9, min_in_flight: 2, learn: observe}", expect![[""]]),
        ("{max_in_flight: 1}", "{max_in_flight: 9, learn: off}", expect![[""]]),
        (
            "{max_in_flight: 1}",
            "{max_in_flight: 9, min_in_flight: 10}",
            expect![["wrong-value: min_in_flight is more than max_in_flight 9 (10)\n"]],
        ),
        (
            "{max_in_flight: 1}",
            "{max_in_flight: 9, learn: maybe}",
            expect![["wrong-value: \"maybe\" is not a value of learn (maybe)\n"]],
        ),
        ("{header: Key, for: 1d}", "none", expect![[""]]),
        (
            "{header: Key, for: 1d}",
            "true",
            expect![["wrong-value: idempotency is `none`, or says where the call key goes and for how long (true)\n"]],
        ),
        (
            "{header: Key, for: 1d}",
            "{header: Key}",
            expect![[r#"
            missing-field: the idempotency of participant "a" has no for (idempotency)
        "#]],
        ),
        (
            "{header: Key, for: 1d}",
            "{header: Key, body: k, for: 1d}",
            expect![["wrong-value: the call key goes in a header or in the body, not in both (idempotency)\n"]],
        ),
        (
            "{header: Key, for: 1d}",
            "{for: 1d}",
            expect![["missing-field: idempotency does not say where the call key goes (idempotency)\n"]],
        ),
        ("{header: Key, for: 1d}", "{body: k, for: 1d, scope: endpoint}", expect![[""]]),
        ("attempts: 1,", "attempts: 0,", expect![["wrong-value: attempts is from 1 to 1000 (0)\n"]]),
        ("backoff: 1s, max", "backoff: 2s, max", expect![["wrong-value: max_backoff is not below backoff (1s)\n"]]),
        (
            "    timeout: 1s\n",
            "    timeout: 1s\n    auth: {}\n",
            expect![[r#"
            not-yet: "auth" is not part of this version of the language yet (auth)
        "#]],
        ),
        ("    timeout: 1s\n", "    timeout: 1s\n    headers: {A: 'Bearer ${secret.token}'}\n", expect![[""]]),
        (
            "    timeout: 1s\n",
            "    timeout: 1s\n    headers: {A: '${secret.token + \"x\"}'}\n",
            expect![[r#"
            not-here: a secret stands alone, nothing is computed with it: ${secret.name} (secret.token)
        "#]],
        ),
        (
            "    timeout: 1s\n",
            "    timeout: 1s\n    headers: {A: '${input.x}'}\n",
            expect![[r#"
            not-here: "input" cannot be named here (input)
        "#]],
        ),
        (
            "    timeout: 1s\n",
            "    timeout: 1s\n    headers: {key: x}\n",
            expect![[r#"
            reserved-header: the engine sends the call key in "Key"; it cannot be a fixed header as well (headers)
        "#]],
        ),
        (
            "    timeout: 1s\n",
            "    timeout: 1s\n    answers: [{when: '${response.body.x == 1}', outcome: nothing_to_undo}]\n",
            expect![[r#"
            wrong-value: nothing_to_undo is an answer to an undo only (nothing_to_undo)
        "#]],
        ),
        ("name: a", "name: crm", expect![[""]]),
    ] {
        assert!(base.contains(from), "{from}");
        let files = [SourceFile { path: "p.yaml".into(), text: base.replacen(from, to, 1) }];
        expected.assert_eq(&findings(&check(&files, &Known::default())));
    }
}

#[test]
fn files_that_are_no_definitions() {
    for (text, expected) in [
        ("", expect![["yaml-syntax: the file is empty ()\n"]]),
        ("- a\n", expect![["wrong-type: a definition file is an object, this is a list (-)\n"]]),
        (
            "kind: Saga\n",
            expect![[r#"
            missing-field: the file has no apiVersion (kind)
            missing-field: the saga has no name (kind)
            missing-field: the saga has no version (kind)
            missing-field: the saga has no input (kind)
            missing-field: the saga has no steps (kind)
        "#]],
        ),
        (
            "apiVersion: tidegate/v2\nkind: Saga\n",
            expect![[r#"
            wrong-value: "tidegate/v2" is not a version of the language that this program reads (tidegate/v2)
        "#]],
        ),
        (
            "apiVersion: tidegate/v1\nkind: Tcc\n",
            expect![[r#"
            not-yet: kind "Tcc" is not part of this version of the language yet (Tcc)
        "#]],
        ),
        (
            "apiVersion: tidegate/v1\nkind: saga\n",
            expect![[r#"
            wrong-value: "saga" is no kind of file (saga)
        "#]],
        ),
        (
            "a: 1\n---\nb: 2\n",
            expect![[r#"
            missing-field: the file has no apiVersion (a)
            missing-field: the file has no kind (a)
            yaml-syntax: a second document; a file holds one (---)
        "#]],
        ),
        (
            "a: &x 1\nb: *x\n",
            expect![[r#"
            missing-field: the file has no apiVersion (a)
            missing-field: the file has no kind (a)
            yaml-syntax: an anchor (&); write the value out where it is used (&x 1)
            yaml-syntax: an alias (*); write the value out where it is used (*x)
        "#]],
        ),
        (
            "a: !!str 1\n",
            expect![[r#"
            missing-field: the file has no apiVersion (a)
            missing-field: the file has no kind (a)
            yaml-syntax: a tag (tag:yaml.org,2002:!str); write "…" for text and nothing for a number (!!str 1)
        "#]],
        ),
        (
            "<<: {a: 1}\n",
            expect![[r#"
            yaml-syntax: a merge key (<<); write the fields out (<<)
            missing-field: the file has no apiVersion (<)
            missing-field: the file has no kind (<)
        "#]],
        ),
        ("a:\n\tb: 1\n", expect![["yaml-syntax: a tab cannot indent in YAML; use spaces (\t)\n"]]),
        (
            "a: b: c\n",
            expect![[r#"
            yaml-syntax: a second ": " in one value; put quotes around the value (:)
        "#]],
        ),
        (
            "a: \"x\n",
            expect![[r#"
            yaml-syntax: while scanning a quoted scalar, found unexpected end of stream (")
        "#]],
        ),
        ("\u{feff}a: 1\n", expect![["yaml-syntax: a byte order mark; save the file as plain UTF-8 (\u{feff})\n"]]),
    ] {
        let files = [SourceFile { path: "s.yaml".into(), text: text.into() }];
        let checked = check(&files, &Known::default());
        // Without a head that can be read the rest of such a file is not looked at.
        let all = findings(&checked);
        expected.assert_eq(&all);
    }
}
