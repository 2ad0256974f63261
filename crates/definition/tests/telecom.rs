//! The four files of examples/telecom, and the three findings of the manual's first page.

use definition::{Checked, Known, SourceFile, check};
use expect_test::expect;

const FILES: [&str; 4] = ["participants.yaml", "top-up.yaml", "tariff-change.yaml", "number-port-out.yaml"];

fn text(name: &str) -> &'static str {
    match name {
        "participants.yaml" => include_str!("../../../examples/telecom/participants.yaml"),
        "top-up.yaml" => include_str!("../../../examples/telecom/top-up.yaml"),
        "tariff-change.yaml" => include_str!("../../../examples/telecom/tariff-change.yaml"),
        _ => include_str!("../../../examples/telecom/number-port-out.yaml"),
    }
}

/// The folder with one line of one file replaced.
fn folder(change: Option<(&str, usize, &str)>) -> Checked {
    let files: Vec<SourceFile> = FILES
        .iter()
        .map(|name| {
            let mut lines: Vec<&str> = text(name).lines().collect();
            if let Some((file, line, new)) = change
                && file == *name
            {
                lines[line - 1] = new;
            }
            SourceFile { path: format!("telecom/{name}"), text: lines.join("\n") + "\n" }
        })
        .collect();
    check(&files, &Known::default())
}

fn printed(checked: &Checked) -> String {
    let mut out = String::new();
    for diagnostic in &checked.diagnostics {
        out.push_str(&diagnostic.render());
        out.push('\n');
    }
    if !checked.has_errors() {
        for line in checked.summary_lines() {
            out.push_str(&line);
            out.push('\n');
        }
    }
    out + &checked.closing_line() + "\n"
}

