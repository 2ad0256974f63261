//! Reads that are declared shareable: what a participant may declare, and what a step of such a read may not be.

use super::*;

const BASE: &str = "apiVersion: tidegate/v1\nkind: Participants\nparticipants:\n  - name: book\n    connector: http\n    \
                    endpoints: [http://book:1]\n    idempotency: none\n    settles_within: 0s\n    timeout: 1s\n    \
                    retry: {attempts: 1, backoff: 1s, max_backoff: 1s}\n    limits: {max_in_flight: 1}\n";

fn declared(shared_reads: &str) -> SourceFile {
    SourceFile { path: "p.yaml".into(), text: format!("{BASE}    shared_reads: {shared_reads}\n") }
}

#[test]
fn what_a_participant_declares() {
    let fine = check(&[declared("[{method: GET, path: /contracts/*, max_age: 5s}]")], &Known::default());
    assert_eq!(findings(&fine), "");
    let participant = &fine.participants[0].participant;
    assert_eq!(participant.shares("/contracts/491700?full=1"), Some(std::time::Duration::from_secs(5)));
    assert_eq!(participant.shares("/contracts"), None);
    // A file that says nothing keeps its bytes.
    let silent = check(&[SourceFile { path: "p.yaml".into(), text: BASE.into() }], &Known::default());
    let bytes = silent.participants[0].participant.to_bytes();
    assert!(!String::from_utf8_lossy(&bytes).contains("shared"));
    assert_eq!(plan::Participant::from_bytes(&participant.to_bytes()).ok().as_ref(), Some(participant));
    for (shared_reads, expected) in [
        ("[]", expect![[""]]),
        ("[{method: GET, path: /, max_age: 0s}, {method: GET, path: '/a/*', max_age: 10m}]", expect![[""]]),
        (
            "{method: GET, path: /a, max_age: 5s}",
            expect![[r#"
            wrong-type: shared_reads is a list, this is an object ({method: GET, path: /a, max_age: 5s})
        "#]],
        ),
        (
            "[{method: POST, path: /a, max_age: 5s}]",
            expect![[r#"
            wrong-value: a POST is no shared read (POST)
        "#]],
        ),
        (
            "[{method: get, path: /a, max_age: 5s}]",
            expect![[r#"
            wrong-value: "get" is not a value of method (get)
        "#]],
        ),
        (
            "[{method: GET, path: /a, max_age: 5}]",
            expect![[r#"
            bad-duration: max_age is a duration, for instance 1500ms or 30s (5)
        "#]],
        ),
        (
            "[{method: GET, path: /a, max_age: 11m}]",
            expect![[r#"
            bad-duration: max_age is at most 10m (11m)
        "#]],
        ),
        (
            "[{method: GET, path: /a}]",
            expect![[r#"
            missing-field: an entry of shared_reads has no max_age (method)
        "#]],
        ),
        (
            "[{method: GET, path: /a, max_age: 5s, ttl: 1s}]",
            expect![[r#"
            unknown-field: "ttl" is not a field of shared_reads (ttl)
        "#]],
        ),
        (
            "[{method: GET, path: /a, max_age: 5s, batch: {}}]",
            expect![[r#"
            not-yet: "batch" is not part of this version of the language yet (batch)
        "#]],
        ),
        (
            "[{method: GET, path: a, max_age: 5s}]",
            expect![[r#"
            wrong-value: this is no path of a shared read: a path begins with / (a)
        "#]],
        ),
        (
            "[{method: GET, path: '/a?b=1', max_age: 5s}]",
            expect![[r#"
            wrong-value: this is no path of a shared read: the query is no part of it: reads with another query are other reads ('/a?b=1')
        "#]],
        ),
        (
            "[{method: GET, path: '/a/b*', max_age: 5s}]",
            expect![[r#"
            wrong-value: this is no path of a shared read: * stands for one whole part between slashes ('/a/b*')
        "#]],
        ),
        (
            "[{method: GET, path: '/a/${input.x}', max_age: 5s}]",
            expect![[r#"
            wrong-type: path is plain text, without expressions ('/a/${input.x}')
        "#]],
        ),
        (
            "[{method: GET, path: '/a/{x}', max_age: 5s}]",
            expect![[r#"
            wrong-value: this is no path of a shared read: its parts are letters, digits and -._~, or * for any one part ('/a/{x}')
        "#]],
        ),
        (
            "[{method: GET, path: /a//b, max_age: 5s}]",
            expect![[r#"
            wrong-value: this is no path of a shared read: a part between slashes is empty (/a//b)
        "#]],
        ),
        (
            "[{method: GET, path: /a/.., max_age: 5s}]",
            expect![[r#"
            wrong-value: this is no path of a shared read: a path has no . and no .. between slashes (/a/..)
        "#]],
        ),
        (
            "[{method: GET, path: /a, max_age: 5s}, {method: GET, path: /a, max_age: 6s}]",
            expect![[r#"
            duplicate-name: this path stands twice in shared_reads (/a)
        "#]],
        ),
    ] {
        expected.assert_eq(&findings(&check(&[declared(shared_reads)], &Known::default())));
    }
}

#[test]
fn what_a_shared_read_may_not_be() {
    let file = declared("[{method: GET, path: /contracts/*, max_age: 5s}, {method: GET, path: /all, max_age: 5s}]");
    let saga = |steps: &str| SourceFile {
        path: "s.yaml".into(),
        text: format!(
            "apiVersion: tidegate/v1\nkind: Saga\nname: t\nversion: 1\ninput: {{type: object, \
             additionalProperties: false, required: [x], properties: {{x: {{type: string}}}}}}\nsteps:\n{steps}"
        ),
    };
    let undo = "compensate: {participant: book, method: PUT, path: /undo, body: {a: 1}}";
    let call = |path: &str, more: &str| format!("call: {{participant: book, method: GET, path: '{path}'{more}}}");
    for (steps, expected) in [
        (format!("  - name: a\n    {}\n", call("/contracts/${input.x}", ", query: {q: '${input.x}'}")), expect![[""]]),
        (format!("  - name: a\n    {}\n    compensate: none\n", call("/contracts/1", "")), expect![[""]]),
        // Other paths are nobody's business.
        (format!("  - name: a\n    {}\n    {undo}\n", call("/contracts/1/x", "")), expect![[""]]),
        (
            format!("  - name: a\n    {}\n    {undo}\n", call("/contracts/1", "")),
            expect![[r#"
            wrong-value: step "a" is a shared read, which does nothing that could be undone (compensate)
        "#]],
        ),
        // What is computed may become the path that is shared.
        (
            format!("  - name: a\n    {}\n    {undo}\n", call("/${input.x}", "")),
            expect![[r#"
            wrong-value: step "a" is a shared read, which does nothing that could be undone (compensate)
        "#]],
        ),
        (
            format!("  - name: a\n    {}\n    pivot: true\n", call("/all", "")),
            expect![[r#"
            wrong-value: step "a" is the pivot, and a shared read is no point of no return (GET)
        "#]],
        ),
        (
            format!("  - name: a\n    {}\n", call("/all", ", query: {k: '${call.key}'}")),
            expect![[r#"
            wrong-value: step "a" is a shared read and carries the call key, so that no two are equal (call)
        "#]],
        ),
        (
            format!("  - name: a\n    {}\n", call("/all", ", headers: {K: 'k-${call.key + \"x\"}'}")),
            expect![[r#"
            wrong-value: step "a" is a shared read and carries the call key, so that no two are equal (call)
        "#]],
        ),
        (
            format!("  - name: a\n    {}\n", call("/contracts/${call.key}", "")),
            expect![[r#"
            wrong-value: step "a" is a shared read and carries the call key, so that no two are equal (call)
        "#]],
        ),
    ] {
        expected.assert_eq(&findings(&check(&[file.clone(), saga(&steps)], &Known::default())));
    }
}