#[test]
fn the_folder_is_fine() {
    let checked = folder(None);
    expect![[r#"
        participants.yaml      6 participants
        top-up.yaml            top-up 1            3 steps: 2 undone on abort, 1 optional
        tariff-change.yaml     tariff-change 1     5 steps: 3 undone on abort, 1 optional, 2 in parallel
        number-port-out.yaml   number-port-out 1   7 steps: 1 undone on abort, 2 waits, no way back after "release"
        4 files, no errors
    "#]]
    .assert_eq(&printed(&checked));
    assert_eq!(checked.sagas.len(), 3);
    assert_eq!(checked.participants.len(), 6);
    assert_eq!(checked.sagas[0].version_line, 4);
    assert_eq!(checked.sagas[0].key_text.as_deref(), Some("subscriber/${input.msisdn}"));
}

#[test]
fn a_misspelt_key() {
    let checked = folder(Some(("top-up.yaml", 45, "      particpant: billing")));
    expect![[r#"
        telecom/top-up.yaml:45:7: error[unknown-field]: "particpant" is not a field of call
           |
        45 |       particpant: billing
           |       ^^^^^^^^^^ did you mean "participant"?
           |
           = call has: participant, method, path, query, headers, body
           = step "credit" therefore has no participant

        4 files, 1 error. Nothing was applied.
    "#]]
    .assert_eq(&printed(&checked));
}

#[test]
fn a_value_that_may_not_exist() {
    let checked = folder(Some(("tariff-change.yaml", 94, "        debit_id: ${steps.fee.result.debit_id}")));
    expect![[r#"
        telecom/tariff-change.yaml:94:21: error[may-not-have-run]: step "fee" may have been skipped
           |
        94 |         debit_id: ${steps.fee.result.debit_id}
           |                     ^^^^^^^^^^^^^^^^^^^^^^^^^
           |
        36 |     when: ${steps.contract.result.fee_minor > 0}
           |           -------------------------------------- skipped when this is false
           |
           = say what to use then, for instance:
             debit_id: '${steps.fee.outcome == "done" ? steps.fee.result.debit_id : ""}'

        4 files, 1 error. Nothing was applied.
    "#]]
    .assert_eq(&printed(&checked));
}

#[test]
fn yaml_s_own_trap() {
    let line = r#"        fee_minor: ${steps.fee.outcome == "done" ? steps.contract.result.fee_minor : 0}"#;
    let checked = folder(Some(("tariff-change.yaml", 94, line)));
    expect![[r#"
        telecom/tariff-change.yaml:94:20: error[quote-this]: an expression with ": " or " #" needs quotes in YAML
           |
        94 |         fee_minor: ${steps.fee.outcome == "done" ? steps.contract.result.fee_minor : 0}
           |                    ^                                                               ^ YAML ends the value here
           |
           = write it so:
             fee_minor: '${steps.fee.outcome == "done" ? steps.contract.result.fee_minor : 0}'

        4 files, 1 error. Nothing was applied.
    "#]]
    .assert_eq(&printed(&checked));
}

/// What the engine gets: sides, order, what is read, and bytes that decode to the same plan.
#[test]
fn the_plans() {
    let checked = folder(None);
    for saga in &checked.sagas {
        let bytes = saga.plan.to_bytes();
        assert_eq!(plan::Saga::from_bytes(&bytes).as_ref(), Ok(&saga.plan));
        assert_eq!(saga.fingerprint(), plan::Saga::hash_of(&bytes));
    }
    let shape = |name: &str| {
        let Some(saga) = checked.sagas.iter().find(|s| s.plan.name == name) else { panic!("no {name}") };
        let step = |s: &plan::Step| {
            format!("{} after {:?} {:?} read={} keeps={}\n", s.name, s.after, s.side, s.result_is_read, s.result.len())
        };
        saga.plan.steps.iter().map(step).collect::<String>()
    };
    expect![[r#"
        contract after [] Before read=true keeps=2
        fee after [0] Before read=false keeps=1
        network after [1] Before read=false keeps=0
        records after [1] Before read=false keeps=0
        notify after [2, 3] Before read=false keeps=0
    "#]]
    .assert_eq(&shape("tariff-change"));
    expect![[r#"
        contract after [] Before read=true keeps=1
        accept after [0] Before read=false keeps=0
        window after [1] Before read=true keeps=1
        port_time after [2] Before read=false keeps=0
        release after [3] Pivot read=false keeps=0
        confirm after [4] After read=false keeps=0
        close after [5] After read=false keeps=0
    "#]]
    .assert_eq(&shape("number-port-out"));
    let top_up = &checked.sagas[0].plan;
    let body = top_up.steps[0].call().and_then(|c| c.body.as_ref());
    expect![[r#"
        {"map":[["amount_minor",{"expr":{"select":[{"var":"input"},"amount_minor"]}}],["card_token",{"expr":{"select":[{"var":"input"},"card_token"]}}],["currency",{"expr":{"select":[{"var":"input"},"currency"]}}],["reference",{"expr":{"var":"transaction_id"}}]]}"#]]
    .assert_eq(&serde_json::to_string(&body).expect("a template is JSON"));
}

/// The same in another order, quoting and with comments is the same plan.
#[test]
fn a_fingerprint_is_of_the_meaning() {
    let plan = |text: &str| {
        let files = [
            SourceFile { path: "a.yaml".into(), text: text.into() },
            SourceFile { path: "p.yaml".into(), text: self::text("participants.yaml").into() },
        ];
        let checked = check(&files, &Known::default());
        assert_eq!(checked.diagnostics, []);
        (checked.sagas[0].fingerprint(), checked.sagas[0].key_expression_text())
    };
    let original = text("top-up.yaml");
    let rewritten = original
        .replace("timeout: 30s\n", "")
        .replace("owner: team-charging", "timeout: \"30s\"\nowner: 'team-charging' # whom to call")
        .replace("subscriber/${input.msisdn}", "'subscriber/${ input[\"msisdn\"] }'");
    assert_ne!(original, rewritten);
    assert_eq!(plan(original), plan(&rewritten));
    assert_ne!(plan(original).0, plan(&original.replace("30s", "31s")).0);
    assert_ne!(plan(original).1, plan(&original.replace("subscriber/", "account/")).1);
}

/// Participants from the server, from files that are broken, and from nowhere.
#[test]
fn who_is_known() {
    let saga = SourceFile { path: "top-up.yaml".into(), text: text("top-up.yaml").into() };
    let codes = |files: &[SourceFile], known: &Known| -> Vec<&'static str> {
        check(files, known).diagnostics.iter().map(|d| d.code.as_str()).collect()
    };
    let from_files = folder(None);
    let participants: std::collections::BTreeMap<_, _> =
        from_files.participants.iter().map(|p| (p.participant.name.clone(), p.participant.clone())).collect();
    let server = Known { participants, complete: true };
    assert_eq!(codes(std::slice::from_ref(&saga), &server), [] as [&str; 0]);
    let empty = Known { complete: true, ..Known::default() };
    assert_eq!(codes(std::slice::from_ref(&saga), &empty), ["unknown-participant"; 5]);
    assert_eq!(codes(std::slice::from_ref(&saga), &Known::default()), ["participants-not-known"]);
    let file = |text: String| SourceFile { path: "participants.yaml".into(), text };
    // One entry is wrong: it still exists.
    let wrong = file(
        text("participants.yaml").replace("attempts: 5\n      backoff: 200ms", "attempts: x\n      backoff: 200ms"),
    );
    assert_eq!(codes(&[saga.clone(), wrong], &Known::default()), ["wrong-type"]);
    // The file cannot be read: nobody is accused.
    let unreadable = file("participants: [".into());
    assert_eq!(codes(&[saga.clone(), unreadable], &empty), ["yaml-syntax"]);
    // A folder that declares participants declares all.
    let others = file(text("participants.yaml").replace("- name: sms", "- name: mms"));
    assert_eq!(codes(&[saga.clone(), others], &Known::default()), ["unknown-participant"]);
    // The same name in two files.
    let fine = file(text("participants.yaml").into());
    assert_eq!(
        codes(&[saga.clone(), saga, fine.clone(), fine], &Known::default()),
        [
            "duplicate-name",
            "duplicate-name",
            "duplicate-name",
            "duplicate-name",
            "duplicate-name",
            "duplicate-name",
            "duplicate-name"
        ]
    );
}

#[test]
fn findings_as_data() {
    let checked = folder(Some(("top-up.yaml", 45, "      particpant: billing")));
    let data = serde_json::to_value(&checked.diagnostics[0]).expect("a finding is JSON");
    expect![[r#"
        {
          "severity": "error",
          "code": "unknown-field",
          "message": "\"particpant\" is not a field of call",
          "path": "telecom/top-up.yaml",
          "line": 45,
          "column": 7,
          "span": [
            1101,
            1111
          ],
          "labels": [
            {
              "line": 45,
              "column": 7,
              "length": 10,
              "primary": true,
              "text": "did you mean \"participant\"?",
              "source": "      particpant: billing"
            }
          ],
          "notes": [
            "call has: participant, method, path, query, headers, body",
            "step \"credit\" therefore has no participant"
          ]
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&data).expect("a finding is JSON"));
}

/// Places are places in the file as it was given: Windows line ends, letters of more than one byte, quotes.
#[test]
fn places_in_unusual_files() {
    let place = |line: &str, ends: &str| {
        let mut lines: Vec<&str> = text("tariff-change.yaml").lines().collect();
        lines[93] = line;
        lines[4] = "description: Тариф — für alle";
        let files = [
            SourceFile { path: "t.yaml".into(), text: lines.join(ends) },
            SourceFile { path: "p.yaml".into(), text: text("participants.yaml").replace('\n', ends) },
        ];
        let checked = check(&files, &Known::default());
        let [found] = checked.diagnostics.as_slice() else { panic!("{:?}", checked.diagnostics) };
        let label = &found.labels[0];
        let marked: String = label.source.chars().skip(label.column - 1).take(label.length).collect();
        assert_eq!(&files[0].text[found.span.start..found.span.end], marked);
        format!("{}:{} {} {marked}", found.line, found.column, found.code.as_str())
    };
    for ends in ["\n", "\r\n"] {
        let unquoted = "        ünï: ü ${steps.fee.result.debit_id}";
        assert_eq!(place(unquoted, ends), "94:18 may-not-have-run steps.fee.result.debit_id");
        let single = "        a: 'it''s ü ${steps.fee.result.debit_id}'";
        assert_eq!(place(single, ends), "94:23 may-not-have-run steps.fee.result.debit_id");
        let double = "        a: \"\\u00fc\\t ${steps.fee.result.debit_id}\"";
        assert_eq!(place(double, ends), "94:24 may-not-have-run steps.fee.result.debit_id");
        let literal = "        a: '$${no} $${ ${steps.fee.result.debit_id}'";
        assert_eq!(place(literal, ends), "94:26 may-not-have-run steps.fee.result.debit_id");
        let flow = "        a: [1, {b: \"${steps.fee.result.debit_id}\"}]";
        assert_eq!(place(flow, ends), "94:23 may-not-have-run steps.fee.result.debit_id");
        let trap = "        ü: ü ${true ? 1 : 2}";
        assert_eq!(place(trap, ends), "94:12 quote-this ü");
    }
}

#[test]
fn a_literal_dollar_brace() {
    let files = [
        SourceFile {
            path: "t.yaml".into(),
            text: text("top-up.yaml").replace("template: top-up-done", "template: 'a $${b} ${input.msisdn} $${'"),
        },
        SourceFile { path: "p.yaml".into(), text: text("participants.yaml").into() },
    ];
    let checked = check(&files, &Known::default());
    assert_eq!(checked.diagnostics, []);
    let body = checked.sagas[0].plan.steps[2].call().and_then(|c| c.body.as_ref());
    let Some(plan::ValueTemplate::Map(members)) = body else { panic!("{body:?}") };
    let template = members.iter().find(|(name, _)| name == "template").map(|(_, value)| value);
    expect![[r#"{"text":[{"literal":"a ${b} "},{"expr":{"select":[{"var":"input"},"msisdn"]}},{"literal":" ${"}]}"#]]
        .assert_eq(&serde_json::to_string(&template).expect("a template is JSON"));
}

/// Two marks on one line, each with its own text.
#[test]
fn two_marks_on_one_line() {
    let checked = folder(Some(("top-up.yaml", 13, "    msisdn: {type: string, maxLength: 15, type: string}")));
    expect![[r#"
        telecom/top-up.yaml:13:43: error[duplicate-field]: "type" stands twice in this object
           |
        13 |     msisdn: {type: string, maxLength: 15, type: string}
           |              ----                         ^^^^
           |              first here

        4 files, 1 error. Nothing was applied.
    "#]]
    .assert_eq(&printed(&checked));
}
